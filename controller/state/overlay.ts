/**
 * A transaction: what it wrote lies over what it was begun on, and it reads both as one. Overlays nest, so that one
 * request of a turn can be dropped without the others.
 */
import type { AuditRecord } from './audit-record.ts'
import { sameRow } from './equal.ts'
import { type ChangeLog, ChangeLogs } from './change-logs.ts'
import { FoundLists, type KeyedList, patched } from './found-lists.ts'
import { type AnyRow, compareKeys, IndexBuckets, indexesOf, indexValueOf } from './index-buckets.ts'
import { type IndexName, type TableName, tableNames, type Tables } from './tables.ts'
import type { Change, History, Reader, Transaction } from './transaction.ts'

export interface Overlay extends Transaction {
  /** What it changed, once for each row, rows that ended as they began left out. In the order of tables and writes. */
  changes(): readonly Change[]
  /** Tasks that leave memory with this transaction, in the order in which they were archived. */
  archivedTaskIds(): readonly string[]
  /** The rows behind `archivedTaskIds`. */
  archivedTasks(): readonly Tables['task'][]
  /** What it writes into the audit trail. */
  audited(): readonly AuditRecord[]
  /** A transaction within this one, to be merged into it or dropped. This one must not be written to meanwhile. */
  begin(): Overlay
  /** Takes over everything that `inner`, begun on this transaction, wrote. */
  merge(inner: Overlay): void
}

/** What lies under an overlay: the committed state or another overlay. */
export interface Base {
  readonly reader: Reader
  /** Every row by key, in no particular order. */
  entries(table: TableName): Iterable<readonly [string, AnyRow]>
  /** What `find` yields, with the keys. */
  list(table: TableName, index: string, value: string): KeyedList
}

export function beginOverlay(base: Base): Overlay {
  return new LayeredOverlay(base)
}

/** One row that an overlay wrote. */
interface Written {
  /** Undefined is a deletion. */
  row: AnyRow | undefined
  /** What stands underneath, hidden by this. */
  readonly below: AnyRow | undefined
}

/** What one overlay wrote into one table. */
interface Layer {
  readonly rows: Map<string, Written>
  /** Made once something is looked for among many rows: most overlays write a row or two, and nobody looks. */
  indexes: LayerIndexes | undefined
  /** What `find` gave of both together. */
  readonly found: FoundLists
}

interface LayerIndexes {
  /** Of the rows written here. */
  readonly written: IndexBuckets
  /** Of the rows underneath that are hidden by a write here, so that `count` need not build the list. */
  readonly hidden: IndexBuckets
}

/** Up to so many rows are looked through for those under a value. */
const scanMax = 6

/** One is begun for each input and each decision, and most of them write little: what it may not need is made later. */
class LayeredOverlay implements Overlay, Base {
  readonly #base: Base
  #layers: Map<TableName, Layer> | undefined
  #logs: Map<TableName, ChangeLogs> | undefined
  #archived: Map<string, Tables['task']> | undefined
  #audited: AuditRecord[] | undefined
  /** What `changes` gave since the last write. */
  #changes: readonly Change[] | undefined

  constructor(base: Base) {
    this.#base = base
  }

  get history(): History {
    const below = this.#base.reader.history
    return this.#archived === undefined ? below : historyOver(below, this.#archived)
  }

  /** As the base of a transaction within this one. */
  get reader(): Reader {
    return this
  }

  get<T extends TableName>(table: T, key: string): Tables[T] | undefined {
    const written = this.#layers?.get(table)?.rows.get(key)
    return written === undefined ? this.#base.reader.get(table, key) : (written.row as Tables[T] | undefined)
  }

  find<T extends TableName>(table: T, index: IndexName<T>, value: string): readonly Tables[T][] {
    return this.list(table, index, value).rows as readonly Tables[T][]
  }

  count<T extends TableName>(table: T, index: IndexName<T>, value: string): number {
    const below = this.#base.reader.count(table, index, value)
    const layer = this.#layers?.get(table)
    if (layer === undefined) return below
    const { written, hidden } = keysUnder(table, layer, index, value)
    return below - hidden.size + written.size
  }

  all<T extends TableName>(table: T): readonly Tables[T][] {
    if (this.#layers?.has(table) !== true) return this.#base.reader.all(table)
    return [...this.entries(table)]
      .sort(([left], [right]) => compareKeys(left, right))
      .map(([, row]) => row as Tables[T])
  }

  put<T extends TableName>(table: T, key: string, row: Tables[T]): void {
    this.#write(table, key, row)
    if (table === 'task') this.#archived?.delete(key)
  }

  delete(table: TableName, key: string): void {
    this.#write(table, key, undefined)
  }

  archiveTask(taskId: string): void {
    const row = this.get('task', taskId)
    if (row === undefined) throw new Error(`task ${taskId} can't be archived: it is not in memory`)
    this.delete('task', taskId)
    this.#keepArchived(row)
  }

  audit(record: AuditRecord): void {
    this.#audited ??= []
    this.#audited.push(record)
  }

  audited(): readonly AuditRecord[] {
    return this.#audited ?? []
  }

  changes(): readonly Change[] {
    if (this.#changes !== undefined) return this.#changes
    const changes: Change[] = []
    for (const table of this.#layers === undefined ? [] : tableNames) {
      for (const [key, { row, below }] of this.#layers?.get(table)?.rows ?? []) {
        if (!sameRow(below, row)) changes.push({ table, key, before: below, row })
      }
    }
    this.#changes = changes
    return changes
  }

  archivedTaskIds(): readonly string[] {
    return [...(this.#archived?.keys() ?? [])]
  }

  archivedTasks(): readonly Tables['task'][] {
    return [...(this.#archived?.values() ?? [])]
  }

  begin(): Overlay {
    return beginOverlay(this)
  }

  merge(inner: Overlay): void {
    for (const { table, key, row } of inner.changes()) {
      if (row === undefined) this.delete(table, key)
      else this.put(table, key, row)
    }
    for (const row of inner.archivedTasks()) this.#keepArchived(row)
    for (const record of inner.audited()) this.audit(record)
  }

  *entries(table: TableName): Iterable<readonly [string, AnyRow]> {
    const layer = this.#layers?.get(table)
    for (const entry of this.#base.entries(table)) if (layer?.rows.has(entry[0]) !== true) yield entry
    for (const [key, { row }] of layer?.rows ?? []) if (row !== undefined) yield [key, row]
  }

  list(table: TableName, index: string, value: string): KeyedList {
    const below = this.#base.list(table, index, value)
    const layer = this.#layers?.get(table)
    if (layer === undefined) return below
    const { written, hidden } = keysUnder(table, layer, index, value)
    if (written.size + hidden.size === 0) return below
    const rowOf = (key: string): AnyRow | undefined => (written.has(key) ? layer.rows.get(key)?.row : undefined)
    return layer.found.read(index, value, rowOf, () => patched(below, new Set([...hidden, ...written]), rowOf))
  }

  changeLogs<T extends TableName>(table: T, index: IndexName<T>): readonly ChangeLog[] {
    const layer = this.#layers?.get(table)
    let logs = this.#logs?.get(table)
    if (logs === undefined) {
      logs = new ChangeLogs()
      this.#logs ??= new Map()
      this.#logs.set(table, logs)
    }
    const own = logs.of(index, () =>
      [...(layer?.rows.values() ?? [])].flatMap(({ row, below }) =>
        [row, below].flatMap((each) => (each === undefined ? [] : (indexValueOf(table, index, each) ?? []))),
      ),
    )
    return [...this.#base.reader.changeLogs(table, index), own]
  }

  #keepArchived(row: Tables['task']): void {
    this.#archived ??= new Map()
    this.#archived.set(row.taskId, row)
  }

  #write(table: TableName, key: string, row: AnyRow | undefined): void {
    this.#changes = undefined
    let layer = this.#layers?.get(table)
    if (layer === undefined) {
      layer = { rows: new Map(), indexes: undefined, found: new FoundLists() }
      this.#layers ??= new Map()
      this.#layers.set(table, layer)
    }
    const { rows, indexes } = layer
    const known = rows.get(key)
    const below = known === undefined ? this.#base.reader.get(table, key) : known.below
    const earlier = known === undefined ? below : known.row
    if (known === undefined) {
      rows.set(key, { row, below })
      if (below !== undefined) indexes?.hidden.add(key, below)
    } else {
      if (known.row !== undefined) indexes?.written.remove(key, known.row)
      known.row = row
    }
    if (row !== undefined) indexes?.written.add(key, row)
    this.#noteChange(table, layer, key, earlier)
    this.#noteChange(table, layer, key, row)
  }

  /** To whom it matters that this row is or was under its values. */
  #noteChange(table: TableName, layer: Layer, key: string, row: AnyRow | undefined): void {
    const logs = this.#logs?.get(table)
    if (row === undefined || (logs === undefined && layer.found.isEmpty())) return
    for (const [index, valueOf] of indexesOf(table)) {
      const value = valueOf(row)
      if (value === undefined) continue
      layer.found.touch(index, value, key)
      logs?.note(index, value)
    }
  }
}

/** The keys of the rows that a layer wrote and hides under a value of an index. */
function keysUnder(
  table: TableName,
  layer: Layer,
  index: string,
  value: string,
): { readonly written: ReadonlySet<string>; readonly hidden: ReadonlySet<string> } {
  if (layer.indexes === undefined && layer.rows.size > scanMax) layer.indexes = indexesOfLayer(table, layer)
  if (layer.indexes !== undefined) {
    const { written, hidden } = layer.indexes
    return { written: written.keys(index, value), hidden: hidden.keys(index, value) }
  }
  const written = new Set<string>()
  const hidden = new Set<string>()
  for (const [key, { row, below }] of layer.rows) {
    if (row !== undefined && indexValueOf(table, index, row) === value) written.add(key)
    if (below !== undefined && indexValueOf(table, index, below) === value) hidden.add(key)
  }
  return { written, hidden }
}

function indexesOfLayer(table: TableName, layer: Layer): LayerIndexes {
  const written = new IndexBuckets(table)
  const hidden = new IndexBuckets(table)
  for (const [key, { row, below }] of layer.rows) {
    if (row !== undefined) written.add(key, row)
    if (below !== undefined) hidden.add(key, below)
  }
  return { written, hidden }
}

/** The history with what this transaction is about to add to it, so that it reads its own writes here too. */
function historyOver(below: History, archived: ReadonlyMap<string, Tables['task']>): History {
  return {
    audited: (query) => below.audited(query),
    task: (taskId) => archived.get(taskId) ?? below.task(taskId),
    tasksOfCluster: (clusterName, limit) => {
      const own = [...archived.values()].filter((row) => row.clusterName === clusterName)
      const known = below.tasksOfCluster(clusterName, limit)
      if (own.length === 0) return known
      return [...own, ...known].sort((left, right) => endOf(right) - endOf(left)).slice(0, limit)
    },
  }
}

/** By what "newest" is meant in the history: when the task stopped, epoch milliseconds. */
function endOf(row: Tables['task']): number {
  return row.stoppedAt ?? row.createdAt
}
