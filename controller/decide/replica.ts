/**
 * A REPLICA service: as many tasks of the PRIMARY deployment as are desired, and none of any other. How many to start
 * and stop is rolling.ts's to say; here it is done, and told.
 */
import type { World } from '../../proto/world.ts'
import type { DeploymentRow, ServiceRow } from '../state/service-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { isProving, mayStart, proofs } from './deployment-backoff.ts'
import { type RollingInput, type RollingStep, rollingBounds, rollingStep } from './rolling.ts'
import { addServiceEvent } from './service-events.ts'
import { type Decided, retries, tasksPerDecisionMax } from './service-decision.ts'
import { type Grace, graceOf, startingTasks, withGrace } from './service-grace.ts'
import { noteWait, refusalOf, startTasks } from './service-starts.ts'
import { beginStops, type Stops, type StopsDone, unhealthyReason } from './service-stops.ts'
import { noteStuck, stuckBy } from './service-stuck.ts'
import {
  countHeldLost,
  countPhases,
  doneWithTasks,
  hasReturned,
  holdsLosses,
  stopServiceTask,
  tasksInPhase,
  tellStarted,
} from './service-tasks.ts'
import { isProtected } from './task-protection.ts'

interface Scene {
  readonly service: ServiceRow
  readonly primary: DeploymentRow
  /** Those that never were completed first, then the oldest: the order in which their tasks go. */
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
  now: number,
  world: World,
): Decided {
  // Tasks of a host that is back are about to be found again, and then the service is decided anew.
  const owners = tx.find('deployment', 'byService', service.serviceKey).map(({ id }) => id)
  if (hasReturned(tx, owners)) return { more: false, wakeAt: [] }
  const grace = graceOf(tx, service, primary.id, now)
  const scene = {
    service,
    primary,
    old: oldDeployments(tx, service, primary),
    mayStart: mayStart(primary, now),
    grace,
    now,
    world,
  }
  const isReleaseCutShort = releaseLost(tx, scene)
  const { start } = stepOf(tx, scene, undefined)
  const starts = startTasks(tx, service, primary, Math.min(start, tasksPerDecisionMax), now, world)
  tellStarted(tx, service, starts.started, now, world)
  noteWait(tx, service, primary.id, starts.wait, now, world)
  const refused = refusalOf(starts.wait)
  const stops = stopTasks(tx, scene, refused, tasksPerDecisionMax - starts.started.length)
  noteStuck(tx, service, primary.id, stuckBy(stops, stepOf(tx, scene, refused)), now, world)
  const isCutShort = starts.wait === undefined && starts.started.length < start
  return {
    more: isCutShort || stops.isCutShort || isReleaseCutShort,
    wakeAt: [...grace.ends, ...retries(tx, primary.id), ...proofs(primary, now)],
  }
}

function stepOf(tx: Transaction, scene: Scene, refused: RollingInput['refused']): RollingStep {
  const { service, primary, grace } = scene
  const { minimumHealthyPercent = 100, maximumPercent = 200 } = service.deploymentConfiguration
  const counts = countPhases(tx, [primary.id])
  return rollingStep({
    desired: service.desiredCount,
    minimumHealthyPercent,
    maximumPercent,
    primary: withGrace(counts, grace),
    old: countPhases(
      tx,
      scene.old.map(({ id }) => id),
    ),
    lostHeld: countHeldLost(tx, service.clusterName, primary.id),
    mayStart: scene.mayStart,
    hasFailed: primary.rolloutState === 'FAILED',
    isProving: isProving(primary, scene.now),
    refused,
  })
}

/** All that have tasks beside the PRIMARY, lost ones included, in the order in which those go. */
function oldDeployments(reader: Reader, { serviceKey }: ServiceRow, primary: DeploymentRow): readonly DeploymentRow[] {
  const live = reader.find('deployment', 'liveByService', serviceKey)
  const done = doneWithTasks(reader, serviceKey)
  return inOrderOfLeaving([...live.filter(({ id }) => id !== primary.id), ...done])
}

/**
 * Lost tasks of old deployments end when their host is back, protected ones once their protection does. Not while fewer
 * than the minimum are healthy without them: then they go on serving once they are back, until they are replaced like any
 * other. Answers whether there are more of them than one decision may stop.
 */
function releaseLost(tx: Transaction, { service, primary, old, now }: Scene): boolean {
  const cluster = tx.get('cluster', service.clusterName)
  if (cluster !== undefined && holdsLosses(cluster)) return false
  const { minimumHealthyPercent = 100, maximumPercent = 200 } = service.deploymentConfiguration
  const { lower } = rollingBounds(service.desiredCount, minimumHealthyPercent, maximumPercent)
  const counts = countPhases(tx, [primary.id, ...old.map(({ id }) => id)])
  if (counts.healthy + counts.leaving < lower) return false
  const wanted = old
    .flatMap(({ id }) => tasksInPhase(tx, id, 'lost'))
    .filter((task) => task.desiredStatus !== 'STOPPED' && !isProtected(task, now))
  for (const { taskId } of wanted.slice(0, tasksPerDecisionMax)) stopServiceTask(tx, taskId, now)
  return wanted.length > tasksPerDecisionMax
}

function stopTasks(tx: Transaction, scene: Scene, refused: RollingInput['refused'], budget: number): StopsDone {
  const { service, primary, old, grace, now, world } = scene
  const step = stepOf(tx, scene, refused)
  const stops = beginStops(tx, service, budget, now, world)
  for (const { id } of old) {
    for (const phase of ['starting', 'unhealthy', 'leavingUnready'] as const) {
      stops.stop(tasksInPhase(tx, id, phase), Number.POSITIVE_INFINITY)
    }
  }
  stops.stop(tasksInPhase(tx, primary.id, 'leavingUnready'), Number.POSITIVE_INFINITY)
  const hasFailed = primary.rolloutState === 'FAILED'
  // What goes since its deployment has failed is no failure of its own.
  const reason = hasFailed ? undefined : unhealthyReason
  const unhealthy = step.stopUnhealthy > 0 ? stops.stop(grace.unhealthy, step.stopUnhealthy, reason) : 0
  const starting =
    step.stopSurplusStarting > 0 ? stops.stop(startingTasks(tx, primary.id, grace), step.stopSurplusStarting) : 0
  if (hasFailed) tellAbandoned(tx, scene, unhealthy + starting)
  if (step.stopSurplusHealthy > 0) stops.stop(tasksInPhase(tx, primary.id, 'healthy'), step.stopSurplusHealthy)
  const ids = [...old.map(({ id }) => id), primary.id]
  stopFrom(tx, stops, ids, 'leaving', step.stopLeaving)
  stopFrom(
    tx,
    stops,
    old.map(({ id }) => id),
    'healthy',
    step.stopOld,
  )
  return stops.finish()
}

function tellAbandoned(tx: Transaction, { service, primary, now, world }: Scene, count: number): void {
  if (count === 0) return
  const message =
    `(service ${service.serviceName}) (deployment ${primary.id}) has failed, and ${count} of its tasks that are not ` +
    'healthy are stopped: enough others are healthy for the minimum.'
  addServiceEvent(tx, service.serviceKey, message, now, world)
}

/** `count` tasks of these deployments, the first ones' first. */
function stopFrom(
  tx: Transaction,
  stops: Stops,
  deploymentIds: readonly string[],
  phase: 'leaving' | 'healthy',
  count: number,
): void {
  let left = count
  for (const id of deploymentIds) {
    if (left > 0) left -= stops.stop(tasksInPhase(tx, id, phase), left)
  }
}

function inOrderOfLeaving(old: readonly DeploymentRow[]): readonly DeploymentRow[] {
  return [...old].sort(
    (left, right) => trust(left) - trust(right) || left.createdAt - right.createdAt || (left.id < right.id ? -1 : 1),
  )
}

function trust({ rolloutState }: DeploymentRow): number {
  return rolloutState === 'COMPLETED' ? 1 : 0
}
