/**
 * The lists that `find` gave, kept and brought up to date row by row: most reads are of what hardly changed, and a list
 * of thousands is not sorted again for one row of it. Lists that were given out are never changed.
 */
import { type AnyRow, compareKeys } from './index-buckets.ts'

/** Rows in the order of their keys. */
export interface KeyedList {
  readonly keys: readonly string[]
  readonly rows: readonly AnyRow[]
}

/** The row that stands in the list under this key now; undefined where none does. */
export type RowOf = (key: string) => AnyRow | undefined

interface Kept {
  list: KeyedList
  /** Keys whose rows have changed since. */
  readonly stale: Set<string>
}

/** From here on it is cheaper to read a list anew than to note what is stale in it. */
const staleSpare = 64
/** Up to so many changes are made one by one; more of them in one pass over the list. */
const spliceMax = 32

export class FoundLists {
  readonly #lists = new Map<string, Map<string, Kept>>()

  isEmpty(): boolean {
    return this.#lists.size === 0
  }

  /** The list as it is now; `build` makes it where it isn't kept. */
  read(index: string, value: string, rowOf: RowOf, build: () => KeyedList): KeyedList {
    const kept = this.#lists.get(index)?.get(value)
    if (kept === undefined) {
      const list = build()
      const ofIndex = this.#lists.get(index) ?? new Map<string, Kept>()
      this.#lists.set(index, ofIndex.set(value, { list, stale: new Set() }))
      return list
    }
    if (kept.stale.size > 0) {
      kept.list = patched(kept.list, kept.stale, rowOf)
      kept.stale.clear()
    }
    return kept.list
  }

  /** A row that is or was under this value has changed. */
  touch(index: string, value: string, key: string): void {
    const ofIndex = this.#lists.get(index)
    const kept = ofIndex?.get(value)
    if (kept === undefined) return
    kept.stale.add(key)
    if (kept.stale.size > kept.list.keys.length + staleSpare) ofIndex?.delete(value)
  }

  drop(index: string, value: string): void {
    this.#lists.get(index)?.delete(value)
  }
}

/** `list` with the rows under these keys as `rowOf` has them. */
export function patched(list: KeyedList, changed: ReadonlySet<string>, rowOf: RowOf): KeyedList {
  return changed.size > spliceMax ? merged(list, changed, rowOf) : spliced(list, changed, rowOf)
}

function spliced(list: KeyedList, changed: ReadonlySet<string>, rowOf: RowOf): KeyedList {
  const rows = [...list.rows]
  let keys = list.keys
  for (const key of changed) {
    const place = placeIn(keys, key)
    const isThere = keys[place] === key
    const row = rowOf(key)
    if (isThere && row !== undefined) rows[place] = row
    else if (isThere) {
      keys = keys.toSpliced(place, 1)
      rows.splice(place, 1)
    } else if (row !== undefined) {
      keys = keys.toSpliced(place, 0, key)
      rows.splice(place, 0, row)
    }
  }
  return { keys, rows }
}

function merged(list: KeyedList, changed: ReadonlySet<string>, rowOf: RowOf): KeyedList {
  const keys: string[] = []
  const rows: AnyRow[] = []
  const add = (key: string, row: AnyRow | undefined): void => {
    if (row === undefined) return
    keys.push(key)
    rows.push(row)
  }
  let next = 0
  for (const key of [...changed].sort(compareKeys)) {
    const place = placeIn(list.keys, key)
    for (; next < place; next += 1) add(list.keys[next] ?? '', list.rows[next])
    if (list.keys[place] === key) next = place + 1
    add(key, rowOf(key))
  }
  for (; next < list.keys.length; next += 1) add(list.keys[next] ?? '', list.rows[next])
  return { keys, rows }
}

/** Where `key` is, or where it would stand. */
function placeIn(keys: readonly string[], key: string): number {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (compareKeys(keys[middle] ?? '', key) < 0) low = middle + 1
    else high = middle
  }
  return low
}
