/**
 * The AWS protocols on `POST /`: parse, authenticate, authorise, submit to the turn, answer. Every way to fail ends in
 * an error of AWS's form; what is not the caller's fault is a ServerException with the request's id, and is logged.
 */
import { ApiError, isApiError } from '../../proto/errors.ts'
import type { Clock, World } from '../../proto/world.ts'
import type { RequestFacts } from '../access/authorization.ts'
import type { Access } from '../access/check.ts'
import { localHostId } from '../access/host-lookup.ts'
import type { Principal } from '../access/principal.ts'
import type { Call, CommandPlan, OpenedSession } from '../ecs/handler.ts'
import type { AuditTrail } from '../audit.ts'
import type { HostGuard } from '../host-guard.ts'
import type { Log } from '../log.ts'
import type { Metrics } from '../metrics.ts'
import type { Vault } from '../state/vault.ts'
import type { Turn } from '../turn.ts'
import { type Authenticator, requireScope } from './auth.ts'
import { type AwsService, serviceOf } from './aws-services.ts'
import { auditedRequestOf, CallTrail } from './call-trail.ts'
import { headerText, readTarget, type RpcTarget, writeError } from './protocol.ts'
import { originOf, type RpcAnswer, type RpcRequest } from './rpc-request.ts'

export interface RpcServices {
  /** Of the calls: a call's record is committed with its changes (auditedTurn). */
  readonly turn: Turn
  readonly clock: Clock
  readonly world: World
  readonly authenticator: Authenticator
  readonly access: Access
  readonly audit: AuditTrail
  readonly hosts: HostGuard
  readonly vault: Vault
  readonly log: Log
  readonly metrics: Metrics
  /**
   * Opens a session for a command that was found right. Throws ApiError where there are too many. `requireStill` throws one
   * once the caller could not open it any more.
   */
  readonly openSession: (plan: CommandPlan, requireStill: () => void) => OpenedSession
  /** Origin that agents are sent to, or undefined for the one they called. */
  readonly advertise: string | undefined
}

export async function answerRpc(services: RpcServices, request: RpcRequest): Promise<RpcAnswer> {
  const target = readTarget(request)
  const known = serviceOf(target.protocol, target.service)
  const isKnown = known !== undefined && Object.hasOwn(known.model.operations, target.operation ?? '')
  const label = isKnown ? (target.operation ?? '') : 'unknown'
  const action = `${known?.name ?? 'unknown'}:${target.operation ?? 'none'}`
  const trail = new CallTrail(services.audit, auditedRequestOf(request), action, services.clock.now())
  try {
    const principal = services.authenticator.authenticate(request, services.clock.now())
    trail.by(principal)
    const { service, operation } = requireOperation(known, target)
    requireScope(principal, service.name, services.world.region)
    const asked = { service, operation, request, principal, trail }
    const answer = await trail.run(() => runOperation(services, asked))
    trail.end('OK')
    services.metrics.count('gantry_requests_total', { operation, code: 'OK' })
    return { status: 200, ...answer }
  } catch (error) {
    const refusal = asApiError(error, request.requestId)
    trail.end(refusal)
    services.metrics.count('gantry_requests_total', { operation: label, code: refusal.code })
    if (refusal.httpStatus >= 500) {
      services.log.error({ err: error, requestId: request.requestId, operation: label }, 'request failed')
    } else {
      services.log.debug({ requestId: request.requestId, operation: label, code: refusal.code }, refusal.message)
    }
    return answerError(target, refusal, request.requestId)
  }
}

/** In the caller's protocol, and in the namespace of the service that it named. */
export function answerError(target: RpcTarget, error: ApiError, requestId: string): RpcAnswer {
  const { protocol, service } = target
  const written = writeError(protocol, error, requestId, serviceOf(protocol, service)?.model.service.xmlNamespace)
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

/** What a handler is told of the call, the same for RPC and REST. */
export function callOf(
  { access, clock, vault, advertise }: Pick<RpcServices, 'access' | 'clock' | 'vault' | 'advertise'>,
  request: Omit<RpcRequest, 'method' | 'path' | 'body'>,
  principal: Principal,
): Call {
  const facts = factsOf(request, clock.now())
  const { requestId, sourceAddress, isSecure } = request
  return {
    now: facts.now,
    requestId,
    principalArn: principal.arn,
    // The first start's key is good on this machine alone: who has it is not sent to an address for others.
    origin: originOf(request, principal.hostId === localHostId ? undefined : advertise),
    principal,
    sourceAddress,
    isSecure,
    vault,
    authorize: (reader, check) => access.require(reader, principal, check, facts),
  }
}

export function factsOf(
  { sourceAddress, isSecure, headers }: Pick<RpcRequest, 'sourceAddress' | 'isSecure' | 'headers'>,
  now: number,
): RequestFacts {
  return { now, sourceAddress, isSecure, userAgent: headerText(headers['user-agent']) || undefined }
}

function requireOperation(
  service: AwsService | undefined,
  { protocol, service: named, operation }: RpcTarget,
): { readonly service: AwsService; readonly operation: string } {
  if (operation === undefined) {
    throw new ApiError(
      'UnknownOperationException',
      'The request names no operation: calls are POST / with the header X-Amz-Target: ' +
        "AmazonEC2ContainerServiceV20141113.<Operation>. The operators' API is under /v1.",
    )
  }
  const isQuery = service?.model.service.protocol === 'aws.protocols#awsQuery'
  if (service === undefined || isQuery !== (protocol === 'query') || protocol === 'cbor') {
    const name = named === undefined ? operation : `${named}.${operation}`
    throw new ApiError(
      'UnknownOperationException',
      `The operation ${name} is not known here: this endpoint answers ECS, SSM and Secrets Manager in AWS JSON 1.1, ` +
        'IAM and STS in AWS Query.',
    )
  }
  if (Object.hasOwn(service.handlers, operation)) return { service, operation }
  const { id, targetPrefix } = service.model.service
  if (Object.hasOwn(service.model.operations, operation) || service.model.unbuilt.includes(operation)) {
    throw new ApiError(
      'UnsupportedFeatureException',
      `${operation} belongs to the ${id} API, and this version of Gantry does not have it yet.`,
    )
  }
  throw new ApiError('UnknownOperationException', `The operation ${targetPrefix}.${operation} is not known here.`)
}

interface Asked {
  readonly service: AwsService
  readonly operation: string
  readonly request: RpcRequest
  readonly principal: Principal
  readonly trail: CallTrail
}

async function runOperation(
  services: RpcServices,
  { service, operation, request, principal, trail }: Asked,
): Promise<{ contentType: string; body: Buffer }> {
  const handler = service.handlers[operation]
  if (handler === undefined) throw new Error(`Bug: ${operation} has no handler.`)
  const input = service.wire.readInput(operation, request)
  const { turn, world, access } = services
  const { reader } = turn
  const call = callOf(services, request, principal)
  const asked = { service: service.name, operation, input }
  const facts = factsOf(request, call.now)
  trail.on(access.requireOperation(reader, principal, asked, facts))
  services.hosts.requireOwn(principal, operation, input)
  if (handler.kind === 'session') {
    const plan = handler.plan(reader, input, call)
    const opened = services.openSession(plan, () => {
      const caller = services.authenticator.recheck(principal)
      access.requireOperation(reader, caller, asked, { ...facts, now: services.clock.now() })
    })
    return service.wire.writeAnswer(operation, handler.answer(plan, opened, call), request)
  }
  const output =
    handler.kind === 'read'
      ? handler.handle(reader, input, call, world)
      : await turn.submit({
          name: operation,
          run(tx, now, at) {
            // Once more where it counts: a right that was withdrawn, or a name that means something else, since then.
            access.requireOperation(tx, principal, asked, facts)
            return handler.handle(tx, input, { ...call, now }, at)
          },
        })
  return service.wire.writeAnswer(operation, output, request)
}
