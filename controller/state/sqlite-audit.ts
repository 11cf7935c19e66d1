/**
 * The audit trail in the controller's SQLite file: appended in the transaction of the turn that it tells of, never
 * changed, dropped by age and count. Each row has a checksum, so that a changed one is seen when it is read.
 */
import type { DatabaseSync, SQLInputValue, StatementSync } from 'node:sqlite'
import type { AuditQuery, AuditRecord, FoundAuditRecord } from './audit-record.ts'
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
    const oldest = `select id from audit order by id limit ${sweepMax}`
    this.#database
      .prepare(`delete from audit where id in (${oldest}) and (at < ? or id <= (select max(id) from audit) - ?)`)
      .run(now - keepMs, keepCount)
  }

  /** Newest first. Throws CorruptStoreError naming the record that was changed on disk. */
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
      .prepare(`select id, crc, row from audit ${where} order by id desc limit ?`)
      .all(...given.flatMap(([, values]) => values), limit)
    return rows.map((row) => {
      const what = `audit record ${String(row['id'])} of ${this.#path}`
      const record = readChecked(what, row['row'], row['crc'], (text) => JSON.parse(text) as AuditRecord)
      return { ...record, id: Number(row['id']) }
    })
  }
}
