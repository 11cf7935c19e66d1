/** Inputs that the model of a service takes, made of its shapes: for tests that walk all operations. */
import type { ServiceModel, Target } from '../../proto/model/model.ts'

/** With its required members alone, or with all of them, down to a depth at which shapes that hold themselves end. */
export function sampleInput(
  model: ServiceModel,
  operation: string,
  members: 'required' | 'all',
): Readonly<Record<string, unknown>> {
  const shape = model.operations[operation]?.input
  return shape === undefined || shape === 'Unit' ? {} : sampleStructure(model, shape, members, 0)
}

const depthMax = 5

function sampleStructure(
  model: ServiceModel,
  name: string,
  members: 'required' | 'all',
  depth: number,
): Readonly<Record<string, unknown>> {
  const shape = model.structures[name]
  if (shape === undefined) throw new Error(`The model has no structure ${name}.`)
  const required = new Set(shape.required ?? [])
  const all = Object.entries(shape.members)
  const wanted = all.filter(([member]) => required.has(member) || (members === 'all' && depth < depthMax))
  const taken = shape.union === true ? all.slice(0, 1) : wanted
  return Object.fromEntries(taken.map(([member, target]) => [member, sampleOf(model, target, members, depth + 1)]))
}

function sampleOf(model: ServiceModel, target: Target, members: 'required' | 'all', depth: number): unknown {
  const list = model.lists[target] ?? /^\[(.*)\]$/.exec(target)?.[1]
  if (list !== undefined) return depth >= depthMax ? [] : [sampleOf(model, list, members, depth + 1)]
  const map = model.maps[target] ?? /^\{(.*)\}$/.exec(target)?.[1]
  if (map !== undefined) return { sample: sampleOf(model, map, members, depth + 1) }
  if (model.enums[target] !== undefined) return model.enums[target][0]
  if (model.structures[target] !== undefined) return sampleStructure(model, target, members, depth)
  const scalars: Readonly<Record<string, unknown>> = {
    integer: 1,
    long: 1,
    double: 1,
    float: 1,
    boolean: true,
    timestamp: 1,
  }
  return scalars[target] ?? 'sample'
}
