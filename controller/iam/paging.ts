/** Pages as IAM has them: `Marker`, `MaxItems` (100, at most 1,000) and `IsTruncated`. */
import { isApiError } from '../../proto/errors.ts'
import { page } from '../ecs/paging.ts'
import { validationError } from './names.ts'

const limits = { defaultSize: 100, maxSize: 1000 }

interface MarkedRequest {
  readonly Marker?: string | undefined
  readonly MaxItems?: number | undefined
}

export interface MarkedPage<T> {
  readonly items: T[]
  readonly IsTruncated: boolean
  readonly Marker?: string
}

/** The page behind `Marker`, in the order of `keyOf`, whose keys are unique. */
export function markedPage<T>(
  items: readonly T[],
  keyOf: (item: T) => string,
  { Marker, MaxItems }: MarkedRequest,
): MarkedPage<T> {
  if (MaxItems !== undefined && (MaxItems < 1 || MaxItems > limits.maxSize)) {
    const constraint = MaxItems < 1 ? 'greater than or equal to 1' : `less than or equal to ${limits.maxSize}`
    throw validationError('maxItems', MaxItems, `Member must have value ${constraint}`)
  }
  const sorted = items.toSorted((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
  try {
    const shown = page(sorted, keyOf, { nextToken: Marker, maxResults: MaxItems }, limits)
    const { nextToken } = shown
    return {
      items: shown.items,
      IsTruncated: nextToken !== undefined,
      ...(nextToken !== undefined && { Marker: nextToken }),
    }
  } catch (error) {
    if (isApiError(error))
      throw validationError('marker', Marker, 'Member must be a Marker that this operation answered')
    throw error
  }
}

/** A list that is always empty here, in IAM's form. */
export const emptyPage = { IsTruncated: false } as const
