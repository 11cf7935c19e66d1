/**
 * What each operation of Secrets Manager takes: its action on the secret, with the secret's own policy beside the caller's.
 *
 * Source: AWS Service Authorization Reference, "Actions, resources, and condition keys for AWS Secrets Manager".
 */
import type { OperationOf } from '../../../proto/model/types.ts'
import { newSecretCheck, secretCheck } from '../../secretsmanager/secret-checks.ts'
import type { AccessCheck, AccessRow, ConditionKeys, Place, TagMap } from '../authorization.ts'
import { requestTagKeys } from '../request-keys.ts'
import type { ServiceRows } from '../rows.ts'

type Action = OperationOf<'secretsmanager'>

interface NamesSecret {
  readonly SecretId?: string | undefined
}

/** The action on the secret that the input names. */
function onSecret<I extends NamesSecret>(
  action: Action,
  keysOf: (input: I) => ConditionKeys = () => ({}),
): AccessRow<I> {
  return (input, reader, place) => [
    secretCheck(reader, action, { secretId: input.SecretId ?? '', place, keys: keysOf(input) }),
  ]
}

export const secretsmanagerRows: ServiceRows<'secretsmanager'> = {
  /** The values of each secret are asked for by the handler, which answers those that may be read. */
  BatchGetSecretValue: (input) => [
    { action: 'secretsmanager:BatchGetSecretValue', resource: '*' },
    ...(input.Filters === undefined ? [] : [{ action: 'secretsmanager:ListSecrets', resource: '*' }]),
  ],
  CancelRotateSecret: onSecret('CancelRotateSecret'),
  CreateSecret(input, _reader, place) {
    const tags = requestTagKeys(tagMap(input.Tags))
    const keys = { ...tags, ...describedKeys(input), 'secretsmanager:Name': input.Name }
    const create = newSecretCheck('CreateSecret', input.Name ?? '', place, keys)
    return (input.Tags ?? []).length === 0
      ? [create]
      : [create, newSecretCheck('TagResource', input.Name ?? '', place, tags)]
  },
  DeleteResourcePolicy: onSecret('DeleteResourcePolicy'),
  DeleteSecret: onSecret<NamesSecret & DeletionInput>('DeleteSecret', (input) => ({
    'secretsmanager:ForceDeleteWithoutRecovery': String(input.ForceDeleteWithoutRecovery ?? false),
    'secretsmanager:RecoveryWindowInDays': numberText(input.RecoveryWindowInDays),
  })),
  DescribeSecret: onSecret('DescribeSecret'),
  GetRandomPassword: onAll('GetRandomPassword'),
  GetResourcePolicy: onSecret('GetResourcePolicy'),
  GetSecretValue: onSecret<NamesSecret & VersionInput>('GetSecretValue', (input) => ({
    'secretsmanager:VersionId': input.VersionId,
    // Who names no version at all is given the current one; who names an id might mean any.
    'secretsmanager:VersionStage': input.VersionStage ?? (input.VersionId === undefined ? 'AWSCURRENT' : undefined),
  })),
  ListSecrets: onAll('ListSecrets'),
  ListSecretVersionIds: onSecret('ListSecretVersionIds'),
  PutResourcePolicy: onSecret('PutResourcePolicy'),
  PutSecretValue: onSecret('PutSecretValue'),
  RemoveRegionsFromReplication: onSecret('RemoveRegionsFromReplication'),
  ReplicateSecretToRegions: onSecret('ReplicateSecretToRegions'),
  RestoreSecret: onSecret('RestoreSecret'),
  RotateSecret: onSecret('RotateSecret'),
  StopReplicationToReplica: onSecret('StopReplicationToReplica'),
  TagResource: onSecret<NamesSecret & TagsInput>('TagResource', ({ Tags }) => requestTagKeys(tagMap(Tags))),
  UntagResource: onSecret<NamesSecret & { readonly TagKeys?: readonly string[] | undefined }>(
    'UntagResource',
    ({ TagKeys }) => ({ 'aws:TagKeys': TagKeys }),
  ),
  UpdateSecret: onSecret<NamesSecret & DescribedInput>('UpdateSecret', describedKeys),
  UpdateSecretVersionStage: onSecret<NamesSecret & VersionInput>('UpdateSecretVersionStage', ({ VersionStage }) => ({
    'secretsmanager:VersionStage': VersionStage,
  })),
  ValidateResourcePolicy(input, reader, place) {
    const { SecretId: secretId } = input
    if (secretId === undefined) return [{ action: 'secretsmanager:ValidateResourcePolicy', resource: '*' }]
    return [secretCheck(reader, 'ValidateResourcePolicy', { secretId, place })]
  },
}

interface DeletionInput {
  readonly ForceDeleteWithoutRecovery?: boolean | undefined
  readonly RecoveryWindowInDays?: number | undefined
}

interface VersionInput {
  readonly VersionId?: string | undefined
  readonly VersionStage?: string | undefined
}

interface DescribedInput {
  readonly Description?: string | undefined
  readonly KmsKeyId?: string | undefined
}

interface TagsInput {
  readonly Tags?: readonly { readonly Key?: string | undefined; readonly Value?: string | undefined }[] | undefined
}

function describedKeys({ Description, KmsKeyId }: DescribedInput): ConditionKeys {
  return { 'secretsmanager:Description': Description, 'secretsmanager:KmsKeyId': KmsKeyId }
}

/** For actions that know no resources. */
function onAll(action: Action): (_input: unknown, _reader: unknown, _place: Place) => readonly AccessCheck[] {
  return () => [{ action: `secretsmanager:${action}`, resource: '*' }]
}

function numberText(number: number | undefined): string | undefined {
  return number === undefined ? undefined : String(number)
}

function tagMap(tags: TagsInput['Tags']): TagMap {
  return Object.fromEntries((tags ?? []).map(({ Key = '', Value = '' }) => [Key, Value]))
}
