/**
 * Writes proto/model/*.json: the shapes of each API, taken from the schema objects that its AWS SDK client exports (which
 * operations: model-services.ts). Which member is which enum is not in the schemas; that is read from the package's type
 * declarations.
 *
 * The same package gives the same bytes, so that a change of the file is a change of the API.
 * Run: npm run model
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { bindEnums, readEnums } from './model-enums.ts'
import type { EnumBindings } from './model-enums.ts'
import { modelSources } from './model-services.ts'
import type { ModelSource } from './model-services.ts'

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
 * Traits by which a member of a Query service looks otherwise on the wire than its name and shape say. No such service
 * that is generated has one, and the codec knows none; awsJson ignores them.
 */
const xmlTraits = ['xmlName', 'xmlFlattened', 'xmlAttribute', 'xmlNamespace', 'timestampFormat']

interface Structure {
  readonly members: Record<string, string>
  readonly required?: readonly string[]
  readonly union?: true
}

interface Collected {
  /** Operations that the service has and Gantry doesn't build. */
  readonly unbuilt: string[]
  /** The names of all traits of members and of their shapes. */
  readonly traits: Set<string>
  readonly operations: Map<string, { input: string; output: string }>
  readonly structures: Map<string, Structure>
  readonly lists: Map<string, string>
  readonly maps: Map<string, string>
  readonly errors: Map<string, { status: number; queryCode?: string; members: Record<string, string> }>
}

/** The whole text of a service's model, as the installed package says it. */
export function generateModel(source: ModelSource): string {
  const { exported } = source
  const enums = readEnums(exported)
  const bindings = bindEnums(readDeclarations(source), enums)
  const collected: Collected = {
    unbuilt: [],
    traits: new Set(),
    operations: new Map(),
    structures: new Map(),
    lists: new Map(),
    maps: new Map(),
    errors: new Map(),
  }
  const schemas = Object.entries(exported)
    .filter(([name]) => name.endsWith('$') && !name.endsWith('ServiceException$'))
    .map(([, schema]) => asArray(schema))
  for (const schema of schemas) {
    if (schema[0] === kind.operation) collectOperation(schema, source, collected, bindings)
    if (schema[0] === kind.error) collectError(schema, collected, bindings)
  }
  checkBuilt(source, collected)
  checkTraits(readService(source), collected)
  if (source.built === undefined) checkBindings(bindings, collected)
  addUnpublished(source, collected)
  markDoubles(source, collected)
  return layOut(source, collected, new Map([...enums].filter(([name]) => isUsed(name, collected))))
}

function collectOperation(
  schema: readonly unknown[],
  { built }: ModelSource,
  collected: Collected,
  bindings: EnumBindings,
): void {
  const name = asText(schema[2])
  if (built !== undefined && !built.includes(name)) {
    collected.unbuilt.push(name)
    return
  }
  const input = targetOf(schema[4], undefined, collected, bindings)
  const output = targetOf(schema[5], undefined, collected, bindings)
  collected.operations.set(name, { input, output })
}

function collectError(schema: readonly unknown[], collected: Collected, bindings: EnumBindings): void {
  const name = asText(schema[2])
  const traits = schema[3] as { error: 'client' | 'server'; httpError?: number; awsQueryError?: [string, number] }
  const [queryCode] = traits.awsQueryError ?? []
  const status = traits.httpError ?? (traits.error === 'client' ? 400 : 500)
  const members = membersOf(schema, collected, bindings)
  collected.errors.set(name, { status, ...(queryCode !== undefined && { queryCode }), members })
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
  if (resolved === 'unit') {
    // What an operation takes or gives that has nothing to take or give.
    collected.structures.set('Unit', { members: {} })
    return 'Unit'
  }
  if (typeof resolved === 'number') return simpleTarget(resolved, enumName)
  const schema = asArray(resolved)
  collectTraits(schema, collected)
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

function collectTraits(schema: readonly unknown[], { traits }: Collected): void {
  const own = schema.length === 2 ? schema[1] : schema[3]
  if (typeof own === 'object' && own !== null) for (const name of Object.keys(own)) traits.add(name)
}

function checkTraits(service: Readonly<Record<string, string>>, { traits }: Collected): void {
  const found = xmlTraits.find((trait) => traits.has(trait))
  if (service['xmlNamespace'] === undefined || found === undefined) return
  throw new Error(`${service['id']} has members with the trait ${found}: teach it to the Query codec first.`)
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

function checkBuilt({ name, built }: ModelSource, { operations }: Collected): void {
  const missing = (built ?? []).filter((operation) => !operations.has(operation))
  if (missing.length > 0) throw new Error(`The SDK's ${name} has no ${missing.join(', ')}: mend model-services.ts.`)
}

function addUnpublished({ unpublished }: ModelSource, collected: Collected): void {
  for (const [name, members] of Object.entries(unpublished)) {
    const structure = collected.structures.get(name)
    if (structure === undefined) throw new Error(`The model has no shape ${name} to add members to.`)
    collected.structures.set(name, { ...structure, members: { ...structure.members, ...members } })
  }
}

function markDoubles({ doubles }: ModelSource, collected: Collected): void {
  for (const [name, members] of Object.entries(doubles)) {
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
function layOut(source: ModelSource, collected: Collected, enums: ReadonlyMap<string, readonly string[]>): string {
  const { packageName } = source
  const { version } = JSON.parse(readFileSync(new URL('package.json', rootOf(source)), 'utf8')) as { version: string }
  const sections: readonly (readonly [string, ReadonlyMap<string, unknown>])[] = [
    ['operations', collected.operations],
    ['structures', collected.structures],
    ['lists', collected.lists],
    ['maps', collected.maps],
    ['enums', enums],
    ['errors', collected.errors],
  ]
  const lines = [
    `  "generated": ${JSON.stringify({ from: `${packageName} ${version}`, by: 'npm run model' })}`,
    `  "service": ${JSON.stringify(readService(source))}`,
    `  "unbuilt": ${JSON.stringify(collected.unbuilt.toSorted())}`,
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
function readService({ client }: ModelSource): Record<string, string> {
  const config = client().config as unknown as {
    readonly serviceId: string
    readonly apiVersion: string
    readonly defaultSigningName: string
    readonly protocol: {
      getShapeId(): string
      readonly serviceTarget?: string
      readonly options?: { readonly xmlNamespace?: string; readonly serviceTarget?: string }
    }
  }
  const { protocol } = config
  const service: Record<string, string | undefined> = {
    id: config.serviceId,
    apiVersion: config.apiVersion,
    protocol: protocol.getShapeId(),
    targetPrefix: protocol.serviceTarget ?? protocol.options?.serviceTarget,
    signingName: config.defaultSigningName,
  }
  if (protocol.getShapeId() === 'aws.protocols#awsQuery') service['xmlNamespace'] = protocol.options?.xmlNamespace
  return Object.fromEntries(
    Object.entries(service).map(([name, value]) => {
      if (value === undefined || value === '') throw new Error(`The client no longer tells its ${name}.`)
      return [name, value]
    }),
  )
}

function rootOf({ packageName }: ModelSource): URL {
  return new URL(`../node_modules/${packageName}/`, import.meta.url)
}

/** Large services have their models in several files. */
function readDeclarations(source: ModelSource): string {
  const models = new URL('dist-types/models/', rootOf(source))
  const files = readdirSync(models).filter((name) => /^models_\d+\.d\.ts$/.test(name))
  return files.map((name) => readFileSync(new URL(name, models), 'utf8')).join('\n')
}

function asArray(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new Error(`A schema is an array; this one is ${typeof value}.`)
  return value
}

function asText(value: unknown): string {
  if (typeof value !== 'string') throw new Error(`A name is text; this one is ${typeof value}.`)
  return value
}

export function modelFileOf({ name }: ModelSource): URL {
  return new URL(`../proto/model/${name}.json`, import.meta.url)
}

if (import.meta.main) {
  for (const source of modelSources) {
    writeFileSync(modelFileOf(source), generateModel(source))
    console.log(`Wrote ${modelFileOf(source).pathname}`)
  }
}
