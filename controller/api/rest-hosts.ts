/** `/v1/hosts`: the hosts that joined, what happened around them, and how their keys are changed and ended. */
import type { FastifyInstance } from 'fastify'
import type { HostKeysAnswer } from '../../proto/joining.ts'
import { ApiError } from '../../proto/errors.ts'
import { localHostId, requireHost } from '../access/host-lookup.ts'
import { changeHostKeys, forgetHost, revokeHost } from '../access/hosts.ts'
import { page } from '../ecs/paging.ts'
import type { HostEventRow, HostRow } from '../state/host-tables.ts'
import {
  count,
  errorResponses,
  listSchema,
  type PageQuery,
  pageQuerySchema,
  paramsOf,
  restPageLimits,
  text,
  toInstant,
} from './rest-schema.ts'
import { principalOf } from './rest-caller.ts'
import type { ServerServices } from './services.ts'

interface HostParams {
  readonly hostId: string
}

const hostParams = paramsOf('hostId', '`host-` and 17 hex digits')
const instant = { type: 'string', format: 'date-time' } as const

const hostSchema = {
  type: 'object',
  required: ['hostId', 'name', 'cluster', 'status', 'joinedAt', 'lastSeenAt', 'lastAddress'],
  properties: {
    hostId: text,
    name: text,
    cluster: text,
    status: { type: 'string', enum: ['ACTIVE', 'REVOKED'] },
    joinedAt: instant,
    invitedBy: { ...text, description: 'The ARN of whoever made its token' },
    lastSeenAt: { ...instant, description: 'When its keys were last used' },
    lastAddress: { ...text, description: 'And from where' },
    addresses: { type: 'array', items: text, description: 'Where its keys were used from, the newest last' },
    bindAddress: { ...text, description: 'The only address that its keys are good from' },
    keysChangedAt: { ...instant, description: 'When its newest keys were made' },
    containerInstance: { ...text, description: 'The id of its container instance' },
    agentConnected: { type: 'boolean' },
    revokedAt: instant,
    revokedBy: text,
  },
} as const

const eventSchema = {
  type: 'object',
  required: ['eventId', 'name', 'message', 'at', 'count'],
  properties: {
    eventId: text,
    name: { ...text, description: 'HOST_JOINED, JOIN_REFUSED, FOREIGN_RESOURCE_REFUSED and so on' },
    message: text,
    at: instant,
    count: { ...count, description: 'How often, since the one of this kind before' },
    hostId: text,
    cluster: text,
    sourceAddress: text,
  },
} as const

const shown = { 200: { description: 'The host', ...hostSchema }, ...errorResponses }

export function registerRestHosts(rest: FastifyInstance, services: ServerServices): void {
  registerReads(rest, services)
  registerChanges(rest, services)
  registerKeys(rest, services)
}

function registerReads(rest: FastifyInstance, services: ServerServices): void {
  const { reader } = services.turn
  rest.get<{ Querystring: PageQuery & { readonly cluster?: string } }>(
    '/hosts',
    {
      config: { action: 'gantry:ListHosts' },
      schema: {
        summary: 'The hosts that joined',
        querystring: {
          ...pageQuerySchema,
          properties: { ...pageQuerySchema.properties, cluster: { ...text, description: 'Of this cluster alone' } },
        },
        response: { 200: listSchema('hosts', hostSchema), ...errorResponses },
      },
    },
    ({ query }) => {
      const rows = query.cluster === undefined ? reader.all('host') : reader.find('host', 'byCluster', query.cluster)
      const { items, nextToken } = page(rows, (row) => row.hostId, query, restPageLimits)
      return { hosts: items.map((row) => showHost(services, row)), nextToken }
    },
  )
  rest.get<{ Querystring: PageQuery }>(
    '/hosts/events',
    {
      config: { action: 'gantry:ListHosts' },
      schema: {
        summary: 'What happened around hosts, oldest first: joins, refusals, new addresses, revocations',
        querystring: pageQuerySchema,
        response: { 200: listSchema('events', eventSchema), ...errorResponses },
      },
    },
    ({ query }) => {
      const { items, nextToken } = page(reader.all('hostEvent'), (row) => row.eventId, query, restPageLimits)
      return { events: items.map(showEvent), nextToken }
    },
  )
  rest.get<{ Params: HostParams }>(
    '/hosts/:hostId',
    {
      config: { action: 'gantry:ListHosts' },
      schema: { summary: 'One host', params: hostParams, response: shown },
    },
    ({ params }) => showHost(services, requireHost(reader, params.hostId)),
  )
}

function registerChanges(rest: FastifyInstance, services: ServerServices): void {
  const { turn } = services
  rest.post<{ Params: HostParams }>(
    '/hosts/:hostId/revoke',
    {
      config: { action: 'gantry:RevokeHost' },
      schema: {
        summary: "Ends a host's keys at once: its channels are closed, and it can't come back with them",
        params: hostParams,
        response: shown,
      },
    },
    async (request) => {
      const { arn } = principalOf(request)
      const { hostId } = request.params
      const run = turn.submit({
        name: 'revokeHost',
        run: (tx, now) => revokeHost(tx, hostId, arn, now),
      })
      return showHost(services, await run)
    },
  )
  rest.delete<{ Params: HostParams }>(
    '/hosts/:hostId',
    {
      config: { action: 'gantry:ForgetHost' },
      schema: {
        summary: 'Forgets a revoked host that holds no container instance any more',
        params: hostParams,
        response: { 204: { description: 'It is gone', type: 'null' }, ...errorResponses },
      },
    },
    async (request, reply) => {
      const { arn } = principalOf(request)
      const { hostId } = request.params
      await turn.submit({ name: 'forgetHost', run: (tx, now) => forgetHost(tx, hostId, arn, now) })
      return reply.code(204).send(null)
    },
  )
}

function registerKeys(rest: FastifyInstance, services: ServerServices): void {
  const { turn, vault } = services
  rest.post(
    '/hosts/self/keys',
    {
      config: { action: 'gantry:ChangeHostKeys' },
      schema: {
        summary: 'A host asks for new keys, signed with those that it has',
        response: {
          200: {
            description: 'The new keys: they are shown here and never again',
            type: 'object',
            required: ['hostId', 'accessKeyId', 'secretAccessKey', 'previousEndsAt'],
            properties: {
              hostId: text,
              accessKeyId: text,
              secretAccessKey: text,
              previousEndsAt: {
                ...instant,
                description: 'When the pair that signed ends, if not by the first use of these',
              },
              caPem: text,
            },
          },
          ...errorResponses,
        },
      },
    },
    async (request): Promise<HostKeysAnswer> => {
      const { kind, hostId, accessKeyId } = principalOf(request)
      if (kind !== 'host' || hostId === undefined || hostId === localHostId) {
        throw new ApiError('AccessDeniedException', 'Only a host that joined has keys that can be changed here.')
      }
      const { keys, previousEndsAt } = await turn.submit({
        name: 'changeHostKeys',
        run: (tx, now, world) => changeHostKeys(tx, hostId, accessKeyId, { now, world, vault }),
      })
      const caPem = services.tls?.certificates.current.authorityPem
      return {
        hostId,
        ...keys,
        previousEndsAt: new Date(previousEndsAt).toISOString(),
        ...(caPem !== undefined && { caPem }),
      }
    },
  )
}

function showHost({ turn, hosts }: ServerServices, row: HostRow) {
  const [instance] = turn.reader
    .find('instance', 'byHost', row.hostId)
    .toSorted((a, b) => b.registeredAt - a.registeredAt)
  const keys = turn.reader.find('hostKey', 'byHost', row.hostId)
  return {
    hostId: row.hostId,
    name: row.name,
    cluster: row.clusterName,
    status: row.revokedAt === undefined ? 'ACTIVE' : 'REVOKED',
    joinedAt: toInstant(row.joinedAt),
    invitedBy: row.invitedBy,
    lastSeenAt: toInstant(hosts.lastSeenAt(row)),
    lastAddress: row.lastAddress,
    addresses: row.addresses,
    bindAddress: row.bindAddress,
    keysChangedAt: toInstant(keys.length === 0 ? undefined : Math.max(...keys.map(({ createdAt }) => createdAt))),
    containerInstance: instance?.status === 'INACTIVE' ? undefined : instance?.instanceId,
    agentConnected: instance?.agentConnected ?? false,
    revokedAt: toInstant(row.revokedAt),
    revokedBy: row.revokedBy,
  }
}

function showEvent({ clusterName, at, ...row }: HostEventRow) {
  return { ...row, cluster: clusterName, at: toInstant(at) }
}
