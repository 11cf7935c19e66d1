/**
 * How many containers of this host may be starting at once. Docker starts slow down when too many run side by side, so
 * the limit gives way when they get slow and comes back when they are quick: additive up, multiplicative down.
 */
export interface StartLimit {
  /** May be a fraction while it grows; the whole part counts. */
  readonly limit: number
  readonly most: number
}

const least = 2
const slowMs = 5000
const quickMs = 2000
const giveWay = 0.7

export function newStartLimit(most: number): StartLimit {
  return { limit: most, most }
}

/** After one start that took this long; `timedOut` where it had no answer at all. */
export function afterStart(limit: StartLimit, durationMs: number, timedOut: boolean): StartLimit {
  if (timedOut || durationMs > slowMs)
    return { ...limit, limit: Math.max(Math.min(least, limit.most), limit.limit * giveWay) }
  if (durationMs > quickMs) return limit
  return { ...limit, limit: Math.min(limit.most, limit.limit + 1 / limit.limit) }
}

export function startSlotsFree(limit: StartLimit, starting: number): number {
  return Math.max(0, Math.floor(limit.limit) - starting)
}
