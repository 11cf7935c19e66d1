/**
 * The arithmetic of a REPLICA service: counts in, counts out. It knows no task, no time and no place, so that its laws
 * can be tried over every size and every percentage. docs/deployments.md tells it in words.
 *
 * Sources: AWS documentation, "Deploy Amazon ECS services by replacing tasks" (minimumHealthyPercent rounds up,
 * maximumPercent rounds down), "Amazon ECS task health" (replacing unhealthy tasks), "Draining Amazon ECS container
 * instances".
 */
import type { ServicePhase } from '../state/service-phase.ts'

export type PhaseCounts = Readonly<Record<ServicePhase, number>>

export interface RollingInput {
  readonly desired: number
  readonly minimumHealthyPercent: number
  readonly maximumPercent: number
  /** Tasks of the PRIMARY deployment. Unhealthy ones within their grace period stand among `starting`. */
  readonly primary: PhaseCounts
  /** Tasks of all other deployments together. */
  readonly old: PhaseCounts
  /** Lost tasks of the PRIMARY that are not to be replaced, since too many instances were lost at once. */
  readonly lostHeld: number
  /** False while the PRIMARY deployment pauses after failures, or has failed: nothing is started, no room is made. */
  readonly mayStart: boolean
  /**
   * True where the PRIMARY deployment has FAILED and is not taken back: what of it is not healthy goes as soon as nobody
   * needs it, and beyond `desired` its healthy ones go before those of older deployments.
   */
  readonly hasFailed?: boolean | undefined
  /**
   * True while nothing shows yet that the PRIMARY's healthy tasks stay up: healthy ones of old deployments stay until
   * then, so that a release that crashes after its start takes nothing down.
   */
  readonly isProving?: boolean | undefined
  /**
   * The next new task found no place. `forWantOfResources`: of what running tasks hold, so that some of them have to end
   * first; `otherwise`: nothing that ends would help.
   */
  readonly refused?: 'forWantOfResources' | 'otherwise' | undefined
}

/** How many to start and to stop now. Each looks at the counts as they are, so the order in which they are done is free. */
export interface RollingStep {
  readonly start: number
  /** PRIMARY tasks beyond `desired`: those that are not healthy yet, and those that are. */
  readonly stopSurplusStarting: number
  readonly stopSurplusHealthy: number
  /** PRIMARY tasks that fail their health checks. */
  readonly stopUnhealthy: number
  /** Healthy tasks on draining instances, of whichever deployment. */
  readonly stopLeaving: number
  /** Healthy tasks of old deployments elsewhere. */
  readonly stopOld: number
  /** The percentages allow neither a start nor a stop, and nothing is under way that would change that. */
  readonly isStuck: boolean
}

export interface RollingBounds {
  /** Healthy tasks that we never go below by our own doing. */
  readonly lower: number
  /** Tasks that are not STOPPED that we never go above by our own starts. */
  readonly upper: number
}

export function rollingBounds(desired: number, minimumHealthyPercent: number, maximumPercent: number): RollingBounds {
  return {
    lower: Math.ceil((desired * minimumHealthyPercent) / 100),
    upper: Math.floor((desired * maximumPercent) / 100),
  }
}

/**
 * What to do next. Tasks of old deployments that are not healthy, and leaving ones that are not, are not counted here:
 * they are stopped at once, since nobody misses them.
 */
export function rollingStep(input: RollingInput): RollingStep {
  const { desired, primary, old, mayStart, hasFailed = false } = input
  const { lower, upper } = rollingBounds(desired, input.minimumHealthyPercent, input.maximumPercent)
  const wanted = primary.starting + primary.healthy
  const missing = mayStart ? Math.max(0, desired - input.lostHeld - wanted) : 0
  const room = Math.max(0, upper - totalOf(primary) - totalOf(old))

  const isAbandoned = isUnreadyAbandoned(input, lower)
  const surplus = Math.max(0, wanted - desired)
  const stopSurplusStarting = isAbandoned ? primary.starting : Math.min(surplus, primary.starting)
  const stopSurplusHealthy = surplusHealthy(input, surplus - Math.min(surplus, primary.starting))
  // A refused task needs room on an instance, which only what ends will give.
  const usable = input.refused === 'forWantOfResources' ? 0 : room
  const stopUnhealthy = isAbandoned ? primary.unhealthy : unhealthyToStop(input, missing, usable)

  const leaving = primary.leaving + old.leaving
  const healthy = primary.healthy - stopSurplusHealthy + old.healthy + leaving
  const coming = primary.stopping + old.stopping + stopSurplusStarting + stopUnhealthy + unreadyOf(primary, old)
  const spare = Math.max(0, healthy - lower)
  const replaced = Math.max(0, healthy - desired)
  // Who drains an instance wants it empty: where nothing has a place elsewhere, the minimum alone keeps tasks there.
  const leavingInTheWay = hasFailed
    ? desired - primary.healthy - old.healthy
    : missing - (input.refused === undefined ? room : 0) - coming
  const stopLeaving = Math.min(leaving, spare, Math.max(replaced, leavingInTheWay))
  const oldInTheWay = missing - usable - coming
  const isHeld = input.isProving === true && primary.healthy > 0
  const replaceable = isHeld ? 0 : old.healthy
  const stopOld = Math.max(0, Math.min(replaceable, spare - stopLeaving, Math.max(replaced, oldInTheWay) - stopLeaving))

  const start = Math.min(missing, room)
  const stops = stopLeaving + stopOld
  const isStuck = missing > 0 && start === 0 && stops === 0 && coming === 0 && primary.starting === 0 && !isHeld
  return {
    start,
    stopSurplusStarting,
    stopSurplusHealthy,
    stopUnhealthy,
    stopLeaving,
    stopOld,
    isStuck: isStuck && input.refused === undefined,
  }
}

/** What counts against the upper bound: every task that may still hold resources on an instance that is there. */
export function totalOf(counts: PhaseCounts): number {
  const { starting, healthy, unhealthy, leaving, leavingUnready, stopping } = counts
  return starting + healthy + unhealthy + leaving + leavingUnready + stopping
}

/**
 * Of a deployment that has FAILED nothing is replaced, so what is not healthy is of no use while the minimum is healthy
 * without it. The last task that runs stays all the same: a health check may be wrong.
 */
function isUnreadyAbandoned({ primary, old, hasFailed }: RollingInput, lower: number): boolean {
  const healthy = primary.healthy + old.healthy + primary.leaving + old.leaving
  return hasFailed === true && healthy >= Math.max(lower, 1)
}

/** Of the PRIMARY, `surplus` being those of its own that are too many. */
function surplusHealthy({ desired, primary, old, hasFailed }: RollingInput, surplus: number): number {
  if (hasFailed !== true) return surplus
  return Math.min(primary.healthy, Math.max(0, primary.healthy + old.healthy - desired))
}

/**
 * An unhealthy task stays until others are healthy in its stead, be they older ones; where there is no room for a replacement, one at a time
 * goes first, so that a health check that fails everywhere doesn't stop everything.
 */
function unhealthyToStop(input: RollingInput, missing: number, room: number): number {
  const { desired, primary, old, hasFailed = false } = input
  if (hasFailed) return 0
  const stillNeeded = Math.max(0, desired - primary.healthy - old.healthy)
  const replaced = Math.max(0, primary.unhealthy - stillNeeded)
  if (replaced > 0 || primary.unhealthy === 0) return replaced
  const isUnderWay = primary.starting > 0 || primary.stopping > 0
  return missing > 0 && room === 0 && !isUnderWay ? 1 : 0
}

/** Those that the caller stops at once. */
function unreadyOf(primary: PhaseCounts, old: PhaseCounts): number {
  return primary.leavingUnready + old.leavingUnready + old.starting + old.unhealthy
}
