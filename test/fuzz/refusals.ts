/** What code may do with hostile input: take it, or refuse it in the caller's own terms. Anything else is a defect. */
import { isApiError } from '../../proto/errors.ts'

const messageCharactersMax = 8192

/** The value, or undefined where it was refused as a caller's fault. Throws for every other way to fail. */
export function takeOrRefuse<T>(take: () => T): { readonly value: T } | undefined {
  try {
    return { value: take() }
  } catch (error) {
    if (!isApiError(error)) throw error
    if (error.httpStatus >= 500) throw error
    if (error.message.length > messageCharactersMax) {
      throw new Error(`The refusal has ${error.message.length} characters.`, { cause: error })
    }
    return undefined
  }
}

/** What a hostile name could have left on the prototype that everything has. */
export function requireCleanPrototypes(): void {
  const left = [...Object.keys(Object.prototype), ...Object.keys(Array.prototype)]
  if (left.length > 0) throw new Error(`Prototypes were changed: ${left.join(', ')}.`)
}
