/**
 * The controller's API as the keys of tasks reach it: real signatures, sessions, policies and handlers, as behind `POST /`;
 * and the one route of REST that agents fetch from. Connections and Fastify are not simulated.
 */
import { createAccess } from '../../controller/access/check.ts'
import { createAuthenticator, requireScope } from '../../controller/api/auth.ts'
import { answerRpc, asApiError, factsOf, type RpcServices } from '../../controller/api/rpc.ts'
import type { RpcRequest } from '../../controller/api/rpc-request.ts'
import { createMetrics } from '../../controller/metrics.ts'
import type { Log } from '../../controller/log.ts'
import type { Turn } from '../../controller/turn.ts'
import { ApiError } from '../../proto/errors.ts'
import type { Clock, World } from '../../proto/world.ts'
import { aVault } from '../support/builders.ts'
import type { HttpAnswer, HttpRequest } from './sim-network.ts'
import type { SimLog } from './sim-log.ts'
import { keepsSecrets, type SimSecrets } from './sim-secrets.ts'

export interface ApiParts {
  readonly turn: Turn
  readonly clock: Clock
  readonly world: World
  readonly log: SimLog
  readonly secrets: SimSecrets
}

const filesRoute = '/v1/environment-files'
const noKey = (name: string) => ({ accessKeyId: `SIMULATED${name}`, secretAccessKey: name })

export function openApi(parts: ApiParts): (request: HttpRequest) => Promise<HttpAnswer> {
  const services = servicesOf(parts)
  return async ({ method, path, headers, body }) => {
    const request: RpcRequest = {
      requestId: 'simulated',
      method,
      path,
      headers: { host: 'controller:51700', ...headers },
      body: Buffer.from(body),
      sourceAddress: '10.0.0.9',
      isSecure: true,
    }
    if (path.startsWith(filesRoute)) return answerFile(parts, services, request)
    const { status, body: content } = await answerRpc(services, request)
    return { status, headers: {}, content }
  }
}

function servicesOf({ turn, clock, world, log }: ApiParts): RpcServices {
  const vault = aVault()
  const place = { region: world.region, account: world.account }
  const credentials = { root: noKey('root'), agent: noKey('agent') }
  const authenticator = createAuthenticator({ credentials, place, reader: turn.reader, vault })
  return {
    turn,
    clock,
    world,
    authenticator,
    access: createAccess(place),
    audit: {
      record(record) {
        keepsSecrets(log, 'the audit trail', JSON.stringify(record))
        log.worked(`${record.action} by a task is ${record.code === 'OK' ? 'answered' : 'refused'}`)
      },
      flush: async () => undefined,
      close: async () => undefined,
    },
    hosts: {
      authenticator,
      requireOwn: () => undefined,
      requireOwnInstance: () => undefined,
      refusedOnChannel: () => undefined,
      lastSeenAt: () => 0,
    },
    vault,
    log: log.logger('controller') as unknown as Log,
    metrics: createMetrics(),
    openSession: () => {
      throw new Error('No commands are run here.')
    },
    advertise: undefined,
  }
}

/** As the route does it: the same authentication and the same row of access, over a store of the simulation's own. */
async function answerFile(
  { turn, clock, log, secrets }: ApiParts,
  { authenticator, access, world }: RpcServices,
  request: RpcRequest,
): Promise<HttpAnswer> {
  try {
    const principal = authenticator.authenticate(request, clock.now())
    requireScope(principal, 'ecs', world.region)
    const arn = new URL(request.path, 'http://controller').searchParams.get('arn') ?? ''
    const input = { params: {}, query: { arn }, body: undefined }
    access.requireRoute(turn.reader, principal, { route: `GET ${filesRoute}`, input }, factsOf(request, clock.now()))
    if (secrets.areFilesAway) throw new ApiError('ServerException', `The store of ${arn} is away.`)
    const content = secrets.files.get(arn)
    if (content === undefined) throw new ApiError('ResourceNotFoundException', `NoSuchKey: there is no ${arn}.`)
    log.worked('s3:GetObject by a task is answered')
    return { status: 200, headers: {}, content: Buffer.from(content) }
  } catch (error) {
    const { httpStatus: status, code, message } = asApiError(error, request.requestId)
    log.worked('s3:GetObject by a task is refused')
    return { status, headers: {}, content: Buffer.from(JSON.stringify({ code, message })) }
  }
}
