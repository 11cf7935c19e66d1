/**
 * The tasks of a service: how one begins, how the scheduler ends one, how many there are, and how events name them.
 */
import { parseTaskDefinitionName } from '../../proto/arn.ts'
import type { DeploymentRow, ServiceRow } from '../state/service-tables.ts'
import type { Tag } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { newTask } from '../ecs/new-task.ts'
import { servicePhases, type ServicePhase } from '../state/service-phase.ts'
import type { ClusterRow, TaskDefinitionRow, TaskRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { isHeld } from './instance-loss.ts'
import type { Placed } from './placed.ts'
import { addTaskEvent, type ServiceNews, subjectOf, type TaskNews } from './service-events.ts'
import { type PhaseCounts, totalOf } from './rolling.ts'

/** What a new task is made of: the same for all tasks that one decision starts. */
export interface ServiceTaskSource {
  readonly cluster: ClusterRow
  readonly service: ServiceRow
  readonly definition: TaskDefinitionRow
  /** The deployment or task set that the task belongs to. */
  readonly deploymentId: string
  readonly launchType?: 'EC2' | 'EXTERNAL' | undefined
  /** Where its tasks have addresses of their own (network mode awsvpc). */
  readonly networkConfiguration?: DeploymentRow['networkConfiguration']
}

/** A task of a service where placement put it, PENDING. The caller writes it. */
export function newServiceTask(source: ServiceTaskSource, placed: Placed, now: number, world: World): TaskRow {
  const { cluster, service, definition, deploymentId, launchType, networkConfiguration } = source
  const { instance, note } = placed
  const request = {
    cluster,
    definition,
    group: groupOf(service),
    startedBy: deploymentId,
    overrides: { containerOverrides: [] },
    tags: taskTags(service, definition),
    logDriverMode: service.logDriverMode,
    enableExecuteCommand: service.enableExecuteCommand ?? false,
    networkConfiguration,
  }
  const hasHealthCheck = definition.containerDefinitions.some(
    ({ essential, healthCheck }) => essential !== false && healthCheck !== undefined,
  )
  return {
    ...newTask(request, launchType ?? instance.launchType, instance, placed, now, world),
    serviceKey: service.serviceKey,
    deploymentId,
    placement: note,
    ...(hasHealthCheck ? { hasHealthCheck } : {}),
  }
}

/** `service:web`: the group of all tasks of a service. Source: ECS API reference, Task, `group`. */
export function groupOf({ serviceName }: ServiceRow): string {
  return `service:${serviceName}`
}

/** Undefined where the definition is gone; one that is only deregistered still serves its services, as in ECS. */
export function definitionOf(reader: Reader, arn: string): TaskDefinitionRow | undefined {
  const name = parseTaskDefinitionName(arn)
  return name === undefined ? undefined : reader.get('taskDefinition', `${name.family}:${name.revision}`)
}

/**
 * The row of a task that the scheduler ends, or undefined where its end is already wanted. Source: the stopped reason and
 * code are those that ECS gives ("Scaling activity initiated by (deployment ecs-svc/N)", ServiceSchedulerInitiated).
 */
export function stopServiceTask(tx: Transaction, taskId: string, now: number, reason?: string): TaskRow | undefined {
  const task = tx.get('task', taskId)
  if (task === undefined || task.desiredStatus === 'STOPPED') return undefined
  const stopped: TaskRow = {
    ...task,
    desiredStatus: 'STOPPED',
    stopCode: 'ServiceSchedulerInitiated',
    stoppedReason: reason ?? `Scaling activity initiated by (deployment ${task.deploymentId ?? ''})`,
    stoppingAt: now,
    version: task.version + 1,
  }
  tx.put('task', taskId, stopped)
  return stopped
}

const noTasks: PhaseCounts = {
  starting: 0,
  healthy: 0,
  unhealthy: 0,
  leaving: 0,
  leavingUnready: 0,
  stopping: 0,
  lost: 0,
}

/** How many tasks deployments have in each phase, without a look at any task. */
export function countPhases(reader: Reader, deploymentIds: readonly string[]): PhaseCounts {
  const counts = { ...noTasks }
  for (const id of deploymentIds) {
    for (const phase of servicePhases) counts[phase] += reader.count('task', 'byDeploymentPhase', `${id}/${phase}`)
  }
  return counts
}

/**
 * Deployments that are INACTIVE and have tasks all the same: those were lost when the others went. They are only looked for
 * where the service has tasks that its live deployments don't account for.
 */
export function doneWithTasks(reader: Reader, serviceKey: string): readonly DeploymentRow[] {
  const tasksOf = (ids: readonly string[]): number => {
    const counts = countPhases(reader, ids)
    return totalOf(counts) + counts.lost
  }
  const live = reader.find('deployment', 'liveByService', serviceKey).map(({ id }) => id)
  if (reader.count('task', 'liveByService', serviceKey) === tasksOf(live)) return []
  return reader
    .find('deployment', 'byService', serviceKey)
    .filter(({ id, status }) => status === 'INACTIVE' && tasksOf([id]) > 0)
}

export function tasksInPhase(reader: Reader, deploymentId: string, phase: ServicePhase): readonly TaskRow[] {
  return reader.find('task', 'byDeploymentPhase', `${deploymentId}/${phase}`)
}

/**
 * How many lost tasks of a deployment or a task set are not to be replaced, since too many instances were lost at once: those
 * of instances that were lost with them, and for a while after the pause those that are still away. What was lost before
 * has its replacement, or is to get it.
 */
export function countHeldLost(reader: Reader, clusterName: string, ownerId: string): number {
  const cluster = reader.get('cluster', clusterName)
  if (cluster === undefined || !holdsLosses(cluster)) return 0
  return tasksInPhase(reader, ownerId, 'lost').filter(({ lostSince = 0, instanceId }) =>
    isHeld({ lostSince, silentSince: reader.get('instance', instanceId)?.silentSince }, cluster),
  ).length
}

/** True while lost tasks of the cluster may be held back from replacement. */
export function holdsLosses({ replacementPausedSince, returnsAwaited }: ClusterRow): boolean {
  return replacementPausedSince !== undefined || returnsAwaited !== undefined
}

/** True where lost tasks of theirs are on an instance that is back: their rows will say so later in the same turn. */
export function hasReturned(reader: Reader, ownerIds: readonly string[]): boolean {
  const withLost = ownerIds.filter((id) => reader.count('task', 'byDeploymentPhase', `${id}/lost`) > 0)
  return withLost.some((id) =>
    tasksInPhase(reader, id, 'lost').some((task) => {
      const instance = reader.get('instance', task.instanceId)
      return instance !== undefined && instance.lostSince === undefined
    }),
  )
}

/** `(service web) has started 2 tasks: (task ID) (task ID).` Those of the last seconds share an event. */
export function tellStarted(
  tx: Transaction,
  service: ServiceRow,
  tasks: readonly TaskRow[],
  now: number,
  world: World,
): void {
  if (tasks.length === 0) return
  const subject = subjectOfTasks(service, tasks)
  const say = (count: number, named: string): string => `${subject} has started ${count} tasks: ${named}.`
  addTaskEvent(tx, service.serviceKey, { ...tallyOf('started', tasks), say }, now, world)
}

/** `(service web) has stopped 2 running tasks: (task ID) (task ID).`, and of those that didn't run yet the same. */
export function tellStopped(
  tx: Transaction,
  service: ServiceRow,
  tasks: readonly TaskRow[],
  now: number,
  world: World,
  news: ServiceNews = { eventType: 'INFO', eventName: 'TASKS_STOPPED' },
): void {
  const running = tasks.filter(({ lastStatus }) => lastStatus === 'RUNNING')
  const pending = tasks.filter(({ lastStatus }) => lastStatus !== 'RUNNING')
  for (const [word, some] of [
    ['running', running],
    ['pending', pending],
  ] as const) {
    const subject = subjectOfTasks(service, some)
    const say = (count: number, named: string): string => `${subject} has stopped ${count} ${word} tasks: ${named}.`
    const kind = `stopped ${word} ${news.eventName ?? ''}`
    addTaskEvent(tx, service.serviceKey, { ...tallyOf(kind, some), say }, now, world, news)
  }
}

/** Whose tasks they are: the service's or, where that has task sets, one task set's. */
function subjectOfTasks(service: ServiceRow, tasks: readonly TaskRow[]): string {
  if (service.deploymentController.type === 'ECS') return subjectOf(service)
  const owners = new Set(tasks.map(({ deploymentId }) => deploymentId))
  return subjectOf(service, owners.size === 1 ? tasks[0]?.deploymentId : undefined)
}

/** Tasks of the same deployments, or the same task set, share an event. */
function tallyOf(what: string, tasks: readonly TaskRow[]): Pick<TaskNews, 'kind' | 'taskIds'> {
  const owners = [...new Set(tasks.map(({ deploymentId = '' }) => deploymentId))].toSorted().join(' ')
  return { kind: `${what} ${owners}`, taskIds: tasks.map(({ taskId }) => taskId) }
}

/** Source: ECS API reference, CreateService, `propagateTags` and `enableECSManagedTags`. */
function taskTags(service: ServiceRow, definition: TaskDefinitionRow): readonly Tag[] {
  const propagated =
    service.propagateTags === 'SERVICE'
      ? service.tags
      : service.propagateTags === 'TASK_DEFINITION'
        ? definition.tags
        : []
  if (service.enableECSManagedTags !== true) return propagated
  return [
    ...propagated,
    { key: 'aws:ecs:clusterName', value: service.clusterName },
    { key: 'aws:ecs:serviceName', value: service.serviceName },
  ]
}
