/**
 * Whether a role can be given to tasks right now: it is there, and its trust policy allows ECS's tasks to assume it. Asked
 * where a task is wanted and again whenever keys are made, so that what is withdrawn takes effect.
 */
import { isArn, type Place } from '../../proto/arn.ts'
import { findRole, findTrustingRole } from '../iam/trust.ts'
import type { RoleRow } from '../state/iam-tables.ts'
import type { Reader } from '../state/transaction.ts'

/** The service that a task's role has to trust. */
export const tasksPrincipal = 'ecs-tasks.amazonaws.com'

export type AssumableRole = { readonly role: RoleRow } | { readonly problem: string }

/**
 * `named`: a role's ARN, or its bare name. A problem is ECS's own sentence, as it stands in many reports of it, and after
 * it what is missing here. `now` is epoch milliseconds.
 */
export function assumableRole(reader: Reader, named: string, place: Place, now: number): AssumableRole {
  const found = findTrustingRole(reader, named, { service: tasksPrincipal, place, now })
  if ('role' in found) return found
  const why = found.problem.slice(0, 1).toUpperCase() + found.problem.slice(1)
  return {
    problem:
      `ECS was unable to assume the role '${named}' that was provided for this task. Please verify that the role being ` +
      'passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this ' +
      `role. ${why}.`,
  }
}

/** What a policy on the role is matched against: its ARN; of a name without a role, the ARN that it would have. */
export function roleArnOf(reader: Reader, named: string, { account }: Place): string {
  return isArn(named) ? named : (findRole(reader, named)?.Arn ?? `arn:aws:iam::${account}:role/${named}`)
}
