/** A clock and timers that move only when told, so that minutes pass in milliseconds and every run is the same. */
import type { Timers } from '../../agent/timers.ts'
import type { Clock } from '../../proto/world.ts'

export interface FakeTime extends Clock, Timers {
  /** Lets that much time pass, timer by timer. */
  pass(durationMs: number): Promise<void>
  /** Lets time pass until it is so; fails where it is not so within the given time. */
  until(what: string, isSo: () => boolean, withinMs?: number): Promise<void>
}

interface Alarm {
  readonly at: number
  readonly order: number
  readonly callback: () => void
}

export function fakeTime(startAt = 1_800_000_000_000): FakeTime {
  let now = startAt
  let order = 0
  const alarms = new Set<Alarm>()
  const next = (): Alarm | undefined => [...alarms].toSorted((a, b) => a.at - b.at || a.order - b.order)[0]

  async function ring(latest: number): Promise<boolean> {
    await settled()
    const alarm = next()
    if (alarm === undefined || alarm.at > latest) return false
    alarms.delete(alarm)
    now = Math.max(now, alarm.at)
    alarm.callback()
    await settled()
    return true
  }

  return {
    now: () => now,
    after(delayMs, callback) {
      order += 1
      const alarm = { at: now + delayMs, order, callback }
      alarms.add(alarm)
      return () => alarms.delete(alarm)
    },
    async pass(durationMs) {
      const end = now + durationMs
      while (await ring(end));
      now = end
    },
    async until(what, isSo, withinMs = 600_000) {
      const end = now + withinMs
      await settled()
      while (!isSo()) {
        if (!(await ring(end))) throw new Error(`It did not come to pass within ${withinMs} ms: ${what}`)
      }
    },
  }
}

/** Everything that promises alone can bring about has happened. */
async function settled(): Promise<void> {
  await new Promise((resolve) => {
    setImmediate(resolve)
  })
}
