/** What the agent's turn is given, and what it offers. */
import type { DesiredStatus } from '../proto/status.ts'
import type { Frame, PayloadTask } from '../proto/acs.ts'
import type { Clock, World } from '../proto/world.ts'
import type { Journal } from './decide/journal-records.ts'
import type { TaskCgroupSettings } from './decide/task-cgroup.ts'
import type { EndpointSettings, KnownTaskStatus, PullBehavior, TaskFacts } from './decide/view.ts'
import type { TaskCgroups } from './cgroups.ts'
import type { Engine, ObservedContainer, RegistryAuth } from './engine.ts'
import type { FetchedSecrets } from './fetched-secrets.ts'
import type { RoleCredentials } from './role-credentials.ts'
import type { TaskNetworks } from './task-networks.ts'
import type { Timers } from './timers.ts'
import type { VolumeSettings } from './volumes.ts'

/** The few methods of a pino logger that the turn uses. */
export interface TurnLog {
  debug(facts: object, message: string): void
  info(facts: object, message: string): void
  warn(facts: object, message: string): void
  error(facts: object, message: string): void
}

export interface AgentTurnConfig {
  /** The cluster's name or ARN, as registered. */
  readonly cluster: string
  readonly containerInstanceArn: string
  readonly pullBehavior: PullBehavior
  /** ECS_IMAGE_PULL_TIMEOUT and ECS_IMAGE_PULL_INACTIVITY_TIMEOUT. */
  readonly pullTimeoutMs: number
  readonly pullInactivityMs: number
  /** ECS_CONTAINER_STOP_TIMEOUT: SIGTERM to SIGKILL where the payload says nothing. */
  readonly stopTimeoutSeconds: number
  /** ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION. */
  readonly cleanupWaitMs: number
  /** ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION_JITTER. */
  readonly cleanupJitterMs: number
  /** GANTRY_STOPPED_TASKS_MAX: how many stopped tasks keep their containers. */
  readonly stoppedTasksMax: number
  /** ECS_DYNAMIC_HOST_PORT_RANGE, both ends included. */
  readonly dynamicHostPortRange: { readonly first: number; readonly last: number }
  /** ECS_RESERVED_PORTS and ECS_RESERVED_PORTS_UDP. */
  readonly reservedTcpPorts: readonly number[]
  readonly reservedUdpPorts: readonly number[]
  /** Absent where this host keeps no cgroups for tasks. */
  readonly taskCgroups?: TaskCgroupSettings | undefined
  /** GANTRY_ALONE_AFTER: how long the agent waits for a controller before it starts marked tasks again by itself. */
  readonly aloneAfterMs: number
  /** The image of the containers that the agent adds to tasks itself; absent where this host can't run it. */
  readonly pauseImage?: string | undefined
  /** Where they differ from the defaults. */
  readonly volumes?: Partial<VolumeSettings> | undefined
  /** Containers of this host that are started at once, at most. */
  readonly startsMax: number
}

export interface AgentTurnOptions {
  /** Docker ids of containers whose output is still to be shipped: they are not removed yet. It changes as time goes on. */
  readonly unshippedLogs?: ReadonlySet<string> | undefined
  readonly engine: Engine
  readonly journal: Journal
  readonly clock: Clock
  readonly timers: Timers
  readonly world: World
  readonly log: TurnLog
  readonly config: AgentTurnConfig
  /** Needed where the configuration has `taskCgroups`. */
  readonly cgroups?: TaskCgroups | undefined
  /** Absent: networks of the engine's alone, without anything of the host's own in them. */
  readonly networks?: TaskNetworks | undefined
  /** Credentials for the registry that an image's host names. */
  readonly registryAuth: (registryHost: string) => RegistryAuth | undefined
  /** Ports that programs outside of Gantry hold right now; asked each time that a dynamic port is chosen. */
  readonly busyPorts: () => { readonly tcp: readonly number[]; readonly udp: readonly number[] }
  /** What containers are told of their agent, as it stands now. */
  readonly endpoints?: (() => EndpointSettings | undefined) | undefined
  /** Keys of tasks' roles, which frames bring; absent: they are passed over. */
  readonly roleCredentials?: RoleCredentials | undefined
  /** What containers need from the controller before they are made; absent: tasks that need any are refused. */
  readonly fetched?: FetchedSecrets | undefined
  /** Puts a frame on the link; false where there is none or it is full. */
  readonly send: (type: string, message: object) => boolean
}

/** One task as introspection shows it. */
export interface TurnTask {
  readonly payload: PayloadTask
  readonly facts: TaskFacts
  readonly desiredStatus: DesiredStatus
  readonly knownStatus: KnownTaskStatus
  readonly observed: ReadonlyMap<string, ObservedContainer>
}

export interface AgentTurn {
  onFrame(frame: Frame): void
  /** The link is up and the controller may be sent to. */
  linkUp(): void
  linkDown(): void
  tasks(): readonly TurnTask[]
  /** Host ports of tcp and udp that this agent's live tasks hold or will hold. */
  ownPorts(): { readonly tcp: readonly number[]; readonly udp: readonly number[] }
  /** Has the loop pass once more, and answers how often it has by now: a number that stands still is a loop that hangs. */
  beat(): number
  /** Stops deciding and watching; containers go on, and what the engine was asked for is left to itself. */
  close(): Promise<void>
}
