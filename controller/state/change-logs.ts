/**
 * Under which values of an index rows have changed, in the order of the changes: by it, whoever keeps sums over an index
 * looks again only at what changed. A log begins when it is first asked for.
 */
export interface ChangeLog {
  /** Grows at its end. The same value may stand in it many times. */
  readonly values: readonly string[]
}

/** A log that has grown so long is begun anew, as another object: who followed it reads everything again. */
const valuesMax = 200_000

export class ChangeLogs {
  readonly #logs = new Map<string, string[]>()
  readonly #given = new Map<string, ChangeLog>()

  isEmpty(): boolean {
    return this.#logs.size === 0
  }

  /** The log of an index; `earlier` are the values that a log which begins now is to start with. */
  of(index: string, earlier: () => Iterable<string>): ChangeLog {
    const known = this.#given.get(index)
    if (known !== undefined) return known
    const values = [...earlier()]
    const log = { values }
    this.#logs.set(index, values)
    this.#given.set(index, log)
    return log
  }

  note(index: string, value: string): void {
    const values = this.#logs.get(index)
    if (values === undefined) return
    values.push(value)
    if (values.length < valuesMax) return
    this.#logs.delete(index)
    this.#given.delete(index)
  }
}
