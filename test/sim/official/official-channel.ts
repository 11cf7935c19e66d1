/**
 * One WebSocket of the official agent, kept up: its query, its patience and its ways of coming back.
 *
 * Source: amazon-ecs-agent 1.105, wsclient and the ACS and TCS sessions; measured URLs and timings.
 */
import { parseFrame } from '../../../proto/acs.ts'
import type { Frame } from '../../../proto/acs.ts'
import type { Timers } from '../../../agent/timers.ts'
import type { Random } from '../random.ts'
import type { Life } from '../sim-disk.ts'
import type { Route, SimSocket } from '../sim-network.ts'

const inactivityMs = 60_000
const lifetimeMs = 30 * 60_000
const lifetimeJitterMs = 5 * 60_000
const inactiveInstanceWaitMs = 3_600_000
const returnsAtOnce = new Set([1000, 1001, 1006, 1011])

export interface OfficialChannelOptions {
  readonly route: Route
  readonly life: Life
  readonly timers: Timers
  readonly random: Random
  readonly backoff: { readonly leastMs: number; readonly mostMs: number; readonly factor: number }
  /** How long to stay away after InactiveInstanceException: the control channel an hour, telemetry no longer than else. */
  readonly heedsInactive: boolean
  readonly url: () => Promise<string>
  readonly onOpen: () => void
  readonly onFrame: (frame: Frame) => void
}

export class OfficialChannel {
  readonly #options: OfficialChannelOptions
  #socket: SimSocket | undefined
  #isOpen = false
  #backoffMs: number
  #waitMs: number | undefined
  #cancelInactivity: () => void = () => undefined
  #cancelLifetime: () => void = () => undefined

  constructor(options: OfficialChannelOptions) {
    this.#options = options
    this.#backoffMs = options.backoff.leastMs
    void this.#dial()
  }

  get isOpen(): boolean {
    return this.#isOpen
  }

  /** False where there is no connection. */
  send(text: string): boolean {
    if (this.#isOpen) this.#socket?.send(text)
    return this.#isOpen
  }

  async #dial(): Promise<void> {
    const { route, life, url } = this.#options
    const socket = route.dial(await url(), life)
    this.#socket = socket
    socket.on('open', () => this.#opened())
    socket.on('message', (data: Buffer) => this.#heard(data.toString()))
    socket.on('error', () => undefined)
    socket.on('unexpected-response', (_request: unknown, response: NodeJS.EventEmitter) => {
      response.on('data', (body: Buffer) => {
        const isInactive = body.toString().includes('InactiveInstanceException')
        if (isInactive && this.#options.heedsInactive) this.#waitMs = inactiveInstanceWaitMs
      })
      response.on('end', () => socket.terminate())
    })
    socket.on('close', (code: number) => this.#closed(code))
  }

  #opened(): void {
    const { timers, random, onOpen } = this.#options
    this.#isOpen = true
    this.#stayPatient()
    this.#cancelLifetime = timers.after(lifetimeMs + random.between(0, lifetimeJitterMs), () =>
      this.#socket?.close(1000),
    )
    onOpen()
  }

  #heard(text: string): void {
    this.#stayPatient()
    const frame = parseFrame(text)
    if (frame === undefined) throw new Error(`The controller sent what is no frame: ${text.slice(0, 200)}`)
    this.#options.onFrame(frame)
  }

  #stayPatient(): void {
    const { timers, random } = this.#options
    this.#cancelInactivity()
    this.#cancelInactivity = timers.after(inactivityMs + random.between(0, inactivityMs), () =>
      this.#socket?.terminate(),
    )
  }

  #closed(code: number): void {
    const { timers, random, backoff } = this.#options
    this.#cancelInactivity()
    this.#cancelLifetime()
    const wasOpen = this.#isOpen
    this.#isOpen = false
    if (wasOpen && returnsAtOnce.has(code)) this.#backoffMs = backoff.leastMs
    const jittered = this.#backoffMs * (0.8 + 0.4 * random.next())
    this.#backoffMs = Math.min(this.#backoffMs * backoff.factor, backoff.mostMs)
    const waitMs = this.#waitMs ?? jittered
    this.#waitMs = undefined
    timers.after(waitMs, () => void this.#dial())
  }
}
