/** Secrets as callers name them: by name, by ARN, or by an ARN without the six characters at its end. */
import type { Place } from '../../proto/arn.ts'
import { ApiError } from '../../proto/errors.ts'
import type { SecretRow } from '../state/secretsmanager-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { checkSecretId } from './secret-rules.ts'

const suffixCharacters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'
const suffixLength = 6

/** `arn:aws:secretsmanager:us-east-1:123456789012:secret:prod/db-a1B2c3`. */
export function newSecretArn(place: Place, name: string, random: () => number): string {
  const letters = Array.from(
    { length: suffixLength },
    () => suffixCharacters[Math.floor(random() * suffixCharacters.length)] ?? 'A',
  )
  return `${secretArnPrefix(place)}${name}-${letters.join('')}`
}

export function secretArnPrefix({ region, account }: Place): string {
  return `arn:aws:secretsmanager:${region}:${account}:secret:`
}

export function findSecret(reader: Reader, secretId: string, place: Place): SecretRow | undefined {
  if (!secretId.startsWith('arn:')) return reader.get('secret', secretId)
  const prefix = secretArnPrefix(place)
  if (!secretId.startsWith(prefix)) return undefined
  const rest = secretId.slice(prefix.length)
  // The whole ARN first: a name may itself end in a hyphen and six characters.
  const whole = reader.get('secret', rest.slice(0, -(suffixLength + 1)))
  return whole?.ARN === secretId ? whole : reader.get('secret', rest)
}

/** ResourceNotFoundException where there is none. One that waits for its deletion is there. */
export function requireSecret(reader: Reader, secretId: string | undefined, place: Place): SecretRow {
  checkSecretId(secretId ?? '')
  const row = findSecret(reader, secretId ?? '', place)
  if (row !== undefined) return row
  throw new ApiError('ResourceNotFoundException', "Secrets Manager can't find the specified secret.")
}

/** InvalidRequestException for one that waits for its deletion. */
export function requireLiveSecret(reader: Reader, secretId: string | undefined, place: Place): SecretRow {
  const row = requireSecret(reader, secretId, place)
  if (row.deletionDate === undefined) return row
  throw new ApiError(
    'InvalidRequestException',
    "You can't perform this operation on the secret because it was marked for deletion.",
  )
}
