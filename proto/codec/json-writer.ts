/**
 * Writers of awsJson: straight to text, member by member of the model, so that what isn't modelled can't leave. A value
 * of the wrong type is a bug of ours, thrown as a plain Error before a wrong byte is sent.
 */
import type { ShapeModel } from '../model/model.ts'
import { writeBase64 } from './base64.ts'
import { createCompiler } from './shape.ts'
import type { Builders, Compile, Member } from './shape.ts'

/** `name` is the member's, for messages alone. */
export type Writer = (value: unknown, name: string) => string

export function createWriters(model: ShapeModel): Compile<Writer> {
  const builders: Builders<Writer> = {
    structure: (_name, members) => structureWriter(members),
    union: (_name, members) => structureWriter(members),
    list: listWriter,
    map: mapWriter,
    string: () => writeString,
    enum: () => writeString,
    integer: () => writeNumber,
    double: () => writeNumber,
    boolean: () => writeBoolean,
    timestamp: () => writeTimestamp,
    blob: () => writeBlob,
    document: () => writeDocument,
  }
  return createCompiler(model, builders)
}

function structureWriter(members: readonly Member<Writer>[]): Writer {
  const fields = members.map(({ name, value }) => ({ name, prefix: `${JSON.stringify(name)}:`, write: value }))
  return (value, place) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bug(place, 'a structure', value)
    const source = value as Readonly<Record<string, unknown>>
    let text = ''
    for (const { name, prefix, write } of fields) {
      const member = source[name]
      if (member === undefined || member === null) continue
      text += (text === '' ? '{' : ',') + prefix + write(member, name)
    }
    return text === '' ? '{}' : `${text}}`
  }
}

function listWriter(write: Writer): Writer {
  return (value, place) => {
    if (!Array.isArray(value)) throw bug(place, 'a list', value)
    let text = ''
    for (const element of value as readonly unknown[]) {
      if (element === undefined || element === null) continue
      text += (text === '' ? '[' : ',') + write(element, place)
    }
    return text === '' ? '[]' : `${text}]`
  }
}

function mapWriter(write: Writer): Writer {
  return (value, place) => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bug(place, 'a map', value)
    let text = ''
    for (const [key, item] of Object.entries(value)) {
      if (item === undefined || item === null) continue
      text += `${text === '' ? '{' : ','}${JSON.stringify(key)}:${write(item, key)}`
    }
    return text === '' ? '{}' : `${text}}`
  }
}

function writeString(value: unknown, place: string): string {
  if (typeof value !== 'string') throw bug(place, 'a string', value)
  return JSON.stringify(value)
}

function writeNumber(value: unknown, place: string): string {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw bug(place, 'a finite number', value)
  return String(value)
}

function writeBoolean(value: unknown, place: string): string {
  if (typeof value !== 'boolean') throw bug(place, 'a boolean', value)
  return value ? 'true' : 'false'
}

/** Epoch milliseconds become seconds with three decimals at most. */
function writeTimestamp(value: unknown, place: string): string {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw bug(place, 'an instant in milliseconds', value)
  return String(Math.round(value) / 1000)
}

function writeBlob(value: unknown, place: string): string {
  if (!(value instanceof Uint8Array)) throw bug(place, 'bytes', value)
  return `"${writeBase64(value)}"`
}

function writeDocument(value: unknown, place: string): string {
  const text: string | undefined = JSON.stringify(value)
  if (text === undefined) throw bug(place, 'a JSON value', value)
  return text
}

function bug(place: string, expected: string, found: unknown): Error {
  return new Error(`Bug: '${place}' must be ${expected} by the model, and the code made it ${typeof found}.`)
}
