/**
 * The network between one host and the controller. A connection is two ordered streams, as TCP's: what is under way
 * waits where its direction is cut, nothing in the middle of a stream is lost, and an end that is gone without a word
 * leaves the other half-open. Repeats and reorderings come from connections that overlap, and from repeated sends.
 */
import { EventEmitter } from 'node:events'
import type { Handshake } from '../../controller/decide/handshake.ts'
import type { Peer } from '../../controller/peer.ts'
import { type ApiError, isApiError } from '../../proto/errors.ts'
import type { Chaos } from './chaos.ts'
import type { Life } from './sim-disk.ts'
import { keepsSecrets } from './sim-secrets.ts'
import type { SimTime } from './sim-time.ts'

/** The controller as the network reaches it. */
export interface Server {
  readonly life: Life
  call(operation: string, input: object): Promise<Readonly<Record<string, unknown>>>
  /** A signed request, as it stands on the wire. */
  request(request: HttpRequest): Promise<HttpAnswer>
  /** Throws ApiError where the instance may not dial. */
  accept(url: URL): Handshake
  opened(handshake: Handshake, peer: Peer): void
  frame(handshake: Handshake, peer: Peer, text: string): void
  closed(handshake: Handshake, peer: Peer, code: number): void
}

export interface HttpRequest {
  readonly method: string
  /** Path with query. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
}

export interface HttpAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly content: Uint8Array
}

/** No answer: whether the call was taken is not known. */
export class NoAnswer extends Error {}

const handshakeTimeoutMs = 30_000
const callTimeoutMs = 42_000
const darkCallMs = 3_600_000
const closeCodes = { goingAway: 1001 } as const
const closeTimeoutMs = { agent: 30_000, controller: 2000 }

export class Route {
  /** Towards the controller, and back. */
  upCut = false
  downCut = false
  readonly name: string
  readonly time: SimTime
  readonly chaos: Chaos
  /** The controller's process, while there is one. */
  readonly server: () => Server | undefined
  readonly connections = new Set<Connection>()
  /** What is asked while it is dark has no answer, not even the network's; one long question stands for many short ones. */
  readonly #inTheDark = new Set<() => void>()
  #isDark = false
  #dialled = 0

  constructor(name: string, time: SimTime, chaos: Chaos, server: () => Server | undefined) {
    this.name = name
    this.time = time
    this.chaos = chaos
    this.server = server
  }

  latencyMs(): number {
    const { random } = this.chaos
    const usual = random.between(0, 3)
    return this.chaos.strikes(this.name, 'frameDelayed') ? random.between(100, 4000) : usual
  }

  /** The other side is switched off, for days. */
  darken(): void {
    Object.assign(this, { upCut: true, downCut: true })
    this.#isDark = true
    for (const connection of this.connections) connection.breaks({ agent: true, controller: true })
  }

  light(): void {
    this.#isDark = false
    for (const end of this.#inTheDark) end()
    this.#inTheDark.clear()
    this.heal()
  }

  heal(): void {
    this.upCut = false
    this.downCut = false
    // TCP sends again what was held up, after a while of its own choosing.
    for (const connection of this.connections)
      this.time.after(this.chaos.random.between(1, 3000), () => connection.pump())
  }

  dial(url: string, life: Life): SimSocket {
    this.#dialled += 1
    const connection = new Connection(this, `${this.name}#${this.#dialled}`, life)
    this.connections.add(connection)
    connection.dial(new URL(url))
    return connection.socket
  }

  /** One API call: it, or its answer, may be lost. */
  async call(operation: string, input: object): Promise<Readonly<Record<string, unknown>>> {
    const outcome = await this.#exchange(operation, callTimeoutMs, (server) =>
      server.call(operation, input).catch(asOutcome),
    )
    if (isApiError(outcome)) throw outcome
    return outcome
  }

  /** One signed request: it may also be slow, be cut off in the midst of its answer, or find a controller that dies over it. */
  async request(request: HttpRequest, timeoutMs: number): Promise<HttpAnswer> {
    const { time, chaos, name } = this
    const what = request.headers['x-amz-target'] ?? 'GetObject'
    const late = chaos.strikes(name, 'fetchDelayed', what) ? chaos.random.between(1000, timeoutMs) : 0
    await time.sleep(late)
    const answer = await this.#exchange(what, timeoutMs - late, async (server) => {
      if (chaos.strikes('controller', 'controllerKilledAtFetch', `by ${name}`)) server.life.kill()
      return server.request(request)
    })
    if (chaos.strikes(name, 'fetchCut', what)) throw new NoAnswer('aborted')
    return answer
  }

  /** Takes a question to the controller and its answer back; neither need arrive. */
  async #exchange<T>(operation: string, timeoutMs: number, ask: (server: Server) => Promise<T>): Promise<T> {
    const { time, chaos } = this
    await time.sleep(this.latencyMs())
    if (this.#isDark) {
      await new Promise<void>((resolve) => {
        const cancel = time.after(darkCallMs, resolve)
        this.#inTheDark.add(() => {
          cancel()
          resolve()
        })
      })
      throw new NoAnswer('nobody is there')
    }
    const server = this.server()
    if (server === undefined) throw new NoAnswer('connection refused')
    if (this.upCut || chaos.strikes(this.name, 'callLost', operation)) {
      await time.sleep(chaos.random.between(100, Math.max(100, timeoutMs)))
      throw new NoAnswer('the call timed out')
    }
    const outcome = await answerOf(server, () => ask(server))
    await time.sleep(this.latencyMs())
    if (!server.life.isAlive()) throw new NoAnswer('connection reset')
    if (this.downCut || chaos.strikes(this.name, 'answerLost', operation)) {
      await time.sleep(chaos.random.between(100, Math.max(100, timeoutMs)))
      throw new NoAnswer('the answer timed out')
    }
    return outcome
  }
}

function asOutcome(error: unknown): ApiError {
  if (isApiError(error)) return error
  throw error
}

/** What the controller answers; where it dies over it, the caller's connection ends and that is no answer. */
async function answerOf<T>(server: Server, ask: () => Promise<T>): Promise<T> {
  const died = new Promise<never>((_resolve, reject) => {
    deaths.set(server, [...(deaths.get(server) ?? []), () => reject(new NoAnswer('connection reset'))])
  })
  died.catch(() => undefined)
  return Promise.race([ask(), died])
}

const deaths = new WeakMap<Server, (() => void)[]>()

/** The controller's process is no more: calls and connections end. */
export function serverDied(server: Server, routes: readonly Route[]): void {
  for (const end of deaths.get(server) ?? []) end()
  for (const route of routes) for (const connection of route.connections) connection.controllerGone(server)
}

type Item =
  | { readonly kind: 'open' }
  | { readonly kind: 'refused'; readonly error: ApiError }
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'close'; readonly code: number }
  | { readonly kind: 'reset' }

class Stream {
  readonly #route: Route
  readonly #isHeld: () => boolean
  readonly #deliver: (item: Item) => void
  readonly #items: { readonly at: number; readonly item: Item }[] = []
  #lastAt = 0

  constructor(route: Route, isHeld: () => boolean, deliver: (item: Item) => void) {
    this.#route = route
    this.#isHeld = isHeld
    this.#deliver = deliver
  }

  push(item: Item): void {
    const { time } = this.#route
    this.#lastAt = Math.max(this.#lastAt, time.now() + this.#route.latencyMs())
    this.#items.push({ at: this.#lastAt, item })
    time.after(this.#lastAt - time.now(), () => this.pump())
  }

  drop(): void {
    this.#items.length = 0
  }

  pump(): void {
    for (;;) {
      const head = this.#items[0]
      if (head === undefined || head.at > this.#route.time.now() || this.#isHeld()) return
      this.#items.shift()
      this.#deliver(head.item)
    }
  }
}

type End = 'opening' | 'open' | 'closing' | 'closed'

export class Connection {
  readonly socket: SimSocket
  readonly #route: Route
  readonly #agentLife: Life
  readonly #peer: Peer
  readonly #up: Stream
  readonly #down: Stream
  #server: Server | undefined
  #handshake: Handshake | undefined
  #agentEnd: End = 'opening'
  #controllerEnd: End = 'opening'
  #paused = false

  constructor(route: Route, id: string, life: Life) {
    this.#route = route
    this.#agentLife = life
    this.socket = new SimSocket(this)
    this.#up = new Stream(
      route,
      () => route.upCut || this.#paused,
      (item) => this.#controllerHears(item),
    )
    this.#down = new Stream(
      route,
      () => route.downCut,
      (item) => this.#agentHears(item),
    )
    this.#peer = this.#makePeer(id)
  }

  get agentEnd(): End {
    return this.#agentEnd
  }

  pump(): void {
    this.#up.pump()
    this.#down.pump()
  }

  dial(url: URL): void {
    const { time, server: find, upCut } = this.#route
    time.after(handshakeTimeoutMs, () => {
      if (this.#agentEnd === 'opening') this.#agentEnds(1006, new Error('Opening handshake has timed out'))
    })
    time.after(this.#route.latencyMs(), () => {
      const server = find()
      if (upCut || this.#route.upCut || this.#agentEnd !== 'opening' || !this.#agentLife.isAlive()) return
      if (server === undefined) return this.#agentEnds(1006, new Error('connect ECONNREFUSED'))
      this.#server = server
      try {
        const handshake = server.accept(url)
        this.#handshake = handshake
        this.#controllerEnd = 'open'
        this.#down.push({ kind: 'open' })
        server.opened(handshake, this.#peer)
      } catch (error) {
        if (!isApiError(error)) throw error
        this.#down.push({ kind: 'refused', error })
      }
    })
  }

  agentSends(text: string): void {
    if (this.#agentEnd !== 'open') return
    keepsSecrets(this.#route.chaos.log, `what the agent of ${this.#route.name} sends`, text)
    const again = this.#route.chaos.strikes(this.#route.name, 'frameRepeated')
    for (let copies = again ? 2 : 1; copies > 0; copies -= 1) this.#up.push({ kind: 'text', text })
  }

  agentCloses(code: number): void {
    if (this.#agentEnd !== 'open') return
    this.#agentEnd = 'closing'
    this.#up.push({ kind: 'close', code })
    this.#route.time.after(closeTimeoutMs.agent, () => this.agentTerminates())
  }

  agentTerminates(): void {
    if (this.#agentEnd === 'closed') return
    this.#up.push({ kind: 'reset' })
    this.#agentEnds(1006)
  }

  /** The agent's process is gone; its kernel says so, where there is still one. */
  agentGone(silently: boolean): void {
    if (this.#agentEnd === 'closed') return
    this.#agentEnd = 'closed'
    if (!silently) this.#up.push({ kind: 'reset' })
  }

  /** Something in between forgets the connection: what was under way is lost, and who is told so learns of it. */
  breaks(told: { readonly agent: boolean; readonly controller: boolean }): void {
    this.#up.drop()
    this.#down.drop()
    if (told.agent && this.#agentEnd !== 'closed') this.#agentEnds(1006)
    const controllerIsThere = this.#controllerEnd === 'open' || this.#controllerEnd === 'closing'
    if (told.controller && controllerIsThere) this.#controllerEnds(1006)
  }

  /** The controller's program closes its sockets before it ends. */
  controllerGoesAway(server: Server): void {
    if (this.#server === server) this.#peer.close(closeCodes.goingAway, 'The controller is shutting down')
  }

  controllerGone(server: Server): void {
    if (this.#server !== server || this.#controllerEnd === 'closed') return
    this.#controllerEnd = 'closed'
    this.#down.push({ kind: 'reset' })
  }

  #makePeer(id: string): Peer {
    const { chaos, name, time } = this.#route
    const isUp = (): boolean => this.#server?.life.isAlive() === true
    return {
      id,
      send: (text) => {
        if (chaos.strikes('controller', 'controllerKilledAtSend', `to ${name}`)) this.#server?.life.kill()
        if (!isUp() || this.#controllerEnd !== 'open') return
        this.#down.push({ kind: 'text', text })
        if (chaos.strikes(name, 'frameRepeated')) this.#down.push({ kind: 'text', text })
      },
      close: (code) => {
        if (!isUp() || this.#controllerEnd !== 'open') return
        this.#controllerEnd = 'closing'
        this.#down.push({ kind: 'close', code })
        time.after(closeTimeoutMs.controller, () => {
          if (this.#controllerEnd !== 'closing') return
          this.#down.push({ kind: 'reset' })
          this.#controllerEnds(1006)
        })
      },
      pause: () => {
        this.#paused = true
      },
      resume: () => {
        this.#paused = false
        time.after(0, () => this.#up.pump())
      },
    }
  }

  #controllerHears(item: Item): void {
    const server = this.#server
    if (this.#controllerEnd === 'closed') {
      // Nobody is there any more: the kernel answers with a reset.
      if (item.kind !== 'reset') this.#down.push({ kind: 'reset' })
      return
    }
    if (server === undefined || !server.life.isAlive()) return
    if (item.kind === 'text' && this.#handshake !== undefined) server.frame(this.#handshake, this.#peer, item.text)
    if (item.kind === 'reset') this.#controllerEnds(1006)
    if (item.kind !== 'close') return
    if (this.#controllerEnd === 'open') this.#down.push({ kind: 'close', code: item.code })
    this.#controllerEnds(item.code)
  }

  #controllerEnds(code: number): void {
    this.#controllerEnd = 'closed'
    this.#forgetIfOver()
    if (this.#handshake === undefined || this.#server?.life.isAlive() !== true) return
    this.#server.closed(this.#handshake, this.#peer, code)
  }

  #agentHears(item: Item): void {
    if (this.#agentEnd === 'closed') {
      if (item.kind !== 'reset') this.#up.push({ kind: 'reset' })
      return
    }
    if (!this.#agentLife.isAlive()) return
    if (item.kind === 'open' && this.#agentEnd === 'opening') {
      this.#agentEnd = 'open'
      this.socket.emit('open')
    }
    if (item.kind === 'refused') this.#agentIsRefused(item.error)
    if (item.kind === 'text') this.socket.emit('message', Buffer.from(item.text))
    if (item.kind === 'reset') this.#agentEnds(1006)
    if (item.kind !== 'close') return
    if (this.#agentEnd === 'open') this.#up.push({ kind: 'close', code: item.code })
    this.#agentEnds(item.code)
  }

  #agentIsRefused(error: ApiError): void {
    const response = Object.assign(new EventEmitter(), { statusCode: error.httpStatus })
    this.socket.emit('unexpected-response', undefined, response)
    response.emit('data', Buffer.from(JSON.stringify({ type: error.code, message: { message: error.message } })))
    response.emit('end')
  }

  #agentEnds(code: number, error?: Error): void {
    this.#agentEnd = 'closed'
    this.#forgetIfOver()
    this.#route.time.after(0, () => {
      if (!this.#agentLife.isAlive()) return
      if (error !== undefined) this.socket.emit('error', error)
      this.socket.emit('close', code)
    })
  }

  #forgetIfOver(): void {
    if (this.#agentEnd === 'closed' && this.#controllerEnd !== 'open' && this.#controllerEnd !== 'closing') {
      this.#route.connections.delete(this)
    }
  }
}

const readyStates: Readonly<Record<End, number>> = { opening: 0, open: 1, closing: 2, closed: 3 }

/** As much of a WebSocket as the agent's link uses. */
export class SimSocket extends EventEmitter {
  readonly bufferedAmount = 0
  readonly #connection: Connection

  constructor(connection: Connection) {
    super()
    this.#connection = connection
  }

  get readyState(): number {
    return readyStates[this.#connection.agentEnd]
  }

  send(text: string): void {
    this.#connection.agentSends(text)
  }

  close(code: number): void {
    this.#connection.agentCloses(code)
  }

  terminate(): void {
    this.#connection.agentTerminates()
  }
}
