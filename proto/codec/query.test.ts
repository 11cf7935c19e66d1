/**
 * AWS Query with AWS's own clients of IAM and STS as judges: what they send is read back as what was asked, and what is
 * written they read as what was answered, for values generated from the model itself.
 */
import { IAMClient } from '@aws-sdk/client-iam'
import * as iam from '@aws-sdk/client-iam'
import { STSClient } from '@aws-sdk/client-sts'
import * as sts from '@aws-sdk/client-sts'
import * as fc from 'fast-check'
import { isDeepStrictEqual } from 'node:util'
import { test } from 'tap'
import { isApiError } from '../errors.ts'
import { models } from '../model/model.ts'
import type { ServiceModel } from '../model/model.ts'
import { createQueryReaders, formDepthMax, formPairsMax, parseForm, treeOf } from './query-reader.ts'
import { createQueryCodec } from './query.ts'
import { createCompiler } from './shape.ts'
import type { Builders } from './shape.ts'
import { createXmlWriters } from './xml-writer.ts'

interface Client {
  send(command: never): Promise<object>
}

/** A client of AWS's that hands what it would send to us, and takes our text for the answer. */
class Judge {
  sent = ''
  contentType = ''
  #answer = ''
  readonly #client: Client
  readonly #commands: Readonly<Record<string, unknown>>

  constructor(name: 'iam' | 'sts') {
    const config = {
      region: 'us-east-1',
      credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
      maxAttempts: 1,
      requestHandler: {
        handle: (request: { readonly body: string; readonly headers: Readonly<Record<string, string>> }) => {
          this.sent = request.body
          this.contentType = request.headers['content-type'] ?? ''
          const body = new TextEncoder().encode(this.#answer)
          return Promise.resolve({ response: { statusCode: 200, headers: { 'content-type': 'text/xml' }, body } })
        },
      },
    }
    this.#client = name === 'iam' ? new IAMClient(config) : new STSClient(config)
    this.#commands = name === 'iam' ? iam : sts
  }

  /** What the client makes of the answer. */
  async call(operation: string, input: unknown, answer: string): Promise<Record<string, unknown>> {
    const Command = this.#commands[`${operation}Command`] as new (input: unknown) => object
    this.#answer = answer
    const output: object = await this.#client.send(new Command(input) as never)
    return Object.fromEntries(Object.entries(output).filter(([name]) => name !== '$metadata'))
  }
}

const unit = fc.constantFrom(
  'a',
  'Z',
  '0',
  ' ',
  '"',
  "'",
  '&',
  '<',
  '>',
  '+',
  '%',
  '=',
  '.',
  '\n',
  '\t',
  '\r',
  'é',
  '😀',
)

function anyString(): fc.Arbitrary<string> {
  const words = fc.constantFrom('', '__proto__', 'constructor', ']]>', '&amp;', '<!-- -->', 'a%41+b', ' x ')
  // The SDK takes blank text with a line's end in it for the layout between elements.
  return fc.oneof(fc.string({ unit, maxLength: 8 }), words).filter((text) => text.trim() !== '' || !/[\r\n]/.test(text))
}

/** Values as the SDK has them: instants are Dates. An empty structure is nothing in a form, so each has a member. */
const valueBuilders: Builders<fc.Arbitrary<unknown>> = {
  structure: (_name, members) =>
    fc
      .tuple(...members.map(({ required, value }) => (required ? value : fc.option(value, { nil: undefined }))))
      .map((values) => collect(members.map(({ name }, index) => [name, values[index]])))
      .filter((value) => members.length === 0 || Object.keys(value).length > 0),
  union: (_name, members) =>
    fc.oneof(...members.map(({ name, value }) => value.map((item) => collect([[name, item]])))),
  list: (element) => fc.array(element, { maxLength: 3 }),
  map: (value) => fc.dictionary(anyString(), value, { maxKeys: 3, noNullPrototype: true }),
  string: anyString,
  enum: (values) => fc.constantFrom(...values),
  integer: () => fc.maxSafeInteger().map((value) => value + 0),
  double: () => fc.double({ noNaN: true, noDefaultInfinity: true }),
  boolean: fc.boolean,
  timestamp: () => fc.integer({ min: 0, max: 253_402_300_799_999 }).map((ms) => new Date(ms)),
  blob: () => fc.uint8Array({ maxLength: 8 }),
  document: () => fc.constant(undefined),
}

function collect(entries: readonly (readonly [string, unknown])[]): Record<string, unknown> {
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined))
}

/** The same value as it lives inside Gantry. */
function stored(value: unknown): unknown {
  if (value instanceof Date) return value.getTime()
  if (value instanceof Uint8Array) return value
  if (Array.isArray(value)) return value.map(stored)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, stored(member)]))
}

const services = (['iam', 'sts'] as const).map((name) => ({
  name,
  model: models[name],
  judge: new Judge(name),
  codec: createQueryCodec(models[name]),
  values: createCompiler(models[name], valueBuilders),
}))

/** Reads what the client sent, as the operation's input. */
function readSent(service: (typeof services)[number], operation: string): unknown {
  return service.codec.readInput(operation, parseForm(service.judge.sent))
}

await test('what the SDK sends for any input of any operation is read back as that input', async (t) => {
  for (const service of services) {
    const operations = Object.entries(service.model.operations)
    t.ok(operations.length >= 4, `${service.name} has ${operations.length} operations`)
    for (const [operation, { input }] of operations) {
      const property = fc.asyncProperty(service.values(input), async (value) => {
        await service.judge.call(operation, value, `<${operation}Response/>`)
        const read = readSent(service, operation)
        if (!isDeepStrictEqual(read, stored(value))) t.same(read, stored(value), operation)
      })
      await fc.assert(property, { numRuns: 25 })
    }
    t.match(service.judge.contentType, 'application/x-www-form-urlencoded')
  }
})

await test('what is written for any answer of any operation is what the SDK reads', async (t) => {
  for (const service of services) {
    for (const [operation, { input, output }] of Object.entries(service.model.operations)) {
      const [sample] = fc.sample(service.values(input), 1)
      const property = fc.asyncProperty(service.values(output), async (value) => {
        const text = service.codec.writeOutput(operation, stored(value), 'request-1')
        const read = await service.judge.call(operation, sample, text)
        if (!isDeepStrictEqual(read, value)) t.same(read, value, `${operation}: ${text}`)
      })
      await fc.assert(property, { numRuns: 25 })
    }
  }
})

await test('answers stand in the service’s namespace, with a result where the operation has one', async (t) => {
  const [ofIam, ofSts] = services.map(({ codec }) => codec)
  const identity = { Account: '123456789012', Arn: 'arn:aws:iam::123456789012:root', UserId: '123456789012' }
  t.equal(
    ofSts?.writeOutput('GetCallerIdentity', { ...identity, secret: 'x' }, 'r-1'),
    '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>' +
      '<UserId>123456789012</UserId><Account>123456789012</Account><Arn>arn:aws:iam::123456789012:root</Arn>' +
      '</GetCallerIdentityResult><ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata>' +
      '</GetCallerIdentityResponse>',
    'and what is not modelled does not leave',
  )
  t.equal(
    ofIam?.writeOutput('DeleteRole', {}, 'r-2'),
    '<DeleteRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata>' +
      '<RequestId>r-2</RequestId></ResponseMetadata></DeleteRoleResponse>',
  )
  t.match(ofIam?.writeOutput('ListRoles', { Roles: [] }, 'r-3'), '<ListRolesResult><Roles/></ListRolesResult>')
  t.throws(() => ofIam?.writeOutput('NoSuch', {}, 'r'), /no operation NoSuch/)
  t.throws(() => ofIam?.writeOutput('toString', {}, 'r'), /no operation toString/)
  t.throws(() => createQueryCodec(models.ecs), /not spoken|isn't spoken/)
})

/** Shapes that IAM and STS have none of in their inputs. */
const plain: Pick<ServiceModel, 'structures' | 'lists' | 'maps' | 'enums'> = {
  structures: {
    Root: {
      members: {
        Name: 'string',
        Count: 'integer',
        Ratio: 'double',
        IsOn: 'boolean',
        At: 'timestamp',
        State: 'State',
        Words: '[string]',
        Bytes: 'blob',
        Tags: 'Tags',
        Labels: '{string}',
        Inner: 'Inner',
        Either: 'Either',
      },
    },
    Tag: { members: { Key: 'string', Value: 'string' }, required: ['Key'] },
    Inner: { members: { Deep: 'string' } },
    Either: { members: { One: 'string', Other: 'string' }, union: true },
  },
  lists: { Tags: 'Tag' },
  maps: {},
  enums: { State: ['Active', 'Inactive'] },
}
const readShape = createQueryReaders(plain)('Root')

function readRoot(form: string): unknown {
  return readShape(treeOf(parseForm(form)), undefined)
}

function refusal(form: string): string {
  try {
    const value = readRoot(form)
    return `read as ${JSON.stringify(value)}`
  } catch (error) {
    if (isApiError(error)) return `${error.code}: ${error.message}`
    throw error
  }
}

await test('forms are read as the model says', async (t) => {
  const cases: readonly (readonly [string, unknown])[] = [
    ['', {}],
    ['&&', {}],
    ['Action=Any&Version=1&Unknown.member.1=x', {}],
    ['Name=', { Name: '' }],
    ['Name=a+b%2Bc%20%C3%A9', { Name: 'a b+c é' }],
    ['Name', { Name: '' }],
    ['Count=-12', { Count: -12 }],
    ['Count=-0', { Count: 0 }],
    ['Count=9007199254740991', { Count: 9_007_199_254_740_991 }],
    ['Ratio=1.5e-3', { Ratio: 0.0015 }],
    ['IsOn=true', { IsOn: true }],
    ['IsOn=false', { IsOn: false }],
    ['At=2026-01-31T12:00:00Z', { At: Date.UTC(2026, 0, 31, 12) }],
    ['At=2026-01-31T12:00:00.125%2B01:00', { At: Date.UTC(2026, 0, 31, 11, 0, 0, 125) }],
    ['At=1.5', { At: 1500 }],
    ['State=Active', { State: 'Active' }],
    ['Bytes=AAEC', { Bytes: Uint8Array.from([0, 1, 2]) }],
    ['Words=', { Words: [] }],
    ['Words.member.10=c&Words.member.2=b&Words.member.1=a', { Words: ['a', 'b', 'c'] }],
    ['Words.member.999999999=a', { Words: ['a'] }],
    ['Tags.member.1.Value=v&Tags.member.1.Key=k', { Tags: [{ Value: 'v', Key: 'k' }] }],
    ['Labels=', { Labels: {} }],
    ['Labels.entry.1.key=a&Labels.entry.1.value=1', { Labels: { a: '1' } }],
    ['Inner.Deep=x', { Inner: { Deep: 'x' } }],
    ['Inner=', { Inner: {} }],
    ['Either.One=x', { Either: { One: 'x' } }],
  ]
  for (const [form, value] of cases) t.same(readRoot(form), value, form)
})

await test('keys that prototypes have are keys like any other', async (t) => {
  const found = readRoot(
    'Labels.entry.1.key=__proto__&Labels.entry.1.value=x&Labels.entry.2.key=constructor&Labels.entry.2.value=y&' +
      '__proto__.Name=z&constructor.prototype.Name=z&toString=z',
  ) as { readonly Labels: object }
  t.same(Object.keys(found), ['Labels'])
  t.same(Object.entries(found.Labels), [
    ['__proto__', 'x'],
    ['constructor', 'y'],
  ])
  t.equal(Object.getPrototypeOf(found.Labels), Object.prototype)
  t.equal(({} as { Name?: string }).Name, undefined)
})

await test('a form that is wrong is refused with where and what was awaited', async (t) => {
  const cases: readonly (readonly [string, string])[] = [
    ['Name=a&Name=b', 'SerializationException: The parameter Name is given twice.'],
    ['Name=%', "SerializationException: The request can't be read: its percent-encoding is broken or not UTF-8."],
    ['Name=%C3', "SerializationException: The request can't be read: its percent-encoding is broken or not UTF-8."],
    ['Name.First=a', 'SerializationException: name must be a plain value.'],
    ['Count=1.5', 'SerializationException: count must be a whole number.'],
    ['Count=', 'SerializationException: count must be a whole number.'],
    ['Count=0x10', 'SerializationException: count must be a whole number.'],
    ['Count=9007199254740993', 'SerializationException: count must be a whole number.'],
    ['Ratio=Infinity', 'SerializationException: ratio must be a number.'],
    ['Ratio=1e999', 'SerializationException: ratio must be a number.'],
    ['IsOn=yes', 'SerializationException: isOn must be true or false.'],
    ['At=now', 'SerializationException: at must be a timestamp in ISO 8601, such as 2026-01-31T12:00:00Z.'],
    [
      'At=2026-99-99T12:00:00Z',
      'SerializationException: at must be a timestamp in ISO 8601, such as 2026-01-31T12:00:00Z.',
    ],
    ['Bytes=AAE', 'SerializationException: bytes must be bytes in base64.'],
    ['Words=a', 'SerializationException: words must be given as member.1, member.2 and so on.'],
    ['Words.1=a', 'SerializationException: words must be given as member.1, member.2 and so on.'],
    ['Words.item.1=a', 'SerializationException: words must be given as member.1, member.2 and so on.'],
    ['Words.member=a', 'SerializationException: words must be given as member.1, member.2 and so on.'],
    ['Words.member.0=a', "SerializationException: words must be numbered from 1, and has '0'."],
    ['Words.member.01=a', "SerializationException: words must be numbered from 1, and has '01'."],
    ['Words.member.9999999999=a', "SerializationException: words must be numbered from 1, and has '9999999999'."],
    ['Words.member.__proto__=a', "SerializationException: words must be numbered from 1, and has '__proto__'."],
    ['Words.member.1.member.1=a', 'SerializationException: words.1.member must be a plain value.'],
    ['Tags.member.1=a', 'SerializationException: tags.1.member must be a structure, with members after a dot.'],
    [
      'Tags.member.2.Value=a',
      "ValidationError: 1 validation error detected: Value null at 'tags.2.member.key' failed to satisfy constraint: " +
        'Member must not be null',
    ],
    [
      'State=active',
      "ValidationError: 1 validation error detected: Value 'active' at 'state' failed to satisfy constraint: " +
        'Member must satisfy enum value set: [Active, Inactive]',
    ],
    ['Labels.entry.1.key=a', 'SerializationException: labels.1.entry must be an entry of a key and a value.'],
    [
      'Labels.entry.1.key=a&Labels.entry.1.value=1&Labels.entry.2.key=a&Labels.entry.2.value=2',
      'SerializationException: labels.2.entry has a key that is given twice.',
    ],
    [
      'Either.One=a&Either.Other=b',
      "ValidationError: 1 validation error detected: Value 2 members at 'either' failed to satisfy constraint: " +
        'Member must have exactly one member',
    ],
  ]
  for (const [form, message] of cases) t.equal(refusal(form), message, form)
})

await test('a form is bounded in its pairs and its depth, whatever it holds', async (t) => {
  const pairs = Array.from({ length: formPairsMax }, (_, index) => `Words.member.${index + 1}=a`)
  const { Words } = readRoot(pairs.join('&')) as { readonly Words: readonly string[] }
  t.equal(Words.length, formPairsMax)
  t.match(refusal(`${pairs.join('&')}&Name=a`), `more than ${formPairsMax} parameters`)
  t.match(refusal('&'.repeat(formPairsMax)), `more than ${formPairsMax} parameters`)
  t.same(readRoot(`${'x.'.repeat(formDepthMax - 1)}x=a`), {})
  t.match(refusal(`${'x.'.repeat(formDepthMax)}x=a`), `nested more than ${formDepthMax} levels deep`)
  t.match(refusal('.'.repeat(100_000)), /nested more than/)
  t.equal(refusal(`Count=${'9'.repeat(100_000)}`), 'SerializationException: count must be a whole number.')
  t.ok(refusal(`${'n'.repeat(100_000)}=1&${'n'.repeat(100_000)}=2`).length < 200, 'a long name is told in short')
})

await test('text that XML can’t carry never breaks an answer, and a value of the wrong type is a bug', async (t) => {
  const write = createXmlWriters(plain)('Root')
  t.equal(
    write({ Name: 'a\u0000b\u001b\ufffe\ud800c\r\n\t<&>"\'' }, 'root'),
    '<Name>a\ufffdb\ufffd\ufffd\ufffdc&#xD;\n\t&lt;&amp;&gt;"\'</Name>',
  )
  t.equal(
    write({ Labels: { '<k>': '&', gone: undefined } }, 'root'),
    '<Labels><entry><key>&lt;k&gt;</key><value>&amp;</value></entry></Labels>',
  )
  t.equal(
    write({ Words: ['a', undefined, '', null], Inner: null }, 'root'),
    '<Words><member>a</member><member/></Words>',
  )
  t.equal(write({ At: Date.UTC(2026, 0, 31, 12) }, 'root'), '<At>2026-01-31T12:00:00Z</At>')
  t.equal(write({ At: Date.UTC(2026, 0, 31, 12, 0, 0, 7) }, 'root'), '<At>2026-01-31T12:00:00.007Z</At>')
  const bugs = [
    { Name: 1 },
    { Count: '1' },
    { Count: Number.NaN },
    { IsOn: 'true' },
    { At: '2026-01-31T12:00:00Z' },
    { At: 1e18 },
    { Bytes: 'AAEC' },
    { Words: 'a' },
    { Labels: ['a'] },
    { Inner: 'a' },
  ]
  for (const value of bugs) t.throws(() => write(value, 'root'), /^Bug: /, JSON.stringify(value))
})
