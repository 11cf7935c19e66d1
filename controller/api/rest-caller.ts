/** The caller of a REST route: found before the route runs, and told to it here. */
import type { FastifyRequest } from 'fastify'
import type { Clock } from '../../proto/world.ts'
import type { Principal } from '../access/principal.ts'
import type { AuditTrail } from '../audit.ts'
import { auditedRequestOf, CallTrail } from './call-trail.ts'
import { type RpcRequest, sourceOf } from './rpc-request.ts'

interface RestCaller {
  readonly principal: Principal
  readonly requireStill: () => void
}

const callers = new WeakMap<FastifyRequest, RestCaller>()
const trails = new WeakMap<FastifyRequest, CallTrail>()

export function keepCaller(request: FastifyRequest, caller: RestCaller): void {
  callers.set(request, caller)
}

/** Throws a plain Error on a route that takes unsigned requests. */
export function principalOf(request: FastifyRequest): Principal {
  return callerOf(request).principal
}

/**
 * For an answer that has no end: throws ApiError once its caller could not ask for it any more, since the key, the session
 * or the right is gone.
 */
export function requireStill(request: FastifyRequest): void {
  callerOf(request).requireStill()
}

function callerOf(request: FastifyRequest): RestCaller {
  const caller = callers.get(request)
  if (caller === undefined) throw new Error(`Bug: nobody was authenticated for ${request.routeOptions.url ?? ''}.`)
  return caller
}

/** From here on the call is told to the audit trail, whatever becomes of it. */
export function openTrail(
  { audit, clock }: { readonly audit: AuditTrail; readonly clock: Clock },
  request: FastifyRequest,
  action: string,
): CallTrail {
  const trail = new CallTrail(audit, auditedRequestOf(restRequestOf(request)), actionOf(action), clock.now())
  trails.set(request, trail)
  return trail
}

/** Undefined where the request did not get as far as its route. */
export function trailOf(request: FastifyRequest): CallTrail | undefined {
  return trails.get(request)
}

/** A route's action: of ECS, unless it names its service. */
export function actionOf(action: string): string {
  return action.includes(':') ? action : `ecs:${action}`
}

/** As `POST /` sees a request. Its body is there only until the route's own reader took it. */
export function restRequestOf(request: FastifyRequest): RpcRequest {
  const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
  const { id, method, headers } = request
  return { requestId: id, method, path: request.raw.url ?? '/', headers, body, ...sourceOf(request.raw) }
}
