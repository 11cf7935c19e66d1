/**
 * The agent's end of the log channel: one WebSocket that is kept up while there is something to ship. What was not
 * acknowledged when it closes is read from Docker again, so nothing is kept here.
 */
import type { WebSocket } from 'ws'
import { parseFrame, writeFrame } from '../proto/acs.ts'
import type { Frame } from '../proto/acs.ts'
import { logChannelPath, logFrameBytesMax } from '../proto/logs.ts'
import { complaintsTo } from './complaints.ts'
import type { Complaints } from './complaints.ts'
import type { ControllerTrust } from './controller-trust.ts'
import type { CredentialsSource } from './credentials.ts'
import { type HostKeyring, revokedWaitMs } from './host-keyring.ts'
import { openSignedSocket } from './link.ts'
import type { Log } from './log.ts'
import type { Timers } from './timers.ts'

export interface LogLinkOptions {
  /** The control channel's endpoint; `again` asks for a new answer. */
  readonly discover: (again: boolean) => Promise<string>
  readonly cluster: string
  readonly containerInstanceArn: string
  readonly region: string
  readonly credentials: CredentialsSource
  readonly trust?: ControllerTrust | undefined
  readonly keyring?: HostKeyring | undefined
  readonly now: () => number
  readonly random: () => number
  readonly timers: Timers
  readonly log: Log
  readonly onOpen: () => void
  readonly onFrame: (frame: Frame) => void
  readonly onClosed: () => void
}

export interface LogLink {
  readonly isOpen: boolean
  send(type: string, message: object): void
  sendBytes(bytes: Uint8Array): void
  close(): void
}

const backoffMinMs = 250
const backoffMaxMs = 30_000
/** A controller that knows no such channel may be replaced by a newer one, but not at once. */
const refusedWaitMs = 60_000
const pingEveryMs = 10_000
/** So that each agent now and then says anew which streams it has. */
const lifetimeMs = 30 * 60_000

export function startLogLink(options: LogLinkOptions): LogLink {
  return new Keeper(options)
}

class Keeper implements LogLink {
  readonly #options: LogLinkOptions
  readonly #complaints: Complaints
  #socket: WebSocket | undefined
  #closed = false
  #backoffMs = backoffMinMs
  #again = false
  #heard = true
  #cancelNext: () => void = () => undefined
  #cancelPing: () => void = () => undefined
  #cancelLifetime: () => void = () => undefined

  constructor(options: LogLinkOptions) {
    this.#options = options
    this.#complaints = complaintsTo(options.log, options.now)
    this.#connect()
  }

  get isOpen(): boolean {
    return this.#socket?.readyState === this.#socket?.OPEN && this.#socket !== undefined
  }

  send(type: string, message: object): void {
    if (this.isOpen) this.#socket?.send(writeFrame(type, message))
  }

  sendBytes(bytes: Uint8Array): void {
    if (this.isOpen) this.#socket?.send(bytes)
  }

  close(): void {
    this.#closed = true
    this.#cancelNext()
    this.#socket?.terminate()
  }

  #connect(): void {
    this.#dial().catch((error: unknown) => {
      this.#complaints.warn({ err: error }, 'The log channel could not be opened; trying again.')
      this.#again = true
      this.#later()
    })
  }

  async #dial(): Promise<void> {
    const { cluster, containerInstanceArn } = this.#options
    const endpoint = await this.#options.discover(this.#again)
    this.#again = false
    const url = new URL(logChannelPath, endpoint)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    url.searchParams.set('clusterArn', cluster)
    url.searchParams.set('containerInstanceArn', containerInstanceArn)
    const socket = await openSignedSocket(url.href, this.#options, logFrameBytesMax)
    socket.on('error', (error) => this.#options.log.debug({ err: error }, 'The log channel failed.'))
    if (this.#closed) {
      socket.terminate()
      return
    }
    let isOpen = false
    this.#socket = socket
    socket.on('open', () => {
      isOpen = true
      this.#opened(socket)
    })
    socket.on('message', (data, isBinary) => {
      this.#heard = true
      this.#backoffMs = backoffMinMs
      const frame = isBinary || !Buffer.isBuffer(data) ? undefined : parseFrame(data.toString('utf8'))
      if (frame !== undefined) this.#options.onFrame(frame)
    })
    socket.on('pong', () => (this.#heard = true))
    socket.on('unexpected-response', (_request, response) => {
      this.#complaints.warn(
        { status: response.statusCode },
        'The controller refused the log channel; the logs of awslogs containers wait in Docker. Trying again.',
      )
      this.#again = true
      if (response.statusCode === 404) this.#backoffMs = refusedWaitMs
      socket.terminate()
    })
    socket.on('close', () => this.#ended(socket, isOpen))
  }

  #opened(socket: WebSocket): void {
    const { timers, onOpen, random } = this.#options
    this.#heard = true
    this.#complaints.end()
    const ping = (): void => {
      this.#cancelPing = timers.after(pingEveryMs, () => {
        if (!this.#heard) {
          socket.terminate()
          return
        }
        this.#heard = false
        socket.ping()
        ping()
      })
    }
    ping()
    this.#cancelLifetime = timers.after(lifetimeMs * (1 + random() / 4), () => socket.close(1000))
    onOpen()
  }

  #ended(socket: WebSocket, wasOpen: boolean): void {
    if (socket !== this.#socket) return
    this.#socket = undefined
    this.#cancelPing()
    this.#cancelLifetime()
    if (wasOpen) this.#options.onClosed()
    else this.#again = true
    this.#later()
  }

  #later(): void {
    if (this.#closed) return
    const { timers, random, keyring } = this.#options
    const waitMs = (keyring?.isRevoked() === true ? revokedWaitMs : this.#backoffMs) * (0.8 + 0.4 * random())
    this.#backoffMs = Math.min(this.#backoffMs * 1.5, Math.max(this.#backoffMs, backoffMaxMs))
    this.#cancelNext = timers.after(waitMs, () => this.#connect())
  }
}
