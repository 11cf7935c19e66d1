/** The task endpoint's HTTP: limits of rate, size and time, then the routes. */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { createConcurrencyLimit } from './concurrency-limit.ts'
import { createPipelineBound } from './pipeline-bound.ts'
import { createRateLimit } from './rate-limit.ts'
import type { Rate } from './rate-limit.ts'
import { cleanPath, notFound, tooMany } from './task-endpoint-answers.ts'
import type { EndpointAnswer } from './task-endpoint-answers.ts'
import { plainAddress } from './task-endpoint-callers.ts'
import { isApiCall } from './task-api.ts'
import type { TaskApiRequest } from './task-api.ts'
import type { EndpointRequest } from './task-endpoint-routes.ts'

/** Source: amazon-ecs-agent 1.105, tmds: to read a request, and to answer it. */
const timeoutMs = 5_000
const bodyBytesMax = 16 * 1024
/** A call of the controller's API that is passed on: no input of one is longer. How many at once, and how long each. */
const apiBodyBytesMax = 256 * 1024
const apiCallsMax = { total: 32, perKey: 8 }
const apiTimeoutMs = 25_000
/** Far more than any path has that leads somewhere: what is asked for is remembered for a while, for its rate. */
const targetCharactersMax = 2048
const connectionsMax = 2_000
/** So that no container takes all of them: the others' programs ask for their keys here. */
const connectionsPerAddressMax = 200
/** How often connections are looked at that take too long to say what they want, milliseconds. */
const timeoutCheckMs = 1_000
/** A connection on which nothing moves, because nobody reads there. */
const idleConnectionMs = 60_000
const userAgentCharactersMax = 256
/** Source: amazon-ecs-agent 1.105, tmds: one fault a second in five. */
const faultRate: Rate = { perSecond: 0.2, burst: 1 }

export interface ServerOptions {
  readonly rate: Rate
  readonly answer: (request: EndpointRequest) => Promise<EndpointAnswer>
  /** Passes calls of the controller's API on; absent where that is not offered. */
  readonly answerApiCall?: ((request: EndpointRequest, call: TaskApiRequest) => Promise<EndpointAnswer>) | undefined
  readonly now: () => number
  /** A bug in an answer. */
  readonly onError: (error: unknown) => void
}

export function createEndpointServer(options: ServerOptions): Server {
  const isAllowed = createRateLimit(options.rate)
  const isFaultAllowed = createRateLimit(faultRate)
  const takePlace = createConcurrencyLimit(apiCallsMax)
  const mayGoOn = createPipelineBound()
  const server = createServer({ connectionsCheckingInterval: timeoutCheckMs }, (request, response) => {
    if (!mayGoOn(request, response)) return
    const limits: Limits = {
      isAllowed: (key, isFault) => (isFault ? isFaultAllowed : isAllowed)(key, options.now()),
      takePlace,
    }
    answerTo(options, request, limits).then(
      (answer) => send(response, request.method, answer),
      (error: unknown) => {
        options.onError(error)
        send(response, request.method, { status: 500, body: 'The agent failed to answer; its log says why.' })
      },
    )
  })
  server.requestTimeout = timeoutMs
  server.headersTimeout = timeoutMs
  server.maxConnections = connectionsMax
  server.timeout = idleConnectionMs
  boundAddresses(server)
  // A client such as nc has said all that it has to say, and still waits for its answer; Node would hang up on it.
  Object.assign(server, { httpAllowHalfOpen: true })
  return server
}

function boundAddresses(server: Server): void {
  const open = new Map<string, number>()
  server.on('connection', (socket) => {
    const address = plainAddress(socket.remoteAddress)
    const count = (open.get(address) ?? 0) + 1
    if (count > connectionsPerAddressMax) {
      socket.destroy()
      return
    }
    open.set(address, count)
    socket.once('close', () => {
      const left = (open.get(address) ?? 1) - 1
      if (left > 0) open.set(address, left)
      else open.delete(address)
    })
  })
}

interface Limits {
  readonly isAllowed: (key: string, isFault: boolean) => boolean
  readonly takePlace: ReturnType<typeof createConcurrencyLimit>
}

async function answerTo(
  options: ServerOptions,
  request: IncomingMessage,
  { isAllowed, takePlace }: Limits,
): Promise<EndpointAnswer> {
  // A container may ask for what is no URL, such as `//`: its path is read by hand.
  const [target = '/', query = ''] = (request.url ?? '/').split(/\?(.*)/s)
  if (!target.startsWith('/') || target.length > targetCharactersMax) return notFound
  const path = cleanPath(target)
  if (path !== target) return { status: 301, location: query === '' ? path : `${path}?${query}`, text: '' }
  const address = plainAddress(request.socket.remoteAddress)
  if (!isAllowed(`${address} ${path}`, path.includes('/fault/'))) return tooMany
  const method = request.method ?? 'GET'
  const asked: EndpointRequest = {
    method,
    path,
    query: new URLSearchParams(query),
    address,
    port: request.socket.remotePort ?? 0,
    userAgent: (request.headers['user-agent'] ?? '').slice(0, userAgentCharactersMax),
    body: '',
  }
  const { answerApiCall } = options
  if (isApiCall(method, path) && answerApiCall !== undefined) {
    const giveBack = takePlace(address)
    if (giveBack === undefined) return tooMany
    try {
      const body = await readBody(request, apiBodyBytesMax)
      if (body === undefined) return tooLong(apiBodyBytesMax)
      const call = { method, target: request.url ?? '/', rawHeaders: request.rawHeaders, body }
      return await withinTime(answerApiCall(asked, call), apiTimeoutMs)
    } finally {
      giveBack()
    }
  }
  const body = await readBody(request, bodyBytesMax)
  if (body === undefined) return tooLong(bodyBytesMax)
  return withinTime(options.answer({ ...asked, body: body.toString('utf8') }), timeoutMs)
}

function tooLong(bytesMax: number): EndpointAnswer {
  return { status: 413, body: `A body of at most ${bytesMax} bytes is taken.` }
}

/** Undefined where it is too long, or where who sent it hung up in its midst: that one waits for no answer. */
async function readBody(request: IncomingMessage, bytesMax: number): Promise<Buffer | undefined> {
  try {
    return await bytesOf(request, bytesMax)
  } catch (error) {
    if (request.socket.destroyed) return undefined
    throw error
  }
}

async function bytesOf(request: IncomingMessage, bytesMax: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request) {
    bytes += (chunk as Buffer).length
    if (bytes > bytesMax) return undefined
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks)
}

async function withinTime(answer: Promise<EndpointAnswer>, limitMs: number): Promise<EndpointAnswer> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<EndpointAnswer>((resolve) => {
    timer = setTimeout(
      () => resolve({ status: 504, body: `There was no answer within ${limitMs / 1000} s; try again.` }),
      limitMs,
    )
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}

function send(response: ServerResponse, method: string | undefined, answer: EndpointAnswer): void {
  const { status, body, text, location, content } = answer
  if (content !== undefined) {
    response.writeHead(status, { ...answer.headers })
    response.end(content)
    return
  }
  const type = text === undefined ? 'application/json' : 'text/plain; charset=utf-8'
  response.writeHead(status, { 'content-type': type, ...(location === undefined ? {} : { location }) })
  response.end(method === 'HEAD' ? undefined : (text ?? JSON.stringify(body)))
}
