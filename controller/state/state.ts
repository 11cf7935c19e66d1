/**
 * The controller's committed state: tables of immutable rows in memory with their secondary indexes. It changes only by
 * `apply`, with the changes of a transaction that is on disk.
 */
import { type ChangeLog, ChangeLogs, changesKeptMax } from './change-logs.ts'
import { FoundLists, type KeyedList } from './found-lists.ts'
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

/**
 * An empty state. `history` is where tasks that have left memory are read from; without one there are none. `changesKept`
 * bounds each log of changes.
 */
export function createState(history: History = noHistory, changesKept: number = changesKeptMax): State {
  return new CommittedState(history, changesKept)
}

const noHistory: History = {
  task: () => undefined,
  tasksOfCluster: () => [],
  audited: () => ({ records: [] }),
}

interface Table {
  readonly rows: Map<string, AnyRow>
  readonly buckets: IndexBuckets
  /** What `find` gave. */
  readonly found: FoundLists
  readonly logs: ChangeLogs
  /** Told of each value of an index under which the row of `key` is or was, once the buckets say so. */
  readonly touched: (index: string, value: string, key: string) => void
}

function emptyTable(name: TableName, changesKept: number): Table {
  const buckets = new IndexBuckets(name)
  const found = new FoundLists()
  const logs = new ChangeLogs(changesKept)
  const touched = (index: string, value: string, key: string): void => {
    logs.note(index, value)
    // Only what an index holds is kept, so there are never more lists than values in use.
    if (found.isEmpty()) return
    if (buckets.keys(index, value).size === 0) found.drop(index, value)
    else found.touch(index, value, key)
  }
  return { rows: new Map(), buckets, found, logs, touched }
}

class CommittedState implements State {
  readonly history: History
  readonly #tables: ReadonlyMap<TableName, Table>

  constructor(history: History, changesKept: number) {
    this.history = history
    this.#tables = new Map(tableNames.map((name) => [name, emptyTable(name, changesKept)]))
  }

  get<T extends TableName>(table: T, key: string): Tables[T] | undefined {
    return this.#table(table).rows.get(key) as Tables[T] | undefined
  }

  find<T extends TableName>(table: T, index: IndexName<T>, value: string): readonly Tables[T][] {
    return this.#list(table, index, value).rows as readonly Tables[T][]
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
      list: (table, index, value) => this.#list(table, index, value),
    })
  }

  apply(changes: readonly Change[]): void {
    for (const { table, key, row } of changes) {
      const { rows, buckets, touched } = this.#table(table)
      const before = rows.get(key)
      if (row === undefined) rows.delete(key)
      else rows.set(key, row)
      buckets.replace(key, before, row, touched)
    }
  }

  changeLogs<T extends TableName>(table: T, index: IndexName<T>): readonly ChangeLog[] {
    // What was there before is no change: who follows a log reads everything once.
    return [this.#table(table).logs.of(index, () => [])]
  }

  rowsAsChanges(table: TableName): readonly Change[] {
    const entries = [...this.#table(table).rows].sort(([left], [right]) => compareKeys(left, right))
    return entries.map(([key, row]) => ({ table, key, before: row, row }))
  }

  #list(table: TableName, index: string, value: string): KeyedList {
    const { rows, buckets, found } = this.#table(table)
    const keys = buckets.keys(index, value)
    if (keys.size === 0) return emptyList
    return found.read(
      index,
      value,
      (key) => (keys.has(key) ? rows.get(key) : undefined),
      () => {
        const sorted = [...keys].sort(compareKeys)
        return { keys: sorted, rows: sorted.map((key) => rows.get(key) as AnyRow) }
      },
    )
  }

  #table(name: TableName): Table {
    const table = this.#tables.get(name)
    if (table === undefined) throw new Error(`there is no table ${name}; tables.ts lists them`)
    return table
  }
}

const emptyList: KeyedList = { keys: [], rows: [] }
