/** The caller of a REST route: found before the route runs, and told to it here. */
import type { FastifyRequest } from 'fastify'
import type { Principal } from '../access/principal.ts'
import { type RpcRequest, sourceOf } from './rpc-request.ts'

const principals = new WeakMap<FastifyRequest, Principal>()

export function keepPrincipal(request: FastifyRequest, principal: Principal): void {
  principals.set(request, principal)
}

/** Throws a plain Error on a route that takes unsigned requests. */
export function principalOf(request: FastifyRequest): Principal {
  const principal = principals.get(request)
  if (principal === undefined) throw new Error(`Bug: nobody was authenticated for ${request.routeOptions.url ?? ''}.`)
  return principal
}

/** As `POST /` sees a request. Its body is there only until the route's own reader took it. */
export function restRequestOf(request: FastifyRequest): RpcRequest {
  const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)
  const { id, method, headers } = request
  return { requestId: id, method, path: request.raw.url ?? '/', headers, body, ...sourceOf(request.raw) }
}
