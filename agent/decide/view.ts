/**
 * What the agent knows of one task: what is desired (the payload), what it did and learned (facts, kept in the journal)
 * and what Docker shows (observed). Decisions are made from these three and a given time alone.
 */
import type { PayloadTask } from '../../proto/acs.ts'
import type { ContainerStatus, DesiredStatus } from '../../proto/status.ts'
import type { ObservedContainer } from '../engine.ts'
import type { TaskCgroupSettings } from './task-cgroup.ts'

/** A task's own ladder as an agent reports it. */
export type KnownTaskStatus = 'PENDING' | 'RUNNING' | 'STOPPED'

export interface HostPort {
  readonly containerPort: number
  readonly protocol: 'tcp' | 'udp'
  readonly hostPort: number
  /** True for a port that this agent picked from the dynamic range; another may be picked in its place. */
  readonly picked: boolean
}

/** What a task waits for. */
export interface Wait {
  /** Stays the same while the wait does: `waits for image nginx:1 to be pulled`. */
  readonly cause: string
  readonly since: number
  readonly until?: number | undefined
}

/** A step that failed and may be tried again, with when. */
export interface Retry {
  readonly attempts: number
  /** Epoch milliseconds before which the step is not tried again. */
  readonly notBefore: number
}

export interface FetchRetry extends Retry {
  /** Of the attempts those that were answered: silence ends no task, however often it was met. */
  readonly answered?: number | undefined
  /** What was in the way the last time. */
  readonly why?: string | undefined
}

export interface ContainerFacts {
  /** Never decreases. */
  readonly knownStatus: ContainerStatus
  /** Chosen and journalled before the container is created, so that a crash in between finds it by name. */
  readonly dockerName?: string | undefined
  readonly dockerId?: string | undefined
  readonly hostPorts: readonly HostPort[]
  readonly imageReady: boolean
  /** `sha256:...`; undefined for an image that exists only on this host. */
  readonly imageDigest?: string | undefined
  readonly pullFailed?: boolean | undefined
  readonly started: boolean
  /**
   * The controller knows that it ran, and this agent has no trace of it: until Docker has shown its containers nothing is
   * concluded, and then it is adopted or has vanished.
   */
  readonly expected?: boolean | undefined
  readonly startedAt?: number | undefined
  readonly finishedAt?: number | undefined
  readonly exitCode?: number | undefined
  /** When this agent first asked for its stop: an end after that is no surprise. */
  readonly stopAskedAt?: number | undefined
  readonly reason?: string | undefined
  readonly healthStatus?: 'HEALTHY' | 'UNHEALTHY' | 'UNKNOWN' | undefined
  /** When the run of the health check ended that made it so, by Docker's clock. */
  readonly healthSince?: number | undefined
  /** By what the container asks the task endpoint; chosen once, and with it on the container's label. */
  readonly endpointId?: string | undefined
  /** Host ports that Docker refused at start because another program held them; not to be chosen again. */
  readonly refusedPorts?: readonly number[] | undefined
  /** Docker's container must be removed and made anew, with other ports. */
  readonly remake?: boolean | undefined
  /** How often it was started again in place; each start begins a run, within which its known status never decreases. */
  readonly restartCount?: number | undefined
  /** The first run's; `startedAt` is that of the run that is. */
  readonly firstStartedAt?: number | undefined
  /** The end of the run before, by Docker's clock, while this one is on its way and after. */
  readonly lastRun?:
    | {
        readonly startedAt?: number | undefined
        readonly finishedAt?: number | undefined
        readonly exitCode?: number | undefined
        readonly reason?: string | undefined
      }
    | undefined
  /** The run, by its number, in which Docker's container was made anew because it refused to start. */
  readonly remadeInRun?: number | undefined
  /** Asked for once after it stopped; empty where there were none or they could not be read. */
  readonly lastLogLines?: readonly string[] | undefined
  readonly retry?: Retry | undefined
  /** What it needs could not be fetched. */
  readonly fetchRetry?: FetchRetry | undefined
  /** Looking at it failed; apart from `retry`, which holds back what is done to it. */
  readonly lookRetry?: Retry | undefined
  readonly removed?: boolean | undefined
}

export interface VolumeFacts {
  readonly dockerName: string
  readonly created: boolean
  /** Made for this task alone, so it goes with it. */
  readonly ours: boolean
  /** A shared file system: `created` says that it was mounted, and `checkedAt` when it last answered. */
  readonly isFileSystem?: true | undefined
  readonly checkedAt?: number | undefined
  readonly retry?: Retry | undefined
  readonly removed?: boolean | undefined
}

export interface CgroupFacts {
  /** Docker's `CgroupParent`. */
  readonly parent: string
  /** The life of host and agent in which it was made or seen last; absent while it could not be made. */
  readonly epoch?: string | undefined
  readonly retry?: Retry | undefined
  readonly removed?: boolean | undefined
}

/** The roles of a task: by which ids their keys are known. The keys themselves are in no facts. */
export interface TaskRoles {
  /** Whose keys the task's containers may ask for. */
  readonly task?: TaskRole | undefined
  /** Whose keys the agent itself uses for what the task needs before it runs. */
  readonly execution?: TaskRole | undefined
}

export interface TaskRole {
  readonly credentialsId: string
  readonly roleArn: string
  /** Of the containers' role, the keys that they may still sign with: programs keep theirs while an agent starts anew. */
  readonly issued?: readonly IssuedKey[] | undefined
}

export interface IssuedKey {
  /** Tells whose a call is, and signs nothing. */
  readonly accessKeyId: string
  /** Epoch milliseconds. */
  readonly endsAt: number
}

export interface TaskFacts {
  readonly taskArn: string
  /** Only ever moves from RUNNING to STOPPED. */
  readonly desiredStatus: DesiredStatus
  /** Never decreases. */
  readonly knownStatus: KnownTaskStatus
  /** The task's own reason, where no container's says it: a refused payload, a volume that could not be made. */
  readonly reason?: string | undefined
  /** Known only by labels of its containers so far: nothing is started for it until its payload comes. */
  readonly adopted: boolean
  readonly acceptedAt: number
  readonly pullStartedAt?: number | undefined
  readonly pullStoppedAt?: number | undefined
  readonly executionStoppedAt?: number | undefined
  readonly containers: Readonly<Record<string, ContainerFacts>>
  readonly volumes: Readonly<Record<string, VolumeFacts>>
  readonly roles?: TaskRoles | undefined
  /** The cgroup around all its containers, once it was made. */
  readonly cgroup?: CgroupFacts | undefined
  /** How far the network of a task with an address of its own has come. */
  readonly network?:
    | {
        /** True from when it was looked at until the container that holds it has started. */
        readonly isReady?: true | undefined
        /** When Docker started the container that holds it, in this run of the task. */
        readonly heldSince?: number | undefined
        readonly retry?: Retry | undefined
      }
    | undefined
  /** How the task fares with an agent that has no controller and so starts it again itself. */
  readonly restart?:
    | {
        /** Ends one after the other, each after a short run. */
        readonly endsInRow: number
        /** Set from its end until it begins anew. */
        readonly endedAt?: number | undefined
        readonly begunAt?: number | undefined
      }
    | undefined
  /** What the last report said, without the age of a wait; another text means that there is something to report. */
  readonly reported?:
    | {
        readonly content: string
        readonly status: KnownTaskStatus
        readonly at: number
        readonly waitCause?: string | undefined
      }
    | undefined
  /** The controller has STOPPED: what is left of the task may go after the cleanup wait. */
  readonly stoppedAcknowledgedAt?: number | undefined
}

/** Names of steps that are being performed, each as `step:object` (`pullImage:web`). */
export type Underway = ReadonlyMap<string, { readonly since: number }>

export interface TaskView {
  readonly payload: PayloadTask
  readonly facts: TaskFacts
  /** By container name, as Docker last showed them; kept in memory only. */
  readonly observed: ReadonlyMap<string, ObservedContainer>
  readonly underway: Underway
  /**
   * Containers to look at again, each with the number of the hint that asked for it: an event came, a call ended without
   * an answer, or the full list did not show it. Kept in memory only.
   */
  readonly look: ReadonlyMap<string, number>
}

/** Whether there is a controller: `away` while its return is awaited, `gone` once that has taken too long. */
export type ControllerSight = 'there' | 'away' | 'gone'

/** What the decisions need to know of the host that the task is on. */
export interface HostView {
  readonly cluster: string
  readonly containerInstanceArn: string
  /** False until Docker Engine has shown its containers, and while it doesn't answer. */
  readonly engineAnswers: boolean
  /** Since when it has not answered. */
  readonly engineSilentSince: number
  /** Absent: there. */
  readonly controller?: ControllerSight | undefined
  /** How many more containers may be started right now. */
  readonly startSlotsFree: number
  readonly pullBehavior: PullBehavior
  readonly stopTimeoutSeconds: number
  readonly cleanupWaitMs: number
  /** Up to this much more, another for each task, so that those that ended together don't all go at once. */
  readonly cleanupJitterMs: number
  /** Stopped tasks that don't wait for their clean-up, since there are too many of them. */
  readonly cleanupDue: ReadonlySet<string>
  /** Docker ids of containers whose output is still to be shipped to the controller. */
  readonly unshippedLogs: ReadonlySet<string>
  /** Absent where this host keeps no cgroups for tasks. */
  readonly taskCgroups?: TaskCgroupSettings | undefined
  /** What containers are told of their agent; absent: nothing. */
  readonly endpoints?: EndpointSettings | undefined
  /** Ids of roles' keys that are here; it changes as time goes on. Absent: none. */
  readonly roleKeys?: ReadonlySet<string> | undefined
  /** What was fetched for containers and is not given to them yet, by `fetchedKey`. Absent: nothing. */
  readonly fetched?: ReadonlySet<string> | undefined
}

export interface EndpointSettings {
  /** The controller's own. */
  readonly region: string
  /** True where containers of this host reach the task endpoint. */
  readonly offered: boolean
  /** True where containers reach the API of the controller there too. */
  readonly offersApi?: boolean | undefined
  /** The directory of metadata files, one directory below it for each container; absent where there are none. */
  readonly metadataFiles?: string | undefined
}

export type PullBehavior = 'default' | 'always' | 'once' | 'prefer-cached'

export const freshContainer: ContainerFacts = {
  knownStatus: 'PENDING',
  hostPorts: [],
  imageReady: false,
  started: false,
}
