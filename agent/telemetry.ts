/**
 * Publishes what containers use, their health and the engine's on the telemetry channel (TCS): every 20 s, at once when
 * the channel opens, and more often for a while where the controller asks for it because somebody looks. What could not be
 * sent is not kept: the next message says how things are then.
 */
import type { Frame } from '../proto/acs.ts'
import { telemetryPaceMs } from '../proto/tcs.ts'
import { healthMessages, instanceStatusMessage, metricsMessages } from './decide/telemetry.ts'
import type { Measures, Publisher } from './decide/telemetry.ts'
import type { Timers } from './timers.ts'
import type { TurnTask } from './turn-options.ts'

export interface TelemetryOptions {
  readonly publisher: Publisher
  readonly tasks: () => readonly TurnTask[]
  /** What was measured after that instant, epoch milliseconds, by Docker id. */
  readonly measuresSince: (since: number) => Measures
  /** Measures all containers now, for a pace that is quicker than the usual sampling. */
  readonly measureNow: () => Promise<void>
  /** Whether Docker Engine answers a ping: asked before each message, as the official agent asks. */
  readonly engineAnswers: () => Promise<boolean>
  readonly send: (type: string, message: object) => boolean
  readonly now: () => number
  readonly timers: Timers
}

export interface Telemetry {
  onFrame(frame: Frame): void
  linkUp(): void
  linkDown(): void
  close(): void
}

export function startTelemetry(options: TelemetryOptions): Telemetry {
  return new Teller(options)
}

class Teller implements Telemetry {
  readonly #options: TelemetryOptions
  #isUp = false
  #publishedAt: number
  #everyMs: number = telemetryPaceMs.everyDefault
  #quickUntil = 0
  #engine: { readonly silentSince: number | undefined; readonly changedAt: number }
  #cancel: () => void = () => undefined

  constructor(options: TelemetryOptions) {
    this.#options = options
    this.#publishedAt = options.now()
    this.#engine = { silentSince: undefined, changedAt: options.now() }
  }

  onFrame({ type, message }: Frame): void {
    if (type !== 'GantryTelemetryPace') return
    const { everyMs, forMs } = message
    if (typeof everyMs !== 'number' || typeof forMs !== 'number') return
    this.#everyMs = Math.max(telemetryPaceMs.everyMin, Math.min(everyMs, telemetryPaceMs.everyDefault))
    this.#quickUntil = this.#options.now() + Math.max(0, Math.min(forMs, telemetryPaceMs.forMax))
    if (this.#isUp) this.#publishSoon(0)
  }

  linkUp(): void {
    this.#isUp = true
    this.#publishSoon(0)
  }

  linkDown(): void {
    this.#isUp = false
    this.#cancel()
  }

  close(): void {
    this.linkDown()
  }

  #publishSoon(delayMs: number): void {
    this.#cancel()
    this.#cancel = this.#options.timers.after(delayMs, () => void this.#publish())
  }

  async #publish(): Promise<void> {
    const { now, measureNow, engineAnswers } = this.#options
    const isQuick = now() < this.#quickUntil
    const [answers] = await Promise.all([engineAnswers(), isQuick ? measureNow() : undefined])
    if (!this.#isUp) return
    this.#keepEngine(answers, now())
    this.#send(now())
    this.#publishSoon(isQuick ? this.#everyMs : telemetryPaceMs.everyDefault)
  }

  #send(now: number): void {
    const { publisher, tasks, measuresSince, send } = this.#options
    const all = tasks()
    const metrics = metricsMessages(publisher, all, measuresSince(this.#publishedAt), now)
    const sent = metrics.map((message) => send('PublishMetricsRequest', message))
    // A channel that is full is told the same again, with what came since.
    if (sent.every(Boolean)) this.#publishedAt = now
    for (const message of healthMessages(publisher, all, now)) send('PublishHealthRequest', message)
    send('PublishInstanceStatusRequest', instanceStatusMessage(publisher, this.#engine, now))
  }

  #keepEngine(answers: boolean, now: number): void {
    const { silentSince } = this.#engine
    if (answers === (silentSince === undefined)) return
    this.#engine = { silentSince: answers ? undefined : now, changedAt: now }
  }
}
