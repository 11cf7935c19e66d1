/** What leaves the audit trail: what is too old, and beyond the count what the loudest callers called most. */
import type { DatabaseSync, SQLOutputValue } from 'node:sqlite'
import type { AuditPlace } from './audit-record.ts'
import { AuditKinds } from './sqlite-audit-kinds.ts'

export interface AuditLimits {
  readonly keepMs: number
  readonly keepCount: number
}

/**
 * Of a full trail, this part may be of calls that nobody could be made out for: anyone can make those, and as many as it
 * takes to push out all that others did.
 */
const unknownCallersPart = 0.1
/** Entries of the index by time that one step goes over in search of a kind's oldest records. */
const lookedOverMax = 10_000
/** A sweep chooses whose records go so many times at most, each time for so many records at least. */
const stepsMax = 20
const stepRecordsMin = 50

const start: AuditPlace = { at: -1, id: 0 }

/** How far the search for a kind's records has come; it begins anew at the end of the trail. */
interface Hand {
  readonly place: AuditPlace
  /** Whether there were any since it began. */
  readonly hasFound: boolean
}

export class AuditTrim {
  readonly kinds = new AuditKinds()
  readonly #database: DatabaseSync
  readonly #limits: AuditLimits
  readonly #hands = new Map<number, Hand>()

  constructor(database: DatabaseSync, limits: AuditLimits) {
    this.#database = database
    this.#limits = limits
    const counts = database.prepare('select kind, count(*) as count from audit indexed by audit_in_time group by kind')
    for (const { kind, count } of counts.iterate()) this.kinds.add(Number(kind), Number(count))
    this.kinds.keep()
  }

  /** Drops what is due, `recordsMax` each at most of what is too old and of what is too much. */
  sweep(now: number, recordsMax: number): void {
    const { keepMs, keepCount } = this.#limits
    const old = 'select id from audit indexed by audit_in_time where at < ? order by at, id limit ?'
    this.#drop(`delete from audit where id in (${old})`, [now - keepMs, recordsMax])
    let excess = Math.min(this.kinds.total - keepCount, recordsMax)
    const stepRecords = Math.max(Math.ceil(recordsMax / stepsMax), stepRecordsMin)
    for (let step = 0; step < stepsMax && excess > 0; step += 1) {
      const kind = this.kinds.loudest(keepCount * unknownCallersPart)
      if (kind === undefined) return
      excess -= this.#dropOf(kind, Math.min(excess, stepRecords))
    }
  }

  /** The oldest of a kind, of the part of the trail that the search comes to now. Answers how many went. */
  #dropOf(kind: number, count: number): number {
    const { place: from, hasFound } = this.#hands.get(kind) ?? { place: start, hasFound: false }
    const last = this.#lastLookedOver(from)
    const dropped = this.#drop(
      'delete from audit where id in (select id from audit indexed by audit_in_time ' +
        'where (at, id) > (?, ?) and (at, id) <= (?, ?) and kind = ? order by at, id limit ?)',
      [from.at, from.id, last?.at ?? Number.MAX_SAFE_INTEGER, last?.id ?? 0, kind, count],
    )
    const found = hasFound || dropped > 0
    // There may be more of them in this very part.
    if (dropped === count) this.#hands.set(kind, { place: from, hasFound: found })
    else if (last !== undefined) this.#hands.set(kind, { place: last, hasFound: found })
    else {
      this.#hands.delete(kind)
      // A whole way round without one: the count is of records that somebody else took out of the file.
      if (!found) this.kinds.add(kind, -this.kinds.countOf(kind))
    }
    return dropped
  }

  #lastLookedOver({ at, id }: AuditPlace): AuditPlace | undefined {
    const row = this.#database
      .prepare(
        'select at, id from audit indexed by audit_in_time where (at, id) > (?, ?) ' +
          `order by at, id limit 1 offset ${lookedOverMax - 1}`,
      )
      .get(at, id)
    return row === undefined ? undefined : { at: Number(row['at']), id: Number(row['id']) }
  }

  #drop(statement: string, values: readonly number[]): number {
    const rows: readonly Readonly<Record<string, SQLOutputValue>>[] = this.#database
      .prepare(`${statement} returning kind`)
      .all(...values)
    for (const { kind } of rows) this.kinds.add(Number(kind), -1)
    return rows.length
  }
}
