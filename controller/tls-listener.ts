/**
 * The TLS listener: the same requests and upgrades as the plain one, for every address. Who has not finished a handshake
 * has shown nothing: such connections are few for one address, and short.
 */
import { createServer, type Server } from 'node:https'
import type { IncomingMessage, RequestListener } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { SecureContextOptions } from 'node:tls'
import { headersTimeoutMs, idleConnectionMs, timeoutCheckMs } from './api/connection-limits.ts'
import { type ClientConnection, ClientConnections } from './client-connections.ts'
import type { ListenAddress } from './config.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'
import type { Tls } from './tls.ts'
import type { ServedCertificates } from './tls-certificate.ts'

export interface TlsListenerOptions {
  readonly listen: ListenAddress
  readonly tls: Tls
  readonly log: Log
  readonly metrics: Metrics
  readonly request: RequestListener
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
  /** For bytes inside of TLS that are no HTTP. */
  readonly clientError: (error: Error, socket: Socket) => void
  readonly limits?: Partial<TlsLimits> | undefined
}

export interface TlsLimits {
  /** A client that takes longer to shake hands is cut off, milliseconds. */
  readonly handshakeTimeoutMs: number
  /** The whole header of a request, and the whole request. */
  readonly headersTimeoutMs: number
  readonly requestTimeoutMs: number
  /** Open connections of one client, and those of it that are still shaking hands (client-connections.ts). */
  readonly connectionsPerAddressMax: number
  readonly handshakesPerAddressMax: number
  readonly connectionsMax: number
}

/** An agent holds four connections, and many may be behind one address; a process has some hundred thousand files. */
export const tlsLimitsDefault: TlsLimits = {
  handshakeTimeoutMs: 10_000,
  headersTimeoutMs,
  requestTimeoutMs: 60_000,
  connectionsPerAddressMax: 1024,
  handshakesPerAddressMax: 128,
  connectionsMax: 16_384,
}

/** How long requests in hand may take once the listener closes. */
const closeTimeoutMs = 3000
/** A client's pool keeps connections for a minute or so: the server must not close one that is about to be used. */
const keepAliveMs = 72_000

export interface TlsListener {
  readonly address: ListenAddress
  close(): Promise<void>
}

/** Rejects where the address can't be bound. */
export async function startTlsListener(options: TlsListenerOptions): Promise<TlsListener> {
  const { listen, tls, log, metrics } = options
  const limits = { ...tlsLimitsDefault, ...options.limits }
  const server = createServer(
    {
      ...contextOf(tls.current),
      handshakeTimeout: limits.handshakeTimeoutMs,
      headersTimeout: limits.headersTimeoutMs,
      requestTimeout: limits.requestTimeoutMs,
      keepAliveTimeout: keepAliveMs,
      connectionsCheckingInterval: timeoutCheckMs,
      ALPNProtocols: ['http/1.1'],
      shouldUpgradeCallback: (request) => request.headers.upgrade?.toLowerCase() === 'websocket',
    },
    options.request,
  )
  metrics.counter('gantry_tls_failures_total', 'TLS connections that came to nothing, by reason.')
  server.maxConnections = limits.connectionsMax
  server.timeout = idleConnectionMs
  server.on('upgrade', options.upgrade)
  server.on('clientError', options.clientError)
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
    metrics.count('gantry_tls_failures_total', { reason: reasonOf(error) })
    log.debug({ peer: socket.remoteAddress, code: error.code }, 'a TLS handshake failed')
    socket.destroy()
  })
  boundConnections(server, limits, (reason) => metrics.count('gantry_tls_failures_total', { reason }))
  tls.onChange((served) => server.setSecureContext(contextOf(served)))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host: listen.host, port: listen.port }, () => {
      server.off('error', reject)
      resolve()
    })
  })
  server.on('error', (error) => log.error({ err: error }, 'the TLS listener met an error'))
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : listen.port
  return { address: { host: listen.host, port }, close: () => closeServer(server) }
}

function contextOf({ cert, key }: ServedCertificates): SecureContextOptions {
  return { cert: [...cert], key: [...key], minVersion: 'TLSv1.2', maxVersion: 'TLSv1.3' }
}

/** Few reasons, so that a client can't make the metrics grow. */
function reasonOf({ code = '' }: NodeJS.ErrnoException): string {
  if (code === 'ERR_TLS_HANDSHAKE_TIMEOUT') return 'timeout'
  if (code === 'ECONNRESET' || code === 'EPIPE') return 'closed'
  if (/UNSUPPORTED_PROTOCOL|VERSION/.test(code)) return 'version'
  if (/NO_SHARED_CIPHER/.test(code)) return 'cipher'
  if (/ALERT/.test(code)) return 'certificate refused'
  return 'garbage'
}

function boundConnections(server: Server, limits: TlsLimits, refused: (reason: string) => void): void {
  const clients = new ClientConnections(limits)
  const shaking = new Map<string, ClientConnection>()
  server.on('connection', (socket: Socket) => {
    // Whatever becomes of the connection, its errors are its own.
    socket.on('error', () => socket.destroy())
    const key = keyOf(socket)
    const address = socket.remoteAddress
    if (address === undefined) {
      socket.destroy()
      return
    }
    const connection = clients.admit(address)
    if (connection === undefined) {
      refused('too many')
      socket.destroy()
      return
    }
    shaking.set(key, connection)
    socket.once('close', () => {
      connection.closed()
      if (shaking.get(key) === connection) shaking.delete(key)
    })
  })
  server.on('secureConnection', (socket) => {
    const key = keyOf(socket)
    shaking.get(key)?.handshakeEnded()
    shaking.delete(key)
  })
}

/** The TLS socket and the connection that it is on are two objects with the same ends. */
function keyOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(() => server.closeAllConnections(), closeTimeoutMs)
    server.close(() => {
      clearTimeout(timer)
      resolve()
    })
    server.closeIdleConnections()
  })
}
