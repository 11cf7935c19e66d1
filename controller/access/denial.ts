/**
 * What a caller is told who may not: who asked for what on which resource, and which kind of policy stands against it.
 *
 * Source: AWS IAM User Guide, "Troubleshoot access denied error messages".
 */
import { ApiError } from '../../proto/errors.ts'
import type { AccessCheck } from './authorization.ts'
import type { Decision, PolicySource } from './evaluate.ts'
import type { Principal } from './principal.ts'

const kinds: Readonly<Record<PolicySource, string>> = {
  identity: 'identity-based policy',
  boundary: 'permissions boundary',
  session: 'session policy',
  resource: 'resource-based policy',
  trust: 'role trust policy',
}

/** Names the resource for the audit trail, too. */
export class AccessDeniedError extends ApiError {
  readonly resource: string

  constructor(message: string, resource: string) {
    super('AccessDeniedException', message)
    this.resource = resource
  }
}

/** ARNs are of 2048 characters at most in AWS: what is longer is no resource, and takes no part in any comparison. */
export const resourceLengthMax = 2048

/** Which policy it was is not said, nor what it holds: who may not call may not learn that by trying. */
export function accessDenied(
  { arn }: Principal,
  { action, resource }: Pick<AccessCheck, 'action' | 'resource'>,
  { isExplicit, by }: Exclude<Decision, { isAllowed: true }>,
): AccessDeniedError {
  const kind = kinds[by]
  const article = by === 'identity' ? 'an' : by === 'trust' ? 'the' : 'a'
  const why = isExplicit
    ? `with an explicit deny in ${article} ${kind}`
    : `because no ${kind} allows the ${action} action`
  const shown = resource.slice(0, resourceLengthMax)
  const message = `User: ${arn} is not authorized to perform: ${action} on resource: ${shown} ${why}`
  return new AccessDeniedError(message, shown)
}
