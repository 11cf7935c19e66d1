/** Policy documents as they are put and told: checked, measured, percent-encoded in answers. */
import { ApiError } from '../../proto/errors.ts'
import { policySize, requirePolicy } from '../access/policy-document.ts'
import type { InlinePolicy } from '../state/iam-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { accountQuotas, quotaExceeded, required } from './names.ts'

/** Source: the model of IAM, policyDocumentType. */
const documentLengthMax = 131_072

/** Of a managed policy. Throws MalformedPolicyDocument and LimitExceeded. */
export function readManagedDocument(document: string | undefined): string {
  const text = readDocument(document, 'identity')
  const limit = accountQuotas.PolicySizeQuota
  if (policySize(text) > limit) throw quotaExceeded('PolicySize', limit)
  return text
}

/** Of a user or role; all of its inline policies share one size. */
export function readInlineDocument(
  document: string | undefined,
  holder: { readonly kind: 'user' | 'role'; readonly name: string },
  others: readonly InlinePolicy[],
): string {
  const text = readDocument(document, 'identity')
  const limit = holder.kind === 'user' ? accountQuotas.UserPolicySizeQuota : accountQuotas.RolePolicySizeQuota
  const size = others.reduce((sum, { PolicyDocument }) => sum + policySize(PolicyDocument), policySize(text))
  if (size > limit) {
    throw new ApiError(
      'LimitExceeded',
      `Maximum policy size of ${limit} bytes exceeded for ${holder.kind} ${holder.name}`,
    )
  }
  return text
}

export interface TrustDocument {
  readonly AssumeRolePolicyDocument: string
  readonly trustedIds: Readonly<Record<string, string>>
}

/** A trust policy, with the ids of those whom it names: whoever it names has to be there. */
export function readTrustDocument(reader: Reader, document: string | undefined, account: string): TrustDocument {
  const text = required('assumeRolePolicyDocument', document)
  const { statements } = requirePolicy(checkText('assumeRolePolicyDocument', text), 'trust')
  const limit = accountQuotas.AssumeRolePolicySizeQuota
  if (policySize(text) > limit) throw quotaExceeded('ACLSizePerRole', limit)
  const trustedIds: Record<string, string> = {}
  for (const pattern of statements.flatMap(({ principals }) => principals?.patterns ?? [])) {
    if (pattern.kind === 'account' && pattern.account !== account) throw invalidPrincipal(pattern.account)
    if (pattern.kind !== 'arn') continue
    const id = principalId(reader, pattern.arn)
    if (id === undefined) throw invalidPrincipal(pattern.arn)
    trustedIds[pattern.arn] = id
  }
  return { AssumeRolePolicyDocument: text, trustedIds }
}

/** As IAM answers documents: percent-encoded as RFC 3986 has it. */
export function encodeDocument(document: string): string {
  return encodeURIComponent(document).replaceAll(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

function readDocument(document: string | undefined, kind: 'identity'): string {
  const text = checkText('policyDocument', required('policyDocument', document))
  requirePolicy(text, kind)
  return text
}

function checkText(parameter: string, text: string): string {
  if (text.length <= documentLengthMax) return text
  throw new ApiError(
    'ValidationError',
    `1 validation error detected: Value at '${parameter}' failed to satisfy constraint: Member must have length ` +
      `less than or equal to ${documentLengthMax}`,
  )
}

/** Of a user, a role, or the role behind a session. */
function principalId(reader: Reader, arn: string): string | undefined {
  const name = arn.slice(arn.lastIndexOf('/') + 1)
  const session = /^arn:aws:sts::\d{12}:assumed-role\/([^/]+)\//.exec(arn)
  if (session !== null) return reader.get('role', session[1] ?? '')?.RoleId
  const role = reader.get('role', name)
  if (role?.Arn === arn) return role.RoleId
  const user = reader.get('user', name)
  return user?.Arn === arn ? user.UserId : undefined
}

function invalidPrincipal(text: string): ApiError {
  return new ApiError('MalformedPolicyDocument', `Invalid principal in policy: "AWS":"${text}"`)
}
