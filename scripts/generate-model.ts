/**
 * Writes proto/model/ecs.json: every shape of the ECS API, taken from the schema objects that @aws-sdk/client-ecs
 * exports. Which member is which enum is not in the schemas; that is read from the package's type declarations.
 *
 * The same package gives the same bytes, so that a change of the file is a change of the API.
 * Run: npm run model
 */
import * as ecs from '@aws-sdk/client-ecs'
import { readFileSync, writeFileSync } from 'node:fs'
import { bindEnums, readEnums } from './model-enums.ts'
import type { EnumBindings } from './model-enums.ts'

const packageRoot = new URL('../node_modules/@aws-sdk/client-ecs/', import.meta.url)
const modelFile = new URL('../proto/model/ecs.json', import.meta.url)

/** Schema kinds: the first element of a schema's array. */
const kind = { list: 1, map: 2, structure: 3, union: 4, operation: 9, error: -3 } as const

/** Schemas of simple types are numbers; a list or a map of one is the number with a bit set. */
const simpleTypes: Readonly<Record<number, string>> = {
  0: 'string',
  1: 'integer',
  2: 'boolean',
  4: 'timestamp',
  15: 'document',
  21: 'blob',
}
const listOfSimple = 64
const mapOfSimple = 128

/**
 * Members that the official agent sends and AWS's published model leaves out. Without the token, a registration whose
 * answer was lost would make a second instance of the same host when the agent repeats it.
 */
const unpublishedMembers: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  RegisterContainerInstanceRequest: { clientToken: 'string' },
}

/**
 * The few members that take a fraction: the schemas know one kind of number, and a port or a size in MiB of 80.5 must
 * not pass. Source: the ECS API reference, members of type Double.
 */
const doubleMembers: Readonly<Record<string, readonly string[]>> = {
  CanaryConfiguration: ['canaryPercent'],
  DaemonDeploymentConfiguration: ['drainPercent'],
  LinearConfiguration: ['stepPercent'],
  ManagedApplicationAutoScalingPolicy: ['targetValue'],
  MemoryGiBPerVCpuRequest: ['min', 'max'],
  NetworkBandwidthGbpsRequest: ['min', 'max'],
  Resource: ['doubleValue'],
  Scale: ['value'],
  ServiceRevisionSummary: ['requestedTestTrafficWeight', 'requestedProductionTrafficWeight'],
  TotalLocalStorageGBRequest: ['min', 'max'],
}

interface Structure {
  readonly members: Record<string, string>
  readonly required?: readonly string[]
  readonly union?: true
}

interface Collected {
  readonly operations: Map<string, { input: string; output: string }>
  readonly structures: Map<string, Structure>
  readonly lists: Map<string, string>
  readonly maps: Map<string, string>
  readonly errors: Map<string, { status: number; members: Record<string, string> }>
}

/** The whole text of proto/model/ecs.json, as the installed package says it. */
export function generateModel(): string {
  const declarations = ['models_0', 'models_1'].map((name) => readText(`dist-types/models/${name}.d.ts`)).join('\n')
  const enums = readEnums(ecs)
  const bindings = bindEnums(declarations, enums)
  const collected: Collected = {
    operations: new Map(),
    structures: new Map(),
    lists: new Map(),
    maps: new Map(),
    errors: new Map(),
  }
  const schemas = Object.entries(ecs)
    .filter(([name]) => name.endsWith('$') && name !== 'ECSServiceException$')
    .map(([, schema]) => asArray(schema))
  for (const schema of schemas) {
    if (schema[0] === kind.operation) collectOperation(schema, collected, bindings)
    if (schema[0] === kind.error) collectError(schema, collected, bindings)
  }
  checkBindings(bindings, collected)
  addUnpublished(collected)
  markDoubles(collected)
  return layOut(collected, new Map([...enums].filter(([name]) => isUsed(name, collected))))
}

function collectOperation(schema: readonly unknown[], collected: Collected, bindings: EnumBindings): void {
  const input = targetOf(schema[4], undefined, collected, bindings)
  const output = targetOf(schema[5], undefined, collected, bindings)
  collected.operations.set(asText(schema[2]), { input, output })
}

function collectError(schema: readonly unknown[], collected: Collected, bindings: EnumBindings): void {
  const name = asText(schema[2])
  const traits = schema[3] as { error: 'client' | 'server'; httpError?: number }
  const status = traits.httpError ?? (traits.error === 'client' ? 400 : 500)
  collected.errors.set(name, { status, members: membersOf(schema, collected, bindings) })
}

function membersOf(schema: readonly unknown[], collected: Collected, bindings: EnumBindings): Record<string, string> {
  const name = asText(schema[2])
  const schemas = asArray(schema[5])
  return Object.fromEntries(
    asArray(schema[4]).map((member, index) => {
      const memberName = asText(member)
      return [memberName, targetOf(schemas[index], bindings.get(`${name}.${memberName}`), collected, bindings)]
    }),
  )
}

/** What a member is: a simple type, `[simple]`, `{simple}`, or the name of a shape, which is collected on the way. */
function targetOf(
  reference: unknown,
  enumName: string | undefined,
  collected: Collected,
  bindings: EnumBindings,
): string {
  const resolved: unknown = typeof reference === 'function' ? reference() : reference
  if (typeof resolved === 'number') return simpleTarget(resolved, enumName)
  const schema = asArray(resolved)
  // A reference with traits of its own: a pair of schema and traits.
  if (schema.length === 2) return targetOf(schema[0], enumName, collected, bindings)
  const name = asText(schema[2])
  // A named simple type, which exists only to carry traits.
  if (schema[0] === 0) return simpleTarget(schema[4], enumName)
  // A named list of an enum's values says less than the enum's own name.
  if (schema[0] === kind.list && enumName !== undefined) return `[${enumName}]`
  if (schema[0] === kind.list) {
    if (!collected.lists.has(name)) collected.lists.set(name, targetOf(schema[4], undefined, collected, bindings))
    return name
  }
  if (schema[0] === kind.map) {
    if (!collected.maps.has(name)) collected.maps.set(name, targetOf(schema[5], undefined, collected, bindings))
    return name
  }
  if (schema[0] === kind.structure || schema[0] === kind.union) {
    collectStructure(name, schema, collected, bindings)
    return name
  }
  throw new Error(`The schema ${name} is of kind ${String(schema[0])}, which this script doesn't know: teach it first.`)
}

function collectStructure(
  name: string,
  schema: readonly unknown[],
  collected: Collected,
  bindings: EnumBindings,
): void {
  if (collected.structures.has(name)) return
  // Named before its members are walked, so that a shape may contain itself.
  collected.structures.set(name, { members: {} })
  const members = membersOf(schema, collected, bindings)
  const required = Object.keys(members).slice(0, typeof schema[6] === 'number' ? schema[6] : 0)
  collected.structures.set(name, {
    members,
    ...(required.length > 0 && { required }),
    ...(schema[0] === kind.union && { union: true as const }),
  })
}

function simpleTarget(schema: unknown, enumName: string | undefined): string {
  if (typeof schema !== 'number') throw new Error(`A simple type is a number in the schemas, not ${String(schema)}.`)
  const container = schema & (listOfSimple | mapOfSimple)
  const simple = simpleTypes[schema & ~container]
  if (simple === undefined) throw new Error(`The simple type ${schema} is not known to this script: teach it first.`)
  const element = enumName ?? simple
  if (container === listOfSimple) return `[${element}]`
  return container === mapOfSimple ? `{${element}}` : element
}

/** Every enum that the declarations bind to a member must have reached it, or the two sources have drifted apart. */
function checkBindings(bindings: EnumBindings, collected: Collected): void {
  for (const [place, enumName] of bindings) {
    const [shape = '', member = ''] = place.split('.')
    const target = collected.structures.get(shape)?.members[member]
    if (target === undefined || !target.includes(enumName)) {
      throw new Error(`${place} is ${enumName} in the declarations and ${String(target)} in the schemas.`)
    }
  }
}

function addUnpublished(collected: Collected): void {
  for (const [name, members] of Object.entries(unpublishedMembers)) {
    const structure = collected.structures.get(name)
    if (structure === undefined) throw new Error(`The model has no shape ${name} to add members to.`)
    collected.structures.set(name, { ...structure, members: { ...structure.members, ...members } })
  }
}

function markDoubles(collected: Collected): void {
  for (const [name, members] of Object.entries(doubleMembers)) {
    for (const member of members) {
      const target = collected.structures.get(name)?.members
      if (target?.[member] !== 'integer')
        throw new Error(`The model has no number ${name}.${member} to take fractions.`)
      target[member] = 'double'
    }
  }
}

function isUsed(enumName: string, collected: Collected): boolean {
  const forms = new Set([enumName, `[${enumName}]`, `{${enumName}}`])
  return [...collected.structures.values()].some(({ members }) => Object.values(members).some((t) => forms.has(t)))
}

/** One shape a line, sorted by name: small to read, and a new version of the API shows as a readable difference. */
function layOut(collected: Collected, enums: ReadonlyMap<string, readonly string[]>): string {
  const { version } = JSON.parse(readText('package.json')) as { version: string }
  const sections: readonly (readonly [string, ReadonlyMap<string, unknown>])[] = [
    ['operations', collected.operations],
    ['structures', collected.structures],
    ['lists', collected.lists],
    ['maps', collected.maps],
    ['enums', enums],
    ['errors', collected.errors],
  ]
  const lines = [
    `  "generated": ${JSON.stringify({ from: `@aws-sdk/client-ecs ${version}`, by: 'npm run model' })}`,
    `  "service": ${JSON.stringify(readService())}`,
    ...sections.map(([title, shapes]) => {
      const entries = [...shapes]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([name, shape]) => `    ${JSON.stringify(name)}: ${JSON.stringify(shape)}`)
      return entries.length === 0 ? `  "${title}": {}` : `  "${title}": {\n${entries.join(',\n')}\n  }`
    }),
  ]
  return `{\n${lines.join(',\n')}\n}\n`
}

/** The constants of the wire, from a client as it would send. */
function readService(): Record<string, string> {
  const config = new ecs.ECSClient({ region: 'us-east-1' }).config as unknown as {
    readonly serviceId: string
    readonly apiVersion: string
    readonly defaultSigningName: string
    readonly protocol: { getShapeId(): string; readonly serviceTarget: string }
  }
  const service = {
    id: config.serviceId,
    apiVersion: config.apiVersion,
    protocol: config.protocol.getShapeId(),
    targetPrefix: config.protocol.serviceTarget,
    signingName: config.defaultSigningName,
  }
  for (const [name, value] of Object.entries(service)) {
    if (typeof value !== 'string' || value === '') throw new Error(`The client no longer tells its ${name}.`)
  }
  return service
}

function readText(path: string): string {
  return readFileSync(new URL(path, packageRoot), 'utf8')
}

function asArray(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new Error(`A schema is an array; this one is ${typeof value}.`)
  return value
}

function asText(value: unknown): string {
  if (typeof value !== 'string') throw new Error(`A name is text; this one is ${typeof value}.`)
  return value
}

if (import.meta.main) {
  writeFileSync(modelFile, generateModel())
  console.log(`Wrote ${modelFile.pathname}`)
}
