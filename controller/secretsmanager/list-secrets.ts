/** DescribeSecret, ListSecrets and ListSecretVersionIds: everything of a secret but its values. */
import type { SecretListEntry } from '../../proto/model/secretsmanager-types.ts'
import { readOf } from '../ecs/handler.ts'
import { servicePage } from '../ssm/pages.ts'
import type { SecretRow } from '../state/secretsmanager-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { secretFilter } from './secret-filters.ts'
import { requireSecret } from './secret-lookup.ts'
import { versionsOf } from './secret-versions.ts'

const pageLimits = { tokenCode: 'InvalidNextTokenException', maxSize: 100 } as const
/** What AWS says of a version that names no key. */
const defaultKeyId = 'DefaultEncryptionKey'

export const describeSecret = readOf<'secretsmanager', 'DescribeSecret'>((reader, input, _call, world) => {
  const secret = requireSecret(reader, input.SecretId, world)
  return {
    ...shownSecret(secret),
    // Here it is when the secret goes; ListSecrets says when that was asked for.
    ...(secret.deletionDate !== undefined && { DeletedDate: secret.deletionDate }),
    VersionIdsToStages: stagesOf(reader, secret),
  }
})

export const listSecrets = readOf<'secretsmanager', 'ListSecrets'>((reader, input) => {
  const passes = secretFilter(input.Filters ?? [])
  const keyOf = orderOf(input.SortBy)
  const descending = input.SortOrder === 'desc'
  const found = reader
    .all('secret')
    .filter((secret) => (input.IncludePlannedDeletion === true || secret.deletionDate === undefined) && passes(secret))
    .map((secret) => ({ secret, key: keyOf(secret) }))
    .toSorted((one, other) => (one.key < other.key === descending ? 1 : -1))
  const { items, nextToken } = servicePage(found, ({ key }) => key, input, { ...pageLimits, descending })
  const SecretList = items.map(({ secret }) => ({
    ...shownSecret(secret),
    ...(secret.DeletedDate !== undefined && { DeletedDate: secret.DeletedDate }),
    SecretVersionsToStages: stagesOf(reader, secret),
  }))
  return { SecretList, ...(nextToken !== undefined && { NextToken: nextToken }) }
})

export const listSecretVersionIds = readOf<'secretsmanager', 'ListSecretVersionIds'>((reader, input, _call, world) => {
  const secret = requireSecret(reader, input.SecretId, world)
  const shown = versionsOf(reader, secret.ARN).filter(
    ({ VersionStages }) => input.IncludeDeprecated === true || VersionStages.length > 0,
  )
  const { items, nextToken } = servicePage(shown, ({ ordinal }) => padded(ordinal), input, pageLimits)
  const Versions = items.map(({ VersionId, VersionStages, CreatedDate }) => ({
    VersionId,
    ...(VersionStages.length > 0 && { VersionStages: [...VersionStages] }),
    CreatedDate,
    KmsKeyIds: [secret.KmsKeyId ?? defaultKeyId],
  }))
  return { ARN: secret.ARN, Name: secret.Name, Versions, ...(nextToken !== undefined && { NextToken: nextToken }) }
})

function shownSecret({
  ARN,
  Name,
  Description,
  KmsKeyId,
  LastChangedDate,
  Tags,
  CreatedDate,
}: SecretRow): SecretListEntry {
  return {
    ARN,
    Name,
    ...(Description !== undefined && { Description }),
    ...(KmsKeyId !== undefined && { KmsKeyId }),
    LastChangedDate,
    Tags: [...Tags],
    CreatedDate,
  }
}

/** Versions without a label are deprecated, and are not shown. */
function stagesOf(reader: Reader, { ARN }: SecretRow): Record<string, string[]> {
  const staged = versionsOf(reader, ARN).filter(({ VersionStages }) => VersionStages.length > 0)
  return Object.fromEntries(staged.map(({ VersionId, VersionStages }) => [VersionId, [...VersionStages]]))
}

/** Names are unique, so that the keys of two secrets never are the same. When one was last read is not kept. */
function orderOf(sortBy: string | undefined): (secret: SecretRow) => string {
  if (sortBy === 'name') return ({ Name }) => Name
  if (sortBy === 'last-changed-date') return ({ LastChangedDate, Name }) => `${padded(LastChangedDate)} ${Name}`
  return ({ CreatedDate, Name }) => `${padded(CreatedDate)} ${Name}`
}

function padded(number: number): string {
  return String(number).padStart(16, '0')
}
