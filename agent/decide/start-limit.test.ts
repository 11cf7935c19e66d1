import * as fc from 'fast-check'
import { test } from 'tap'
import { afterStart, newStartLimit, startSlotsFree } from './start-limit.ts'
import type { StartLimit } from './start-limit.ts'

/** Starts per second of a host that has this many of them under way. */
type Host = (underway: number) => number

const wide: Host = (underway) => underway * 2

/** Keeps a host of which there is always more wanted as busy as the limit allows, for this many starts. */
function work(host: Host, starts: number, from = newStartLimit(32)): StartLimit {
  let limit = from
  let now = 0
  for (let ended = 0; ended < starts; ended += 1) {
    const rate = host(limit.limit)
    now += 1000 / rate
    const startedAt = now - (limit.limit * 1000) / rate
    limit = afterStart(limit, { startedAt, now, timedOut: false, othersWait: true })
  }
  return limit
}

await test('the limit goes up while more at once is quicker, and stays about where it stops being so', (t) => {
  t.equal(work(wide, 300).limit, 32, 'as far as it may')
  for (const best of [8, 12, 16]) {
    const peaked: Host = (underway) => (underway <= best ? underway : Math.max(best / 4, best - 2 * (underway - best)))
    const seen: number[] = []
    for (let starts = 200; starts <= 600; starts += 25) seen.push(work(peaked, starts).limit)
    t.ok(
      seen.every((limit) => limit >= best / 2 && limit <= best + 8),
      `about ${best}: ${seen.join(', ')}`,
    )
  }
  t.end()
})

await test('starts without an answer take it down at once, and quick ones bring it back', (t) => {
  const up = work(() => 20, 300)
  const silent = { startedAt: 0, now: 180_000, timedOut: true, othersWait: true }
  const shaken = afterStart(up, silent)
  t.ok(shaken.limit < up.limit)
  let down = shaken
  for (let times = 0; times < 20; times += 1) down = afterStart(down, silent)
  t.equal(down.limit, 2, 'and never to a halt')
  t.equal(work(() => 20, 300, down).limit, 32)
  t.equal(afterStart(up, { ...silent, now: 20_000, timedOut: false }).limit, shaken.limit, 'slow is as bad as silent')
  t.end()
})

await test('a host that has little to do is not judged by it', (t) => {
  let limit = newStartLimit(32)
  for (let now = 0; now < 1_000_000; now += 10_000) {
    limit = afterStart(limit, { startedAt: now - 300, now, timedOut: false, othersWait: false })
  }
  t.same(limit, newStartLimit(32))
  t.equal(startSlotsFree(limit, 3), limit.limit - 3)
  t.equal(startSlotsFree(limit, 99), 0)
  t.equal(newStartLimit(3).limit, 3)
  t.end()
})

await test('law: whatever was measured, the limit is a whole number between 2 and the most', (t) => {
  const starts = fc.record({
    durationMs: fc.integer({ min: 0, max: 200_000 }),
    pauseMs: fc.integer({ min: -5, max: 60_000 }),
    timedOut: fc.boolean(),
    othersWait: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(starts, { maxLength: 200 }), (ended) => {
      let now = 0
      let limit = newStartLimit(24)
      for (const { durationMs, pauseMs, timedOut, othersWait } of ended) {
        now += pauseMs
        limit = afterStart(limit, { startedAt: now - durationMs, now, timedOut, othersWait })
        if (!Number.isInteger(limit.limit) || limit.limit < 2 || limit.limit > 24) return false
      }
      return true
    }),
  )
  t.end()
})
