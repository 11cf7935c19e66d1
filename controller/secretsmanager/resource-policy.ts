/**
 * Policies on secrets: who else may do what with one. Each access to the secret is held against its policy too, so that a
 * policy which can't be evaluated is refused when it is put.
 */
import { ApiError } from '../../proto/errors.ts'
import { readPolicy } from '../access/policy-document.ts'
import type { Policy, Statement } from '../access/policy.ts'
import { readOf, writeOf } from '../ecs/handler.ts'
import { checkLength } from '../ssm/constraints.ts'
import type { SecretRow } from '../state/secretsmanager-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { requireLiveSecret, requireSecret } from './secret-lookup.ts'

const documentLengthMax = 20_480

export const putResourcePolicy = writeOf<'secretsmanager', 'PutResourcePolicy'>((tx, input, { now }, world) => {
  const { ResourcePolicy = '', BlockPublicPolicy } = input
  const secret = requireLiveSecret(tx, input.SecretId, world)
  checkLength('resourcePolicy', ResourcePolicy, { min: 1, max: documentLengthMax })
  const policy = readPolicy(ResourcePolicy, 'resource')
  if ('problem' in policy) throw malformed(policy.problem)
  const principals = namedPrincipals(tx, policy)
  if (typeof principals === 'string') throw malformed(principals)
  if (BlockPublicPolicy === true && policy.statements.some(isPublic)) {
    throw new ApiError(
      'PublicPolicyException',
      'You set the BlockPublicPolicy parameter to true, and the resource policy allows everybody. Name principals in it, ' +
        'or give its statement a condition.',
    )
  }
  tx.put('secret', secret.Name, {
    ...secret,
    resourcePolicy: ResourcePolicy,
    policyPrincipalIds: principals,
    LastChangedDate: now,
  })
  return { ARN: secret.ARN, Name: secret.Name }
})

export const getResourcePolicy = readOf<'secretsmanager', 'GetResourcePolicy'>((reader, input, _call, world) => {
  const { ARN, Name, resourcePolicy } = requireLiveSecret(reader, input.SecretId, world)
  return { ARN, Name, ...(resourcePolicy !== undefined && { ResourcePolicy: resourcePolicy }) }
})

export const deleteResourcePolicy = writeOf<'secretsmanager', 'DeleteResourcePolicy'>((tx, input, { now }, world) => {
  const secret = requireLiveSecret(tx, input.SecretId, world)
  const next: SecretRow = { ...secret, resourcePolicy: undefined, policyPrincipalIds: undefined, LastChangedDate: now }
  tx.put('secret', secret.Name, next)
  return { ARN: secret.ARN, Name: secret.Name }
})

export const validateResourcePolicy = readOf<'secretsmanager', 'ValidateResourcePolicy'>(
  (reader, input, _call, world) => {
    const { SecretId, ResourcePolicy = '' } = input
    if (SecretId !== undefined) requireSecret(reader, SecretId, world)
    checkLength('resourcePolicy', ResourcePolicy, { min: 1, max: documentLengthMax })
    const ValidationErrors = findingsOf(reader, ResourcePolicy)
    return { PolicyValidationPassed: ValidationErrors.length === 0, ValidationErrors }
  },
)

function findingsOf(reader: Reader, document: string): { CheckName: string; ErrorMessage: string }[] {
  const policy = readPolicy(document, 'resource')
  if ('problem' in policy) return [{ CheckName: 'POLICY_SYNTAX', ErrorMessage: policy.problem }]
  const principals = namedPrincipals(reader, policy)
  if (typeof principals === 'string') return [{ CheckName: 'PRINCIPAL', ErrorMessage: principals }]
  if (!policy.statements.some(isPublic)) return []
  return [{ CheckName: 'PUBLIC_POLICY', ErrorMessage: 'The policy allows everybody, without a condition.' }]
}

/**
 * The unique ids of the users and roles that the policy names: who takes the name of one that was deleted has no part in it.
 * A sentence where one is not there.
 */
function namedPrincipals(reader: Reader, { statements }: Policy): Readonly<Record<string, string>> | string {
  const ids: Record<string, string> = {}
  for (const pattern of statements.flatMap(({ principals }) => principals?.patterns ?? [])) {
    if (pattern.kind !== 'arn' || !pattern.arn.startsWith('arn:aws:iam:')) continue
    const name = pattern.arn.slice(pattern.arn.lastIndexOf('/') + 1)
    const isRole = pattern.arn.includes(':role/')
    const row = isRole ? reader.get('role', name) : reader.get('user', name)
    if (row?.Arn !== pattern.arn) {
      return `This resource policy contains an unsupported principal: there is no ${isRole ? 'role' : 'user'} ${pattern.arn}.`
    }
    ids[pattern.arn] = 'RoleId' in row ? row.RoleId : row.UserId
  }
  return ids
}

function isPublic({ isDeny, principals, conditions }: Statement): boolean {
  if (isDeny || principals === undefined || conditions.length > 0) return false
  return principals.isNot || principals.patterns.some(({ kind }) => kind === 'everyone')
}

function malformed(problem: string): ApiError {
  return new ApiError('MalformedPolicyDocumentException', `This resource policy contains a syntax error: ${problem}`)
}
