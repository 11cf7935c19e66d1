/**
 * What each operation of Parameter Store takes. A call that names several parameters takes the action on each of them.
 *
 * Source: AWS Service Authorization Reference, "Actions, resources, and condition keys for AWS Systems Manager"; Parameter
 * Store's User Guide for what a path's permission opens.
 */
import type { OperationOf } from '../../../proto/model/types.ts'
import { findParameter } from '../../ssm/parameter-lookup.ts'
import { parameterArn, parseParameterReference } from '../../ssm/parameter-names.ts'
import type { Reader } from '../../state/transaction.ts'
import type { AccessCheck, ConditionKeys, Place, TagMap } from '../authorization.ts'
import { requestTagKeys } from '../request-keys.ts'
import type { ServiceRows } from '../rows.ts'

type Action = OperationOf<'ssm'>

export const ssmRows: ServiceRows<'ssm'> = {
  AddTagsToResource: (input, reader, place) =>
    onTagged('AddTagsToResource', input, { reader, place, keys: requestTagKeys(tagMap(input.Tags)) }),
  DeleteParameter: (input, reader, place) => onEach('DeleteParameter', [input.Name], { reader, place }),
  DeleteParameters: (input, reader, place) => onEach('DeleteParameters', input.Names, { reader, place }),
  DescribeParameters: (_input, _reader, place) => onAll('DescribeParameters', place),
  GetParameter: (input, reader, place) => onEach('GetParameter', [input.Name], { reader, place }),
  GetParameterHistory: (input, reader, place) => onEach('GetParameterHistory', [input.Name], { reader, place }),
  GetParameters: (input, reader, place) => onEach('GetParameters', input.Names, { reader, place }),
  /** Who may read a path may read everything beneath it, as in AWS: parameters are not asked for one by one. */
  GetParametersByPath: (input, _reader, place) => [
    {
      action: 'ssm:GetParametersByPath',
      resource: parameterArn(place, input.Path ?? ''),
      keys: { 'ssm:Recursive': String(input.Recursive ?? false) },
    },
  ],
  LabelParameterVersion: (input, reader, place) => onEach('LabelParameterVersion', [input.Name], { reader, place }),
  ListTagsForResource: (input, reader, place) => onTagged('ListTagsForResource', input, { reader, place }),
  PutParameter(input, reader, place) {
    const tags = requestTagKeys(tagMap(input.Tags))
    const keys = { ...tags, 'ssm:Overwrite': String(input.Overwrite ?? false) }
    const checks = onEach('PutParameter', [input.Name], { reader, place, keys })
    const isTagged = (input.Tags ?? []).length > 0
    return isTagged ? [...checks, ...onEach('AddTagsToResource', [input.Name], { reader, place, keys: tags })] : checks
  },
  RemoveTagsFromResource: (input, reader, place) =>
    onTagged('RemoveTagsFromResource', input, { reader, place, keys: { 'aws:TagKeys': input.TagKeys } }),
  UnlabelParameterVersion: (input, reader, place) => onEach('UnlabelParameterVersion', [input.Name], { reader, place }),
}

interface Scope {
  readonly reader: Reader
  readonly place: Place
  readonly keys?: ConditionKeys | undefined
}

function onEach(
  action: Action,
  names: readonly (string | undefined)[] | undefined,
  scope: Scope,
): readonly AccessCheck[] {
  const named = [...new Set(names ?? [])].flatMap((name) => name ?? [])
  // Nothing is asked for, which the operation refuses in its own words.
  if (named.length === 0) return onAll(action, scope.place)
  return named.map((name) => {
    const { reader, place, keys } = scope
    const row = findParameter(reader, name, place)
    return {
      action: `ssm:${action}`,
      resource: row?.ARN ?? arnOf(place, name),
      ...(keys !== undefined && { keys }),
      resourceTags: () => tagMap(row?.Tags),
    }
  })
}

function onTagged(
  action: Action,
  { ResourceType, ResourceId }: { ResourceType?: string | undefined; ResourceId?: string | undefined },
  scope: Scope,
): readonly AccessCheck[] {
  return ResourceType === 'Parameter' ? onEach(action, [ResourceId], scope) : onAll(action, scope.place)
}

function onAll(action: Action, { region, account }: Place): readonly AccessCheck[] {
  return [{ action: `ssm:${action}`, resource: `arn:aws:ssm:${region}:${account}:*` }]
}

/** Of what is not there: the ARN that it would have, or the one that was given. */
function arnOf(place: Place, reference: string): string {
  const name = parseParameterReference(reference, place)?.names.at(0)
  return name === undefined ? reference : parameterArn(place, name)
}

function tagMap(tags: readonly { Key?: string | undefined; Value?: string | undefined }[] | undefined): TagMap {
  return Object.fromEntries((tags ?? []).map(({ Key = '', Value = '' }) => [Key, Value]))
}
