/**
 * The controller's committed state: tables of immutable rows in memory with their secondary indexes. It changes only by
 * `apply`, with the changes of a transaction that is on disk.
 */
import { type AnyRow, compareKeys, IndexBuckets } from './index-buckets.ts'
import { beginOverlay, type Overlay } from './overlay.ts'
import { type IndexName, type TableName, tableNames, type Tables } from './tables.ts'
import type { Change, History, Reader } from './transaction.ts'

export type { Overlay } from './overlay.ts'

export interface State extends Reader {
  /**
   * A transaction over what is committed now. It must be dropped or applied before anything else is applied: it does
   * not follow the state underneath it.
   */
  begin(): Overlay
  apply(changes: readonly Change[]): void
  /** Every row of a table as a change that changes nothing, in the order of keys. */
  rowsAsChanges(table: TableName): readonly Change[]
}

/** An empty state. `history` is where tasks that have left memory are read from; without one there are none. */
export function createState(history: History = noHistory): State {
  return new CommittedState(history)
}

const noHistory: History = {
  task: () => undefined,
  tasksOfCluster: () => [],
}

interface Table {
  readonly rows: Map<string, AnyRow>
  readonly buckets: IndexBuckets
  /** What `find` gave, index by index, until a row under that value changes: most reads are of what did not change. */
  readonly found: Map<string, Map<string, readonly AnyRow[]>>
}

class CommittedState implements State {
  readonly history: History
  readonly #tables: ReadonlyMap<TableName, Table>

  constructor(history: History) {
    this.history = history
    this.#tables = new Map(
      tableNames.map((name) => [name, { rows: new Map(), buckets: new IndexBuckets(name), found: new Map() }]),
    )
  }

  get<T extends TableName>(table: T, key: string): Tables[T] | undefined {
    return this.#table(table).rows.get(key) as Tables[T] | undefined
  }

  find<T extends TableName>(table: T, index: IndexName<T>, value: string): readonly Tables[T][] {
    const { rows, buckets, found } = this.#table(table)
    const known = found.get(index)?.get(value)
    if (known !== undefined) return known as readonly Tables[T][]
    const keys = buckets.keys(index, value)
    const list = [...keys].sort(compareKeys).map((key) => rows.get(key) as Tables[T])
    // Only what an index holds is kept, so there are never more lists than values in use.
    if (keys.size > 0) found.set(index, (found.get(index) ?? new Map<string, readonly AnyRow[]>()).set(value, list))
    return list
  }

  count<T extends TableName>(table: T, index: IndexName<T>, value: string): number {
    return this.#table(table).buckets.keys(index, value).size
  }

  all<T extends TableName>(table: T): readonly Tables[T][] {
    const { rows } = this.#table(table)
    return [...rows.keys()].sort(compareKeys).map((key) => rows.get(key) as Tables[T])
  }

  begin(): Overlay {
    return beginOverlay({
      reader: this,
      entries: (table) => this.#table(table).rows,
      keysIn: (table, index, value) => this.#table(table).buckets.keys(index, value),
    })
  }

  apply(changes: readonly Change[]): void {
    for (const { table, key, row } of changes) {
      const { rows, buckets, found } = this.#table(table)
      const before = rows.get(key)
      for (const [index, value] of [...valuesOf(buckets, before), ...valuesOf(buckets, row)]) {
        found.get(index)?.delete(value)
      }
      if (before !== undefined) buckets.remove(key, before)
      if (row === undefined) {
        rows.delete(key)
        continue
      }
      rows.set(key, row)
      buckets.add(key, row)
    }
  }

  rowsAsChanges(table: TableName): readonly Change[] {
    const entries = [...this.#table(table).rows].sort(([left], [right]) => compareKeys(left, right))
    return entries.map(([key, row]) => ({ table, key, before: row, row }))
  }

  #table(name: TableName): Table {
    const table = this.#tables.get(name)
    if (table === undefined) throw new Error(`there is no table ${name}; tables.ts lists them`)
    return table
  }
}

function valuesOf(buckets: IndexBuckets, row: AnyRow | undefined): readonly (readonly [string, string])[] {
  return row === undefined ? [] : buckets.valuesOf(row)
}
