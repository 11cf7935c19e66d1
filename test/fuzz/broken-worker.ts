/** Targets that break the bounds of a thread, and one that keeps them. */
import * as fc from 'fast-check'
import { serveBatches } from '../../scripts/fuzz-batches.ts'
import { type FuzzTarget, fuzzTarget } from './fuzz-target.ts'

const texts = (): fc.Arbitrary<string> => fc.constantFrom('well', 'fine', 'hang')

const broken: Readonly<Record<string, FuzzTarget>> = {
  well: fuzzTarget({ name: 'well', share: 1, values: texts, judge: () => true }),
  hangs: fuzzTarget({
    name: 'hangs',
    share: 1,
    values: texts,
    judge(text) {
      for (let isOver = text !== 'hang'; !isOver; isOver = text === '');
      return true
    },
  }),
  eats: fuzzTarget({
    name: 'eats',
    share: 1,
    values: texts,
    judge(text) {
      const eaten: object[] = []
      const enough = text === 'hang' ? 1_000_000 : 0
      while (eaten.length < enough) eaten.push(Array.from({ length: 100_000 }, () => text))
      return true
    },
  }),
}

serveBatches((name) => {
  const target = broken[name]
  if (target === undefined) throw new Error(`There is no target ${name}.`)
  return target
})
