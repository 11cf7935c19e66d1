/** From where a principal's rights come: the policies of its row, those that are attached to it, its bounds. */
import type { PolicyHolder } from '../state/iam-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { hostPolicy } from './host-policy.ts'
import { managedPolicyDocument } from './managed-policies.ts'
import type { Principal } from './principal.ts'

export interface PrincipalPolicies {
  /** JSON texts; any order. */
  readonly identity: readonly string[]
  /** Undefined: none is set. Null: one is set that isn't there, and so allows nothing. */
  readonly boundary: string | null | undefined
  readonly session: string | undefined
  /** `aws:PrincipalArn`: of a session its role's, else the caller's own. */
  readonly principalArn: string
  /** The holder's unique id. */
  readonly principalId: string
}

export function policiesOf(principal: Principal, reader: Reader): PrincipalPolicies {
  const { arn: principalArn, userId: principalId, sessionPolicy: session } = principal
  const own = { principalArn, principalId, session }
  if (principal.kind === 'host') return { ...own, identity: [hostPolicy], boundary: undefined }
  const holder = holderOf(principal, reader)
  if (holder === undefined) return { ...own, identity: [], boundary: undefined }
  const { inlinePolicies, attachedPolicyArns, permissionsBoundaryArn } = holder.row
  const attached = attachedPolicyArns.flatMap((arn) => managedPolicyDocument(reader, arn) ?? [])
  return {
    session,
    principalArn: holder.row.Arn,
    principalId: holder.id,
    identity: [...inlinePolicies.map(({ PolicyDocument }) => PolicyDocument), ...attached],
    boundary:
      permissionsBoundaryArn === undefined
        ? undefined
        : (managedPolicyDocument(reader, permissionsBoundaryArn) ?? null),
  }
}

interface Holder {
  readonly row: PolicyHolder
  readonly id: string
}

/** By name, and the same by id: one that was deleted and made anew since the caller was found is another. */
function holderOf(principal: Principal, reader: Reader): Holder | undefined {
  if (principal.kind === 'user') {
    const row = reader.get('user', principal.userName ?? '')
    return row === undefined || row.UserId !== principal.userId ? undefined : { row, id: row.UserId }
  }
  if (principal.kind !== 'role') return undefined
  const row = reader.get('role', principal.roleName ?? '')
  return row === undefined || principal.userId.split(':')[0] !== row.RoleId ? undefined : { row, id: row.RoleId }
}
