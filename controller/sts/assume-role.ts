/**
 * AssumeRole: keys of a role, for a while. That its caller may call it, and that the role trusts the caller, was checked
 * before by its row (controller/access/rows/sts.ts): the trust policy together with the caller's own policies.
 *
 * Source: STS API reference, AssumeRole; IAM User Guide, "Session policies", "Pass session tags in AWS STS".
 */
import { ApiError } from '../../proto/errors.ts'
import type { IamTag } from '../../proto/model/iam-types.ts'
import type { InputOf, OutputOf } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { accessDenied } from '../access/denial.ts'
import type { Principal } from '../access/principal.ts'
import { mintSession, roleSession, type SessionFacts, type SessionKeys } from '../access/session-token.ts'
import { type Call, readOf, type ServiceHandlers } from '../ecs/handler.ts'
import { assumedRoleArn } from '../iam/arns.ts'
import { checkLength, required, validationError, wholeSeconds } from '../iam/names.ts'
import { overlaidTags, readTags } from '../iam/tags.ts'
import { findRole } from '../iam/trust.ts'
import type { RoleRow } from '../state/iam-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { checkRootIsTrusted } from './root-trust.ts'
import { packedSize, readSessionPolicy } from './session-policy.ts'

type AssumeRoleInput = InputOf<'sts', 'AssumeRole'>

const secondsMin = 900
const secondsDefault = 3600
/** With keys of a session one takes another role for an hour at most. */
const chainedSecondsMax = 3600

export const assumeRoleHandlers = {
  AssumeRole: readOf<'sts', 'AssumeRole'>((reader, input, call, world) => assumeRole(reader, input, call, world)),
} satisfies ServiceHandlers<'sts'>

function assumeRole(reader: Reader, input: AssumeRoleInput, call: Call, world: World): OutputOf<'sts', 'AssumeRole'> {
  const { principal, now, vault } = call
  const sessionName = readSessionName('roleSessionName', input.RoleSessionName)
  const role = requireAssumable(reader, required('roleArn', input.RoleArn), principal)
  checkRootIsTrusted(role, call, world)
  refuseMfa(input)
  const seconds = readDuration(input.DurationSeconds, role, principal)
  const facts: Partial<SessionFacts> = {
    ...readSessionTags(input, principal),
    ...readSourceIdentity(input, principal),
    ...readSessionPolicy(reader, input),
  }
  const packed = packedSize(facts)
  const keys = mintSession(roleSession(role, sessionName, facts), now + seconds * 1000, { vault, world, now })
  return {
    Credentials: describeKeys(keys),
    AssumedRoleUser: {
      AssumedRoleId: `${role.RoleId}:${sessionName}`,
      Arn: assumedRoleArn(world, role.RoleName, sessionName),
    },
    ...(facts.sourceIdentity !== undefined && { SourceIdentity: facts.sourceIdentity }),
    ...packed,
  }
}

export function describeKeys(keys: SessionKeys): NonNullable<OutputOf<'sts', 'AssumeRole'>['Credentials']> {
  const { accessKeyId, secretAccessKey, sessionToken, expiresAt } = keys
  return {
    AccessKeyId: accessKeyId,
    SecretAccessKey: secretAccessKey,
    SessionToken: sessionToken,
    // Like all instants of STS: there are programs that read no fractions of a second, jq's fromdate among them.
    Expiration: wholeSeconds(expiresAt),
  }
}

/** Gantry has no MFA devices, and what was meant to protect may not be passed over. */
export function refuseMfa({
  SerialNumber,
  TokenCode,
}: Pick<InputOf<'sts', 'GetSessionToken'>, 'SerialNumber' | 'TokenCode'>): void {
  if (SerialNumber === undefined && TokenCode === undefined) return
  throw new ApiError(
    'AccessDeniedException',
    'MultiFactorAuthentication failed, unable to validate MFA code: Gantry has no MFA devices. Leave out SerialNumber ' +
      'and TokenCode.',
  )
}

/** A role that isn't there answers as one that trusts nobody: who may not look learns nothing. */
function requireAssumable(reader: Reader, roleArn: string, principal: Principal): RoleRow {
  const role = roleArn.startsWith('arn:') ? findRole(reader, roleArn) : undefined
  if (role !== undefined) return role
  if (!/^arn:aws:iam::\d{12}:role\//.test(roleArn)) throw validationError('roleArn', roleArn, 'Member must be an ARN')
  const check = { action: 'sts:AssumeRole', resource: roleArn.slice(0, 256) }
  throw accessDenied(principal, check, { isAllowed: false, isExplicit: false, by: 'trust' })
}

function readSessionName(parameter: string, value: string | undefined): string {
  const name = required(parameter, value)
  checkLength(parameter, name, 2, 64)
  if (/^[\w+=,.@-]*$/.test(name)) return name
  throw validationError(parameter, name, 'Member must satisfy regular expression pattern: [\\w+=,.@-]*')
}

function readDuration(given: number | undefined, role: RoleRow, principal: Principal): number {
  const seconds = given ?? Math.min(secondsDefault, role.MaxSessionDuration)
  if (seconds < secondsMin) {
    throw validationError('durationSeconds', given, `Member must have value greater than or equal to ${secondsMin}`)
  }
  if (principal.kind === 'role' && seconds > chainedSecondsMax) {
    throw new ApiError(
      'ValidationError',
      'The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining',
    )
  }
  if (seconds > role.MaxSessionDuration) {
    throw new ApiError(
      'ValidationError',
      'The requested DurationSeconds exceeds the MaxSessionDuration set for this role.',
    )
  }
  return seconds
}

/** Those of the request over those that the caller's session hands on; a tag that is handed on can't be changed. */
function readSessionTags(
  { Tags, TransitiveTagKeys = [] }: AssumeRoleInput,
  { transitiveTags }: Principal,
): Pick<SessionFacts, 'tags' | 'transitiveTagKeys'> {
  const handedOn: readonly IamTag[] = Object.entries(transitiveTags ?? {}).map(([Key, Value]) => ({ Key, Value }))
  const own = readTags(Tags)
  const fixed = new Set(handedOn.map(({ Key }) => (Key ?? '').toLowerCase()))
  const clash = own.find(({ Key }) => fixed.has((Key ?? '').toLowerCase()))
  if (clash !== undefined) {
    throw new ApiError(
      'InvalidParameterValue',
      `One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from the ` +
        `calling session: ${clash.Key ?? ''}`,
    )
  }
  const ownKeys = new Set(own.map(({ Key }) => Key))
  const unknown = TransitiveTagKeys.find((key) => !ownKeys.has(key))
  if (unknown !== undefined) {
    throw new ApiError('InvalidParameterValue', `The transitive tag key ${unknown.slice(0, 128)} is not among Tags.`)
  }
  const tags = overlaidTags(handedOn, own)
  if (tags.length === 0) return {}
  return { tags, transitiveTagKeys: [...TransitiveTagKeys, ...handedOn.map(({ Key }) => Key ?? '')] }
}

function readSourceIdentity(
  { SourceIdentity }: AssumeRoleInput,
  { sourceIdentity }: Principal,
): Pick<SessionFacts, 'sourceIdentity'> {
  if (SourceIdentity === undefined) return sourceIdentity === undefined ? {} : { sourceIdentity }
  const given = readSessionName('sourceIdentity', SourceIdentity)
  if (sourceIdentity !== undefined && sourceIdentity !== given) {
    throw new ApiError(
      'AccessDeniedException',
      'A source identity that was set can not be changed by a chained session.',
    )
  }
  return { sourceIdentity: given }
}
