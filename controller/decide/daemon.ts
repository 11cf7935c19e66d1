/**
 * A DAEMON service: one task on each instance that is ACTIVE and meets its constraints. An instance never holds two of
 * them, old or new: an update stops the old one first, on as many instances at once as minimumHealthyPercent allows.
 *
 * Sources: AWS documentation, "Amazon ECS services", DAEMON ("evaluates the task placement constraints for running tasks,
 * and will stop tasks that do not meet" them; "the first task to launch on the instances and the last task to stop").
 */
import type { World } from '../../proto/world.ts'
import type { DeploymentRow, PlacementWait, ServiceRow } from '../state/service-tables.ts'
import { isHealthy, phaseOf } from '../state/service-phase.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { putNewTask } from './address-allocation.ts'
import { isProving, mayStart, proofs } from './deployment-backoff.ts'
import { isEngineSilent } from './engine-health.ts'
import { placeOn } from './placement.ts'
import { type Candidate, candidateOf, type PlacementRequest, withOffer } from './placement-candidates.ts'
import type { ArmedFilter } from './placement-filter.ts'
import { armFilters } from './placement-filters.ts'
import { type Failed, refusalOf, waitOf } from './placement-refusal.ts'
import { rollingBounds } from './rolling.ts'
import { type Decided, graceEnd, retries, tasksPerDecisionMax } from './service-decision.ts'
import { waitForRole } from './role-wait.ts'
import { noteWait, placementRequestOf, sourceOf, waitForDefinition } from './service-starts.ts'
import { beginStops, type Stops, unhealthyReason } from './service-stops.ts'
import { noteStuck } from './service-stuck.ts'
import { groupOf, newServiceTask, type ServiceTaskSource, tellStarted } from './service-tasks.ts'

/** The instances of the cluster in the eyes of the daemon. */
export interface DaemonScene {
  readonly source: ServiceTaskSource
  readonly request: PlacementRequest
  /** Where it is to run: as many as are desired. In the order in which they registered. */
  readonly eligible: readonly InstanceRow[]
  /** Its tasks that are not STOPPED, by the instance's id. */
  readonly tasksOn: ReadonlyMap<string, readonly TaskRow[]>
}

/** Filters that look at what an instance is, and not at what it has left. */
const standingFilters: ReadonlySet<string> = new Set([
  'launchType',
  'platform',
  'attributes',
  'memberOf',
  'gpu',
  'subnetZone',
  'networkInterface',
])

/** Undefined where the deployment's task definition is gone. */
export function daemonScene(reader: Reader, service: ServiceRow, primary: DeploymentRow): DaemonScene | undefined {
  const source = sourceOf(reader, service, primary)
  if (source === undefined) return undefined
  const request = placementRequestOf(source)
  const filters = armFilters(withOffer(reader, request)).filter(({ name }) => standingFilters.has(name))
  const tasksOn = tasksByInstance(reader, service)
  const eligible = reader
    .find('instance', 'byCluster', service.clusterName)
    .filter((instance) => isEligible(reader, service, instance, filters, tasksOn.has(instance.instanceId)))
    .sort((left, right) => left.registeredAt - right.registeredAt || (left.instanceId < right.instanceId ? -1 : 1))
  return { source, request, eligible, tasksOn }
}

/** Starts and stops the daemon's tasks, `scene.eligible` being where they belong. */
export function decideDaemon(
  tx: Transaction,
  service: ServiceRow,
  primary: DeploymentRow,
  scene: DaemonScene | undefined,
  now: number,
  world: World,
): Decided {
  if (scene === undefined) {
    noteWait(tx, service, primary.id, waitForDefinition(primary, now), now, world)
    return { more: false, wakeAt: retries(tx, primary.id) }
  }
  const { started, wait, isCutShort } = startMissing(tx, service, primary, scene, now, world)
  tellStarted(tx, service, started, now, world)
  noteWait(tx, service, primary.id, wait, now, world)
  const stops = beginStops(tx, service, tasksPerDecisionMax - started.length, now, world)
  const misplaced = stopMisplaced(tx, scene, stops, now)
  const { isStuck, wakeAt } = stopReplaced(service, primary, scene, stops, now)
  const done = stops.finish(misplaced)
  const isProtected = done.protectedCount > 0 && done.stopped === 0
  const byPercentages = isStuck && wait === undefined ? 'percentages' : undefined
  noteStuck(tx, service, primary.id, isProtected ? 'protection' : byPercentages, now, world)
  return { more: isCutShort || done.isCutShort, wakeAt: [...wakeAt, ...retries(tx, primary.id)] }
}

function tasksByInstance(reader: Reader, { serviceKey }: ServiceRow): ReadonlyMap<string, readonly TaskRow[]> {
  const tasksOn = new Map<string, TaskRow[]>()
  for (const task of reader.find('task', 'liveByService', serviceKey)) {
    const same = tasksOn.get(task.instanceId)
    if (same === undefined) tasksOn.set(task.instanceId, [task])
    else same.push(task)
  }
  return tasksOn
}

/**
 * An instance whose agent is away for a moment, or whose Docker Engine does not answer, keeps its daemon, and so stays
 * among those desired; it gets none before they are back. The daemon's own task is not held against a constraint that counts tasks.
 */
function isEligible(
  reader: Reader,
  service: ServiceRow,
  instance: InstanceRow,
  filters: readonly ArmedFilter[],
  hasTask: boolean,
): boolean {
  if (instance.status !== 'ACTIVE' || instance.lostSince !== undefined) return false
  if (!isAbleToStart(instance) && !hasTask) return false
  if (filters.length === 0) return true
  const candidate = withoutOwn(candidateOf(reader, instance), service)
  return filters.every((filter) => filter.judge(candidate))
}

function isAbleToStart(instance: InstanceRow): boolean {
  return instance.agentConnected && !isEngineSilent(instance)
}

function withoutOwn(candidate: Candidate, service: ServiceRow): Candidate {
  const group = groupOf(service)
  return { ...candidate, tasks: candidate.tasks.filter((task) => task.group !== group) }
}

interface Started {
  readonly started: readonly TaskRow[]
  readonly wait: PlacementWait | undefined
  readonly isCutShort: boolean
}

/** One on each eligible instance that holds none, not even one that is being stopped. */
function startMissing(
  tx: Transaction,
  service: ServiceRow,
  primary: DeploymentRow,
  { source, request, eligible, tasksOn }: DaemonScene,
  now: number,
  world: World,
): Started {
  const started: TaskRow[] = []
  if (!mayStart(primary, now)) return { started, wait: undefined, isCutShort: false }
  const isMissing = eligible.some(({ instanceId }) => !tasksOn.has(instanceId))
  const roleless = isMissing ? waitForRole(tx, source.definition, world, now) : undefined
  if (roleless !== undefined) return { started, wait: roleless, isCutShort: false }
  let filters = armFilters(withOffer(tx, request))
  const failed: Failed[] = []
  let isCutShort = false
  for (const instance of eligible) {
    if (tasksOn.has(instance.instanceId) || !isAbleToStart(instance)) continue
    if (started.length === tasksPerDecisionMax) {
      isCutShort = true
      break
    }
    const candidate = withoutOwn(candidateOf(tx, instance), service)
    const filter = filters.find((armed) => !armed.judge(candidate))
    const placed = filter === undefined ? placeOn(tx, instance, request, now) : undefined
    if (placed?.kind === 'placed') {
      started.push(putNewTask(tx, newServiceTask(source, placed, now, world), request.subnetIds, now, world))
      // Each takes an address from what the next one is offered.
      if (request.subnetIds !== undefined) filters = armFilters(withOffer(tx, request))
    } else if (filter !== undefined) failed.push({ candidate, filter })
  }
  const wait = failed.length === 0 ? undefined : waitOf(refusalOf(failed, filters), now, now)
  return { started, wait, isCutShort }
}

/**
 * Tasks on instances where the daemon does not belong. On a draining one it stays until the other services' tasks are
 * gone, unless it does not run yet. Answers those that a constraint, or an attribute, no longer allows.
 */
function stopMisplaced(
  tx: Transaction,
  { eligible, tasksOn }: DaemonScene,
  stops: Stops,
  now: number,
): readonly TaskRow[] {
  const belongs = new Set(eligible.map(({ instanceId }) => instanceId))
  const violating: TaskRow[] = []
  for (const [instanceId, tasks] of tasksOn) {
    if (belongs.has(instanceId)) continue
    const instance = tx.get('instance', instanceId)
    if (instance === undefined || instance.lostSince !== undefined) continue
    const isDraining = instance.status === 'DRAINING'
    const isLast = !isDraining || !hasOtherServices(tx, instanceId)
    const leaving = tasks.filter((task) => isWanted(task) && (isLast || task.lastStatus !== 'RUNNING'))
    if (!isDraining) violating.push(...leaving)
    stops.stop(leaving, leaving.length)
  }
  return violating.filter(({ taskId }) => tx.get('task', taskId)?.stoppingAt === now)
}

/** Other daemons are as last as this one, and are not waited for. */
function hasOtherServices(reader: Reader, instanceId: string): boolean {
  return reader.find('task', 'liveByInstance', instanceId).some(({ serviceKey, lostSince }) => {
    if (serviceKey === undefined || lostSince !== undefined) return false
    return reader.get('service', serviceKey)?.schedulingStrategy !== 'DAEMON'
  })
}

interface Replacing {
  readonly isStuck: boolean
  readonly wakeAt: readonly number[]
}

/** Tasks of old deployments, and unhealthy ones, on the instances where the daemon belongs. */
function stopReplaced(
  service: ServiceRow,
  primary: DeploymentRow,
  { eligible, tasksOn }: DaemonScene,
  stops: Stops,
  now: number,
): Replacing {
  const { minimumHealthyPercent = 0, maximumPercent = 100 } = service.deploymentConfiguration
  const { lower } = rollingBounds(eligible.length, minimumHealthyPercent, maximumPercent)
  const tasks = eligible.flatMap(({ instanceId }) => tasksOn.get(instanceId) ?? [])
  const wanted = tasks.filter(isWanted)
  const own = wanted.filter(({ deploymentId }) => deploymentId === primary.id)
  const old = wanted.filter(({ deploymentId }) => deploymentId !== primary.id)
  const unready = old.filter((task) => !isHealthy(task))
  stops.stop(unready, unready.length)
  const isUnderWay = tasks.length > wanted.length || own.some((task) => phaseOf(task) === 'starting')
  const unhealthy = own.filter((task) => phaseOf(task) === 'unhealthy')
  const failing = unhealthy.filter((task) => graceEnd(service, task) <= now)
  // One at a time: a health check that fails everywhere must not stop the daemon everywhere.
  if (failing.length > 0 && !isUnderWay) stops.stop(failing, 1, unhealthyReason)
  const healthyOld = old.filter(isHealthy)
  const spare = Math.max(0, wanted.filter(isHealthy).length - lower)
  const isHeld = own.some(isHealthy) && isProving(primary, now)
  const canReplace = mayStart(primary, now) && !isHeld
  if (canReplace) stops.stop(healthyOld, Math.min(spare, healthyOld.length))
  const isStuck = canReplace && healthyOld.length > 0 && spare === 0 && !isUnderWay && unready.length === 0
  return { isStuck, wakeAt: [...unhealthy.map((task) => graceEnd(service, task)), ...proofs(primary, now)] }
}

function isWanted({ desiredStatus }: TaskRow): boolean {
  return desiredStatus !== 'STOPPED'
}
