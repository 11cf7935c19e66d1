/**
 * Where committed turns are kept: an ordered log with a checkpoint behind it, and a history for what has left memory.
 * `append` asks for no more than one atomic, ordered, synced write, so that another kind of store can stand in for
 * SQLite.
 */
import type { AuditRecord } from './audit-record.ts'
import type { TableName, TaskRow } from './tables.ts'
import { tableNames } from './tables.ts'
import type { Change, History } from './transaction.ts'

/** A row as it is written down: `row` absent is a deletion. */
export interface RowWrite {
  readonly table: TableName
  readonly key: string
  readonly row?: Change['row']
  /** The row as it stood; absent where there was none, or where that isn't known. A store may write down what differs. */
  readonly before?: Change['before']
}

/** What one turn committed. */
export interface TurnRecord {
  /** When the turn ran, epoch milliseconds. */
  readonly at: number
  readonly writes: readonly RowWrite[]
  /** Tasks that move into the history with this turn. */
  readonly archived: readonly TaskRow[]
  /** Calls that this turn answers, or that were answered since the last one. They leave no trace in the log of turns. */
  readonly audited?: readonly AuditRecord[] | undefined
}

export interface LoadedState {
  /** The newest committed turn; 0 where there is none. */
  readonly revision: number
  /** To be applied in this order: the checkpoint's rows, then what the log's tail wrote over them. */
  readonly writes: readonly RowWrite[]
}

export interface Store {
  /** Throws CorruptStoreError, which names the record, where anything in the store can't be read. */
  load(): Promise<LoadedState>
  /**
   * Resolves with the turn's revision once it is on disk. Throws StoreWriteError where nothing of it was written, and
   * UnknownOutcomeError where that can't be told.
   */
  append(record: TurnRecord): Promise<number>
  readonly history: History
  close(): Promise<void>
}

/** The commit failed whole: nothing of it is on disk, and a later one may well succeed (a full disk). */
export class StoreWriteError extends Error {
  override readonly name = 'StoreWriteError'
}

/** It can't be told whether the commit is on disk. Only a restart, which reads what is there, gives certainty. */
export class UnknownOutcomeError extends Error {
  override readonly name = 'UnknownOutcomeError'
}

/** A record can't be read back as it was written. The controller must not start on half of its state. */
export class CorruptStoreError extends Error {
  override readonly name = 'CorruptStoreError'
}

/** The writes of a turn from its changes. */
export function writesOf(changes: readonly Change[]): readonly RowWrite[] {
  return changes.map(({ table, key, row, before }) =>
    row === undefined ? { table, key } : before === undefined ? { table, key, row } : { table, key, row, before },
  )
}

/** One turn as text, each row whole. */
export function writeRecord({ at, writes, archived }: TurnRecord): string {
  const whole = writes.map(({ table, key, row }) => (row === undefined ? { table, key } : { table, key, row }))
  return JSON.stringify({ at, writes: whole, archived })
}

/** Reads what `writeRecord` wrote; throws plain Error where the text is not that. */
export function readRecord(text: string): TurnRecord {
  const value: unknown = JSON.parse(text)
  if (typeof value !== 'object' || value === null) throw new Error('it is not an object')
  const { at, writes, archived } = value as Partial<TurnRecord>
  if (typeof at !== 'number' || !Array.isArray(writes) || !Array.isArray(archived)) {
    throw new Error('it lacks `at`, `writes` or `archived`')
  }
  for (const write of writes as readonly Partial<RowWrite>[]) {
    if (write.table === undefined || !tableNames.includes(write.table)) {
      throw new Error(`it writes into a table ${String(write.table)} which this version does not know`)
    }
    if (typeof write.key !== 'string') throw new Error(`it writes into ${write.table} without a key`)
  }
  return { at, writes: writes as readonly RowWrite[], archived: archived as readonly TaskRow[] }
}
