/**
 * Bad input and bad luck, against the real controller: each with a clear error, nothing crashes, and nothing that was
 * answered is lost.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { type AgentPeer, dial, startAgentPeer } from '../support/agent-peer.ts'
import {
  callEcs,
  eventually,
  callRest,
  getRest,
  type RawAnswer,
  runController,
  send,
  startController,
} from '../support/controller.ts'

// A busy machine takes its time; no step is judged by how long it takes.
t.setTimeout(400_000)
const controller = await startController({ env: { GANTRY_LOG_LEVEL: 'debug' } })
t.teardown(() => controller.stop())
const { endpoint, credentials: root, agentCredentials: agentKey } = controller
const target = 'AmazonEC2ContainerServiceV20141113.ListClusters'
const json = 'application/x-amz-json-1.1'
/** Falls silent after its first report: by the end of this file its silence has been noticed. */
const silent = await startAgentPeer({ endpoint, key: agentKey, answersHeartbeats: false })
const silentTask = await startTaskOn(silent)

await t.test('bodies that are wrong', async (test) => {
  const cases: readonly (readonly [string, string | object, string, RegExp])[] = [
    ['malformed JSON', '{"maxResults":', 'SerializationException', /not JSON/],
    ['an array', '[]', 'SerializationException', /./],
    ['a wrong type', { maxResults: 'many' }, 'SerializationException', /maxResults/],
    ['a deep nest', `{"x":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 'SerializationException', /levels deep/],
    ['a huge body', { x: 'a'.repeat(2_000_000) }, 'RequestEntityTooLargeException', /larger than 1048576 bytes/],
    ['a page token of someone else', { nextToken: '%%%' }, 'InvalidParameterException', /token/i],
  ]
  for (const [name, body, code, message] of cases) {
    checkError(test, name, await callEcs(endpoint, root, 'ListClusters', body), code, message)
  }
  const noUtf8 = await callEcs(endpoint, root, 'ListClusters', '{"a":"\ud800"}')
  test.equal(noUtf8.status, 200, 'a lone surrogate leaves fetch as U+FFFD, and is an unknown member')
  const ok = await callEcs(endpoint, root, 'ListClusters', '')
  test.equal(ok.status, 200, 'an empty body is an empty request')
  const missing = await callEcs(endpoint, root, 'StopTask', {})
  checkError(test, 'a required member', missing, 'InvalidParameterException', /task/)
  const wrongEnum = await callEcs(endpoint, root, 'ListTasks', { desiredStatus: 'DANCING' })
  checkError(test, 'an enum', wrongEnum, 'InvalidParameterException', /desiredStatus/)
})

await t.test('targets, types and paths that are not there', async (test) => {
  const unknown = await callEcs(endpoint, root, 'MakeCoffee')
  checkError(test, 'an unknown operation', unknown, 'UnknownOperationException', /MakeCoffee/)
  const wrongScope = await callEcs(endpoint, root, 'ListClusters', {}, { service: 'ssm' })
  checkError(test, 'a scope of another service', wrongScope, 'InvalidSignatureException', /scoped to 'ssm'/, 403)
  const otherService = { headers: { 'x-amz-target': 'AmazonSQS.SendMessage' }, service: 'sqs' }
  const sqs = await callEcs(endpoint, root, 'x', {}, otherService)
  checkError(test, 'another service', sqs, 'UnknownOperationException', /AmazonSQS.SendMessage/)
  const text = await callEcs(endpoint, root, 'ListClusters', {}, { headers: { 'content-type': 'text/plain' } })
  checkError(test, 'a wrong content type', text, 'SerializationException', /application\/x-amz-json-1.1/)
  const old = { headers: { 'content-type': 'application/x-amz-json-1.0' } }
  const answer = await callEcs(endpoint, root, 'ListClusters', {}, old)
  test.equal(answer.headers.get('content-type'), 'application/x-amz-json-1.0', "answered in the request's own type")
  const form = { headers: { 'content-type': 'application/x-www-form-urlencoded', 'x-amz-target': '' } }
  const query = await callEcs(endpoint, root, 'x', 'Action=DescribeLoadBalancers&Version=2015-12-01', form)
  test.equal(query.headers.get('content-type'), 'text/xml')
  test.match(query.text, /<Code>InvalidAction<\/Code>/)
  for (const path of ['/', '/nowhere', '/service/X/operation/Y']) {
    const got = await send(`${endpoint}${path}`, { method: 'GET' })
    checkError(test, `GET ${path}`, got, 'UnknownOperationException', /GET/, 404)
  }
  const restless = await getRest(endpoint, root, '/v1/nothing')
  test.match([restless.status, restless.json], [404, { code: 'ResourceNotFoundException' }])
  const noTask = await getRest(endpoint, root, '/v1/tasks/none')
  test.match([noTask.status, noTask.json], [404, { code: 'ResourceNotFoundException', message: /no task/ }])
  for (const path of ['/v1/tasks/%ZZ', `/v1/tasks/${'a'.repeat(5000)}`]) {
    const broken = await send(`${endpoint}${path}`, {})
    test.match([broken.status, broken.json], [400, { code: 'InvalidParameterException', message: /no valid URL/ }])
  }
  checkError(test, 'a broken path', await send(`${endpoint}/%ZZ`, {}), 'InvalidParameterException', /no valid URL/)
  const badPage = await getRest(endpoint, root, '/v1/clusters?maxResults=0')
  test.match([badPage.status, badPage.json], [400, { code: 'InvalidParameterException', message: /maxResults/ }])
  test.match(await rawHttp('NONSENSE\r\n\r\n'), /^HTTP\/1.1 400 [^]*SerializationException/)
})

await t.test("the operators' REST: a cluster's patience, a pause that is not, and what happened", async (test) => {
  const patch = (body: string, cluster = 'default', key = root): Promise<RawAnswer> =>
    callRest(endpoint, key, 'PATCH', `/v1/clusters/${cluster}`, body)
  test.match((await patch('{"lostAfterMs":30000}')).json, { name: 'default', lostAfterMs: 30_000 })
  test.match((await patch('{"lostAfterMs":null}')).json, { lostAfterMs: 15_000 })
  for (const body of ['{"lostAfterMs":14999}', '{"lostAfterMs":86400001}']) {
    test.match((await patch(body)).json, { code: 'InvalidParameterException', message: /from 15000 .* to 86400000/ })
  }
  for (const body of ['{}', '{"lostAfterMs":"soon"}', '{"lostAfterMs":1.5}', '[]']) {
    const refused = await patch(body)
    test.match([refused.status, refused.json], [400, { code: 'InvalidParameterException', message: /./ }], body)
  }
  const misspelt = await patch('{"lostAfterMs":30000,"defaultSubnet":"subnet-1"}')
  test.match(misspelt.json, { code: 'InvalidParameterException', message: /has no member defaultSubnet\./ })
  for (const body of ['', '{', 'lostAfterMs=1']) {
    test.match((await patch(body)).json, { code: 'SerializationException', message: /no JSON/ }, body)
  }
  test.equal((await patch('{"lostAfterMs":30000}', 'nowhere')).status, 404)
  test.equal((await patch('{"lostAfterMs":30000}', 'default', agentKey)).status, 403)
  const resumed = await callRest(endpoint, root, 'POST', '/v1/clusters/default/resume-replacement')
  test.match([resumed.status, resumed.json], [200, { name: 'default', instances: { lost: 0 } }])

  const before = await getRest(endpoint, root, '/v1/events?maxResults=1')
  const { instanceArn } = await startAgentPeer({ endpoint, key: agentKey })
  const after = await getRest(endpoint, root, `/v1/events?cluster=default&after=${String(before.json['next'])}`)
  test.match(after.json, { isMissing: false, next: /^\d+$/ })
  // The silence of the other agent may be noticed at any moment.
  const events = after.json['events'] as readonly { event: { resources: readonly string[] } }[]
  test.match(
    events.filter(({ event }) => event.resources.includes(instanceArn)),
    [{ event: { source: 'aws.ecs', detail: { status: 'ACTIVE' } } }],
  )
  const bad = await getRest(endpoint, root, '/v1/events?after=yesterday')
  test.match([bad.status, bad.json], [400, { code: 'InvalidParameterException', message: /after/ }])
})

await t.test('signatures that are missing, wrong or stale', async (test) => {
  const plain = { method: 'POST', headers: { 'content-type': json, 'x-amz-target': target }, body: '{}' }
  const unsigned = await send(`${endpoint}/`, plain)
  checkError(test, 'unsigned', unsigned, 'MissingAuthenticationTokenException', /not signed/, 403)
  const wrongSecret = { ...root, secretAccessKey: 'x'.repeat(40) }
  const wrong = await callEcs(endpoint, wrongSecret, 'ListClusters')
  checkError(test, 'a wrong secret', wrong, 'InvalidSignatureException', /does not match/, 403)
  const stranger = await callEcs(endpoint, { ...root, accessKeyId: 'NOBODYKNOWSTHISKEY00' }, 'ListClusters')
  checkError(test, 'an unknown key', stranger, 'UnrecognizedClientException', /security token/, 403)
  const stale = await callEcs(endpoint, root, 'ListClusters', {}, { now: Date.now() - 20 * 60_000 })
  checkError(test, 'a skewed clock', stale, 'InvalidSignatureException', /20 min|1[12]\d\d s|clock/i, 403)
  const forbidden = await callEcs(endpoint, agentKey, 'RunTask', { taskDefinition: 'web' })
  checkError(
    test,
    'the agent key',
    forbidden,
    'AccessDeniedException',
    /gantry-host\/local.*ecs:RunTask.*resource/,
    403,
  )
  test.equal((await send(`${endpoint}/v1/clusters`, {})).status, 403, 'REST is signed too')
  test.equal((await getRest(endpoint, agentKey, '/v1/clusters')).status, 403, 'and not for agents')
})

await t.test('handshakes that are refused, with the error that the official agent reads', async (test) => {
  const peer = await startAgentPeer({ endpoint, key: agentKey })
  const url = (instance: string, cluster: string): string =>
    `${endpoint}/acs/ws?clusterArn=${cluster}&containerInstanceArn=${encodeURIComponent(instance)}&sendCredentials=false`
  await test.rejects(dial(url(peer.instanceArn, 'other'), agentKey, hearNothing), /400 .*InvalidClusterException/)
  await test.rejects(dial(url('f'.repeat(32), 'default'), agentKey, hearNothing), /400 .*InvalidInstanceException/)
  const wrongKey = { ...agentKey, secretAccessKey: 'x' }
  await test.rejects(dial(url(peer.instanceArn, 'default'), wrongKey, hearNothing), /403 .*InvalidSignatureException/)
  await test.rejects(dial(`${endpoint}/elsewhere`, agentKey, hearNothing), /404 .*"type":"ResourceNotFoundException"/)
  await leave(peer)
})

await t.test('a second agent with the same identity, and messages that are not in order', async (test) => {
  const first = await startAgentPeer({ endpoint, key: agentKey, gantryProtocol: true })
  const other = await startAgentPeer({ endpoint, key: agentKey, gantryProtocol: true, obeys: false })
  await callEcs(endpoint, root, 'RegisterTaskDefinition', {
    family: 'own',
    containerDefinitions: [{ name: 'main', image: 'x', memory: 16 }],
  })
  const ran = await callEcs(endpoint, root, 'StartTask', {
    taskDefinition: 'own',
    containerInstances: [first.instanceArn],
  })
  const [task] = ran.json['tasks'] as readonly { taskArn: string }[]
  const taskArn = task?.taskArn ?? ''
  await eventually('the task to run', async () => ((await statusOf(taskArn)) === 'RUNNING' ? true : undefined))

  other.send('GantryTaskStateChange', { messageId: 'foreign', task: taskArn, status: 'STOPPED', containers: [] })
  const refusal = await other.frame('GantryTaskStateRefusal')
  test.match(refusal.message, { messageId: 'foreign', reason: /./ })
  test.equal(await statusOf(taskArn), 'RUNNING', "another agent's report changes nothing")
  other.send('GantryTaskStateChange', { messageId: 'shapeless', task: 7 })
  await eventually('its refusal', () => other.frames.find(({ message }) => message['messageId'] === 'shapeless'))
  other.send('NeverHeardOf', { x: 1 })
  other.send('AckRequest', { messageId: { nested: true } })
  const heard = other.frames.length
  other.send('GantryTaskStateChange', { messageId: 'after', task: taskArn, status: 'RUNNING', containers: [] })
  await eventually('an answer after all that', () =>
    other.frames.slice(heard).find(({ type }) => type.startsWith('Gantry')),
  )

  const twin = await startTwin(first)
  await eventually('the older channel to be closed', () => (first.closeCode() === 1008 ? true : undefined))
  test.match(
    controller.output(),
    /a newer channel of this container instance replaces the older one\. .*two agents use one identity/,
  )
  test.equal(await statusOf(taskArn), 'RUNNING', 'nothing is lost by it')
  twin.terminate()
  await callEcs(endpoint, root, 'StopTask', { task: taskArn })
  await leave(other)
})

await t.test('a second controller on the directory, and credentials that others can read', async (test) => {
  const second = await runController(controller.dataDir)
  test.equal(second.code, 1)
  test.match(second.output, new RegExp(`in use by process ${controller.pid}`))
  const directory = mkdtempSync(join(tmpdir(), 'gantry-open-'))
  test.teardown(() => rmSync(directory, { recursive: true }))
  writeFileSync(join(directory, 'root-credentials'), '[default]\naws_access_key_id = a\naws_secret_access_key = b\n')
  chmodSync(join(directory, 'root-credentials'), 0o644)
  const open = await runController(directory)
  test.equal(open.code, 1)
  test.match(open.output, /root-credentials has mode 0644[^]*chmod 600/)
  const wrong = await runController(directory, { env: { GANTRY_LISTEN: 'nowhere' } })
  test.match(wrong.output, /GANTRY_LISTEN=\\"nowhere\\" can't be used/)
})

await t.test('kill -9 loses nothing that was answered; a clientToken gives the same tasks after it', async (test) => {
  let current = await startController()
  const peer = await startAgentPeer({ endpoint: current.endpoint, key: current.agentCredentials, obeys: false })
  const call = (operation: string, input: object): Promise<RawAnswer> =>
    callEcs(current.endpoint, current.credentials, operation, input)
  const containerDefinitions = [{ name: 'main', image: 'x', memory: 16 }]
  await call('RegisterTaskDefinition', { family: 'kept', containerDefinitions })
  const input = { taskDefinition: 'kept', count: 3, clientToken: 'once' }
  const arns = arnsOf(await call('RunTask', input))
  test.equal(arns.length, 3)
  await call('CreateCluster', { clusterName: 'kept' })
  await current.kill9()
  current = await startController({ dataDir: current.dataDir, port: current.port })
  test.teardown(() => current.stop())

  const clusters = await call('ListClusters', {})
  test.match(clusters.json['clusterArns'], [/default$/, /kept$/])
  test.same(arnsOf(await call('RunTask', input)), arns, 'the same token, the same tasks')
  const other = await call('RunTask', { ...input, count: 1 })
  checkError(test, 'the same token, another request', other, 'ConflictException', /./)
  const described = await call('DescribeContainerInstances', { containerInstances: [peer.instanceArn] })
  test.match(
    described.json['containerInstances'],
    [{ agentConnected: true }],
    'nothing is declared lost after a restart',
  )
  await peer.connect(false)
  await eventually('the tasks to be told again', () => (peer.tasks.size === 3 ? true : undefined))
})

await t.test('a full disk: refused whole and said so, read on, and taken up again when there is room', async (test) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-full-'))
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', directory])
  test.teardown(() => {
    execFileSync('umount', [directory])
    rmSync(directory, { recursive: true })
  })
  const small = await startController({ dataDir: directory })
  test.teardown(() => small.terminate())
  const create = (number: number): Promise<RawAnswer> =>
    callEcs(small.endpoint, small.credentials, 'CreateCluster', { clusterName: `c${number}` })
  const filler = join(directory, 'filler')
  test.equal((await create(0)).status, 200)
  fill(filler)
  let answered = 1
  const refused = await eventually('a refusal', async () => {
    const answer = await create(answered)
    if (answer.status !== 200) return answer
    answered += 1
    return undefined
  })
  checkError(test, 'no room', refused, 'ServerException', /./, 500)
  const ready = await send(`${small.endpoint}/readyz`, {})
  test.match([ready.status, ready.json], [503, { status: 'read-only', reason: /./ }])
  test.equal((await callEcs(small.endpoint, small.credentials, 'ListClusters')).status, 200, 'reads go on')
  rmSync(filler)
  await eventually('room to be found', async () => ((await create(answered)).status === 200 ? true : undefined))
  const clusters = await callEcs(small.endpoint, small.credentials, 'ListClusters')
  const names = (clusters.json['clusterArns'] as readonly string[]).map((arn) => arn.split('/')[1] ?? '')
  const expected = ['default', ...Array.from({ length: answered + 1 }, (_each, index) => `c${index}`)]
  test.same(names.toSorted(), expected.toSorted(), 'all that was answered, and nothing else')
})

await t.test('a silent agent: its tasks never look fresh', async (test) => {
  const lost = await eventually('the silence to be noticed', async () => {
    const answer = await callEcs(endpoint, root, 'DescribeContainerInstances', {
      containerInstances: [silent.instanceArn],
    })
    const [instance] = answer.json['containerInstances'] as readonly { agentConnected: boolean }[]
    return instance?.agentConnected === false ? instance : undefined
  })
  test.ok(lost)
  const described = await callEcs(endpoint, root, 'DescribeTasks', { tasks: [silentTask] })
  test.match(described.json['tasks'], [{ lastStatus: 'RUNNING', connectivity: 'DISCONNECTED', connectivityAt: Number }])
  const shown = await getRest(endpoint, root, `/v1/tasks/${silentTask.split('/').at(-1)}`)
  test.match(shown.json, { fresh: false, connectivity: 'DISCONNECTED', silentForMs: Number, reportAgeMs: Number })
  const input = { taskDefinition: 'silent', containerInstances: [silent.instanceArn] }
  const refused = await callEcs(endpoint, root, 'StartTask', input)
  test.match(refused.json, { tasks: [], failures: [{ reason: 'AGENT' }] })
})

await t.test('after all that: alive, ready, honest in its documents, and no secret in its log', async (test) => {
  test.equal((await send(`${endpoint}/healthz`, {})).status, 200)
  test.equal((await send(`${endpoint}/readyz`, {})).status, 200)
  const document = await send(`${endpoint}/v1/openapi.json`, {})
  const paths = document.json['paths'] as Readonly<Record<string, { get?: object }>>
  test.same(Object.keys(paths).toSorted(), [
    '/v1/audit',
    '/v1/clusters',
    '/v1/clusters/{cluster}',
    '/v1/clusters/{cluster}/instances',
    '/v1/clusters/{cluster}/resume-replacement',
    '/v1/clusters/{cluster}/tasks',
    '/v1/environment-files',
    '/v1/events',
    '/v1/file-systems',
    '/v1/file-systems/{fileSystemId}',
    '/v1/file-systems/{fileSystemId}/access-points',
    '/v1/file-systems/{fileSystemId}/access-points/{accessPointId}',
    '/v1/hosts',
    '/v1/hosts/events',
    '/v1/hosts/self/keys',
    '/v1/hosts/{hostId}',
    '/v1/hosts/{hostId}/revoke',
    '/v1/join',
    '/v1/join-tokens',
    '/v1/join-tokens/{tokenId}',
    '/v1/plan',
    '/v1/roles/{role}/revoke-sessions',
    '/v1/secret-keys',
    '/v1/secret-keys/reseal',
    '/v1/services/{cluster}/{service}/why',
    '/v1/subnets',
    '/v1/subnets/{subnetId}',
    '/v1/subnets/{subnetId}/addresses',
    '/v1/subnets/{subnetId}/release',
    '/v1/tasks/{task}',
    '/v1/tasks/{task}/logs',
    '/v1/tasks/{task}/usage',
    '/v1/tasks/{task}/why',
  ])
  const metrics = await send(`${endpoint}/metrics`, {})
  test.match(metrics.text, /gantry_requests_total\{operation="ListClusters",code="SerializationException"\} \d/)
  test.notMatch(controller.output(), root.secretAccessKey)
  test.notMatch(controller.output(), /Signature=[0-9a-f]{64}/)
  test.equal(await controller.terminate(), 0, 'and it closes cleanly')
})

function checkError(test: Test, name: string, answer: RawAnswer, code: string, message: RegExp, status = 0): void {
  test.match(answer.json, { __type: code, message }, name)
  const expected = status === 0 ? (code === 'RequestEntityTooLargeException' ? 413 : 400) : status
  test.equal(answer.status, expected, `${name}: status`)
  test.ok(answer.headers.get('x-amzn-requestid'), `${name}: request id`)
  test.ok(answer.headers.get('date'), `${name}: Date`)
}

function hearNothing(): void {
  // These channels are opened to be refused or replaced.
}

function arnsOf(answer: RawAnswer): readonly string[] {
  return (answer.json['tasks'] as readonly { taskArn: string }[]).map(({ taskArn }) => taskArn)
}

async function startTaskOn(peer: AgentPeer): Promise<string> {
  const containerDefinitions = [{ name: 'main', image: 'x', memory: 16 }]
  await callEcs(endpoint, root, 'RegisterTaskDefinition', { family: 'silent', containerDefinitions })
  const input = { taskDefinition: 'silent', containerInstances: [peer.instanceArn] }
  const [task] = arnsOf(await callEcs(endpoint, root, 'StartTask', input))
  if (task === undefined) throw new Error('the task was not placed')
  await eventually('the task to run', async () => ((await statusOf(task)) === 'RUNNING' ? true : undefined))
  return task
}

async function statusOf(task: string): Promise<string | undefined> {
  const answer = await callEcs(endpoint, root, 'DescribeTasks', { tasks: [task] })
  return (answer.json['tasks'] as readonly { lastStatus: string }[])[0]?.lastStatus
}

async function startTwin(peer: AgentPeer): Promise<Awaited<ReturnType<typeof dial>>> {
  const query = `clusterArn=default&containerInstanceArn=${encodeURIComponent(peer.instanceArn)}&sendCredentials=true`
  return dial(`${endpoint}/acs/ws?${query}`, agentKey, hearNothing)
}

async function leave(peer: AgentPeer): Promise<void> {
  await peer.disconnect('cut')
  await peer.call('DeregisterContainerInstance', { containerInstance: peer.instanceArn, force: true })
}

function rawHttp(text: string): Promise<string> {
  const { hostname, port } = new URL(endpoint)
  return new Promise((done, fail) => {
    const socket = connect(Number(port), hostname, () => socket.write(text))
    let answer = ''
    socket.on('data', (chunk) => (answer += chunk.toString('utf8')))
    socket.on('end', () => done(answer))
    socket.on('error', fail)
  })
}

/** Takes what room the file system has, down to the last page. */
function fill(path: string): void {
  for (const size of [65_536, 4096]) {
    try {
      for (;;) writeFileSync(path, Buffer.alloc(size), { flag: 'a' })
    } catch {
      // No space left: that is what it was for.
    }
  }
  if (readFileSync(path).length === 0) throw new Error('the small file system was full before it was filled')
}
