/** What survives a restart of the agent, as values; `journal.ts` keeps them in SQLite, a simulation in memory. */
import type { GantryTaskStateChange, PayloadTask } from '../../proto/acs.ts'
import type { TaskFacts } from './view.ts'

export interface JournalTask {
  readonly payload: PayloadTask
  readonly facts: TaskFacts
}

/** One unsent or unacknowledged state change. `sequence` orders them; a task's go out in this order, one at a time. */
export interface OutboxEntry {
  readonly sequence: number
  readonly change: GantryTaskStateChange
}

export interface JournalContents {
  readonly tasks: readonly JournalTask[]
  readonly outbox: readonly OutboxEntry[]
  /** The highest payload sequence number or manifest timeline seen; -1 where none was. */
  readonly seqNum: number
  /** The agent had no controller for long. */
  readonly isAlone?: boolean | undefined
}

/** What one turn writes, all of it or nothing. */
export interface JournalChanges {
  /** Accepted payloads, new or replaced. */
  readonly payloads: readonly PayloadTask[]
  readonly facts: readonly TaskFacts[]
  readonly forgottenTaskArns: readonly string[]
  /** New or replaced entries. */
  readonly outbox: readonly OutboxEntry[]
  readonly deliveredSequences: readonly number[]
  readonly seqNum: number | undefined
  readonly isAlone?: boolean | undefined
}

export interface Journal {
  load(): JournalContents
  /** Durable when it returns. Throws a JournalError, and then nothing of it is written. */
  commit(changes: JournalChanges): void
  close(): void
}
