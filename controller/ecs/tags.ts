/**
 * Tags, as ECS takes them everywhere. Source: the ECS API reference, data type Tag, and its model's constraints.
 */
import { invalidParameter } from '../../proto/errors.ts'
import type { Tag } from '../../proto/model/types.ts'

export const tagsMax = 50
const keyLengthMax = 128
const valueLengthMax = 256
const allowedText = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u

/** The tags as they are stored, each with its value; InvalidParameterException where one breaks a rule. */
export function checkTags(tags: readonly Tag[] | undefined): readonly Tag[] {
  if (tags === undefined) return []
  if (tags.length > tagsMax) {
    throw invalidParameter(`A resource can have at most ${tagsMax} tags, and the request has ${tags.length}.`)
  }
  const seen = new Set<string>()
  return tags.map((tag) => {
    const key = checkKey(tag.key)
    if (seen.has(key)) throw invalidParameter(`Tag keys must be unique: '${key}' is given twice.`)
    seen.add(key)
    return { key, value: checkValue(key, tag.value ?? '') }
  })
}

/** AWS's own tags, such as `aws:ecs:clusterName`: callers neither set nor remove them, and no limit counts them. */
export function isReservedTagKey(key: string): boolean {
  return /^aws:/i.test(key)
}

function checkKey(key: string | undefined): string {
  if (key === undefined || key === '') throw invalidParameter('Tag.key should not be null or empty.')
  if (key.length > keyLengthMax) {
    throw invalidParameter(`Tag.key can have at most ${keyLengthMax} characters: '${key.slice(0, 32)}...'.`)
  }
  if (!allowedText.test(key)) {
    throw invalidParameter(`Tag.key '${key}' holds a character other than letters, digits, spaces and _ . : / = + - @.`)
  }
  if (isReservedTagKey(key)) throw invalidParameter(`Tag.key '${key}' starts with 'aws:', which is reserved.`)
  return key
}

function checkValue(key: string, value: string): string {
  if (value.length > valueLengthMax) {
    throw invalidParameter(`The value of tag '${key}' can have at most ${valueLengthMax} characters.`)
  }
  if (!allowedText.test(value)) {
    throw invalidParameter(
      `The value of tag '${key}' holds a character other than letters, digits, spaces and _ . : / = + - @.`,
    )
  }
  return value
}
