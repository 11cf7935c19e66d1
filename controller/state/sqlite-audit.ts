/**
 * The audit trail in the controller's SQLite file: appended in the transaction of the turn that it tells of, never
 * changed, dropped by age and count (sqlite-audit-trim.ts). Each row has a checksum, so that a changed one is seen when it is read.
 */
import type { DatabaseSync, SQLOutputValue, StatementSync } from 'node:sqlite'
import type { AuditPage, AuditQuery, AuditRecord, FoundAuditRecord } from './audit-record.ts'
import { CorruptStoreError } from './store.ts'
import { kindOf } from './sqlite-audit-kinds.ts'
import { lookUpAudit } from './sqlite-audit-lookup.ts'
import { type AuditLimits, AuditTrim } from './sqlite-audit-trim.ts'
import { checksum, readChecked } from './sqlite-schema.ts'

export const auditDefaults: AuditLimits = { keepMs: 90 * 24 * 3600 * 1000, keepCount: 500_000 }

/** Records are dropped after so many new ones: few enough that no turn waits for a sweep. */
const sweepAfterRecords = 100
/** For each new record so many may go, so that a shortened retention is reached, and holds up no turn. */
const droppedForEach = 2

export class AuditTable {
  readonly #database: DatabaseSync
  readonly #path: string
  readonly #insert: StatementSync
  readonly #trim: AuditTrim
  #sinceSweep = sweepAfterRecords

  constructor(database: DatabaseSync, path: string, limits: AuditLimits) {
    this.#database = database
    this.#path = path
    this.#trim = new AuditTrim(database, limits)
    this.#insert = database.prepare(
      'insert into audit (at, principal, action, code, crc, row, kind) values (?, ?, ?, ?, ?, ?, ?)',
    )
  }

  /** Inside of the caller's transaction, of which it is told by `settle`. `now` is epoch milliseconds. */
  append(records: readonly AuditRecord[], now: number): void {
    for (const record of records) {
      const { at, principalArn, action, code } = record
      const text = JSON.stringify(record)
      const kind = kindOf(record)
      this.#insert.run(at, principalArn ?? '', action, code, checksum(text), text, kind)
      this.#trim.kinds.add(kind, 1)
    }
    this.#sinceSweep += records.length
    if (this.#sinceSweep < sweepAfterRecords) return
    this.#trim.sweep(now, droppedForEach * this.#sinceSweep)
    this.#sinceSweep = 0
  }

  /** Whether what was appended is in the file for good. */
  settle(isCommitted: boolean): void {
    if (isCommitted) this.#trim.kinds.keep()
    else this.#trim.kinds.takeBack()
  }

  /** Newest first. A record that was changed on disk is told as such, and hides no other. */
  query(query: AuditQuery): AuditPage {
    const { rows, next } = lookUpAudit(this.#database, query)
    return { records: rows.map((row) => this.#read(row)), next }
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
