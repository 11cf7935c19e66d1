/** Values that somebody sends who means no good, or whose program is broken. */
import * as fc from 'fast-check'

/** What parsers stumble over: signs of every syntax that Gantry reads, names that prototypes have, numbers at the edges. */
const morsels = [
  '',
  ' ',
  '\0',
  '\r\n',
  '\n',
  '"',
  "'",
  '\\',
  '/',
  '../',
  '%',
  '%00',
  '%ff',
  '+',
  '&',
  '=',
  ';',
  ',',
  ':',
  '.',
  '*',
  '?',
  '(',
  ')',
  '((((((((',
  '[',
  ']',
  '[[[[[[[[',
  '{',
  '}',
  '<',
  '>',
  ']]>',
  '<!DOCTYPE a [<!ENTITY b "c">]>',
  '&b;',
  '${aws:username}',
  '${',
  '#',
  '-',
  '-1',
  '0',
  '00',
  '1e999',
  '9007199254740993',
  '999999999',
  '2147483648',
  'NaN',
  'null',
  'true',
  '__proto__',
  'constructor',
  'prototype',
  'toString',
  'hasOwnProperty',
  'arn:aws:',
  'arn:aws:iam::123456789012:role/a',
  'member.1',
  'é',
  '\u2028',
  '\ufeff',
  '\ufffe',
  '😀',
  '\ud800',
  '\u0130',
] as const

/** Short and strange, or the same again and again until a step too many for each sign is felt. */
export function hostileText(more: readonly string[] = []): fc.Arbitrary<string> {
  const piece = fc.oneof(
    { arbitrary: fc.constantFrom(...morsels, ...more), weight: 4 },
    { arbitrary: fc.string({ maxLength: 12 }), weight: 2 },
    { arbitrary: fc.string({ unit: 'binary', maxLength: 8 }), weight: 1 },
  )
  return fc.oneof(
    { arbitrary: fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join('')), weight: 30 },
    { arbitrary: longText(piece), weight: 1 },
  )
}

/** Up to 64 KiB of one thing, with something else at its ends: what a regular expression takes back step by step. */
function longText(piece: fc.Arbitrary<string>): fc.Arbitrary<string> {
  return fc.tuple(piece, piece, piece, fc.nat({ max: 65_536 })).map(([before, repeated, after, length]) => {
    const times = repeated === '' ? 0 : Math.floor(length / repeated.length)
    return before + repeated.repeat(times) + after
  })
}

/** JSON of any kind, a few levels deep. Now and then hundreds of levels. */
export function hostileJson(): fc.Arbitrary<unknown> {
  const text = hostileText()
  const number = fc.constantFrom(
    0,
    -0,
    -1,
    0.5,
    1,
    255,
    65_536,
    2 ** 31,
    2 ** 53,
    2 ** 53 + 2,
    -(2 ** 63),
    1e300,
    8.64e15 + 1,
  )
  const simple = fc.oneof(text, number, fc.boolean(), fc.constant(null))
  const { tree } = fc.letrec<{ tree: unknown }>((tie) => ({
    tree: fc.oneof(
      { maxDepth: 3, depthSize: 'small', withCrossShrink: true },
      simple,
      fc.array(tie('tree'), { maxLength: 4 }),
      fc.dictionary(text, tie('tree'), { maxKeys: 4 }),
    ),
  }))
  const deep = fc.tuple(fc.integer({ min: 50, max: 2000 }), fc.boolean()).map(([levels, isList]) => {
    let value: unknown = 'deep'
    for (let level = 0; level < levels; level += 1) value = isList ? [value] : { a: value }
    return value
  })
  return fc.oneof({ arbitrary: tree, weight: 40 }, { arbitrary: deep, weight: 1 })
}

interface Edit {
  readonly at: number
  readonly remove: number
  readonly insert: string
  readonly times: number
}

/** The text with pieces taken out, put in and repeated. No edits: the text as it is. */
export function mutated(text: fc.Arbitrary<string>, more: readonly string[] = []): fc.Arbitrary<string> {
  const edit: fc.Arbitrary<Edit> = fc.record({
    at: fc.nat({ max: 100_000 }),
    remove: fc.oneof({ arbitrary: fc.nat({ max: 4 }), weight: 9 }, { arbitrary: fc.nat({ max: 400 }), weight: 1 }),
    insert: fc.oneof(fc.constantFrom(...morsels, ...more), fc.string({ unit: 'binary', maxLength: 4 })),
    times: fc.oneof({ arbitrary: fc.constant(1), weight: 30 }, { arbitrary: fc.nat({ max: 5000 }), weight: 1 }),
  })
  return fc.tuple(text, fc.array(edit, { maxLength: 4 })).map(([whole, edits]) => edits.reduce(applyEdit, whole))
}

function applyEdit(text: string, { at, remove, insert, times }: Edit): string {
  const start = at % (text.length + 1)
  return text.slice(0, start) + insert.repeat(times) + text.slice(start + remove)
}

/** The bytes with bits turned over, cut off, and strange bytes between. */
export function mutatedBytes(text: fc.Arbitrary<string>): fc.Arbitrary<Buffer> {
  const edit = fc.tuple(fc.nat({ max: 100_000 }), fc.integer({ min: 1, max: 255 }), fc.nat({ max: 3 }))
  return fc.tuple(text, fc.array(edit, { maxLength: 6 })).map(([whole, edits]) => {
    let bytes = Buffer.from(whole)
    for (const [at, value, how] of edits) {
      const start = at % (bytes.length + 1)
      const before = bytes.subarray(0, start)
      if (how === 0) bytes = Buffer.concat([before, Buffer.from([value]), bytes.subarray(start)])
      else if (how === 1 && start < bytes.length) bytes[start] = (bytes[start] ?? 0) ^ value
      else if (how === 2) bytes = Buffer.concat([before, bytes.subarray(start + value)])
      else if (at % 7 === 0) bytes = Buffer.from(before)
    }
    return bytes
  })
}

/** Whatever stands at some places of a value, in place of what stood there. */
export function corrupted(value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  const edit = fc.tuple(fc.nat({ max: 40 }), fc.oneof(hostileJson(), hostileText()))
  return fc
    .tuple(value, fc.array(edit, { maxLength: 2 }))
    .map(([whole, edits]) =>
      edits.reduce<unknown>((found, [at, replacement]) => replaceAt(found, { at, replacement }), whole),
    )
}

/** Counts through the value, and replaces what it comes to. */
function replaceAt(value: unknown, place: { at: number; readonly replacement: unknown }): unknown {
  place.at -= 1
  if (place.at === -1) return place.replacement
  if (value instanceof Uint8Array || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((item: unknown) => replaceAt(item, place))
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, replaceAt(member, place)]))
}
