/**
 * Pages of a list. A token carries the last key that the caller has seen, so nothing is kept between two calls, and a
 * list that changes meanwhile neither repeats nor skips what stayed in it.
 */
import { invalidParameter } from '../../proto/errors.ts'

export interface PageRequest {
  readonly nextToken?: string | undefined
  readonly maxResults?: number | undefined
}

export interface PageLimits {
  readonly defaultSize: number
  readonly maxSize: number
  /** True where the items come in descending order of their keys. */
  readonly descending?: boolean | undefined
}

export interface Page<T> {
  readonly items: T[]
  /** Absent on the last page. */
  readonly nextToken: string | undefined
}

/**
 * The page after `nextToken`. The items are in the order of their keys (compared by code unit, keys unique); a token
 * that this function did not write and a size out of bounds are InvalidParameterException.
 */
export function page<T>(
  items: readonly T[],
  keyOf: (item: T) => string,
  request: PageRequest,
  limits: PageLimits,
): Page<T> {
  const size = request.maxResults ?? limits.defaultSize
  if (!Number.isInteger(size) || size < 1 || size > limits.maxSize) {
    throw invalidParameter(`maxResults must be a whole number from 1 to ${limits.maxSize}, and is ${size}.`)
  }
  const start = request.nextToken === undefined ? 0 : firstAfter(items, keyOf, readToken(request.nextToken), limits)
  const shown = items.slice(start, start + size)
  const last = shown.at(-1)
  const more = last !== undefined && start + size < items.length
  return { items: shown, nextToken: more ? writeToken(keyOf(last)) : undefined }
}

function firstAfter<T>(items: readonly T[], keyOf: (item: T) => string, seen: string, limits: PageLimits): number {
  const isAfter = (key: string): boolean => (limits.descending === true ? key < seen : key > seen)
  const index = items.findIndex((item) => isAfter(keyOf(item)))
  return index === -1 ? items.length : index
}

/** Names the format, so that a later one can be told apart. */
const tokenPrefix = 'gantry1:'

function writeToken(key: string): string {
  return btoa(tokenPrefix + encodeURIComponent(key))
}

function readToken(token: string): string {
  const text = decode(token)
  if (text === undefined) {
    throw invalidParameter('Invalid token: nextToken is not one that this operation answered. Start again without it.')
  }
  return text
}

function decode(token: string): string | undefined {
  try {
    const text = atob(token)
    return text.startsWith(tokenPrefix) ? decodeURIComponent(text.slice(tokenPrefix.length)) : undefined
  } catch {
    return undefined
  }
}
