/** Calls of the controller's APIs, signed: the few that an agent makes. Bare node:http, as memory is a budget here. */
import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { RequestOptions } from 'node:https'
import { signRequest } from '../proto/sigv4.ts'
import type { Credentials } from '../proto/sigv4.ts'
import type { Clock } from '../proto/world.ts'
import { type ControllerTrust, explainTlsError, systemTrust } from './controller-trust.ts'
import type { CredentialsSource } from './credentials.ts'
import type { HostKeyring } from './host-keyring.ts'

/** Source: amazon-ecs-agent 1.105, the API client's own timeout. */
const callTimeoutMs = 42_000
const answerBytesMax = 4 * 1024 * 1024
/** Beyond this the controller refuses a signature as stale. */
const clockSkewMaxMs = 15 * 60_000
/** A host has two pairs of keys at most, and they may change once while a call is under way. */
const triesMax = 4
/** The controller knows no such keys. */
export const unknownKeysCode = 'UnrecognizedClientException'

export interface ApiOptions {
  readonly origin: string
  readonly region: string
  readonly credentials: CredentialsSource
  readonly clock: Clock
  /** Whose certificates are believed; the system's CAs where nothing is said. */
  readonly trust?: ControllerTrust | undefined
  /** The keys of a host that has joined: told which of them the controller takes. */
  readonly keyring?: HostKeyring | undefined
}

export type CallApi = (
  operation: string,
  input: object,
  timeoutMs?: number,
) => Promise<Readonly<Record<string, unknown>>>

interface ApiCallErrorOptions extends ErrorOptions {
  readonly status?: number | undefined
  readonly requestId?: string | undefined
  readonly isTimeout?: boolean | undefined
}

/** The controller said no, or there was no answer (then `code` is undefined). The message says what to do. */
export class ApiCallError extends Error {
  readonly code: string | undefined
  /** The HTTP status, where there was an answer. */
  readonly status: number | undefined
  readonly requestId: string | undefined
  /** True where the time was over before there was an answer. */
  readonly isTimeout: boolean

  constructor(code: string | undefined, message: string, options: ApiCallErrorOptions = {}) {
    super(message, options)
    this.name = 'ApiCallError'
    this.code = code
    this.status = options.status
    this.requestId = options.requestId
    this.isTimeout = options.isTimeout ?? false
  }
}

export function openApi(options: ApiOptions): CallApi {
  return async (operation, input, timeoutMs = callTimeoutMs) =>
    signedCall(options, {
      operation,
      path: '/',
      headers: {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': `AmazonEC2ContainerServiceV20141113.${operation}`,
      },
      body: JSON.stringify(input),
      timeoutMs,
    })
}

/** A POST of the controller's REST API. Throws ApiCallError. */
export async function postRest(
  options: ApiOptions,
  path: string,
  input: object,
): Promise<Readonly<Record<string, unknown>>> {
  const headers = { 'content-type': 'application/json' }
  return signedCall(options, { operation: path, path, headers, body: JSON.stringify(input), timeoutMs: callTimeoutMs })
}

interface Call {
  /** As messages name it. */
  readonly operation: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly timeoutMs: number
}

async function signedCall(options: ApiOptions, call: Call): Promise<Readonly<Record<string, unknown>>> {
  const { keyring } = options
  for (let tries = 1; ; tries += 1) {
    const credentials = await options.credentials()
    const answer = await send(options, call, credentials)
    try {
      const value = readAnswer(call.operation, answer, options)
      keyring?.accepted(credentials.accessKeyId)
      return value
    } catch (error) {
      const isUnknown = error instanceof ApiCallError && error.code === unknownKeysCode
      // With another pair at hand the call is made once more: it was refused before anything was done.
      if (isUnknown && keyring?.refused(credentials.accessKeyId) === 'again' && tries < triesMax) continue
      if (!isUnknown) keyring?.accepted(credentials.accessKeyId)
      throw error
    }
  }
}

async function send(options: ApiOptions, call: Call, credentials: Credentials): Promise<Answer> {
  const { origin, clock, trust = systemTrust } = options
  const headers = signRequest({
    method: 'POST',
    url: `${origin}${call.path}`,
    headers: call.headers,
    body: call.body,
    credentials,
    region: options.region,
    service: 'ecs',
    now: clock.now(),
  })
  return post(`${origin}${call.path}`, trust, headers, call.body, call.timeoutMs).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error)
    throw new ApiCallError(
      undefined,
      explainTlsError(error, { origin, trust, now: clock.now() }) ??
        `The controller at ${origin} does not answer ${call.operation}: ${why}. ` +
          'Check that it runs and that ECS_BACKEND_HOST is its address.',
      { cause: error, isTimeout: error instanceof Error && /^(?:Abort|Timeout)Error$/.test(error.name) },
    )
  })
}

interface Answer {
  readonly status: number
  readonly requestId: string | undefined
  readonly date: number
  readonly text: string
}

async function post(
  url: string,
  trust: ControllerTrust,
  headers: Record<string, string>,
  body: string,
  timeoutMs: number,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const isSecure = url.startsWith('https:')
    const signal = AbortSignal.timeout(timeoutMs)
    const options = { method: 'POST', headers, signal, ...(isSecure && tlsOf(trust)) }
    const call = (isSecure ? httpsRequest : httpRequest)(url, options, (response) => {
      readBody(response).then((text) => resolve(answerOf(response, text)), reject)
    })
    call.on('error', reject)
    call.end(body)
  })
}

function tlsOf(trust: ControllerTrust): RequestOptions {
  const { ca, ...rest } = trust.tls()
  return { ...rest, ...(ca !== undefined && { ca: [...ca] }) }
}

function answerOf({ statusCode = 0, headers }: IncomingMessage, text: string): Answer {
  const requestId = headers['x-amzn-requestid']
  return {
    status: statusCode,
    requestId: typeof requestId === 'string' ? requestId : undefined,
    date: Date.parse(headers.date ?? ''),
    text,
  }
}

async function readBody(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of response) {
    bytes += (chunk as Buffer).length
    if (bytes > answerBytesMax) throw new Error(`the answer is longer than ${answerBytesMax} bytes`)
    chunks.push(chunk as Buffer)
  }
  return Buffer.concat(chunks).toString('utf8')
}

function readAnswer(operation: string, answer: Answer, options: ApiOptions): Readonly<Record<string, unknown>> {
  const value = parsed(answer.text)
  if (answer.status === 200 && value !== undefined) return value
  // The first is that of the AWS API, the second of the REST API.
  const named = value?.['__type'] ?? value?.['code']
  const type = typeof named === 'string' ? named : `HTTP ${answer.status}`
  const code = type.slice(type.lastIndexOf('#') + 1)
  const message = value?.['message'] ?? value?.['Message']
  const said = typeof message === 'string' ? message : answer.text.slice(0, 300)
  const { status, requestId } = answer
  throw new ApiCallError(code, `${operation} was refused with ${code}: ${said}${skewOf(answer, options)}`, {
    status,
    requestId,
  })
}

/** A clock that is wrong shows as a wrong signature; the answer's Date tells by how much. */
function skewOf(answer: Answer, options: ApiOptions): string {
  const skewMs = options.clock.now() - answer.date
  if (answer.status < 400 || Number.isNaN(skewMs) || Math.abs(skewMs) < clockSkewMaxMs) return ''
  const minutes = Math.round(Math.abs(skewMs) / 60_000)
  const direction = skewMs > 0 ? 'ahead of' : 'behind'
  return (
    ` This host's clock is ${minutes} minutes ${direction} the controller's, and signatures older than 15 minutes ` +
    'are refused. Set the clock, for example with chrony or systemd-timesyncd.'
  )
}

function parsed(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text === '' ? '{}' : text)
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : undefined
  } catch {
    return undefined
  }
}
