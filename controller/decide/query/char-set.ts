/** Sets of code points as ascending ranges, both ends included, that neither touch nor overlap. */
export type CharSet = readonly (readonly [number, number])[]

const codeMax = 0x10ffff

export function characters(...codes: readonly number[]): CharSet {
  return union(codes.map((code) => [[code, code]]))
}

export function union(sets: readonly CharSet[]): CharSet {
  const sorted = sets.flat().sort((left, right) => left[0] - right[0])
  const merged: [number, number][] = []
  for (const [first, last] of sorted) {
    const before = merged.at(-1)
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(before[1], last)
    else merged.push([first, last])
  }
  return merged
}

export function complement(set: CharSet): CharSet {
  const gaps: [number, number][] = []
  let next = 0
  for (const [first, last] of set) {
    if (first > next) gaps.push([next, first - 1])
    next = last + 1
  }
  if (next <= codeMax) gaps.push([next, codeMax])
  return gaps
}

/** With the letters A to Z and a to z in either case, as Java folds without its flag u. */
export function foldCase(set: CharSet): CharSet {
  const shifted = (first: number, last: number, by: number): CharSet =>
    set.flatMap(([from, to]) => {
      const start = Math.max(from, first)
      const end = Math.min(to, last)
      return start <= end ? [[start + by, end + by] as const] : []
    })
  return union([set, shifted(0x41, 0x5a, 0x20), shifted(0x61, 0x7a, -0x20)])
}

export function includes(set: CharSet, code: number): boolean {
  for (const [first, last] of set) {
    if (code < first) return false
    if (code <= last) return true
  }
  return false
}

const digits: CharSet = [[0x30, 0x39]]
const upper: CharSet = [[0x41, 0x5a]]
const lower: CharSet = [[0x61, 0x7a]]
const letters = union([upper, lower])
const wordCharacters = union([letters, digits, characters(0x5f)])
const blanks: CharSet = union([[[9, 13]], characters(0x20)])
const punctuation: CharSet = [
  [0x21, 0x2f],
  [0x3a, 0x40],
  [0x5b, 0x60],
  [0x7b, 0x7e],
]

const predefined: Readonly<Record<string, CharSet>> = {
  d: digits,
  D: complement(digits),
  w: wordCharacters,
  W: complement(wordCharacters),
  s: blanks,
  S: complement(blanks),
}

/** `\d`, `\w`, `\s` and their opposites, as Java has them without its flag U: ASCII. */
export function classOf(letter: string): CharSet | undefined {
  return predefined[letter]
}

/** Java's `\p{...}` of US-ASCII. */
export const posixClasses: ReadonlyMap<string, CharSet> = new Map([
  ['Lower', lower],
  ['Upper', upper],
  ['ASCII', [[0, 0x7f]]],
  ['Alpha', letters],
  ['Digit', digits],
  ['Alnum', union([letters, digits])],
  ['Punct', punctuation],
  ['Graph', [[0x21, 0x7e]]],
  ['Print', [[0x20, 0x7e]]],
  ['Blank', characters(0x09, 0x20)],
  [
    'Cntrl',
    [
      [0, 0x1f],
      [0x7f, 0x7f],
    ],
  ],
  [
    'XDigit',
    [
      [0x30, 0x39],
      [0x41, 0x46],
      [0x61, 0x66],
    ],
  ],
  ['Space', blanks],
])

/** What ends a line in Java, and so isn't met by a dot. */
export const lineEnds = characters(0x0a, 0x0d, 0x85, 0x2028, 0x2029)
export const dot = complement(lineEnds)
export const dotAll = complement([])

export function isWordCharacter(code: number | undefined): boolean {
  return code !== undefined && includes(wordCharacters, code)
}
