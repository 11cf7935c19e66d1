/**
 * What the agent does for containers while they run: counts what they use, answers at the task endpoint, keeps their
 * metadata files. Started once for the agent's life, whichever turn it has.
 */
import { cpus, networkInterfaces } from 'node:os'
import { join } from 'node:path'
import type { CgroupLayout } from './cgroup-files.ts'
import type { AgentConfig } from './config.ts'
import type { EndpointSettings } from './decide/view.ts'
import type { CallApi } from './ecs-api.ts'
import type { Engine, EngineInfo } from './engine.ts'
import { readIdentity } from './identity.ts'
import type { Log } from './log.ts'
import { withMetadataFiles } from './metadata-files.ts'
import { createResourceTags } from './resource-tags.ts'
import { statsTargets } from './stats-targets.ts'
import { createStats } from './stats.ts'
import type { Stats } from './stats.ts'
import { endpointAnswer } from './task-endpoint-routes.ts'
import { startTaskEndpoints } from './task-endpoints.ts'
import type { Timers } from './timers.ts'
import type { TurnTask } from './turn-options.ts'

export interface ContainerServicesOptions {
  readonly config: AgentConfig
  readonly engine: Engine
  readonly engineInfo: EngineInfo
  readonly tasks: () => readonly TurnTask[]
  readonly callApi: CallApi
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
  const { config, engine, engineInfo, tasks, callApi, now, timers, log } = options
  const layout: CgroupLayout = {
    root: config.cgroupPath,
    version: engineInfo.cgroupVersion === '2' ? 2 : 1,
    procRoot: '/proc',
  }
  const stats = createStats({ targets: () => statsTargets(tasks()), layout, cpus: cpus().length, now, timers })
  const availabilityZone = config.taskMetadataAzDisabled ? undefined : (config.availabilityZone ?? `${config.region}a`)
  const containerInstanceArn = (): string | undefined => readIdentity(config.dataDirectory)?.containerInstanceArn
  const sources = {
    tasks,
    host: { cluster: config.cluster, availabilityZone, containerInstanceArn },
    inspect: async (dockerId: string) => engine.inspectContainer(dockerId),
    callApi,
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
    now,
    timers,
    log,
  })
  await endpoints.tried
  const directory = config.containerMetadataEnabled ? join(config.dataDirectory, 'metadata') : undefined
  return {
    stats,
    settings: (region) => ({ region, offered: endpoints.isOffered(), metadataFiles: directory }),
    attributes: () => roleAttributes(config, endpoints.isOffered()).map((name) => ({ name })),
    onceChanged: (callback) => endpoints.onceOffered(callback),
    withFiles: (given) => withMetadataFiles({ engine: given, directory, availabilityZone, hostAddress, log }),
    async close() {
      stats.close()
      await endpoints.close()
    },
  }
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
