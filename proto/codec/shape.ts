/**
 * The walk that every codec shares: from a shape's name, through its members, to one compiled thing. What is built is
 * up to the builders: readers and writers of JSON today, of Query, XML or CBOR when a service needs them.
 */
import type { ShapeModel, Target } from '../model/model.ts'

export interface Member<T> {
  readonly name: string
  readonly required: boolean
  readonly value: T
}

/** One builder for each kind of shape. `name` is the shape's own. */
export interface Builders<T> {
  readonly structure: (name: string, members: readonly Member<T>[]) => T
  readonly union: (name: string, members: readonly Member<T>[]) => T
  readonly list: (element: T) => T
  readonly map: (value: T) => T
  readonly string: () => T
  readonly enum: (values: readonly string[]) => T
  /** Whole, and exact in a JSON number. */
  readonly integer: () => T
  readonly double: () => T
  readonly boolean: () => T
  readonly timestamp: () => T
  readonly blob: () => T
  readonly document: () => T
}

export type Compile<T> = (target: Target) => T

/** Compiles each shape once, on its first use. Throws a plain Error for a name that the model doesn't have. */
export function createCompiler<T>(model: ShapeModel, builders: Builders<T>): Compile<T> {
  const simple: Readonly<Record<string, () => T>> = {
    string: builders.string,
    integer: builders.integer,
    double: builders.double,
    boolean: builders.boolean,
    timestamp: builders.timestamp,
    blob: builders.blob,
    document: builders.document,
  }
  const compiled = new Map<Target, T>()
  const underWay = new Set<Target>()

  function compile(target: Target): T {
    const known = compiled.get(target)
    if (known !== undefined) return known
    if (underWay.has(target)) throw new Error(`The shape ${target} contains itself: the codecs have no bound for that.`)
    underWay.add(target)
    const built = build(target)
    underWay.delete(target)
    compiled.set(target, built)
    return built
  }

  function build(target: Target): T {
    if (target.startsWith('[')) return builders.list(compile(target.slice(1, -1)))
    if (target.startsWith('{')) return builders.map(compile(target.slice(1, -1)))
    const buildSimple = simple[target]
    if (buildSimple !== undefined) return buildSimple()
    const element = model.lists[target]
    if (element !== undefined) return builders.list(compile(element))
    const value = model.maps[target]
    if (value !== undefined) return builders.map(compile(value))
    const values = model.enums[target]
    if (values !== undefined) return builders.enum(values)
    return buildStructure(target)
  }

  function buildStructure(target: Target): T {
    const shape = model.structures[target]
    if (shape === undefined) throw new Error(`The model has no shape named ${target}.`)
    const members = Object.entries(shape.members).map(([name, member]) => ({
      name,
      required: shape.required?.includes(name) ?? false,
      value: compile(member),
    }))
    return shape.union === true ? builders.union(target, members) : builders.structure(target, members)
  }

  return compile
}
