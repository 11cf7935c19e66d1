/**
 * The AWS protocols on `POST /`: parse, authenticate, authorise, submit to the turn, answer. Every way to fail ends in
 * an error of AWS's form; what is not the caller's fault is a ServerException with the request's id, and is logged.
 */
import { readInput, writeOutput } from '../../proto/codec/json.ts'
import { ApiError, isApiError } from '../../proto/errors.ts'
import { operationNames } from '../../proto/model/model.ts'
import type { OperationName } from '../../proto/model/types.ts'
import type { Clock, World } from '../../proto/world.ts'
import type {
  Call,
  CommandPlan,
  Handlers,
  OpenedSession,
  ReadHandler,
  SessionHandler,
  WriteHandler,
} from '../ecs/handler.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Turn } from '../turn.ts'
import { type Authenticator, authorize, type Principal } from './auth.ts'
import { headerText, type Protocol, readTarget, writeError } from './protocol.ts'

export interface RpcServices {
  readonly operations: Handlers
  readonly turn: Turn
  readonly clock: Clock
  readonly world: World
  readonly authenticator: Authenticator
  readonly log: Log
  readonly metrics: Metrics
  /** Opens a session for a command that was found right. Throws ApiError where there are too many. */
  readonly openSession: (plan: CommandPlan) => OpenedSession
  /** Origin that agents are sent to, or undefined for the one they called. */
  readonly advertise: string | undefined
}

export interface RpcRequest {
  readonly requestId: string
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly body: Buffer
}

export interface RpcAnswer {
  readonly status: number
  readonly contentType: string
  /** Bytes, because Fastify would add a charset to the type of a text. */
  readonly body: Buffer
}

const ecsService = 'AmazonEC2ContainerServiceV20141113'
const knownOperations: ReadonlySet<string> = new Set(operationNames)

/** ECS's shapes are at most a dozen levels deep; a body beyond this is an attack on a parser, not a request. */
const jsonDepthMax = 64

export async function answerRpc(services: RpcServices, request: RpcRequest): Promise<RpcAnswer> {
  const target = readTarget(request)
  const label = knownOperations.has(target.operation ?? '') ? (target.operation ?? '') : 'unknown'
  try {
    const principal = services.authenticator.authenticate(request, services.clock.now())
    const operation = requireOperation(target)
    authorize(principal, operation)
    requireJson(request, operation)
    const body = await runOperation(services, operation, request, principal)
    services.metrics.count('gantry_requests_total', { operation, code: 'OK' })
    return { status: 200, contentType: `application/x-amz-${target.protocol}`, body: Buffer.from(body) }
  } catch (error) {
    const refusal = asApiError(error, request.requestId)
    services.metrics.count('gantry_requests_total', { operation: label, code: refusal.code })
    if (refusal.httpStatus >= 500) {
      services.log.error({ err: error, requestId: request.requestId, operation: label }, 'request failed')
    } else {
      services.log.debug({ requestId: request.requestId, operation: label, code: refusal.code }, refusal.message)
    }
    return answerError(target.protocol, refusal, request.requestId)
  }
}

export function answerError(protocol: Protocol, error: ApiError, requestId: string): RpcAnswer {
  const written = writeError(protocol, error, requestId)
  return { status: error.httpStatus, contentType: written.contentType, body: Buffer.from(written.body) }
}

/** An error of the caller as it is; anything else becomes a ServerException that names the request. */
export function asApiError(error: unknown, requestId: string): ApiError {
  if (isApiError(error)) return error
  return new ApiError(
    'ServerException',
    `The controller met an unexpected error. Its log has the details under request id ${requestId}.`,
    { cause: error },
  )
}

/** Where agents are to connect: as configured, or the scheme and host of the request itself. */
export function originOf(headers: RpcRequest['headers'], advertise: string | undefined): string {
  if (advertise !== undefined) return advertise
  const host = headerText(headers['host'])
  if (!/^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/.test(host)) {
    throw new ApiError('InvalidParameterException', `The Host header ${JSON.stringify(host)} is not a host and port.`)
  }
  return `http://${host}`
}

/** Throws SerializationException for what is not UTF-8, not JSON, or nested beyond reason. An empty body is `{}`. */
export function parseJson(body: Buffer): unknown {
  if (body.length === 0) return {}
  if (nestingExceeds(body, jsonDepthMax)) {
    throw new ApiError('SerializationException', `The request body is nested more than ${jsonDepthMax} levels deep.`)
  }
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch (error) {
    const why = error instanceof SyntaxError ? 'it is not JSON' : 'it is not UTF-8 text'
    throw new ApiError('SerializationException', `The request body can't be read: ${why}.`, { cause: error })
  }
}

function requireOperation(target: ReturnType<typeof readTarget>): OperationName {
  const { service, operation, protocol } = target
  if (operation === undefined) {
    throw new ApiError(
      'UnknownOperationException',
      'The request names no operation: ECS calls are POST / with the header X-Amz-Target: ' +
        `${ecsService}.<Operation>. The operators' API is under /v1.`,
    )
  }
  if (protocol === 'query' || protocol === 'cbor' || service !== ecsService || !isOperation(operation)) {
    const name = service === undefined ? operation : `${service}.${operation}`
    throw new ApiError(
      'UnknownOperationException',
      `The operation ${name} is not known here: this endpoint answers ${ecsService} in AWS JSON 1.1.`,
    )
  }
  return operation
}

function requireJson(request: RpcRequest, operation: string): void {
  const contentType = headerText(request.headers['content-type'])
  if (/^application\/x-amz-json-1\.[01](\s*;.*)?$/i.test(contentType)) return
  throw new ApiError(
    'SerializationException',
    `${operation} takes Content-Type application/x-amz-json-1.1, not ${JSON.stringify(contentType)}.`,
  )
}

async function runOperation(
  services: RpcServices,
  operation: OperationName,
  request: RpcRequest,
  principal: Principal,
): Promise<string> {
  const handler = handlerOf(services.operations, operation)
  if (handler === undefined) {
    throw new ApiError(
      'UnsupportedFeatureException',
      `${operation} belongs to the ECS API, and this version of Gantry does not have it yet.`,
    )
  }
  const input = readInput(operation, parseJson(request.body))
  const call: Call = {
    now: services.clock.now(),
    requestId: request.requestId,
    principalArn: principal.arn,
    origin: originOf(request.headers, services.advertise),
  }
  const { reader } = services.turn
  if (handler.kind === 'session') {
    const plan = handler.plan(reader, input, call)
    return writeOutput(operation, handler.answer(plan, services.openSession(plan), call))
  }
  const output =
    handler.kind === 'read'
      ? handler.handle(reader, input, call, services.world)
      : await services.turn.submit({
          name: operation,
          run: (tx, now, world) => handler.handle(tx, input, { ...call, now }, world),
        })
  return writeOutput(operation, output)
}

/**
 * The table ties each handler's types to its operation's name. Which name it is shows only at run time, so input and
 * output pass here as the union of all; the codec of that same name checks both.
 */
function handlerOf(handlers: Handlers, operation: OperationName): AnyHandler | undefined {
  return handlers[operation]
}

type AnyHandler = ReadHandler<OperationName> | WriteHandler<OperationName> | SessionHandler<OperationName>

function isOperation(name: string): name is OperationName {
  return knownOperations.has(name)
}

/** Counts brackets outside of strings, so that no parser ever recurses over a hostile body. */
function nestingExceeds(body: Buffer, max: number): boolean {
  let depth = 0
  let inString = false
  for (let at = 0; at < body.length; at += 1) {
    const byte = body[at]
    if (inString) {
      if (byte === 0x5c) at += 1
      else if (byte === 0x22) inString = false
    } else if (byte === 0x22) inString = true
    else if (byte === 0x7b || byte === 0x5b) {
      depth += 1
      if (depth > max) return true
    } else if (byte === 0x7d || byte === 0x5d) depth -= 1
  }
  return false
}
