/**
 * The rows of Secrets Manager: a secret, and each of its versions. Members that Secrets Manager has bear its names; what
 * Gantry keeps beside them stands behind.
 */
import type { SecretListEntry, SecretTag } from '../../proto/model/secretsmanager-types.ts'
import type { With } from '../../proto/model/types.ts'
import { sealingKeyOf } from './vault.ts'

type SecretFixed = 'ARN' | 'Name' | 'CreatedDate' | 'LastChangedDate'

/** Key: the secret's name. A name belongs to one secret, also while that one waits for its deletion. */
export interface SecretRow extends With<Pick<SecretListEntry, SecretFixed | 'Description' | 'KmsKeyId'>, SecretFixed> {
  readonly Tags: readonly SecretTag[]
  /** When its deletion was asked for. Until `deletionDate` it can be restored, and nothing else. */
  readonly DeletedDate?: number | undefined
  readonly deletionDate?: number | undefined
  /** JSON text, as it was put. */
  readonly resourcePolicy?: string | undefined
  /** The unique ids of the users and roles that the policy names, by their ARNs, at the time when it was put. */
  readonly policyPrincipalIds?: Readonly<Record<string, string>> | undefined
  /** How many versions it has had so far: what orders them. */
  readonly versionsMade: number
}

/** Key: `secretVersionKey` of the secret's ARN and the version's id. */
export interface SecretVersionRow {
  readonly secretArn: string
  readonly VersionId: string
  /** Staging labels, in the order in which they were attached. None: deprecated, and first to go. */
  readonly VersionStages: readonly string[]
  readonly CreatedDate: number
  /** Counts up with each version of the secret. */
  readonly ordinal: number
  /** True where it was given as SecretBinary: then what is sealed is its base64 text. */
  readonly isBinary?: true | undefined
  /** The value, sealed by the vault with `secretContext`. */
  readonly sealedValue: string
}

export function secretVersionKey(secretArn: string, versionId: string): string {
  return `${secretArn}/${versionId}`
}

/**
 * What binds a sealed value to its version: the value of another one, put in its place, can't be opened. The six random
 * characters of the ARN also keep it from a later secret of the same name.
 */
export function secretContext({ secretArn, VersionId, isBinary }: SecretPlace): string {
  return `secretsmanager/${isBinary === true ? 'binary' : 'string'}/${secretArn}/${VersionId}`
}

type SecretPlace = Pick<SecretVersionRow, 'secretArn' | 'VersionId' | 'isBinary'>

export const secretsmanagerIndexes = {
  secret: {
    /** All of them, to be counted. */
    kept: (_row: SecretRow) => 'kept',
    /** Secrets that wait for their deletion. */
    leaving: (row: SecretRow) => (row.deletionDate === undefined ? undefined : 'leaving'),
  },
  secretVersion: {
    bySecret: (row: SecretVersionRow) => row.secretArn,
    bySealingKey: (row: SecretVersionRow) => sealingKeyOf(row.sealedValue),
  },
} as const
