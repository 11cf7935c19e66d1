/**
 * What AWS's front says of a member that breaks a constraint of its model, in the same words in Parameter Store and in
 * Secrets Manager.
 */
import { ApiError } from '../../proto/errors.ts'

/** A ValidationException of AWS's form. `value` is left out where it may be a secret. */
export function constraintError(member: string, value: string | undefined, constraint: string): ApiError {
  const shown = value === undefined ? 'Value' : `Value '${value.length > 256 ? `${value.slice(0, 256)}...` : value}'`
  return validationError(
    `1 validation error detected: ${shown} at '${member}' failed to satisfy constraint: ${constraint}`,
  )
}

export function validationError(message: string): ApiError {
  return new ApiError('ValidationException', message)
}

/** Refuses a text that is shorter or longer, in characters, than the model allows. */
export function checkLength(
  member: string,
  text: string | undefined,
  { min = 0, max }: { readonly min?: number; readonly max: number },
): void {
  if (text === undefined) return
  if (text.length > max) {
    throw constraintError(member, text, `Member must have length less than or equal to ${max}`)
  }
  if (text.length < min) {
    throw constraintError(member, text, `Member must have length greater than or equal to ${min}`)
  }
}

/**
 * Refuses a text with half a character in it (a lone surrogate), which would not come back as it was given. Never says the
 * text, which may be a secret.
 */
export function checkWellFormed(member: string, text: string): void {
  if (text.isWellFormed()) return
  throw constraintError(member, undefined, 'Member must be well-formed text')
}

/** Refuses a list with fewer or more members than the model allows. */
export function checkCount(
  member: string,
  list: readonly string[],
  { min = 0, max }: { readonly min?: number; readonly max: number },
): void {
  const shown = `[${list.join(', ')}]`
  if (list.length > max) throw constraintError(member, shown, `Member must have length less than or equal to ${max}`)
  if (list.length < min) throw constraintError(member, shown, `Member must have length greater than or equal to ${min}`)
}

/** Refuses a number that is out of the bounds of the model. */
export function checkRange(
  member: string,
  number: number | undefined,
  { min, max }: { readonly min: number; readonly max: number },
): void {
  if (number === undefined || (number >= min && number <= max)) return
  const [word, bound] = number > max ? ['less', max] : ['greater', min]
  throw constraintError(member, String(number), `Member must have value ${word} than or equal to ${bound}`)
}
