/**
 * The one queue of everything that is still to happen, in the order of simulated time. Between two events all promises
 * come to rest, so that one order of events is one history.
 */
import type { Timers } from '../../agent/timers.ts'
import type { Clock } from '../../proto/world.ts'

/** The instant at which every simulation begins: 2027-01-15T08:00:00Z. */
export const beginning = 1_800_000_000_000

interface Alarm {
  readonly at: number
  readonly order: number
  callback: (() => void) | undefined
}

export class SimTime implements Clock, Timers {
  /** Events that have happened. */
  events = 0
  #now = beginning
  #order = 0
  readonly #heap: Alarm[] = []

  now(): number {
    return this.#now
  }

  after(delayMs: number, callback: () => void): () => void {
    this.#order += 1
    const alarm: Alarm = { at: this.#now + Math.max(0, delayMs), order: this.#order, callback }
    this.#push(alarm)
    return () => {
      alarm.callback = undefined
    }
  }

  sleep(delayMs: number): Promise<void> {
    return new Promise((resolve) => void this.after(delayMs, resolve))
  }

  /** Lets everything happen that is due until `latest`, or until `isOver`. */
  async run(latest: number, isOver: () => boolean): Promise<void> {
    await settled()
    for (;;) {
      const next = this.#heap[0]
      if (next === undefined || next.at > latest || isOver()) break
      this.#pop()
      const { callback } = next
      if (callback === undefined) continue
      this.#now = Math.max(this.#now, next.at)
      this.events += 1
      callback()
      // Once in a while the event loop itself has its turn, for a signal that ends the program.
      await (this.events % 1000 === 0 ? everythingSettled() : settled())
    }
    if (!isOver()) this.#now = Math.max(this.#now, latest)
  }

  #push(alarm: Alarm): void {
    const heap = this.#heap
    let at = heap.push(alarm) - 1
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!isBefore(alarm, heap[parent])) break
      heap[at] = heap[parent] as Alarm
      at = parent
    }
    heap[at] = alarm
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (isBefore(heap[child + 1], heap[child])) child += 1
      if (!isBefore(heap[child], last)) break
      heap[at] = heap[child] as Alarm
      at = child
    }
    heap[at] = last
  }
}

function isBefore(one: Alarm | undefined, other: Alarm | undefined): boolean {
  if (one === undefined || other === undefined) return one !== undefined
  return one.at < other.at || (one.at === other.at && one.order < other.order)
}

/** All that promises alone can bring about has happened: a tick comes once every microtask is done. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    process.nextTick(resolve)
  })
}

function everythingSettled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/** The timers of one process: when it is killed, nothing of it happens any more. */
export function timersOfLife(time: Timers, isAlive: () => boolean): Timers {
  return {
    after: (delayMs, callback) =>
      time.after(delayMs, () => {
        if (isAlive()) callback()
      }),
  }
}
