/**
 * The types of a REST body as they came over the wire. Fastify's validator makes the types of a URL's parts fit, and would
 * do the same to a body: `null` or `false` would become 0, which is root where a user's number is meant.
 */

interface Schema {
  readonly type?: string | readonly string[]
  readonly properties?: Readonly<Record<string, Schema>>
  readonly items?: Schema
  readonly additionalProperties?: unknown
}

/** `body/attachment/vlan must be integer`; undefined where each member that the schema knows is of its type. */
export function wrongType(value: unknown, schema: Schema, at = 'body'): string | undefined {
  const types = schema.type === undefined ? [] : [schema.type].flat()
  if (types.length > 0 && !types.some((type) => isOf(type, value))) return `${at} must be ${types.join(',')}`
  if (Array.isArray(value)) {
    const { items } = schema
    return items === undefined
      ? undefined
      : firstOf(value.entries(), ([index, item]) => wrongType(item, items, `${at}/${index}`))
  }
  if (!isObject(value)) return undefined
  const { properties = {}, additionalProperties } = schema
  return firstOf(Object.entries(value), ([name, member]) => {
    const known = Object.hasOwn(properties, name) ? properties[name] : additionalProperties
    return isObject(known) ? wrongType(member, known, `${at}/${name}`) : undefined
  })
}

function isOf(type: string, value: unknown): boolean {
  switch (type) {
    case 'null':
      return value === null
    case 'array':
      return Array.isArray(value)
    case 'object':
      return isObject(value)
    case 'integer':
      return Number.isInteger(value)
    default:
      return typeof value === type
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function firstOf<T>(items: Iterable<T>, judge: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const found = judge(item)
    if (found !== undefined) return found
  }
  return undefined
}
