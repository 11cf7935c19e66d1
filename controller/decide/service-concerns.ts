/**
 * Which services a changed row concerns. What an agent is told, and how it answers, concerns none: most changes of rows
 * end here.
 */
import { sameRow } from '../state/equal.ts'
import { phaseOf } from '../state/service-phase.ts'
import type { TaskSetRow } from '../state/service-tables.ts'
import type { SubnetRow } from '../state/subnet-tables.ts'
import type { InstanceRow, TableName, TaskRow } from '../state/tables.ts'
import type { Change, Reader } from '../state/transaction.ts'
import { isEngineSilent } from './engine-health.ts'

/** The keys of the services to decide since this row changed. */
export function concernedServices(
  reader: Reader,
  table: TableName,
  key: string,
  before: Change['before'],
): readonly string[] {
  switch (table) {
    case 'service':
      return [key]
    case 'deployment': {
      const deployment = reader.get('deployment', key)
      return deployment === undefined ? [] : [deployment.serviceKey]
    }
    case 'taskSet': {
      const taskSet = reader.get('taskSet', key) ?? (before as TaskSetRow | undefined)
      return taskSet === undefined ? [] : [taskSet.serviceKey]
    }
    case 'task':
      return ofTask(reader, reader.get('task', key), before as TaskRow | undefined)
    case 'instance':
      return ofInstance(reader, reader.get('instance', key), before as InstanceRow | undefined)
    case 'address':
      return reader.get('address', key) === undefined ? servicesAwaitingAddress(reader) : []
    case 'subnet':
      return isMerelyUsed(reader.get('subnet', key), before as SubnetRow | undefined)
        ? []
        : servicesAwaitingAddress(reader)
    case 'cluster':
      return reader.find('service', 'liveByCluster', key).map(({ serviceKey }) => serviceKey)
    default:
      return []
  }
}

function ofTask(reader: Reader, task: TaskRow | undefined, before: TaskRow | undefined): readonly string[] {
  if (task === undefined) return []
  const own = task.serviceKey !== undefined && standsOtherwise(task, before) ? [task.serviceKey] : []
  return givesBack(task, before)
    ? [...own, ...waitingServices(reader, task.clusterName), ...daemonsLeft(reader, task)]
    : own
}

function standsOtherwise(task: TaskRow, before: TaskRow | undefined): boolean {
  return (
    before === undefined ||
    phaseOf(task) !== phaseOf(before) ||
    task.lastStatus !== before.lastStatus ||
    task.desiredStatus !== before.desiredStatus ||
    task.protectedUntil !== before.protectedUntil
  )
}

/** What the task held of its instance, or kept others from by its group, is free. */
function givesBack(task: TaskRow, before: TaskRow | undefined): boolean {
  if (before === undefined || before.lastStatus === 'STOPPED') return false
  return (
    task.lastStatus === 'STOPPED' ||
    task.desiredStatus !== before.desiredStatus ||
    task.reserved.dynamicPortsAwaited < before.reserved.dynamicPortsAwaited
  )
}

/** Daemons leave a draining instance after the other tasks, so each end there may be their turn. */
function daemonsLeft(reader: Reader, task: TaskRow): readonly string[] {
  if (task.lastStatus !== 'STOPPED' || reader.get('instance', task.instanceId)?.status !== 'DRAINING') return []
  return daemons(reader, task.clusterName)
}

function ofInstance(
  reader: Reader,
  instance: InstanceRow | undefined,
  before: InstanceRow | undefined,
): readonly string[] {
  if (instance === undefined) return []
  if (before !== undefined && sameRow(capacityOf(instance), capacityOf(before))) return []
  // Daemons come first, as in ECS: room for them is not given away to others.
  return [...daemons(reader, instance.clusterName), ...waitingServices(reader, instance.clusterName)]
}

/** What placement looks at. The sequence number is not among it: it changes with each task. */
function capacityOf(instance: InstanceRow): object {
  const { status, agentConnected, lostSince, launchType, attributes, attributeChanges } = instance
  const { registeredResources, hostTcpPorts, hostUdpPorts, dynamicPorts } = instance
  const isAbleToStart = !isEngineSilent(instance)
  const use = { status, agentConnected, isAbleToStart, lostSince, launchType, attributes, attributeChanges }
  return { use, registeredResources, hostTcpPorts, hostUdpPorts, dynamicPorts }
}

function waitingServices(reader: Reader, clusterName: string): readonly string[] {
  return [
    ...reader.find('deployment', 'waitingByCluster', clusterName),
    ...reader.find('taskSet', 'waitingByCluster', clusterName),
  ].map(({ serviceKey }) => serviceKey)
}

/** A subnet may serve all clusters. */
function servicesAwaitingAddress(reader: Reader): readonly string[] {
  return [
    ...reader.find('deployment', 'awaitingAddress', 'awaiting'),
    ...reader.find('taskSet', 'awaitingAddress', 'awaiting'),
  ].map(({ serviceKey }) => serviceKey)
}

/** An address was given out, which makes room for nobody. */
function isMerelyUsed(subnet: SubnetRow | undefined, before: SubnetRow | undefined): boolean {
  if (subnet === undefined || before === undefined) return subnet === undefined
  return sameRow({ ...subnet, lastGiven: undefined }, { ...before, lastGiven: undefined })
}

function daemons(reader: Reader, clusterName: string): readonly string[] {
  return reader.find('service', 'daemonByCluster', clusterName).map(({ serviceKey }) => serviceKey)
}
