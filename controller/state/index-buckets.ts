/**
 * The secondary indexes of one table: index name -> index value -> keys of the rows found under it. The committed
 * state keeps one of these for each table, and so does every overlay, for the rows that it wrote itself.
 */
import { indexes, type TableName, type Tables } from './tables.ts'

export type AnyRow = Tables[TableName]

/** Index name -> the value under which a row is found there, or undefined where the row is not in that index. */
type ValuesOf = ReadonlyMap<string, (row: AnyRow) => string | undefined>

const valuesOfTables = new Map<string, ValuesOf>(
  Object.entries(indexes).map(([table, byName]) => [
    table,
    new Map(Object.entries(byName as Record<string, (row: AnyRow) => string | undefined>)),
  ]),
)

/** The indexes of one table. */
export function indexesOf(table: TableName): ValuesOf {
  const valuesOf = valuesOfTables.get(table)
  if (valuesOf === undefined) throw new Error(`there is no table ${table}; tables.ts lists them`)
  return valuesOf
}

/** The value under which `row` is found in one index of its table. */
export function indexValueOf(table: TableName, index: string, row: AnyRow): string | undefined {
  const valueOf = indexesOf(table).get(index)
  if (valueOf === undefined) throw new Error(`there is no index ${index} on ${table}; tables.ts lists them`)
  return valueOf(row)
}

const noKeys: ReadonlySet<string> = new Set()

export class IndexBuckets {
  readonly #valuesOf: ValuesOf
  readonly #keys = new Map<string, Map<string, Set<string>>>()

  constructor(table: TableName) {
    this.#valuesOf = indexesOf(table)
    for (const index of this.#valuesOf.keys()) this.#keys.set(index, new Map())
  }

  add(key: string, row: AnyRow): void {
    for (const [index, valueOf] of this.#valuesOf) {
      const value = valueOf(row)
      if (value !== undefined) this.#addTo(index, value, key)
    }
  }

  remove(key: string, row: AnyRow): void {
    for (const [index, valueOf] of this.#valuesOf) {
      const value = valueOf(row)
      if (value !== undefined) this.#removeFrom(index, value, key)
    }
  }

  /**
   * Puts `row` in the place of `before`, either of which may not be there, and tells `touched` of each value under which
   * one of them is or was: most changes of a row leave it under the values that it had, and move nothing.
   */
  replace(
    key: string,
    before: AnyRow | undefined,
    row: AnyRow | undefined,
    touched: (index: string, value: string, key: string) => void,
  ): void {
    for (const [index, valueOf] of this.#valuesOf) {
      const from = before === undefined ? undefined : valueOf(before)
      const to = row === undefined ? undefined : valueOf(row)
      if (from !== to) {
        if (from !== undefined) this.#removeFrom(index, from, key)
        if (to !== undefined) this.#addTo(index, to, key)
        if (from !== undefined) touched(index, from, key)
      }
      if (to !== undefined) touched(index, to, key)
    }
  }

  keys(index: string, value: string): ReadonlySet<string> {
    return this.#bucketsOf(index).get(value) ?? noKeys
  }

  #addTo(index: string, value: string, key: string): void {
    const buckets = this.#bucketsOf(index)
    const bucket = buckets.get(value)
    if (bucket === undefined) buckets.set(value, new Set([key]))
    else bucket.add(key)
  }

  #removeFrom(index: string, value: string, key: string): void {
    const buckets = this.#bucketsOf(index)
    const bucket = buckets.get(value)
    bucket?.delete(key)
    // An empty bucket is dropped, else the values of rows long gone would add up.
    if (bucket?.size === 0) buckets.delete(value)
  }

  #bucketsOf(index: string): Map<string, Set<string>> {
    const buckets = this.#keys.get(index)
    if (buckets === undefined) throw new Error(`there is no index ${index} on this table; tables.ts lists them`)
    return buckets
  }
}

/** The order of keys everywhere: by UTF-16 code unit, the same on every machine and in every locale. */
export function compareKeys(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0
}
