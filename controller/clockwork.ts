/**
 * Does work when it is due by the wall clock, and looks whether it is by a timer, which no setting of that clock touches:
 * whoever sleeps until a moment sleeps for an hour more where the clock was set back by an hour.
 */
export interface Clockwork {
  /** The next moment at which the work is due, milliseconds since the epoch, by the clock as it is now. */
  readonly nextRun: () => number
  readonly work: () => Promise<void>
  /** How often it is looked, milliseconds. */
  readonly lookMs: number
}

/**
 * The work is done once for each moment that has passed, and once for all of them where many passed in one leap of the
 * clock, ahead or back; never twice at a time. It does not throw. Answers what ends it.
 */
export function startClockwork({ nextRun, work, lookMs }: Clockwork): () => void {
  let due = nextRun()
  let isClosed = false
  const look = async (): Promise<void> => {
    const next = nextRun()
    const isDue = next !== due
    due = next
    if (isDue) await work()
    if (!isClosed) timer = setTimeout(() => void look(), lookMs)
  }
  let timer = setTimeout(() => void look(), lookMs)
  return () => {
    isClosed = true
    clearTimeout(timer)
  }
}
