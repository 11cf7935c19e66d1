/**
 * The agent's end of an on-demand channel: data both ways within the window of credit, so that neither a slow reader far
 * away nor a slow command makes anyone hold more than that.
 */
import type { WebSocket } from 'ws'
import { parseFrame, writeFrame } from '../proto/acs.ts'
import type { Frame } from '../proto/acs.ts'
import { streamFrames, streamKinds, streamWindowBytes } from '../proto/streams.ts'
import type { StreamControl } from '../proto/streams.ts'
import type { Timers } from './timers.ts'

export interface StreamSocketHandlers {
  onOpen(): void
  onControl(frame: Frame): void
  /** `taken` is to be called once the bytes are where they belong. */
  onStdin(bytes: Buffer, taken: () => void): void
  /** There is room for data again. */
  onRoom(): void
  onClosed(): void
}

/** Both ends answer pings by themselves; one that does not within this time is gone. */
const pingEveryMs = 10_000
/** What is on its way to a slow reader gets this long to arrive. */
const closeTimeoutMs = 60_000

export class StreamSocket {
  readonly #socket: WebSocket
  readonly #timers: Timers
  readonly #handlers: StreamSocketHandlers
  #unacknowledged = 0
  #heard = true
  #ended = false
  #cancelPing: () => void = () => undefined

  constructor(socket: WebSocket, timers: Timers, handlers: StreamSocketHandlers) {
    this.#socket = socket
    this.#timers = timers
    this.#handlers = handlers
    socket.on('open', () => {
      this.#ping()
      handlers.onOpen()
    })
    socket.on('message', (data, isBinary) => {
      this.#heard = true
      if (!Buffer.isBuffer(data)) return
      if (isBinary) this.#takeData(data)
      else this.#takeControl(data.toString('utf8'))
    })
    socket.on('pong', () => (this.#heard = true))
    // Each error is followed by a close.
    socket.on('error', () => undefined)
    socket.on('close', () => {
      this.#cancelPing()
      handlers.onClosed()
    })
  }

  get hasRoom(): boolean {
    return this.#unacknowledged < streamWindowBytes
  }

  data(kind: number, bytes: Uint8Array): void {
    if (this.#socket.readyState !== this.#socket.OPEN || this.#ended) return
    this.#unacknowledged += bytes.length
    for (const frame of streamFrames(kind, bytes)) this.#socket.send(frame)
  }

  control({ type, message }: StreamControl): void {
    if (this.#socket.readyState !== this.#socket.OPEN || this.#ended) return
    this.#socket.send(writeFrame(type, message))
  }

  /** Says the last thing, and closes. */
  end(last: StreamControl): void {
    this.control(last)
    this.#ended = true
    this.#socket.close(1000)
    this.#timers.after(closeTimeoutMs, () => this.#socket.terminate())
  }

  #takeData(data: Buffer): void {
    if (data[0] !== streamKinds.stdin) return
    const bytes = data.subarray(1)
    this.#handlers.onStdin(bytes, () => this.control({ type: 'Credit', message: { bytes: bytes.length } }))
  }

  #takeControl(text: string): void {
    const frame = parseFrame(text)
    if (frame === undefined) return
    if (frame.type !== 'Credit') {
      this.#handlers.onControl(frame)
      return
    }
    const { bytes } = frame.message
    if (typeof bytes !== 'number' || !(bytes > 0)) return
    const hadRoom = this.hasRoom
    this.#unacknowledged = Math.max(0, this.#unacknowledged - bytes)
    if (!hadRoom && this.hasRoom) this.#handlers.onRoom()
  }

  #ping(): void {
    this.#cancelPing = this.#timers.after(pingEveryMs, () => {
      if (!this.#heard) {
        this.#socket.terminate()
        return
      }
      this.#heard = false
      this.#socket.ping()
      this.#ping()
    })
  }
}
