/**
 * The second half of a turn: the deciders look at every row that changed, and at what they changed themselves, until
 * nothing changes any more. Deciders of rows go first; what the rows concern, a service for one, is decided once for all
 * rows that concern it.
 */
import type { World } from '../proto/world.ts'
import type { Overlay } from './state/state.ts'
import type { TableName } from './state/tables.ts'
import type { Change, Transaction } from './state/transaction.ts'
import type { Decider, KeyedDecider } from './decide/decider.ts'

/** What the turn needs of a logger; pino has this form. */
export interface TurnLog {
  debug(facts: object, message: string): void
  info(facts: object, message: string): void
  warn(facts: object, message: string): void
  error(facts: object, message: string): void
}

interface DirtyRow {
  readonly table: TableName
  readonly key: string
  readonly before: Change['before']
}

interface DueKey {
  readonly decider: KeyedDecider
  readonly key: string
}

/** The name of a keyed decider -> its keys, in order. */
type DueKeys = Map<string, Set<string>>

/** What waits for its decision: it outlives the turn where a bound left it over, or the commit failed. */
export interface Undecided {
  /** Rows still to be looked at, in order, each with what it was before it changed. By table and key. */
  readonly rows: Map<string, DirtyRow>
  /** What changed rows concern. */
  readonly due: DueKeys
}

export function nothingUndecided(): Undecided {
  return { rows: new Map(), due: new Map() }
}

export function countOf({ rows, due }: Undecided): number {
  return [...due.values()].reduce((sum, keys) => sum + keys.size, rows.size)
}

/** Adds changed rows; one that is already waiting keeps the oldest `before`, so that no difference is lost. */
export function markDirty({ rows }: Undecided, changes: readonly Change[]): void {
  for (const { table, key, before } of changes) {
    const name = `${table}/${key}`
    if (!rows.has(name)) rows.set(name, { table, key, before })
  }
}

/**
 * After a commit that failed: what its turn took out is undecided again. What the turn added stays, and comes to nothing:
 * its rows are as they were. So a turn need not copy what waits, which at a start is every row that there is.
 */
export function putBack(undecided: Undecided, taken: Undecided): void {
  for (const [name, row] of taken.rows) undecided.rows.set(name, row)
  for (const [name, keys] of taken.due) undecided.due.set(name, new Set([...keys, ...(undecided.due.get(name) ?? [])]))
}

export interface Deciding {
  readonly overlay: Overlay
  /** Emptied as it is decided; what a bound leaves over stays in it. */
  readonly undecided: Undecided
  readonly deciders: readonly Decider[]
  /** Noted: what is taken out of `undecided`, so that it can be put back where the commit fails. */
  readonly taken?: Undecided | undefined
  /** While one has keys, none behind it is asked: a service goes by what instances mean for its tasks. */
  readonly keyedDeciders: readonly KeyedDecider[]
  readonly now: number
  readonly world: World
  readonly log: TurnLog
}

export interface DecidingLimits {
  /** Decisions in one turn. */
  readonly decisionsMax: number
  /** No key is decided any more once deciders have written this many rows; the next turn goes on. */
  readonly decidedRowsMax: number
}

/** Decides until nothing is left or a bound is reached. Answers how many rows and keys are left undecided. */
export function decideUntilQuiet(deciding: Deciding, { decisionsMax, decidedRowsMax }: DecidingLimits): number {
  const { undecided, taken } = deciding
  const nextRow = takerOf(undecided.rows)
  /** Keys that have more to do in the next turn. */
  const again: DueKey[] = []
  let decisions = 0
  let rowsWritten = 0
  while (decisions < decisionsMax) {
    const row = nextRow()
    if (row !== undefined) {
      const name = `${row.table}/${row.key}`
      if (taken?.rows.has(name) === false) taken.rows.set(name, row)
      const { made, written } = decideRow(row, deciding)
      decisions += made
      rowsWritten += written
      continue
    }
    const due = rowsWritten < decidedRowsMax ? firstDue(deciding) : undefined
    if (due === undefined) break
    if (taken !== undefined) markDue(taken, due.decider, due.key)
    decisions += 1
    const { outcome, written } = decideKey(due, deciding)
    rowsWritten += written
    if (outcome === 'more' && written > 0) again.push(due)
  }
  for (const { decider, key } of again) markDue(undecided, decider, key)
  return countOf(undecided)
}

/** Shows one row to the deciders of rows, and notes what it concerns. */
function decideRow({ table, key, before }: DirtyRow, deciding: Deciding): { made: number; written: number } {
  const { undecided, deciders, keyedDeciders, now, world } = deciding
  let made = 0
  let written = 0
  for (const decider of deciders) {
    if (!decider.tables.includes(table)) continue
    made += 1
    const { changes } = decideOnce(deciding, { decider: decider.name, table, key }, (tx) =>
      decider.decide(tx, table, key, before, now, world),
    )
    markDirty(undecided, changes)
    written += changes.length
  }
  for (const decider of keyedDeciders) {
    if (!decider.tables.includes(table)) continue
    made += 1
    for (const concerned of concernsOf(decider, { table, key, before }, deciding)) {
      markDue(undecided, decider, concerned)
    }
  }
  return { made, written }
}

/** What a row concerns is only asked, so there is nothing to take back where the answer is an error. */
function concernsOf(
  decider: KeyedDecider,
  { table, key, before }: DirtyRow,
  { overlay, log }: Deciding,
): readonly string[] {
  try {
    return decider.concerns(overlay, table, key, before)
  } catch (error) {
    log.error({ decider: decider.name, table, key, err: error }, 'a decider threw; what it looked at stays as is')
    return []
  }
}

function decideKey(
  { decider, key }: DueKey,
  deciding: Deciding,
): { readonly outcome: 'done' | 'more'; readonly written: number } {
  const { value, changes } = decideOnce(deciding, { decider: decider.name, key }, (tx) =>
    decider.decide(tx, key, deciding.now, deciding.world),
  )
  markDirty(deciding.undecided, changes)
  return { outcome: value ?? 'done', written: changes.length }
}

/** One decision, in a transaction of its own: a decider that throws leaves nothing behind and stops nobody else. */
function decideOnce<T>(
  { overlay, log }: Deciding,
  facts: object,
  decide: (tx: Transaction) => T,
): { readonly value?: T; readonly changes: readonly Change[] } {
  const inner = overlay.begin()
  try {
    const value = decide(inner)
    const changes = inner.changes()
    overlay.merge(inner)
    return { value, changes }
  } catch (error) {
    log.error({ ...facts, err: error }, 'a decider threw; what it looked at stays as is')
    return { changes: [] }
  }
}

function markDue({ due }: Undecided, { name }: KeyedDecider, key: string): void {
  const keys = due.get(name) ?? new Set()
  due.set(name, keys.add(key))
}

/** Takes the next key, of the first decider that has one. */
function firstDue({ undecided, keyedDeciders }: Deciding): DueKey | undefined {
  for (const decider of keyedDeciders) {
    const keys = undecided.due.get(decider.name)
    const next = keys?.values().next()
    if (keys === undefined || next === undefined || next.done === true) continue
    keys.delete(next.value)
    return { decider, key: next.value }
  }
  return undefined
}

/**
 * Takes the entries out of a map one by one, those that are added meanwhile after the others. In one walk: each new one
 * would pass by all that was taken before it, and at a start there are as many rows as the state has.
 */
function takerOf<T>(map: Map<string, T>): () => T | undefined {
  let walk = map.entries()
  return () => {
    let next = walk.next()
    if (next.done === true && map.size > 0) {
      // A walk that has come to its end sees nothing that is added later.
      walk = map.entries()
      next = walk.next()
    }
    if (next.done === true) return undefined
    map.delete(next.value[0])
    return next.value[1]
  }
}
