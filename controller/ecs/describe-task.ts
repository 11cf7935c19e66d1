/** How a task shows in answers: ECS's members alone, and what its instance knows of the connection to it. */
import { clusterNameInArn, idOf, isArn, taskArn } from '../../proto/arn.ts'
import { invalidParameter } from '../../proto/errors.ts'
import type { Container, Failure, Input, Output, Task } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import type { ClusterRow, InstanceRow, TaskContainer, TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'

const describedMax = 100

/** Named one by one, so that what Gantry keeps beside a task can't leak into an answer. */
const taskMembers = [
  'attachments',
  'attributes',
  'availabilityZone',
  'capacityProviderName',
  'clusterArn',
  'containerInstanceArn',
  'cpu',
  'createdAt',
  'desiredStatus',
  'enableExecuteCommand',
  'executionStoppedAt',
  'group',
  'healthStatus',
  'inferenceAccelerators',
  'lastStatus',
  'launchType',
  'memory',
  'overrides',
  'platformVersion',
  'platformFamily',
  'pullStartedAt',
  'pullStoppedAt',
  'startedAt',
  'startedBy',
  'stopCode',
  'stoppedAt',
  'stoppedReason',
  'stoppingAt',
  'taskArn',
  'taskDefinitionArn',
  'version',
] as const satisfies readonly (keyof Task & keyof TaskRow)[]

const containerMembers = [
  'containerArn',
  'taskArn',
  'name',
  'image',
  'imageDigest',
  'runtimeId',
  'lastStatus',
  'exitCode',
  'reason',
  'networkBindings',
  'networkInterfaces',
  'healthStatus',
  'managedAgents',
  'cpu',
  'memory',
  'memoryReservation',
  'gpuIds',
] as const satisfies readonly (keyof Container & keyof TaskContainer)[]

/** `row` as ECS describes it. Tags are there only with `include` TAGS, as in ECS. */
export function describeTask(reader: Reader, row: TaskRow, include: readonly string[] = []): Task {
  return describeTaskOn(reader.get('instance', row.instanceId), row, include)
}

/** The same, its instance being as it is given here. */
export function describeTaskOn(instance: InstanceRow | undefined, row: TaskRow, include: readonly string[] = []): Task {
  return {
    ...pick(row, taskMembers),
    ...connectivityOf(instance, row),
    containers: row.containers.map((container) => ({
      ...pick(container, containerMembers),
      ...(row.enableExecuteCommand === true && { managedAgents: [executeCommandAgent(container)] }),
    })),
    ...(include.includes('TAGS') ? { tags: row.tags } : {}),
  }
}

type ManagedAgent = NonNullable<Container['managedAgents']>[number]

/** Commands are run by the container instance's own agent, so this one is there whenever the container is. */
function executeCommandAgent({ lastStatus, startedAt }: TaskContainer): ManagedAgent {
  const status = lastStatus === 'RUNNING' || lastStatus === 'STOPPED' ? lastStatus : 'PENDING'
  return {
    name: 'ExecuteCommandAgent',
    lastStatus: status,
    ...(status === 'RUNNING' && startedAt !== undefined && { lastStartedAt: startedAt }),
  }
}

/** DescribeTasks: at most 100; what isn't known is in `failures` as MISSING. */
export function describeTasks(reader: Reader, input: Input<'DescribeTasks'>, world: World): Output<'DescribeTasks'> {
  const cluster = requireCluster(reader, input.cluster)
  const wanted = input.tasks ?? []
  if (wanted.length === 0) throw invalidParameter('Tasks cannot be empty.')
  if (wanted.length > describedMax) {
    throw invalidParameter(`At most ${describedMax} tasks can be described at once, and ${wanted.length} are named.`)
  }
  const tasks: Task[] = []
  const failures: Failure[] = []
  for (const idOrArn of wanted) {
    const row = findTask(reader, cluster, idOrArn)
    if (row === undefined) {
      const arn = isArn(idOrArn) ? idOrArn : taskArn(world, cluster.clusterName, idOrArn)
      failures.push({ arn, reason: 'MISSING' })
    } else tasks.push(describeTask(reader, row, input.include ?? []))
  }
  return { tasks, failures }
}

/**
 * The task of that id or ARN in `cluster`, from memory or from the history. InvalidParameterException where an ARN names
 * another cluster, in ECS's words.
 */
export function findTask(reader: Reader, cluster: ClusterRow, idOrArn: string): TaskRow | undefined {
  checkClusterOf(idOrArn, cluster)
  const taskId = idOf(idOrArn)
  const row = reader.get('task', taskId) ?? reader.history.task(taskId)
  if (row?.clusterName !== cluster.clusterName) return undefined
  // The old ARN format has no cluster in it; a whole one must be this task's own, region and account included.
  return clusterNameInArn(idOrArn) === undefined || row.taskArn === idOrArn ? row : undefined
}

/** For every parameter that takes an id or an ARN within a cluster. */
export function checkClusterOf(idOrArn: string, cluster: ClusterRow): void {
  const named = clusterNameInArn(idOrArn)
  if (named === undefined || named === cluster.clusterName) return
  throw invalidParameter(`Identifier is for cluster ${named}. Your cluster is ${cluster.clusterName}`)
}

/**
 * A live task is as connected as its instance, so that what was last heard of it never passes for fresh. What a stopped
 * task was is final, whatever became of its instance.
 */
function connectivityOf(
  instance: InstanceRow | undefined,
  row: TaskRow,
): Pick<Task, 'connectivity' | 'connectivityAt'> {
  if (row.lastStatus === 'STOPPED') return {}
  if (instance === undefined) return { connectivity: 'DISCONNECTED' }
  return {
    connectivity: instance.agentConnected && instance.status !== 'INACTIVE' ? 'CONNECTED' : 'DISCONNECTED',
    ...(instance.connectivityAt === undefined
      ? {}
      : { connectivityAt: Math.max(instance.connectivityAt, row.createdAt) }),
  }
}

function pick<T extends object, K extends keyof T>(from: T, members: readonly K[]): Pick<T, K> {
  const picked: Partial<Pick<T, K>> = {}
  for (const member of members) if (from[member] !== undefined) picked[member] = from[member]
  return picked as Pick<T, K>
}
