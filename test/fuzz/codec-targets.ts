/** The codecs of all services: what is accepted is read the same again, what is refused is refused in the caller's terms. */
import * as fc from 'fast-check'
import { isDeepStrictEqual } from 'node:util'
import { queryWire } from '../../controller/api/wire-query.ts'
import { jsonWire, parseJson, type Wire } from '../../controller/api/wire-json.ts'
import type { RpcRequest } from '../../controller/api/rpc-request.ts'
import { createJsonCodec } from '../../proto/codec/json.ts'
import { createWriters } from '../../proto/codec/json-writer.ts'
import { createQueryCodec } from '../../proto/codec/query.ts'
import { parseForm } from '../../proto/codec/query-reader.ts'
import { createCompiler } from '../../proto/codec/shape.ts'
import type { Builders } from '../../proto/codec/shape.ts'
import { models } from '../../proto/model/model.ts'
import type { ServiceModel } from '../../proto/model/model.ts'
import { fuzzTarget } from './fuzz-target.ts'
import { corrupted, hostileJson, hostileText, mutated, mutatedBytes } from './hostile.ts'
import { modelValues } from './model-values.ts'
import { requireCleanPrototypes, takeOrRefuse } from './refusals.ts'
import { parseXml, type XmlElement } from './strict-xml.ts'

interface Service {
  readonly model: ServiceModel
  readonly wire: Wire
  readonly values: (shape: string) => fc.Arbitrary<unknown>
}

interface Asked {
  readonly service: string
  readonly operation: string
}

const isQuery = ({ service }: ServiceModel): boolean => service.protocol === 'aws.protocols#awsQuery'

function servicesOf(query: boolean): Readonly<Record<string, Service>> {
  const chosen = Object.entries(models).filter(([, model]) => isQuery(model) === query)
  return Object.fromEntries(
    chosen.map(([name, model]) => {
      const wire = query
        ? queryWire(createQueryCodec(model))
        : jsonWire(createJsonCodec(model, () => 'InvalidParameterException'))
      return [name, { model, wire, values: modelValues(model) }]
    }),
  )
}

const json = servicesOf(false)
const query = servicesOf(true)

function serviceOf({ service }: Asked): Service {
  const found = json[service] ?? query[service]
  if (found === undefined) throw new Error(`There is no service ${service}.`)
  return found
}

/** One of the values of each operation of each service. */
function ofEach<T>(
  services: Readonly<Record<string, Service>>,
  member: 'input' | 'output',
  valueOf: (value: fc.Arbitrary<unknown>, asked: Asked) => fc.Arbitrary<T>,
): fc.Arbitrary<Asked & { readonly value: T }> {
  return fc.oneof(
    ...Object.entries(services).flatMap(([service, { model, values }]) =>
      Object.entries(model.operations).map(([operation, shapes]) =>
        valueOf(values(shapes[member]), { service, operation }).map((value) => ({ service, operation, value })),
      ),
    ),
  )
}

function aRequest(contentType: string, body: Buffer): RpcRequest {
  return {
    requestId: 'request-1',
    method: 'POST',
    path: '/',
    headers: { 'content-type': contentType },
    body,
    sourceAddress: '127.0.0.1',
    isSecure: false,
  }
}

const writers = new Map(Object.entries(json).map(([name, { model }]) => [name, createWriters(model)]))

function judgeJson(asked: Asked, body: Buffer): boolean {
  const { model, wire } = serviceOf(asked)
  const readInput = (bytes: Buffer) => wire.readInput(asked.operation, aRequest('application/x-amz-json-1.1', bytes))
  const read = takeOrRefuse(() => readInput(body))
  requireCleanPrototypes()
  if (read === undefined) return false
  const shape = model.operations[asked.operation]?.input ?? ''
  const text = writers.get(asked.service)?.(shape)(read.value, asked.operation) ?? ''
  const again = readInput(Buffer.from(text))
  // Minus nothing is nothing in JSON; a lone half of a pair becomes U+FFFD in UTF-8.
  if (isDeepStrictEqual(again, read.value) || text.includes('\\ud')) return true
  if (JSON.stringify(again) !== JSON.stringify(read.value)) throw new Error(`It is read otherwise again: ${text}`)
  return true
}

export const jsonValues = fuzzTarget<Asked & { readonly value: unknown }>({
  name: 'json',
  share: 20,
  values: () => ofEach(json, 'input', corrupted),
  judge: (asked) => judgeJson(asked, Buffer.from(jsonText(asked.value))),
})

export const jsonBytes = fuzzTarget<Asked & { readonly value: Buffer }>({
  name: 'json-bytes',
  share: 10,
  values: () => ofEach(json, 'input', (value) => mutatedBytes(mutated(value.map(jsonText)))),
  judge: (asked) => judgeJson(asked, asked.value),
})

/** Any JSON at all, before it is known what it is for. */
export const jsonDocuments = fuzzTarget<Buffer>({
  name: 'json-documents',
  share: 3,
  values: () => mutatedBytes(hostileJson().map(jsonText)),
  judge: (bytes) => takeOrRefuse(() => parseJson(bytes)) !== undefined,
})

/** As a client writes it: bytes in base64. */
function jsonText(value: unknown): string {
  return JSON.stringify(value, (_name, member: unknown) =>
    member instanceof Uint8Array ? Buffer.from(member).toString('base64') : member,
  )
}

type Pair = readonly [name: string, value: string]

/** A value as a client writes it in a form; empty lists, maps and structures are `X=`. */
function pairsOf(value: unknown, prefix: string): readonly Pair[] {
  if (value instanceof Uint8Array) return [[prefix, Buffer.from(value).toString('base64')]]
  if (typeof value !== 'object' || value === null) return [[prefix, String(value)]]
  const inner: readonly Pair[] = Array.isArray(value)
    ? value.flatMap((item: unknown, index) => pairsOf(item, `${prefix}.member.${index + 1}`))
    : Object.entries(value).flatMap(([name, member]) => pairsOf(member, prefix === '' ? name : `${prefix}.${name}`))
  return inner.length === 0 && prefix !== '' ? [[prefix, '']] : inner
}

/** Instants as text: a reader takes seconds too. The shapes that are sent have no maps, which a test of the codec has. */
const formWriters = new Map(Object.entries(query).map(([name, { model }]) => [name, createCompiler(model, forForms())]))

function same(value: unknown): unknown {
  return value
}

function forForms(): Builders<(value: unknown) => unknown> {
  type Inner = readonly { readonly name: string; readonly value: (value: unknown) => unknown }[]
  const structure = (_name: string, members: Inner) => (value: unknown) =>
    Object.fromEntries(
      Object.entries(value as object).map(([name, member]) => [
        name,
        members.find((each) => each.name === name)?.value(member),
      ]),
    )
  return {
    structure,
    union: structure,
    list: (write) => (value) => (value as readonly unknown[]).map(write),
    map: () => same,
    string: () => same,
    enum: () => same,
    integer: () => same,
    double: () => same,
    boolean: () => same,
    timestamp: () => (value) => new Date(Number(value)).toISOString(),
    blob: () => same,
    document: () => same,
  }
}

/** As a client of a Query service sends it. */
export function formText(asked: Asked, value: unknown): string {
  const { model } = serviceOf(asked)
  const shape = model.operations[asked.operation]?.input ?? ''
  const pairs = pairsOf(formWriters.get(asked.service)?.(shape)(value), '')
  return [['Action', asked.operation], ['Version', model.service.apiVersion], ...pairs]
    .map(([name = '', text = '']) => `${encode(name)}=${encode(text)}`)
    .join('&')
}

function encode(text: string): string {
  return encodeURIComponent(text.toWellFormed())
}

function judgeForm(asked: Asked, body: Buffer): boolean {
  const { wire } = serviceOf(asked)
  const readInput = (bytes: Buffer) =>
    wire.readInput(asked.operation, aRequest('application/x-www-form-urlencoded', bytes))
  const read = takeOrRefuse(() => readInput(body))
  requireCleanPrototypes()
  if (read === undefined) return false
  const again = readInput(Buffer.from(formText(asked, read.value)))
  if (!isDeepStrictEqual(again, read.value)) throw new Error(`It is read otherwise again: ${fc.stringify(again)}`)
  return true
}

export const queryValues = fuzzTarget<Asked & { readonly value: string }>({
  name: 'query',
  share: 10,
  values: () =>
    ofEach(query, 'input', (value, asked) =>
      mutated(
        value.map((each) => formText(asked, each)),
        formWords,
      ),
    ),
  judge: (asked) => judgeForm(asked, Buffer.from(asked.value)),
})

const formWords = [
  '.member.',
  '.member.1=',
  '.member.2.',
  '.entry.1.key=',
  '.entry.1.value=',
  '&Tags.member.1.Key=a',
  '%2E',
]

export const queryBytes = fuzzTarget<Asked & { readonly value: Buffer }>({
  name: 'query-bytes',
  share: 5,
  values: () => ofEach(query, 'input', (value, asked) => mutatedBytes(value.map((each) => formText(asked, each)))),
  judge: (asked) => judgeForm(asked, asked.value),
})

export const queryForms = fuzzTarget<string>({
  name: 'query-forms',
  share: 2,
  values: () => hostileText(formWords),
  judge: (text) => takeOrRefuse(() => parseForm(text)) !== undefined,
})

type FromXml = (element: XmlElement) => unknown

const xmlReaders: Builders<FromXml> = {
  structure: (_name, members) => structureFromXml(members),
  union: (_name, members) => structureFromXml(members),
  list: (read) => (element) => element.children.map(read),
  map: (read) => (element) => Object.fromEntries(element.children.map((entry) => entryFromXml(entry, read))),
  string: () => (element) => element.text,
  enum: () => (element) => element.text,
  integer: () => (element) => Number(element.text),
  double: () => (element) => Number(element.text),
  boolean: () => (element) => element.text === 'true',
  timestamp: () => (element) => Date.parse(element.text),
  blob: () => (element) => new Uint8Array(Buffer.from(element.text, 'base64')),
  document: () => () => undefined,
}

function structureFromXml(members: readonly { readonly name: string; readonly value: FromXml }[]): FromXml {
  return ({ children }) =>
    Object.fromEntries(
      children.map((child) => {
        const member = members.find(({ name }) => name === child.name)
        if (member === undefined) throw new Error(`${child.name} is not modelled.`)
        return [child.name, member.value(child)]
      }),
    )
}

function entryFromXml({ children }: XmlElement, read: FromXml): readonly [string, unknown] {
  const [key, value] = children
  if (key?.name !== 'key' || value?.name !== 'value') throw new Error('An entry has a key and a value.')
  return [key.text, read(value)]
}

const fromXml = new Map(Object.entries(query).map(([name, { model }]) => [name, createCompiler(model, xmlReaders)]))

/** The value with what XML can't carry replaced, as the writer replaces it. */
function carried(value: unknown): unknown {
  if (typeof value === 'string')
    return value.replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
  if (value instanceof Uint8Array || typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(carried)
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [String(carried(name)), carried(member)]))
}

export const xmlAnswers = fuzzTarget<Asked & { readonly value: unknown }>({
  name: 'xml',
  share: 7,
  values: () => ofEach(query, 'output', (value) => value),
  judge(asked) {
    const { wire, model } = serviceOf(asked)
    const request = { ...aRequest('application/x-www-form-urlencoded', Buffer.alloc(0)), requestId: 'request & <1>' }
    const answer = wire.writeAnswer(asked.operation, asked.value, request).body.toString('utf8')
    const result = parseXml(answer).children.find(({ name }) => name === `${asked.operation}Result`)
    const shape = model.operations[asked.operation]?.output ?? ''
    if (shape === 'Unit') return true
    const read = result === undefined ? undefined : fromXml.get(asked.service)?.(shape)(result)
    if (!isDeepStrictEqual(read, carried(asked.value))) throw new Error(`It is read otherwise again: ${answer}`)
    return true
  },
})
