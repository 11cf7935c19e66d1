/** One end of an on-demand channel at the controller, an agent's or a client's: bytes in, bytes out, and signs of life. */
import type { WebSocket } from 'ws'
import { writeFrame } from '../proto/acs.ts'
import type { StreamControl } from '../proto/streams.ts'

export interface StreamSocketHandlers {
  onText(text: string): void
  onData(bytes: Buffer): void
  onClosed(): void
}

const pingEveryMs = 10_000
/** Credit bounds what is on its way; an end that lets more than this pile up does not keep to it. */
const bufferedBytesMax = 2 * 1024 * 1024
/** What is on its way to a slow reader gets this long to arrive. */
const closeTimeoutMs = 60_000

export class StreamSocket {
  readonly #socket: WebSocket
  readonly #timer: NodeJS.Timeout
  #heard = true

  constructor(socket: WebSocket, handlers: StreamSocketHandlers) {
    this.#socket = socket
    this.#timer = setInterval(() => this.#ping(), pingEveryMs)
    this.#timer.unref()
    socket.on('message', (data, isBinary) => {
      this.#heard = true
      if (!Buffer.isBuffer(data)) return
      if (isBinary) handlers.onData(data)
      else handlers.onText(data.toString('utf8'))
    })
    socket.on('pong', () => (this.#heard = true))
    // Each error is followed by a close.
    socket.on('error', () => undefined)
    socket.on('close', () => {
      clearInterval(this.#timer)
      handlers.onClosed()
    })
  }

  send(frame: string | Uint8Array): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return
    if (this.#socket.bufferedAmount > bufferedBytesMax) this.#socket.terminate()
    else this.#socket.send(frame)
  }

  control({ type, message }: StreamControl): void {
    this.send(writeFrame(type, message))
  }

  /** Says why, and closes. */
  fail(reason: string): void {
    this.control({ type: 'Failure', message: { reason } })
    this.close()
  }

  close(): void {
    this.#socket.close(1000)
    setTimeout(() => this.#socket.terminate(), closeTimeoutMs).unref()
  }

  #ping(): void {
    if (!this.#heard) {
      this.#socket.terminate()
      return
    }
    this.#heard = false
    if (this.#socket.readyState === this.#socket.OPEN) this.#socket.ping()
  }
}
