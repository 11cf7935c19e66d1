/**
 * What a log record says of a row: the whole row where it is new, and only the members that changed where it was there
 * before. A task is written three times on its way to RUNNING, and its instance's row once for each of its tasks.
 */
import { readRecord, type RowWrite, type TurnRecord } from './store.ts'
import type { TaskRow } from './tables.ts'

/** The members of a row that a turn set and took away, over the row as it stood. */
export interface RowPatch {
  readonly table: RowWrite['table']
  readonly key: string
  readonly set: Readonly<Record<string, unknown>>
  readonly unset?: readonly string[] | undefined
}

export type LoggedWrite = Omit<RowWrite, 'before'> | RowPatch

export interface LoggedTurn {
  readonly at: number
  readonly writes: readonly LoggedWrite[]
  readonly archived: readonly TaskRow[]
}

/** One turn as text, each row that was there before as a patch. */
export function writePatches({ at, writes, archived }: TurnRecord): string {
  return JSON.stringify({ at, writes: writes.map(loggedWrite), archived })
}

/** Reads what `writePatches` wrote; throws plain Error where the text is not that. */
export function readPatches(text: string): LoggedTurn {
  const turn: LoggedTurn = readRecord(text)
  for (const write of turn.writes) {
    if ('set' in write && (typeof write.set !== 'object' || write.set === null)) {
      throw new Error(`it changes ${write.table}/${write.key} without members`)
    }
  }
  return turn
}

export function isPatch(write: LoggedWrite): write is RowPatch {
  return 'set' in write
}

/**
 * What `write` makes of what was written under its key before it; undefined where nothing was. A patch of which the row
 * is not known stays a patch.
 */
export function afterWrite(earlier: LoggedWrite | undefined, write: LoggedWrite): LoggedWrite {
  if (!isPatch(write) || earlier === undefined) return write
  const { table, key, set, unset = [] } = write
  if (!isPatch(earlier)) {
    if (earlier.row === undefined) return write
    return { table, key, row: without({ ...earlier.row, ...set }, unset) as RowWrite['row'] }
  }
  const earlierUnset = (earlier.unset ?? []).filter((name) => !(name in set))
  return { table, key, set: without({ ...earlier.set, ...set }, unset), unset: [...earlierUnset, ...unset] }
}

/** How many characters a change of a row takes in the log. */
export function loggedCharacters(change: RowWrite): number {
  return JSON.stringify(loggedWrite(change)).length
}

function loggedWrite({ table, key, row, before }: RowWrite): LoggedWrite {
  if (row === undefined) return { table, key }
  if (before === undefined) return { table, key, row }
  // Copies of both would cost more than the comparison.
  const now = row as unknown as Readonly<Record<string, unknown>>
  const then = before as unknown as Readonly<Record<string, unknown>>
  const set: Record<string, unknown> = {}
  const unset: string[] = []
  for (const name of Object.keys(now)) {
    if (now[name] === then[name]) continue
    if (now[name] === undefined) unset.push(name)
    else set[name] = now[name]
  }
  for (const name of Object.keys(then)) if (then[name] !== undefined && !(name in now)) unset.push(name)
  return unset.length === 0 ? { table, key, set } : { table, key, set, unset }
}

function without(row: Readonly<Record<string, unknown>>, names: readonly string[]): Readonly<Record<string, unknown>> {
  if (names.length === 0) return row
  return Object.fromEntries(Object.entries(row).filter(([name]) => !names.includes(name)))
}
