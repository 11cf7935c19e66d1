/**
 * The secondary indexes of one table: index name -> index value -> keys of the rows found under it. The committed
 * state keeps one of these for each table, and so does every overlay, for the rows that it wrote itself.
 */
import { indexes, type TableName, type Tables } from './tables.ts'

export type AnyRow = Tables[TableName]

const noKeys: ReadonlySet<string> = new Set()

export class IndexBuckets {
  readonly #valueOf: ReadonlyMap<string, (row: AnyRow) => string | undefined>
  readonly #keys = new Map<string, Map<string, Set<string>>>()

  constructor(table: TableName) {
    this.#valueOf = new Map(Object.entries(indexes[table] as Record<string, (row: AnyRow) => string | undefined>))
    for (const index of this.#valueOf.keys()) this.#keys.set(index, new Map())
  }

  add(key: string, row: AnyRow): void {
    for (const [index, valueOf] of this.#valueOf) {
      const value = valueOf(row)
      if (value === undefined) continue
      const buckets = this.#bucketsOf(index)
      const bucket = buckets.get(value)
      if (bucket === undefined) buckets.set(value, new Set([key]))
      else bucket.add(key)
    }
  }

  remove(key: string, row: AnyRow): void {
    for (const [index, valueOf] of this.#valueOf) {
      const value = valueOf(row)
      if (value === undefined) continue
      const buckets = this.#bucketsOf(index)
      const bucket = buckets.get(value)
      bucket?.delete(key)
      // An empty bucket is dropped, else the values of rows long gone would add up.
      if (bucket?.size === 0) buckets.delete(value)
    }
  }

  /** Each index that the row is in, with the value under which it is found there. */
  valuesOf(row: AnyRow): readonly (readonly [string, string])[] {
    const values: (readonly [string, string])[] = []
    for (const [index, valueOf] of this.#valueOf) {
      const value = valueOf(row)
      if (value !== undefined) values.push([index, value])
    }
    return values
  }

  /** The values of an index under which there are rows. */
  valuesIn(index: string): Iterable<string> {
    return this.#bucketsOf(index).keys()
  }

  keys(index: string, value: string): ReadonlySet<string> {
    return this.#bucketsOf(index).get(value) ?? noKeys
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
