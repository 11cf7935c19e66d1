/**
 * The second half of a turn: the deciders look at every row that changed, and at what they changed themselves, until
 * nothing changes any more.
 */
import type { World } from '../proto/world.ts'
import type { Overlay } from './state/state.ts'
import type { TableName } from './state/tables.ts'
import type { Change } from './state/transaction.ts'
import type { Decider } from './decide/decider.ts'

/** What the turn needs of a logger; pino has this form. */
export interface TurnLog {
  debug(facts: object, message: string): void
  info(facts: object, message: string): void
  warn(facts: object, message: string): void
  error(facts: object, message: string): void
}

/** Rows still to be looked at, in order, each with what it was before it changed. The key of the map is table and key. */
export type DirtyKeys = Map<
  string,
  { readonly table: TableName; readonly key: string; readonly before: Change['before'] }
>

/** Adds changed rows; one that is already waiting keeps the oldest `before`, so that no difference is lost. */
export function markDirty(dirty: DirtyKeys, changes: readonly Change[]): void {
  for (const { table, key, before } of changes) {
    const name = `${table}/${key}`
    if (!dirty.has(name)) dirty.set(name, { table, key, before })
  }
}

export interface Deciding {
  readonly overlay: Overlay
  /** Emptied as its rows are decided; what the bound leaves over stays in it. */
  readonly dirty: DirtyKeys
  readonly now: number
  readonly world: World
  readonly log: TurnLog
}

/** Runs at most `decisionsMax` decisions and answers how many rows are left undecided. */
export function decideUntilQuiet(deciders: readonly Decider[], deciding: Deciding, decisionsMax: number): number {
  const { dirty } = deciding
  let decisions = 0
  while (decisions < decisionsMax) {
    const next = dirty.entries().next()
    if (next.done === true) break
    const [name, { table, key, before }] = next.value
    dirty.delete(name)
    for (const decider of deciders) {
      if (!decider.tables.includes(table)) continue
      decisions += 1
      markDirty(dirty, decideOnce(decider, { table, key, before }, deciding))
    }
  }
  return dirty.size
}

/** One decision, in a transaction of its own: a decider that throws leaves nothing behind and stops nobody else. */
function decideOnce(
  decider: Decider,
  row: { readonly table: TableName; readonly key: string; readonly before: Change['before'] },
  { overlay, now, world, log }: Deciding,
): readonly Change[] {
  const inner = overlay.begin()
  try {
    decider.decide(inner, row.table, row.key, row.before, now, world)
  } catch (error) {
    log.error(
      { decider: decider.name, table: row.table, key: row.key, err: error },
      'a decider threw; the row stays as is',
    )
    return []
  }
  const changes = inner.changes()
  overlay.merge(inner)
  return changes
}
