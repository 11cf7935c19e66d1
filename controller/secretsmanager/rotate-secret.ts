/**
 * Rotation. Values are rotated by hand: PutSecretValue with the stage AWSPENDING, then UpdateSecretVersionStage moves
 * AWSCURRENT there. Rotation by a Lambda function is refused: Gantry runs no functions.
 */
import { ApiError } from '../../proto/errors.ts'
import { writeOf } from '../ecs/handler.ts'
import { secretVersionKey, type SecretRow, type SecretVersionRow } from '../state/secretsmanager-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { checkLength } from '../ssm/constraints.ts'
import { requireLiveSecret } from './secret-lookup.ts'
import { requireToken } from './secret-rules.ts'
import { checkStages, currentStage, moveStage, stageHolder, versionsOf } from './secret-versions.ts'

export const updateSecretVersionStage = writeOf<'secretsmanager', 'UpdateSecretVersionStage'>(
  (tx, input, { now }, world) => {
    const { VersionStage = '', MoveToVersionId, RemoveFromVersionId } = input
    checkLength('versionStage', VersionStage, { min: 1, max: 256 })
    const secret = requireLiveSecret(tx, input.SecretId, world)
    if (MoveToVersionId === undefined && RemoveFromVersionId === undefined) {
      throw invalid('You must specify MoveToVersionId, RemoveFromVersionId or both.')
    }
    if (MoveToVersionId !== undefined) requireVersion(tx, secret, MoveToVersionId)
    checkRemoval(tx, secret, VersionStage, { MoveToVersionId, RemoveFromVersionId })
    moveStage(tx, secret.ARN, VersionStage, MoveToVersionId)
    checkStages(versionsOf(tx, secret.ARN))
    tx.put('secret', secret.Name, { ...secret, LastChangedDate: now })
    return { ARN: secret.ARN, Name: secret.Name }
  },
)

export const rotateSecret = writeOf<'secretsmanager', 'RotateSecret'>((tx, input, _call, world) => {
  requireToken(input.ClientRequestToken)
  requireLiveSecret(tx, input.SecretId, world)
  if (input.RotationLambdaARN === undefined) {
    throw new ApiError(
      'InvalidRequestException',
      'No Lambda rotation function ARN is associated with this secret. Rotate its value by hand: PutSecretValue with ' +
        'VersionStages AWSPENDING, then UpdateSecretVersionStage.',
    )
  }
  checkLength('rotationLambdaARN', input.RotationLambdaARN, { max: 2048 })
  throw new ApiError(
    'AccessDeniedException',
    'Secrets Manager cannot invoke the specified Lambda function: Gantry runs no functions. Rotate the value by hand: ' +
      'PutSecretValue with VersionStages AWSPENDING, then UpdateSecretVersionStage.',
  )
})

export const cancelRotateSecret = writeOf<'secretsmanager', 'CancelRotateSecret'>((tx, input, _call, world) => {
  requireLiveSecret(tx, input.SecretId, world)
  throw new ApiError(
    'InvalidRequestException',
    'No Lambda rotation function ARN is associated with this secret, so there is no rotation to cancel.',
  )
})

/** A label that is somewhere is moved or removed only by who says from where, so that two who rotate can't undo each other. */
function checkRemoval(
  reader: Reader,
  { ARN }: SecretRow,
  stage: string,
  {
    MoveToVersionId,
    RemoveFromVersionId,
  }: { MoveToVersionId: string | undefined; RemoveFromVersionId: string | undefined },
): void {
  const holder = stageHolder(reader, ARN, stage)
  if (RemoveFromVersionId !== undefined) {
    requireVersion(reader, { ARN }, RemoveFromVersionId)
    if (holder?.VersionId !== RemoveFromVersionId) {
      throw invalid(`Staging label ${stage} isn't currently attached to version ${RemoveFromVersionId}.`)
    }
    if (stage === currentStage && MoveToVersionId === undefined) {
      throw invalid(
        `You can only move staging label ${currentStage} to a different secret version. It can't be completely removed.`,
      )
    }
  } else if (holder !== undefined && holder.VersionId !== MoveToVersionId) {
    throw invalid(
      `The parameter RemoveFromVersionId can't be empty. Staging label ${stage} is currently attached to version ` +
        `${holder.VersionId}, so you must explicitly reference that version in RemoveFromVersionId.`,
    )
  }
}

function requireVersion(reader: Reader, { ARN }: Pick<SecretRow, 'ARN'>, versionId: string): SecretVersionRow {
  const version = reader.get('secretVersion', secretVersionKey(ARN, versionId))
  if (version !== undefined) return version
  throw new ApiError(
    'ResourceNotFoundException',
    `Secrets Manager can't find the specified secret version: ${versionId.slice(0, 64)}.`,
  )
}

function invalid(message: string): ApiError {
  return new ApiError('InvalidParameterException', message)
}
