/**
 * Reads the part of Java's regular expressions that an automaton can run: literals, classes, quantifiers, groups,
 * alternatives, anchors and word boundaries, and the flags i and s. What needs backtracking is refused where it stands.
 * Source: java.util.regex.Pattern, which ECS names for `matches`.
 */
import {
  type CharSet,
  characters,
  classOf,
  complement,
  dot,
  dotAll,
  foldCase,
  posixClasses,
  union,
} from './char-set.ts'

/** A pattern that can't be taken: `offset` is 0-based in the pattern. */
export class PatternError extends Error {
  readonly offset: number

  constructor(offset: number, message: string) {
    super(message)
    this.name = 'PatternError'
    this.offset = offset
  }
}

export type Assertion = 'start' | 'end' | 'endOrNewline' | 'boundary' | 'noBoundary'

export type PatternNode =
  | { readonly kind: 'set'; readonly set: CharSet }
  | { readonly kind: 'assert'; readonly assertion: Assertion }
  | { readonly kind: 'sequence' | 'choice'; readonly parts: readonly PatternNode[] }
  | {
      readonly kind: 'repeat'
      readonly part: PatternNode
      readonly min: number
      readonly max: number
      /** Where the quantifier stands, for a refusal. */
      readonly offset: number
    }

interface Cursor {
  readonly text: string
  offset: number
  depth: number
  ignoreCase: boolean
  dotAll: boolean
}

const depthMax = 64
const repeatMax = 1000

/** Throws PatternError. */
export function parsePattern(text: string): PatternNode {
  const cursor: Cursor = { text, offset: 0, depth: 0, ignoreCase: false, dotAll: false }
  const node = parseChoice(cursor)
  if (cursor.offset < text.length)
    throw new PatternError(cursor.offset, "the ')' here closes no group. Write \\) for itself.")
  return node
}

function parseChoice(cursor: Cursor): PatternNode {
  const parts = [parseSequence(cursor)]
  while (cursor.text[cursor.offset] === '|') {
    cursor.offset += 1
    parts.push(parseSequence(cursor))
  }
  const [only] = parts
  return parts.length === 1 && only !== undefined ? only : { kind: 'choice', parts }
}

function parseSequence(cursor: Cursor): PatternNode {
  const parts: PatternNode[] = []
  while (cursor.offset < cursor.text.length) {
    const character = cursor.text[cursor.offset]
    if (character === '|' || character === ')') break
    const before = cursor.offset
    parts.push(...quantifyLast(cursor, parseAtoms(cursor)))
    if (cursor.offset === before) throw new Error(`The reader of patterns stands still at ${before} of: ${cursor.text}`)
  }
  return { kind: 'sequence', parts }
}

/** A quantifier is the last one's. Flags and an empty \Q\E stand for nothing that could be repeated. */
function quantifyLast(cursor: Cursor, atoms: readonly PatternNode[]): readonly PatternNode[] {
  const last = atoms.at(-1)
  if (last !== undefined) return [...atoms.slice(0, -1), parseQuantifier(cursor, last)]
  if (/[*+?{]/.test(cursor.text[cursor.offset] ?? '')) throw nothingToRepeat(cursor.offset)
  return atoms
}

/** One node, as a rule: none for flags, several for \Q...\E. */
function parseAtoms(cursor: Cursor): readonly PatternNode[] {
  const { text, offset } = cursor
  const character = text[offset] ?? ''
  if (character === '(') return parseGroup(cursor)
  if (character === '[') return [{ kind: 'set', set: parseClass(cursor) }]
  if (character === '\\') return parseEscape(cursor)
  if ('*+?{'.includes(character)) throw nothingToRepeat(offset)
  cursor.offset += 1
  if (character === '.') return [{ kind: 'set', set: cursor.dotAll ? dotAll : dot }]
  if (character === '^') return [{ kind: 'assert', assertion: 'start' }]
  if (character === '$') return [{ kind: 'assert', assertion: 'endOrNewline' }]
  return [literal(cursor, takeCodePoint(cursor, offset))]
}

/** The code point at `offset`; the cursor is moved behind it. */
function takeCodePoint(cursor: Cursor, offset: number): number {
  const code = cursor.text.codePointAt(offset) ?? 0
  cursor.offset = offset + (code > 0xffff ? 2 : 1)
  return code
}

function literal(cursor: Cursor, code: number): PatternNode {
  return { kind: 'set', set: withCase(cursor, characters(code)) }
}

function withCase(cursor: Cursor, set: CharSet): CharSet {
  return cursor.ignoreCase ? foldCase(set) : set
}

function parseQuantifier(cursor: Cursor, part: PatternNode): PatternNode {
  const offset = cursor.offset
  const range = readRange(cursor)
  if (range === undefined) return part
  const next = cursor.text[cursor.offset]
  if (next === '+') {
    throw new PatternError(cursor.offset, 'possessive quantifiers are not supported: leave the + out.')
  }
  // A reluctant quantifier takes the same whole values as a greedy one.
  if (next === '?') cursor.offset += 1
  if (/[*+?{]/.test(cursor.text[cursor.offset] ?? '')) {
    throw new PatternError(
      cursor.offset,
      'this quantifier follows another one. Put a group around what it is to repeat.',
    )
  }
  return { kind: 'repeat', part, min: range.min, max: range.max, offset }
}

function readRange(cursor: Cursor): { readonly min: number; readonly max: number } | undefined {
  const { text, offset } = cursor
  const sign = text[offset]
  if (sign === '*' || sign === '+' || sign === '?') {
    cursor.offset += 1
    return { min: sign === '+' ? 1 : 0, max: sign === '?' ? 1 : Number.POSITIVE_INFINITY }
  }
  if (sign !== '{') return undefined
  const match = /^\{(\d+)(,(\d*))?\}/.exec(text.slice(offset, offset + 40))
  if (match === null) {
    throw new PatternError(offset, 'expected a quantifier such as {2}, {2,} or {2,5}. Write \\{ for the brace itself.')
  }
  const min = Number(match[1])
  let max = min
  if (match[2] !== undefined) max = match[3] === '' ? Number.POSITIVE_INFINITY : Number(match[3])
  if (max < min) throw new PatternError(offset, 'the second number of this quantifier is below the first.')
  if (min > repeatMax || (Number.isFinite(max) && max > repeatMax)) {
    throw new PatternError(offset, `a quantifier repeats ${repeatMax} times at most.`)
  }
  cursor.offset += match[0].length
  return { min, max }
}

const refusedGroups: readonly (readonly [string, string])[] = [
  ['(?=', 'look-ahead is'],
  ['(?!', 'look-ahead is'],
  ['(?<=', 'look-behind is'],
  ['(?<!', 'look-behind is'],
  ['(?>', 'atomic groups are'],
]

function parseGroup(cursor: Cursor): readonly PatternNode[] {
  const { text, offset, ignoreCase, dotAll: before } = cursor
  const refused = refusedGroups.find(([start]) => text.startsWith(start, offset))
  if (refused !== undefined) {
    throw new PatternError(offset, `${refused[1]} not supported, as patterns run in linear time.`)
  }
  cursor.depth += 1
  if (cursor.depth > depthMax) throw new PatternError(offset, `groups can be nested ${depthMax} deep at most.`)
  const rest = text.slice(offset, offset + 200)
  const flags = /^\(\?([a-zA-Z]*)(?:-([a-zA-Z]*))?([:)])/.exec(rest)
  const named = /^\(\?<[A-Za-z][A-Za-z0-9]*>/.exec(rest)
  if (flags !== null) setFlags(cursor, flags[1] ?? '', flags[2] ?? '')
  else if (named === null && rest.startsWith('(?')) {
    throw new PatternError(offset, 'expected (...), (?:...), (?<name>...), (?i) or (?i:...).')
  }
  cursor.offset += flags?.[0].length ?? named?.[0].length ?? 1
  if (flags?.[3] === ')') {
    cursor.depth -= 1
    return []
  }
  const node = parseChoice(cursor)
  if (text[cursor.offset] !== ')') throw new PatternError(offset, "the group that begins here has no ')'.")
  cursor.offset += 1
  cursor.depth -= 1
  // Flags end with the group in which they stand.
  cursor.ignoreCase = ignoreCase
  cursor.dotAll = before
  return [node]
}

function setFlags(cursor: Cursor, on: string, off: string): void {
  const other = /[^is]/.exec(on + off)?.[0]
  if (other !== undefined) {
    throw new PatternError(cursor.offset, `the flag ${other} is not supported: only i and s are.`)
  }
  if (on.includes('i')) cursor.ignoreCase = true
  if (on.includes('s')) cursor.dotAll = true
  if (off.includes('i')) cursor.ignoreCase = false
  if (off.includes('s')) cursor.dotAll = false
}

const assertions: Readonly<Record<string, Assertion>> = {
  A: 'start',
  z: 'end',
  Z: 'endOrNewline',
  b: 'boundary',
  B: 'noBoundary',
}

function parseEscape(cursor: Cursor): readonly PatternNode[] {
  const { text, offset } = cursor
  const letter = text[offset + 1] ?? ''
  if (letter === 'Q') return parseQuoted(cursor)
  const assertion = assertions[letter]
  if (assertion !== undefined) {
    cursor.offset += 2
    return [{ kind: 'assert', assertion }]
  }
  if (/[1-9k]/.test(letter)) {
    throw new PatternError(offset, 'back-references are not supported, as patterns run in linear time.')
  }
  return [{ kind: 'set', set: withCase(cursor, parseEscapedSet(cursor)) }]
}

function parseQuoted(cursor: Cursor): readonly PatternNode[] {
  const start = cursor.offset + 2
  const close = cursor.text.indexOf('\\E', start)
  const end = close < 0 ? cursor.text.length : close
  const nodes = Array.from(cursor.text.slice(start, end), (character) => literal(cursor, character.codePointAt(0) ?? 0))
  cursor.offset = close < 0 ? end : end + 2
  return nodes
}

const controls: Readonly<Record<string, number>> = { t: 9, n: 10, r: 13, f: 12, a: 7, e: 27 }

/** An escape that stands for characters, inside a class or outside. The cursor is moved behind it. */
function parseEscapedSet(cursor: Cursor): CharSet {
  const { text, offset } = cursor
  const letter = text[offset + 1] ?? ''
  if (letter === '') throw new PatternError(offset, 'a backslash at the end escapes nothing. Write \\\\ for itself.')
  const control = controls[letter]
  const predefined = classOf(letter)
  if (predefined !== undefined || control !== undefined) {
    cursor.offset += 2
    return predefined ?? characters(control ?? 0)
  }
  const hex = /^\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4}))/.exec(text.slice(offset, offset + 6))
  if (hex !== null) {
    cursor.offset += hex[0].length
    return characters(Number.parseInt(hex[1] ?? hex[2] ?? '', 16))
  }
  const posix = /^\\([pP])\{([A-Za-z]{1,20})\}/.exec(text.slice(offset, offset + 30))
  const named = posix === null ? undefined : posixClasses.get(posix[2] ?? '')
  if (posix !== null && named !== undefined) {
    cursor.offset += posix[0].length
    return posix[1] === 'P' ? complement(named) : named
  }
  if (letter === 'p' || letter === 'P') {
    throw new PatternError(offset, `of the named classes these are supported: ${[...posixClasses.keys()].join(', ')}.`)
  }
  if (/[A-Za-z0-9]/.test(letter)) throw new PatternError(offset, `the escape \\${letter} is not supported.`)
  return characters(takeCodePoint(cursor, offset + 1))
}

/** `[a-z_]`, `[^0-9]`. Java's classes in classes and intersections are refused. */
function parseClass(cursor: Cursor): CharSet {
  const { text, offset: opening } = cursor
  const isNegated = text[opening + 1] === '^'
  cursor.offset += isNegated ? 2 : 1
  const sets: CharSet[] = []
  for (;;) {
    const { offset } = cursor
    const character = text[offset]
    if (character === undefined) throw new PatternError(opening, "the class that begins here has no ']'.")
    if (character === ']' && sets.length === 0) {
      throw new PatternError(offset, 'a class needs a character. Write \\] for the bracket itself.')
    }
    if (character === ']') break
    if (character === '[') {
      throw new PatternError(offset, 'a class inside a class is not supported. Write \\[ for the bracket itself.')
    }
    if (text.startsWith('&&', offset)) throw new PatternError(offset, 'an intersection of classes is not supported.')
    sets.push(parseClassItem(cursor))
  }
  cursor.offset += 1
  // The fold comes before the complement: [^a] without case is neither a nor A.
  const set = withCase(cursor, union(sets))
  return isNegated ? complement(set) : set
}

function parseClassItem(cursor: Cursor): CharSet {
  const { text, offset } = cursor
  const from = parseClassCharacter(cursor)
  const isRange = text[cursor.offset] === '-' && text[cursor.offset + 1] !== ']' && cursor.offset + 1 < text.length
  if (!isRange) return from
  const single = singleOf(from)
  // After a class such as \d, a hyphen is itself.
  if (single === undefined) return from
  cursor.offset += 1
  const end = text[cursor.offset] === '[' ? undefined : singleOf(parseClassCharacter(cursor))
  if (end === undefined || end < single) {
    throw new PatternError(
      offset,
      'a range of a class goes from one character up to another. Write \\- for the hyphen.',
    )
  }
  return [[single, end]]
}

function parseClassCharacter(cursor: Cursor): CharSet {
  const { text, offset } = cursor
  return text[offset] === '\\' ? parseEscapedSet(cursor) : characters(takeCodePoint(cursor, offset))
}

function singleOf(set: CharSet): number | undefined {
  const [only] = set
  return set.length === 1 && only !== undefined && only[0] === only[1] ? only[0] : undefined
}

function nothingToRepeat(offset: number): PatternError {
  return new PatternError(
    offset,
    'the quantifier here has nothing to repeat. Write a backslash before it for the character itself.',
  )
}
