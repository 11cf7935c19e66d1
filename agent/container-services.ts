/**
 * What the agent does for containers while they run: counts what they use, answers at the task endpoint, keeps their
 * metadata files. Started once for the agent's life, whichever turn it has.
 */
import { cpus, networkInterfaces } from 'node:os'
import { join } from 'node:path'
import type { CgroupLayout } from './cgroup-files.ts'
import type { AgentConfig } from './config.ts'
import type { ControllerApi } from './controller-api.ts'
import type { EndpointSettings } from './decide/view.ts'
import type { CallApi } from './ecs-api.ts'
import type { Engine, EngineInfo } from './engine.ts'
import { readIdentity } from './identity.ts'
import type { Log } from './log.ts'
import { withMetadataFiles } from './metadata-files.ts'
import { createRateLimit } from './rate-limit.ts'
import type { RoleCredentials } from './role-credentials.ts'
import { createResourceTags } from './resource-tags.ts'
import { createSocketOwners } from './socket-owner.ts'
import { statsTargets } from './stats-targets.ts'
import { createStats } from './stats.ts'
import type { Stats } from './stats.ts'
import { answerTaskApi, endpointAnswer } from './task-endpoint-routes.ts'
import type { EndpointSources, KeysAsked } from './task-endpoint-routes.ts'
import { startTaskEndpoints } from './task-endpoints.ts'
import type { Timers } from './timers.ts'
import type { TurnTask } from './turn-options.ts'

export interface ContainerServicesOptions {
  readonly config: AgentConfig
  readonly engine: Engine
  readonly engineInfo: EngineInfo
  readonly tasks: () => readonly TurnTask[]
  readonly callApi: CallApi
  /** In the name of tasks' roles. */
  readonly api: ControllerApi
  readonly roleCredentials: RoleCredentials
  readonly now: () => number
  readonly timers: Timers
  readonly log: Log
}

export interface ContainerServices {
  readonly stats: Stats
  /** What new containers are told; the region is the controller's. */
  settings(region: string): EndpointSettings
  /** Attributes of the instance that hang on them, as they stand now. */
  attributes(): readonly { readonly name: string }[]
  /** Calls back when those attributes change. */
  onceChanged(callback: () => void): void
  /** The engine as tasks are to use it, so that metadata files come and go with containers. */
  withFiles<E extends Engine>(engine: E): E
  close(): Promise<void>
}

/** Resolves when it is clear whether containers reach the task endpoint: what they are told hangs on it. */
export async function startContainerServices(options: ContainerServicesOptions): Promise<ContainerServices> {
  const { config, engine, engineInfo, tasks, callApi, api, roleCredentials, now, timers, log } = options
  const layout: CgroupLayout = {
    root: config.cgroupPath,
    version: engineInfo.cgroupVersion === '2' ? 2 : 1,
    procRoot: '/proc',
  }
  const stats = createStats({ targets: () => statsTargets(tasks()), layout, cpus: cpus().length, now, timers })
  const availabilityZone = config.taskMetadataAzDisabled ? undefined : (config.availabilityZone ?? `${config.region}a`)
  const containerInstanceArn = (): string | undefined => readIdentity(config.dataDirectory)?.containerInstanceArn
  const isVainAllowed = createRateLimit({ perSecond: 0.2, burst: 20 })
  const sources: EndpointSources = {
    tasks,
    host: { cluster: config.cluster, availabilityZone, containerInstanceArn },
    inspect: async (dockerId: string) => engine.inspectContainer(dockerId),
    isHeldBy: createSocketOwners(now),
    api,
    roleCredentials,
    onKeysAsked: (asked) => recordKeysAsked(options, asked, containerInstanceArn(), isVainAllowed),
    tags: createResourceTags(callApi, now),
    stats,
    layout,
    cpus: cpus().length,
    now,
  }
  const endpoints = startTaskEndpoints({
    isEnabled: config.taskEndpointEnabled,
    engine,
    rate: config.taskMetadataRate,
    answer: async (request) => endpointAnswer(sources, request),
    answerApiCall: config.taskApiEnabled ? async (request, call) => answerTaskApi(sources, request, call) : undefined,
    now,
    timers,
    log,
  })
  await endpoints.tried
  const directory = config.containerMetadataEnabled ? join(config.dataDirectory, 'metadata') : undefined
  return {
    stats,
    settings: (region) => ({
      region,
      offered: endpoints.isOffered(),
      offersApi: config.taskApiEnabled,
      metadataFiles: directory,
    }),
    attributes: () => roleAttributes(config, endpoints.isOffered()).map((name) => ({ name })),
    onceChanged: (callback) => endpoints.onceOffered(callback),
    withFiles: (given) => withMetadataFiles({ engine: given, directory, availabilityZone, hostAddress, log }),
    async close() {
      stats.close()
      await endpoints.close()
    },
  }
}

/**
 * One line for each request for keys, as the official agent's audit log has it: who was given whose, and never an id by
 * which they could be asked for.
 */
function recordKeysAsked(
  { config, log, now }: ContainerServicesOptions,
  asked: KeysAsked,
  containerInstanceArn: string | undefined,
  isAllowed: ReturnType<typeof createRateLimit>,
): void {
  if (config.auditLogDisabled) return
  // Who asks in vain chooses the paths, and so the rates: the log is not theirs to fill.
  if (asked.status !== 200 && !isAllowed(asked.address, now())) return
  const { version, status, ...who } = asked
  const path = `/v${version}/credentials`
  const audit = { event: 'GetCredentials', status, path, ...who, cluster: config.cluster, containerInstanceArn }
  log.info({ audit }, status === 200 ? "a task was given its role's keys" : 'keys of a role were asked for in vain')
}

/** A task's role is of use only where its containers can ask for its keys. */
function roleAttributes(config: AgentConfig, isOffered: boolean): readonly string[] {
  if (!isOffered) return []
  return [
    ...(config.taskRoleEnabled ? ['com.amazonaws.ecs.capability.task-iam-role'] : []),
    ...(config.taskRoleNetworkHostEnabled ? ['com.amazonaws.ecs.capability.task-iam-role-network-host'] : []),
  ]
}

/** The first address of the host that others could reach it by. */
function hostAddress(): string | undefined {
  const all = Object.entries(networkInterfaces()).filter(([name]) => !/^(?:docker|br-|veth|gantry)/.test(name))
  return all
    .flatMap(([, addresses]) => addresses ?? [])
    .find(({ family, internal, address }) => family === 'IPv4' && !internal && !address.startsWith('169.254.'))?.address
}
