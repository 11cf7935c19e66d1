/**
 * Versions of a secret and their staging labels. A label stands on one version at most; where AWSCURRENT moves, AWSPREVIOUS
 * follows it onto the version that it left.
 *
 * Source: AWS Secrets Manager API reference, PutSecretValue and UpdateSecretVersionStage; User Guide, "What's in a Secrets
 * Manager secret?".
 */
import { ApiError } from '../../proto/errors.ts'
import type { Call } from '../ecs/handler.ts'
import {
  secretContext,
  type SecretRow,
  type SecretVersionRow,
  secretVersionKey,
} from '../state/secretsmanager-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { SealedTextError, type Vault } from '../state/vault.ts'
import { constraintError } from '../ssm/constraints.ts'
import { countValue } from '../ssm/value-room.ts'
import type { SecretContent } from './secret-rules.ts'

export const currentStage = 'AWSCURRENT'
export const previousStage = 'AWSPREVIOUS'
/** Beyond it the oldest versions without a label go. AWS keeps about as many. */
const versionsMax = 100
/** Of all versions together, so that there is always a version without one to go. */
const stagesMax = 20

/** The oldest first. */
export function versionsOf(reader: Reader, secretArn: string): readonly SecretVersionRow[] {
  return reader.find('secretVersion', 'bySecret', secretArn).toSorted((one, other) => one.ordinal - other.ordinal)
}

/**
 * Adds a version, or answers the one that the token has made before: with the same value a repeat is no second version.
 * ResourceExistsException where the token's version has another value.
 */
export function addVersion(
  tx: Transaction,
  secret: SecretRow,
  given: { readonly versionId: string; readonly content: SecretContent; readonly stages: readonly string[] },
  call: Pick<Call, 'now' | 'vault'>,
): SecretVersionRow {
  const { versionId, content } = given
  const repeated = tx.get('secretVersion', secretVersionKey(secret.ARN, versionId))
  if (repeated !== undefined) return requireSame(repeated, content, call.vault)
  const versions = versionsOf(tx, secret.ARN)
  const stages = versions.length === 0 ? [...new Set([...given.stages, currentStage])] : given.stages
  const place = {
    secretArn: secret.ARN,
    VersionId: versionId,
    ...(content.isBinary && { isBinary: true as const }),
  }
  const version: SecretVersionRow = {
    ...place,
    VersionStages: [],
    CreatedDate: call.now,
    ordinal: secret.versionsMade + 1,
    sealedValue: call.vault.seal(content.text, secretContext(place)),
  }
  countValue(tx, 'secretsmanager', version.sealedValue.length)
  putVersion(tx, version)
  // The current one last: AWSPREVIOUS stands where it came from, also for who asks for both.
  for (const stage of [...stages].toSorted(
    (one, other) => Number(one === currentStage) - Number(other === currentStage),
  )) {
    moveStage(tx, secret.ARN, stage, versionId)
  }
  checkStages(versionsOf(tx, secret.ARN))
  dropOldest(tx, secret.ARN)
  tx.put('secret', secret.Name, { ...secret, versionsMade: version.ordinal, LastChangedDate: call.now })
  return tx.get('secretVersion', secretVersionKey(secret.ARN, versionId)) ?? version
}

/** Puts the label onto this version, or with undefined onto none, and takes it from where it was. */
export function moveStage(tx: Transaction, secretArn: string, stage: string, versionId: string | undefined): void {
  const holder = stageHolder(tx, secretArn, stage)
  if (holder?.VersionId === versionId) return
  if (holder !== undefined) dropStage(tx, holder, stage)
  if (versionId !== undefined) addStage(tx, secretArn, stage, versionId)
  if (stage === currentStage && holder !== undefined) moveStage(tx, secretArn, previousStage, holder.VersionId)
  // What is current is not its own predecessor: that happens where the previous one becomes current again.
  const target = versionId === undefined ? undefined : tx.get('secretVersion', secretVersionKey(secretArn, versionId))
  if (stage === currentStage && target?.VersionStages.includes(previousStage) === true) {
    dropStage(tx, target, previousStage)
  }
}

export function stageHolder(reader: Reader, secretArn: string, stage: string): SecretVersionRow | undefined {
  return versionsOf(reader, secretArn).find(({ VersionStages }) => VersionStages.includes(stage))
}

export function checkStageNames(stages: readonly string[]): void {
  if (stages.length === 0 || stages.length > stagesMax) {
    throw constraintError(
      'versionStages',
      `[${stages.slice(0, stagesMax).join(', ')}]`,
      `Member must have length between 1 and ${stagesMax}`,
    )
  }
  for (const stage of stages) {
    if (stage === '' || stage.length > 256) {
      throw constraintError('versionStages', `[${stage}]`, 'Member must have length between 1 and 256')
    }
  }
}

/** LimitExceededException where the versions have more labels together than there may be. */
export function checkStages(versions: readonly SecretVersionRow[]): void {
  const count = versions.reduce((sum, { VersionStages }) => sum + VersionStages.length, 0)
  if (count <= stagesMax) return
  throw new ApiError(
    'LimitExceededException',
    `You've exceeded the number of staging labels of a secret: all versions together can have ${stagesMax}, and this ` +
      `would be ${count}. Remove labels that are no longer used with UpdateSecretVersionStage.`,
  )
}

/** DecryptionFailure where what is sealed can't be opened: its key is gone from the key file, or the row was tampered with. */
export function openVersion(version: SecretVersionRow, vault: Vault): SecretContent {
  try {
    return { text: vault.open(version.sealedValue, secretContext(version)), isBinary: version.isBinary === true }
  } catch (error) {
    if (!(error instanceof SealedTextError)) throw error
    throw new ApiError(
      'DecryptionFailure',
      `Secrets Manager can't decrypt the protected secret text of ${version.secretArn}, version ${version.VersionId}. ` +
        error.message,
      { cause: error },
    )
  }
}

function requireSame(version: SecretVersionRow, content: SecretContent, vault: Vault): SecretVersionRow {
  const before = openVersion(version, vault)
  if (before.text === content.text && before.isBinary === content.isBinary) return version
  throw new ApiError(
    'ResourceExistsException',
    `You can't use ClientRequestToken ${version.VersionId} because that value is already in use for a version of secret ` +
      `${version.secretArn}.`,
  )
}

function addStage(tx: Transaction, secretArn: string, stage: string, versionId: string): void {
  const version = tx.get('secretVersion', secretVersionKey(secretArn, versionId))
  if (version !== undefined) putVersion(tx, { ...version, VersionStages: [...version.VersionStages, stage] })
}

function dropStage(tx: Transaction, version: SecretVersionRow, stage: string): void {
  putVersion(tx, { ...version, VersionStages: version.VersionStages.filter((each) => each !== stage) })
}

function dropOldest(tx: Transaction, secretArn: string): void {
  const versions = versionsOf(tx, secretArn)
  const deprecated = versions.filter(({ VersionStages }) => VersionStages.length === 0)
  for (const version of deprecated.slice(0, Math.max(0, versions.length - versionsMax))) dropVersion(tx, version)
}

export function dropVersion(tx: Transaction, { secretArn, VersionId, sealedValue }: SecretVersionRow): void {
  countValue(tx, 'secretsmanager', -sealedValue.length)
  tx.delete('secretVersion', secretVersionKey(secretArn, VersionId))
}

function putVersion(tx: Transaction, version: SecretVersionRow): void {
  tx.put('secretVersion', secretVersionKey(version.secretArn, version.VersionId), version)
}
