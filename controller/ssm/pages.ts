/** Pages as Parameter Store and Secrets Manager give them: those of ECS, with their own words for what is wrong. */
import { ApiError, type ErrorCode, isApiError } from '../../proto/errors.ts'
import { type Page, page } from '../ecs/paging.ts'
import { checkRange } from './constraints.ts'

export interface ServicePageRequest {
  readonly MaxResults?: number | undefined
  readonly NextToken?: string | undefined
}

export interface ServicePageLimits {
  /** What a token that isn't one of this list is called. */
  readonly tokenCode: ErrorCode
  /** Also the size where none is asked for. */
  readonly maxSize: number
  readonly descending?: boolean | undefined
}

/** The page that is asked for, of items in the order of their keys. ValidationException for a size out of bounds. */
export function servicePage<T>(
  items: readonly T[],
  keyOf: (item: T) => string,
  { MaxResults, NextToken }: ServicePageRequest,
  { tokenCode, maxSize, descending }: ServicePageLimits,
): Page<T> {
  checkRange('maxResults', MaxResults, { min: 1, max: maxSize })
  // An empty token is none: the SDKs send one where a caller hands back what a last page lacked.
  const request = { maxResults: MaxResults, nextToken: NextToken === '' ? undefined : NextToken }
  try {
    return page(items, keyOf, request, { defaultSize: maxSize, maxSize, descending })
  } catch (error) {
    throw isApiError(error) ? new ApiError(tokenCode, error.message, { cause: error }) : error
  }
}
