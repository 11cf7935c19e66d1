/**
 * A REPLICA service: as many tasks of the PRIMARY deployment as are desired, and none of any other. How many to start
 * and stop is rolling.ts's to say; here it is done, and told.
 */
import type { World } from '../../proto/world.ts'
import type { DeploymentRow, ServiceRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { type PhaseCounts, rollingStep } from './rolling.ts'
import { chooseToStop } from './scale-in.ts'
import { isForWantOfResources, noteWait, placementRetryMs, startTasks } from './service-starts.ts'
import { addServiceEvent } from './service-events.ts'
import { countPhases, stopServiceTask, tasksInPhase, tellStarted, tellStopped } from './service-tasks.ts'

/** Tasks that one decision starts or stops at most; the rest is for the next one. */
export const tasksPerDecisionMax = 500

export interface Decided {
  readonly more: boolean
  /** When to look again though nothing changes (epoch milliseconds). */
  readonly wakeAt: readonly number[]
}

interface Scene {
  readonly service: ServiceRow
  readonly primary: DeploymentRow
  /** Failed ones first, then the oldest: the order in which their tasks go. */
  readonly old: readonly DeploymentRow[]
  readonly mayStart: boolean
  readonly grace: Grace
  readonly now: number
  readonly world: World
}

export function decideReplica(
  tx: Transaction,
  service: ServiceRow,
  primary: DeploymentRow,
  old: readonly DeploymentRow[],
  now: number,
  world: World,
): Decided {
  const grace = graceOf(tx, service, primary, now)
  const mayStart = primary.rolloutState !== 'FAILED' && (primary.retryAt === undefined || primary.retryAt <= now)
  const scene: Scene = { service, primary, old: inOrderOfLeaving(old), mayStart, grace, now, world }
  const { start } = stepOf(tx, scene, false)
  const starts = startTasks(tx, service, primary, Math.min(start, tasksPerDecisionMax), now, world)
  tellStarted(tx, service, starts.started, now, world)
  noteWait(tx, service, primary.id, starts.wait, now, world)
  const stops = stopTasks(tx, scene, isForWantOfResources(starts.wait), tasksPerDecisionMax - starts.started.length)
  const isCutShort = starts.wait === undefined && starts.started.length < start
  const wakeAt = [...grace.ends]
  if (starts.wait !== undefined) wakeAt.push((tx.get('deployment', primary.id)?.waiting?.at ?? now) + placementRetryMs)
  if (primary.retryAt !== undefined && primary.retryAt > now && primary.rolloutState !== 'FAILED') {
    wakeAt.push(primary.retryAt)
  }
  return { more: isCutShort || stops.isCutShort, wakeAt }
}

function stepOf(tx: Transaction, scene: Scene, isPlacementRefused: boolean): ReturnType<typeof rollingStep> {
  const { service, primary, old, mayStart, grace } = scene
  const { minimumHealthyPercent = 100, maximumPercent = 200 } = service.deploymentConfiguration
  const counts = countPhases(tx, [primary.id])
  const isHeld = tx.get('cluster', service.clusterName)?.replacementPausedSince !== undefined
  return rollingStep({
    desired: service.desiredCount,
    minimumHealthyPercent,
    maximumPercent,
    primary: withGrace(counts, grace.within),
    old: countPhases(
      tx,
      old.map(({ id }) => id),
    ),
    lostHeld: isHeld ? counts.lost : 0,
    mayStart,
    isPlacementRefused,
  })
}

interface Grace {
  /** The PRIMARY's tasks whose failing health checks are not heeded yet. */
  readonly within: number
  /** When each of their times is over. */
  readonly ends: readonly number[]
  readonly unhealthy: readonly TaskRow[]
}

/** Source: ECS API reference, CreateService, `healthCheckGracePeriodSeconds`: container health checks are meant too. */
function graceOf(tx: Transaction, service: ServiceRow, primary: DeploymentRow, now: number): Grace {
  const tasks = tasksInPhase(tx, primary.id, 'unhealthy')
  const graceMs = (service.healthCheckGracePeriodSeconds ?? 0) * 1000
  const endOf = (task: TaskRow): number => (task.startedAt ?? task.createdAt) + graceMs
  const ends = tasks.map(endOf).filter((end) => end > now)
  return { within: ends.length, ends, unhealthy: tasks.filter((task) => endOf(task) <= now) }
}

function withGrace(counts: PhaseCounts, within: number): PhaseCounts {
  return { ...counts, unhealthy: counts.unhealthy - within, starting: counts.starting + within }
}

function stopTasks(
  tx: Transaction,
  scene: Scene,
  isPlacementRefused: boolean,
  budget: number,
): { readonly isCutShort: boolean } {
  const { service, primary, old, grace, now, world } = scene
  const step = stepOf(tx, scene, isPlacementRefused)
  const stopped: TaskRow[] = []
  const failed: TaskRow[] = []
  let left = budget
  let wanted = 0
  let protectedCount = 0
  const stop = (tasks: readonly TaskRow[], count: number, reason?: string): number => {
    if (count <= 0 || tasks.length === 0) return 0
    const chosen = chooseToStop(tx, tasks, Math.min(count, tasks.length), service, now)
    protectedCount += chosen.protectedCount
    wanted += chosen.tasks.length
    for (const { taskId } of chosen.tasks.slice(0, left)) {
      const row = stopServiceTask(tx, taskId, now, reason)
      if (row === undefined) continue
      stopped.push(row)
      if (reason !== undefined) failed.push(row)
    }
    left = Math.max(0, left - chosen.tasks.length)
    return chosen.tasks.length
  }
  for (const { id } of old) {
    for (const phase of ['starting', 'unhealthy', 'leavingUnready'] as const) {
      stop(tasksInPhase(tx, id, phase), Number.POSITIVE_INFINITY)
    }
  }
  stop(tasksInPhase(tx, primary.id, 'leavingUnready'), Number.POSITIVE_INFINITY)
  if (step.stopUnhealthy > 0) stop(grace.unhealthy, step.stopUnhealthy, 'Task failed container health checks')
  if (step.stopSurplusStarting > 0) stop(tasksInPhase(tx, primary.id, 'starting'), step.stopSurplusStarting)
  if (step.stopSurplusHealthy > 0) stop(tasksInPhase(tx, primary.id, 'healthy'), step.stopSurplusHealthy)
  let replaced = step.stopReplaced
  for (const [id, phase] of replaceable(scene)) {
    if (replaced > 0) replaced -= stop(tasksInPhase(tx, id, phase), replaced)
  }
  for (const { taskId } of failed) {
    const message = `(service ${service.serviceName}) (task ${taskId}) failed container health checks.`
    addServiceEvent(tx, service.serviceKey, message, now, world)
  }
  tellStopped(tx, service, stopped, now, world)
  return { isCutShort: wanted > budget }
}

/** Those on draining instances first, then those of old deployments. */
function replaceable({ primary, old }: Scene): readonly (readonly [string, 'leaving' | 'healthy'])[] {
  return [
    ...old.map(({ id }) => [id, 'leaving'] as const),
    ...old.map(({ id }) => [id, 'healthy'] as const),
    [primary.id, 'leaving'] as const,
  ]
}

function inOrderOfLeaving(old: readonly DeploymentRow[]): readonly DeploymentRow[] {
  return [...old].sort(
    (left, right) =>
      failedFirst(left) - failedFirst(right) || left.createdAt - right.createdAt || (left.id < right.id ? -1 : 1),
  )
}

function failedFirst({ rolloutState }: DeploymentRow): number {
  return rolloutState === 'FAILED' ? 0 : 1
}
