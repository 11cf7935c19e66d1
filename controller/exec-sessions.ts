/**
 * Sessions of ExecuteCommand: a token that is good once and for a minute, then the client's channel joined to the agent's.
 * Frames are passed on unread; what is bounded and audited here is the session.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { WebSocket } from 'ws'
import { parseFrame } from '../proto/acs.ts'
import type { Clock } from '../proto/world.ts'
import { streamFrameBytesMax } from '../proto/streams.ts'
import type { OpenDataChannel } from '../proto/streams.ts'
import type { CommandPlan, OpenedSession } from './ecs/handler.ts'
import { ApiError, clientError } from '../proto/errors.ts'
import type { Log } from './log.ts'
import { StreamSocket } from './stream-socket.ts'
import type { Streams } from './streams.ts'

export interface ExecServices {
  readonly clock: Clock
  readonly log: Log
  readonly streams: Streams
}

const tokenMs = 60_000
/** As ECS: of each container. */
const perContainerMax = 2
const perInstanceMax = 32
/** Sessions that were made and are not connected to. */
const pendingMax = 1000
/** As ECS Exec: a session in which nothing moves. */
export const idleMaxMs = 20 * 60_000
const lengthMaxMs = 12 * 3600_000
const tickMs = 5000
const openTimeoutMs = 10_000

const fromClient = new Set(['Credit', 'Resize', 'StdinEnd'])
const fromAgent = new Set(['Started', 'Credit', 'End', 'Failure'])

interface Pending {
  readonly plan: CommandPlan
  /** Throws ApiError once who opened it could not any more: a shell is not to outlive the key that it was got with. */
  readonly requireStill: () => void
  readonly tokenHash: Buffer
  readonly expiresAt: number
}

interface Running {
  readonly sessionId: string
  readonly plan: CommandPlan
  readonly requireStill: () => void
  readonly log: Log
  readonly startedAt: number
  movedAt: number
  bytes: number
  client: StreamSocket
  agent: StreamSocket | undefined
  over: boolean
}

export class ExecSessions {
  readonly #services: ExecServices
  readonly #pending = new Map<string, Pending>()
  readonly #running = new Map<string, Running>()
  readonly #timer: NodeJS.Timeout

  constructor(services: ExecServices) {
    this.#services = services
    this.#timer = setInterval(() => this.#tick(), tickMs)
    this.#timer.unref()
  }

  get count(): number {
    return this.#running.size
  }

  /** Throws ApiError where the container or its host has as many sessions as it may. */
  open(plan: CommandPlan, requireStill: () => void): OpenedSession {
    const { clock, log } = this.#services
    this.#checkLimits(plan)
    if (this.#pending.size >= pendingMax) {
      throw new ApiError('ServerException', `${pendingMax} sessions wait for their clients. Try again in a minute.`)
    }
    const sessionId = `ecs-execute-command-${randomBytes(9).toString('hex').slice(0, 17)}`
    const tokenValue = randomBytes(32).toString('base64url')
    const expiresAt = clock.now() + tokenMs
    this.#pending.set(sessionId, { plan, requireStill, tokenHash: hashOf(tokenValue), expiresAt })
    log.info({ ...auditOf(sessionId, plan) }, 'ExecuteCommand: a session was opened')
    return { sessionId, tokenValue }
  }

  isPending(sessionId: string): boolean {
    return this.#pending.has(sessionId)
  }

  /** A client's socket for a session; its first message is the token. */
  connected(sessionId: string, webSocket: WebSocket): void {
    let running: Running | undefined
    const client = new StreamSocket(webSocket, {
      onText: (text) => {
        if (running === undefined) running = this.#authenticate(sessionId, client, text)
        else this.#pass(running, 'agent', text)
      },
      onData: (bytes) => {
        if (running !== undefined) this.#pass(running, 'agent', bytes)
      },
      onClosed: () => {
        if (running !== undefined) this.#end(running, 'the client went away')
      },
    })
    setTimeout(() => {
      if (running === undefined) client.close()
    }, openTimeoutMs).unref()
  }

  close(): void {
    clearInterval(this.#timer)
    for (const running of this.#running.values()) this.#fail(running, 'The controller is shutting down.')
  }

  #authenticate(sessionId: string, client: StreamSocket, text: string): Running | undefined {
    const { clock, log } = this.#services
    const frame = parseFrame(text)
    const given = (frame?.type === 'Open' ? frame.message : {}) as Partial<OpenDataChannel>
    const pending = this.#pending.get(sessionId)
    // Single use, a wrong one included.
    this.#pending.delete(sessionId)
    const isToken = typeof given.tokenValue === 'string'
    if (pending === undefined || clock.now() >= pending.expiresAt || !isToken) {
      client.fail(
        'The session is not open (any more): a token is good once, for one minute. Call ExecuteCommand again.',
      )
      return undefined
    }
    if (!timingSafeEqual(hashOf(given.tokenValue ?? ''), pending.tokenHash)) {
      log.warn({ session: sessionId }, 'a session was refused: its token is wrong')
      client.fail('The token of the session is wrong. Call ExecuteCommand again.')
      return undefined
    }
    const { plan, requireStill } = pending
    try {
      requireStill()
      this.#checkLimits(plan)
    } catch (error) {
      client.fail(error instanceof Error ? error.message : String(error))
      return undefined
    }
    const now = clock.now()
    const of = { sessionId, plan, requireStill, log: log.child(auditOf(sessionId, plan)) }
    const running: Running = { ...of, startedAt: now, movedAt: now, bytes: 0, client, agent: undefined, over: false }
    this.#running.set(sessionId, running)
    this.#join(running, given).catch((error: unknown) =>
      this.#fail(running, error instanceof Error ? error.message : String(error)),
    )
    return running
  }

  async #join(running: Running, { tty, columns, rows }: Partial<OpenDataChannel>): Promise<void> {
    const { instanceId, taskArn, container, command } = running.plan
    const exec = { command, tty: tty === true, columns, rows }
    const agent = await this.#services.streams.request(
      instanceId,
      { taskArn, container, exec },
      {
        onText: (text) => this.#pass(running, 'client', text),
        onData: (bytes) => this.#pass(running, 'client', bytes),
        onClosed: () =>
          this.#fail(
            running,
            "The connection to the container's host was lost: its agent was restarted or cut off. The command is ended.",
          ),
      },
    )
    if (running.over) {
      agent.close()
      return
    }
    running.agent = agent
    running.log.info({}, 'ExecuteCommand: the session is connected')
  }

  #pass(running: Running, to: 'agent' | 'client', frame: string | Buffer): void {
    if (running.over || frame.length > streamFrameBytesMax) return
    const { clock } = this.#services
    if (typeof frame !== 'string') {
      running.movedAt = clock.now()
      running.bytes += frame.length
      running[to]?.send(frame)
      return
    }
    const parsed = parseFrame(frame)
    if (parsed === undefined || !(to === 'agent' ? fromClient : fromAgent).has(parsed.type)) return
    // Credit is given for what was read, and what is typed into a stopped terminal moves nothing either.
    if (parsed.type === 'Resize') running.movedAt = clock.now()
    running[to]?.send(frame)
    if (to === 'client' && (parsed.type === 'End' || parsed.type === 'Failure')) {
      const { exitCode, reason } = parsed.message
      this.#end(running, 'the command ended', { exitCode, reason })
    }
  }

  #checkLimits({ taskArn, container, instanceId }: CommandPlan): void {
    const open = [...this.#running.values()].map(({ plan }) => plan)
    const ofContainer = open.filter((plan) => plan.taskArn === taskArn && plan.container === container).length
    if (ofContainer >= perContainerMax) {
      throw clientError(
        `Container ${container} has ${ofContainer} open sessions, and ${perContainerMax} is the most. End one of them.`,
      )
    }
    const ofInstance = open.filter((plan) => plan.instanceId === instanceId).length
    if (ofInstance >= perInstanceMax) {
      throw clientError(
        `The container instance has ${ofInstance} open sessions, and ${perInstanceMax} is the most. End one of them.`,
      )
    }
  }

  #tick(): void {
    const now = this.#services.clock.now()
    for (const [sessionId, { expiresAt }] of this.#pending) if (now >= expiresAt) this.#pending.delete(sessionId)
    for (const running of this.#running.values()) {
      if (now - running.movedAt >= idleMaxMs) this.#fail(running, 'The session was idle for 20 minutes.')
      else if (now - running.startedAt >= lengthMaxMs) this.#fail(running, 'The session lasted 12 hours, the most.')
      else this.#endUnlessAllowed(running)
    }
  }

  #endUnlessAllowed(running: Running): void {
    try {
      running.requireStill()
    } catch (error) {
      this.#fail(running, error instanceof Error ? error.message : String(error))
    }
  }

  #fail(running: Running, reason: string): void {
    if (running.over) return
    running.client.control({ type: 'Failure', message: { reason } })
    this.#end(running, reason)
  }

  #end(running: Running, why: string, facts: object = {}): void {
    if (running.over) return
    running.over = true
    this.#running.delete(running.sessionId)
    const seconds = Math.round((this.#services.clock.now() - running.startedAt) / 1000)
    running.log.info({ ...facts, why, seconds, bytes: running.bytes }, 'ExecuteCommand: the session is over')
    running.client.close()
    running.agent?.close()
  }
}

function hashOf(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}

/** Who ran which program, where; never its words, among which people type passwords, nor what it said. */
function auditOf(sessionId: string, { taskArn, container, command, principalArn }: CommandPlan): object {
  const program = command[0]?.slice(0, 255)
  return { session: sessionId, task: taskArn, container, program, words: command.length, principal: principalArn }
}
