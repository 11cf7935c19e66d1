/** Values of a service's shapes, as they live inside Gantry: instants are epoch milliseconds. */
import * as fc from 'fast-check'
import { createCompiler } from '../../proto/codec/shape.ts'
import type { Builders, Compile } from '../../proto/codec/shape.ts'
import type { ShapeModel } from '../../proto/model/model.ts'
import { hostileText } from './hostile.ts'

/** The instants that every wire can write: the years 1970 to 9999, in milliseconds. */
const instant = fc.integer({ min: 0, max: 253_402_300_799_999 })

/** Optional members are there one time in four, lists and maps are short: the shapes alone give what is large. */
export function modelValues(
  model: ShapeModel,
  plain: fc.Arbitrary<string> = fc.string({ maxLength: 10 }),
): Compile<fc.Arbitrary<unknown>> {
  const text = fc.oneof({ arbitrary: plain, weight: 5 }, { arbitrary: hostileText(), weight: 1 })
  const builders: Builders<fc.Arbitrary<unknown>> = {
    structure: (_name, members) =>
      fc
        .tuple(...members.map(({ required, value }) => (required ? value : sometimes(value))))
        .map((values) => collect(members.map(({ name }, index) => [name, values[index]]))),
    union: (_name, members) =>
      fc.oneof(...members.map(({ name, value }) => value.map((item) => collect([[name, item]])))),
    list: (element) => fc.array(element, { maxLength: 2 }),
    map: (value) => fc.dictionary(text, value, { maxKeys: 2, noNullPrototype: true }),
    string: () => text,
    enum: (values) => fc.constantFrom(...values),
    integer: () => fc.oneof(fc.integer(), fc.maxSafeInteger()),
    double: () => fc.double({ noNaN: true, noDefaultInfinity: true }).map((value) => (value === 0 ? 0 : value)),
    boolean: fc.boolean,
    timestamp: () => instant,
    blob: () => fc.uint8Array({ maxLength: 12 }),
    document: () => fc.jsonValue({ maxDepth: 2 }),
  }
  return createCompiler(model, builders)
}

function sometimes(value: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc.oneof({ arbitrary: fc.constant(undefined), weight: 3 }, { arbitrary: value, weight: 1 })
}

function collect(entries: readonly (readonly [string, unknown])[]): Record<string, unknown> {
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined))
}
