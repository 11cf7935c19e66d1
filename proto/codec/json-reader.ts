/**
 * Readers of awsJson: from what JSON.parse gave to a value of the model, checked on the way. A reader goes only where
 * the model goes, so that a body's depth is the model's and what isn't modelled is never looked at.
 */
import { ApiError } from '../errors.ts'
import type { ErrorCode } from '../errors.ts'
import type { ShapeModel } from '../model/model.ts'
import { readBase64 } from './base64.ts'
import { rightFormOf } from './right-form.ts'
import { createCompiler } from './shape.ts'
import type { Builders, Compile, Member } from './shape.ts'

/** Where a value stands, for messages alone: linked, so that a path costs nothing until it is told. */
export interface Place {
  readonly within: Place | undefined
  /** A member's name, or an index; at the root the code for what is missing or not among an enum's values. */
  readonly key: string | number
}

export type Reader = (value: unknown, within: Place, key: string | number) => unknown

/** How deep a document (free JSON inside a shape) may be nested. */
export const documentDepthMax = 64

/** The latest instant that a Date can hold, in milliseconds. */
const instantMaxMs = 8.64e15

/** Readers throw ApiError: SerializationException for a wrong type, the root's code for a missing or unknown value. */
export function createReaders(model: ShapeModel): Compile<Reader> {
  const builders: Builders<Reader> = {
    structure: (_name, members) => structureReader(members),
    union: (name, members) => unionReader(name, structureReader(members)),
    list: listReader,
    map: mapReader,
    string: () => readString,
    enum: enumReader,
    integer: () => readInteger,
    double: () => readNumber,
    boolean: () => readBoolean,
    timestamp: () => readTimestamp,
    blob: () => readBlob,
    document: () => readDocument,
  }
  return createCompiler(model, builders)
}

/** The root of a value; `code` is the error for what is missing or not among an enum's values. */
export function rootPlace(code: ErrorCode): Place {
  return { within: undefined, key: code }
}

function structureReader(members: readonly Member<Reader>[]): Reader {
  return (value, within, key) => {
    if (!isJsonObject(value)) throw wrongType(within, key, 'an object', value)
    const here = { within, key }
    const result: Record<string, unknown> = {}
    for (const { name, required, value: read } of members) {
      const member = value[name]
      if (member !== undefined && member !== null) result[name] = read(member, here, name)
      else if (required) throw refusal(here, `${pathOf(here, name)} should not be null or empty.`)
    }
    return result
  }
}

function unionReader(shape: string, read: Reader): Reader {
  return (value, within, key) => {
    const result = read(value, within, key) as Record<string, unknown>
    const count = Object.keys(result).length
    if (count !== 1) {
      throw refusal(within, `${pathOf(within, key)} (${shape}) must have exactly one member, and has ${count}.`)
    }
    return result
  }
}

function listReader(readElement: Reader): Reader {
  return (value, within, key) => {
    if (!Array.isArray(value)) throw wrongType(within, key, 'a list', value)
    const here = { within, key }
    return value.map((element: unknown, index) => readElement(element, here, index))
  }
}

function mapReader(readValue: Reader): Reader {
  return (value, within, key) => {
    if (!isJsonObject(value)) throw wrongType(within, key, 'a map', value)
    const here = { within, key }
    // fromEntries defines its members, so that a key such as __proto__ is a key like any other.
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, readValue(item, here, name)]))
  }
}

function readString(value: unknown, within: Place, key: string | number): string {
  if (typeof value !== 'string') throw wrongType(within, key, 'a string', value)
  return value
}

function enumReader(values: readonly string[]): Reader {
  const allowed = new Set<unknown>(values)
  return (value, within, key) => {
    const text = readString(value, within, key)
    if (allowed.has(text)) return text
    throw refusal(within, `${pathOf(within, key)} must be one of ${values.join(', ')}, not '${text.slice(0, 80)}'.`)
  }
}

function readInteger(value: unknown, within: Place, key: string | number): number {
  const number = readNumber(value, within, key)
  if (Number.isSafeInteger(number)) return number
  throw wrongType(within, key, 'a whole number', value)
}

function readNumber(value: unknown, within: Place, key: string | number): number {
  // JSON.parse takes 1e999 for Infinity.
  if (typeof value !== 'number' || !Number.isFinite(value)) throw wrongType(within, key, 'a number', value)
  return value
}

function readBoolean(value: unknown, within: Place, key: string | number): boolean {
  if (typeof value !== 'boolean') throw wrongType(within, key, 'true or false', value)
  return value
}

/** Epoch seconds with a fraction, as awsJson has it; ISO 8601 is tolerated. Answers epoch milliseconds. */
function readTimestamp(value: unknown, within: Place, key: string | number): number {
  const atMs = typeof value === 'number' ? Math.round(value * 1000) : parseIsoDate(value)
  if (Math.abs(atMs) <= instantMaxMs) return atMs
  throw wrongType(within, key, 'a timestamp in seconds since 1970', value)
}

function parseIsoDate(value: unknown): number {
  const iso = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{1,9})?(Z|[+-]\d{2}:\d{2})$/
  return typeof value === 'string' && iso.test(value) ? Date.parse(value) : Number.NaN
}

function readBlob(value: unknown, within: Place, key: string | number): Uint8Array {
  const bytes = typeof value === 'string' ? readBase64(value) : undefined
  if (bytes === undefined) throw wrongType(within, key, 'bytes in base64', value)
  return bytes
}

function readDocument(value: unknown, within: Place, key: string | number): unknown {
  if (!isWithinDepth(value, documentDepthMax)) {
    throw serialization(`${pathOf(within, key)} is nested deeper than ${documentDepthMax} levels. Send it flatter.`)
  }
  return value
}

function isWithinDepth(value: unknown, depth: number): boolean {
  if (typeof value !== 'object' || value === null) return true
  if (depth === 0) return false
  return Object.values(value).every((item) => isWithinDepth(item, depth - 1))
}

function isJsonObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `containerDefinitions[0].portMappings[1].protocol`; the root has no name of its own. */
function pathOf(within: Place, key: string | number): string {
  if (within.within === undefined) return typeof key === 'number' ? `[${key}]` : key
  const before = pathOf(within.within, within.key)
  if (typeof key === 'number') return `${before}[${key}]`
  const name = key.slice(0, 80)
  return before === '' ? name : `${before}.${name}`
}

function refusal(within: Place, message: string): ApiError {
  let root = within
  while (root.within !== undefined) root = root.within
  return new ApiError(root.key as ErrorCode, withRightForm(message, within))
}

/** With how the member is written that the place is in, or is, where that is known. */
function withRightForm(message: string, place: Place): string {
  for (let at: Place | undefined = place; at?.within !== undefined; at = at.within) {
    const form = typeof at.key === 'string' ? rightFormOf(at.key) : undefined
    if (form !== undefined) return `${message} ${form}`
  }
  return message
}

function wrongType(within: Place, key: string | number, expected: string, found: unknown): ApiError {
  const path = pathOf(within, key)
  const message = `${path === '' ? 'The request body' : path} must be ${expected}, not ${describe(found)}.`
  return serialization(withRightForm(message, { within, key }))
}

function serialization(message: string): ApiError {
  return new ApiError('SerializationException', message)
}

/** Names the kind of a value and never the value, which may be a secret. */
function describe(value: unknown): string {
  if (value === null || value === undefined) return 'null'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'an object'
  if (typeof value === 'number') return describeNumber(value)
  return typeof value === 'string' ? 'this string' : 'true or false'
}

function describeNumber(value: number): string {
  if (Math.abs(value) > Number.MAX_SAFE_INTEGER) return 'a number beyond all bounds'
  return Number.isInteger(value) ? 'a number' : 'a fraction'
}
