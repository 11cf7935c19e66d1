/** How the checks of a controller under fire count and fail; each violation is one sentence. */

export interface FireCounts {
  answered: number
  /** Calls that got no answer, of which some had been committed and the others not. */
  unansweredDone: number
  unansweredUndone: number
  /** Single facts that were looked at after a restart. */
  checks: number
}

/** What the checks know from earlier restarts. */
export interface KnownState {
  /** The newest revision of each family. */
  readonly revisions: Map<string, number>
  readonly counts: FireCounts
}

export class Violation extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'Violation'
  }
}

export function hold(known: KnownState, isTrue: boolean, otherwise: () => string): void {
  known.counts.checks += 1
  if (!isTrue) throw new Violation(otherwise())
}

/** What became of a call that was not answered. */
export function count(known: KnownState, isDone: boolean): void {
  if (isDone) known.counts.unansweredDone += 1
  else known.counts.unansweredUndone += 1
}
