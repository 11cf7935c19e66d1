/**
 * Readers of AWS Query: from a form's pairs to a value of the model. A list is `Tags.member.1=`, a map `X.entry.1.key=`
 * and `X.entry.1.value=`, a structure `X.Member=`, an empty list `X=`; every value is text. A reader goes only where the
 * model goes, and what it costs is bounded by the pairs that came: an index is a name to sort by, never a length.
 *
 * Source: Smithy 2.0, "AWS query protocol"; refusals are in the words of AWS's validation.
 */
import { ApiError } from '../errors.ts'
import type { ShapeModel } from '../model/model.ts'
import { readBase64 } from './base64.ts'
import { createCompiler } from './shape.ts'
import type { Builders, Compile, Member } from './shape.ts'

/** A form as it came, decoded: no name stands there twice. */
export type Form = ReadonlyMap<string, string>

/** What stands under one name: text, or what the name goes on with after a dot. */
export interface FormNode {
  text: string | undefined
  readonly members: Map<string, FormNode>
}

/** Where a value stands, for messages alone: linked, so that a path costs nothing until it is told. */
export interface FormPlace {
  readonly within: FormPlace | undefined
  readonly key: string
}

export type QueryReader = (node: FormNode, place: FormPlace | undefined) => unknown

/** The largest call of IAM has some hundred pairs. */
export const formPairsMax = 5_000
/** IAM and STS go six deep, ELBv2 eight. */
export const formDepthMax = 12

/** The latest instant that a Date can hold, in milliseconds. */
const instantMaxMs = 8.64e15

/** Throws ApiError SerializationException for broken percent-encoding, a name that stands there twice, and too many pairs. */
export function parseForm(text: string): Form {
  const form = new Map<string, string>()
  if (text === '') return form
  // One more than the bound, so that a body of ampersands costs no more than a full one.
  const pairs = text.split('&', formPairsMax + 1)
  if (pairs.length > formPairsMax) throw malformed(`The request has more than ${formPairsMax} parameters.`)
  for (const pair of pairs) {
    if (pair === '') continue
    const equals = pair.indexOf('=')
    const name = decode(equals === -1 ? pair : pair.slice(0, equals))
    if (form.has(name)) throw malformed(`The parameter ${shorten(name)} is given twice.`)
    form.set(name, equals === -1 ? '' : decode(pair.slice(equals + 1)))
  }
  return form
}

/** The form as a tree along the dots of its names. Throws ApiError SerializationException for one that is nested too deep. */
export function treeOf(form: Form): FormNode {
  const root: FormNode = { text: undefined, members: new Map() }
  for (const [name, text] of form) {
    const path = name.split('.', formDepthMax + 1)
    if (path.length > formDepthMax) throw malformed(`${shorten(name)} is nested more than ${formDepthMax} levels deep.`)
    let node = root
    for (const key of path) {
      let child = node.members.get(key)
      if (child === undefined) {
        child = { text: undefined, members: new Map() }
        node.members.set(key, child)
      }
      node = child
    }
    node.text = text
  }
  return root
}

/** Readers throw ApiError: SerializationException for a wrong form, ValidationError for what is missing or not an enum's. */
export function createQueryReaders(model: ShapeModel): Compile<QueryReader> {
  const builders: Builders<QueryReader> = {
    structure: (_name, members) => structureReader(members),
    union: (_name, members) => unionReader(structureReader(members)),
    list: listReader,
    map: mapReader,
    string: () => readText,
    enum: enumReader,
    integer: () => readInteger,
    double: () => readDouble,
    boolean: () => readBoolean,
    timestamp: () => readTimestamp,
    blob: () => readBlob,
    document: () => notTaught(),
  }
  return createCompiler(model, builders)
}

function notTaught(): never {
  throw new Error('A document has no form in AWS Query.')
}

function structureReader(members: readonly Member<QueryReader>[]): QueryReader {
  return (node, place) => {
    if (node.text !== undefined && node.text !== '') throw wrongForm(place, 'a structure, with members after a dot')
    const result: Record<string, unknown> = {}
    for (const { name, required, value: read } of members) {
      const member = node.members.get(name)
      if (member !== undefined) result[name] = read(member, { within: place, key: name })
      else if (required) throw invalid('null', { within: place, key: name }, 'Member must not be null')
    }
    return result
  }
}

function unionReader(read: QueryReader): QueryReader {
  return (node, place) => {
    const result = read(node, place) as Record<string, unknown>
    const count = Object.keys(result).length
    if (count === 1) return result
    throw invalid(`${count} members`, place, 'Member must have exactly one member')
  }
}

function listReader(readElement: QueryReader): QueryReader {
  return (node, place) => {
    if (node.members.size === 0 && node.text === '') return []
    const elements = numbered(node, 'member', place)
    return elements.map(([index, element]) => readElement(element, { within: place, key: `${index}.member` }))
  }
}

function mapReader(readValue: QueryReader): QueryReader {
  return (node, place) => {
    if (node.members.size === 0 && node.text === '') return {}
    const entries = new Map<string, unknown>()
    for (const [index, entry] of numbered(node, 'entry', place)) {
      const here = { within: place, key: `${index}.entry` }
      const keyNode = entry.members.get('key')
      const valueNode = entry.members.get('value')
      if (keyNode === undefined || valueNode === undefined) throw wrongForm(here, 'an entry of a key and a value')
      const key = readText(keyNode, { within: here, key: 'key' })
      if (entries.has(key)) throw malformed(`${pathOf(here)} has a key that is given twice.`)
      entries.set(key, readValue(valueNode, { within: here, key: 'value' }))
    }
    // fromEntries defines its members, so that a key such as __proto__ is a key like any other.
    return Object.fromEntries(entries)
  }
}

/** The elements in the order of their numbers, which may have gaps. `Tags.1` and `Tags.item.1` are other protocols. */
function numbered(
  node: FormNode,
  word: string,
  place: FormPlace | undefined,
): readonly (readonly [number, FormNode])[] {
  const inside = node.members.get(word)
  const isRight = (node.text === undefined || node.text === '') && node.members.size === 1
  if (!isRight || inside === undefined || inside.text !== undefined) {
    throw wrongForm(place, `given as ${word}.1, ${word}.2 and so on`)
  }
  const elements = [...inside.members].map(([index, element]) => {
    if (!/^[1-9]\d{0,8}$/.test(index)) throw wrongForm(place, `numbered from 1, and has '${shorten(index)}'`)
    return [Number(index), element] as const
  })
  return elements.toSorted(([one], [other]) => one - other)
}

function readText(node: FormNode, place: FormPlace | undefined): string {
  if (node.text !== undefined && node.members.size === 0) return node.text
  throw wrongForm(place, 'a plain value')
}

function enumReader(values: readonly string[]): QueryReader {
  const allowed = new Set(values)
  return (node, place) => {
    const text = readText(node, place)
    if (allowed.has(text)) return text
    throw invalid(`'${shorten(text)}'`, place, `Member must satisfy enum value set: [${values.join(', ')}]`)
  }
}

function readInteger(node: FormNode, place: FormPlace | undefined): number {
  const text = readText(node, place)
  const number = /^[+-]?\d{1,16}$/.test(text) ? Number(text) : Number.NaN
  if (!Number.isSafeInteger(number)) throw wrongForm(place, 'a whole number')
  // Minus nothing is nothing.
  return number === 0 ? 0 : number
}

function readDouble(node: FormNode, place: FormPlace | undefined): number {
  const text = readText(node, place)
  const isNumber = text.length <= 64 && /^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$/.test(text)
  const number = isNumber ? Number(text) : Number.NaN
  if (!Number.isFinite(number)) throw wrongForm(place, 'a number')
  return number
}

function readBoolean(node: FormNode, place: FormPlace | undefined): boolean {
  const text = readText(node, place)
  if (text !== 'true' && text !== 'false') throw wrongForm(place, 'true or false')
  return text === 'true'
}

/** ISO 8601; seconds since 1970 are tolerated. Answers epoch milliseconds. */
function readTimestamp(node: FormNode, place: FormPlace | undefined): number {
  const text = readText(node, place)
  const isIso = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$/.test(text)
  const isSeconds = /^-?\d{1,13}(\.\d{1,9})?$/.test(text)
  const atMs = isIso ? Date.parse(text) : isSeconds ? Math.round(Number(text) * 1000) : Number.NaN
  if (Math.abs(atMs) <= instantMaxMs) return atMs
  throw wrongForm(place, 'a timestamp in ISO 8601, such as 2026-01-31T12:00:00Z')
}

function readBlob(node: FormNode, place: FormPlace | undefined): Uint8Array {
  const bytes = readBase64(readText(node, place))
  if (bytes === undefined) throw wrongForm(place, 'bytes in base64')
  return bytes
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text.replaceAll('+', ' '))
  } catch (error) {
    throw malformed("The request can't be read: its percent-encoding is broken or not UTF-8.", error)
  }
}

/** AWS's own form: `tags.1.member.key`. */
function pathOf(place: FormPlace | undefined): string {
  if (place === undefined) return ''
  const before = pathOf(place.within)
  const name = place.key.slice(0, 1).toLowerCase() + place.key.slice(1)
  return before === '' ? name : `${before}.${name}`
}

function invalid(value: string, place: FormPlace | undefined, constraint: string): ApiError {
  const where = pathOf(place)
  return new ApiError(
    'ValidationError',
    `1 validation error detected: Value ${value} at '${where}' failed to satisfy constraint: ${constraint}`,
  )
}

/** Names where and what was awaited, and never the value, which may be a secret. */
function wrongForm(place: FormPlace | undefined, expected: string): ApiError {
  const path = pathOf(place)
  return malformed(`${path === '' ? 'The request' : path} must be ${expected}.`)
}

function malformed(message: string, cause?: unknown): ApiError {
  return new ApiError('SerializationException', message, cause === undefined ? undefined : { cause })
}

function shorten(text: string): string {
  return text.length > 80 ? `${text.slice(0, 80)}...` : text
}
