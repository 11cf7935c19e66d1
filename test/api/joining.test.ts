/** How hosts join a controller, what their keys allow, and how they are put out: over TLS, against the real program. */
import { WebSocket } from 'ws'
import t from 'tap'
import { type HostKeysAnswer, hostKeysPath, type JoinAnswer, joinPath } from '../../proto/joining.ts'
import { signRequest } from '../../proto/sigv4.ts'
import { type AgentPeer, startAgentPeer } from '../support/agent-peer.ts'
import {
  callEcs,
  callRest,
  eventually,
  type Key,
  type RawAnswer,
  region,
  startController,
} from '../support/controller.ts'
import { ask, askEcs, tlsOf, withTls } from '../support/tls-client.ts'

t.setTimeout(400_000)
const controller = await startController({ env: withTls })
t.teardown(() => controller.stop())
const end = tlsOf(controller)
const root = controller.credentials
const { endpoint } = controller
await callEcs(endpoint, root, 'CreateCluster', { clusterName: 'lab' })

const makeToken = async (wish: object = {}): Promise<string> =>
  String((await callRest(endpoint, root, 'POST', '/v1/join-tokens', JSON.stringify(wish))).json['token'])

const join = (
  token: string,
  over: { readonly cluster?: string; readonly localAddress?: string } = {},
): Promise<RawAnswer> => {
  const { localAddress = '127.0.0.1', ...more } = over
  return ask(end, 'POST', joinPath, { body: JSON.stringify({ token, name: 'one', ...more }), localAddress })
}

/** A host that has joined: its id and keys. */
async function aHost(wish: object = {}): Promise<JoinAnswer> {
  const answer = await join(await makeToken(wish))
  if (answer.status !== 200) throw new Error(answer.text)
  return answer.json as unknown as JoinAnswer
}

async function changeKeys(keys: Key): Promise<RawAnswer> {
  const url = `${end.endpoint}${hostKeysPath}`
  const headers = signRequest({
    method: 'POST',
    url,
    headers: {},
    body: '{}',
    credentials: keys,
    region,
    service: 'ecs',
    now: Date.now(),
  })
  return ask(end, 'POST', hostKeysPath, { headers, body: '{}' })
}

/** Events of hosts by name, the newest last. */
async function eventsOf(name: string): Promise<readonly { readonly message: string; readonly count: number }[]> {
  const { json } = await callRest(endpoint, root, 'GET', '/v1/hosts/events?maxResults=1000')
  return (json['events'] as { name: string; message: string; count: number }[]).filter((each) => each.name === name)
}

/** On plain loopback, as agents of this machine; the addresses that they come from are the test's to choose by TLS alone. */
const peerOf = (key: Key, over: object = {}): Promise<AgentPeer> =>
  startAgentPeer({ endpoint, key, gantryProtocol: true, ...over })

await t.test(
  'a token lets one host in; what is refused says why, and is written down without the token',
  async (test) => {
    const token = await makeToken({ cluster: 'lab', expiresInSeconds: 60 })
    test.match(await join(token, { cluster: 'default' }), { status: 400, json: { code: 'InvalidClusterException' } })
    const joined = await join(token)
    test.match(joined.json, {
      hostId: /^host-[0-9a-f]{17}$/,
      cluster: 'lab',
      region,
      account: '123456789012',
      caPem: end.ca,
      accessKeyId: /^GANTRY/,
    })
    test.match(await join(token), { status: 403, json: { message: /was used already/ } })
    const guess = `${token.slice(0, -6)}${token.endsWith('000000') ? '111111' : '000000'}`
    test.match(await join(guess), { status: 403, json: { message: /not known here/ } })
    test.match(await join(await makeToken({ bindAddress: '127.0.0.9' })), {
      status: 403,
      json: { message: /127.0.0.9 alone/ },
    })
    const refusals = await eventually('the refusals', async () => {
      const found = await eventsOf('JOIN_REFUSED')
      return found.length >= 3 ? found : undefined
    })
    const told = refusals.map(({ message }) => message)
    test.match(told[0], /calls itself "one".*means to join default/)
    test.match(told[1], /was used already/, 'another reason within the same minute is no repetition')
    test.match(told[2], /127.0.0.9 alone/, 'another token neither')
    const everywhere = [
      controller.output(),
      JSON.stringify(refusals),
      JSON.stringify((await callRest(endpoint, root, 'GET', '/v1/events')).json),
    ]
    const secret = token.split('-').at(-1) ?? ''
    for (const text of everywhere) {
      test.notMatch(text, secret, 'no token')
      test.notMatch(text, String(joined.json['secretAccessKey']), 'no key')
    }
    const wrong: readonly [string, RegExp][] = [
      ['no json', /no JSON/],
      ['{"token":1,"name":"x"}', /token/],
      ['{"token":"x","name":""}', /name takes 1 to 255/],
      [JSON.stringify({ token: 'x', name: 'x'.repeat(5000) }), /too large|larger/i],
    ]
    for (const [body, message] of wrong) {
      const answer = await ask(end, 'POST', joinPath, { body, localAddress: '127.0.0.3' })
      test.ok(answer.status >= 400 && answer.status < 500, body.slice(0, 20))
      test.match(answer.text, message)
    }
    const plain = await fetch(`${endpoint}${joinPath}`, {
      method: 'POST',
      body: JSON.stringify({ token: await makeToken(), name: 'near' }),
    })
    test.equal(plain.status, 200, 'on loopback in the clear too')
  },
)

await t.test('who fails too often waits, and who holds a good token goes on', async (test) => {
  const began = Date.now()
  const tries = await Promise.all(
    Array.from({ length: 30 }, () =>
      ask(end, 'POST', joinPath, { body: '{"token":"x","name":"x"}', localAddress: '127.0.0.4' }),
    ),
  )
  const codes = tries.map(({ status }) => status)
  const judged = codes.filter((code) => code === 403).length
  // Ten, and one more for each six seconds that a busy machine takes.
  const most = 10 + Math.floor((Date.now() - began) / 6000)
  test.ok(judged >= 10 && judged <= most, `${judged} were judged, of ${most} at most`)
  test.equal(codes.filter((code) => code === 429).length, 30 - judged)
  const bound = await makeToken({ bindAddress: '127.0.0.5' })
  test.match(await join(bound, { localAddress: '127.0.0.4' }), { status: 429 }, 'a token is not good from everywhere')
  const racks = await Promise.all(Array.from({ length: 20 }, () => makeToken()))
  const joined = await Promise.all(racks.map((each) => join(each, { localAddress: '127.0.0.4' })))
  test.same(new Set(joined.map(({ status }) => status)), new Set([200]), 'many at once, from one address')
})

await t.test('keys of a host allow what an agent needs, in its cluster and for its own instance', async (test) => {
  const [one, two] = [await aHost(), await aHost()]
  const [first, second] = [await peerOf(one), await peerOf(two)]
  t.teardown(() => Promise.all([first.disconnect('cut'), second.disconnect('cut')]).then(() => undefined))
  const hosts = await callRest(endpoint, root, 'GET', '/v1/hosts')
  test.match(
    (hosts.json['hosts'] as object[]).find((each) => (each as JoinAnswer).hostId === one.hostId),
    { status: 'ACTIVE', agentConnected: true, containerInstance: first.instanceId, lastAddress: '127.0.0.1' },
  )
  const denied = async (operation: string, input: object): Promise<void> => {
    test.match(await askEcs(end, one, operation, input), { status: 403, json: { __type: /AccessDenied/ } }, operation)
  }
  await denied('RunTask', { taskDefinition: 'web' })
  await denied('ListTasks', {})
  await denied('RegisterContainerInstance', { cluster: 'lab' })
  await denied('RegisterContainerInstance', { totalResources: [] })
  await denied('DeregisterContainerInstance', { containerInstance: second.instanceArn, force: true })
  await denied('UpdateContainerInstancesState', { containerInstances: [second.instanceArn], status: 'DRAINING' })
  await denied('DescribeContainerInstances', { containerInstances: [second.instanceArn] })
  await denied('DiscoverPollEndpoint', { containerInstance: second.instanceArn })
  test.match(await askEcs(end, one, 'DiscoverPollEndpoint', { containerInstance: first.instanceArn }), {
    json: { endpoint: `${end.endpoint}/acs` },
  })
  test.match((await callRest(endpoint, one, 'GET', '/v1/hosts')).status, 403)
  test.match((await callRest(endpoint, one, 'POST', '/v1/join-tokens', '{}')).status, 403)

  const definition = { family: 'own', containerDefinitions: [{ name: 'main', image: 'busybox', memory: 32 }] }
  await callEcs(endpoint, root, 'RegisterTaskDefinition', definition)
  const started = await callEcs(endpoint, root, 'StartTask', {
    taskDefinition: 'own',
    containerInstances: [second.instanceArn],
  })
  const task = (started.json['tasks'] as { taskArn: string }[])[0]?.taskArn ?? ''
  await second.frame('PayloadMessage')
  first.send('GantryTaskStateChange', { messageId: 'theft', task, status: 'STOPPED', containers: [] })
  const refusal = await first.frame('GantryTaskStateRefusal')
  test.match(refusal.message, { messageId: 'theft', reason: /runs on container instance/ })
  for (const operation of ['SubmitTaskStateChange', 'SubmitContainerStateChange']) {
    const input = { task, status: 'STOPPED', containerName: 'main' }
    test.match(await askEcs(end, one, operation, input), { status: 400, json: { message: /can't act for it/ } })
  }
  await denied('UpdateTaskProtection', { cluster: 'default', tasks: [task], protectionEnabled: true })
  const described = await callEcs(endpoint, root, 'DescribeTasks', { tasks: [task] })
  test.not((described.json['tasks'] as { lastStatus: string }[])[0]?.lastStatus, 'STOPPED')
  const events = await eventually('the events', async () => {
    const found = await eventsOf('FOREIGN_RESOURCE_REFUSED')
    return found.length > 0 ? found : undefined
  })
  test.match(events.map(({ message }) => message).join('\n'), new RegExp(`host ${one.hostId}`))
  test.match((await ask(end, 'GET', '/metrics')).text, /gantry_host_events_total\{name="FOREIGN_RESOURCE_REFUSED"\} 9/)

  const dial = (key: Key, instanceArn: string): Promise<number> => {
    const query = new URLSearchParams({
      clusterArn: 'default',
      containerInstanceArn: instanceArn,
      sendCredentials: 'true',
    })
    const url = `${end.endpoint}/acs/ws?${query.toString()}`
    const headers = signRequest({
      method: 'GET',
      url,
      headers: {},
      credentials: key,
      region,
      service: 'ecs',
      now: Date.now(),
    })
    return new Promise((resolve) => {
      const socket = new WebSocket(url, { headers, ca: end.ca })
      socket.on('unexpected-response', (_request, response) => resolve(response.statusCode ?? 0))
      socket.on('open', () => {
        socket.close()
        resolve(101)
      })
      socket.on('error', () => undefined)
    })
  }
  test.equal(await dial(one, second.instanceArn), 403, "another's channel is refused")
  test.equal(await dial(one, first.instanceArn), 101, 'its own is not, by TLS too')
})

await t.test(
  'keys are changed under a live agent, and the old ones end with the first use of the new',
  async (test) => {
    const host = await aHost()
    const first = (await changeKeys(host)).json as unknown as HostKeysAnswer
    test.ok(Date.parse(first.previousEndsAt) > Date.now() + 3_500_000)
    test.match(await askEcs(end, host, 'DiscoverPollEndpoint', {}), { status: 200 }, 'the old pair is good for now')
    const second = (await changeKeys(host)).json as unknown as HostKeysAnswer
    test.match(
      await askEcs(end, first, 'DiscoverPollEndpoint', {}),
      { status: 403 },
      'an answer that was lost is forgotten',
    )
    test.match(await askEcs(end, second, 'DiscoverPollEndpoint', {}), { status: 200 })
    await eventually('the end of the old pair', async () =>
      (await askEcs(end, host, 'DiscoverPollEndpoint', {})).status === 403 ? true : undefined,
    )
    test.match(await changeKeys(host), { status: 403 }, 'it can not ask for keys either')
    test.match(await changeKeys(root), { status: 403, json: { message: /Only a host that joined/ } })
  },
)

await t.test('a key that is used from elsewhere is told, or refused where the token bound it', async (test) => {
  const host = await aHost()
  test.match(await askEcs(end, host, 'DiscoverPollEndpoint', {}, '127.0.0.8'), { status: 200 })
  const told = await eventually('the event', async () => (await eventsOf('ADDRESS_CHANGED')).at(-1))
  test.match(told.message, /used from 127.0.0.8, before from 127.0.0.1.*hosts revoke/)
  const bound = (await join(await makeToken({ bindAddress: '127.0.0.6' }), { localAddress: '127.0.0.6' }))
    .json as unknown as JoinAnswer
  test.match(await askEcs(end, bound, 'DiscoverPollEndpoint', {}, '127.0.0.6'), { status: 200 })
  test.match(await askEcs(end, bound, 'DiscoverPollEndpoint', {}, '127.0.0.7'), {
    status: 403,
    json: { message: /good from 127.0.0.6 alone/ },
  })
  const refused = await eventually('the event', async () => (await eventsOf('KEY_REFUSED')).at(-1))
  test.match(refused.message, new RegExp(bound.hostId))
})

await t.test('a revoked host is out at once, with its channels', async (test) => {
  const host = await aHost()
  const peer = await peerOf(host)
  const revoke = (): Promise<RawAnswer> => callRest(endpoint, root, 'POST', `/v1/hosts/${host.hostId}/revoke`)
  test.match(await revoke(), { status: 200, json: { status: 'REVOKED', revokedBy: /root$/ } })
  test.match(await askEcs(end, host, 'DiscoverPollEndpoint', {}), {
    status: 403,
    json: { __type: /UnrecognizedClientException/, message: /was revoked at/ },
  })
  test.equal(await eventually('the channel to close', () => peer.closeCode()), 1008)
  const described = await callEcs(endpoint, root, 'DescribeContainerInstances', {
    containerInstances: [peer.instanceArn],
  })
  test.match(described.json['containerInstances'], [{ agentConnected: false, statusReason: /was revoked at/ }])
  await test.rejects(peer.connect(false))
  test.match(await changeKeys(host), { status: 403 })
  test.match(await revoke(), { status: 200 }, 'again is no error')
  const forget = (): Promise<RawAnswer> => callRest(endpoint, root, 'DELETE', `/v1/hosts/${host.hostId}`)
  test.match(await forget(), { json: { message: /deregister that first/ } })

  const adopter = await aHost({ containerInstance: peer.instanceArn })
  const registered = await callEcs(endpoint, adopter, 'RegisterContainerInstance', {
    containerInstanceArn: peer.instanceArn,
    totalResources: [
      { name: 'CPU', type: 'INTEGER', integerValue: 1024 },
      { name: 'MEMORY', type: 'INTEGER', integerValue: 1024 },
    ],
  })
  test.match(
    registered.json['containerInstance'],
    { containerInstanceArn: peer.instanceArn },
    'a new host takes it over',
  )
  test.match(await forget(), { status: 204 })
  const feed = await callRest(endpoint, root, 'GET', '/v1/events?detailType=Gantry%20Host%20Action&maxResults=1000')
  const told = feed.json['events'] as readonly { event: { detail: { eventName: string } } }[]
  const names = new Set(told.map(({ event }) => event.detail.eventName))
  for (const name of ['HOST_JOINED', 'HOST_REVOKED', 'HOST_FORGOTTEN']) test.ok(names.has(name), name)
})

await t.test('what was joined and refused outlives the controller', async (test) => {
  const host = await aHost()
  await controller.kill9()
  const again = await startController({ env: withTls, dataDir: controller.dataDir })
  t.teardown(() => again.terminate())
  const endAgain = tlsOf(again)
  test.equal(endAgain.fingerprint, end.fingerprint)
  test.match(await askEcs(endAgain, host, 'DiscoverPollEndpoint', {}), { status: 200 })
  test.match((await callRest(again.endpoint, root, 'GET', '/v1/join-tokens')).json, {
    joinTokens: [{ tokenId: String }],
  })
})
