/** What every decider is: plain functions that the turn calls for each row that changed, until nothing changes. */
import type { World } from '../../proto/world.ts'
import type { TableName } from '../state/tables.ts'
import type { Change, Transaction } from '../state/transaction.ts'

/** Looks at one changed row and writes what follows from it. Deciding twice changes nothing. */
export interface Decider {
  readonly name: string
  /** The tables whose changed rows it is shown. */
  readonly tables: readonly TableName[]
  decide(tx: Transaction, table: TableName, key: string, before: Change['before'], now: number, world: World): void
}
