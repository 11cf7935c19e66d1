/**
 * The steps that a task can take, each a name with its arguments; a step without an executor does not compile. Which of
 * them come next is decided in `next-steps.ts` and its families.
 */
import type { PayloadFileSystem, PayloadSecret } from '../../proto/acs.ts'
import type { CreateBody, ObservedContainer } from '../engine.ts'
import type { CgroupLimits } from './task-cgroup.ts'
import type { TaskNetwork } from './task-network.ts'
import type { TaskRole, Wait } from './view.ts'

/** Steps that ask something of Docker Engine: name -> arguments. `perform.ts` has an executor for each. */
export interface EngineSteps {
  pullImage: {
    readonly container: string
    readonly image: string
    /** With the login that was fetched for the container of this task. */
    readonly loginOf?: string | undefined
  }
  /** Fetches what the container needs into the agent's memory; the answer holds nothing of it. */
  fetchForContainer: {
    readonly container: string
    readonly taskArn: string
    readonly secrets: readonly PayloadSecret[]
    /** ARNs of files in an object store, in the definition's order. */
    readonly environmentFiles: readonly string[]
    readonly registrySecret: string | undefined
    /** The execution role; absent where the task has none, which is refused. */
    readonly role: TaskRole | undefined
  }
  /** Made, or found as it was made before; its limits are those given. */
  createCgroup: { readonly cgroup: string; readonly limits: CgroupLimits; readonly epoch: string }
  createVolume: {
    readonly volume: string
    readonly dockerName: string
    readonly driver: string
    readonly options: Readonly<Record<string, string>>
    readonly labels: Readonly<Record<string, string>>
    /** A shared volume without autoprovision is only looked for. */
    readonly mustExist: boolean
    /** One that is there may be another task's, and other than this one asks for. */
    readonly isShared: boolean
  }
  /** Makes what Docker needs for it, and sees that it answers. */
  mountFileSystem: {
    readonly volume: string
    readonly dockerName: string
    readonly fileSystem: PayloadFileSystem
    readonly labels: Readonly<Record<string, string>>
  }
  /** Makes the subnet ready on this host, and sees that the task's address is nobody else's. */
  prepareNetwork: { readonly network: TaskNetwork }
  createContainer: {
    readonly container: string
    readonly dockerName: string
    readonly body: CreateBody
    /** What was fetched for it goes in, over or under the variables that its definition sets. */
    readonly fetched?: { readonly ownNames: readonly string[]; readonly takesLogOptions: boolean } | undefined
  }
  startContainer: {
    readonly container: string
    readonly dockerId: string
    /** It is to reach the agent's own endpoints beside the network that it was made in. */
    readonly joinsEndpoints?: true | undefined
  }
  inspectContainer: { readonly container: string; readonly idOrName: string; readonly hint: number }
  stopContainer: { readonly container: string; readonly dockerId: string; readonly stopTimeoutSeconds: number }
  collectLogs: { readonly container: string; readonly dockerId: string }
  removeContainer: { readonly container: string; readonly dockerId: string }
  removeVolume: { readonly volume: string; readonly dockerName: string }
  /** With `ours` the Docker volume goes; what lies on the file system stays in any case. */
  releaseFileSystem: { readonly volume: string; readonly dockerName: string; readonly ours: boolean }
  removeCgroup: { readonly cgroup: string }
}

/** What each of them answers. */
export interface EngineAnswers {
  createCgroup: undefined
  fetchForContainer: undefined
  pullImage: { readonly digest: string | undefined; readonly pulled: boolean }
  createVolume: undefined
  mountFileSystem: undefined
  prepareNetwork: undefined
  createContainer: string
  startContainer: undefined
  inspectContainer: ObservedContainer | undefined
  stopContainer: undefined
  collectLogs: readonly string[]
  removeContainer: undefined
  removeVolume: undefined
  releaseFileSystem: undefined
  removeCgroup: undefined
}

/** Steps that the turn takes itself, at once: name -> arguments. */
export interface LocalSteps {
  /** Chooses the container's name and host ports, and journals them before anything is created. */
  prepareContainer: { readonly container: string }
  /** Queues a state change for the controller; `wait` is what the task waits for meanwhile. */
  report: { readonly content: string; readonly wait: Wait | undefined }
  /** Nothing can be done before something happens, or before `until`. */
  wait: Wait
  /** Nothing is left of the task. */
  forget: { readonly taskArn: string }
}

type StepsOf<Steps> = { [Name in keyof Steps]: { readonly step: Name; readonly args: Steps[Name] } }[keyof Steps]
export type EngineStep = StepsOf<EngineSteps>
export type LocalStep = StepsOf<LocalSteps>
export type Step = EngineStep | LocalStep

/** What a step is known by while it is under way: one of each kind for each object. */
export function stepKey(step: EngineStep): string {
  return `${step.step}:${objectOf(step.args)}`
}

function objectOf(args: EngineStep['args']): string {
  if ('container' in args) return args.container
  if ('network' in args) return args.network.address
  return 'volume' in args ? args.volume : args.cgroup
}

/** Why a container waits that could be made or started but for the others of its host. */
export const startSlotCause = 'waits for other containers of this host to finish starting'

/** Each takes one of the places that the host's start limit gives: making a container is a part of starting it. */
export function takesStartSlot({ step }: Step): boolean {
  return step === 'createContainer' || step === 'startContainer'
}

/** True where a crash after it could not be mended unless the journal had what was decided before it. */
export function needsJournal(step: EngineStep): boolean {
  switch (step.step) {
    case 'createContainer': {
      // Its name follows from the task, and its labels say whose it is; but the ports that were picked are known here alone.
      const { HostConfig } = step.args.body as { HostConfig?: { PortBindings?: object } }
      return Object.keys(HostConfig?.PortBindings ?? {}).length > 0
    }
    case 'stopContainer':
    case 'removeContainer':
    case 'removeVolume':
    case 'releaseFileSystem':
      return true
    default:
      return false
  }
}
