/** Time that passes, as the turn is given it: real timers from main, a simulation's own elsewhere. */
export interface Timers {
  /** Calls back once, after that many milliseconds; the answer cancels it. */
  after(delayMs: number, callback: () => void): () => void
}

/** Beyond this, about 25 days, Node's timers fire at once. */
export const timerMostMs = 2 ** 31 - 1

/** A delay that is longer than Node's timers can be ends early: who wakes looks at the clock and sleeps again. */
export const realTimers: Timers = {
  after(delayMs, callback) {
    // A timer of 0 takes a millisecond or more; this comes after what has arrived by now, and before anything waits.
    if (delayMs <= 0) {
      const immediate = setImmediate(callback)
      return () => clearImmediate(immediate)
    }
    const timer = setTimeout(callback, Math.min(delayMs, timerMostMs))
    return () => clearTimeout(timer)
  },
}
