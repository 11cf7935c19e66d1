/**
 * Keeps the task endpoint up: opened where it can be, opened later where it can't be yet, and mended where the host's
 * way to it is gone, as after an engine that made its bridge anew. What is in the way is said once, with what to do.
 */
import type { Engine } from './engine.ts'
import type { Log } from './log.ts'
import type { Rate } from './rate-limit.ts'
import { defaultBridge, ensureTaskEndpointNetwork } from './task-endpoint-network.ts'
import { createEndpointServer } from './task-endpoint-server.ts'
import type { ServerOptions } from './task-endpoint-server.ts'
import { EndpointTaken, openEndpointSocket } from './task-endpoint-socket.ts'
import type { EndpointSocket } from './task-endpoint-socket.ts'
import type { Timers } from './timers.ts'

/** Between looks at whether everything is still there; a look reads two files. */
const lookMs = 5_000
const retryMs = 30_000
/** An agent that was killed a moment ago still has it, until the kernel has cleared its namespace away. */
const takenRetryMs = 200
const takenPatienceMs = 2_000

export interface TaskEndpointsOptions {
  /** False where the operator wants none. */
  readonly isEnabled: boolean
  readonly engine: Pick<Engine, 'inspectNetwork' | 'createNetwork'>
  readonly rate: Rate
  readonly answer: ServerOptions['answer']
  readonly answerApiCall?: ServerOptions['answerApiCall']
  readonly now: () => number
  readonly timers: Timers
  readonly log: Log
}

export interface TaskEndpoints {
  /** True once containers have reached it: from then on it is kept, and new ones are told of it. */
  isOffered(): boolean
  /** Resolves when it is up, or when it is clear that it is not for now. */
  readonly tried: Promise<void>
  /** Calls back once, when it comes up after all. */
  onceOffered(callback: () => void): void
  close(): Promise<void>
}

export function startTaskEndpoints(options: TaskEndpointsOptions): TaskEndpoints {
  const keeper = new Keeper(options)
  return {
    isOffered: () => keeper.isOffered(),
    tried: options.isEnabled ? keeper.keep() : Promise.resolve(),
    onceOffered: (callback) => keeper.onceOffered(callback),
    close: async () => keeper.close(),
  }
}

class Keeper {
  readonly #options: TaskEndpointsOptions
  readonly #server: ReturnType<typeof createEndpointServer>
  readonly #startedAt: number
  #socket: EndpointSocket | undefined
  #said: string | undefined
  #isClosed = false
  #onceOffered: (() => void) | undefined
  #hasSaidSplit = false
  #cancel: () => void = () => undefined

  constructor(options: TaskEndpointsOptions) {
    const { rate, answer, answerApiCall, now, log } = options
    this.#options = options
    this.#startedAt = now()
    const onError = (error: unknown): void => log.error({ err: error }, 'a request to the task endpoint failed')
    this.#server = createEndpointServer({ rate, answer, answerApiCall, now, onError })
  }

  isOffered(): boolean {
    return this.#socket !== undefined
  }

  onceOffered(callback: () => void): void {
    if (this.#socket === undefined) this.#onceOffered = callback
  }

  /** One look, and the next ones armed; resolves when the first is over that is no mere moment too early. */
  async keep(): Promise<void> {
    const delayMs = await this.#look()
    if (this.#isClosed) return
    if (delayMs !== takenRetryMs) {
      this.#cancel = this.#options.timers.after(delayMs, () => void this.keep())
      return
    }
    await new Promise<void>((resolve) => (this.#cancel = this.#options.timers.after(delayMs, resolve)))
    return this.keep()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#cancel()
    this.#server.close()
    this.#server.closeAllConnections()
    await this.#socket?.close()
  }

  /** Answers after how long to look again. */
  async #look(): Promise<number> {
    const { log, now } = this.#options
    try {
      await this.#bringUp()
      if (this.#said !== undefined) log.info({}, 'the task endpoint is up')
      this.#said = undefined
      return lookMs
    } catch (error) {
      if (error instanceof EndpointTaken && now() - this.#startedAt < takenPatienceMs) return takenRetryMs
      this.#say(error)
      return this.#socket === undefined && !(error instanceof EndpointTaken) ? retryMs : lookMs
    }
  }

  async #bringUp(): Promise<void> {
    const { engine } = this.#options
    if (this.#socket === undefined) {
      const socket = await openEndpointSocket(await this.#bridge())
      if (this.#isClosed) return socket.close()
      this.#server.listen(socket.server)
      this.#socket = socket
      this.#onceOffered?.()
      this.#onceOffered = undefined
    }
    if (!this.#socket.isReachable()) await this.#socket.restore(await this.#bridge())
    if (!this.#socket.isJoined()) await this.#socket.join(await ensureTaskEndpointNetwork(engine))
  }

  async #bridge() {
    const bridge = await defaultBridge(this.#options.engine)
    if (bridge?.isSplit === true && !this.#hasSaidSplit) {
      this.#hasSaidSplit = true
      this.#options.log.warn(
        { bridge: bridge.name },
        'Docker Engine drops what bridge-mode containers send to each other (icc=false), and so what they send to the ' +
          'task endpoint. Tasks in network mode host or awsvpc reach it; others do once dockerd runs without icc=false.',
      )
    }
    if (bridge !== undefined) return bridge
    throw new Error('Docker Engine has no default bridge (it runs with --bridge=none); give it one')
  }

  #say(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error)
    if (why === this.#said) return
    this.#said = why
    const advice =
      error instanceof EndpointTaken
        ? 'Another agent of this host has the task endpoint. Only one can; set GANTRY_TASK_ENDPOINT=false for this one.'
        : 'It takes the programs ip, nsenter and unshare, the rights to change the network (CAP_NET_ADMIN, CAP_SYS_ADMIN), ' +
          'and the engine on this very host. Set GANTRY_TASK_ENDPOINT=false where containers need no metadata.'
    const state = this.#socket === undefined ? 'Containers reach no task endpoint' : 'The task endpoint is not whole'
    this.#options.log.warn({ why }, `${state}: ${why}. ${advice}`)
  }
}
