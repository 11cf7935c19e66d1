/**
 * `AllowedPattern` of a parameter: a regular expression that the whole value must match. SSM's are Java's and these are
 * JavaScript's, which agree in what such patterns use.
 */
import { ApiError } from '../../proto/errors.ts'
import { patternCost } from '../../proto/pattern-cost.ts'

/** Some 50 ms at worst. */
const waysMax = 2 ** 25
const sizeMax = 10_000

/**
 * InvalidAllowedPatternException for what is no pattern, or one that could take too long on a value of this length;
 * ParameterPatternMismatchException where the value doesn't match. Never says the value.
 */
export function checkAllowedPattern(pattern: string, value: string): void {
  const source = `^(?:${pattern})$`
  const compiled = compile(pattern, source)
  const { ways, size } = patternCost(source, value.length)
  if (ways > waysMax || size > sizeMax) {
    throw new ApiError(
      'InvalidAllowedPatternException',
      `The request does not meet the regular expression requirement: on a value of ${value.length} characters the ` +
        'pattern could take too long, since its repetitions of no fixed number multiply. Use fewer of * and + and {1,20}, ' +
        'and none inside of a group that repeats.',
    )
  }
  if (compiled.test(value)) return
  throw new ApiError(
    'ParameterPatternMismatchException',
    `Parameter value, cannot be validated against allowedPattern: ${pattern}`,
  )
}

function compile(pattern: string, source: string): RegExp {
  try {
    // Alone first: `a)|(b` is a pattern only between the brackets that are put around it.
    void new RegExp(pattern, 'u')
    return new RegExp(source, 'u')
  } catch (error) {
    throw new ApiError(
      'InvalidAllowedPatternException',
      'The request does not meet the regular expression requirement: AllowedPattern is no regular expression.',
      { cause: error },
    )
  }
}
