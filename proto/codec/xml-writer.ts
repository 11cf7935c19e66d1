/**
 * Writers of XML for answers of AWS Query: straight to text, member by member of the model, so that what isn't modelled
 * can't leave. A value of the wrong type is a bug of ours, thrown as a plain Error before a wrong byte is sent.
 *
 * Source: Smithy 2.0, "AWS query protocol".
 */
import type { ShapeModel } from '../model/model.ts'
import { writeBase64 } from './base64.ts'
import { createCompiler } from './shape.ts'
import type { Builders, Compile, Member } from './shape.ts'

/** Writes what stands between the tags. `name` is the member's, for messages alone. */
export type XmlWriter = (value: unknown, name: string) => string

/** The instants that ISO 8601 writes with four digits of a year, in milliseconds: years 0 to 9999. */
const instantMinMs = -62_167_219_200_000
const instantMaxMs = 253_402_300_799_999

export function createXmlWriters(model: ShapeModel): Compile<XmlWriter> {
  const builders: Builders<XmlWriter> = {
    structure: (_name, members) => structureWriter(members),
    union: (_name, members) => structureWriter(members),
    list: listWriter,
    map: mapWriter,
    string: () => writeText,
    enum: () => writeText,
    integer: () => writeNumber,
    double: () => writeNumber,
    boolean: () => writeBoolean,
    timestamp: () => writeTimestamp,
    blob: () => writeBlob,
    document: () => notTaught(),
  }
  return createCompiler(model, builders)
}

/**
 * Text between tags. XML has no form for control characters, lone surrogates and the two non-characters: each becomes
 * U+FFFD. A carriage return is written as a reference, because a parser takes a plain one for a line's end.
 */
export function escapeXml(text: string): string {
  if (!/[^ !#-%'-;=?-~]/.test(text)) return text
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
    .replaceAll('\r', '&#xD;')
}

/** `<Name>content</Name>`, and `<Name/>` where there is none. `name` is a shape's or a member's: never a caller's text. */
export function element(name: string, content: string): string {
  return content === '' ? `<${name}/>` : `<${name}>${content}</${name}>`
}

function notTaught(): never {
  throw new Error('A document has no form in AWS Query.')
}

function structureWriter(members: readonly Member<XmlWriter>[]): XmlWriter {
  return (value, place) => {
    const source = requireObject(value, place, 'a structure')
    let text = ''
    for (const { name, value: write } of members) {
      const member = source[name]
      if (member !== undefined && member !== null) text += element(name, write(member, name))
    }
    return text
  }
}

function listWriter(write: XmlWriter): XmlWriter {
  return (value, place) => {
    if (!Array.isArray(value)) throw bug(place, 'a list', value)
    let text = ''
    for (const item of value as readonly unknown[]) {
      if (item !== undefined && item !== null) text += element('member', write(item, place))
    }
    return text
  }
}

function mapWriter(write: XmlWriter): XmlWriter {
  return (value, place) => {
    let text = ''
    for (const [key, item] of Object.entries(requireObject(value, place, 'a map'))) {
      if (item === undefined || item === null) continue
      text += element('entry', element('key', escapeXml(key)) + element('value', write(item, place)))
    }
    return text
  }
}

function requireObject(value: unknown, place: string, expected: string): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw bug(place, expected, value)
  return value as Readonly<Record<string, unknown>>
}

function writeText(value: unknown, place: string): string {
  if (typeof value !== 'string') throw bug(place, 'a string', value)
  return escapeXml(value)
}

function writeNumber(value: unknown, place: string): string {
  if (typeof value !== 'number' || !Number.isFinite(value)) throw bug(place, 'a finite number', value)
  return String(value)
}

function writeBoolean(value: unknown, place: string): string {
  if (typeof value !== 'boolean') throw bug(place, 'a boolean', value)
  return value ? 'true' : 'false'
}

/** Epoch milliseconds become ISO 8601 in UTC, with milliseconds only where there are some. */
function writeTimestamp(value: unknown, place: string): string {
  if (typeof value !== 'number' || !(value >= instantMinMs && value <= instantMaxMs)) {
    throw bug(place, 'an instant of the years 0 to 9999', value)
  }
  return new Date(Math.round(value)).toISOString().replace('.000Z', 'Z')
}

function writeBlob(value: unknown, place: string): string {
  if (!(value instanceof Uint8Array)) throw bug(place, 'bytes', value)
  return writeBase64(value)
}

function bug(place: string, expected: string, found: unknown): Error {
  return new Error(`Bug: '${place}' must be ${expected} by the model, and the code made it ${typeof found}.`)
}
