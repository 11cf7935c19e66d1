/**
 * How handlers and deciders see the state. A transaction is an overlay over the committed tables: it reads its own
 * writes, and nothing of it shows to anyone else before its turn is committed.
 */
import type { AuditPage, AuditQuery, AuditRecord } from './audit-record.ts'
import type { ChangeLog } from './change-logs.ts'
import type { IndexName, TableName, Tables } from './tables.ts'

export interface Reader {
  get<T extends TableName>(table: T, key: string): Tables[T] | undefined
  /** Rows whose index value equals `value`, in the order of their keys. */
  find<T extends TableName>(table: T, index: IndexName<T>, value: string): readonly Tables[T][]
  /** How many rows `find` would yield, without building the list. */
  count<T extends TableName>(table: T, index: IndexName<T>, value: string): number
  /** Every row, in the order of keys. For lists that are asked for by a person, never inside a decision on one key. */
  all<T extends TableName>(table: T): readonly Tables[T][]
  /**
   * For sums that are kept over an index: under which of its values rows have changed, the log of the committed state
   * first, then one for each transaction above it. The same change is seen in a transaction and again once it is applied.
   */
  changeLogs<T extends TableName>(table: T, index: IndexName<T>): readonly ChangeLog[]
  /** What has left memory: tasks that stopped a while ago. */
  readonly history: History
}

export interface Transaction extends Reader {
  put<T extends TableName>(table: T, key: string, row: Tables[T]): void
  delete(table: TableName, key: string): void
  /** Moves a stopped task out of memory, into the history, with this turn's commit. */
  archiveTask(taskId: string): void
  /** Writes a call into the audit trail, with this turn's commit. */
  audit(record: AuditRecord): void
}

export interface History {
  task(taskId: string): Tables['task'] | undefined
  /** Newest first, at most `limit`. */
  tasksOfCluster(clusterName: string, limit: number): readonly Tables['task'][]
  /** A bounded look at the audit trail, newest first. */
  audited(query: AuditQuery): AuditPage
}

/** One row's change in a turn: `row` undefined is a deletion. */
export interface Change<T extends TableName = TableName> {
  readonly table: T
  readonly key: string
  readonly before: Tables[T] | undefined
  readonly row: Tables[T] | undefined
}
