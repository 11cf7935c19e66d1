/** What the task endpoint answers: shapes of tasks with addresses of their own, who is refused, errors in their forms. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { connect } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import tap from 'tap'
import { instanceArn, aPayloadContainer, aPayloadTask, taskArnOf } from '../test/support/payloads.ts'
import { createBody } from './decide/container.ts'
import { internalNames } from './decide/internal-containers.ts'
import { foldObservation } from './decide/observation.ts'
import { freshContainer } from './decide/view.ts'
import type { ContainerFacts } from './decide/view.ts'
import { ApiCallError } from './ecs-api.ts'
import type { CallApi } from './ecs-api.ts'
import type { ControllerApi, ForwardedRequest } from './controller-api.ts'
import { EngineError, labels } from './engine.ts'
import type { ContainerDetails, NetworkSpec, ObservedContainer } from './engine.ts'
import { createRateLimit } from './rate-limit.ts'
import { createResourceTags } from './resource-tags.ts'
import { statsTargets } from './stats-targets.ts'
import { defaultBridge, ensureTaskEndpointNetwork } from './task-endpoint-network.ts'
import { cleanPath } from './task-endpoint-answers.ts'
import { createRoleCredentials } from './role-credentials.ts'
import type { RoleCredentials } from './role-credentials.ts'
import { createSocketOwners } from './socket-owner.ts'
import { isOfTask } from './task-endpoint-callers.ts'
import { answerTaskApi, endpointAnswer } from './task-endpoint-routes.ts'
import type { EndpointRequest, EndpointSources, KeysAsked } from './task-endpoint-routes.ts'
import { createEndpointServer } from './task-endpoint-server.ts'
import type { TurnTask } from './turn-options.ts'

const endpointId = '11111111-1111-4111-8111-111111111111'
const siblingId = '22222222-2222-4222-8222-222222222222'

function shown(over: Partial<ObservedContainer> = {}, details: Partial<ContainerDetails> = {}): ObservedContainer {
  return {
    id: 'web-docker-id',
    name: 'ecs-hello-3-web-0',
    image: 'busybox:1',
    imageId: 'sha256:1',
    labels: { [labels.endpointId]: endpointId, team: 'lab' },
    status: 'running',
    exitCode: undefined,
    createdAt: 1_700_000_000_000,
    startedAt: 1_700_000_001_000,
    finishedAt: undefined,
    oomKilled: false,
    memoryLimitBytes: 0,
    error: '',
    health: undefined,
    ports: [],
    networkMode: 'default',
    ...over,
    details: {
      pid: 7,
      cgroupParent: '',
      networks: [{ network: 'bridge', ipv4: '172.17.0.5', ipv6: '', mac: '' }],
      mounts: [],
      logDriver: 'json-file',
      logOptions: {},
      ...details,
    },
  }
}

const runs: ContainerFacts = {
  ...freshContainer,
  knownStatus: 'RUNNING',
  started: true,
  imageReady: true,
  dockerId: 'web-docker-id',
  dockerName: 'ecs-hello-3-web-0',
  endpointId,
}

function aTask(over: Partial<TurnTask> = {}, payload: Partial<TurnTask['payload']> = {}): TurnTask {
  const whole = aPayloadTask(payload)
  return {
    payload: whole,
    facts: {
      taskArn: whole.arn,
      desiredStatus: 'RUNNING',
      knownStatus: 'RUNNING',
      adopted: false,
      acceptedAt: 0,
      containers: { web: runs },
      volumes: {},
    },
    desiredStatus: 'RUNNING',
    knownStatus: 'RUNNING',
    observed: new Map([['web', shown()]]),
    ...over,
  }
}

/** A task in a subnet, whose network a pause container holds. */
function anAwsvpcTask(): TurnTask {
  const payload = aPayloadTask({
    networkMode: 'awsvpc',
    containers: [
      aPayloadContainer({ name: internalNames.CNI_PAUSE, internal: 'CNI_PAUSE' }),
      aPayloadContainer({ portMappings: [{ containerPort: 80, protocol: 'tcp' }] }),
      aPayloadContainer({ name: 'side' }),
    ],
    associations: [
      { name: 'GPU-1', type: 'gpu', content: { encoding: 'identity', value: 'GPU-1' }, containers: ['web'] },
    ],
    elasticNetworkInterfaces: [
      {
        attachmentArn: 'arn:attachment',
        ec2Id: 'eni-1',
        index: 0,
        macAddress: '02:00:00:00:00:01',
        ipv4Addresses: [{ privateAddress: '10.9.0.7', primary: true }],
        domainName: ['lab.internal'],
        domainNameServers: ['10.9.0.1'],
        privateDnsName: 'ip-10-9-0-7.lab.internal',
        subnetGatewayIpv4Address: '10.9.0.1/24',
      },
    ],
    gantry: {
      knownStatus: 'PENDING',
      network: { subnetId: 'subnet-1', cidr: '10.9.0.0/24', attachment: { kind: 'bridge' } },
    },
  })
  const networks = [
    { network: 'gantry-subnet-1', ipv4: '10.9.0.7', ipv6: '', mac: '' },
    { network: 'gantry-task-endpoints', ipv4: '169.254.170.3', ipv6: '', mac: '' },
  ]
  const joined = { networkMode: 'container:pause' }
  return {
    ...aTask(),
    payload,
    facts: {
      ...aTask().facts,
      containers: {
        [internalNames.CNI_PAUSE]: { ...runs, endpointId: undefined, dockerId: 'pause-docker-id' },
        web: runs,
        side: { ...runs, dockerId: 'side-docker-id', endpointId: siblingId },
      },
    },
    observed: new Map([
      [internalNames.CNI_PAUSE, shown({ id: 'pause-docker-id', labels: {} }, { networks })],
      ['web', shown(joined, { networks: [] })],
      ['side', shown({ ...joined, id: 'side-docker-id' }, { networks: [] })],
    ]),
  }
}

const callTags: CallApi = async () => ({ tags: [{ key: 'team', value: 'blue' }] })

function namesIn(body: object): readonly string[] {
  return (body as { Env: string[] }).Env.map((one) => one.split('=')[0] ?? '')
}

const roleArn = 'arn:aws:iam::123456789012:role/worker'
const credentialsId = '33333333-3333-4333-8333-333333333333'
const role = { credentialsId, roleArn }

function withRole(task: TurnTask): TurnTask {
  const issued = [
    { accessKeyId: 'GSESSNOLD', endsAt: 500 },
    { accessKeyId: 'GSESSNONE', endsAt: 1000 },
  ]
  return { ...task, facts: { ...task.facts, roles: { task: { ...role, issued } } } }
}

/** The keys of the task's role, as they came; good until the clock shows 1000. */
function someKeys(taskArn = taskArnOf(1)): RoleCredentials {
  const keys = createRoleCredentials()
  const credentials = {
    ...role,
    accessKeyId: 'GSESSNONE',
    secretAccessKey: 'canary-secret',
    sessionToken: 'canary-token',
    expiration: '1970-01-01T00:00:01.000Z',
  }
  keys.put(taskArn, 'TaskApplication', credentials, 0)
  return keys
}

/** Answers calls in the name of a role; `forwarded` takes down what is passed on. */
function apiOf(call: CallApi, forwarded: ForwardedRequest[] = []): ControllerApi {
  return {
    call: async (_service, operation, input, keys) => call(operation, { ...input, signedWith: keys.accessKeyId }),
    environmentFile: async () => new Uint8Array(),
    async forward(passed) {
      forwarded.push(passed)
      return { status: 200, headers: { 'content-type': 'x', server: 'y' }, content: Buffer.from('{}') }
    },
  }
}

function sourcesOf(tasks: readonly TurnTask[], over: Partial<EndpointSources> = {}): EndpointSources {
  return {
    tasks: () => tasks,
    host: { cluster: 'default', availabilityZone: 'us-east-1a', containerInstanceArn: () => instanceArn },
    inspect: async () => undefined,
    isHeldBy: () => false,
    api: apiOf(async () => ({})),
    roleCredentials: createRoleCredentials(),
    onKeysAsked: () => undefined,
    tags: createResourceTags(callTags, () => 0),
    stats: { samplesOf: () => [], usedBefore: () => ({}) as never },
    layout: { root: '/nowhere', procRoot: '/nowhere', version: 2 },
    cpus: 2,
    now: () => 0,
    ...over,
  }
}

const usual: EndpointRequest = {
  method: 'GET',
  path: '/',
  query: new URLSearchParams(),
  address: '172.17.0.5',
  port: 40_000,
  userAgent: 'aws-sdk',
  body: '',
}

async function ask(sources: EndpointSources, path: string, over: Partial<EndpointRequest> = {}) {
  const [plain = '', query = ''] = path.split('?')
  return endpointAnswer(sources, { ...usual, path: plain, query: new URLSearchParams(query), ...over })
}

await tap.test(
  'a task with an address of its own is shown by its payload, and its pause container never',
  async (t) => {
    const sources = sourcesOf([anAwsvpcTask()])
    const address = '169.254.170.3'
    const own = { NetworkMode: 'awsvpc', IPv4Addresses: ['10.9.0.7'] }
    const one = await ask(sources, `/v4/${endpointId}`, { address })
    t.match(one, { status: 200, body: { Ports: [{ ContainerPort: 80, HostPort: 80, Protocol: 'tcp' }] } })
    t.same((one.body as { Networks: unknown }).Networks, [
      {
        ...own,
        AttachmentIndex: 0,
        MACAddress: '02:00:00:00:00:01',
        IPv4SubnetCIDRBlock: '10.9.0.0/24',
        DomainNameServers: ['10.9.0.1'],
        DomainNameSearchList: ['lab.internal'],
        PrivateDNSName: 'ip-10-9-0-7.lab.internal',
        SubnetGatewayIpv4Address: '10.9.0.1/24',
      },
    ])
    const task = (await ask(sources, `/v4/${endpointId}/task`, { address })).body as { Containers: { Name: string }[] }
    t.same(
      task.Containers.map(({ Name }) => Name),
      ['web', 'side'],
    )
    t.same(((await ask(sources, `/v3/${endpointId}`, { address })).body as { Networks: unknown }).Networks, [own])

    t.match(await ask(sources, '/v2/metadata', { address }), { status: 200, body: { TaskARN: taskArnOf(1) } })
    t.match(await ask(sources, '/v2/metadata/side-docker-id', { address }), { status: 200, body: { Name: 'side' } })
    t.match(await ask(sources, '/v2/metadata/pause-docker-id', { address }), { status: 400 })
    t.match(await ask(sources, '/v2/metadataWithTags', { address }), { body: { TaskTags: { team: 'blue' } } })
    t.match(await ask(sources, '/v2/stats', { address }), {
      status: 200,
      body: { 'web-docker-id': null, 'side-docker-id': null },
    })
    t.match(await ask(sources, '/v2/metadata', { address: '10.9.0.7' }), { status: 200 })
    t.match(await ask(sources, '/v2/metadata', { address: '169.254.170.4' }), { status: 400 })

    t.same((await ask(sources, `/v4/${endpointId}/associations/gpu`, { address })).body, { Associations: ['GPU-1'] })
    t.match(await ask(sources, `/v4/${endpointId}/associations/gpu/GPU-1`, { address }), { status: 200, text: 'GPU-1' })
    t.match(await ask(sources, `/v4/${siblingId}/associations/gpu/GPU-1`, { address }), { status: 404 })
    t.match(await ask(sources, `/v3/${siblingId}/associations/gpu/GPU-1`, { address }), { status: 400 })

    const [web] = statsTargets([anAwsvpcTask()])
    t.match(web, { dockerId: 'web-docker-id', pid: 7, countsNetwork: true, networkShare: 2 })
  },
)

await tap.test('who asks from elsewhere learns nothing, by whichever path', async (t) => {
  const asked: KeysAsked[] = []
  const sources = sourcesOf([withRole(aTask())], { onKeysAsked: (one) => void asked.push(one) })
  const keys = `/v2/credentials/${credentialsId}`
  t.match(await ask(sources, `/v4/${endpointId}`), { status: 200 })
  t.match(await ask(sources, keys), { status: 503, body: { code: 'CredentialsUninitialized' } })
  const address = '172.17.0.6'
  for (const path of ['', '/task', '/taskWithTags', '/stats', '/task/stats', '/associations/gpu']) {
    t.equal((await ask(sources, `/v4/${endpointId}${path}`, { address })).status, 404, path)
    t.equal((await ask(sources, `/v3/${endpointId}${path}`, { address })).status, 400, path)
  }
  t.match(await ask(sources, keys, { address }), { status: 400, body: { code: 'InvalidIdInRequest' } })
  t.same(asked, [
    { status: 503, version: 2, address: usual.address, userAgent: 'aws-sdk', taskArn: taskArnOf(1), roleArn },
    { status: 400, version: 2, address, userAgent: 'aws-sdk', taskArn: undefined, roleArn: undefined },
  ])
  t.equal((await ask(sources, `/api/${endpointId}/task-protection/v1/state`, { address })).status, 404)
  const fault = { address, method: 'POST' }
  t.equal((await ask(sources, `/api/${endpointId}/fault/v1/network-latency/start`, fault)).status, 404)
  for (const path of ['/', '/v4', '/v4/', `/v4/${endpointId}/more`, '/v5/x', '/v2/x', '/v1/x', '/api/x/y']) {
    t.equal((await ask(sources, path)).status, 404, path)
  }
  const hosts = sourcesOf([aTask({}, { networkMode: 'host' })])
  t.equal((await ask(hosts, `/v4/${endpointId}`, { address: '127.0.0.1' })).status, 200, "an address of the host's")
  t.equal((await ask(hosts, `/v4/${endpointId}`, { address })).status, 404)
})

await tap.test(
  "a task is given its own role's keys, while they are good, and calls the controller with them",
  async (t) => {
    let now = 0
    const forwarded: ForwardedRequest[] = []
    const keys = someKeys()
    const tasks = [withRole(aTask())]
    const sources = sourcesOf(tasks, { roleCredentials: keys, api: apiOf(async () => ({}), forwarded), now: () => now })
    const body = {
      RoleArn: roleArn,
      AccessKeyId: 'GSESSNONE',
      SecretAccessKey: 'canary-secret',
      Token: 'canary-token',
      Expiration: '1970-01-01T00:00:01.000Z',
    }
    t.same(await ask(sources, `/v2/credentials/${credentialsId}`), { status: 200, body })
    t.same(await ask(sources, `/v1/credentials?id=${credentialsId}`), { status: 200, body })

    const authorization =
      'AWS4-HMAC-SHA256 Credential=GSESSNONE/20231114/us-east-1/ecs/aws4_request, SignedHeaders=host, Signature=0'
    const dated = ['X-Amz-Date', '20231114T000000Z', 'Authorization']
    const call = { method: 'POST', target: '/', rawHeaders: [...dated, authorization], body: Buffer.from('{}') }
    t.match(await answerTaskApi(sources, usual, call), { status: 200, headers: { 'content-type': 'x' } })
    t.match(forwarded, [{ method: 'POST', target: '/', rawHeaders: call.rawHeaders }])
    const old = { ...call, rawHeaders: [...dated, authorization.replace('GSESSNONE', 'GSESSNOLD')] }
    t.match(await answerTaskApi(sources, usual, old), { status: 200 }, 'those that a program had before')
    now = 500
    t.match(await answerTaskApi(sources, usual, old), { status: 403 }, 'until they end')
    now = 0
    const stopped = withRole(aTask())
    const ended = {
      ...sources,
      tasks: () => [{ ...stopped, facts: { ...stopped.facts, knownStatus: 'STOPPED' as const } }],
    }
    t.match(await answerTaskApi(ended, usual, call), { status: 403 }, 'or their task does')
    forwarded.length = 1
    const other = { ...call, rawHeaders: [...dated, authorization.replace('GSESSNONE', 'GANTRYROOT')] }
    t.match(await answerTaskApi(sources, usual, other), { status: 403 }, "keys that are not the task's")
    t.match(await answerTaskApi(sources, usual, { ...call, rawHeaders: [] }), { status: 403 }, 'no keys')
    const form = ['Content-Type', 'application/x-www-form-urlencoded; charset=utf-8']
    const inXml = await answerTaskApi(sources, usual, { ...call, rawHeaders: form })
    t.match(inXml, { status: 403, headers: { 'content-type': 'text/xml' } }, 'a client of STS reads no JSON')
    t.match(String(inXml.content), /^<ErrorResponse><Error><Type>Sender<\/Type><Code>InvalidClientTokenId</)
    const cut = { ...apiOf(async () => ({})), forward: async () => Promise.reject(new Error('a < b')) }
    const unanswered = await answerTaskApi({ ...sources, api: cut }, usual, call)
    t.match(unanswered, { status: 503, body: { __type: 'ServiceUnavailableException', message: /controller: a < b$/ } })
    const query = { ...call, rawHeaders: [...form, ...call.rawHeaders] }
    const noXml = await answerTaskApi({ ...sources, api: cut }, usual, query)
    t.match(String(noXml.content), /<Code>ServiceUnavailable<.*a &lt; b<\/Message>/)
    const elsewhere = { ...usual, address: '172.17.0.6' }
    t.match(await answerTaskApi(sources, elsewhere, call), { status: 403 }, 'stolen keys, from another container')
    t.match(await ask(sources, `/v2/credentials/${credentialsId}`, { address: '172.17.0.6' }), { status: 400 })
    t.equal(forwarded.length, 1)

    now = 1000
    t.match(await ask(sources, `/v2/credentials/${credentialsId}`), { status: 503 }, 'they have ended')
    t.match(await answerTaskApi(sources, usual, call), { status: 403 })
    now = 0
    const back = await ask(sources, `/v2/credentials/${credentialsId}`)
    t.match(back, { status: 200 }, 'a clock that ran ahead for a moment costs it nothing')
    const again = someKeys()
    again.forgetTaskRole(taskArnOf(1))
    t.match(await ask({ ...sources, roleCredentials: again }, `/v2/credentials/${credentialsId}`), { status: 503 })
    t.notMatch(JSON.stringify(someKeys().keysOf(credentialsId, 0)), /canary/, 'whoever prints them prints no secret')
  },
)

await tap.test("keys that are not the task's own don't ride behind its own, however they are hidden", async (t) => {
  const forwarded: ForwardedRequest[] = []
  const sources = sourcesOf([withRole(aTask())], {
    roleCredentials: someKeys(),
    api: apiOf(async () => ({}), forwarded),
    now: () => 0,
  })
  const scope = '20231114/us-east-1/ecs/aws4_request'
  const rest = 'SignedHeaders=host, Signature=0'
  const date = ['X-Amz-Date', '20231114T000000Z']
  const header = (...values: string[]) => [...date, ...values.flatMap((value) => ['Authorization', value])]
  const own = `AWS4-HMAC-SHA256 Credential=GSESSNONE/${scope}, ${rest}`
  const query = `X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20231114T000000Z&X-Amz-SignedHeaders=host&X-Amz-Signature=0`
  const presigned = (credentials: string) => `/?${query}&${credentials}`
  const ownInQuery = `X-Amz-Credential=GSESSNONE%2F${scope}`
  const hidden: readonly (readonly [string, string, readonly string[]])[] = [
    ['twice in one header', '/', header(`${own}, Credential=STOLEN/${scope}`)],
    ['in a second header', '/', header(own, `x, Credential=STOLEN/${scope}`)],
    ['behind a member that only looks like one', '/', header(own.replace(' ', ` XCredential=GSESSNONE/x, `))],
    ['in another member', '/', header(`AWS4-HMAC-SHA256 X=Credential=GSESSNONE/, Credential=STOLEN/${scope}, ${rest}`)],
    [
      'under an escaped name',
      presigned(`x-amz-credential=GSESSNONE%2F${scope}&X-Amz-%43redential=STOLEN%2F${scope}`),
      [],
    ],
    ['in a header, where the query has the own', presigned(ownInQuery), header(own.replace('GSESSNONE', 'STOLEN'))],
    ['twice in the query', presigned(`${ownInQuery}&X-Amz-Credential=STOLEN%2F${scope}`), []],
  ]
  const call = { method: 'POST', target: '/', rawHeaders: header(own), body: Buffer.from('') }
  for (const [name, target, rawHeaders] of hidden) {
    const { status } = await answerTaskApi(sources, usual, { ...call, target, rawHeaders })
    const isPassed = status === 200
    t.equal(isPassed, name.startsWith('behind'), name)
  }
  t.match(await answerTaskApi(sources, usual, call), { status: 200 })
  t.match(await answerTaskApi(sources, usual, { ...call, target: presigned(ownInQuery), rawHeaders: [] }), {
    status: 200,
  })
  t.equal(forwarded.length, 3)
})

await tap.test(
  'in the mode host, where all have one address, the holder of the connection is looked for',
  async (t) => {
    const task = withRole(aTask({}, { networkMode: 'host' }))
    const socket = { address: '127.0.0.1', port: 40_000 }
    t.equal(
      isOfTask(task, socket, (_socket, ids) => ids.includes('web-docker-id')),
      true,
    )
    t.equal(
      isOfTask(task, socket, () => false),
      false,
    )
    t.equal(
      isOfTask(task, { ...socket, address: '172.17.0.9' }, () => true),
      false,
    )
    const procRoot = t.testdir({
      net: {
        tcp: [
          'head',
          // A connection that a server of the task took, and one to another port there, from the same local end.
          '   0: 0100007F:9C44 0900A8C0:D431 01 0:0 00:0 0 0 0 4242 1',
          '   1: 0100007F:9C44 02AAFEA9:0051 01 0:0 00:0 0 0 0 4242 1',
          '   2: 0100007F:9C40 02AAFEA9:0050 01 0:0 00:0 0 0 0 4242 1\n',
        ].join('\n'),
        tcp6: 'head\n   0: 0000000000000000FFFF00000100007F:9C41 0000000000000000FFFF000002AAFEA9:0050 01 0:0 00:0 0 0 0 4343 1\n',
      },
      '71': { cgroup: '0::/docker/web-docker-id\n', fd: { '3': t.fixture('symlink', 'socket:[4242]') } },
      '72': { cgroup: '0::/docker/other\n', fd: { '3': t.fixture('symlink', 'socket:[4343]') } },
    })
    let now = 0
    const isHeldBy = createSocketOwners(() => now, procRoot)
    t.equal(isHeldBy(socket, ['web-docker-id']), true)
    t.equal(isHeldBy(socket, ['other']), false, "another container's")
    t.equal(isHeldBy({ ...socket, port: 40_001 }, ['other']), true, 'as an IPv6 socket has it')
    t.equal(isHeldBy({ ...socket, port: 40_002 }, ['other']), false, 'nobody has it')
    t.equal(isHeldBy({ ...socket, port: 40_004 }, ['web-docker-id']), false, 'it has the port, and not this connection')
    t.equal(isHeldBy(socket, []), false)

    // To look through all processes takes long: a program that goes on asking is known, and others ask only so often.
    const again = Array.from({ length: 1000 }, () => isHeldBy(socket, ['web-docker-id']))
    t.notOk(again.includes(false), 'who asked before')
    for (let time = 0; time < 100; time += 1) isHeldBy(socket, ['other'])
    writeFileSync(join(procRoot, 'net/tcp'), 'head\n   0: 0100007F:9C43 02AAFEA9:0050 01 0:0 00:0 0 0 0 4444 1\n')
    mkdirSync(join(procRoot, '73/fd'), { recursive: true })
    writeFileSync(join(procRoot, '73/cgroup'), '0::/docker/other\n')
    symlinkSync('socket:[4444]', join(procRoot, '73/fd/3'))
    t.equal(isHeldBy({ ...socket, port: 40_003 }, ['other']), false, 'a new one of a task that asked too often')
    t.equal(isHeldBy({ ...socket, port: 40_003 }, ['web-docker-id']), false)
    now = 1000
    t.equal(isHeldBy({ ...socket, port: 40_003 }, ['other']), true, 'a moment later it is found')
  },
)

await tap.test(
  'an agent that lost its journal knows the ids by the labels, and shows no options of a log driver',
  async (t) => {
    const observed = new Map([['web', shown({}, { logDriver: 'splunk', logOptions: { 'splunk-token': 'x' } })]])
    const known = aTask({ observed })
    const lost: TurnTask = { ...known, facts: { ...known.facts, adopted: true } }
    t.match(await ask(sourcesOf([known]), `/v4/${endpointId}`), { body: { LogOptions: { 'splunk-token': 'x' } } })
    const answer = await ask(sourcesOf([lost]), `/v4/${endpointId}`)
    t.same((answer.body as { LogOptions: unknown }).LogOptions, {}, 'one may be a secret')
    t.equal(foldObservation(freshContainer, shown()).endpointId, endpointId)
    t.equal(foldObservation({ ...freshContainer, endpointId: siblingId }, shown()).endpointId, siblingId)
    const health = { status: 'HEALTHY', output: '' } as const
    const healthy = foldObservation(runs, shown({ health }, { healthCheckedAt: 5 }))
    t.equal(healthy.healthSince, 5)
    t.equal(foldObservation(healthy, shown({ health }, { healthCheckedAt: 9 })).healthSince, 5, 'since it became so')
  },
)

await tap.test('networks: who has what, and what is said of a bridge that keeps its containers apart', async (t) => {
  const made: NetworkSpec[] = []
  const bridge = {
    id: 'b'.repeat(64),
    driver: 'bridge',
    internal: false,
    gateway: undefined,
    labels: {},
    containerIds: [],
  }
  const networks = {
    async createNetwork(network: NetworkSpec) {
      made.push(network)
      throw new EngineError('conflict', 'somebody was quicker')
    },
    async inspectNetwork(name: string) {
      if (name === 'bridge') {
        const options = { 'com.docker.network.bridge.name': 'docker9', 'com.docker.network.bridge.enable_icc': 'false' }
        return { ...bridge, name, cidr: '172.30.0.0/16', options }
      }
      return made.length === 0 ? undefined : { ...bridge, name, cidr: '169.254.170.0/23', options: {} }
    },
  }
  t.same(await defaultBridge(networks), { name: 'docker9', cidr: '172.30.0.0/16', isSplit: true })
  t.match(await ensureTaskEndpointNetwork(networks), { name: `br-${'b'.repeat(12)}`, cidr: '169.254.170.0/23' })
  t.match(made, [{ internal: true, reserved: { endpoint: '169.254.170.2' } }], 'no container is given the address')
})

await tap.test('a container that has not been looked at yet is looked at first', async (t) => {
  const looks: string[] = []
  const task = aTask({ observed: new Map() })
  const starting = {
    ...task,
    facts: { ...task.facts, knownStatus: 'PENDING', containers: { web: { ...runs, knownStatus: 'PENDING' } } },
  } as TurnTask
  const sources = sourcesOf([starting], {
    async inspect(dockerId) {
      looks.push(dockerId)
      return shown()
    },
  })
  t.match(await ask(sources, `/v4/${endpointId}/task`), {
    status: 200,
    body: { KnownStatus: 'RUNNING', Containers: [{ KnownStatus: 'RUNNING', ImageID: 'sha256:1' }] },
  })
  t.same(looks, ['web-docker-id'])
})

await tap.test("tags that can't be had are told as errors, and asked for again", async (t) => {
  let calls = 0
  const callApi: CallApi = async (_operation, input) => {
    calls += 1
    if (JSON.stringify(input).includes('container-instance')) return { tags: [] }
    throw new ApiCallError('InvalidParameterException', 'The specified task is stopped.', {
      status: 400,
      requestId: 'r-1',
    })
  }
  const sources = sourcesOf([aTask()], { tags: createResourceTags(callApi, () => 0) })
  const { body } = await ask(sources, `/v4/${endpointId}/taskWithTags`)
  t.match(body, {
    ContainerInstanceTags: {},
    Errors: [
      {
        ErrorField: 'TaskTags',
        ErrorCode: 'InvalidParameterException',
        ErrorMessage: 'The specified task is stopped.',
        StatusCode: 400,
        RequestId: 'r-1',
        ResourceARN: taskArnOf(1),
      },
    ],
  })
  t.equal((body as { TaskTags?: unknown }).TaskTags, undefined)
  await ask(sources, `/v4/${endpointId}/taskWithTags`)
  t.equal(calls, 3, "the instance's are remembered")
})

await tap.test("task protection: the controller's errors in the official agent's forms", async (t) => {
  const path = `/api/${endpointId}/task-protection/v1/state`
  const failing = (error: ApiCallError): EndpointSources =>
    sourcesOf([withRole(aTask())], {
      roleCredentials: someKeys(),
      api: apiOf(async () => {
        throw error
      }),
    })
  t.same(await ask(failing(new ApiCallError(undefined, 'no answer', { isTimeout: true })), path), {
    status: 504,
    body: {
      error: { Arn: taskArnOf(1), Code: 'RequestCanceled', Message: 'Timed out calling ECS Task Protection API' },
    },
  })
  t.match(await ask(failing(new ApiCallError(undefined, 'does not answer')), path), {
    status: 500,
    body: { error: { Code: 'ServerException', Message: 'does not answer' } },
  })
  const refused = new ApiCallError('AccessDeniedException', 'no', { status: 400, requestId: 'r-2' })
  t.match(await ask(failing(refused), path), {
    status: 400,
    body: { requestID: 'r-2', error: { Code: 'AccessDeniedException' } },
  })

  const asked: object[] = []
  const sources = sourcesOf([withRole(aTask())], {
    roleCredentials: someKeys(),
    api: apiOf(async (operation, input) => {
      asked.push({ operation, ...input })
      return { protectedTasks: [{ taskArn: taskArnOf(1), protectionEnabled: true, expirationDate: 1_700_000_000.5 }] }
    }),
  })
  const without = sourcesOf([aTask()])
  t.same(await ask(without, path), {
    status: 403,
    body: {
      error: {
        Arn: taskArnOf(1),
        Code: 'AccessDeniedException',
        Message: 'Invalid Request: no task IAM role credentials available for task',
      },
    },
  })
  const body = '{"protectionEnabled":true,"ExpiresInMinutes":5}'
  t.same(await ask(sources, path, { method: 'PUT', body }), {
    status: 200,
    body: {
      protection: { ExpirationDate: '2023-11-14T22:13:20.500Z', ProtectionEnabled: true, TaskArn: taskArnOf(1) },
    },
  })
  t.match(asked, [
    { operation: 'UpdateTaskProtection', tasks: [taskArnOf(1)], expiresInMinutes: 5, signedWith: 'GSESSNONE' },
  ])
  for (const bad of ['', '[]', 'null', '{"x":1}', '{"ProtectionEnabled":1}', '{"ExpiresInMinutes":1.5}']) {
    t.match(await ask(sources, path, { method: 'PUT', body: bad }), { status: 400 }, bad)
  }
  t.equal(asked.length, 1, 'what is malformed is not asked of the controller')
  t.equal((await ask(sources, path, { method: 'DELETE' })).status, 405)
})

await tap.test(
  'what a container is told: nothing without an endpoint, and never what its definition says itself',
  async (t) => {
    const task = aPayloadTask()
    const container = aPayloadContainer({ environment: { AWS_DEFAULT_REGION: 'eu-west-1' } })
    const { facts } = withRole(aTask())
    const host = { cluster: 'default', containerInstanceArn: instanceArn }
    const region = 'us-east-1'
    const withAll = createBody(task, container, facts, { ...host, endpoints: { region, offered: true } })
    t.same(namesIn(withAll), [
      'AWS_DEFAULT_REGION',
      'ECS_CONTAINER_METADATA_URI',
      'ECS_CONTAINER_METADATA_URI_V4',
      'ECS_AGENT_URI',
      'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
    ])
    t.match(withAll, { Labels: { [labels.endpointId]: endpointId } })
    const offersApi = { ...host, endpoints: { region, offered: true, offersApi: true } }
    const withApi = createBody(task, container, facts, offersApi) as { Env: string[] }
    t.same(withApi.Env.slice(-2), [
      `AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/${credentialsId}`,
      'AWS_ENDPOINT_URL=http://169.254.170.2',
    ])
    for (const own of ['AWS_ENDPOINT_URL', 'AWS_ACCESS_KEY_ID', 'AWS_PROFILE']) {
      const one = createBody(task, aPayloadContainer({ environment: { [own]: 'x' } }), facts, offersApi)
      t.notMatch(JSON.stringify(one), /AWS_ENDPOINT_URL=http/, `${own} means another API`)
    }
    const roleless = createBody(task, container, aTask().facts, offersApi)
    t.notMatch(JSON.stringify(roleless), /CREDENTIALS|ENDPOINT_URL/, 'without a role')
    const notOffered = { ...facts, containers: { web: { ...runs, endpointId: undefined } } }
    t.same(
      namesIn(createBody(task, aPayloadContainer(), notOffered, { ...host, endpoints: { region, offered: false } })),
      ['AWS_REGION', 'AWS_DEFAULT_REGION'],
    )
    t.same(namesIn(createBody(task, container, notOffered, host)), ['AWS_DEFAULT_REGION'])
    const pause = aPayloadContainer({ internal: 'CNI_PAUSE' })
    t.same(namesIn(createBody(task, pause, facts, { ...host, endpoints: { region, offered: true } })), [])

    const settings = { region, offered: true, metadataFiles: '/data/metadata' }
    const filed = createBody(task, container, facts, { ...host, endpoints: settings })
    t.match(filed, {
      HostConfig: { Binds: [/^\/data\/metadata\/ecs-hello-3-web-0:\/opt\/ecs\/metadata\/[0-9a-f]{32}:ro$/] },
    })
    t.ok(namesIn(filed).includes('ECS_CONTAINER_METADATA_FILE'))
  },
)

await tap.test('rates: a burst, then so many a second, for each key apart', async (t) => {
  const isAllowed = createRateLimit({ perSecond: 40, burst: 60 })
  const allowed = (key: string, times: number, at: number): number =>
    Array.from({ length: times }, () => isAllowed(key, at)).filter(Boolean).length
  t.equal(allowed('a', 100, 0), 60)
  t.equal(allowed('b', 1, 0), 1)
  t.equal(allowed('a', 100, 500), 20)
  t.equal(allowed('a', 100, 10_000), 60)
  for (let key = 0; key < 10_000; key += 1) isAllowed(String(key), 20_000 + key)
  t.equal(allowed('a', 100, 40_000), 60)
  for (let key = 0; key < 5_000; key += 1) isAllowed(`made up ${key}`, 40_000)
  t.equal(allowed('a', 1, 40_000), 1, 'what is remembered has a bound, whatever is asked for at once')
})

await tap.test('over HTTP: clean paths, limits, and a client that closes its half', async (t) => {
  t.same(['/', '//', '/a//b/', '/a/./b', '/a/../../b', '/a/b/..'].map(cleanPath), [
    '/',
    '/',
    '/a/b/',
    '/a/b',
    '/b',
    '/a',
  ])
  const errors: unknown[] = []
  let at = 0
  const server = createEndpointServer({
    rate: { perSecond: 1, burst: 2 },
    async answer({ path, address, body }) {
      if (path === '/bug') throw new Error('a bug')
      await new Promise(setImmediate)
      return { status: 200, body: { path, address, body } }
    },
    now: () => at,
    onError: (error) => errors.push(error),
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const get = async (
    path: string,
    body = '',
  ): Promise<{ status: number; text: string; location: string | undefined }> =>
    new Promise((resolve, reject) => {
      const call = request({ port, host: '127.0.0.1', path, method: 'PUT' }, (response) => {
        let text = ''
        response.on('data', (chunk: Buffer) => (text += chunk.toString()))
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text, location: response.headers.location }),
        )
      })
      call.on('error', reject)
      call.end(body)
    })
  t.match(await get('//v4/../v4/x?a=b'), { status: 301, location: '/v4/x?a=b' })
  t.match(await get('/v4/x', 'hello'), { status: 200, text: '{"path":"/v4/x","address":"127.0.0.1","body":"hello"}' })
  t.match(await get('/v4/x'), { status: 200 })
  t.match(await get('/v4/x'), { status: 429, text: 'You have reached maximum request limit.' })
  t.match(await get('/v4/y'), { status: 200 }, 'another path')
  at = 1_000
  t.match(await get('/v4/x'), { status: 200 })
  t.match(await get('/fault/x'), { status: 200 })
  t.match(await get('/fault/x'), { status: 429 }, 'a fault once in five seconds')
  t.match(await get('/bug'), { status: 500 })
  t.match(errors, [{ message: 'a bug' }])
  t.match(await get('/v4/long', 'x'.repeat(20_000)), { status: 413 })
  t.match(await get(`/v4/${'x'.repeat(3_000)}`), { status: 404 }, 'a path that leads nowhere is not remembered')
  const rude = connect(port, '127.0.0.1', () =>
    rude.write('POST /v4/a HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx'),
  )
  await new Promise((resolve) => server.once('request', resolve))
  rude.destroy()
  await new Promise((resolve) => rude.once('close', () => setTimeout(resolve, 50)))
  t.equal(errors.length, 1, 'who hangs up in the midst of a request fills no log')
  const heard = await new Promise<string>((resolve) => {
    let text = ''
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
    socket.on('end', () => resolve(text))
    socket.end('GET /v4/half HTTP/1.0\r\n\r\n')
  })
  t.match(heard, /^HTTP\/1\.1 200 OK/)
})
