/** The executor table: one short function for each step that asks something of Docker Engine. */
import type { Outcome } from './decide/outcomes.ts'
import type { EngineAnswers, EngineStep, EngineSteps } from './decide/steps.ts'
import { withFetchedValues } from './decide/fetched-values.ts'
import { EngineError, labels } from './engine.ts'
import type { Engine } from './engine.ts'
import type { FetchedSecrets } from './fetched-secrets.ts'
import { hidingErrors } from './hidden-values.ts'
import { lastLogLinesMax } from '../proto/acs.ts'
import type { TaskCgroups } from './cgroups.ts'
import type { Images } from './images.ts'
import type { TaskNetworks } from './task-networks.ts'
import type { Volumes } from './volumes.ts'

/** Derived from the step map, so a step without an executor does not compile. */
export type Executors = {
  readonly [Name in keyof EngineSteps]: (args: EngineSteps[Name]) => Promise<EngineAnswers[Name]>
}

export function createExecutors(
  engine: Engine,
  images: Images,
  cgroups: TaskCgroups,
  volumes: Volumes,
  networks: TaskNetworks,
  fetched: FetchedSecrets,
): Executors {
  return {
    ...fetchingExecutors(engine, images, fetched),

    async createVolume(args) {
      await volumes.create(args)
      return undefined
    },

    async mountFileSystem(args) {
      await volumes.mount(args)
      return undefined
    },

    async releaseFileSystem(args) {
      await volumes.release(args)
      return undefined
    },

    async createCgroup({ cgroup, limits }) {
      await cgroups.make(cgroup, limits)
      return undefined
    },

    async removeCgroup({ cgroup }) {
      await cgroups.remove(cgroup)
      return undefined
    },

    async prepareNetwork({ network }) {
      await networks.prepare(network)
      return undefined
    },

    async startContainer({ dockerId, joinsEndpoints }) {
      if (joinsEndpoints === true) await networks.leaveEndpoints(dockerId)
      await engine.startContainer(dockerId)
      fetched.started(dockerId)
      if (joinsEndpoints === true) await joinIfPossible(networks, dockerId)
      return undefined
    },

    inspectContainer: async ({ idOrName }) => engine.inspectContainer(idOrName),

    async stopContainer({ dockerId, stopTimeoutSeconds }) {
      await engine.stopContainer(dockerId, stopTimeoutSeconds)
      return undefined
    },

    collectLogs: async ({ dockerId }) => engine.lastLogLines(dockerId, lastLogLinesMax),

    async removeContainer({ dockerId }) {
      await engine.removeContainer(dockerId)
      return undefined
    },

    async removeVolume({ dockerName }) {
      await engine.removeVolume(dockerName)
      return undefined
    },
  }
}

/** Those that fetch for a container, or use what was fetched for it. */
function fetchingExecutors(
  engine: Engine,
  images: Images,
  fetched: FetchedSecrets,
): Pick<Executors, 'pullImage' | 'fetchForContainer' | 'createContainer'> {
  return {
    async pullImage({ image, container, loginOf }) {
      if (loginOf === undefined) return images.obtain(image)
      const values = fetched.valuesOf(loginOf, container)
      return hidingErrors(values, async () => images.obtain(image, values?.registryLogin))
    },

    async fetchForContainer(args) {
      await fetched.fetch(args)
      return undefined
    },

    async createContainer({ container, dockerName, body, fetched: from }) {
      const { [labels.taskArn]: taskArn = '' } = body['Labels'] as Readonly<Record<string, string>>
      if (from === undefined) {
        const made = await createOnce(engine, dockerName, body)
        // The login of its registry has done its work; who pulls again fetches what is then right.
        fetched.given(taskArn, container, made)
        return made
      }
      const values = fetched.valuesOf(taskArn, container)
      if (values === undefined) throw new EngineError('conflict', `What container ${container} needs was let go.`)
      const taken = from.takesLogOptions ? values : { ...values, logOptions: new Map<string, string>() }
      const whole = withFetchedValues(body, taken, new Set(from.ownNames))
      const dockerId = await hidingErrors(values, async () => createOnce(engine, dockerName, whole))
      fetched.given(taskArn, container, dockerId)
      return dockerId
    },
  }
}

/**
 * It runs, and its task has its address: metadata that it can't reach is no reason to end it. Who looks after networks
 * tries again, and says what is in the way.
 */
async function joinIfPossible(networks: TaskNetworks, dockerId: string): Promise<void> {
  try {
    await networks.joinEndpoints(dockerId)
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
  }
}

/** Performs one step; an EngineError is an outcome, anything else is a bug and is thrown. */
export async function perform(executors: Executors, step: EngineStep): Promise<Outcome<keyof EngineSteps>> {
  // The pairing of a step's name with its arguments is lost to the compiler in a union.
  const execute = executors[step.step] as (args: EngineStep['args']) => Promise<EngineAnswers[keyof EngineSteps]>
  try {
    return { ok: true, answer: await execute(step.args) }
  } catch (error) {
    if (!(error instanceof EngineError)) throw error
    return { ok: false, failure: { kind: error.kind, message: error.message } }
  }
}

/** A name that is taken by this task's own container means that an earlier create went through after all. */
async function createOnce(engine: Engine, name: string, body: EngineSteps['createContainer']['body']): Promise<string> {
  try {
    return await engine.createContainer(name, body)
  } catch (error) {
    if (!(error instanceof EngineError) || error.kind !== 'conflict') throw error
    const existing = await engine.inspectContainer(name)
    if (existing === undefined) throw error
    const { [labels.taskArn]: taskArn } = body['Labels'] as Readonly<Record<string, string>>
    if (existing.labels[labels.taskArn] === taskArn) return existing.id
    throw new EngineError('refused', `the name ${name} is taken by container ${existing.id} of somebody else`, {
      cause: error,
    })
  }
}
