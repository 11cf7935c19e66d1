/**
 * On-demand channels: the controller asks for a container's log or for a command in it, and the agent dials back. What is
 * asked for is checked here again: only containers of this agent's tasks, and commands only where the task allows them.
 */
import type { Frame } from '../proto/acs.ts'
import { streamChannelPath, streamFrameBytesMax } from '../proto/streams.ts'
import type { GantryStreamRequest } from '../proto/streams.ts'
import type { ControllerTrust } from './controller-trust.ts'
import type { CredentialsSource } from './credentials.ts'
import type { EngineStreams } from './engine-streams.ts'
import { openExecEnds } from './exec-ends.ts'
import type { ExecEnds } from './exec-ends.ts'
import { execSession } from './exec-session.ts'
import { openSignedSocket } from './link.ts'
import type { Log } from './log.ts'
import { followSession } from './log-follow.ts'
import { StreamSocket } from './stream-socket.ts'
import type { StreamSocketHandlers } from './stream-socket.ts'
import type { Timers } from './timers.ts'
import type { TurnTask } from './turn-options.ts'

export interface StreamsOptions {
  readonly engine: EngineStreams
  readonly tasks: () => readonly TurnTask[]
  readonly dataDirectory: string
  readonly discover: (again: boolean) => Promise<string>
  readonly cluster: string
  readonly containerInstanceArn: string
  readonly region: string
  readonly credentials: CredentialsSource
  readonly trust?: ControllerTrust | undefined
  readonly now: () => number
  readonly timers: Timers
  readonly log: Log
}

export interface Streams {
  /** True where the frame asked for a stream. */
  onFrame(frame: Frame): boolean
  /** Ends all of them, and the commands with them. */
  close(): Promise<void>
}

/** What one stream does; it begins with its channel, and `close` ends it when that is gone. */
export interface StreamSession extends Omit<StreamSocketHandlers, 'onClosed'> {
  close(): Promise<void>
}

export interface SessionStart {
  readonly engine: EngineStreams
  readonly dockerId: string
  readonly timers: Timers
  readonly ends: ExecEnds
  readonly now: () => number
  /** Set before the session begins. */
  readonly socket: () => StreamSocket
}

/** Of a host; the controller has the limit of each container. */
const execsMax = 32
const followsMax = 64

export function startStreams(options: StreamsOptions): Streams {
  const { engine, timers, log, dataDirectory } = options
  const ends = openExecEnds(dataDirectory, engine, timers, log)
  const open = new Map<string, { readonly isExec: boolean; readonly session: StreamSession }>()

  const start = async (request: GantryStreamRequest): Promise<void> => {
    const found = containerOf(options.tasks(), request)
    const isExec = request.exec !== undefined
    const count = [...open.values()].filter((one) => one.isExec === isExec).length
    const isFull = count >= (isExec ? execsMax : followsMax)
    let socket: StreamSocket | undefined
    const begin: Omit<SessionStart, 'dockerId'> = {
      engine,
      timers,
      ends,
      now: options.now,
      socket: () => socket ?? raise(),
    }
    const session =
      'refusal' in found
        ? refusedSession(found.refusal, begin.socket)
        : isFull
          ? refusedSession(`This host has ${count} such sessions open already; end one first.`, begin.socket)
          : request.exec === undefined
            ? followSession({ ...begin, dockerId: found.dockerId }, request.logs ?? { follow: false })
            : execSession({ ...begin, dockerId: found.dockerId }, request.exec)
    open.set(request.streamId, { isExec, session })
    const forget = (): void => void open.delete(request.streamId)
    try {
      const webSocket = await openSignedSocket(await urlOf(options, request.streamId), options, streamFrameBytesMax)
      socket = new StreamSocket(webSocket, timers, {
        onOpen: () => session.onOpen(),
        onControl: (frame) => session.onControl(frame),
        onStdin: (bytes, taken) => session.onStdin(bytes, taken),
        onRoom: () => session.onRoom(),
        onClosed: () => void session.close().finally(forget),
      })
    } catch (error) {
      forget()
      throw error
    }
  }
  return {
    onFrame({ type, message }) {
      if (type !== 'GantryStreamRequest') return false
      const request: unknown = message
      if (!isRequest(request)) log.warn({}, 'A request for a stream can not be read; it is ignored.')
      else {
        start(request).catch((error: unknown) => log.warn({ err: error }, 'A stream could not be opened.'))
      }
      return true
    },
    async close() {
      await Promise.all([...open.values()].map(async ({ session }) => session.close()))
    },
  }
}

async function urlOf({ discover, cluster, containerInstanceArn }: StreamsOptions, streamId: string): Promise<string> {
  const url = new URL(streamChannelPath, await discover(false))
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  url.searchParams.set('clusterArn', cluster)
  url.searchParams.set('containerInstanceArn', containerInstanceArn)
  url.searchParams.set('stream', streamId)
  return url.href
}

function containerOf(
  tasks: readonly TurnTask[],
  { taskArn, container, exec }: GantryStreamRequest,
): { readonly dockerId: string } | { readonly refusal: string } {
  const task = tasks.find(({ payload }) => payload.arn === taskArn)
  if (task === undefined) return { refusal: 'The agent does not have this task (any more).' }
  const { dockerId, removed } = task.facts.containers[container] ?? {}
  if (dockerId === undefined || removed === true) {
    return { refusal: `The container ${container} is not there: it was not created yet, or is removed.` }
  }
  if (exec === undefined) return { dockerId }
  if (task.payload.gantry?.enableExecuteCommand !== true) {
    return { refusal: 'The task was started without enableExecuteCommand.' }
  }
  const isRunning = task.observed.get(container)?.status === 'running'
  return isRunning ? { dockerId } : { refusal: `The container ${container} is not running.` }
}

/** Dials all the same: whoever waits for the stream is told why there is none. */
function refusedSession(reason: string, socket: () => StreamSocket): StreamSession {
  return {
    onOpen: () => socket().end({ type: 'Failure', message: { reason } }),
    onControl: () => undefined,
    onStdin: (_bytes, taken) => taken(),
    onRoom: () => undefined,
    close: async () => undefined,
  }
}

function isRequest(value: unknown): value is GantryStreamRequest {
  const { streamId, taskArn, container, exec } = value as Partial<GantryStreamRequest>
  const isCommand = exec === undefined || (Array.isArray(exec.command) && exec.command.length > 0)
  return typeof streamId === 'string' && typeof taskArn === 'string' && typeof container === 'string' && isCommand
}

function raise(): never {
  throw new Error('A stream has no socket before it is opened.')
}
