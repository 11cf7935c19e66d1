/** Calls of the ECS API, signed: the few that an agent makes. Bare node:http, as memory is a budget here. */
import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { signRequest } from '../proto/sigv4.ts'
import type { Clock } from '../proto/world.ts'
import type { CredentialsSource } from './credentials.ts'

/** Source: amazon-ecs-agent 1.105, the API client's own timeout. */
const callTimeoutMs = 42_000
const answerBytesMax = 4 * 1024 * 1024
/** Beyond this the controller refuses a signature as stale. */
const clockSkewMaxMs = 15 * 60_000

export interface ApiOptions {
  readonly origin: string
  readonly region: string
  readonly credentials: CredentialsSource
  readonly clock: Clock
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
  return async (operation, input, timeoutMs = callTimeoutMs) => {
    const body = JSON.stringify(input)
    const headers = signRequest({
      method: 'POST',
      url: `${options.origin}/`,
      headers: {
        'content-type': 'application/x-amz-json-1.1',
        'x-amz-target': `AmazonEC2ContainerServiceV20141113.${operation}`,
      },
      body,
      credentials: await options.credentials(),
      region: options.region,
      service: 'ecs',
      now: options.clock.now(),
    })
    const answer = await post(options.origin, headers, body, timeoutMs).catch((error: unknown) => {
      const why = error instanceof Error ? error.message : String(error)
      throw new ApiCallError(
        undefined,
        `The controller at ${options.origin} does not answer ${operation}: ${why}. ` +
          'Check that it runs and that ECS_BACKEND_HOST is its address.',
        { cause: error, isTimeout: error instanceof Error && /^(?:Abort|Timeout)Error$/.test(error.name) },
      )
    })
    return readAnswer(operation, answer, options)
  }
}

interface Answer {
  readonly status: number
  readonly requestId: string | undefined
  readonly date: number
  readonly text: string
}

async function post(origin: string, headers: Record<string, string>, body: string, timeoutMs: number): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = origin.startsWith('https:') ? httpsRequest : httpRequest
    const signal = AbortSignal.timeout(timeoutMs)
    const call = request(`${origin}/`, { method: 'POST', headers, signal }, (response) => {
      readBody(response).then((text) => resolve(answerOf(response, text)), reject)
    })
    call.on('error', reject)
    call.end(body)
  })
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
  const type = typeof value?.['__type'] === 'string' ? value['__type'] : `HTTP ${answer.status}`
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
