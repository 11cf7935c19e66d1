/** GetSecretValue and BatchGetSecretValue. Each secret's value needs secretsmanager:GetSecretValue on that secret. */
import { readBase64 } from '../../proto/codec/base64.ts'
import type { Place } from '../../proto/arn.ts'
import { ApiError, isApiError } from '../../proto/errors.ts'
import type { SecretValueEntry } from '../../proto/model/secretsmanager-types.ts'
import { type Call, readOf } from '../ecs/handler.ts'
import type { SecretRow, SecretVersionRow } from '../state/secretsmanager-tables.ts'
import { secretVersionKey } from '../state/secretsmanager-tables.ts'
import type { Reader } from '../state/transaction.ts'
import type { Vault } from '../state/vault.ts'
import { checkCount } from '../ssm/constraints.ts'
import { servicePage } from '../ssm/pages.ts'
import { secretValueCheck } from './secret-checks.ts'
import { secretFilter } from './secret-filters.ts'
import { requireLiveSecret } from './secret-lookup.ts'
import { currentStage, openVersion, stageHolder } from './secret-versions.ts'

const batchMax = 20

export const getSecretValue = readOf<'secretsmanager', 'GetSecretValue'>((reader, input, { vault }, world) => {
  const secret = requireLiveSecret(reader, input.SecretId, world)
  return shownValue(secret, requireVersion(reader, secret, input), vault)
})

/** What fails for one secret stands in Errors; the others are answered. */
export const batchGetSecretValue = readOf<'secretsmanager', 'BatchGetSecretValue'>((reader, input, call, world) => {
  const { SecretIdList, Filters } = input
  if ((SecretIdList === undefined) === (Filters === undefined)) {
    throw new ApiError(
      'InvalidParameterException',
      "Either 'SecretIdList' or 'Filters' must be provided, but not both.",
    )
  }
  if (input.MaxResults !== undefined && Filters === undefined) {
    throw new ApiError(
      'InvalidParameterException',
      "'Filters' not specified. 'Filters' must also be specified when 'MaxResults' is provided.",
    )
  }
  if (SecretIdList !== undefined) {
    checkCount('secretIdList', SecretIdList, { min: 1, max: batchMax })
    return valuesOf(reader, SecretIdList, call, world)
  }
  const passes = secretFilter(Filters ?? [])
  const found = reader.all('secret').filter((secret) => secret.deletionDate === undefined && passes(secret))
  const { items, nextToken } = servicePage(found, ({ Name }) => Name, input, {
    tokenCode: 'InvalidNextTokenException',
    maxSize: batchMax,
  })
  const names = items.map(({ Name }) => Name)
  return { ...valuesOf(reader, names, call, world), ...(nextToken !== undefined && { NextToken: nextToken }) }
})

function valuesOf(reader: Reader, secretIds: readonly string[], call: Call, place: Place): BatchOfValues {
  const SecretValues: SecretValueEntry[] = []
  const Errors: { SecretId: string; ErrorCode: string; Message: string }[] = []
  for (const SecretId of new Set(secretIds)) {
    try {
      call.authorize(reader, secretValueCheck(reader, SecretId, place, { 'secretsmanager:VersionStage': currentStage }))
      const secret = requireLiveSecret(reader, SecretId, place)
      SecretValues.push(shownValue(secret, requireVersion(reader, secret, {}), call.vault))
    } catch (error) {
      if (!isApiError(error)) throw error
      Errors.push({ SecretId, ErrorCode: error.code, Message: error.message })
    }
  }
  return { SecretValues, Errors }
}

interface BatchOfValues {
  readonly SecretValues: SecretValueEntry[]
  readonly Errors: { SecretId: string; ErrorCode: string; Message: string }[]
}

/** By id, by staging label, by both where they mean the same version; else the current one. */
function requireVersion(
  reader: Reader,
  { ARN }: SecretRow,
  { VersionId, VersionStage }: { readonly VersionId?: string | undefined; readonly VersionStage?: string | undefined },
): SecretVersionRow {
  const version =
    VersionId === undefined
      ? stageHolder(reader, ARN, VersionStage ?? currentStage)
      : reader.get('secretVersion', secretVersionKey(ARN, VersionId))
  if (version === undefined) {
    const what = VersionId === undefined ? `staging label: ${VersionStage ?? currentStage}` : `VersionId: ${VersionId}`
    throw new ApiError(
      'ResourceNotFoundException',
      `Secrets Manager can't find the specified secret value for ${what.slice(0, 300)}`,
    )
  }
  if (VersionStage !== undefined && !version.VersionStages.includes(VersionStage)) {
    throw new ApiError(
      'InvalidRequestException',
      'You provided a VersionStage that is not associated to the provided VersionId.',
    )
  }
  return version
}

function shownValue({ ARN, Name }: SecretRow, version: SecretVersionRow, vault: Vault): SecretValueEntry {
  const { text, isBinary } = openVersion(version, vault)
  return {
    ARN,
    Name,
    VersionId: version.VersionId,
    ...(isBinary ? { SecretBinary: readBase64(text) ?? new Uint8Array() } : { SecretString: text }),
    VersionStages: [...version.VersionStages],
    CreatedDate: version.CreatedDate,
  }
}
