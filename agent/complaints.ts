/** What goes wrong over and over, such as a controller that is away for days: a line at first, and one now and then. */
import type { Log } from './log.ts'

const againAfterMs = 10 * 60_000

export interface Complaints {
  warn(facts: object, message: string): void
  error(facts: object, message: string): void
  /** It is well again: the next complaint is news. */
  end(): void
}

/** Repeats of a message are logged at debug. `now` is in epoch milliseconds. */
export function complaintsTo(log: Pick<Log, 'debug' | 'warn' | 'error'>, now: () => number): Complaints {
  const loggedAt = new Map<string, number>()
  const isNews = (message: string): boolean => {
    const at = now()
    const before = loggedAt.get(message)
    if (before !== undefined && Math.abs(at - before) < againAfterMs) return false
    loggedAt.set(message, at)
    return true
  }
  return {
    warn: (facts, message) => (isNews(message) ? log.warn(facts, message) : log.debug(facts, message)),
    error: (facts, message) => (isNews(message) ? log.error(facts, message) : log.debug(facts, message)),
    end: () => loggedAt.clear(),
  }
}
