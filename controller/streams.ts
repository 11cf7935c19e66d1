/**
 * On-demand channels: an agent is asked over its control channel, and dials back with the id that it was given. Here
 * callers wait for that, and requests that nobody answers end.
 */
import { randomBytes } from 'node:crypto'
import type { WebSocket } from 'ws'
import type { GantryStreamRequest } from '../proto/streams.ts'
import type { Sent } from './control-channels.ts'
import { StreamSocket } from './stream-socket.ts'
import type { StreamSocketHandlers } from './stream-socket.ts'

export interface StreamServices {
  /** Sends a message on an agent's control channel. */
  readonly sendToAgent: (instanceId: string, type: string, message: object) => Sent
}

interface Awaited {
  readonly instanceId: string
  readonly settle: (socket: WebSocket) => void
}

/** What an agent that is connected and not overloaded does at once. */
const dialTimeoutMs = 10_000

const hindrances = {
  away: "The task's agent is not connected to the controller. See whether its host is up.",
  foreign: "The task's agent is not Gantry's own, and opens no channels for this controller.",
} as const

export class Streams {
  readonly #services: StreamServices
  readonly #awaited = new Map<string, Awaited>()

  constructor(services: StreamServices) {
    this.#services = services
  }

  /** The agent's end of a new stream. Rejects with a sentence where the agent is not connected or does not dial. */
  async request(
    instanceId: string,
    request: Omit<GantryStreamRequest, 'streamId'>,
    handlers: StreamSocketHandlers,
  ): Promise<StreamSocket> {
    const streamId = randomBytes(16).toString('hex')
    const sent = this.#services.sendToAgent(instanceId, 'GantryStreamRequest', { ...request, streamId })
    if (sent !== 'sent') throw new Error(hindrances[sent])
    const socket = await new Promise<WebSocket>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#awaited.delete(streamId)
        reject(new Error(`The task's agent did not open the channel within ${dialTimeoutMs / 1000} s. Try again.`))
      }, dialTimeoutMs)
      this.#awaited.set(streamId, {
        instanceId,
        settle(dialled) {
          clearTimeout(timer)
          resolve(dialled)
        },
      })
    })
    return new StreamSocket(socket, handlers)
  }

  /** Whether this instance was asked for this stream, and has not opened it yet. */
  awaits(streamId: string, instanceId: string): boolean {
    return this.#awaited.get(streamId)?.instanceId === instanceId
  }

  /** The agent's socket, once it is open. */
  dialled(streamId: string, socket: WebSocket): void {
    const awaited = this.#awaited.get(streamId)
    this.#awaited.delete(streamId)
    if (awaited === undefined) socket.terminate()
    else awaited.settle(socket)
  }
}
