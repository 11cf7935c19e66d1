import * as fc from 'fast-check'
import t from 'tap'
import { compilePattern, matchesPattern, PatternError, programLengthMax, runPattern } from './pattern.ts'

const matches = (pattern: string, value: string): boolean => matchesPattern(compilePattern(pattern), value)

await t.test('what Java takes of the whole value', async (test) => {
  const cases: readonly [string, readonly string[], readonly string[]][] = [
    ['t2.*', ['t2.', 't2.micro'], ['t3.micro', 'xt2.micro', '']],
    [String.raw`t2\..*`, ['t2.x'], ['t2x']],
    ['(t2|m4|).x', ['t2ax', 'm4 x', '.x'], ['t4.x']],
    ['', [''], ['a']],
    ['a|', ['a', ''], ['b']],
    ['[a-cx-]+', ['abc-x'], ['d', '']],
    ['[^a-c]', ['d', '\n'], ['a', '']],
    [String.raw`[\d.]+`, ['1.2'], ['a']],
    [String.raw`[\w-]+@\d{2,3}`, ['a-b@12', 'x@123'], ['a@1', 'a@1234']],
    [String.raw`\D\W\S`, ['a-b'], ['1-b', 'aab', 'a- ']],
    ['a{2}b{2,}c{0,1}d{0}', ['aabb', 'aabbbbc'], ['abb', 'aab', 'aabbcc', 'aabbd']],
    ['a+?b*?c??', ['a', 'aabbc'], ['bc']],
    ['(ab)*', ['', 'abab'], ['aba']],
    ['(?:a(?<name>b|c)){2}', ['abac'], ['ab']],
    ['((a*)*|b)*c', ['c', 'aabaac'], ['d']],
    ['^a$', ['a'], ['ba', 'a\n']],
    ['^a$\n', ['a\n'], ['a']],
    [String.raw`\Aa\n\z`, ['a\n'], ['a']],
    [String.raw`a\Z\r\n`, ['a\r\n'], ['a']],
    [String.raw`a\b-\Bx?`, ['a-'], ['a-x']],
    ['(?i)prod|Test', ['PROD', 'prod', 'tEST'], ['pro']],
    ['a(?i:b)c', ['abc', 'aBc'], ['ABc', 'abC']],
    ['(?i)a(?-i)b', ['Ab'], ['aB']],
    ['(?i)[a-c]+[^x]', ['ABc'], ['aX']],
    ['(a(?i)b)c', ['aBc'], ['aBC']],
    ['.', ['a', '\u{1f600}'], ['\n', '\u0085', '\u2028', '']],
    ['(?s).', ['\n'], ['']],
    [String.raw`\Qa.b*\E+`, ['a.b*', 'a.b**'], ['aXb', 'a.b']],
    [String.raw`\Q[x`, ['[x'], ['x']],
    [String.raw`\x41\u0042\t\e`, ['AB\t\u001b'], ['AB']],
    [String.raw`\p{Alpha}+\P{Digit}\p{Punct}[\p{Upper}]`, ['abc!Z'], ['ab1!Z', 'abc!z']],
    [String.raw`\s\[\]\{\}\-\\`, [String.raw` []{}-\ `.slice(0, -1)], ['x']],
    ['a]}', ['a]}'], ['a']],
    ['[a&]', ['&'], ['b']],
    [String.raw`[\d-z]`, ['-', 'z', '5'], ['a']],
    ['\u{1f600}{2}', ['\u{1f600}\u{1f600}'], ['\u{1f600}']],
  ]
  for (const [pattern, whole, other] of cases) {
    // Encoded, since TAP is read by lines.
    for (const value of whole) test.ok(matches(pattern, value), encodeURI(`${pattern} is all of '${value}'`))
    for (const value of other) test.notOk(matches(pattern, value), encodeURI(`${pattern} is not '${value}'`))
  }
})

await t.test('what an automaton cannot do, and what is no pattern, is refused where it stands', async (test) => {
  const cases: readonly [string, number, RegExp][] = [
    ['a(?=b)', 1, /look-ahead is not supported, as patterns run in linear time/],
    ['(a(?!b))', 2, /look-ahead/],
    ['(?<=a)b', 0, /look-behind/],
    ['x(?<!a)b', 1, /look-behind/],
    ['ab(?>c)', 2, /atomic groups/],
    ['a++', 2, /possessive/],
    ['a{2}+', 4, /possessive/],
    [String.raw`(a)\1`, 3, /back-references/],
    [String.raw`(?<n>a)\k<n>`, 7, /back-references/],
    ['a**', 2, /follows another one/],
    ['*a', 0, /nothing to repeat/],
    ['(+a)', 1, /nothing to repeat/],
    ['(?i)*', 4, /nothing to repeat/],
    ['a|{2}', 2, /nothing to repeat/],
    ['a{', 1, /expected a quantifier such as \{2\}, \{2,\} or \{2,5\}/],
    ['a{,3}', 1, /expected a quantifier/],
    ['a{3,2}', 1, /the second number of this quantifier is below the first/],
    ['a{1001}', 1, /1000 times at most/],
    ['(a', 0, /the group that begins here has no '\)'/],
    ['a)b', 1, /closes no group/],
    ['[ab', 0, /the class that begins here has no '\]'/],
    ['x[]a]', 2, /a class needs a character/],
    ['[^]a]', 2, /a class needs a character/],
    ['[a[bc]]', 2, /a class inside a class/],
    ['[a&&b]', 2, /intersection/],
    ['[z-a]', 1, /a range of a class goes from one character up/],
    [String.raw`[a-\d]`, 1, /a range of a class/],
    ['(?m)a', 0, /the flag m is not supported: only i and s are/],
    ['(?i-x:a)', 0, /the flag x/],
    ['(?#a)', 0, /expected \(\.\.\.\), \(\?:\.\.\.\)/],
    [String.raw`\p{Lu}`, 0, /of the named classes these are supported: Lower, Upper/],
    [String.raw`a\y`, 1, /the escape \\y is not supported/],
    [String.raw`\G`, 0, /the escape \\G/],
    ['a\\', 1, /escapes nothing/],
    [`${'('.repeat(65)}a`, 64, /nested 64 deep at most/],
    ['x(a{100}){100}', 9, /the pattern is too large/],
    ['((((){1000}){1000}){1000}){1000}', 26, /too large/],
    ['(a{30}|b{2}){40}', 12, /too large/],
  ]
  for (const [pattern, offset, message] of cases) {
    const error = refusalOf(pattern)
    test.equal(error.offset, offset, pattern)
    test.match(error.message, message)
  }
  test.ok(compilePattern('a'.repeat(programLengthMax - 1)))
  test.match(refusalOf('a'.repeat(programLengthMax)).message, /too large/)
})

function refusalOf(pattern: string): PatternError {
  try {
    compilePattern(pattern)
  } catch (error) {
    if (error instanceof PatternError) return error
    throw error
  }
  throw new Error(`it was taken: ${pattern}`)
}

/** Patterns that Java, JavaScript and the automaton read alike. */
const { pattern: patterns } = fc.letrec<{ pattern: string }>((tie) => {
  const atoms = fc.constantFrom(
    ...String.raw`a b - . [ab] [^a] [a-c-] \d \w \W [\d_b] \b \B ^ $ \. \x61`.split(' '),
    '',
  )
  const repeats = fc.constantFrom('*', '+', '?', '{2}', '{0,2}', '{1,}', '*?', '+?', '{0}')
  return {
    pattern: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      atoms,
      fc.tuple(tie('pattern'), tie('pattern')).map(([left, right]) => left + right),
      fc.tuple(tie('pattern'), tie('pattern')).map(([left, right]) => `(${left}|${right})`),
      fc.tuple(tie('pattern'), repeats).map(([part, repeat]) => `(?:${part})${repeat}`),
    ),
  }
})
const texts = fc.string({ unit: fc.constantFrom('a', 'b', 'c', '1', '-', '.', '_', ' '), maxLength: 8 })

await t.test('law: it agrees with JavaScript where the two languages are one', async (test) => {
  let matched = 0
  fc.assert(
    fc.property(patterns, fc.array(texts, { minLength: 4, maxLength: 8 }), (pattern, values) => {
      const reference = new RegExp(`^(?:${pattern})$`)
      const compiled = compilePattern(pattern)
      return values.every((value) => {
        const isMatch = matchesPattern(compiled, value)
        if (isMatch) matched += 1
        return isMatch === reference.test(value)
      })
    }),
    { numRuns: 2000 },
  )
  test.ok(matched > 1000, `${matched} matched`)
})

await t.test(
  'law: the steps are at most the value times the program, for the worst patterns there are',
  async (test) => {
    const worst = ['(a*)*b', '(a|a)*b', '(a|aa)+b', '(a?){30}a{30}', '(.*)(.*)(.*)(.*)[^a]', '((a+)+)+b', '(|a|b|aa)*c']
    for (const pattern of worst) {
      const compiled = compilePattern(pattern)
      const stepsAt = (length: number): number => runPattern(compiled, 'a'.repeat(length)).steps
      for (const length of [0, 1, 100, 1000]) {
        test.ok(stepsAt(length) <= 2 * compiled.program.length * (length + 1), `${pattern} over ${length}`)
      }
      const growth = (stepsAt(4000) - stepsAt(2000)) / (stepsAt(2000) - stepsAt(0))
      test.ok(growth < 1.1, `${pattern}: twice the value takes twice the steps at most`)
    }
    fc.assert(
      fc.property(patterns, texts, (pattern, value) => {
        const compiled = compilePattern(pattern)
        return runPattern(compiled, value).steps <= 2 * compiled.program.length * (value.length + 1)
      }),
    )
  },
)

await t.test('law: garbage is refused as a pattern, or taken; nothing else', async () => {
  const pieces = fc.constantFrom(
    ...'ab()[]{}*+?|^$.\\-&,1QEdpixk<>=!:#'.split(''),
    '(?',
    '\u{1f600}',
    '\ud800',
    '[^',
    '\\Q',
  )
  fc.assert(
    fc.property(fc.string({ unit: pieces, maxLength: 16 }), fc.string({ maxLength: 6 }), (pattern, value) => {
      try {
        return typeof matches(pattern, value) === 'boolean'
      } catch (error) {
        return error instanceof PatternError && error.offset >= 0 && error.offset <= pattern.length
      }
    }),
    { numRuns: 3000 },
  )
})
