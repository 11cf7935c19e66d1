/**
 * Under which values of an index rows have changed, in the order of the changes: by it, whoever keeps sums over an index
 * looks again only at what changed. A log begins when it is first asked for.
 */
export interface ChangeLog {
  /** Grows at its end. The same value may stand in it many times. */
  readonly values: readonly string[]
  /** How many were dropped before the first of `values`: who has not read them reads everything again. */
  readonly dropped: number
}

/** A log that has grown so long loses its older half. */
export const changesKeptMax = 200_000

export class ChangeLogs {
  readonly #logs = new Map<string, { values: string[]; dropped: number }>()
  readonly #keptMax: number

  constructor(keptMax: number = changesKeptMax) {
    this.#keptMax = keptMax
  }

  isEmpty(): boolean {
    return this.#logs.size === 0
  }

  /** The log of an index; `earlier` are the values that a log which begins now is to start with. */
  of(index: string, earlier: () => Iterable<string>): ChangeLog {
    const known = this.#logs.get(index)
    if (known !== undefined) return known
    const log = { values: [...earlier()], dropped: 0 }
    this.#logs.set(index, log)
    return log
  }

  note(index: string, value: string): void {
    const log = this.#logs.get(index)
    if (log === undefined) return
    log.values.push(value)
    if (log.values.length < this.#keptMax) return
    log.dropped += log.values.splice(0, this.#keptMax >> 1).length
  }
}
