/**
 * The controller's one port: ECS calls on `POST /`, the operators' REST under `/v1`, probes and metrics, and the agents'
 * sockets. Bodies stay raw bytes until they are authenticated. No request, however wrong, gets past an AWS-form error.
 */
import { randomUUID } from 'node:crypto'
import type { Socket } from 'node:net'
import { type FastifyError, type FastifyInstance, type FastifyReply, type FastifyRequest, fastify } from 'fastify'
import { ApiError } from '../../proto/errors.ts'
import type { ListenAddress } from '../config.ts'
import {
  createPipelineBound,
  endForGood,
  headersTimeoutMs,
  idleConnectionMs,
  timeoutCheckMs,
} from './connection-limits.ts'
import { registerProbes } from './probes.ts'
import { formBytesOf, readTarget } from './protocol.ts'
import { registerRest } from './rest.ts'
import { answerError, answerRpc, asApiError } from './rpc.ts'
import { startTlsListener, type TlsListener } from '../tls-listener.ts'
import { type RpcRequest, sourceOf } from './rpc-request.ts'
import type { ServerServices } from './services.ts'

export interface Server {
  /** What was really bound: with port 0 the port that was free. */
  readonly address: ListenAddress
  /** The same of the TLS listener; undefined where there is none. */
  readonly tlsAddress: ListenAddress | undefined
  close(): Promise<void>
}

/** RegisterTaskDefinition, the largest call of ECS, is at most 64 KiB; a list of overrides with its framing is less. */
const bodyBytesMax = 1024 * 1024
const requestTimeoutMs = 60_000

/** What Node and Fastify hand over for bytes that are no request. */
type ConnectionError = Error & { readonly code?: string }

/** Rejects where the address can't be bound. */
export async function startServer(services: ServerServices): Promise<Server> {
  const app = fastify({
    logger: false,
    bodyLimit: bodyBytesMax,
    requestTimeout: requestTimeoutMs,
    connectionTimeout: idleConnectionMs,
    forceCloseConnections: 'idle',
    genReqId: () => randomUUID(),
    routerOptions: { maxParamLength: 2048 },
    clientErrorHandler: answerBrokenHttp,
    frameworkErrors: answerBrokenPath,
    // Some HTTP clients offer an upgrade to HTTP/2 with every request; only a WebSocket's is taken up.
    http: {
      headersTimeout: headersTimeoutMs,
      connectionsCheckingInterval: timeoutCheckMs,
      shouldUpgradeCallback: (request) => request.headers.upgrade?.toLowerCase() === 'websocket',
    },
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  const mayGoOn = createPipelineBound()
  app.addHook('onRequest', async (request, reply) => {
    if (!mayGoOn(request.raw, reply.raw)) return reply.hijack()
    reply.header('x-amzn-RequestId', request.id)
    return undefined
  })
  registerErrors(app, services)
  // Before the REST routes, because the OpenAPI document lists every route that is registered after it.
  registerProbes(app, services)
  app.post('/', (request, reply) => replyRpc(services, request, reply))
  // A presigned URL of the Query protocol, as GetCallerIdentity's, which proves to others who somebody is.
  app.get('/', { exposeHeadRoute: false }, (request, reply) => {
    if (formBytesOf(rpcRequestOf(request)) === undefined) return reply.callNotFound()
    return replyRpc(services, request, reply)
  })
  app.post('/service/*', (request, reply) => replyRpc(services, request, reply))
  await registerRest(app, services)
  app.server.on('upgrade', services.upgrade)
  await app.listen({ host: services.listen.host, port: services.listen.port })
  const bound = app.server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : services.listen.port
  const tls = await listenByTls(app, services)
  return {
    address: { host: services.listen.host, port },
    tlsAddress: tls?.address,
    async close() {
      await Promise.all([app.close(), tls?.close()])
    },
  }
}

async function listenByTls(app: FastifyInstance, services: ServerServices): Promise<TlsListener | undefined> {
  const { tls, log, metrics, upgrade } = services
  if (tls === undefined) return undefined
  return startTlsListener({
    listen: tls.listen,
    tls: tls.certificates,
    log,
    metrics,
    request: (request, response) => app.routing(request, response),
    upgrade,
    clientError: answerBrokenHttp,
  })
}

async function replyRpc(services: ServerServices, request: FastifyRequest, reply: FastifyReply): Promise<FastifyReply> {
  const answer = await answerRpc(services, rpcRequestOf(request))
  return reply.code(answer.status).header('content-type', answer.contentType).send(answer.body)
}

function rpcRequestOf(request: FastifyRequest): RpcRequest {
  const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
  const { id, method, headers } = request
  return { requestId: id, method, path: request.raw.url ?? '/', headers, body, ...sourceOf(request.raw) }
}

/** What Fastify itself refuses, such as a body that is too large, in AWS's form. */
function registerErrors(app: FastifyInstance, services: ServerServices): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const refusal = asRefusal(error, request.id)
    if (refusal.httpStatus >= 500) services.log.error({ err: error, requestId: request.id }, 'request failed')
    services.metrics.count('gantry_requests_total', { operation: 'unknown', code: refusal.code })
    const answer = answerError(readTarget(rpcRequestOf(request)), refusal, request.id)
    return reply.code(answer.status).header('content-type', answer.contentType).send(answer.body)
  })
  app.setNotFoundHandler((request, reply) => {
    const refusal = new ApiError(
      'UnknownOperationException',
      `${request.method} ${pathOf(request)} is nothing here. ECS calls are POST / with the header X-Amz-Target; the ` +
        "operators' API is under /v1 (described at /v1/openapi.json); probes are /healthz, /readyz and /metrics.",
    )
    const answer = answerError(readTarget(rpcRequestOf(request)), refusal, request.id)
    // 404 rather than the 400 of the protocol: nobody who comes here speaks ECS, and proxies understand it.
    return reply.code(404).header('content-type', answer.contentType).send(answer.body)
  })
}

function asRefusal(error: FastifyError, requestId: string): ApiError {
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') {
    return new ApiError('RequestEntityTooLargeException', `The request body is larger than ${bodyBytesMax} bytes.`)
  }
  if (error.statusCode !== undefined && error.statusCode < 500) {
    return new ApiError('SerializationException', `The request can't be read: ${error.message}.`, { cause: error })
  }
  return asApiError(error, requestId)
}

function pathOf(request: FastifyRequest): string {
  const path = (request.raw.url ?? '/').split('?')[0] ?? '/'
  return path.length > 100 ? `${path.slice(0, 100)}...` : path
}

/** A path that the router itself refuses: a broken percent-encoding, or a member that is too long. */
function answerBrokenPath(error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  const refusal = new ApiError(
    'InvalidParameterException',
    `The path ${pathOf(request)} can't be read: it is no valid URL.`,
    {
      cause: error,
    },
  )
  const isRest = pathOf(request).startsWith('/v1/')
  const shown = isRest
    ? { code: refusal.code, message: refusal.message }
    : { __type: refusal.code, message: refusal.message }
  void reply
    .code(refusal.httpStatus)
    .header('x-amzn-RequestId', request.id)
    .header('content-type', isRest ? 'application/json' : 'application/x-amz-json-1.1')
    .send(Buffer.from(JSON.stringify(shown)))
}

/** Bytes that are not HTTP at all: there is no request to answer, so the answer is written by hand. */
function answerBrokenHttp(error: ConnectionError, socket: Socket): void {
  if (!socket.writable) {
    socket.destroy()
    return
  }
  const tooLarge = error.code === 'HPE_HEADER_OVERFLOW'
  const status = tooLarge ? '431 Request Header Fields Too Large' : '400 Bad Request'
  const why = tooLarge ? 'its headers are too large' : 'it is not well-formed HTTP/1.1'
  const body = JSON.stringify({ __type: 'SerializationException', message: `The request can't be read: ${why}.` })
  socket.end(
    `HTTP/1.1 ${status}\r\nDate: ${new Date(Date.now()).toUTCString()}\r\nx-amzn-RequestId: ${randomUUID()}\r\n` +
      `Content-Type: application/x-amz-json-1.1\r\nContent-Length: ${Buffer.byteLength(body)}\r\n` +
      `Connection: close\r\n\r\n${body}`,
  )
  endForGood(socket)
}
