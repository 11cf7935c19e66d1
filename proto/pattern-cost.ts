/**
 * How long a regular expression may take at worst. JavaScript's backtrack: each repetition of a number that is not fixed
 * is tried at each of its numbers, so that the ways to match multiply along a pattern, and are raised to a power where a
 * group repeats. Here they are counted from the pattern alone, never too low.
 */

export interface PatternCost {
  /** Ways to try the pattern on a text of `charactersMax`, from all the places where it may begin. */
  readonly ways: number
  /** Its length with its repetitions written out, of which a compiled pattern's size follows. */
  readonly size: number
}

interface Cursor {
  readonly source: string
  readonly charactersMax: number
  at: number
}

interface Repetition {
  readonly min: number
  readonly max: number
}

const single: PatternCost = { ways: 1, size: 1 }
/** An escape with what belongs to it, or a class of characters: each matches one character, or none. */
const atom = /\\(?:[pPu]\{[^}]*\}|k<[^>]*>|c.|.)|\[(?:\\.|[^\]\\])*\]|[^(]/suy
const groupStart = /\((?:\?(?:<?[=!]|<[^>]*>|[a-z]*-?[a-z]*:))?/uy
const repetition = /(?:[*+?]|\{(\d+)(?:(,)(\d*))?\})\??/uy

/** `source` is a pattern that compiles with the flag `u`. */
export function patternCost(source: string, charactersMax: number): PatternCost {
  const cursor: Cursor = { source, charactersMax, at: 0 }
  const { ways, size, isAnchored } = alternatives(cursor)
  return { ways: ways * (isAnchored ? 1 : charactersMax), size }
}

/** Up to the end, or to the bracket that closes the group. */
function alternatives(cursor: Cursor): PatternCost & { readonly isAnchored: boolean } {
  let [ways, size, isAnchored] = [0, 0, true]
  for (;;) {
    isAnchored &&= cursor.source[cursor.at] === '^'
    const one = sequence(cursor)
    ways += one.ways
    size += one.size
    if (cursor.source[cursor.at] !== '|') return { ways, size, isAnchored }
    cursor.at += 1
  }
}

function sequence(cursor: Cursor): PatternCost {
  let [ways, size] = [1, 1]
  while (cursor.at < cursor.source.length && !/[|)]/.test(cursor.source[cursor.at] ?? '')) {
    const one = repeated(term(cursor), repetitionAt(cursor), cursor.charactersMax)
    ways *= one.ways
    size += one.size
  }
  return { ways, size }
}

function term(cursor: Cursor): PatternCost {
  if (take(cursor, groupStart) === undefined) {
    take(cursor, atom)
    return single
  }
  const { ways, size } = alternatives(cursor)
  cursor.at += 1
  return { ways, size }
}

function repetitionAt(cursor: Cursor): Repetition {
  const found = take(cursor, repetition)
  if (found === undefined) return { min: 1, max: 1 }
  const [text = '', least = '0', comma, most = ''] = found
  if (text.startsWith('{')) {
    const min = Number(least)
    return { min, max: comma === undefined ? min : most === '' ? Number.POSITIVE_INFINITY : Number(most) }
  }
  return { min: text.startsWith('+') ? 1 : 0, max: text.startsWith('?') ? 1 : Number.POSITIVE_INFINITY }
}

function repeated({ ways, size }: PatternCost, { min, max }: Repetition, charactersMax: number): PatternCost {
  // Who matches nothing is not repeated beyond the least number, so that a text has no room for more than its characters.
  const most = Math.max(min, Math.min(max, charactersMax))
  const written = size * Math.max(1, Number.isFinite(max) ? max : min + 1)
  return { ways: (most - min + 1) * ways ** most, size: written }
}

function take(cursor: Cursor, pattern: RegExp): RegExpExecArray | undefined {
  pattern.lastIndex = cursor.at
  const found = pattern.exec(cursor.source) ?? undefined
  if (found !== undefined) cursor.at += Math.max(1, found[0].length)
  return found
}
