/** Tags of parameters. Other resources of Systems Manager have none here: Gantry has no documents and no windows. */
import type { Place } from '../../proto/arn.ts'
import { ApiError } from '../../proto/errors.ts'
import type { ParameterTag } from '../../proto/model/ssm-types.ts'
import { readOf, writeOf } from '../ecs/handler.ts'
import type { ParameterRow } from '../state/ssm-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { checkLength, constraintError } from './constraints.ts'
import { findParameter } from './parameter-lookup.ts'

const tagsMax = 50
const allowedText = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u

interface TagTarget {
  readonly ResourceType: string | undefined
  readonly ResourceId: string | undefined
}

export const addTagsToResource = writeOf<'ssm', 'AddTagsToResource'>((tx, input, _call, world) => {
  const row = requireTagged(tx, input, world)
  const added = checkParameterTags(input.Tags ?? [])
  const kept = row.Tags.filter(({ Key }) => !added.some((tag) => tag.Key === Key))
  tx.put('parameter', row.Name, { ...row, Tags: checkParameterTags([...kept, ...added]) })
  return {}
})

export const removeTagsFromResource = writeOf<'ssm', 'RemoveTagsFromResource'>((tx, input, _call, world) => {
  const row = requireTagged(tx, input, world)
  const removed = new Set(input.TagKeys)
  tx.put('parameter', row.Name, { ...row, Tags: row.Tags.filter(({ Key }) => !removed.has(Key ?? '')) })
  return {}
})

export const listTagsForResource = readOf<'ssm', 'ListTagsForResource'>((reader, input, _call, world) => ({
  TagList: [...requireTagged(reader, input, world).Tags],
}))

/** ValidationException for a tag that breaks a rule, TooManyTagsError for too many. */
export function checkParameterTags(tags: readonly ParameterTag[]): readonly ParameterTag[] {
  const seen = new Set<string>()
  for (const { Key = '', Value = '' } of tags) {
    checkLength('tags.member.key', Key, { min: 1, max: 128 })
    checkLength('tags.member.value', Value, { max: 256 })
    if (!allowedText.test(Key) || !allowedText.test(Value) || /^aws:/i.test(Key)) {
      throw constraintError(
        'tags.member.key',
        Key,
        String.raw`Member must satisfy regular expression pattern: ^([\p{L}\p{Z}\p{N}_.:/=+\-@]*)$, and not begin with aws:`,
      )
    }
    if (seen.has(Key)) throw constraintError('tags.member.key', Key, 'Member must be unique among the tags')
    seen.add(Key)
  }
  if (tags.length <= tagsMax) return tags
  throw new ApiError(
    'TooManyTagsError',
    `The Targets parameter includes too many tags: a parameter can have ${tagsMax}, and this would be ${tags.length}.`,
  )
}

function requireTagged(reader: Reader, { ResourceType, ResourceId = '' }: TagTarget, place: Place): ParameterRow {
  if (ResourceType !== 'Parameter') {
    throw new ApiError(
      'InvalidResourceType',
      `The resource type is not valid. Gantry has resources of the type Parameter alone, not ${ResourceType ?? 'none'}.`,
    )
  }
  const row = findParameter(reader, ResourceId, place)
  if (row !== undefined) return row
  throw new ApiError(
    'InvalidResourceId',
    `The resource ID is not valid. Verify that you entered the correct ID and try again: there is no parameter ${ResourceId.slice(0, 300)}.`,
  )
}
