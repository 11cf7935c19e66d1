/**
 * The codec, held against every shape of the model: the values are generated from the model itself, and the walk that
 * generates them is the codec's own, which shows that another codec can stand on it.
 */
import * as fc from 'fast-check'
import { isDeepStrictEqual } from 'node:util'
import { test } from 'tap'
import { isApiError } from '../errors.ts'
import type { ApiError } from '../errors.ts'
import { ecsModel, modelOf, operationNames } from '../model/model.ts'
import type { ShapeModel } from '../model/model.ts'
import type { Input, OperationName, Output } from '../model/types.ts'
import { createReaders, documentDepthMax, rootPlace } from './json-reader.ts'
import { createWriters } from './json-writer.ts'
import { readInput, writeOutput } from './json.ts'
import { createCompiler } from './shape.ts'
import type { Builders } from './shape.ts'

/** The year 9999 ends here: beyond it milliseconds no longer fit in a double of seconds. */
const instantMs = fc.integer({ min: 0, max: 253_402_300_799_999 })

/** What JSON escapes, what it doesn't, pairs of surrogates and a lone one. */
const unit = fc.constantFrom(
  'a',
  'Z',
  '0',
  ' ',
  '"',
  '\\',
  '/',
  '\n',
  '\u0000',
  '\u007f',
  'é',
  '\u2028',
  '😀',
  '\ud800',
)

function anyString(): fc.Arbitrary<string> {
  return fc.oneof(fc.string({ unit, maxLength: 8 }), fc.constantFrom('', '"', '\\', '\u2028', '__proto__'))
}

/**
 * Any key of a map but a lone backslash: once V8 14.6 (Node 26.10) has parsed an object with that key, its JSON.parse
 * takes a key that is written as one escape, such as a quote, for it.
 */
function anyKey(): fc.Arbitrary<string> {
  return anyString().filter((key) => key !== '\\')
}

function anyNumber(): fc.Arbitrary<number> {
  const double = fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value))
  return fc.oneof(fc.integer(), double)
}

function sometimes<T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> {
  return fc.option(value, { nil: undefined, freq: 2 })
}

const readers = createReaders(ecsModel)
const writers = createWriters(ecsModel)
const root = rootPlace('InvalidParameterException')

/** The members that a generated value had, so that the tests can't pass by generating nothing. */
const seen = new Set<string>()

/** Values of a shape. Optional members are there half of the time, lists and maps are short. */
const valueBuilders: Builders<fc.Arbitrary<unknown>> = {
  structure: (shape, members) =>
    fc.tuple(...members.map(({ required, value }) => (required ? value : sometimes(value)))).map((values) => {
      const value = collect(members.map(({ name }, index) => [name, values[index]]))
      for (const name of Object.keys(value)) seen.add(`${shape}.${name}`)
      return value
    }),
  union: (_name, members) =>
    fc.oneof(...members.map(({ name, value }) => value.map((item) => collect([[name, item]])))),
  list: (element) => fc.array(element, { maxLength: 2 }),
  map: (value) => fc.dictionary(anyKey(), value, { maxKeys: 2, noNullPrototype: true }),
  string: anyString,
  enum: (values) => fc.constantFrom(...values),
  integer: () => fc.maxSafeInteger(),
  double: anyNumber,
  boolean: () => fc.boolean(),
  timestamp: () => instantMs,
  blob: () => fc.uint8Array({ maxLength: 20 }),
  document: () => fc.constantFrom<unknown>({ a: [1, { b: null }] }, 'text', [true]),
}
const valuesOf = createCompiler(ecsModel, valueBuilders)

/** The smallest value of a shape that passes. */
const leastOf = createCompiler<unknown>(ecsModel, {
  structure: (_name, members) =>
    collect(members.filter(({ required }) => required).map(({ name, value }) => [name, value])),
  union: (_name, members) => collect(members.slice(0, 1).map(({ name, value }) => [name, value])),
  list: () => [],
  map: () => ({}),
  string: () => 's',
  enum: (values) => values[0],
  integer: () => 1,
  double: () => 1,
  boolean: () => true,
  timestamp: () => 1,
  blob: () => '',
  document: () => ({}),
})

/** The same value with a member that no model has in each of its structures. */
const pollute = createCompiler<(value: unknown) => unknown>(ecsModel, {
  structure: (_name, members) => polluteStructure(members),
  union: (_name, members) => polluteStructure(members),
  list: (element) => (value) => (value as unknown[]).map(element),
  map: (item) => (value) => collect(Object.entries(value as object).map(([key, entry]) => [key, item(entry)])),
  string: () => same,
  enum: () => same,
  integer: () => same,
  double: () => same,
  boolean: () => same,
  timestamp: () => same,
  blob: () => same,
  document: () => same,
})

function polluteStructure(members: readonly { name: string; value: (value: unknown) => unknown }[]) {
  return (value: unknown) => {
    const source = value as Record<string, unknown>
    const clean = members.filter(({ name }) => source[name] !== undefined)
    return {
      zzUnmodelled: 'LEAKED',
      ...collect(clean.map(({ name, value: inner }) => [name, inner(source[name])])),
      __type: 'LEAKED',
    }
  }
}

function same(value: unknown): unknown {
  return value
}

function collect(entries: readonly (readonly [string, unknown])[]): Record<string, unknown> {
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined))
}

function refusalOf(run: () => unknown): ApiError {
  try {
    run()
  } catch (error) {
    if (isApiError(error)) return error
    throw error
  }
  throw new Error('It was taken, and should have been refused.')
}

/** A task definition whose second container is the one given. */
function definition(container: object): object {
  return { family: 'web', containerDefinitions: [{ name: 'a' }, container] }
}

function nested(levels: number): string {
  return `${'['.repeat(levels)}${']'.repeat(levels)}`
}

/** A request with free JSON at `hookDetails`. */
function hook(details: string): string {
  return `{"serviceName":"s","deploymentConfiguration":{"lifecycleHooks":[{"hookDetails":${details}}]}}`
}

function instantTaken(at: unknown): number | undefined {
  return readInput('SubmitTaskStateChange', { pullStartedAt: at }).pullStartedAt
}

/** An answer whose type only the generator knows. */
function writeAnswer(operation: OperationName, answer: object): string {
  return writeOutput(operation, answer)
}

/** A request as it comes from outside, whatever its types say. */
function readText<Op extends OperationName>(operation: Op, body: string): Input<Op> {
  return readInput(operation, JSON.parse(body))
}

await test('every operation: what is written is read back the same, in and out', async (t) => {
  let checked = 0
  seen.clear()
  for (const operation of operationNames) {
    const { input, output } = modelOf(operation)
    const inputs = fc.property(valuesOf(input), (value) => {
      return isDeepStrictEqual(readText(operation, writers(input)(value, input)), value)
    })
    const outputs = fc.property(valuesOf(output), (value) => {
      const text = writeAnswer(operation, value as object)
      return isDeepStrictEqual(readers(output)(JSON.parse(text), root, ''), value)
    })
    fc.assert(inputs, { numRuns: 12 })
    fc.assert(outputs, { numRuns: 12 })
    checked += 1
  }
  t.equal(checked, 88)
  const modelled = Object.values(ecsModel.structures).flatMap(({ members }) => Object.keys(members)).length
  t.ok(seen.size > modelled * 0.75, `${seen.size} of ${modelled} members had a value at least once`)
})

await test('every operation: what is not modelled gets neither in nor out', async (t) => {
  let checked = 0
  for (const operation of operationNames) {
    const { input, output } = modelOf(operation)
    const property = fc.property(valuesOf(input), valuesOf(output), (asked, answered) => {
      const wire: unknown = JSON.parse(writers(input)(asked, input))
      const taken = readInput(operation, pollute(input)(wire))
      const text = writeAnswer(operation, pollute(output)(answered) as object)
      return isDeepStrictEqual(taken, asked) && !text.includes('LEAKED') && !text.includes('zzUnmodelled')
    })
    fc.assert(property, { numRuns: 12 })
    checked += 1
  }
  t.equal(checked, 88)
})

await test('every member of every structure refuses each wrong type, and names itself', async (t) => {
  const jsonKinds: readonly unknown[] = ['not-a-value', 7, true, {}, []]
  const kindsTaken = createCompiler<readonly string[]>(ecsModel, {
    structure: () => ['object'],
    union: () => ['object'],
    list: () => ['array'],
    map: () => ['object'],
    string: () => ['string'],
    enum: () => ['string'],
    integer: () => ['number'],
    double: () => ['number'],
    boolean: () => ['boolean'],
    timestamp: () => ['number'],
    blob: () => [],
    document: () => ['string', 'number', 'boolean', 'object', 'array'],
  })
  let refused = 0
  const wrong: string[] = []
  for (const [name, { members }] of Object.entries(ecsModel.structures)) {
    for (const [member, target] of Object.entries(members)) {
      for (const value of jsonKinds) {
        const kind = Array.isArray(value) ? 'array' : typeof value
        if (kindsTaken(target).includes(kind)) continue
        const candidate = { ...(leastOf(name) as object), [member]: value }
        const error = refusalOf(() => readers(name)(candidate, root, ''))
        if (error.code !== 'SerializationException' || !error.message.startsWith(`${member} must be `)) {
          wrong.push(`${name}.${member} given ${kind}: ${error.code} ${error.message}`)
        }
        refused += 1
      }
    }
  }
  t.same(wrong, [])
  t.ok(refused > 5000, `${refused} wrong values were refused`)
})

await test('every required member is missed, absent or null, and every enum refuses other values', async (t) => {
  const counts = { required: 0, enums: 0 }
  for (const [name, { members, required }] of Object.entries(ecsModel.structures)) {
    const least = leastOf(name) as Record<string, unknown>
    for (const member of required ?? []) {
      for (const absent of [undefined, null]) {
        const error = refusalOf(() => readers(name)({ ...least, [member]: absent }, root, ''))
        const said = [error.code, error.message]
        if (!isDeepStrictEqual(said, ['InvalidParameterException', `${member} should not be null or empty.`])) {
          t.fail(`${name}.${member}: ${said.join(' ')}`)
        }
        counts.required += 1
      }
    }
    for (const [member, target] of Object.entries(members)) {
      const values = ecsModel.enums[target]
      if (values === undefined) continue
      const error = refusalOf(() => readers(name)({ ...least, [member]: 'NOT_ONE' }, root, ''))
      const expected = `${member} must be one of ${values.join(', ')}, not 'NOT_ONE'.`
      if (error.message !== expected || error.code !== 'InvalidParameterException') t.fail(`${name}.${member}`)
      counts.enums += 1
    }
  }
  t.ok(counts.required > 300 && counts.enums > 150, JSON.stringify(counts))
})

await test('a refusal names the path, in the form that the operation has', async (t) => {
  const cases: readonly (readonly [OperationName, unknown, string, string])[] = [
    ['RunTask', {}, 'InvalidParameterException', 'taskDefinition should not be null or empty.'],
    ['RegisterTaskDefinition', {}, 'ClientException', 'family should not be null or empty.'],
    [
      'RegisterTaskDefinition',
      definition({ dependsOn: [{ containerName: 'a' }] }),
      'ClientException',
      'containerDefinitions[1].dependsOn[0].condition should not be null or empty.',
    ],
    [
      'RegisterTaskDefinition',
      definition({ portMappings: [{ protocol: 'sctp' }] }),
      'ClientException',
      "containerDefinitions[1].portMappings[0].protocol must be one of tcp, udp, not 'sctp'.",
    ],
    [
      'RegisterTaskDefinition',
      definition({ memory: '512' }),
      'SerializationException',
      'containerDefinitions[1].memory must be a number, not this string.',
    ],
    [
      'RegisterTaskDefinition',
      definition({ portMappings: [{ containerPort: 80.5 }] }),
      'SerializationException',
      'containerDefinitions[1].portMappings[0].containerPort must be a whole number, not a fraction.',
    ],
    [
      'RunTask',
      { taskDefinition: 'web', overrides: { containerOverrides: [{ name: 'app', cpu: 1e300 }] } },
      'SerializationException',
      'overrides.containerOverrides[0].cpu must be a whole number, not a number beyond all bounds.',
    ],
    [
      'RegisterTaskDefinition',
      definition({ dockerLabels: { team: 5 } }),
      'SerializationException',
      'containerDefinitions[1].dockerLabels.team must be a string, not a number.',
    ],
    [
      'RegisterTaskDefinition',
      definition({ command: ['a', null] }),
      'SerializationException',
      'containerDefinitions[1].command[1] must be a string, not null.',
    ],
    ['CreateCluster', [], 'SerializationException', 'The request body must be an object, not a list.'],
    [
      'CreateGateway',
      { name: 'g', configuration: {}, infrastructureRoleArn: 'r' },
      'InvalidParameterException',
      'configuration (GatewayConfiguration) must have exactly one member, and has 0.',
    ],
  ]
  for (const [operation, body, code, message] of cases) {
    const error = refusalOf(() => readInput(operation, body))
    t.same([error.code, error.message], [code, message])
  }
})

await test('a wrong value is never quoted, for it may be a secret', async (t) => {
  const body = { family: 'web', containerDefinitions: [{ environment: 'PASSWORD=hunter2' }] }
  t.notMatch(refusalOf(() => readInput('RegisterTaskDefinition', body)).message, /hunter2/)
})

await test('an empty request, null, and members that nobody models', async (t) => {
  t.same(readInput('ListClusters', undefined), {})
  t.same(readInput('ListClusters', null), {})
  t.same(readText('ListClusters', '{"maxResults":null,"nextToken":"x","unknown":{"a":[1]}}'), { nextToken: 'x' })
  t.match(refusalOf(() => readText('ListClusters', '{"maxResults":1e999}')).message, /a number beyond all bounds/)
})

await test('a body nested 200,000 deep is refused or ignored, and overflows no stack', async (t) => {
  const deep = nested(200_000)
  const objects = `${'{"a":'.repeat(200_000)}1${'}'.repeat(200_000)}`
  t.equal(refusalOf(() => readText('ListClusters', deep)).code, 'SerializationException')
  t.equal(refusalOf(() => readText('CreateCluster', `{"tags":${deep}}`)).code, 'SerializationException')
  t.same(readText('CreateCluster', `{"unknown":${deep},"clusterName":"a"}`), { clusterName: 'a' })
  t.same(readText('CreateCluster', objects), {})
  t.match(readText('CreateService', hook(nested(documentDepthMax))), { serviceName: 's' })
  t.match(
    refusalOf(() => readText('CreateService', hook(nested(documentDepthMax + 1)))).message,
    /nested deeper than 64/,
  )
  t.match(refusalOf(() => readText('CreateService', hook(deep))).message, /hookDetails is nested deeper/)
})

await test('keys that mean something to JavaScript are keys like any other', async (t) => {
  const labels = '{"__proto__":"polluted","constructor":"c","toString":"s"}'
  const body = `{"family":"f","containerDefinitions":[{"dockerLabels":${labels},"__proto__":{"image":"evil"}}]}`
  const input = readText('RegisterTaskDefinition', body)
  const container = input.containerDefinitions?.[0]
  t.same(Object.keys(container ?? {}), ['dockerLabels'])
  t.equal(container?.image, undefined)
  t.same(Object.entries(container?.dockerLabels ?? {}), Object.entries(JSON.parse(labels) as object))
  t.equal(Object.getPrototypeOf(container?.dockerLabels), Object.prototype)
  t.equal(Reflect.get({}, 'image'), undefined)
  t.match(writers('RegisterTaskDefinitionRequest')(input, 'input'), `"dockerLabels":${labels}`)
})

await test('instants are seconds outside and milliseconds inside', async (t) => {
  t.equal(instantTaken(1795264035.261), 1795264035261)
  t.equal(instantTaken(1795264035), 1795264035000)
  t.equal(instantTaken(0), 0)
  t.equal(instantTaken('2026-11-21T12:00:00Z'), Date.UTC(2026, 10, 21, 12))
  t.equal(instantTaken('2026-11-21T13:00:00.250+01:00'), Date.UTC(2026, 10, 21, 12, 0, 0, 250))
  for (const wrong of ['yesterday', '2026-11-21', '1795264035', 1e300, {}]) {
    t.equal(refusalOf(() => instantTaken(wrong)).code, 'SerializationException')
  }
  t.equal(writeOutput('StopTask', { task: { createdAt: 1795264035261 } }), '{"task":{"createdAt":1795264035.261}}')
  t.equal(writeOutput('StopTask', { task: { createdAt: 1795264035000 } }), '{"task":{"createdAt":1795264035}}')
})

await test('an answer leaves out undefined and null; a value of the wrong type is a bug, thrown as one', async (t) => {
  const answer = { clusters: [undefined, { clusterName: 'a', status: undefined }], failures: null }
  t.equal(
    writeOutput('DescribeClusters', answer as unknown as Output<'DescribeClusters'>),
    '{"clusters":[{"clusterName":"a"}]}',
  )
  t.equal(writeOutput('DescribeClusters', {}), '{}')
  const bugs: readonly unknown[] = [
    { clusters: {} },
    { clusters: ['a'] },
    { clusters: [{ clusterName: 1 }] },
    { clusters: [{ runningTasksCount: Number.NaN }] },
    { clusters: [{ runningTasksCount: '1' }] },
  ]
  for (const bug of bugs) {
    t.throws(() => writeOutput('DescribeClusters', bug as Output<'DescribeClusters'>), /^Bug: '/)
  }
  t.throws(() => writeOutput('StopTask', { task: { createdAt: Number.NaN } }), /instant in milliseconds/)
})

await test('what ECS does not use today: blobs, named maps, and shapes that contain themselves', async (t) => {
  const model: ShapeModel = {
    structures: {
      Secret: { members: { bytes: 'blob', labels: 'Labels', counts: '{double}' } },
      Tree: { members: { children: '[Tree]' } },
    },
    lists: {},
    maps: { Labels: 'string' },
    enums: {},
  }
  const modelReaders = createReaders(model)
  const modelWriters = createWriters(model)
  const secret = fc.record(
    {
      bytes: fc.uint8Array(),
      labels: fc.dictionary(anyKey(), anyString(), { noNullPrototype: true }),
      counts: fc.dictionary(anyKey(), anyNumber(), { noNullPrototype: true }),
    },
    { noNullPrototype: true },
  )
  fc.assert(
    fc.property(secret, (value) =>
      isDeepStrictEqual(modelReaders('Secret')(JSON.parse(modelWriters('Secret')(value, 'Secret')), root, ''), value),
    ),
  )
  for (const wrong of ['a', '====', 'ab-_', 5]) {
    t.equal(refusalOf(() => modelReaders('Secret')({ bytes: wrong }, root, '')).code, 'SerializationException')
  }
  t.throws(() => modelReaders('Tree'), /contains itself/)
  t.throws(() => modelReaders('Nothing'), /no shape named Nothing/)
})
