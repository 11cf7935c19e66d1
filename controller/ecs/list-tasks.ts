/** ListTasks: the ARNs of a cluster's tasks, narrowed by every filter that is given. */
import { idOf } from '../../proto/arn.ts'
import { invalidParameter } from '../../proto/errors.ts'
import type { Input, Output } from '../../proto/model/types.ts'
import type { ClusterRow, TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { checkClusterOf } from './describe-task.ts'
import { unsupported } from './launch-rules.ts'
import { page } from './paging.ts'
import { requireService, serviceKeyOf } from './service-lookup.ts'

/** Stopped tasks that have left memory and are still listed, newest first. All of them can be described. */
const listedOfHistoryMax = 1000

export function listTasks(reader: Reader, input: Input<'ListTasks'>): Output<'ListTasks'> {
  const cluster = requireCluster(reader, input.cluster)
  checkFilters(reader, cluster, input)
  const rows = tasksOf(reader, cluster, input).filter((row) => matches(row, input))
  const { items, nextToken } = page(rows, (row) => row.taskId, input, { defaultSize: 100, maxSize: 100 })
  return { taskArns: items.map((row) => row.taskArn), ...(nextToken === undefined ? {} : { nextToken }) }
}

function checkFilters(reader: Reader, cluster: ClusterRow, input: Input<'ListTasks'>): void {
  if (input.daemonName !== undefined) throw unsupported('Daemons are not available: leave daemonName out.')
  if (input.containerInstance !== undefined) checkClusterOf(input.containerInstance, cluster)
  const others = [input.containerInstance, input.family, input.serviceName].filter((value) => value !== undefined)
  if (input.startedBy !== undefined && others.length > 0) {
    throw invalidParameter(
      'startedBy must be the only filter: it does not go with containerInstance, family or serviceName.',
    )
  }
  if (input.serviceName !== undefined) requireService(reader, cluster, input.serviceName)
}

/** By desired status, as ECS filters: no task is ever wanted PENDING, so that status finds none. */
function tasksOf(reader: Reader, cluster: ClusterRow, input: Input<'ListTasks'>): readonly TaskRow[] {
  const { desiredStatus = 'RUNNING', serviceName } = input
  if (desiredStatus === 'RUNNING') {
    const live =
      serviceName === undefined
        ? reader.find('task', 'liveByCluster', cluster.clusterName)
        : reader.find('task', 'liveByService', serviceKeyOf(cluster.clusterName, idOf(serviceName)))
    return live.filter((row) => row.desiredStatus === 'RUNNING')
  }
  if (desiredStatus !== 'STOPPED') return []
  const known = reader
    .find('task', 'byCluster', cluster.clusterName)
    .filter((row) => row.desiredStatus === 'STOPPED' || row.lastStatus === 'STOPPED')
  const past = reader.history.tasksOfCluster(cluster.clusterName, listedOfHistoryMax)
  if (past.length === 0) return known
  const byId = new Map([...past, ...known].map((row) => [row.taskId, row]))
  return [...byId.values()].sort((left, right) => (left.taskId < right.taskId ? -1 : 1))
}

function matches(row: TaskRow, input: Input<'ListTasks'>): boolean {
  if (input.containerInstance !== undefined && row.instanceId !== idOf(input.containerInstance)) return false
  if (input.family !== undefined && row.family !== input.family) return false
  if (input.startedBy !== undefined && row.startedBy !== input.startedBy) return false
  if (input.launchType !== undefined && row.launchType !== input.launchType) return false
  return input.serviceName === undefined || row.group === `service:${idOf(input.serviceName)}`
}
