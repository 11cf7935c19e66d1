/**
 * How hosts join: `/v1/join-tokens` for operators, and `POST /v1/join`, the one route that takes unsigned calls. A token is
 * shown once, in the answer that it was made in.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { idOf } from '../../proto/arn.ts'
import { ApiError, isApiError } from '../../proto/errors.ts'
import {
  type JoinAnswer,
  type JoinLine,
  type JoinRequest,
  joinTokenId,
  writeBundleJoinLine,
  writeJoinLine,
} from '../../proto/joining.ts'
import { hostEvent, isShowable } from '../access/host-events.ts'
import { joinHost } from '../access/hosts.ts'
import { createJoinToken, deleteJoinToken, judgeJoinToken } from '../access/join-tokens.ts'
import { isLoopback } from '../config.ts'
import { page } from '../ecs/paging.ts'
import type { JoinTokenRow } from '../state/host-tables.ts'
import {
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
import { sourceOf } from './rpc-request.ts'
import type { ServerServices } from './services.ts'

interface TokenInput {
  readonly cluster?: string | null
  readonly expiresInSeconds?: number | null
  readonly bindAddress?: string | null
  readonly containerInstance?: string | null
}

/** A token, a name and a cluster are a few hundred bytes; strangers may send no more than this. */
const joinBodyBytesMax = 4096
const nameLengthMax = 255

const instant = { type: 'string', format: 'date-time' } as const

const tokenMembers = {
  tokenId: text,
  cluster: text,
  createdAt: instant,
  createdBy: { ...text, description: 'The ARN of whoever made it' },
  expiresAt: instant,
  bindAddress: { ...text, description: "The only address that it, and then the host's keys, are good from" },
  containerInstance: { ...text, description: 'The id of an instance that the host may take over' },
  usedAt: instant,
  usedBy: { ...text, description: 'The id of the host that joined with it' },
  usedFrom: { ...text, description: 'The address that it was used from' },
} as const

const shownToken = {
  description: 'The token: it is shown here and never again',
  type: 'object',
  required: ['tokenId', 'token', 'cluster', 'expiresAt', 'controllerUrl', 'line', 'bundleLine'],
  properties: {
    ...tokenMembers,
    token: text,
    controllerUrl: text,
    caFingerprint: { ...text, description: '`sha256:` and hex; absent where the controller serves no TLS' },
    line: { ...text, description: 'For sh on a host with a checkout' },
    bundleLine: { ...text, description: 'For sh on a host where the bundle is unpacked' },
  },
} as const

export function registerRestJoining(rest: FastifyInstance, services: ServerServices): void {
  registerTokenReads(rest, services)
  registerTokenChanges(rest, services)
  registerJoin(rest, services)
}

function registerTokenReads(rest: FastifyInstance, { turn }: ServerServices): void {
  rest.get<{ Querystring: PageQuery }>(
    '/join-tokens',
    {
      config: { action: 'gantry:ListJoinTokens' },
      schema: {
        summary: 'The join tokens: those that are good, and those that ended lately',
        querystring: pageQuerySchema,
        response: { 200: listSchema('joinTokens', { type: 'object', properties: tokenMembers }), ...errorResponses },
      },
    },
    ({ query }) => {
      const { items, nextToken } = page(turn.reader.all('joinToken'), (row) => row.tokenId, query, restPageLimits)
      return { joinTokens: items.map(showToken), nextToken }
    },
  )
}

function registerTokenChanges(rest: FastifyInstance, services: ServerServices): void {
  const { turn } = services
  rest.post<{ Body: TokenInput }>(
    '/join-tokens',
    {
      config: { action: 'gantry:CreateJoinToken' },
      schema: {
        summary: 'Makes a token with which one host can join, and the line for that host',
        body: {
          type: 'object',
          properties: {
            cluster: { type: ['string', 'null'], description: 'Name or ARN; absent: default' },
            expiresInSeconds: { type: ['integer', 'null'], description: '60 to 604800; absent: 3600' },
            bindAddress: { type: ['string', 'null'], description: 'The only address that it is good from' },
            containerInstance: {
              type: ['string', 'null'],
              description: 'Id or ARN of an instance that the host may take over, such as the one it was before',
            },
          },
        },
        response: { 200: shownToken, ...errorResponses },
      },
    },
    async (request) => {
      const { cluster, expiresInSeconds, bindAddress, containerInstance } = request.body
      const wish = {
        clusterName: idOf(cluster ?? 'default'),
        ...(typeof expiresInSeconds === 'number' && { lifeMs: expiresInSeconds * 1000 }),
        ...(typeof bindAddress === 'string' && { bindAddress }),
        ...(typeof containerInstance === 'string' && { adoptsInstanceId: idOf(containerInstance) }),
      }
      const { arn } = principalOf(request)
      const made = await turn.submit({
        name: 'createJoinToken',
        run: (tx, now, world) => createJoinToken(tx, wish, arn, now, world),
      })
      const line: JoinLine = { ...services.joinEnds(), token: made.token }
      const lines = { line: writeJoinLine(line), bundleLine: writeBundleJoinLine(line) }
      return { ...showToken(made.row), ...line, ...lines }
    },
  )
  rest.delete<{ Params: { readonly tokenId: string } }>(
    '/join-tokens/:tokenId',
    {
      config: { action: 'gantry:DeleteJoinToken' },
      schema: {
        summary: 'Deletes a token: nobody can join with it any more',
        params: paramsOf('tokenId', '12 hex digits'),
        response: { 204: { description: 'It is gone', type: 'null' }, ...errorResponses },
      },
    },
    async ({ params }, reply) => {
      await turn.submit({ name: 'deleteJoinToken', run: (tx) => deleteJoinToken(tx, params.tokenId) })
      return reply.code(204).send(null)
    },
  )
}

function registerJoin(rest: FastifyInstance, services: ServerServices): void {
  rest.post<{ Body: JoinRequest }>(
    '/join',
    {
      bodyLimit: joinBodyBytesMax,
      config: { unsignedAction: 'gantry:Join' },
      schema: {
        summary: 'A host joins: unsigned, with a token, by TLS (or on loopback)',
        security: [],
        body: {
          type: 'object',
          required: ['token', 'name'],
          properties: {
            token: text,
            name: { ...text, description: 'The name of the host, for people; 1 to 255 characters' },
            cluster: { type: ['string', 'null'], description: 'The cluster that it means to join' },
          },
        },
        response: { 200: joinAnswerSchema, ...errorResponses },
      },
    },
    (request) => answerJoin(services, request),
  )
}

const joinAnswerSchema = {
  description: "The host's keys: they are shown here and never again",
  type: 'object',
  required: ['hostId', 'cluster', 'region', 'account', 'accessKeyId', 'secretAccessKey', 'controllerTime'],
  properties: {
    hostId: text,
    cluster: text,
    region: text,
    account: text,
    accessKeyId: text,
    secretAccessKey: text,
    controllerTime: instant,
    caPem: { ...text, description: 'The authority that the host is to trust' },
  },
} as const

async function answerJoin(
  services: ServerServices,
  request: FastifyRequest<{ Body: JoinRequest }>,
): Promise<JoinAnswer> {
  const { turn, clock, world, vault, joinLimits } = services
  const { sourceAddress, isSecure } = sourceOf(request.raw)
  const { token, name, cluster } = request.body
  const from = { cluster: cluster ?? undefined, sourceAddress }
  const isGood = !isApiError(judgeJoinToken(turn.reader, token, from, clock.now()))
  if (!isGood && !joinLimits.tryFrom(sourceAddress, clock.now())) {
    services.metrics.count('gantry_host_events_total', { name: 'JOIN_THROTTLED' })
    throw new ApiError('ThrottlingException', 'Too many tries to join have failed. Wait a minute, then try again.')
  }
  try {
    requireSafeWay(sourceAddress, isSecure)
    const shownName = requireName(name)
    const joining = { token, name: shownName, ...from }
    const { host, keys } = await turn.submit({
      name: 'joinHost',
      run: (tx, now, at) => joinHost(tx, joining, { now, world: at, vault }),
    })
    services.log.info({ host: host.hostId, cluster: host.clusterName, sourceAddress }, 'a host joined')
    const caPem = services.tls?.certificates.current.authorityPem
    return {
      hostId: host.hostId,
      cluster: host.clusterName,
      region: world.region,
      account: world.account,
      ...keys,
      controllerTime: new Date(clock.now()).toISOString(),
      ...(caPem !== undefined && { caPem }),
    }
  } catch (error) {
    if (isApiError(error) && error.httpStatus < 500) noteRefusal(services, error, { token, name, sourceAddress })
    throw error
  }
}

/** A token in the clear could be used by whoever reads along, and the keys in the answer too. */
function requireSafeWay(sourceAddress: string, isSecure: boolean): void {
  if (isSecure || isLoopback(sourceAddress)) return
  throw new ApiError(
    'AccessDeniedException',
    'Hosts join by TLS: this call came in the clear. Use the https address that npx gantry join-token prints, and make a ' +
      'new token: this one may have been read on the way.',
  )
}

function requireName(name: string): string {
  const shown = name.trim()
  if (shown !== '' && shown.length <= nameLengthMax && isShowable(shown)) return shown
  throw new ApiError('InvalidParameterException', `name takes 1 to ${nameLengthMax} characters, and no control ones.`)
}

/** Of the token its id alone, and that only where there is such a token: what a stranger sends is not kept. */
function noteRefusal(
  { hostNotes, clock, turn }: ServerServices,
  error: ApiError,
  { token, name, sourceAddress }: { readonly token: string; readonly name: string; readonly sourceAddress: string },
): void {
  const known = turn.reader.get('joinToken', joinTokenId(token) ?? '')
  const facts = {
    sourceAddress,
    ...(known !== undefined && { tokenId: known.tokenId, clusterName: known.clusterName }),
  }
  const shownName = JSON.stringify(name.slice(0, 80))
  const message = `a host that calls itself ${shownName} was refused to join from ${sourceAddress}: ${error.message}`
  // Another token, or another reason, is no repetition: each token that is refused is told, whatever came a moment before.
  hostNotes.note(hostEvent('JOIN_REFUSED', message, facts), clock.now(), `${facts.tokenId ?? ''} ${error.code}`)
}

function showToken(row: JoinTokenRow) {
  return {
    tokenId: row.tokenId,
    cluster: row.clusterName,
    createdAt: toInstant(row.createdAt),
    createdBy: row.createdBy,
    expiresAt: toInstant(row.expiresAt),
    bindAddress: row.bindAddress,
    containerInstance: row.adoptsInstanceId,
    usedAt: toInstant(row.usedAt),
    usedBy: row.usedByHostId,
    usedFrom: row.usedFrom,
  }
}
