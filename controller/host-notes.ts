/**
 * What happens around hosts, counted, logged and written down. What repeats is written once a minute with its count, so
 * that nobody fills the store by being refused.
 */
import { addHostEvent, type HostEvent } from './access/host-events.ts'
import { clientNetworkOf } from './access/ip-range.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Turn } from './turn.ts'

const repeatMs = 60_000
/** Rows of a minute, of all hosts and addresses together; what is beyond is in the metrics and the log alone. */
const rowsPerMinuteMax = 60
const rememberedMax = 4096

interface Remembered {
  writtenAt: number
  /** What came since, and is not written yet. */
  more: number
}

export class HostNotes {
  readonly #services: { readonly turn: Turn; readonly log: Log; readonly metrics: Metrics }
  readonly #remembered = new Map<string, Remembered>()
  #minute = 0
  #rows = 0

  constructor(services: { readonly turn: Turn; readonly log: Log; readonly metrics: Metrics }) {
    this.#services = services
    services.metrics.counter('gantry_host_events_total', 'What happened around hosts, refusals above all.')
  }

  /**
   * `now` is epoch milliseconds; `kind` tells apart what is no repetition though name, host and address are the same.
   * Never throws: what can't be written down was logged.
   */
  note(event: HostEvent, now: number, kind = ''): void {
    const { log, metrics, turn } = this.#services
    const { name, message, hostId, sourceAddress } = event
    metrics.count('gantry_host_events_total', { name })
    const client = sourceAddress === undefined ? '' : clientNetworkOf(sourceAddress)
    const count = this.#countDue([name, hostId, client, kind].join(' '), now)
    if (count === 0) return
    log.warn({ host: hostId, sourceAddress, name, count }, message)
    if (!this.#hasRoom(now)) return
    turn
      .submit({ name: 'hostEvent', run: (tx, at) => addHostEvent(tx, { ...event, count }, at) })
      .catch((error: unknown) => log.warn({ err: error }, 'an event of a host could not be written down'))
  }

  /** How often it happened since it was last written; 0 where that was a moment ago. */
  #countDue(key: string, now: number): number {
    const known = this.#remembered.get(key)
    if (known !== undefined && now - known.writtenAt < repeatMs && now >= known.writtenAt) {
      known.more += 1
      return 0
    }
    this.#remembered.delete(key)
    const [oldest] = this.#remembered.keys()
    if (this.#remembered.size >= rememberedMax && oldest !== undefined) this.#remembered.delete(oldest)
    this.#remembered.set(key, { writtenAt: now, more: 0 })
    return (known?.more ?? 0) + 1
  }

  #hasRoom(now: number): boolean {
    const minute = Math.floor(now / repeatMs)
    if (minute !== this.#minute) {
      this.#minute = minute
      this.#rows = 0
    }
    this.#rows += 1
    return this.#rows <= rowsPerMinuteMax
  }
}
