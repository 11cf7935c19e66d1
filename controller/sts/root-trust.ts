/** Root may do everything, and yet a role is taken only by those whom it trusts: root too has to be of its account. */
import type { World } from '../../proto/world.ts'
import { accessDenied } from '../access/denial.ts'
import { evaluateTrust } from '../access/evaluate.ts'
import { requirePolicy } from '../access/policy-document.ts'
import { keyReader } from '../access/request-keys.ts'
import type { Call } from '../ecs/handler.ts'
import type { RoleRow } from '../state/iam-tables.ts'

/** Throws AccessDeniedException for root where the role's trust policy doesn't let its account in. */
export function checkRootIsTrusted(role: RoleRow, call: Call, world: World): void {
  const { principal, now, sourceAddress, isSecure } = call
  if (principal.kind !== 'root') return
  const check = { action: 'sts:AssumeRole', resource: role.Arn }
  const facts = { now, sourceAddress, isSecure }
  const decision = evaluateTrust(requirePolicy(role.AssumeRolePolicyDocument, 'trust'), {
    action: 'sts:assumerole',
    resource: role.Arn,
    read: keyReader({ principal, principalArn: principal.arn, facts, place: world }, check),
    caller: { kind: 'root', account: world.account, arn: principal.arn },
  })
  if (!decision.isAllowed) throw accessDenied(principal, check, decision)
}
