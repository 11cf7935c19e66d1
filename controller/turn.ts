/**
 * The heart: inputs in, pure handlers and deciders write rows into a transaction, the store commits it, and only then
 * callers are answered and agents are told. docs/turn.md has the picture.
 */
import type { World } from '../proto/world.ts'
import type { TableName } from './state/tables.ts'
import type { Change, Reader, Transaction } from './state/transaction.ts'

/** One thing that happened: an API call, an agent's message, a due timer. `run` is pure. */
export interface TurnInput<T> {
  /** For the log and for metrics: `RunTask`, `agentConnected`, `retention`. */
  readonly name: string
  run(tx: Transaction, now: number, world: World): T
}

/** Looks at one changed row and writes what follows from it. Deciding twice changes nothing. */
export interface Decider {
  readonly name: string
  /** The tables whose changed rows it is shown. */
  readonly tables: readonly TableName[]
  decide(tx: Transaction, table: TableName, key: string, before: Change['before'], now: number, world: World): void
}

export interface Turn {
  /**
   * Resolves with what `run` returned, after its writes are committed and synced to disk. Rejects with the ApiError that
   * `run` threw, or with a ServerException where the commit failed or the controller is read-only.
   */
  submit<T>(input: TurnInput<T>): Promise<T>
  /** Committed state, for reads. */
  readonly reader: Reader
  /** Called after each commit, with what it changed, before the next turn starts. */
  onCommit(listener: (changes: readonly Change[], revision: number) => void): void
  /** `readOnly` says why, while commits fail. */
  status(): { readonly revision: number; readonly readOnly: string | undefined; readonly turns: number }
  /** Takes no more inputs, finishes what it has, then closes the store. */
  close(): Promise<void>
}
