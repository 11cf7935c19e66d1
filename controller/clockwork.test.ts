import { test } from 'tap'
import { startClockwork } from './clockwork.ts'

/** A wall clock that a test sets; what is due is due each minute. */
function clockAt(start: number) {
  const clock = { now: start, asked: 0, done: 0 }
  const end = startClockwork({
    nextRun() {
      clock.asked += 1
      return (Math.floor(clock.now / 60_000) + 1) * 60_000
    },
    work: async () => {
      clock.done += 1
    },
    lookMs: 1,
  })
  const looks = async (count: number): Promise<void> => {
    const until = clock.asked + count
    while (clock.asked < until) await new Promise((done) => setTimeout(done, 1))
  }
  return { clock, end, looks }
}

const noon = Date.UTC(2026, 0, 1, 12)
const day = 86_400_000

await test('work is done once for each moment, and goes on whatever the clock is set to', async (t) => {
  const { clock, end, looks } = clockAt(noon)
  t.teardown(end)
  await looks(3)
  t.equal(clock.done, 0, 'not before its time')
  const doneAfter = async (change: number): Promise<number> => {
    clock.now += change
    const before = clock.done
    await looks(3)
    return clock.done - before
  }
  t.equal(await doneAfter(60_000), 1)
  t.equal(await doneAfter(1_000), 0, 'nor again within its minute')
  t.equal(await doneAfter(730 * day), 1, 'set ahead by two years: once')
  t.equal(await doneAfter(60_000), 1)
  t.equal(await doneAfter(-730 * day), 1, 'set back by two years: it does not wait for them')
  t.equal(await doneAfter(60_000), 1)
  end()
  clock.now += 60_000
  const { done } = clock
  await new Promise((after) => setTimeout(after, 20))
  t.equal(clock.done, done, 'and nothing once it has ended')
})

await test('work that takes long is not done twice at a time', async (t) => {
  const seen = { running: 0, most: 0, count: 0, next: 0 }
  const end = startClockwork({
    nextRun: () => (seen.next += 1),
    async work() {
      seen.running += 1
      seen.most = Math.max(seen.most, seen.running)
      await new Promise((done) => setTimeout(done, 5))
      seen.running -= 1
      seen.count += 1
    },
    lookMs: 1,
  })
  t.teardown(end)
  while (seen.count < 3) await new Promise((done) => setTimeout(done, 1))
  t.equal(seen.most, 1)
})
