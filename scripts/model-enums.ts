/**
 * The enums of an AWS SDK package: their values from the exported constants, and which member is which enum from the
 * type declarations, because schemas call every enum a string.
 */

/** `Shape.member` -> the enum's name. */
export type EnumBindings = ReadonlyMap<string, string>

/** Enum name -> its values, in the package's order. */
export function readEnums(exported: Readonly<Record<string, unknown>>): Map<string, readonly string[]> {
  const enums = new Map<string, readonly string[]>()
  for (const [name, value] of Object.entries(exported)) {
    if (!/^[A-Z]/.test(name) || name.endsWith('$') || typeof value !== 'object' || value === null) continue
    const values = Object.values(value)
    if (values.length > 0 && values.every((item) => typeof item === 'string')) enums.set(name, values)
  }
  return enums
}

/**
 * Reads the declarations line by line: each shape is an `interface` at the margin, or a `namespace` for a union, and
 * each member is one line `name?: Type | undefined;`.
 */
export function bindEnums(declarations: string, enums: ReadonlyMap<string, unknown>): EnumBindings {
  const bindings = new Map<string, string>()
  let shape: string | undefined
  for (const line of declarations.split('\n')) {
    shape = /^export (?:interface|declare namespace) (\w+)/.exec(line)?.[1] ?? (line === '}' ? undefined : shape)
    const member = /^\s+(\w+)\??: (.+);$/.exec(line)
    if (shape === undefined || member === null) continue
    const [, name = '', type = ''] = member
    // A map's keys may be an enum too; what a member's values are is all that a model says.
    const values = type.replace(/\bRecord<\w+, /, '')
    const enumName = (values.match(/\w+/g) ?? []).find((word) => enums.has(word))
    if (enumName !== undefined) bindings.set(`${shape}.${name}`, enumName)
  }
  return bindings
}
