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
  /** The next new task found no place for want of what running tasks hold: some of them have to end first. */
  readonly isPlacementRefused: boolean
}

/** How many to start and to stop now. Each looks at the counts as they are, so the order in which they are done is free. */
export interface RollingStep {
  readonly start: number
  /** PRIMARY tasks beyond `desired`: those that are not healthy yet, and those that are. */
  readonly stopSurplusStarting: number
  readonly stopSurplusHealthy: number
  /** PRIMARY tasks that fail their health checks. */
  readonly stopUnhealthy: number
  /** Healthy tasks of old deployments or on draining instances. */
  readonly stopReplaced: number
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
  const { desired, primary, old, mayStart } = input
  const { lower, upper } = rollingBounds(desired, input.minimumHealthyPercent, input.maximumPercent)
  const wanted = primary.starting + primary.healthy
  const missing = mayStart ? Math.max(0, desired - input.lostHeld - wanted) : 0
  const room = Math.max(0, upper - totalOf(primary) - totalOf(old))

  const surplus = Math.max(0, wanted - desired)
  const stopSurplusStarting = Math.min(surplus, primary.starting)
  const stopSurplusHealthy = surplus - stopSurplusStarting
  // A refused task needs room on an instance, which only what ends will give.
  const usable = input.isPlacementRefused ? 0 : room
  const stopUnhealthy = unhealthyToStop(input, missing, usable)

  const healthy = primary.healthy - stopSurplusHealthy + primary.leaving + old.healthy + old.leaving
  const replaceable = primary.leaving + old.healthy + old.leaving
  const coming = primary.stopping + old.stopping + stopSurplusStarting + stopUnhealthy + unreadyOf(primary, old)
  const inTheWay = Math.max(0, missing - usable - coming)
  const spare = Math.max(0, healthy - lower)
  const stopReplaced = Math.min(replaceable, spare, Math.max(healthy - desired, inTheWay))

  const start = Math.min(missing, room)
  const isStuck = missing > 0 && start === 0 && stopReplaced === 0 && coming === 0 && primary.starting === 0
  return {
    start,
    stopSurplusStarting,
    stopSurplusHealthy,
    stopUnhealthy,
    stopReplaced,
    isStuck: isStuck && !input.isPlacementRefused,
  }
}

/** What counts against the upper bound: every task that may still hold resources on an instance that is there. */
export function totalOf(counts: PhaseCounts): number {
  const { starting, healthy, unhealthy, leaving, leavingUnready, stopping } = counts
  return starting + healthy + unhealthy + leaving + leavingUnready + stopping
}

/**
 * An unhealthy task stays until its replacement is healthy; where there is no room for a replacement, one at a time
 * goes first, so that a health check that fails everywhere doesn't stop everything.
 */
function unhealthyToStop({ desired, primary }: RollingInput, missing: number, room: number): number {
  const stillNeeded = Math.max(0, desired - primary.healthy)
  const replaced = Math.max(0, primary.unhealthy - stillNeeded)
  if (replaced > 0 || primary.unhealthy === 0) return replaced
  const isUnderWay = primary.starting > 0 || primary.stopping > 0
  return missing > 0 && room === 0 && !isUnderWay ? 1 : 0
}

/** Those that the caller stops at once. */
function unreadyOf(primary: PhaseCounts, old: PhaseCounts): number {
  return primary.leavingUnready + old.leavingUnready + old.starting + old.unhealthy
}
