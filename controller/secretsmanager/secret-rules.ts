/**
 * What may be given to Secrets Manager: names, tokens, values, tags.
 *
 * Source: AWS Secrets Manager API reference, CreateSecret and PutSecretValue; User Guide, "AWS Secrets Manager quotas".
 */
import { writeBase64 } from '../../proto/codec/base64.ts'
import { ApiError } from '../../proto/errors.ts'
import type { SecretTag } from '../../proto/model/secretsmanager-types.ts'
import { checkLength, checkWellFormed, constraintError, validationError } from '../ssm/constraints.ts'

const nameLengthMax = 512
const idLengthMax = 2048
const valueBytesMax = 65_536
const tagsMax = 50

/** A value as it is sealed: a text, or the base64 text of bytes. */
export interface SecretContent {
  readonly text: string
  readonly isBinary: boolean
}

export function checkSecretName(name: string): void {
  checkLength('name', name, { min: 1, max: nameLengthMax })
  refuseName(name)
}

/** A name or an ARN, whole or without its six last characters. */
export function checkSecretId(secretId: string): void {
  checkLength('secretId', secretId, { min: 1, max: idLengthMax })
  if (!secretId.startsWith('arn:')) refuseName(secretId)
}

/** The version's id. SDKs and the aws CLI make one where the caller gives none. */
export function requireToken(token: string | undefined): string {
  if (token === undefined) {
    throw new ApiError(
      'InvalidRequestException',
      'You must provide a ClientRequestToken value. We recommend a UUID-type value.',
    )
  }
  if (token.length < 32 || token.length > 64) {
    throw new ApiError('InvalidParameterException', 'ClientRequestToken must be 32-64 characters long.')
  }
  // It stands in keys of rows and in addresses.
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new ApiError('InvalidParameterException', 'ClientRequestToken must be of printable ASCII without spaces.')
  }
  return token
}

/** What is given, or undefined where neither is. Says how long a value is and never what it is. */
export function readContent(
  SecretString: string | undefined,
  SecretBinary: Uint8Array | undefined,
): SecretContent | undefined {
  if (SecretString !== undefined && SecretBinary !== undefined) {
    throw new ApiError(
      'InvalidParameterException',
      "You can't specify both a binary secret value and a string secret value in the same secret.",
    )
  }
  if (SecretBinary !== undefined) {
    checkBytes('secretBinary', SecretBinary.length)
    return { text: writeBase64(SecretBinary), isBinary: true }
  }
  if (SecretString === undefined) return undefined
  checkWellFormed('secretString', SecretString)
  checkBytes('secretString', new TextEncoder().encode(SecretString).length)
  return { text: SecretString, isBinary: false }
}

export function checkDescription(description: string | undefined): void {
  checkLength('description', description, { max: 2048 })
}

/** Accepted and kept. What seals is the controller's own key. */
export function checkKmsKeyId(kmsKeyId: string | undefined): void {
  checkLength('kmsKeyId', kmsKeyId, { max: 2048 })
}

export function checkSecretTags(tags: readonly SecretTag[]): readonly SecretTag[] {
  const seen = new Set<string>()
  for (const { Key = '', Value = '' } of tags) {
    checkLength('tags.member.key', Key, { min: 1, max: 128 })
    checkLength('tags.member.value', Value, { max: 256 })
    if (/^aws:/i.test(Key)) {
      throw new ApiError('InvalidParameterException', `The tag key ${Key} begins with aws:, which is reserved.`)
    }
    if (seen.has(Key)) throw new ApiError('InvalidParameterException', `The tag key ${Key} is given twice.`)
    seen.add(Key)
  }
  if (tags.length > tagsMax) {
    throw new ApiError(
      'InvalidParameterException',
      `A secret can have ${tagsMax} tags, and this would be ${tags.length}.`,
    )
  }
  return tags.map(({ Key = '', Value = '' }) => ({ Key, Value }))
}

function refuseName(name: string): void {
  if (/^[A-Za-z0-9/_+=.@!-]+$/.test(name)) return
  throw validationError(
    'Invalid name. Must be a valid name containing alphanumeric characters, or any of the following: -/_+=.@!',
  )
}

function checkBytes(member: string, bytes: number): void {
  if (bytes > valueBytesMax) {
    throw constraintError(member, undefined, `Member must have length less than or equal to ${valueBytesMax}`)
  }
  if (bytes === 0) throw constraintError(member, undefined, 'Member must have length greater than or equal to 1')
}
