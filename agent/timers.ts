/** Time that passes, as the turn is given it: real timers from main, a simulation's own elsewhere. */
export interface Timers {
  /** Calls back once, after at least that many milliseconds; the answer cancels it. */
  after(delayMs: number, callback: () => void): () => void
}

export const realTimers: Timers = {
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs)
    return () => clearTimeout(timer)
  },
}
