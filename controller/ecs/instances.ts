/**
 * Container instances: how hosts join and leave a cluster, and how they are described. Registration is in
 * register-instance.ts.
 */
import { invalidParameter } from '../../proto/errors.ts'
import type { ContainerInstance, Failure, Input, Output, Resource } from '../../proto/model/types.ts'
import { type InstanceStatus, isLaterTaskStatus } from '../../proto/status.ts'
import type { World } from '../../proto/world.ts'
import { hostAttachments } from '../decide/address-allocation.ts'
import { ownerIdOf } from '../access/host-lookup.ts'
import { attributesOf, tagsOf } from '../decide/operator-changes.ts'
import { compileQuery } from '../decide/query/evaluate.ts'
import { instanceResources } from '../decide/resources.ts'
import type { InstanceRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { type Handlers, read, write } from './handler.ts'
import { findInstance, missingInstance, requireInstance } from './instance-lookup.ts'
import { page } from './paging.ts'
import { checkExpression } from './placement-rules.ts'
import { registerInstance } from './register-instance.ts'

const describedMax = 100
const stateUpdatesMax = 10

type InstanceField = NonNullable<Input<'DescribeContainerInstances'>['include']>[number]

export const instanceHandlers = {
  RegisterContainerInstance: write<'RegisterContainerInstance'>((tx, input, call, world) => {
    const row = registerInstance(tx, input, call.now, world, ownerIdOf(call.principal))
    // An agent that misses one of its attributes in the answer, or finds it changed, ends.
    return { containerInstance: { ...describeInstance(tx, row, ['TAGS']), attributes: row.attributes } }
  }),
  DeregisterContainerInstance: write<'DeregisterContainerInstance'>((tx, input, call) => {
    return { containerInstance: describeInstance(tx, deregisterInstance(tx, input, call.now), []) }
  }),
  DescribeContainerInstances: read<'DescribeContainerInstances'>((reader, input, _call, world) => {
    return describeInstances(reader, input, world)
  }),
  ListContainerInstances: read<'ListContainerInstances'>((reader, input) => listInstances(reader, input)),
  UpdateContainerInstancesState: write<'UpdateContainerInstancesState'>((tx, input, _call, world) => {
    return updateStates(tx, input, world)
  }),
  // The answer names the host that the caller reached, since that is an address which works from where the agent is.
  DiscoverPollEndpoint: read<'DiscoverPollEndpoint'>((_reader, _input, call) => {
    return { endpoint: `${call.origin}/acs`, telemetryEndpoint: `${call.origin}/tcs` }
  }),
} satisfies Handlers

/** An instance as ECS answers it. `include` adds tags and health, which are left out otherwise. */
export function describeInstance(
  reader: Reader,
  row: InstanceRow,
  include: readonly InstanceField[] = [],
): ContainerInstance {
  const tasks = reader.find('task', 'liveByInstance', row.instanceId)
  return {
    containerInstanceArn: row.containerInstanceArn,
    ec2InstanceId: row.ec2InstanceId,
    capacityProviderName: row.capacityProviderName,
    version: row.version,
    versionInfo: row.versionInfo,
    remainingResources: remainingResources(reader, row),
    registeredResources: row.registeredResources,
    status: row.status,
    statusReason: row.statusReason,
    agentConnected: row.agentConnected,
    runningTasksCount: tasks.filter((task) => task.lastStatus === 'RUNNING').length,
    pendingTasksCount: tasks.filter((task) => isLaterTaskStatus(task.lastStatus, 'RUNNING')).length,
    agentUpdateStatus: row.agentUpdateStatus,
    attributes: attributesOf(row),
    registeredAt: row.registeredAt,
    attachments: hostAttachments(reader, row.instanceId),
    ...(include.includes('TAGS') && { tags: tagsOf(row) }),
    ...(include.includes('CONTAINER_INSTANCE_HEALTH') && {
      healthStatus: row.healthStatus ?? { overallStatus: 'INSUFFICIENT_DATA', details: [] },
    }),
  }
}

/** What is left, in ECS's form: numbers that remain for CPU and memory, but for ports those that are taken. */
function remainingResources(reader: Reader, row: InstanceRow): readonly Resource[] {
  const { remaining, usedTcpPorts, usedUdpPorts, freeGpuIds } = instanceResources(reader, row)
  return row.registeredResources.map((resource) => {
    if (resource.name === 'CPU') return { ...resource, integerValue: remaining.cpuUnits }
    if (resource.name === 'MEMORY') return { ...resource, integerValue: remaining.memoryMiB }
    if (resource.name === 'PORTS') return { ...resource, stringSetValue: inOrder(usedTcpPorts) }
    if (resource.name === 'PORTS_UDP') return { ...resource, stringSetValue: inOrder(usedUdpPorts) }
    if (resource.name === 'GPU') return { ...resource, stringSetValue: freeGpuIds }
    return resource
  })
}

function inOrder(ports: ReadonlySet<number>): readonly string[] {
  return [...ports].sort((left, right) => left - right).map(String)
}

/**
 * Takes an instance out of its cluster; it stays describable as INACTIVE for a while, and a repeat answers the same. With
 * `force`, its tasks are orphaned: their containers go on, and ECS no longer counts them (the instance decider does it).
 */
function deregisterInstance(tx: Transaction, input: Input<'DeregisterContainerInstance'>, now: number): InstanceRow {
  const cluster = requireCluster(tx, input.cluster)
  if (input.containerInstance === undefined || input.containerInstance === '') {
    throw invalidParameter('Container instance cannot be empty.')
  }
  const row = requireInstance(tx, cluster, input.containerInstance)
  if (row.status === 'INACTIVE') return row
  if (input.force !== true && tx.count('task', 'liveByInstance', row.instanceId) > 0) {
    throw invalidParameter('Found running tasks on the instance.')
  }
  const inactive: InstanceRow = {
    ...row,
    status: 'INACTIVE',
    inactiveSince: now,
    agentConnected: false,
    connectivityAt: row.agentConnected ? now : row.connectivityAt,
    version: row.version + 1,
  }
  tx.put('instance', row.instanceId, inactive)
  return inactive
}

function describeInstances(
  reader: Reader,
  input: Input<'DescribeContainerInstances'>,
  world: World,
): Output<'DescribeContainerInstances'> {
  const cluster = requireCluster(reader, input.cluster)
  const asked = input.containerInstances ?? []
  if (asked.length === 0) throw invalidParameter('Container instance cannot be empty.')
  if (asked.length > describedMax) {
    throw invalidParameter(`containerInstances can name at most ${describedMax} instances, and names ${asked.length}.`)
  }
  const containerInstances: ContainerInstance[] = []
  const failures: Failure[] = []
  for (const idOrArn of new Set(asked)) {
    const row = findInstance(reader, cluster, idOrArn)
    if (row === undefined) failures.push(missingInstance(world, cluster, idOrArn))
    else containerInstances.push(describeInstance(reader, row, input.include ?? []))
  }
  return { containerInstances, failures }
}

function listInstances(reader: Reader, input: Input<'ListContainerInstances'>): Output<'ListContainerInstances'> {
  const cluster = requireCluster(reader, input.cluster)
  const rows = reader
    .find('instance', 'byCluster', cluster.clusterName)
    .filter((row) => (input.status === undefined ? row.status !== 'INACTIVE' : row.status === input.status))
    .filter(filterOf(reader, input.filter))
  const { items, nextToken } = page(rows, (row) => row.instanceId, input, { defaultSize: 100, maxSize: 100 })
  return { containerInstanceArns: items.map((row) => row.containerInstanceArn), nextToken }
}

/** An expression of the cluster query language; its counts are those of DescribeContainerInstances. */
function filterOf(reader: Reader, filter: string | undefined): (row: InstanceRow) => boolean {
  if (filter === undefined || filter.trim() === '') return () => true
  const query = compileQuery(
    checkExpression(filter, (message) => invalidParameter(`filter: ${message}`)),
    'running',
  )
  return (row) => query.holds({ instance: row, tasks: reader.find('task', 'liveByInstance', row.instanceId) })
}

function updateStates(
  tx: Transaction,
  input: Input<'UpdateContainerInstancesState'>,
  world: World,
): Output<'UpdateContainerInstancesState'> {
  const cluster = requireCluster(tx, input.cluster)
  const asked = input.containerInstances ?? []
  if (asked.length === 0) throw invalidParameter('Container instance cannot be empty.')
  if (asked.length > stateUpdatesMax) {
    throw invalidParameter(
      `containerInstances can name at most ${stateUpdatesMax} instances, and names ${asked.length}.`,
    )
  }
  const status = settableStatus(input.status)
  const containerInstances: ContainerInstance[] = []
  const failures: Failure[] = []
  for (const idOrArn of new Set(asked)) {
    const row = findInstance(tx, cluster, idOrArn)
    if (row === undefined) failures.push(missingInstance(world, cluster, idOrArn))
    else if (row.status === 'INACTIVE') failures.push({ arn: row.containerInstanceArn, reason: 'INACTIVE' })
    else containerInstances.push(describeInstance(tx, withStatus(tx, row, status)))
  }
  return { containerInstances, failures }
}

function settableStatus(text: string | undefined): Extract<InstanceStatus, 'ACTIVE' | 'DRAINING'> {
  if (text === 'ACTIVE' || text === 'DRAINING') return text
  throw invalidParameter(`Container instance status should be one of [ACTIVE,DRAINING], and is ${String(text)}.`)
}

function withStatus(tx: Transaction, row: InstanceRow, status: InstanceStatus): InstanceRow {
  if (row.status === status) return row
  const next: InstanceRow = { ...row, status, version: row.version + 1 }
  tx.put('instance', row.instanceId, next)
  return next
}
