/** Calls in the name of tasks' roles, over real connections: to whom they go, how many at once, and what comes of a no. */
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { text } from 'node:stream/consumers'
import tap from 'tap'
import type { Test } from 'tap'
import type { PayloadSecret } from '../proto/acs.ts'
import { openControllerApi } from './controller-api.ts'
import type { ControllerApi } from './controller-api.ts'
import { systemTrust } from './controller-trust.ts'
import { createFetchedSecrets } from './fetched-secrets.ts'
import type { FetchedSecrets } from './fetched-secrets.ts'
import { createRoleCredentials } from './role-credentials.ts'

interface Controller {
  readonly api: ControllerApi
  readonly seen: { readonly line: string; readonly body: string }[]
  /** The most connections that there were at once. */
  readonly most: () => number
}

type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => unknown

async function aController(t: Test, answer: Answer): Promise<Controller> {
  const seen: { line: string; body: string }[] = []
  let connections = 0
  let most = 0
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      seen.push({ line: `${request.method} ${request.url}`, body })
      return answer(request, response, body)
    })
  })
  server.on('connection', (socket) => {
    connections += 1
    most = Math.max(most, connections)
    socket.on('close', () => (connections -= 1))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const api = openControllerApi({ origin, region: 'us-east-1', trust: systemTrust, now: Date.now })
  return { api, seen, most: () => most }
}

const keys = { accessKeyId: 'GSESSNEXEC', secretAccessKey: 'canary-secret-key', sessionToken: 'canary-token' }
const role = { credentialsId: 'x-1', roleArn: 'arn:aws:iam::123456789012:role/exec' }
const taskArn = 'arn:aws:ecs:us-east-1:123456789012:task/default/1'

const nothing = (): void => undefined
const log = { debug: nothing, info: nothing, warn: nothing, error: nothing }

function fetchedBy(api: ControllerApi): FetchedSecrets {
  const roleCredentials = createRoleCredentials()
  const credentials = { ...role, ...keys, expiration: '2100-01-01T00:00:00Z' }
  roleCredentials.put(taskArn, 'TaskExecution', credentials, Date.now())
  return createFetchedSecrets({ api, roleCredentials, now: Date.now, log })
}

const secretOf = (name: string, valueFrom: string): PayloadSecret => ({
  name,
  valueFrom,
  type: 'ENVIRONMENT_VARIABLE',
  provider: valueFrom.startsWith('/') ? 'ssm' : 'asm',
  region: 'us-east-1',
  target: 'CONTAINER',
})

const requestOf = (secrets: readonly PayloadSecret[], container = 'web') => ({
  taskArn,
  container,
  secrets,
  environmentFiles: [],
  registrySecret: undefined,
  role,
})

await tap.test('what a container hides in the body of a GET is no request of its own', async (t) => {
  const { api, seen } = await aController(t, (_request, response) => response.end('{}'))
  const hidden = 'POST /hidden HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n'
  const rawHeaders = ['host', '169.254.170.2', 'content-length', '1', 'connection', 'content-length']
  await api.forward({ method: 'GET', target: '/?a=b', rawHeaders, body: Buffer.from(hidden) })
  await api.forward({ method: 'POST', target: '/', rawHeaders, body: Buffer.from('') })
  t.same(seen, [
    { line: 'GET /?a=b', body: hidden },
    { line: 'POST /', body: '' },
  ])
})

await tap.test('a hundred containers that fetch at once take turns, and each has its own', async (t) => {
  const controller = await aController(t, async (_request, response, body) => {
    await new Promise((resolve) => setTimeout(resolve, 5))
    const { SecretId: id } = JSON.parse(body) as { SecretId: string }
    response.end(JSON.stringify({ SecretString: `value of ${id}` }))
  })
  const fetched = fetchedBy(controller.api)
  const names = Array.from({ length: 100 }, (_, index) => `db-${index}`)
  await Promise.all(
    names.map(async (name) => fetched.fetch(requestOf([secretOf('A', name), secretOf('B', name)], name))),
  )
  for (const name of names) {
    const environment = Object.fromEntries(fetched.valuesOf(taskArn, name)?.environment ?? [])
    t.same(environment, { A: `value of ${name}`, B: `value of ${name}` })
  }
  t.equal(controller.seen.length, 100, 'one call for two variables of one secret')
  t.equal(controller.most(), 16)
})

await tap.test('what comes after its task has ended is let go', async (t) => {
  const asked = Promise.withResolvers<ServerResponse>()
  const { api } = await aController(t, (_request, response) => asked.resolve(response))
  const fetched = fetchedBy(api)
  const fetching = fetched.fetch(requestOf([secretOf('A', 'db')]))
  const response = await asked.promise
  fetched.forgetTask(taskArn)
  response.end('{"SecretString": "late"}')
  await fetching
  t.equal(fetched.valuesOf(taskArn, 'web'), undefined)
  t.equal(fetched.held.size, 0)
})

await tap.test('of a no it is told whether it may pass, and what to do', async (t) => {
  let say: { status: number; body: object | string } = { status: 200, body: {} }
  const { api } = await aController(t, (_request, response) => {
    response.writeHead(say.status).end(typeof say.body === 'string' ? say.body : JSON.stringify(say.body))
  })
  const fetched = fetchedBy(api)
  const asked = async (status: number, type: string, message: string, name = 'db'): Promise<void> => {
    say = { status, body: { __type: `com.amazonaws#${type}`, message } }
    await fetched.fetch(requestOf([secretOf('A', name)]))
  }
  const passing = { kind: 'deadline', message: /^ResourceInitializationError: unable to pull secrets.* db / }
  await t.rejects(asked(500, 'InternalServiceError', 'the disk is full'), passing)
  await t.rejects(asked(400, 'ThrottlingException', 'too many'), passing)
  await t.rejects(asked(403, 'ExpiredTokenException', 'over'), passing)
  await t.rejects(
    asked(403, 'UnrecognizedClientException', 'the sessions of role exec were revoked'),
    passing,
    'the next keys of the role are on their way',
  )
  await t.rejects(
    asked(403, 'InvalidSignatureException', "Signature expired: ... The caller's clock is 2 hours behind"),
    { ...passing, message: /2 hours behind/ },
    'a clock can be set right',
  )
  await t.rejects(asked(403, 'AccessDeniedException', 'not authorized'), {
    kind: 'refused',
    message: /not authorized\. Allow it in a policy of the execution role arn:.*role\/exec\.$/,
  })
  await t.rejects(asked(400, 'ResourceNotFoundException', 'no such secret'), {
    kind: 'refused',
    message: /no such secret\. Make db, or correct the task definition\.$/,
  })
  const noStage = "Secrets Manager can't find the specified secret value for staging label: NOPE"
  await t.rejects(
    asked(400, 'ResourceNotFoundException', noStage),
    { kind: 'refused', message: /NOPE\. Correct the version's stage or id in valueFrom\.$/ },
    'the secret itself is there',
  )
  await t.rejects(asked(400, 'InvalidRequestException', 'You ... because it was marked for deletion.'), {
    kind: 'refused',
    message: /marked for deletion\. Restore it \(RestoreSecret\), or correct the task definition\.$/,
  })
  say = { status: 200, body: { SecretString: 'can\0ary' } }
  await t.rejects(fetched.fetch(requestOf([secretOf('A', 'db')])), {
    kind: 'refused',
    message: /^(?!.*ary).*the value of A \(db\) holds a NUL character, which no variable can\.$/,
  })
  say = { status: 200, body: { Parameters: [], InvalidParameters: ['/app/a'] } }
  await t.rejects(fetched.fetch(requestOf([secretOf('A', '/app/a')])), {
    kind: 'refused',
    message: /invalid parameters: \/app\/a\. .*valueFrom of A in container web\.$/,
  })
  say = { status: 200, body: '{"SecretString": "canary' }
  const cut = { message: /^(?!.*canary).*its answer is no JSON/ }
  await t.rejects(fetched.fetch(requestOf([secretOf('A', 'db')])), cut, 'what may hold a value is not repeated')
  const nobody = openControllerApi({ origin: 'http://127.0.0.1:1', region: 'r', trust: systemTrust, now: Date.now })
  await t.rejects(fetchedBy(nobody).fetch(requestOf([secretOf('A', 'db')])), { kind: 'unreachable', message: / db / })
  const other = { ...requestOf([secretOf('A', 'db')]), role: { ...role, credentialsId: 'gone' } }
  await t.rejects(fetched.fetch(other), { kind: 'unreachable', message: /no keys of the execution role/ })
  t.equal(fetched.held.size, 0)
})
