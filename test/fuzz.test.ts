/**
 * A few thousand cases of everything that `npm run fuzz` tries, and proof that it notices what it is there for: what is
 * wrong, what is slow, what hangs and what takes memory without bounds.
 */
import * as fc from 'fast-check'
import { join } from 'node:path'
import { test } from 'tap'
import { FuzzThread } from '../scripts/fuzz-thread.ts'
import { fuzzTarget } from './fuzz/fuzz-target.ts'
import { targets } from './fuzz/targets.ts'

const casesOfEach = 150
/** The same in each run: what other seeds find is told by `npm run fuzz`. */
const seed = 20_261_122

for (const target of targets.filter(({ isLive }) => !isLive)) {
  await test(`nothing hostile gets past ${target.name}`, async (t) => {
    const report = await target.run({ seed, count: casesOfEach })
    t.same(report.failure, undefined)
    t.equal(report.cases, casesOfEach)
    t.ok(report.taken > 0, `${report.taken} of them were good for something`)
  })
}

await test('a failure is made small, and its seed and path lead back to it', async (t) => {
  const target = fuzzTarget<string>({
    name: 'wrong',
    share: 1,
    values: () => fc.string({ maxLength: 200 }),
    judge(text) {
      if (text.includes('a') && text.length > 3) throw new Error('This is wrong.')
      return true
    },
  })
  const order = { seed: 7, count: 5000 }
  const { failure } = await target.run(order)
  t.match(failure?.error, /This is wrong\./)
  t.match(failure?.input, /^\[".{4}"\]$/)
  t.match(target.show(order, Number(failure?.path.split(':')[0])), 'a', 'the case itself can be shown too')
  const again = await target.run({ ...order, path: failure?.path })
  t.equal(again.failure?.input, failure?.input)
})

await test('a case that takes too long fails', async (t) => {
  const target = fuzzTarget<number>({
    name: 'slow',
    share: 1,
    values: () => fc.nat({ max: 100 }),
    slowMs: 20,
    judge(value) {
      // Of the processor's time, which is what is bounded: a busy machine gives less of it than passes.
      const before = process.threadCpuUsage().user
      const takes = value > 50 ? 40_000 : 0
      while (process.threadCpuUsage().user - before < takes);
      return true
    },
  })
  const { failure } = await target.run({ seed: 7, count: 200 })
  t.match(failure?.error, /It took \d+ ms, and at most 20 are allowed/)
})

await test('a case that hangs, or that takes memory without bounds, is named, and the next batch runs', async (t) => {
  const file = join(import.meta.dirname, 'fuzz/broken-worker.ts')
  const thread = new FuzzThread({ caseMs: 1500, memoryMiB: 256 }, file)
  t.teardown(() => thread.close())
  const hangs = await thread.run('hangs', { seed: 1, count: 50 })
  t.match(hangs.failure, { error: /It hangs: it was not done after 1500 ms/, input: '"hang"' })
  t.equal(hangs.failure?.path, String(hangs.cases - 1))
  const small = new FuzzThread({ caseMs: 60_000, memoryMiB: 48 }, file)
  t.teardown(() => small.close())
  const eats = await small.run('eats', { seed: 1, count: 50 })
  t.match(eats.failure?.error, /It ended the thread: .*memory/)
  const well = await thread.run('well', { seed: 1, count: 50 })
  t.same([well.cases, well.failure], [50, undefined])
})
