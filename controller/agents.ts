/**
 * The agents' WebSockets, on the same port as the API: bytes in, bytes out. Here are the signed handshakes, the sockets,
 * the timer and the bounds; what to say is decided in `decide/session.ts` and `decide/telemetry.ts`.
 */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { frameBytesMax } from '../proto/acs.ts'
import { ApiError } from '../proto/errors.ts'
import { dataChannelPath, streamFrameBytesMax } from '../proto/streams.ts'
import { endForGood } from './api/connection-limits.ts'
import { asApiError } from './api/rpc.ts'
import { ControlChannels, type ControlServices } from './control-channels.ts'
import type { Handshake } from './decide/handshake.ts'
import type { CommandPlan, OpenedSession } from './ecs/handler.ts'
import { ExecSessions } from './exec-sessions.ts'
import { admitHandshake, type HandshakeServices } from './handshakes.ts'
import type { HostGuard } from './host-guard.ts'
import { InstanceSockets } from './instance-sockets.ts'
import type { Log } from './log.ts'
import { LogChannels } from './log-channels.ts'
import type { LogStore } from './log-store.ts'
import type { Metrics } from './metrics.ts'
import type { Peer } from './peer.ts'
import { Streams } from './streams.ts'
import { TelemetryChannels } from './telemetry-channels.ts'

export interface AgentsServices extends ControlServices, HandshakeServices {
  readonly hosts: HostGuard
  readonly metrics: Metrics
  readonly logStore: LogStore
}

export interface Agents {
  /** For the HTTP server's `upgrade` event. */
  upgrade(this: void, request: IncomingMessage, socket: Duplex, head: Buffer): void
  /** When the agent of this instance last said anything, epoch milliseconds; undefined where it has no channel. */
  lastHeardAt(this: void, instanceId: string): number | undefined
  /** When this controller was ready for agents, epoch milliseconds. */
  readonly readyAt: number
  /** Connected instances that have said nothing for so long: since when. */
  silences(this: void, silenceMs: number): ReadonlyMap<string, number>
  /** Throws ApiError where there are too many. `requireStill` throws one once the caller could not open it any more. */
  openSession(this: void, plan: CommandPlan, requireStill: () => void): OpenedSession
  /** Streams that agents are asked for. */
  readonly streams: Streams
  /** Where it is told that logs of a task were stored. */
  readonly logChannels: Pick<LogChannels, 'watch'>
  /** What agents publish of their tasks, and how to ask for more of it. */
  readonly telemetry: Pick<TelemetryChannels, 'usageOf' | 'quicken'>
  close(): Promise<void>
}

const tickMs = 1000
/** An agent that lets this many bytes pile up reads too slowly, or not at all. */
const bufferedBytesMax = 16 * 1024 * 1024
/** How long a peer may take to answer a close before it is cut off. */
const closeTimeoutMs = 2000

export function startAgents(services: AgentsServices): Agents {
  const { log, metrics } = services
  const control = new ControlChannels(services)
  const telemetry = new TelemetryChannels(services)
  const logChannels = new LogChannels(services)
  const streams = new Streams({ sendToAgent: (id, type, message) => control.send(id, type, message) })
  const sessions = new ExecSessions({ clock: services.clock, log, streams })
  const sockets = new Set<WebSocket>()
  const instanceSockets = new InstanceSockets(services.turn, log)
  const webSockets = acceptor(frameBytesMax)
  /** Clients of ExecuteCommand, who show their token only once they are connected. */
  const clientSockets = acceptor(streamFrameBytesMax)
  const stopTicking = everySecond(control, telemetry)
  let closing = false
  gauge(metrics, 'gantry_agent_sockets', 'Open sockets of agents.', () => sockets.size)
  gauge(metrics, 'gantry_exec_sessions', 'Open sessions of ExecuteCommand.', () => sessions.count)
  const keep = (webSocket: WebSocket): void => {
    sockets.add(webSocket)
    webSocket.on('close', () => sockets.delete(webSocket))
  }

  return {
    upgrade(request, socket, head) {
      socket.on('error', () => socket.destroy())
      const sessionId = sessionIn(request.url ?? '')
      if (!closing && sessionId !== undefined && sessions.isPending(sessionId)) {
        clientSockets.handleUpgrade(request, socket, head, (webSocket) => {
          keep(webSocket)
          sessions.connected(sessionId, webSocket)
        })
        return
      }
      let handshake: Handshake
      try {
        if (closing) throw new ApiError('ServerException', 'The controller is shutting down.')
        handshake = admitHandshake(services, request)
        checkAwaited(handshake, streams)
      } catch (error) {
        tellRefusal(services, request, socket, error)
        return
      }
      metrics.count('gantry_requests_total', { operation: 'handshake', code: 'OK' })
      webSockets.handleUpgrade(request, socket, head, (webSocket) => {
        keep(webSocket)
        instanceSockets.add(handshake.instanceId, webSocket)
        if (handshake.channel === 'streams') {
          streams.dialled(handshake.streamId ?? '', webSocket)
          return
        }
        const channels = { acs: control, tcs: telemetry, logs: logChannels }[handshake.channel]
        connect({ webSocket, socket }, handshake, channels, log)
      })
    },
    lastHeardAt: (instanceId) => control.heardAt(instanceId),
    readyAt: control.readyAt,
    silences: (silenceMs) => control.silences(silenceMs),
    openSession: (plan, requireStill) => sessions.open(plan, requireStill),
    streams,
    logChannels,
    telemetry,
    async close() {
      closing = true
      stopTicking()
      sessions.close()
      const ends = [...sockets].map((webSocket) => endSocket(webSocket))
      await Promise.all(ends)
    },
  }
}

function everySecond(...channels: readonly { tick(): void }[]): () => void {
  const timer = setInterval(() => {
    for (const each of channels) each.tick()
  }, tickMs)
  return () => clearInterval(timer)
}

function gauge(metrics: Metrics, name: string, help: string, read: () => number): void {
  metrics.gauge(name, help, () => [{ labels: {}, value: read() }])
}

function acceptor(maxPayload: number): WebSocketServer {
  return new WebSocketServer({ noServer: true, maxPayload, perMessageDeflate: false, clientTracking: false })
}

/** Throws ApiError for an on-demand channel that was not asked for. */
function checkAwaited({ channel, streamId = '', instanceId }: Handshake, streams: Streams): void {
  if (channel !== 'streams' || streams.awaits(streamId, instanceId)) return
  throw new ApiError('ResourceNotFoundException', 'Nobody waits for this stream (any more).')
}

function tellRefusal({ log, metrics }: AgentsServices, request: IncomingMessage, socket: Duplex, error: unknown): void {
  const requestId = randomUUID()
  const refusal = asApiError(error, requestId)
  const facts = { requestId, code: refusal.code, path: request.url?.split('?')[0], reason: refusal.message }
  if (refusal.httpStatus >= 500) log.error({ ...facts, err: error }, 'refused a channel')
  else log.warn(facts, 'refused a channel')
  metrics.count('gantry_requests_total', { operation: 'handshake', code: refusal.code })
  refuse(socket, refusal, requestId)
}

interface Channels {
  open(handshake: Handshake, peer: Peer): void
  frame(instanceId: string, peer: Peer, text: string): void
  closed(instanceId: string, peer: Peer, code: number): void
  /** Where the channel carries bytes too. */
  bytes?(instanceId: string, peer: Peer, bytes: Buffer): void
}

/** The session that a client's path names. */
function sessionIn(path: string): string | undefined {
  return path.startsWith(dataChannelPath) ? path.slice(dataChannelPath.length).split('?')[0] : undefined
}

/** A WebSocket, and the connection that it speaks on. */
interface Wire {
  readonly webSocket: WebSocket
  readonly socket: Duplex
}

function connect(wire: Wire, handshake: Handshake, channels: Channels, log: Log): void {
  const { instanceId } = handshake
  const { webSocket } = wire
  const peer = peerOf(wire, log)
  webSocket.on('error', (error) => log.warn({ err: error, instance: instanceId, peer: peer.id }, 'channel failed'))
  webSocket.on('close', (code) => channels.closed(instanceId, peer, code))
  webSocket.on('message', (data, isBinary) => {
    // With the default binaryType a message is one Buffer, whether it came as text or as bytes.
    if (!Buffer.isBuffer(data)) return
    if (isBinary && channels.bytes !== undefined) channels.bytes(instanceId, peer, data)
    else channels.frame(instanceId, peer, data.toString('utf8'))
  })
  channels.open(handshake, peer)
}

function peerOf({ webSocket, socket }: Wire, log: Log): Peer {
  const id = randomUUID().slice(0, 8)
  let isHeld = false
  // All that one turn has for an agent leaves in one write: a write costs more than what it carries.
  const holdForThisTurn = (): void => {
    if (isHeld) return
    isHeld = true
    socket.cork()
    process.nextTick(() => {
      isHeld = false
      socket.uncork()
    })
  }
  return {
    id,
    send(text) {
      if (webSocket.readyState !== webSocket.OPEN) return
      if (webSocket.bufferedAmount > bufferedBytesMax) {
        log.warn({ peer: id, bytes: webSocket.bufferedAmount }, 'cut off an agent that does not read')
        webSocket.terminate()
        return
      }
      holdForThisTurn()
      webSocket.send(text)
    },
    close(code, reason) {
      webSocket.close(code, reason)
      setTimeout(() => webSocket.terminate(), closeTimeoutMs).unref()
    },
    pause: () => webSocket.pause(),
    resume: () => webSocket.resume(),
  }
}

function endSocket(webSocket: WebSocket): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => webSocket.terminate(), closeTimeoutMs)
    webSocket.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
    // 1001: going away. The agent redials until the controller is back.
    webSocket.close(1001, 'The controller is shutting down')
  })
}

/** A refused handshake is a plain HTTP answer whose body the official agent reads as a typed error. */
function refuse(socket: Duplex, error: ApiError, requestId: string): void {
  const body = JSON.stringify({ type: error.code, message: { message: error.message } })
  const status = error.code === 'ResourceNotFoundException' ? 404 : error.httpStatus
  socket.end(
    `HTTP/1.1 ${status} ${status === 404 ? 'Not Found' : error.httpStatus >= 500 ? 'Unavailable' : 'Refused'}\r\n` +
      `Date: ${new Date(Date.now()).toUTCString()}\r\nx-amzn-RequestId: ${requestId}\r\n` +
      `x-amzn-ErrorType: ${error.code}\r\nContent-Type: application/json\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
  endForGood(socket)
}
