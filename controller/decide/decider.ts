/** What every decider is: plain functions that the turn calls for each row that changed, until nothing changes. */
import type { World } from '../../proto/world.ts'
import type { TableName } from '../state/tables.ts'
import type { Change, Reader, Transaction } from '../state/transaction.ts'

/** Looks at one changed row and writes what follows from it. Deciding twice changes nothing. */
export interface Decider {
  readonly name: string
  /** The tables whose changed rows it is shown. */
  readonly tables: readonly TableName[]
  decide(tx: Transaction, table: TableName, key: string, before: Change['before'], now: number, world: World): void
}

/**
 * Looks at one thing that changed rows concern, such as a service of which a thousand tasks changed: once for all of
 * them, after the deciders of rows have come to rest. Deciding twice changes nothing.
 */
export interface KeyedDecider {
  readonly name: string
  /** The tables whose changed rows may concern it. */
  readonly tables: readonly TableName[]
  /** The keys to decide since this row changed; `before` is the row before the turn, or the same row at a start. */
  concerns(reader: Reader, table: TableName, key: string, before: Change['before']): readonly string[]
  /**
   * Writes what follows for `key`, a bounded number of rows. `more`: there is more to write, to be gone on with in the
   * next turn; only heeded where something was written.
   */
  decide(tx: Transaction, key: string, now: number, world: World): 'done' | 'more'
}
