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
import type {
  DeploymentRow,
  PlacementNote,
  ServiceDeploymentRow,
  ServiceEventRow,
  ServiceRevisionRow,
  ServiceRow,
  TaskSetRow,
} from './service-tables.ts'
import type { AccessPointRow, FileSystemRow } from './file-system-tables.ts'
import { hostIndexes, type HostTables } from './host-tables.ts'
import {
  type AccessKeyRow,
  iamIndexes,
  type InstanceProfileRow,
  type ManagedPolicyRow,
  type RoleDeletionRow,
  type RoleRow,
  type UserRow,
} from './iam-tables.ts'
import { phaseOf } from './service-phase.ts'
import { type SecretRow, secretsmanagerIndexes, type SecretVersionRow } from './secretsmanager-tables.ts'
import { type ParameterRow, type ParameterVersionRow, ssmIndexes, type ValueStoreRow } from './ssm-tables.ts'
import type { AddressRow, SubnetRow } from './subnet-tables.ts'

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
  /**
   * Set while so many instances are lost at once that their tasks are not replaced: the network is the likelier cause.
   * Epoch milliseconds.
   */
  readonly replacementPausedSince?: number | undefined
  /** While replacement is paused: when the first of the instances went silent that it is paused for. */
  readonly lossWindowSince?: number | undefined
  /** After a pause that ended by itself: those lost with the others that are still away are not replaced yet. */
  readonly returnsAwaited?: ReturnsAwaited | undefined
  /** Instances that were silent by then don't pause replacement: an operator said that it shall go on. */
  readonly lossesAcceptedAt?: number | undefined
  /** How long an instance may be silent before its tasks are replaced, milliseconds. Absent: the default of 15 s. */
  readonly lostAfterMs?: number | undefined
  /** Where awsvpc tasks go that are started without a network configuration. */
  readonly defaultSubnetId?: string | undefined
}

/** Instants in epoch milliseconds: those that fell silent from `since` to `pausedUntil` are waited for until `until`. */
export interface ReturnsAwaited {
  readonly since: number
  readonly pausedUntil: number
  readonly until: number
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
  /** While the agent is disconnected, or the instance lost: when it was last heard, or when its channel closed. */
  readonly silentSince?: number | undefined
  /** True where the agent speaks Gantry's extensions. */
  readonly gantryProtocol: boolean
  /** Ports held by programs outside of Gantry, as the agent last reported them. */
  readonly hostTcpPorts: readonly number[]
  readonly hostUdpPorts: readonly number[]
  /** The agent's range for dynamic host ports, inclusive. */
  readonly dynamicPorts: { readonly first: number; readonly last: number }
  readonly inactiveSince?: number | undefined
  /** Since when the instance counts as lost: disconnected for longer than the cluster's patience. Epoch milliseconds. */
  readonly lostSince?: number | undefined
  /** When the agent of a lost instance came back: a little later, once it has told what ended meanwhile, it isn't lost. */
  readonly returnedAt?: number | undefined
  /** Subnets in which an address is reserved for the host's own interface. */
  readonly addressedSubnetIds?: readonly string[] | undefined
  /** RegisterContainerInstance's clientToken, so that a repeat answers the same instance. */
  readonly clientToken?: string | undefined
  /** The joined host that registered it, whose keys alone speak for it. */
  readonly hostId?: string | undefined
  /** The user or role that did, by IAM's unique id; with neither it is that of the key of the first start. */
  readonly registeredBy?: string | undefined
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
  /** What placement weighed when it chose the instance, for `why`. */
  readonly placement?: PlacementNote | undefined
  /** Only on tasks of a service: `cluster/name`. */
  readonly serviceKey?: string | undefined
  /** Only on tasks of a service: the deployment or task set that it belongs to, `ecs-svc/N`, also its `startedBy`. */
  readonly deploymentId?: string | undefined
  /** True where an essential container has a health check: then RUNNING alone isn't healthy. */
  readonly hasHealthCheck?: true | undefined
  /** When the task first passed the health gate (service-phase.ts). */
  readonly healthyAt?: number | undefined
  /** Set once the task's end has been counted for its deployment, so that it is counted once. */
  readonly isEndCounted?: true | undefined
  /** While the task's instance counts as lost. Taken back when the instance returns. */
  readonly lostSince?: number | undefined
  /** While the task's instance is draining, on tasks of services. */
  readonly evacuatingSince?: number | undefined
  /** Task protection: until then (epoch milliseconds) neither scale-in nor a deployment nor a drain stops the task. */
  readonly protectedUntil?: number | undefined
  /** Of its network configuration. They are kept and shown; nothing enforces them. */
  readonly securityGroups?: readonly string[] | undefined
  /** Set where its instance was deregistered by force: it counts as STOPPED, and its containers may go on. */
  readonly abandonedAt?: number | undefined
  /** By what id its agent knows the keys of its task role, where it has one. The keys themselves are kept nowhere. */
  readonly credentialsId?: string | undefined
  /** The same of its execution role. */
  readonly executionCredentialsId?: string | undefined
}

export interface TaskContainer extends Omit<With<Container, 'containerArn' | 'name'>, 'lastStatus'> {
  readonly name: string
  readonly lastStatus: ContainerStatus
  readonly essential: boolean
  /** How often it was started again in place: by its restart policy, or by an agent that had no controller. */
  readonly restartCount?: number | undefined
  readonly startedAt?: number | undefined
  readonly finishedAt?: number | undefined
  /** What the agent is told in place of `image`: `repository@digest`, as the deployment's first task ran it. */
  readonly pinnedImage?: string | undefined
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
  /** How many of its GPUs; which ones stands with the containers. Absent: none. */
  readonly gpus?: number | undefined
  /** Network interfaces of its own: 1 with network mode awsvpc. */
  readonly networkInterfaces?: number | undefined
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

export interface Tables extends HostTables {
  cluster: ClusterRow
  family: FamilyRow
  taskDefinition: TaskDefinitionRow
  instance: InstanceRow
  task: TaskRow
  idempotency: IdempotencyRow
  accountSetting: AccountSettingRow
  service: ServiceRow
  deployment: DeploymentRow
  serviceDeployment: ServiceDeploymentRow
  serviceRevision: ServiceRevisionRow
  serviceEvent: ServiceEventRow
  taskSet: TaskSetRow
  subnet: SubnetRow
  address: AddressRow
  fileSystem: FileSystemRow
  accessPoint: AccessPointRow
  parameter: ParameterRow
  parameterVersion: ParameterVersionRow
  secret: SecretRow
  secretVersion: SecretVersionRow
  valueStore: ValueStoreRow
  user: UserRow
  accessKey: AccessKeyRow
  role: RoleRow
  managedPolicy: ManagedPolicyRow
  instanceProfile: InstanceProfileRow
  roleDeletion: RoleDeletionRow
}

export type TableName = keyof Tables

/**
 * The secondary indexes: for each table, index name -> the value under which a row is found, or undefined where the row
 * is not in that index.
 */
export const indexes = {
  cluster: {
    paused: (row: ClusterRow) => (row.replacementPausedSince === undefined ? undefined : 'paused'),
    awaiting: (row: ClusterRow) => (row.returnsAwaited === undefined ? undefined : 'awaiting'),
  },
  family: {},
  taskDefinition: {
    byFamily: (row: TaskDefinitionRow) => row.family,
  },
  instance: {
    byCluster: (row: InstanceRow) => row.clusterName,
    byClientToken: (row: InstanceRow) => row.clientToken,
    byHost: (row: InstanceRow) => row.hostId,
    /** Instances that are registered and whose agent is away: those that may come to count as lost. */
    away: (row: InstanceRow) => (row.status === 'INACTIVE' || row.agentConnected ? undefined : 'away'),
    returned: (row: InstanceRow) => (row.returnedAt === undefined ? undefined : 'returned'),
  },
  task: {
    byCluster: (row: TaskRow) => row.clusterName,
    /** Tasks that hold resources: everything that is not STOPPED. */
    liveByInstance: (row: TaskRow) => (row.lastStatus === 'STOPPED' ? undefined : row.instanceId),
    liveByCluster: (row: TaskRow) => (row.lastStatus === 'STOPPED' ? undefined : row.clusterName),
    /** Tasks that an agent is to be told of, or told of again until it acknowledges. */
    untoldByInstance: (row: TaskRow) =>
      row.lastStatus === 'STOPPED' || row.seqNum <= row.acknowledgedSeqNum ? undefined : row.instanceId,
    /** `default/EC2/RUNNING`: what a cluster's counts are read from. */
    liveByClusterCount: (row: TaskRow) =>
      row.lastStatus === 'STOPPED' ? undefined : `${row.clusterName}/${row.launchType}/${row.lastStatus}`,
    liveByTaskDefinition: (row: TaskRow) => (row.lastStatus === 'STOPPED' ? undefined : row.taskDefinitionArn),
    stopped: (row: TaskRow) => (row.lastStatus === 'STOPPED' ? 'STOPPED' : undefined),
    liveByService: (row: TaskRow) => (row.lastStatus === 'STOPPED' ? undefined : row.serviceKey),
    /** `ecs-svc/N/healthy`: how the scheduler counts a deployment's tasks without looking at each. */
    byDeploymentPhase: (row: TaskRow) => inDeployment(row, phaseOf(row)),
    /** `ecs-svc/N/RUNNING`: what Describe answers count. Tasks of lost instances are not among them. */
    byDeploymentStatus: (row: TaskRow) => inDeployment(row, row.lostSince === undefined ? row.lastStatus : undefined),
    /** Tasks whose protection has an end that is to be noticed. */
    protected: (row: TaskRow) =>
      row.protectedUntil === undefined || row.lastStatus === 'STOPPED' ? undefined : 'protected',
    protectedByService: (row: TaskRow) =>
      row.protectedUntil === undefined || row.lastStatus === 'STOPPED' ? undefined : row.serviceKey,
  },
  idempotency: {},
  accountSetting: {
    byPrincipal: (row: AccountSettingRow) => row.principalArn,
  },
  service: {
    byCluster: (row: ServiceRow) => row.clusterName,
    /** Services that have work in the cluster: everything that is not INACTIVE. */
    liveByCluster: (row: ServiceRow) => (row.status === 'INACTIVE' ? undefined : row.clusterName),
    daemonByCluster: (row: ServiceRow) =>
      row.schedulingStrategy === 'DAEMON' && row.status === 'ACTIVE' ? row.clusterName : undefined,
    /** Services that are to be looked at again at a certain time. */
    timed: (row: ServiceRow) => (row.wakeAt === undefined ? undefined : 'timed'),
    inactive: (row: ServiceRow) => (row.status === 'INACTIVE' ? 'INACTIVE' : undefined),
    liveByTaskDefinition: (row: ServiceRow) => (row.status === 'INACTIVE' ? undefined : row.taskDefinition),
    /** Services that told of a pause of replacement and have yet to tell of its end. */
    pauseAnnounced: (row: ServiceRow) => (row.pauseAnnouncedAt === undefined ? undefined : 'announced'),
  },
  deployment: {
    /** The service's deployments that are PRIMARY or ACTIVE. */
    liveByService: (row: DeploymentRow) => (row.status === 'INACTIVE' ? undefined : row.serviceKey),
    byService: (row: DeploymentRow) => row.serviceKey,
    liveByTaskDefinition: (row: DeploymentRow) => (row.status === 'INACTIVE' ? undefined : row.taskDefinition),
    /** Deployments of a cluster that wait for capacity. */
    waitingByCluster: (row: DeploymentRow) =>
      row.waiting === undefined || row.status === 'INACTIVE' ? undefined : row.clusterName,
    /** Deployments of any cluster whose next task needs an address of its own. */
    awaitingAddress: (row: DeploymentRow) => (row.status === 'INACTIVE' ? undefined : awaitsAddress(row)),
  },
  serviceDeployment: {
    byService: (row: ServiceDeploymentRow) => row.serviceKey,
  },
  serviceRevision: {
    byService: (row: ServiceRevisionRow) => row.serviceKey,
    byTaskDefinition: (row: ServiceRevisionRow) => row.taskDefinition,
  },
  serviceEvent: {
    byService: (row: ServiceEventRow) => row.serviceKey,
  },
  taskSet: {
    byService: (row: TaskSetRow) => row.serviceKey,
    byTaskDefinition: (row: TaskSetRow) => row.taskDefinition,
    /** Task sets of a cluster that wait for capacity. */
    waitingByCluster: (row: TaskSetRow) => (row.waiting === undefined ? undefined : row.clusterName),
    awaitingAddress: (row: TaskSetRow) => awaitsAddress(row),
  },
  subnet: {},
  address: {
    bySubnet: (row: AddressRow) => row.subnetId,
    byTask: (row: AddressRow) => row.taskId,
    byInstance: (row: AddressRow) => row.instanceId,
    byMac: (row: AddressRow) => row.macAddress,
    byAttachment: (row: AddressRow) => row.attachmentId,
    quarantined: (row: AddressRow) => (row.quarantine === undefined ? undefined : 'quarantined'),
  },
  fileSystem: {},
  accessPoint: {
    byFileSystem: (row: AccessPointRow) => row.fileSystemId,
  },
  ...hostIndexes,
  ...iamIndexes,
  ...secretsmanagerIndexes,
  ...ssmIndexes,
} as const satisfies { [T in TableName]: Record<string, (row: Tables[T]) => string | undefined> }

export type IndexName<T extends TableName> = keyof (typeof indexes)[T] & string

/** The table names in the order in which they are written down, for the store and for iteration. */
export const tableNames = Object.keys(indexes) as readonly TableName[]

/** By the network configuration, not by the reason: what stands first in the way of a task may be something else. */
function awaitsAddress({
  waiting,
  networkConfiguration,
}: Pick<DeploymentRow, 'waiting' | 'networkConfiguration'>): string | undefined {
  return waiting === undefined || networkConfiguration === undefined ? undefined : 'awaiting'
}

function inDeployment(row: TaskRow, word: string | undefined): string | undefined {
  if (row.deploymentId === undefined || word === undefined || row.lastStatus === 'STOPPED') return undefined
  return `${row.deploymentId}/${word}`
}
