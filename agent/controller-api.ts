/**
 * Calls of the controller in the name of a task's role: what the agent fetches for a task, and what a task's containers
 * ask through the agent. The host's own keys have no part in them.
 */
import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { isIP } from 'node:net'
import { signRequest } from '../proto/sigv4.ts'
import type { Credentials } from '../proto/sigv4.ts'
import { explainTlsError } from './controller-trust.ts'
import type { ControllerTrust } from './controller-trust.ts'
import { ApiCallError } from './ecs-api.ts'
import { environmentFileBytesMax } from './decide/environment-file.ts'

const callTimeoutMs = 20_000
/** A secret is 64 KiB at most, and ten parameters are 80 KiB. */
const answerBytesMax = 4 * 1024 * 1024
/** Connections to the controller: a hundred tasks that start at once take turns. */
const connectionsMax = 16
/** What the task endpoint lets through at once: what is passed on waits for no fetch, and no fetch for it. */
const forwardedConnectionsMax = 32
/** As with Node's own agent: an idle connection is not kept for long. */
const idleTimeoutMs = 5_000

export type ControllerService = 'ecs' | 'ssm' | 'secretsmanager'

const targets: Readonly<Record<ControllerService, string>> = {
  ecs: 'AmazonEC2ContainerServiceV20141113',
  ssm: 'AmazonSSM',
  secretsmanager: 'secretsmanager',
}

export interface ControllerApi {
  /** One call of an AWS API, signed with these keys. Fails with an ApiCallError. */
  call(
    service: ControllerService,
    operation: string,
    input: object,
    keys: Credentials,
    timeoutMs?: number,
  ): Promise<Readonly<Record<string, unknown>>>
  /** The bytes of a file that the controller fetches from its object store. Fails with an ApiCallError. */
  environmentFile(arn: string, keys: Credentials): Promise<Uint8Array>
  /** Passes a request on as it came, signed by whoever made it. Fails with an Error where there is no answer. */
  forward(request: ForwardedRequest): Promise<ForwardedAnswer>
}

export interface ForwardedRequest {
  readonly method: string
  /** Path and query. */
  readonly target: string
  /** Names and values in turn, as they came. */
  readonly rawHeaders: readonly string[]
  readonly body: Uint8Array
}

export interface ForwardedAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly content: Uint8Array
}

export interface ControllerApiOptions {
  readonly origin: string
  readonly region: string
  readonly trust: ControllerTrust
  readonly now: () => number
  /** Absent: by HTTP to the origin. */
  readonly carry?: Carry | undefined
}

/** Takes one request to the controller and brings its answer. Fails with an Error where there is none. */
export type Carry = (target: string, request: CarriedRequest) => Promise<ForwardedAnswer>

export interface CarriedRequest {
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array
  readonly timeoutMs: number
}

export function openControllerApi(options: ControllerApiOptions): ControllerApi {
  const { origin, region, now } = options
  const own = connectionsTo(origin, connectionsMax)
  const forwarded = connectionsTo(origin, forwardedConnectionsMax)
  const carryBy =
    (connections: HttpAgent): Carry =>
    async (target, request) =>
      exchange(options, target, { ...request, connections })
  const carryOwn = options.carry ?? carryBy(own)
  const carryForwarded = options.carry ?? carryBy(forwarded)
  const signed = async (
    operation: string,
    request: { method: string; path: string; headers: Record<string, string>; body: string; service: string },
    keys: Credentials,
    timeoutMs: number,
  ): Promise<ForwardedAnswer> => {
    const { method, path, body, service } = request
    const url = `${origin}${path}`
    const headers = signRequest({
      method,
      url,
      headers: request.headers,
      body,
      credentials: keys,
      region,
      service,
      now: now(),
    })
    const one = { method, headers, body: Buffer.from(body), timeoutMs }
    return carryOwn(path, one).catch((error: unknown) => {
      throw unanswered(options, operation, error)
    })
  }
  return {
    async call(service, operation, input, keys, timeoutMs = callTimeoutMs) {
      const headers = {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': `${targets[service]}.${operation}`,
      }
      const request = { method: 'POST', path: '/', headers, body: JSON.stringify(input), service }
      const answer = await signed(operation, request, keys, timeoutMs)
      const value = membersOf(answer.content)
      if (answer.status === 200 && value !== undefined) return value
      throw refused(operation, answer, value)
    },

    async environmentFile(arn, keys) {
      const path = `/v1/environment-files?arn=${encodeURIComponent(arn)}`
      const request = { method: 'GET', path, headers: {}, body: '', service: 'ecs' }
      const answer = await signed('GetObject', request, keys, callTimeoutMs)
      if (answer.status === 200) return answer.content
      throw refused('GetObject', answer, membersOf(answer.content))
    },

    async forward({ method, target, rawHeaders, body }) {
      const headers = passedHeaders(rawHeaders)
      const answer = await carryForwarded(target, { method, headers, body, timeoutMs: callTimeoutMs })
      const { status, content } = answer
      return { status, content, headers: answer.headers }
    },
  }
}

interface Exchange extends CarriedRequest {
  readonly connections: HttpAgent
}

function connectionsTo(origin: string, maxSockets: number): HttpAgent {
  const settings = { keepAlive: true, maxSockets, timeout: idleTimeoutMs }
  return origin.startsWith('https:') ? new HttpsAgent(settings) : new HttpAgent(settings)
}

async function exchange(
  { origin, trust }: ControllerApiOptions,
  target: string,
  one: Exchange,
): Promise<ForwardedAnswer> {
  const { method, body, timeoutMs, connections: agent } = one
  // Node says the length of a body only with methods that usually have one: without it the body of a GET would be read as
  // a request of its own, which nobody here has looked at.
  const headers = body.length === 0 ? one.headers : { ...one.headers, 'content-length': String(body.length) }
  return new Promise((resolve, reject) => {
    const { protocol, hostname, port } = new URL(origin)
    const host = hostname.replace(/^\[(.*)\]$/, '$1')
    const isSecure = protocol === 'https:'
    const signal = AbortSignal.timeout(timeoutMs)
    // A request that is passed on keeps the Host that was signed; the certificate must still be the controller's.
    const { ca, ...rest } = trust.tls()
    const tls = { ...rest, ...(ca !== undefined && { ca: [...ca] }), servername: isIP(host) === 0 ? host : '' }
    const options = { host, port: port === '' ? undefined : port, path: target, method, headers, signal, agent }
    const take = (response: IncomingMessage): void => void readAll(response).then(resolve, reject)
    const call = isSecure ? httpsRequest({ ...options, ...tls }, take) : httpRequest(options, take)
    call.on('error', reject)
    call.end(body)
  })
}

async function readAll(response: IncomingMessage): Promise<ForwardedAnswer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response) {
    bytes += (chunk as Buffer).length
    if (bytes > Math.max(answerBytesMax, environmentFileBytesMax)) {
      throw new Error(`the answer is longer than ${answerBytesMax} bytes`)
    }
    chunks.push(chunk as Buffer)
  }
  const { statusCode = 0 } = response
  const headers = Object.entries(response.headers).flatMap(([name, value]): [string, string][] =>
    typeof value === 'string' ? [[name, value]] : [],
  )
  return { status: statusCode, headers: Object.fromEntries(headers), content: Buffer.concat(chunks) }
}

/** Headers of one connection, which are not passed on. */
const ofConnection = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'te', 'trailer', 'expect'])

/** What goes on to the controller of a request's headers: of several with one name all values, as one. */
export function passedHeaders(rawHeaders: readonly string[]): Record<string, string> {
  const headers: Record<string, string> = {}
  for (let index = 0; index + 1 < rawHeaders.length; index += 2) {
    const name = (rawHeaders[index] ?? '').toLowerCase()
    const value = rawHeaders[index + 1] ?? ''
    if (ofConnection.has(name) || name === 'content-length') continue
    headers[name] = headers[name] === undefined ? value : `${headers[name]},${value}`
  }
  return headers
}

function refused(
  operation: string,
  answer: ForwardedAnswer,
  value: Readonly<Record<string, unknown>> | undefined,
): ApiCallError {
  const { status, headers, content } = answer
  const type = value?.['__type'] ?? value?.['code']
  const code = typeof type === 'string' ? type.slice(type.lastIndexOf('#') + 1) : `HTTP ${status}`
  const message = value?.['message'] ?? value?.['Message']
  const shown = status === 200 ? 'its answer is no JSON' : Buffer.from(content).toString('utf8').slice(0, 300)
  const said = typeof message === 'string' ? message : shown
  return new ApiCallError(code, `${code}: ${said}`, { status, requestId: headers['x-amzn-requestid'] })
}

function unanswered({ origin, trust, now }: ControllerApiOptions, operation: string, error: unknown): ApiCallError {
  const why = error instanceof Error ? error.message : String(error)
  const isTimeout = error instanceof Error && /^(?:Abort|Timeout)Error$/.test(error.name)
  const explained = explainTlsError(error, { origin, trust, now: now() })
  const message = explained ?? `the controller at ${origin} does not answer ${operation}: ${why}`
  return new ApiCallError(undefined, message, { cause: error, isTimeout })
}

function membersOf(content: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(content.length === 0 ? '{}' : Buffer.from(content).toString('utf8'))
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined
  } catch {
    return undefined
  }
}
