/** CreateSecret, PutSecretValue and UpdateSecret: whatever gives a secret a value. */
import { ApiError } from '../../proto/errors.ts'
import { writeOf } from '../ecs/handler.ts'
import type { SecretRow } from '../state/secretsmanager-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { newSecretArn, requireLiveSecret } from './secret-lookup.ts'
import {
  checkDescription,
  checkKmsKeyId,
  checkSecretName,
  checkSecretTags,
  readContent,
  requireToken,
} from './secret-rules.ts'
import { addVersion, checkStageNames, currentStage } from './secret-versions.ts'

/** AWS allows 500,000; here all of them are in memory. */
const secretsMax = 10_000

export const createSecret = writeOf<'secretsmanager', 'CreateSecret'>((tx, input, call, world) => {
  const { Name = '', Description, KmsKeyId, Tags = [] } = input
  const versionId = requireToken(input.ClientRequestToken)
  checkSecretName(Name)
  checkDescription(Description)
  checkKmsKeyId(KmsKeyId)
  refuseForeign(input)
  const content = readContent(input.SecretString, input.SecretBinary)
  const before = tx.get('secret', Name)
  if (before !== undefined) refuseTaken(tx, before, versionId)
  if (before === undefined) checkRoom(tx)
  const secret: SecretRow = before ?? {
    ARN: newSecretArn(world, Name, () => world.random()),
    Name,
    CreatedDate: call.now,
    LastChangedDate: call.now,
    ...(Description !== undefined && Description !== '' && { Description }),
    ...(KmsKeyId !== undefined && KmsKeyId !== '' && { KmsKeyId }),
    Tags: checkSecretTags(Tags),
    versionsMade: 0,
  }
  if (before === undefined) tx.put('secret', Name, secret)
  if (content === undefined) return { ARN: secret.ARN, Name }
  const version = addVersion(tx, secret, { versionId, content, stages: [currentStage] }, call)
  return { ARN: secret.ARN, Name, VersionId: version.VersionId }
})

export const putSecretValue = writeOf<'secretsmanager', 'PutSecretValue'>((tx, input, call, world) => {
  const versionId = requireToken(input.ClientRequestToken)
  const secret = requireLiveSecret(tx, input.SecretId, world)
  const content = readContent(input.SecretString, input.SecretBinary)
  if (content === undefined) {
    throw new ApiError('InvalidRequestException', 'You must provide either SecretString or SecretBinary.')
  }
  const stages = [...new Set(input.VersionStages ?? [currentStage])]
  checkStageNames(stages)
  const { VersionId, VersionStages } = addVersion(tx, secret, { versionId, content, stages }, call)
  return { ARN: secret.ARN, Name: secret.Name, VersionId, VersionStages: [...VersionStages] }
})

export const updateSecret = writeOf<'secretsmanager', 'UpdateSecret'>((tx, input, call, world) => {
  const versionId = requireToken(input.ClientRequestToken)
  const { Description, KmsKeyId } = input
  checkDescription(Description)
  checkKmsKeyId(KmsKeyId)
  refuseForeign(input)
  const before = requireLiveSecret(tx, input.SecretId, world)
  const content = readContent(input.SecretString, input.SecretBinary)
  const secret: SecretRow = {
    ...before,
    ...(Description !== undefined && { Description: Description === '' ? undefined : Description }),
    ...(KmsKeyId !== undefined && { KmsKeyId: KmsKeyId === '' ? undefined : KmsKeyId }),
    LastChangedDate: call.now,
  }
  tx.put('secret', secret.Name, secret)
  const { ARN, Name } = secret
  if (content === undefined) return { ARN, Name }
  const { VersionId } = addVersion(tx, secret, { versionId, content, stages: [currentStage] }, call)
  return { ARN, Name, VersionId }
})

/** A repeat of the call that made it goes on; another call of the same name is refused. */
function refuseTaken(reader: Reader, { ARN, Name, deletionDate }: SecretRow, versionId: string): void {
  if (deletionDate !== undefined) {
    throw new ApiError(
      'InvalidRequestException',
      "You can't create this secret because a secret with this name is already scheduled for deletion.",
    )
  }
  const isRepeated = reader.find('secretVersion', 'bySecret', ARN).some(({ VersionId }) => VersionId === versionId)
  if (isRepeated) return
  throw new ApiError('ResourceExistsException', `The operation failed because the secret ${Name} already exists.`)
}

function checkRoom(reader: Reader): void {
  if (reader.count('secret', 'kept', 'kept') < secretsMax) return
  throw new ApiError(
    'LimitExceededException',
    `You've exceeded the number of secrets: there are ${secretsMax}, the most that there can be. Delete those that are no ` +
      'longer used.',
  )
}

/** One controller is one region, and external secrets need Amazon's partners. */
function refuseForeign(input: {
  readonly AddReplicaRegions?: readonly unknown[] | undefined
  readonly Type?: string | undefined
}): void {
  if ((input.AddReplicaRegions ?? []).length > 0) {
    throw new ApiError(
      'InvalidParameterException',
      'Gantry replicates no secrets: there is one region. Leave AddReplicaRegions out.',
    )
  }
  if (input.Type !== undefined && input.Type !== '') {
    throw new ApiError('InvalidParameterException', 'Gantry has no managed external secrets. Leave Type out.')
  }
}
