/** Ends every session of a role that began before: its tokens are refused from the commit on. */
import type { RoleRow } from '../state/iam-tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { requireRole } from './roles.ts'

/** Throws NoSuchEntity. Sessions that begin afterwards hold; so the trust policy is to be looked at first. */
export function revokeSessions(tx: Transaction, roleName: string, now: number): RoleRow {
  const role = requireRole(tx, roleName)
  const revoked = { ...role, revocationEpoch: role.revocationEpoch + 1, sessionsRevokedAt: now }
  tx.put('role', role.RoleName, revoked)
  return revoked
}
