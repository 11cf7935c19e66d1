/**
 * The controller's state: what each table holds and by which indexes it is read. Rows are AWS's own shapes (instants in
 * epoch milliseconds) with their keys required; what Gantry keeps beside them stands in the second half of each row.
 * Rows are immutable: a change is a new row.
 */
import type {
  Attribute,
  Cluster,
  Container,
  ContainerInstance,
  Setting,
  Tag,
  Task,
  TaskDefinition,
  With,
} from '../../proto/model/types.ts'
import type { ClusterStatus, ContainerStatus, DesiredStatus, InstanceStatus, TaskStatus } from '../../proto/status.ts'

/** Key: the cluster's name. Counts are not stored: they are read from the indexes when asked. */
export interface ClusterRow
  extends Omit<
    With<Cluster, 'clusterArn' | 'clusterName'>,
    | 'status'
    | 'registeredContainerInstancesCount'
    | 'runningTasksCount'
    | 'pendingTasksCount'
    | 'activeServicesCount'
    | 'statistics'
  > {
  readonly status: ClusterStatus
  readonly createdAt: number
  readonly inactiveSince?: number | undefined
}

/** Key: the family's name. Revisions are never given out twice, even after DeleteTaskDefinitions. */
export interface FamilyRow {
  readonly family: string
  readonly latestRevision: number
}

/** Key: `family:revision`. */
export interface TaskDefinitionRow
  extends With<TaskDefinition, 'taskDefinitionArn' | 'family' | 'revision' | 'status' | 'containerDefinitions'> {
  readonly tags: readonly Tag[]
}

/** What operators changed in a list that an agent gave. Each list has one writer, so that neither undoes the other's word. */
export interface OperatorChanges<T> {
  readonly put: readonly T[]
  /** Names of what the agent gave and an operator took away. */
  readonly deleted: readonly string[]
}

/** Key: the instance's id (32 hex digits). */
export interface InstanceRow
  extends Omit<
    With<ContainerInstance, 'containerInstanceArn' | 'registeredResources' | 'registeredAt' | 'version'>,
    'status' | 'attributes' | 'runningTasksCount' | 'pendingTasksCount' | 'remainingResources' | 'agentConnected'
  > {
  readonly instanceId: string
  readonly clusterName: string
  readonly status: InstanceStatus
  readonly agentConnected: boolean
  /** As its agent gave them. What counts is `attributesOf` and `tagsOf`: these with the operators' changes over them. */
  readonly attributes: readonly Attribute[]
  readonly tags: readonly Tag[]
  readonly attributeChanges?: OperatorChanges<Attribute> | undefined
  readonly tagChanges?: OperatorChanges<Tag> | undefined
  readonly launchType: 'EC2' | 'EXTERNAL'
  /** The newest sequence number given to anything that this instance's agent is told. Never goes back. */
  readonly seqNum: number
  /** When agentConnected last changed. */
  readonly connectivityAt?: number | undefined
  /** True where the agent speaks Gantry's extensions. */
  readonly gantryProtocol: boolean
  /** Ports held by programs outside of Gantry, as the agent last reported them. */
  readonly hostTcpPorts: readonly number[]
  readonly hostUdpPorts: readonly number[]
  /** The agent's range for dynamic host ports, inclusive. */
  readonly dynamicPorts: { readonly first: number; readonly last: number }
  readonly inactiveSince?: number | undefined
  /** RegisterContainerInstance's clientToken, so that a repeat answers the same instance. */
  readonly clientToken?: string | undefined
}

/** Key: the task's id (32 hex digits). */
export interface TaskRow
  extends Omit<
    With<Task, 'taskArn' | 'clusterArn' | 'taskDefinitionArn' | 'createdAt' | 'version' | 'group'>,
    // How its agent is connected is the instance's to say, and is read from there.
    'lastStatus' | 'desiredStatus' | 'containers' | 'tags' | 'connectivity' | 'connectivityAt'
  > {
  readonly taskId: string
  readonly clusterName: string
  readonly instanceId: string
  readonly family: string
  readonly lastStatus: TaskStatus
  readonly desiredStatus: DesiredStatus
  readonly containers: readonly TaskContainer[]
  readonly tags: readonly Tag[]
  /** What the account setting defaultLogDriverMode said when the task was started; absent: blocking. */
  readonly logDriverMode?: 'non-blocking' | undefined
  /** What the task holds of its instance until it is STOPPED. */
  readonly reserved: ReservedResources
  /** The sequence number under which the agent is told of `desiredStatus`; given by the task decider. */
  readonly seqNum: number
  /** The desiredStatus that `seqNum` was given for; another one means that the agent is to be told anew. */
  readonly numberedFor?: DesiredStatus | undefined
  /** Set once an agent has acknowledged the payload that carried `seqNum`, or reported on the task. */
  readonly acknowledgedSeqNum: number
  /** What the agent says that the task waits for. */
  readonly waitingFor?: string | undefined
  /** When the agent last said anything about this task. */
  readonly reportedAt?: number | undefined
}

export interface TaskContainer extends Omit<With<Container, 'containerArn' | 'name'>, 'lastStatus'> {
  readonly name: string
  readonly lastStatus: ContainerStatus
  readonly essential: boolean
  readonly startedAt?: number | undefined
  readonly finishedAt?: number | undefined
  /** For `why` alone. Never in a Describe answer. */
  readonly lastLogLines?: readonly string[] | undefined
}

export interface ReservedResources {
  readonly cpuUnits: number
  readonly memoryMiB: number
  /** Static host ports; dynamic ones are in the containers' network bindings once the agent has chosen them. */
  readonly tcpPorts: readonly number[]
  readonly udpPorts: readonly number[]
  /** How many dynamic host ports the agent is still to choose and report. */
  readonly dynamicPortsAwaited: number
}

/** Key: `operation/cluster/clientToken`. What a repeated call is answered with; kept for 24 hours. */
export interface IdempotencyRow {
  readonly key: string
  /** A digest of the parameters: the same token with others is a ConflictException. */
  readonly inputHash: string
  readonly taskIds: readonly string[]
  readonly failures: readonly { readonly arn?: string; readonly reason?: string; readonly detail?: string }[]
  readonly createdAt: number
}

/**
 * Key: `principalArn/name`. A setting as somebody put it; what nobody put has ECS's default. The root user's is the
 * account's: it holds for every principal that has none of its own.
 */
export type AccountSettingRow = With<Setting, 'name' | 'value' | 'principalArn'>

export interface Tables {
  cluster: ClusterRow
  family: FamilyRow
  taskDefinition: TaskDefinitionRow
  instance: InstanceRow
  task: TaskRow
  idempotency: IdempotencyRow
  accountSetting: AccountSettingRow
}

export type TableName = keyof Tables

/**
 * The secondary indexes: for each table, index name -> the value under which a row is found, or undefined where the row
 * is not in that index.
 */
export const indexes = {
  cluster: {},
  family: {},
  taskDefinition: {
    byFamily: (row: TaskDefinitionRow) => row.family,
  },
  instance: {
    byCluster: (row: InstanceRow) => row.clusterName,
    byClientToken: (row: InstanceRow) => row.clientToken,
  },
  task: {
    byCluster: (row: TaskRow) => row.clusterName,
    /** Tasks that hold resources: everything that is not STOPPED. */
    liveByInstance: (row: TaskRow) => (row.lastStatus === 'STOPPED' ? undefined : row.instanceId),
    liveByCluster: (row: TaskRow) => (row.lastStatus === 'STOPPED' ? undefined : row.clusterName),
    liveByTaskDefinition: (row: TaskRow) => (row.lastStatus === 'STOPPED' ? undefined : row.taskDefinitionArn),
    stopped: (row: TaskRow) => (row.lastStatus === 'STOPPED' ? 'STOPPED' : undefined),
  },
  idempotency: {},
  accountSetting: {
    byPrincipal: (row: AccountSettingRow) => row.principalArn,
  },
} as const satisfies { [T in TableName]: Record<string, (row: Tables[T]) => string | undefined> }

export type IndexName<T extends TableName> = keyof (typeof indexes)[T] & string

/** The table names in the order in which they are written down, for the store and for iteration. */
export const tableNames = Object.keys(indexes) as readonly TableName[]
