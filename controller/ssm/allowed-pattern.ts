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
  const alone = withoutIdleEscapes(pattern)
  const source = `^(?:${alone})$`
  const compiled = compile(alone, source)
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

/**
 * Java takes a backslash before whatever is no letter, and people write `\\@` and `\\_`; JavaScript takes one only before
 * what would mean something without it. A hyphen means something between brackets alone, and so stands by its number.
 */
function withoutIdleEscapes(pattern: string): string {
  return pattern.replaceAll(/\\([^])/gu, (escape, character: string) => {
    if (character === '-') return String.raw`\x2d`
    return /[A-Za-z0-9^$\\.*+?()[\]{}|/]/.test(character) ? escape : character
  })
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
