/**
 * The rows of services: what was asked for (the service), each attempt to make it so (deployments, with ECS's service
 * deployments and revisions), what happened (events), and task sets of services with an external controller.
 */
import type {
  ContainerImage,
  Deployment,
  Service,
  ServiceDeployment,
  ServiceEvent,
  ServiceRevision,
  Tag,
  TaskSet,
  With,
} from '../../proto/model/types.ts'
import type { DeploymentStatus, RolloutState, ServiceStatus } from '../../proto/status.ts'

/** Key: `cluster/name`. Counts are not stored: they are read from the tasks' indexes when asked. */
export interface ServiceRow
  extends Omit<
    With<
      Service,
      | 'serviceArn'
      | 'serviceName'
      | 'clusterArn'
      | 'desiredCount'
      | 'deploymentConfiguration'
      | 'deploymentController'
      | 'schedulingStrategy'
      | 'placementConstraints'
      | 'placementStrategy'
      | 'createdAt'
    >,
    | 'status'
    | 'launchType'
    | 'runningCount'
    | 'pendingCount'
    | 'deployments'
    | 'taskSets'
    | 'events'
    | 'currentServiceDeployment'
    | 'currentServiceRevisions'
    | 'tags'
  > {
  readonly serviceKey: string
  readonly clusterName: string
  readonly status: ServiceStatus
  /** Absent: any instance whose launch type is among the definition's compatibilities. */
  readonly launchType?: 'EC2' | 'EXTERNAL' | undefined
  readonly tags: readonly Tag[]
  /** What the account setting defaultLogDriverMode said when the service was last changed; absent: blocking. */
  readonly logDriverMode?: 'non-blocking' | undefined
  /** CreateService's clientToken and a digest of its parameters, so that a repeat answers the same service. */
  readonly clientToken?: string | undefined
  readonly inputHash?: string | undefined
  /** The number of the newest event; never goes back. */
  readonly eventSeq: number
  /** When the steady state was last announced; absent while the service is away from it. */
  readonly steadySince?: number | undefined
  /** When the scheduler wants to look at the service again though nothing changes (epoch milliseconds). */
  readonly wakeAt?: number | undefined
  /** The service revision that last completed a deployment: where a rollback goes. */
  readonly lastCompletedRevisionId?: string | undefined
  readonly inactiveSince?: number | undefined
  /** The cluster's `replacementPausedSince` that this service's events have told of. */
  readonly pauseAnnouncedAt?: number | undefined
}

/** Key: the deployment's id, `ecs-svc/` and 19 digits. */
export interface DeploymentRow
  extends Omit<
    With<Deployment, 'id' | 'taskDefinition' | 'createdAt' | 'updatedAt' | 'failedTasks'>,
    'status' | 'rolloutState' | 'desiredCount' | 'runningCount' | 'pendingCount' | 'launchType'
  > {
  readonly serviceKey: string
  readonly clusterName: string
  readonly status: DeploymentStatus
  readonly launchType?: 'EC2' | 'EXTERNAL' | undefined
  readonly rolloutState: RolloutState
  readonly serviceRevisionId: string
  readonly serviceDeploymentId: string
  /** How many of its tasks have ever become healthy. */
  readonly healthyTasks: number
  /** Tasks that failed since the last one that became healthy: what pauses grow with. */
  readonly failuresInRow: number
  /** No task is started before this instant (epoch milliseconds): the pause after failures. */
  readonly retryAt?: number | undefined
  /** Why the next task has no place. Absent while there is room, or nothing to start. */
  readonly waiting?: PlacementWait | undefined
  /** Since when something other than capacity keeps the scheduler from going on, and what; told once in the events. */
  readonly stuck?: { readonly since: number; readonly by: 'percentages' | 'protection' } | undefined
  /** By image as the definition writes it, the digest that the first agent reported (versionConsistency). */
  readonly images: readonly ContainerImage[]
  /** The failure that ended the deployment, or the last one that set it back. */
  readonly cause?: DeploymentCause | undefined
  /** The deployment that this one takes back. */
  readonly rollbackOf?: string | undefined
  /** When the last of its tasks without a health check became healthy: each has its time to prove itself. */
  readonly provingSince?: number | undefined
  /**
   * From then on the deployment has proved that its tasks stay up, unless one of them fails before. Until it has, healthy
   * tasks of older deployments are kept once the first of its own are healthy.
   */
  readonly provenAt?: number | undefined
  /** While failures are counted: tasks that became healthy and, left running, will reset the count. At most eight. */
  readonly proving?: readonly { readonly taskId: string; readonly healthyAt: number }[] | undefined
  /** The pause that `retryAt` ends: when it began, and the how-manieth it is since a task last proved itself. */
  readonly pause?: { readonly at: number; readonly round: number; readonly isAnnounced?: true | undefined } | undefined
}

/** Why a task of a deployment failed, as people are told it. Never container output. */
export interface DeploymentCause {
  readonly at: number
  /** Absent where no task could be started at all. */
  readonly taskArn?: string | undefined
  readonly stopCode?: string | undefined
  readonly reason: string
  readonly containerName?: string | undefined
  readonly exitCode?: number | undefined
  /** True where no retry can heal it: the deployment failed at once. */
  readonly isHopeless: boolean
}

/** What placement weighed. Kept small: it stands on each task. */
export interface PlacementNote {
  readonly at: number
  /** How many instances were looked at. */
  readonly considered: number
  /** How many could have taken the task. */
  readonly able: number
  readonly counts: readonly PlacementCount[]
  /** The best three of those that could, the chosen one first, each with what the strategies counted. */
  readonly ranking: readonly { readonly instanceId: string; readonly scores: readonly string[] }[]
}

/** How many instances failed a filter first; over all filters they add up to the instances that could not. */
export interface PlacementCount {
  readonly filter: string
  readonly reason: string
  readonly count: number
  readonly explanation: string
}

export interface PlacementWait {
  /** Since when a task has had no place, and when placement was last tried. */
  readonly since: number
  readonly at: number
  /** When the service's events last told of it, and by which filters no instance passed then. */
  readonly toldAt?: number | undefined
  readonly toldOf?: string | undefined
  /** `no instance matched: 3 lack memory (want 2048 MiB, most free 1024), 1 is draining`. */
  readonly sentence: string
  readonly counts: readonly PlacementCount[]
  /** The instances that came nearest, at most three, each with what it misses in figures. */
  readonly nearest: readonly { readonly instanceId: string; readonly filter: string; readonly miss: string }[]
}

/** Key: its id, the last segment of its ARN. */
export interface ServiceDeploymentRow
  extends With<ServiceDeployment, 'serviceDeploymentArn' | 'serviceArn' | 'clusterArn' | 'createdAt' | 'status'> {
  readonly id: string
  readonly serviceKey: string
  /** The deployment that carries it out now: another one after a rollback. */
  readonly deploymentId: string
}

/** Key: its id, the last segment of its ARN. */
export interface ServiceRevisionRow
  extends With<ServiceRevision, 'serviceRevisionArn' | 'serviceArn' | 'clusterArn' | 'taskDefinition' | 'createdAt'> {
  readonly id: string
  readonly serviceKey: string
}

/** The tasks that an event is about: more of the same `kind` are added to it while it is young. */
export interface EventTally {
  readonly kind: string
  readonly count: number
  /** The first ten. */
  readonly taskIds: readonly string[]
  /** When the first of them was told, epoch milliseconds; the event's `createdAt` is when the last one was. */
  readonly since: number
}

/** Key: `cluster/name/` and the event's number in nine digits. */
export interface ServiceEventRow extends With<ServiceEvent, 'id' | 'createdAt' | 'message'> {
  readonly serviceKey: string
  readonly seq: number
  /** For the change feed: what makes it an `ECS Service Action` or an `ECS Deployment State Change`. */
  readonly eventType?: 'INFO' | 'WARN' | 'ERROR' | undefined
  readonly eventName?: string | undefined
  readonly reason?: string | undefined
  readonly deploymentId?: string | undefined
  readonly tally?: EventTally | undefined
}

/** Key: its id, `ecs-svc/` and 19 digits. Tasks of a task set carry it as their `deploymentId`. */
export interface TaskSetRow
  extends Omit<
    With<
      TaskSet,
      'id' | 'taskSetArn' | 'serviceArn' | 'clusterArn' | 'taskDefinition' | 'createdAt' | 'updatedAt' | 'scale'
    >,
    'status' | 'launchType' | 'computedDesiredCount' | 'runningCount' | 'pendingCount' | 'stabilityStatus' | 'tags'
  > {
  readonly serviceKey: string
  readonly clusterName: string
  readonly status: 'PRIMARY' | 'ACTIVE' | 'DRAINING'
  readonly launchType?: 'EC2' | 'EXTERNAL' | undefined
  readonly stabilityStatus: 'STEADY_STATE' | 'STABILIZING'
  readonly tags: readonly Tag[]
  /** CreateTaskSet's clientToken and a digest of its parameters, so that a repeat answers the same task set. */
  readonly clientToken?: string | undefined
  readonly inputHash?: string | undefined
  /** As of a deployment: what its failures, its waits and its protected tasks hold up. */
  readonly failuresInRow: number
  readonly retryAt?: number | undefined
  readonly pause?: DeploymentRow['pause']
  readonly cause?: DeploymentCause | undefined
  readonly waiting?: PlacementWait | undefined
  readonly stuck?: DeploymentRow['stuck']
}
