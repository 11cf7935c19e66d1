/**
 * The agent's end of a channel of ECS's own, control or telemetry: one WebSocket to the controller that is kept up, signed
 * anew for each connection, and given up where nothing is heard on it.
 *
 * Source of the query and the timings: amazon-ecs-agent 1.105, `reference/ecs-agent.md` sections 1.1 and 1.6.
 */
import { WebSocket } from 'ws'
import type { RawData } from 'ws'
import type { IncomingMessage } from 'node:http'
import { frameBytesMax, parseFrame, writeFrame } from '../proto/acs.ts'
import { complaintsTo } from './complaints.ts'
import type { Complaints } from './complaints.ts'
import { type ControllerTrust, explainTlsError, systemTrust } from './controller-trust.ts'
import type { Frame } from '../proto/acs.ts'
import { signRequest } from '../proto/sigv4.ts'
import type { CredentialsSource } from './credentials.ts'
import { unknownKeysCode } from './ecs-api.ts'
import { type HostKeyring, revokedWaitMs } from './host-keyring.ts'
import type { Log } from './log.ts'
import type { Timers } from './timers.ts'

interface Manner {
  readonly backoffMinMs: number
  readonly backoffMaxMs: number
  readonly backoffFactor: number
  /** How long nothing may be heard. */
  readonly inactivityMs: number
  /** So that not all agents of a controller that was held up come at once. */
  readonly inactivityJitterMs: number
}

const manners: Readonly<Record<ChannelName, Manner>> = {
  // The controller sends a heartbeat every 5 s. One that comes back, after whatever time, is found within seconds: the
  // official agent's 120 s suit a service for millions of hosts.
  control: {
    backoffMinMs: 250,
    backoffMaxMs: 2000,
    backoffFactor: 1.5,
    inactivityMs: 20_000,
    inactivityJitterMs: 10_000,
  },
  // The controller sends a heartbeat, or an acknowledgement, at least every 20 s.
  telemetry: {
    backoffMinMs: 1000,
    backoffMaxMs: 60_000,
    backoffFactor: 2,
    inactivityMs: 60_000,
    inactivityJitterMs: 60_000,
  },
}
const connectionLifetimeMs = 30 * 60_000
const lifetimeJitterMs = 5 * 60_000
/** A way that was cut swallows what was sent on it; the next try may find it mended. */
const handshakeTimeoutMs = 10_000
/** A controller that answers with a refusal is not asked every two seconds. */
const refusedBackoffMaxMs = 30_000
/** A connection that lasted this long was a good one: the next one is tried at once. */
const healthyAfterMs = 5_000
/** What may wait in the socket's buffer before send() says no; the outbox keeps what was not taken. */
const bufferedBytesMax = 8 * 1024 * 1024
const inactiveInstanceWaitMs = 3_600_000
const normalCloses = new Set([1000, 1001, 1006, 1011])

export type ChannelName = 'control' | 'telemetry'

export interface LinkOptions {
  /** `control` where it is absent. */
  readonly channel?: ChannelName | undefined
  /** `again` asks for a new answer rather than the remembered one. */
  readonly discover: (again: boolean) => Promise<string>
  readonly cluster: string
  readonly containerInstanceArn: string
  readonly agentVersion: string
  readonly agentHash: string
  readonly dockerVersion: string
  readonly region: string
  readonly credentials: CredentialsSource
  /** Whose certificates are believed; the system's CAs where nothing is said. */
  readonly trust?: ControllerTrust | undefined
  /** The keys of a host that has joined. */
  readonly keyring?: HostKeyring | undefined
  readonly now: () => number
  readonly random: () => number
  readonly timers: Timers
  readonly log: Log
  readonly onFrame: (frame: Frame) => void
  readonly onConnected: () => void
  readonly onDisconnected: () => void
  /** The controller does not know this instance, as after the loss of its data; awaited before the next try. */
  readonly registerAgain: () => Promise<void>
  /** Opens the socket; a simulation has sockets of its own. */
  readonly openSocket?: ((url: string, options: SocketOptions) => WebSocket) | undefined
}

export interface SocketOptions {
  readonly headers: Record<string, string>
  readonly perMessageDeflate: false
  readonly maxPayload: number
  readonly handshakeTimeout: number
  readonly ca?: string[]
  readonly rejectUnauthorized: boolean
  readonly minVersion: 'TLSv1.2'
}

export interface Link {
  /** False where there is no connection or its buffer is full; the caller sends again later. */
  send(type: string, message: object): boolean
  isConnected(): boolean
  close(): void
}

/** A signed WebSocket of one of Gantry's own channels, being opened: its events say how that goes. */
export async function openSignedSocket(
  url: string,
  by: {
    readonly region: string
    readonly credentials: CredentialsSource
    readonly trust?: ControllerTrust | undefined
    readonly now: () => number
  },
  frameBytes: number,
): Promise<WebSocket> {
  const credentials = await by.credentials()
  const signed = { method: 'GET', url, headers: {}, credentials, region: by.region, service: 'ecs', now: by.now() }
  return new WebSocket(url, socketOptions(signRequest(signed), frameBytes, by.trust))
}

function socketOptions(headers: Record<string, string>, maxPayload: number, trust = systemTrust): SocketOptions {
  const { ca, ...tls } = trust.tls()
  const limits = { perMessageDeflate: false, maxPayload, handshakeTimeout: handshakeTimeoutMs } as const
  return { headers, ...limits, ...tls, ...(ca !== undefined && { ca: [...ca] }) }
}

/** Connects, and goes on doing so until it is closed. */
export function startLink(options: LinkOptions): Link {
  const keeper = new LinkKeeper(options)
  keeper.connect()
  return keeper
}

class LinkKeeper implements Link {
  readonly #options: LinkOptions
  #socket: WebSocket | undefined
  #connectedAt: number | undefined
  /** Once the controller has spoken: until then it may have forgotten that this process came, and with it what it must tell. */
  #everGreeted = false
  #closed = false
  #isRefused = false
  readonly #complaints: Complaints
  #backoffMs: number
  #askAgain = false
  #registerFirst = false
  #waitMs: number | undefined
  #cancelInactivity: () => void = () => undefined
  #cancelLifetime: () => void = () => undefined
  #cancelReconnect: () => void = () => undefined

  readonly #name: ChannelName
  readonly #manner: Manner

  constructor(options: LinkOptions) {
    this.#options = options
    this.#name = options.channel ?? 'control'
    this.#manner = manners[this.#name]
    this.#backoffMs = this.#manner.backoffMinMs
    this.#complaints = complaintsTo(options.log, options.now)
  }

  send(type: string, message: object): boolean {
    const socket = this.#socket
    if (socket === undefined || socket.readyState !== WebSocket.OPEN) return false
    if (socket.bufferedAmount > bufferedBytesMax) return false
    socket.send(writeFrame(type, message))
    return true
  }

  isConnected(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN
  }

  close(): void {
    this.#closed = true
    this.#cancelReconnect()
    this.#cancelTimers()
    this.#socket?.terminate()
  }

  connect(): void {
    this.#dial().catch((error: unknown) => {
      this.#complaints.warn(
        { error: error instanceof Error ? error.message : String(error) },
        `The ${this.#name} channel could not be opened; trying again.`,
      )
      this.#askAgain = true
      this.#reconnectLater()
    })
  }

  async #dial(): Promise<void> {
    const { credentials, region, now } = this.#options
    if (this.#registerFirst) await this.#options.registerAgain()
    this.#registerFirst = false
    const endpoint = await this.#options.discover(this.#askAgain)
    const url = this.#urlAt(endpoint)
    const keys = await credentials()
    const signed = { method: 'GET', url, headers: {}, credentials: keys, region, service: 'ecs', now: now() }
    if (this.#closed) return
    const open = this.#options.openSocket ?? ((address, settings) => new WebSocket(address, settings))
    const { trust } = this.#options
    const socket = open(url, socketOptions(signRequest(signed), frameBytesMax, trust))
    this.#socket = socket
    socket.on('open', () => this.#opened())
    socket.on('message', (data) => this.#received(data))
    socket.on('close', (code) => this.#ended(socket, code))
    socket.on('unexpected-response', (_request, response) => this.#refused(socket, response, keys.accessKeyId))
    // Each error is followed by a close, which is where the next step is taken.
    socket.on('error', (error) => this.#failed(error, new URL(endpoint).origin))
  }

  #failed(error: Error, origin: string): void {
    const { trust = systemTrust, now } = this.#options
    const explained = explainTlsError(error, { origin, trust, now: now() })
    if (explained === undefined) this.#complaints.warn({ error: error.message }, `The ${this.#name} channel failed.`)
    else this.#complaints.error({ error: error.message }, explained)
  }

  #urlAt(endpoint: string): string {
    const { cluster, containerInstanceArn, agentVersion, agentHash, dockerVersion } = this.#options
    const url = new URL(`${endpoint.replace(/\/$/, '')}/ws`)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    const common = { agentHash, agentVersion }
    const query: Record<string, string> =
      this.#name === 'telemetry'
        ? { ...common, cluster, containerInstance: containerInstanceArn, dockerVersion }
        : {
            ...common,
            clusterArn: cluster,
            containerInstanceArn,
            dockerVersion: `DockerVersion: ${dockerVersion}`,
            protocolVersion: '2',
            sendCredentials: String(!this.#everGreeted),
            seqNum: '1',
          }
    for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
    return url.href
  }

  #opened(): void {
    const { timers, random, log, now } = this.#options
    this.#connectedAt = now()
    this.#askAgain = false
    this.#isRefused = false
    this.#complaints.end()
    log.info({}, `The ${this.#name} channel is open.`)
    this.#heard()
    this.#cancelLifetime = timers.after(connectionLifetimeMs + random() * lifetimeJitterMs, () =>
      this.#socket?.close(1000, 'ConnectionExpired: Reconnect to continue'),
    )
    this.#options.onConnected()
  }

  #received(data: RawData): void {
    this.#heard()
    const text = Array.isArray(data) ? Buffer.concat(data).toString() : Buffer.from(data as Buffer).toString()
    const frame = parseFrame(text)
    if (frame === undefined) {
      this.#options.log.warn({ bytes: text.length }, 'The controller sent something that is no frame; it is ignored.')
      return
    }
    this.#everGreeted = true
    this.#options.onFrame(frame)
  }

  /** Any message shows that the other side lives; silence means that it may not, whatever TCP thinks. */
  #heard(): void {
    const { timers, random, log } = this.#options
    const { inactivityMs, inactivityJitterMs } = this.#manner
    this.#cancelInactivity()
    this.#cancelInactivity = timers.after(inactivityMs + random() * inactivityJitterMs, () => {
      log.warn(
        { channel: this.#name },
        `Nothing was heard from the controller for ${inactivityMs / 1000} s or more; connecting anew.`,
      )
      this.#socket?.terminate()
    })
  }

  /** The handshake was answered with something else than an upgrade: the body says why. */
  #refused(socket: WebSocket, response: IncomingMessage, accessKeyId: string): void {
    const chunks: Buffer[] = []
    response.on('data', (chunk: Buffer) => {
      if (chunks.length < 64) chunks.push(chunk)
    })
    response.on('end', () => {
      const body = Buffer.concat(chunks).toString('utf8').slice(0, 1000)
      const { keyring, log } = this.#options
      if (body.includes(unknownKeysCode) && keyring?.refused(accessKeyId) === 'again') {
        log.info({ channel: this.#name }, 'The keys changed while the channel was dialled; the new ones are tried.')
        this.#waitMs = 0
        socket.terminate()
        return
      }
      if (body.includes('InactiveInstanceException')) {
        this.#waitMs = inactiveInstanceWaitMs
        log.error(
          { containerInstanceArn: this.#options.containerInstanceArn, body },
          'This container instance was deregistered, so the controller does not talk to it. Its containers go on. ' +
            'Restart the agent to register the host anew; without that it asks again in an hour.',
        )
      } else {
        this.#registerFirst = body.includes('InvalidInstanceException')
        this.#complaints.error(
          { status: response.statusCode, body },
          `The controller refused the ${this.#name} channel; trying again.`,
        )
      }
      this.#askAgain = true
      this.#isRefused = true
      socket.terminate()
    })
  }

  #ended(socket: WebSocket, code: number): void {
    if (socket !== this.#socket) return
    this.#socket = undefined
    this.#cancelTimers()
    const since = this.#connectedAt
    this.#connectedAt = undefined
    if (since !== undefined) {
      this.#options.log.info({ code }, `The ${this.#name} channel is closed.`)
      if (this.#options.now() - since >= healthyAfterMs) this.#backoffMs = this.#manner.backoffMinMs
      this.#options.onDisconnected()
    } else this.#askAgain = true
    if (this.#closed) return
    const lasted = since !== undefined && this.#options.now() - since >= healthyAfterMs
    if (lasted && normalCloses.has(code)) this.connect()
    else this.#reconnectLater()
  }

  #reconnectLater(): void {
    if (this.#closed) return
    const { timers, random, keyring } = this.#options
    const isRevoked = keyring?.isRevoked() === true
    const waitMs = this.#waitMs ?? (isRevoked ? revokedWaitMs : this.#backoffMs) * (0.8 + 0.4 * random())
    this.#waitMs = undefined
    const { backoffFactor, backoffMaxMs } = this.#manner
    const mostMs = this.#isRefused ? Math.max(refusedBackoffMaxMs, backoffMaxMs) : backoffMaxMs
    this.#isRefused = false
    this.#backoffMs = Math.min(this.#backoffMs * backoffFactor, mostMs)
    this.#cancelReconnect = timers.after(waitMs, () => this.connect())
  }

  #cancelTimers(): void {
    this.#cancelInactivity()
    this.#cancelLifetime()
  }
}
