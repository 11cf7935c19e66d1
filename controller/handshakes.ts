/** Who may open a channel: each handshake is a signed request, judged as a call is, and told to the audit trail. */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { ApiError } from '../proto/errors.ts'
import type { Clock, World } from '../proto/world.ts'
import type { Access } from './access/check.ts'
import type { DiallingInstance } from './access/rows/channels.ts'
import { type Authenticator, requireScope } from './api/auth.ts'
import { auditedRequestOf, CallTrail } from './api/call-trail.ts'
import { type RpcRequest, sourceOf } from './api/rpc-request.ts'
import { factsOf } from './api/rpc.ts'
import type { AuditTrail } from './audit.ts'
import { channelOf, dialledBy, type Handshake, readHandshake } from './decide/handshake.ts'
import type { HostGuard } from './host-guard.ts'
import type { Turn } from './turn.ts'

export interface HandshakeServices {
  readonly authenticator: Authenticator
  readonly access: Access
  readonly audit: AuditTrail
  readonly hosts: HostGuard
  readonly clock: Clock
  readonly world: World
  readonly turn: Turn
}

/** Throws ApiError: unsigned, not allowed, no such channel, or an instance that may not dial. */
export function admitHandshake(services: HandshakeServices, request: IncomingMessage): Handshake {
  const path = request.url ?? '/'
  const url = URL.parse(path, 'http://controller')
  const channel = url === null ? undefined : channelOf(url.pathname)
  if (url === null || channel === undefined) {
    throw new ApiError('ResourceNotFoundException', `There is no channel at ${path.slice(0, 100)}.`)
  }
  const { headers, method } = request
  const { audit, clock } = services
  const signed = {
    requestId: randomUUID(),
    method: method ?? 'GET',
    path,
    headers,
    body: Buffer.alloc(0),
    ...sourceOf(request),
  }
  const action = channel === 'tcs' ? 'ecs:StartTelemetrySession' : 'ecs:Poll'
  const trail = new CallTrail(audit, auditedRequestOf(signed), action, clock.now())
  try {
    const handshake = admit(services, { signed, action, channel, query: url.searchParams, trail })
    trail.end('OK')
    return handshake
  } catch (error) {
    trail.end(error)
    throw error
  }
}

interface Dialling {
  readonly signed: RpcRequest
  readonly action: DiallingInstance['action']
  readonly channel: Handshake['channel']
  readonly query: URLSearchParams
  readonly trail: CallTrail
}

function admit(services: HandshakeServices, { signed, action, channel, query, trail }: Dialling): Handshake {
  const { access, authenticator, clock, turn, world } = services
  const principal = authenticator.authenticate(signed, clock.now())
  trail.by(principal)
  requireScope(principal, 'ecs', world.region)
  const dialling = { action, ...dialledBy(channel, query) }
  trail.on(access.requireChannel(turn.reader, principal, dialling, factsOf(signed, clock.now())))
  const handshake = readHandshake(channel, query, turn.reader)
  const instance = turn.reader.get('instance', handshake.instanceId)
  if (instance !== undefined) services.hosts.requireOwnInstance(principal, instance)
  return handshake
}
