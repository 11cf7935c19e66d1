/**
 * The operators' REST API under `/v1`: signed like every call, described by `/v1/openapi.json`, which
 * is made from the very schemas that check and write the answers. Errors are `{ code, message }`.
 */
import { fastifySwagger } from '@fastify/swagger'
import type { FastifyError, FastifyInstance, FastifyRequest } from 'fastify'
import { ApiError, invalidParameter, isApiError } from '../../proto/errors.ts'
import type { RequestFacts } from '../access/authorization.ts'
import type { Principal } from '../access/principal.ts'
import { requireScope } from './auth.ts'
import { wrongType } from './body-types.ts'
import type { CallTrail } from './call-trail.ts'
import { asApiError, factsOf } from './rpc.ts'
import { keepCaller, openTrail, restRequestOf, trailOf } from './rest-caller.ts'
import { registerRestAddresses } from './rest-addresses.ts'
import { registerRestAudit } from './rest-audit.ts'
import { registerRestClusterLosses } from './rest-cluster-losses.ts'
import { registerRestClusters } from './rest-clusters.ts'
import { registerRestEnvironmentFiles } from './rest-environment-files.ts'
import { registerRestEvents } from './rest-events.ts'
import { registerRestFileSystems } from './rest-file-systems.ts'
import { registerRestHosts } from './rest-hosts.ts'
import { registerRestJoining } from './rest-joining.ts'
import { registerRestLogs } from './rest-logs.ts'
import { registerRestPlan } from './rest-plan.ts'
import { registerRestRoles } from './rest-roles.ts'
import { registerRestSecretKeys } from './rest-secret-keys.ts'
import { registerRestServices } from './rest-services.ts'
import { registerRestSubnets } from './rest-subnets.ts'
import { registerRestTasks } from './rest-tasks.ts'
import { registerRestUsage } from './rest-usage.ts'
import type { ServerServices } from './services.ts'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The action that a caller needs, in ECS's words: a REST route shows what this call would. */
    action?: string
    /** Of a route that takes calls that nobody signed: what the audit trail calls it. */
    unsignedAction?: string
  }
}

export async function registerRest(app: FastifyInstance, services: ServerServices): Promise<void> {
  await app.register(fastifySwagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'Gantry operators API',
        version: '1',
        description: 'What runs where, and why. Every call but this document is signed (AWS SigV4, service `ecs`).',
      },
      components: {
        securitySchemes: {
          sigv4: { type: 'apiKey', in: 'header', name: 'Authorization', description: 'AWS Signature Version 4' },
        },
      },
      security: [{ sigv4: [] }],
    },
  })
  await app.register(
    async (rest) => {
      rest.addHook('preValidation', async (request) => {
        const caller = authenticateCaller(services, request)
        // Only once the signature over its very bytes is checked, a body is read.
        const schema = request.routeOptions.schema?.body
        if (typeof schema === 'object' && schema !== null) request.body = readBody(request.body, schema)
        if (caller !== undefined) authorizeCaller(services, request, caller)
      })
      // With a callback, because everything that a route does is to happen inside of `run`.
      rest.addHook('preHandler', (request, _reply, done) => {
        const trail = trailOf(request)
        if (trail === undefined) done()
        else trail.run(done)
      })
      rest.setErrorHandler((error: FastifyError, request, reply) => {
        const refusal = restError(error, request.id)
        if (refusal.httpStatus >= 500) services.log.error({ err: error, requestId: request.id }, 'request failed')
        trailOf(request)?.end(refusal)
        countRequest(services, request, refusal.code)
        return reply.code(restStatus(refusal)).send({ code: refusal.code, message: refusal.message })
      })
      rest.setNotFoundHandler((request, reply) =>
        reply.code(404).send({
          code: 'ResourceNotFoundException',
          message: `There is no ${request.method} ${request.raw.url?.split('?')[0] ?? ''}: see /v1/openapi.json.`,
        }),
      )
      // Whether the caller stays for the answer says nothing of whether it was given.
      rest.addHook('onSend', async (request, reply) => {
        if (reply.statusCode < 400) trailOf(request)?.end('OK')
      })
      rest.addHook('onResponse', async (request, reply) => {
        if (reply.statusCode < 400) countRequest(services, request, 'OK')
      })
      registerRoutes(rest, services)
      rest.get('/openapi.json', { schema: { hide: true }, config: {} }, () => app.swagger())
    },
    { prefix: '/v1' },
  )
}

function registerRoutes(rest: FastifyInstance, services: ServerServices): void {
  registerRestClusters(rest, services)
  registerRestClusterLosses(rest, services)
  registerRestTasks(rest, services)
  registerRestLogs(rest, services)
  registerRestUsage(rest, services)
  registerRestServices(rest, services)
  registerRestSubnets(rest, services)
  registerRestAddresses(rest, services)
  registerRestPlan(rest, services)
  registerRestEvents(rest, services)
  registerRestFileSystems(rest, services)
  registerRestEnvironmentFiles(rest, services)
  registerRestAudit(rest, services)
  registerRestRoles(rest, services)
  registerRestSecretKeys(rest, services)
  registerRestJoining(rest, services)
  registerRestHosts(rest, services)
}

interface RestCaller {
  readonly principal: Principal
  readonly facts: RequestFacts
  readonly trail: CallTrail
}

/** Undefined on a route that takes unsigned requests. */
function authenticateCaller(services: ServerServices, request: FastifyRequest): RestCaller | undefined {
  const { action, unsignedAction } = request.routeOptions.config
  if (unsignedAction !== undefined) openTrail(services, request, unsignedAction)
  // The document of the API holds nothing of this installation; everything else names its action.
  if (action === undefined) return undefined
  const { authenticator, clock, world } = services
  const asked = restRequestOf(request)
  const trail = openTrail(services, request, action)
  const principal = authenticator.authenticate(asked, clock.now())
  trail.by(principal)
  requireScope(principal, 'ecs', world.region)
  return { principal, facts: factsOf(asked, clock.now()), trail }
}

function authorizeCaller(
  { access, authenticator, clock, turn }: ServerServices,
  request: FastifyRequest,
  { principal, facts, trail }: RestCaller,
): void {
  const { params, query, body, method } = request
  const input = { params: recordOf(params), query: recordOf(query), body }
  // Whoever may have an answer may have its head.
  const route = `${method === 'HEAD' ? 'GET' : method} ${request.routeOptions.url ?? ''}`
  trail.on(access.requireRoute(turn.reader, principal, { route, input }, facts))
  const requireStill = (): void => {
    access.requireRoute(turn.reader, authenticator.recheck(principal), { route, input }, { ...facts, now: clock.now() })
  }
  keepCaller(request, { principal, requireStill })
}

function recordOf(value: unknown): Readonly<Record<string, string | undefined>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, string | undefined>>) : {}
}

function readBody(body: unknown, schema: object): unknown {
  const given = parseBody(body)
  const problem = wrongType(given, schema)
  if (problem !== undefined) throw invalidParameter(`${problem}: /v1/openapi.json says what is expected.`)
  return given
}

function parseBody(body: unknown): unknown {
  try {
    return JSON.parse(Buffer.isBuffer(body) ? body.toString('utf8') : '')
  } catch (error) {
    throw new ApiError('SerializationException', 'The body is no JSON: /v1/openapi.json says what is expected.', {
      cause: error,
    })
  }
}

function restError(error: FastifyError, requestId: string): ApiError {
  if (isApiError(error)) return error
  if (error.statusCode !== undefined && error.statusCode < 500) {
    return new ApiError('InvalidParameterException', error.message, { cause: error })
  }
  return asApiError(error, requestId)
}

/** ECS answers 400 for what does not exist; REST's readers expect 404. */
function restStatus(error: ApiError): number {
  if (error.code === 'ThrottlingException') return 429
  return error.code.endsWith('NotFoundException') ? 404 : error.httpStatus
}

function countRequest(services: ServerServices, request: FastifyRequest, code: string): void {
  const operation = `${request.method} ${request.routeOptions.url ?? 'unknown'}`
  services.metrics.count('gantry_requests_total', { operation, code })
}
