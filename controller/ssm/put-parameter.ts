/**
 * PutParameter: a parameter, or a new version of one.
 *
 * Source: AWS Systems Manager API reference, PutParameter; User Guide, "Managing parameter tiers" and "Working with
 * parameter versions".
 */
import { ApiError } from '../../proto/errors.ts'
import type { InputOf, With } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { type Call, writeOf } from '../ecs/handler.ts'
import {
  type ParameterRow,
  type ParameterVersionRow,
  parameterContext,
  parameterVersionKey,
} from '../state/ssm-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { checkAllowedPattern } from './allowed-pattern.ts'
import { checkLength, checkWellFormed, constraintError, validationError } from './constraints.ts'
import { dropVersion, storedCharacters } from './parameter-versions.ts'
import { latestVersion, versionsOf } from './parameter-lookup.ts'
import { checkParameterName, parameterArn } from './parameter-names.ts'
import { checkParameterTags } from './parameter-tags.ts'
import { countValue } from './value-room.ts'

type Input = With<InputOf<'ssm', 'PutParameter'>, 'Name' | 'Value'>
type Tier = ParameterRow['Tier']

const characterMax: Readonly<Record<Tier, number>> = { Standard: 4096, Advanced: 8192 }
/** AWS allows 100,000 advanced ones; here all of them are in memory. */
const parametersMax: Readonly<Record<Tier, number>> = { Standard: 10_000, Advanced: 10_000 }
const versionsMax = 100
/** What AWS says of a SecureString that names no key. */
const defaultKeyId = 'alias/aws/ssm'

export const putParameter = writeOf<'ssm', 'PutParameter'>((tx, given, call, world) => {
  const input = { ...given, Name: given.Name ?? '', Value: given.Value ?? '' }
  const name = checkParameterName(input.Name, world)
  const before = tx.get('parameter', name)
  const latest = before === undefined ? undefined : latestVersion(tx, before)
  checkMembers(input)
  if (before !== undefined && input.Overwrite !== true) {
    throw new ApiError(
      'ParameterAlreadyExists',
      'The parameter already exists. To overwrite this value, set the overwrite option in the request to true.',
    )
  }
  const tier = chooseTier(input, before)
  checkValue(input.Value, tier)
  if (before?.Tier !== tier) checkRoom(tx, tier)
  if (before !== undefined) dropOldest(tx, before)
  const Version = (before?.Version ?? 0) + 1
  const version = newVersion({ name, Version, tier }, input, latest, call)
  countValue(tx, 'ssm', storedCharacters(version))
  tx.put('parameterVersion', parameterVersionKey(name, Version), version)
  tx.put('parameter', name, parameterRow(before, { Name: name, Version, Tier: tier }, input, world))
  return { Version, Tier: tier }
})

function parameterRow(
  before: ParameterRow | undefined,
  { Name, Version, Tier }: Pick<ParameterRow, 'Name' | 'Version' | 'Tier'>,
  { Tags }: Input,
  world: World,
): ParameterRow {
  if (before !== undefined) return { ...before, Version, Tier }
  return { Name, ARN: parameterArn(world, Name), Version, Tier, Tags: checkParameterTags(Tags ?? []) }
}

function newVersion(
  { name, Version, tier }: { readonly name: string; readonly Version: number; readonly tier: Tier },
  input: Input,
  latest: ParameterVersionRow | undefined,
  { now, principalArn, vault }: Call,
): ParameterVersionRow {
  const Type = input.Type ?? latest?.Type
  if (Type === undefined) throw validationError('A parameter type is required when you create a parameter.')
  // An empty pattern or description takes away the one that was there; none leaves it.
  const AllowedPattern = (input.AllowedPattern ?? latest?.AllowedPattern) || undefined
  const Description = (input.Description ?? latest?.Description) || undefined
  const KeyId = chooseKeyId(Type, input.KeyId, latest)
  if (AllowedPattern !== undefined) checkAllowedPattern(AllowedPattern, input.Value)
  return {
    Name: name,
    Version,
    Type,
    Tier: tier,
    DataType: 'text',
    LastModifiedDate: now,
    LastModifiedUser: principalArn,
    Labels: [],
    ...(Description !== undefined && { Description }),
    ...(AllowedPattern !== undefined && { AllowedPattern }),
    ...(KeyId !== undefined && { KeyId }),
    ...(Type === 'SecureString'
      ? { sealedValue: vault.seal(input.Value, parameterContext(name, Version)) }
      : { Value: input.Value }),
  }
}

/**
 * A SecureString that is written over without a key keeps the one that it has, as its description does: Terraform names a
 * key only where it changes, and would find another one in each plan.
 */
function chooseKeyId(
  type: ParameterVersionRow['Type'],
  given: string | undefined,
  latest: ParameterVersionRow | undefined,
): string | undefined {
  if (type === 'SecureString') return given ?? latest?.KeyId ?? defaultKeyId
  if (given === undefined) return undefined
  throw validationError('KeyId is required for SecureString type parameter only.')
}

function checkMembers(input: Input): void {
  checkLength('description', input.Description, { max: 1024 })
  checkLength('allowedPattern', input.AllowedPattern, { max: 1024 })
  checkLength('keyId', input.KeyId, { min: 1, max: 256 })
  if (input.KeyId !== undefined && !/^[a-zA-Z0-9:/_-]+$/.test(input.KeyId)) {
    throw constraintError('keyId', input.KeyId, 'Member must satisfy regular expression pattern: ^([a-zA-Z0-9:/_-]+)$')
  }
  if (input.DataType !== undefined && input.DataType !== 'text') {
    throw validationError(
      `The following data type is not supported: ${input.DataType.slice(0, 128)} (Data type names are all lowercase.) ` +
        'Gantry knows text.',
    )
  }
  if (!/^(?:\s*|\s*\[\s*\]\s*|\s*\{\s*\}\s*)$/.test(input.Policies ?? '')) {
    throw new ApiError(
      'InvalidPolicyTypeException',
      'The policy type is not supported. Gantry has no parameter policies (Expiration, ExpirationNotification, ' +
        'NoChangeNotification): leave Policies out, and delete the parameter when its time is over.',
    )
  }
  if (input.Overwrite === true && (input.Tags ?? []).length > 0) {
    throw validationError(
      "Invalid request: tags and overwrite can't be used together. To create a parameter with tags, please remove " +
        'overwrite flag. To update tags for an existing parameter, please use AddTagsToResource or RemoveTagsFromResource.',
    )
  }
}

function chooseTier({ Tier, Value }: Input, before: ParameterRow | undefined): Tier {
  if (before?.Tier === 'Advanced') {
    if (Tier !== 'Standard') return 'Advanced'
    throw validationError(
      "This parameter uses the advanced-parameter tier. You can't downgrade a parameter from the advanced-parameter tier " +
        'to the standard-parameter tier. If necessary, you can delete the advanced parameter and recreate it as a ' +
        'standard parameter.',
    )
  }
  if (Tier === 'Intelligent-Tiering') return Value.length > characterMax.Standard ? 'Advanced' : 'Standard'
  return Tier ?? 'Standard'
}

function checkValue(value: string, tier: Tier): void {
  checkWellFormed('value', value)
  if (value === '') throw constraintError('value', '', 'Member must have length greater than or equal to 1.')
  if (value.length > characterMax[tier]) {
    throw validationError(
      tier === 'Standard'
        ? 'Standard tier parameters support a maximum parameter value of 4096 characters. To create a larger parameter ' +
            'value, upgrade the parameter to use the advanced-parameter tier. For more information, see ' +
            'https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html'
        : 'Advanced tier parameters support a maximum parameter value of 8192 characters.',
    )
  }
  const opened = value.indexOf('{{')
  if (opened !== -1 && value.includes('}}', opened + 2)) {
    throw validationError('Parameter value can\'t nest another parameter. Do not use "{{}}" in the value.')
  }
}

function checkRoom(reader: Reader, tier: Tier): void {
  if (reader.count('parameter', 'byTier', tier) < parametersMax[tier]) return
  throw new ApiError(
    'ParameterLimitExceeded',
    `You have exceeded the number of parameters for this AWS account: there are ${parametersMax[tier]} of the tier ` +
      `${tier}. Delete the parameter that you don't want to use or use another tier.`,
  )
}

/** The oldest version makes room for a new one, unless a label holds it. */
function dropOldest(tx: Transaction, row: ParameterRow): void {
  const versions = versionsOf(tx, row)
  const [oldest] = versions
  if (oldest === undefined || versions.length < versionsMax) return
  if (oldest.Labels.length > 0) {
    throw new ApiError(
      'ParameterMaxVersionLimitExceeded',
      `You attempted to create a new version of ${row.Name} by calling the PutParameter API with the overwrite flag. ` +
        `Version ${oldest.Version}, the oldest version, can't be deleted because it has a label associated with it. Move ` +
        'the label to another version of the parameter, and try again.',
    )
  }
  dropVersion(tx, oldest)
}
