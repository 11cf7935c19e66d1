/**
 * Services with an external controller: each task set is kept at its computed desired count, by itself. Nothing is rolled
 * over from one to the other: how many each has is said by its scale, and that is the controller's to change.
 *
 * Sources: AWS documentation, "Deploy Amazon ECS services using a third-party controller"; ECS API reference, TaskSet
 * (`stabilityStatus`) and DeploymentConfiguration (the percentages hold while instances drain).
 */
import type { World } from '../../proto/world.ts'
import type { ServiceRow, TaskSetRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { longPauseMs, pauseAfter } from './deployment-backoff.ts'
import { tellImpaired } from './deployment-outcome.ts'
import { type RollingInput, type RollingStep, rollingStep, totalOf } from './rolling.ts'
import { type Decided, tasksPerDecisionMax } from './service-decision.ts'
import { addServiceEvent, subjectOf } from './service-events.ts'
import { type Grace, graceOf, startingTasks, withGrace } from './service-grace.ts'
import { nextWait, placementRetryMs, refusalOf, startTasks, tellWait } from './service-starts.ts'
import { beginStops, type StopsDone, unhealthyReason } from './service-stops.ts'
import { stuckBy, type StuckBy, tellStuck } from './service-stuck.ts'
import { countHeldLost, countPhases, hasReturned, stopServiceTask, tasksInPhase, tellStarted } from './service-tasks.ts'
import { isProtected } from './task-protection.ts'
import { afterTaskSetProof, mayStartInTaskSet, proofOf } from './task-set-failures.ts'
import { computedDesiredCount, inOrder } from './task-set-scale.ts'

const pendingStatuses = ['PROVISIONING', 'PENDING', 'ACTIVATING'] as const

interface Scene {
  readonly service: ServiceRow
  readonly taskSet: TaskSetRow
  readonly desired: number
  readonly subject: string
  readonly grace: Grace
  readonly now: number
  readonly world: World
}

/** Starts and stops tasks of the service's task sets, and drops those that were deleted and have no task left. */
export function decideTaskSets(tx: Transaction, service: ServiceRow, now: number, world: World): Decided {
  const taskSets = inOrder(tx.find('taskSet', 'byService', service.serviceKey))
  // Tasks of a host that is back are about to be found again, and then the service is decided anew.
  const ids = taskSets.map(({ id }) => id)
  if (hasReturned(tx, ids)) return { more: false, wakeAt: [] }
  let budget = tasksPerDecisionMax
  let more = false
  const wakeAt: number[] = []
  for (const { id } of taskSets) {
    if (budget === 0) {
      more = true
      break
    }
    const decided = decideTaskSet(tx, service, id, budget, now, world)
    budget = Math.max(0, budget - decided.acted)
    more ||= decided.more
    wakeAt.push(...decided.wakeAt)
  }
  return { more, wakeAt }
}

/** A service that was deleted: its task sets want nothing any more. Its tasks are the caller's to stop. */
export function drainTaskSets(tx: Transaction, { serviceKey }: ServiceRow, now: number): void {
  for (const taskSet of tx.find('taskSet', 'byService', serviceKey)) {
    if (taskSet.status !== 'DRAINING') tx.put('taskSet', taskSet.id, drainedTaskSet(taskSet, now))
  }
}

/** The task set as it is once it was deleted, until its last task has gone. */
export function drainedTaskSet(taskSet: TaskSetRow, now: number): TaskSetRow {
  return {
    ...taskSet,
    status: 'DRAINING',
    scale: { value: 0, unit: 'PERCENT' },
    stabilityStatus: 'STABILIZING',
    stabilityStatusAt: now,
    updatedAt: now,
    retryAt: undefined,
    waiting: undefined,
    stuck: undefined,
  }
}

export function dropTaskSets(tx: Transaction, { serviceKey }: ServiceRow): void {
  for (const { id } of tx.find('taskSet', 'byService', serviceKey)) tx.delete('taskSet', id)
}

interface DecidedTaskSet extends Decided {
  /** How many tasks were started and stopped. */
  readonly acted: number
}

function decideTaskSet(
  tx: Transaction,
  service: ServiceRow,
  id: string,
  budget: number,
  now: number,
  world: World,
): DecidedTaskSet {
  const scene = beginScene(tx, service, id, now, world)
  if (scene === undefined) return { acted: 0, more: false, wakeAt: [] }
  const { taskSet, grace } = scene
  const released = taskSet.status === 'DRAINING' ? releaseLost(tx, scene, budget) : 0
  const { start } = stepOf(tx, scene, undefined)
  const starts = startTasks(tx, service, taskSet, Math.min(start, budget), now, world)
  tellStarted(tx, service, starts.started, now, world)
  const { waiting, isNews } = nextWait(taskSet.waiting, starts.wait, now)
  if (isNews) tellWait(tx, service, { id, subject: scene.subject }, waiting, now, world)
  const refused = refusalOf(starts.wait)
  const stops = stopTasks(tx, scene, refused, budget - released - starts.started.length)
  const stuck = stuckAfter(tx, scene, stuckBy(stops, stepOf(tx, scene, refused)))
  put(tx, { ...taskSet, waiting, stuck })
  endDecision(tx, scene)
  const isCutShort = starts.wait === undefined && starts.started.length < start
  return {
    acted: released + starts.started.length + stops.stopped,
    more: isCutShort || stops.isCutShort || (released > 0 && released === budget),
    wakeAt: [...grace.ends, ...retries(tx, id)],
  }
}

function beginScene(tx: Transaction, service: ServiceRow, id: string, now: number, world: World): Scene | undefined {
  const row = tx.get('taskSet', id)
  if (row === undefined) return undefined
  const subject = subjectOf(service, id)
  const taskSet = withPauseAnnounced(tx, service, afterTaskSetProof(tx, row, now), subject, now, world)
  if (taskSet !== row) tx.put('taskSet', id, taskSet)
  const desired = computedDesiredCount(service, taskSet)
  return { service, taskSet, desired, subject, grace: graceOf(tx, service, id, now), now, world }
}

/** ECS's event for a service that keeps failing, once in each row of failures, when pauses have grown long. */
function withPauseAnnounced(
  tx: Transaction,
  service: ServiceRow,
  taskSet: TaskSetRow,
  subject: string,
  now: number,
  world: World,
): TaskSetRow {
  const { pause, retryAt } = taskSet
  if (pause === undefined || retryAt === undefined || pause.isAnnounced === true) return taskSet
  if (pauseAfter(pause.round) < longPauseMs) return taskSet
  tellImpaired(tx, service, { ...taskSet, subject, retryAt }, now, world)
  return { ...taskSet, pause: { ...pause, isAnnounced: true } }
}

function stepOf(
  reader: Reader,
  { service, taskSet, desired, grace, now }: Scene,
  refused: RollingInput['refused'],
): RollingStep {
  const { minimumHealthyPercent = 100, maximumPercent = 200 } = service.deploymentConfiguration
  const counts = countPhases(reader, [taskSet.id])
  return rollingStep({
    desired,
    minimumHealthyPercent,
    maximumPercent,
    primary: withGrace(counts, grace),
    old: countPhases(reader, []),
    lostHeld: countHeldLost(reader, service.clusterName, taskSet.id),
    mayStart: mayStartInTaskSet(taskSet, now),
    refused,
  })
}

/**
 * Lost tasks of a deleted task set end when their host is back; protected ones not before their protection does. Also while
 * replacement is paused: nothing is started in their place. Answers how many were released.
 */
function releaseLost(tx: Transaction, { taskSet, now }: Scene, budget: number): number {
  const released = tasksInPhase(tx, taskSet.id, 'lost')
    .filter((task) => isWanted(task) && !isProtected(task, now))
    .slice(0, budget)
  for (const { taskId } of released) stopServiceTask(tx, taskId, now)
  return released.length
}

function stopTasks(tx: Transaction, scene: Scene, refused: RollingInput['refused'], budget: number): StopsDone {
  const { service, taskSet, grace, now, world } = scene
  const { id } = taskSet
  const step = stepOf(tx, scene, refused)
  const stops = beginStops(tx, service, budget, now, world)
  stops.stop(tasksInPhase(tx, id, 'leavingUnready'), Number.POSITIVE_INFINITY)
  if (step.stopUnhealthy > 0) stops.stop(grace.unhealthy, step.stopUnhealthy, unhealthyReason)
  if (step.stopSurplusStarting > 0) stops.stop(startingTasks(tx, id, grace), step.stopSurplusStarting)
  if (step.stopSurplusHealthy > 0) stops.stop(tasksInPhase(tx, id, 'healthy'), step.stopSurplusHealthy)
  if (step.stopLeaving > 0) stops.stop(tasksInPhase(tx, id, 'leaving'), step.stopLeaving)
  return stops.finish()
}

/** By what the task set is held up from now on, told where that is news. */
function stuckAfter(tx: Transaction, scene: Scene, by: StuckBy | undefined): TaskSetRow['stuck'] {
  const { service, taskSet, subject, desired, now, world } = scene
  if (taskSet.stuck?.by === by) return taskSet.stuck
  if (by === undefined) return undefined
  tellStuck(tx, service, { id: taskSet.id, subject, desired }, by, now, world)
  return { since: now, by }
}

/** What is DRAINING and has no task left is gone; of the others it is said whether they have what they want. */
function endDecision(tx: Transaction, { service, taskSet: { id }, desired, subject, now, world }: Scene): void {
  const taskSet = tx.get('taskSet', id)
  if (taskSet === undefined) return
  const counts = countPhases(tx, [id])
  if (taskSet.status === 'DRAINING') {
    // Without its row, lost tasks that are still wanted would be nobody's once their host is back.
    const isDone = totalOf(counts) === 0 && !tasksInPhase(tx, id, 'lost').some(isWanted)
    if (isDone) tx.delete('taskSet', id)
    return
  }
  const running = tx.count('task', 'byDeploymentStatus', `${id}/RUNNING`)
  const pending = pendingStatuses.some((status) => tx.count('task', 'byDeploymentStatus', `${id}/${status}`) > 0)
  // Tasks that fail their health checks, or are about to leave, are among those that run.
  const isSteady = counts.healthy === desired && running === desired && !pending
  const stabilityStatus = isSteady ? 'STEADY_STATE' : 'STABILIZING'
  if (taskSet.stabilityStatus === stabilityStatus) return
  tx.put('taskSet', id, { ...taskSet, stabilityStatus, stabilityStatusAt: now })
  if (!isSteady) return
  const news = { eventType: 'INFO', eventName: 'TASKSET_STEADY_STATE', deploymentId: id } as const
  addServiceEvent(tx, service.serviceKey, `${subject} has reached a steady state.`, now, world, news)
}

function isWanted({ desiredStatus }: TaskRow): boolean {
  return desiredStatus !== 'STOPPED'
}

function put(tx: Transaction, next: TaskSetRow): void {
  const before = tx.get('taskSet', next.id)
  if (before?.waiting === next.waiting && before?.stuck === next.stuck) return
  tx.put('taskSet', next.id, next)
}

/** A placement is tried again, a task set that pauses after failures goes on, and one of its tasks proves itself. */
function retries(reader: Reader, id: string): readonly number[] {
  const taskSet = reader.get('taskSet', id)
  if (taskSet === undefined) return []
  const { waiting, retryAt } = taskSet
  const tryAt = waiting === undefined ? undefined : waiting.at + placementRetryMs
  return [tryAt, retryAt, proofOf(reader, taskSet)].filter((at) => at !== undefined)
}
