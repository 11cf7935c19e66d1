/** When keys and roles were last used, as IAM tells it: to the quarter of an hour. */
import type { LastUsed } from '../state/iam-tables.ts'
import type { Transaction } from '../state/transaction.ts'

/** A use that is no further from the one written down is not written: a busy key costs four writes an hour. */
const coarsenessMs = 15 * 60 * 1000

export interface Use extends LastUsed {
  readonly table: 'accessKey' | 'role'
  /** The access key's id, or the role's name. */
  readonly key: string
}

export function noteUses(tx: Transaction, uses: readonly Use[]): void {
  for (const { table, key, ...lastUsed } of uses) {
    if (table === 'accessKey') {
      const row = tx.get('accessKey', key)
      if (row !== undefined && isWorthNoting(row.lastUsed, lastUsed)) tx.put('accessKey', key, { ...row, lastUsed })
    } else {
      const row = tx.get('role', key)
      if (row !== undefined && isWorthNoting(row.lastUsed, lastUsed)) tx.put('role', key, { ...row, lastUsed })
    }
  }
}

export function isWorthNoting(noted: LastUsed | undefined, use: LastUsed): boolean {
  return noted === undefined || use.at - noted.at >= coarsenessMs || noted.serviceName !== use.serviceName
}
