/**
 * The audit trail in the controller's SQLite file: appended in the transaction of the turn that it tells of, never
 * changed, dropped by age and count. Each row has a checksum, so that a changed one is seen when it is read.
 */
import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from 'node:sqlite'
import type { AuditQuery, AuditRecord, FoundAuditRecord } from './audit-record.ts'
import { CorruptStoreError } from './store.ts'
import { checksum, readChecked } from './sqlite-schema.ts'

export interface AuditLimits {
  readonly keepMs: number
  readonly keepCount: number
}

export const auditDefaults: AuditLimits = { keepMs: 90 * 24 * 3600 * 1000, keepCount: 500_000 }

/** Old records are dropped after so many new ones, so that no turn pays for a sweep. */
const sweepAfterRecords = 500
/** At most so many at a time: a shortened retention must not hold up a turn. */
const sweepMax = 5000
/**
 * Of a full trail, this part may be of calls that nobody could be made out for: anyone can make those, and as many as it
 * takes to push out all that others did.
 */
const unknownCallersPart = 0.1

export class AuditTable {
  readonly #database: DatabaseSync
  readonly #limits: AuditLimits
  readonly #path: string
  readonly #insert: StatementSync
  #sinceSweep = sweepAfterRecords

  constructor(database: DatabaseSync, path: string, limits: AuditLimits) {
    this.#database = database
    this.#path = path
    this.#limits = limits
    this.#insert = database.prepare(
      'insert into audit (at, principal, action, code, crc, row) values (?, ?, ?, ?, ?, ?)',
    )
  }

  /** Inside of the caller's transaction. `now` is epoch milliseconds. */
  append(records: readonly AuditRecord[], now: number): void {
    for (const record of records) {
      const { at, principalArn, action, code } = record
      const text = JSON.stringify(record)
      this.#insert.run(at, principalArn ?? '', action, code, checksum(text), text)
    }
    this.#sinceSweep += records.length
    if (this.#sinceSweep < sweepAfterRecords) return
    this.#sinceSweep = 0
    const { keepMs, keepCount } = this.#limits
    const count = Number(this.#database.prepare('select count(*) as count from audit').get()?.['count'])
    const excess = Math.min(count - keepCount, sweepMax)
    if (excess > 0) this.#dropOldest(excess - this.#dropUnknownCallers(excess))
    const oldest = `select id from audit order by id limit ${sweepMax}`
    this.#database.prepare(`delete from audit where id in (${oldest}) and at < ?`).run(now - keepMs)
  }

  #dropOldest(count: number): void {
    this.#database.prepare('delete from audit where id in (select id from audit order by id limit ?)').run(count)
  }

  /** At most `count` of them, those beyond their part. Answers how many. */
  #dropUnknownCallers(count: number): number {
    const theirs = "select id from audit where principal = ''"
    const kept = Math.floor(this.#limits.keepCount * unknownCallersPart)
    const edge = this.#database.prepare(`${theirs} order by id desc limit 1 offset ?`).get(kept)?.['id']
    if (edge === undefined) return 0
    const beyond = `${theirs} and id <= ? order by id limit ?`
    return Number(this.#database.prepare(`delete from audit where id in (${beyond})`).run(edge, count).changes)
  }

  /** Newest first. A record that was changed on disk is told as such, and hides no other. */
  query({ principalArn, action, code, since, until, before, limit }: AuditQuery): readonly FoundAuditRecord[] {
    const wholeService = action?.endsWith(':*') === true ? action.slice(0, -1) : undefined
    const conditions: readonly (readonly [string, readonly SQLInputValue[]] | undefined)[] = [
      principalArn === undefined ? undefined : ['principal = ?', [principalArn]],
      action === undefined || wholeService !== undefined ? undefined : ['action = ?', [action]],
      // The character behind the colon: what starts with `ecs:` stands between these two.
      wholeService === undefined
        ? undefined
        : ['action >= ? and action < ?', [wholeService, `${wholeService.slice(0, -1)};`]],
      code === undefined ? undefined : ['code = ?', [code]],
      since === undefined ? undefined : ['at >= ?', [since]],
      until === undefined ? undefined : ['at <= ?', [until]],
      before === undefined ? undefined : ['id < ?', [before]],
    ]
    const given = conditions.filter((condition) => condition !== undefined)
    const where = given.length === 0 ? '' : `where ${given.map(([text]) => text).join(' and ')}`
    const rows = this.#database
      .prepare(`select id, at, action, code, crc, row from audit ${where} order by id desc limit ?`)
      .all(...given.flatMap(([, values]) => values), limit)
    return rows.map((row) => this.#read(row))
  }

  #read(row: Readonly<Record<string, SQLOutputValue>>): FoundAuditRecord {
    const id = Number(row['id'])
    const what = `audit record ${id} of ${this.#path}`
    try {
      return { ...readChecked(what, row['row'], row['crc'], (text) => JSON.parse(text) as AuditRecord), id }
    } catch (error) {
      if (!(error instanceof CorruptStoreError)) throw error
      const { at, action, code } = row
      const told = { at: Number(at), action: String(action), code: String(code), requestId: '', sourceAddress: '' }
      return { ...told, resources: [], isSecure: false, id, damage: `${what} was changed on disk` }
    }
  }
}
