/**
 * Tags of IAM's resources. Keys are one in whatever case they are written, as IAM documents.
 * Source: IAM User Guide, "Tags for AWS Identity and Access Management resources".
 */
import { ApiError } from '../../proto/errors.ts'
import type { IamTag } from '../../proto/model/iam-types.ts'
import { checkLength, validationError } from './names.ts'

const tagsMax = 50
const allowedText = /^[\p{L}\p{Z}\p{N}_.:/=+\-@]*$/u

type TagInput = { readonly Key?: string | undefined; readonly Value?: string | undefined }

export function readTags(tags: readonly TagInput[] | undefined): readonly IamTag[] {
  return withTags([], tags)
}

/** `current` with these over it. InvalidInput for a key that stands there twice, LimitExceeded beyond fifty. */
export function withTags(current: readonly IamTag[], tags: readonly TagInput[] | undefined): readonly IamTag[] {
  const put = (tags ?? []).map(readTag)
  const keys = new Set(put.map(({ Key }) => folded(Key)))
  if (keys.size < put.length) {
    throw new ApiError('InvalidInput', 'Duplicate tag keys found. Please note that Tag keys are case insensitive.')
  }
  const all = [...current.filter(({ Key }) => !keys.has(folded(Key))), ...put]
  if (all.length > tagsMax) {
    throw new ApiError('LimitExceeded', `The number of tags has reached the maximum limit: ${tagsMax}.`)
  }
  return all
}

/** Those of a role under those of its session: the session's stand where both have a key. */
export function overlaidTags(under: readonly IamTag[], over: readonly IamTag[]): readonly IamTag[] {
  const keys = new Set(over.map(({ Key }) => folded(Key)))
  return [...under.filter(({ Key }) => !keys.has(folded(Key))), ...over]
}

export function withoutTags(current: readonly IamTag[], tagKeys: readonly string[] | undefined): readonly IamTag[] {
  const gone = new Set((tagKeys ?? []).map(folded))
  return current.filter(({ Key }) => !gone.has(folded(Key)))
}

/** By their keys, for conditions. */
export function tagRecord(tags: readonly IamTag[]): Readonly<Record<string, string>> {
  return Object.fromEntries(tags.map(({ Key, Value }) => [Key ?? '', Value ?? '']))
}

function readTag({ Key = '', Value = '' }: TagInput, index: number): IamTag {
  const at = `tags.${index + 1}.member`
  checkLength(`${at}.key`, Key, 1, 128)
  checkLength(`${at}.value`, Value, 0, 256)
  for (const [name, text] of [
    ['key', Key],
    ['value', Value],
  ] as const) {
    if (allowedText.test(text)) continue
    const pattern = `[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]${name === 'key' ? '+' : '*'}`
    throw validationError(`${at}.${name}`, text, `Member must satisfy regular expression pattern: ${pattern}`)
  }
  if (/^aws:/i.test(Key)) {
    throw new ApiError('InvalidInput', 'Tag keys that start with aws: are reserved, whatever their case.')
  }
  return { Key, Value }
}

function folded(key: string | undefined): string {
  return (key ?? '').toLowerCase()
}
