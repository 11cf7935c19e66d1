/** ExecuteCommand, streams and shipped logs at the controller: AWS's client and a scripted agent at its two ends. */
import {
  ExecuteCommandCommand,
  ECSClient,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  StartTaskCommand,
} from '@aws-sdk/client-ecs'
import {
  AttachUserPolicyCommand,
  CreateAccessKeyCommand,
  CreateUserCommand,
  DetachUserPolicyCommand,
  IAMClient,
  UpdateAccessKeyCommand,
} from '@aws-sdk/client-iam'
import tap from 'tap'
import { WebSocket } from 'ws'
import { logChannelPath, writeLogBatch, writeLogEvent } from '../../proto/logs.ts'
import { signRequest } from '../../proto/sigv4.ts'
import { streamChannelPath, streamKinds } from '../../proto/streams.ts'
import { startAgentPeer } from '../support/agent-peer.ts'
import type { AgentPeer } from '../support/agent-peer.ts'
import { eventually, getRest, region, startController } from '../support/controller.ts'
import { joinSession } from '../support/data-channel.ts'

tap.setTimeout(400_000)
const controller = await startController()
const { endpoint, credentials, agentCredentials } = controller
const client = new ECSClient({ endpoint, region, credentials })
tap.teardown(async () => {
  client.destroy()
  await controller.stop()
})

const attributes = [
  { name: 'ecs.capability.execute-command' },
  { name: 'com.amazonaws.ecs.capability.logging-driver.awslogs' },
]
// On EXTERNAL their logs would be shipped by the rights of an execution role.
const host = { endpoint, key: agentCredentials, gantryProtocol: true, isExternal: false }
const peer = await startAgentPeer({ ...host, attributes })
const other = await startAgentPeer(host)

await client.send(
  new RegisterTaskDefinitionCommand({
    family: 'web',
    containerDefinitions: [
      {
        name: 'app',
        image: 'busybox',
        memory: 32,
        logConfiguration: { logDriver: 'awslogs', options: { 'awslogs-group': 'g', 'awslogs-region': region } },
      },
    ],
  }),
)
const { tasks, failures } = await client.send(new RunTaskCommand({ taskDefinition: 'web', enableExecuteCommand: true }))
const arn = tasks?.[0]?.taskArn ?? JSON.stringify(failures)
await eventually('the task runs', async () => {
  const { json } = await getRest(endpoint, credentials, `/v1/tasks/${arn.split('/').at(-1)}`)
  return json['lastStatus'] === 'RUNNING' ? true : undefined
})

const execute = async () => {
  const command = new ExecuteCommandCommand({ task: arn, command: 'sh', interactive: true })
  const { session } = await client.send(command)
  return { url: session?.streamUrl ?? '', token: session?.tokenValue ?? '' }
}

/** A signed socket of the scripted agent; rejects with the status where it is refused. */
async function dial(of: AgentPeer, path: string, query: Readonly<Record<string, string>> = {}): Promise<WebSocket> {
  const url = new URL(path, endpoint.replace('http', 'ws'))
  url.searchParams.set('clusterArn', 'default')
  url.searchParams.set('containerInstanceArn', of.instanceArn)
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value)
  const by = { credentials: agentCredentials, region, service: 'ecs', now: Date.now() }
  const headers = signRequest({ method: 'GET', url: url.href, headers: {}, ...by })
  const socket = new WebSocket(url, { headers })
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('error', reject)
  })
  return socket
}

/** Follows a log until it has brought so many lines; answers how many it brought. */
async function followedLines(path: string, linesMin: number): Promise<number> {
  const by = { credentials, region, service: 'ecs', now: Date.now() }
  const headers = signRequest({ method: 'GET', url: endpoint + path, headers: {}, ...by })
  const answer = await fetch(endpoint + path, { headers, signal: AbortSignal.timeout(30_000) })
  let lines = 0
  for await (const chunk of answer.body ?? []) {
    lines += Buffer.from(chunk).toString('latin1').split('\n').length - 1
    if (lines >= linesMin) break
  }
  return lines
}

await tap.test('the payload allows commands, and DescribeTasks shows the managed agent', async (t) => {
  t.match(peer.tasks.get(arn), { gantry: { enableExecuteCommand: true } })
  t.match(tasks?.[0], {
    enableExecuteCommand: true,
    containers: [{ managedAgents: [{ name: 'ExecuteCommandAgent' }] }],
  })
})

await tap.test('a token is good once, a wrong one spends it, and a path without a session is refused', async (t) => {
  const { url, token } = await execute()
  t.match(url, /^ws:\/\/127\.0\.0\.1:\d+\/v1\/data-channels\/ecs-execute-command-[0-9a-f]{17}$/)
  t.match(await joinSession(url, 'wrong').ended, { reason: /The token of the session is wrong/ })
  t.same(await joinSession(url, token).ended, {}, 'it is spent')
  const unknown = new WebSocket(`${url}0`)
  const refused = await new Promise<Error>((resolve) => unknown.once('error', resolve))
  t.match(refused.message, /40\d/)
  t.notMatch(controller.output(), new RegExp(token), 'no token reaches the log')
})

await tap.test('frames pass between client and agent, and each is told of the end of the other', async (t) => {
  const from = peer.frames.length
  const { url, token } = await execute()
  const channel = joinSession(url, token, { tty: true, columns: 80, rows: 24 })
  const { message } = await peer.frame('GantryStreamRequest', from)
  t.match(message, { taskArn: arn, container: 'app', exec: { command: ['sh'], tty: true, columns: 80, rows: 24 } })
  const stream = String(message['streamId'])
  await t.rejects(dial(other, streamChannelPath, { stream }), /404/, 'another instance has no part in it')
  const socket = await dial(peer, streamChannelPath, { stream })
  await t.rejects(dial(peer, streamChannelPath, { stream }), /404/, 'and it is dialled once')
  const heard: (string | Buffer)[] = []
  socket.on('message', (data: Buffer, isBinary) => heard.push(isBinary ? data : data.toString()))
  socket.send(JSON.stringify({ type: 'Started', message: {} }))
  await channel.started
  socket.send(Buffer.concat([Buffer.from([streamKinds.stdout]), Buffer.from('hello')]))
  socket.send(JSON.stringify({ type: 'Nonsense', message: {} }))
  await eventually('the output', () => (channel.output().toString() === 'hello' ? true : undefined))
  channel.send(Buffer.from('typed'))
  channel.control('Resize', { columns: 100, rows: 30 })
  channel.control('PayloadMessage')
  await eventually('the input', () => (heard.some((one) => one.toString().includes('Resize')) ? true : undefined))
  t.ok(heard.some((one) => Buffer.isBuffer(one) && one.toString('utf8', 1) === 'typed'))
  t.notOk(
    heard.some((one) => one.toString().includes('PayloadMessage')),
    'only what belongs to a stream passes',
  )
  socket.terminate()
  t.match(await channel.ended, { reason: /The connection to the container's host was lost/ })
  const told = /"why":"The connection to the container's host was lost[^\n]*the session is over/
  t.ok(await eventually('the audit', () => (told.test(controller.output()) ? true : undefined)))
})

await tap.test('shipped logs: numbered, each once, only of tasks of the instance', async (t) => {
  const socket = await dial(peer, logChannelPath)
  const heard: { type: string; message: Record<string, unknown> }[] = []
  socket.on('message', (data: Buffer) => heard.push(JSON.parse(data.toString()) as (typeof heard)[number]))
  const answer = async (type: string, count = 1) =>
    eventually(type, () => heard.filter((one) => one.type === type)[count - 1]?.message)
  const facts = { container: 'app', dockerId: 'abc', logGroup: 'g', logStream: 'abc' }
  const open = (to: WebSocket, stream: number, taskArn: string): void =>
    to.send(JSON.stringify({ type: 'GantryLogStreamOpen', message: { stream, taskArn, ...facts } }))
  open(socket, 1, `${arn}0`)
  t.match(await answer('GantryLogStreamRefusal'), { stream: 1, reason: /not known here/ })
  open(socket, 2, arn)
  t.same(await answer('GantryLogStreamReady'), { stream: 2, sequence: 0 })
  const position = { time: '2026-01-31T12:00:00.000000001Z', hash: 'h' }
  const batch = (sequence: number, ...texts: string[]): Uint8Array =>
    writeLogBatch(
      { stream: 2, sequence, count: texts.length, firstTime: 1000, lastTime: 2000, position },
      texts.map((text, index) => writeLogEvent(1000 + index, text)),
    )
  socket.send(batch(0, 'one', 'two'))
  t.same(await answer('GantryLogAck'), { stream: 2, sequence: 2 })
  socket.send(batch(0, 'one', 'two'))
  t.same(await answer('GantryLogAck', 2), { stream: 2, sequence: 2 }, 'what is there already is acknowledged again')
  socket.send(batch(2, 'three'))
  await answer('GantryLogAck', 3)
  const closed = new Promise<number>((resolve) => socket.once('close', resolve))
  socket.send(batch(9, 'after a gap'))
  t.equal(await closed, 1008)

  const again = await dial(peer, logChannelPath)
  again.on('message', (data: Buffer) => heard.push(JSON.parse(data.toString()) as (typeof heard)[number]))
  open(again, 3, arn)
  t.same(await answer('GantryLogStreamReady', 2), { stream: 3, sequence: 3, position }, 'it goes on where it was')
  const path = `/v1/tasks/${arn.split('/').at(-1)}/logs`
  const { json } = await getRest(endpoint, credentials, `${path}?tail=2`)
  t.match(json, { source: 'store', logGroup: 'g', events: [{ text: 'two' }, { text: 'three' }] })
  const later = (await getRest(endpoint, credentials, `${path}?since=1001`)).json['events'] as { text: string }[]
  t.same(
    later.map(({ text }) => text),
    ['two'],
  )
  t.match((await getRest(endpoint, credentials, `${path}?since=never`)).json, { code: 'InvalidParameterException' })
  t.equal((await getRest(endpoint, agentCredentials, path)).status, 403, "an agent's key reads no logs")
  t.notMatch(controller.output(), /three/, 'output of containers is in no log of ours')

  const [batches, lines] = [15, 1000]
  for (let number = 0; number < batches; number += 1) {
    const first = 3 + number * lines
    const header = { stream: 3, sequence: first, count: lines, firstTime: 5000, lastTime: 5000, position }
    const texts = Array.from({ length: lines }, (_, index) => writeLogEvent(5000, `${first + index}`.padStart(60, '.')))
    again.send(writeLogBatch(header, texts))
  }
  const total = 3 + batches * lines
  await eventually('all to be stored', () =>
    heard.some(({ type, message }) => type === 'GantryLogAck' && message['sequence'] === total) ? true : undefined,
  )
  t.equal(await followedLines(`${path}?follow=true&since=5000`, batches * lines), batches * lines)
  const all = new AbortController()
  const url = `${endpoint}${path}?follow=true&tail=0`
  const by = { credentials, region, service: 'ecs', now: Date.now() }
  const followers = await Promise.all(
    Array.from({ length: 201 }, async () =>
      fetch(url, { headers: signRequest({ method: 'GET', url, headers: {}, ...by }), signal: all.signal }),
    ),
  )
  t.same(
    followers.filter(({ ok }) => !ok).map(({ status }) => status),
    [429],
    'one is too many',
  )
  const reads = await getRest(endpoint, credentials, '/v1/audit?action=gantry:GetTaskLogs&code=OK&maxResults=1000')
  t.match(
    reads.json['records'],
    { length: 200 + 3 },
    'who reads is in the audit trail as soon as there is something to read',
  )
  all.abort()
  await eventually('room for others', async () =>
    (await getRest(endpoint, credentials, `${path}?tail=1`)).status === 200 ? true : undefined,
  )
  for (let ask = 0; ask < 15; ask += 1) await getRest(endpoint, credentials, `${path}?tail=1`)
  t.notMatch(controller.output(), /MaxListenersExceededWarning/, 'neither long answers nor many leave listeners behind')
  again.terminate()
})

await tap.test(
  'an official agent is asked for no channel, one that floods is cut off, one that goes is told of',
  async (t) => {
    const official = await startAgentPeer({ endpoint, key: agentCredentials, gantryProtocol: false })
    const containerDefinitions = [{ name: 'app', image: 'busybox', memory: 32 }]
    await client.send(new RegisterTaskDefinitionCommand({ family: 'plain', containerDefinitions }))
    const startOn = async ({ instanceArn }: AgentPeer): Promise<string> => {
      const input = { taskDefinition: 'plain', containerInstances: [instanceArn] }
      return (await client.send(new StartTaskCommand(input))).tasks?.[0]?.taskArn?.split('/').at(-1) ?? ''
    }
    const there = await getRest(endpoint, credentials, `/v1/tasks/${await startOn(official)}/logs`)
    t.match(there.json, { source: 'report', events: [], note: /agent is not Gantry's own/ })
    t.notOk(official.frames.some(({ type }) => type === 'GantryStreamRequest'))

    const from = peer.frames.length
    const url = `${endpoint}/v1/tasks/${await startOn(peer)}/logs?follow=true`
    const by = { credentials, region, service: 'ecs', now: Date.now() }
    const gone = new AbortController()
    const asked = fetch(url, { headers: signRequest({ method: 'GET', url, headers: {}, ...by }), signal: gone.signal })
    const { message } = await peer.frame('GantryStreamRequest', from)
    const socket = await dial(peer, streamChannelPath, { stream: String(message['streamId']) })
    const closed = new Promise<number>((resolve) => socket.once('close', resolve))
    socket.send(JSON.stringify({ type: 'Started', message: {} }))
    const { status } = await asked
    t.equal(status, 200)
    const line = Buffer.from(`${writeLogEvent(1, 'x'.repeat(1000))}\n`)
    const frame = Buffer.concat([Buffer.from([streamKinds.log]), ...Array.from({ length: 200 }, () => line)])
    const flood = setInterval(() => socket.readyState === socket.OPEN && socket.send(frame), 1)
    t.equal(await closed, 1000, 'its client does not read, and it goes on beyond its credit')
    clearInterval(flood)
    gone.abort()

    const later = peer.frames.length
    const answer = getRest(endpoint, credentials, new URL(url).pathname)
    const request = await peer.frame('GantryStreamRequest', later)
    const cut = await dial(peer, streamChannelPath, { stream: String(request.message['streamId']) })
    cut.send(JSON.stringify({ type: 'Started', message: {} }))
    cut.send(Buffer.concat([Buffer.from([streamKinds.log]), line]))
    setTimeout(() => cut.terminate(), 200)
    const { json } = await answer
    t.match(json, { source: 'host', events: [{ text: /^x+$/ }], note: /connection to the container's host was lost/ })
    await official.disconnect('close')
  },
)

await tap.test('a controller that ends does not wait for those who follow', async (t) => {
  const mine = await startController()
  const root = { endpoint: mine.endpoint, key: mine.credentials }
  const agent = await startAgentPeer({ endpoint: mine.endpoint, key: mine.agentCredentials, attributes })
  const ecs = new ECSClient({ endpoint: mine.endpoint, region, credentials: mine.credentials })
  const logConfiguration = {
    logDriver: 'awslogs' as const,
    options: { 'awslogs-group': 'g', 'awslogs-region': region },
  }
  const containerDefinitions = [{ name: 'app', image: 'busybox', memory: 32, logConfiguration }]
  await ecs.send(new RegisterTaskDefinitionCommand({ family: 'web', containerDefinitions }))
  const run = await ecs.send(new RunTaskCommand({ taskDefinition: 'web' }))
  const followed = getRest(
    root.endpoint,
    root.key,
    `/v1/tasks/${run.tasks?.[0]?.taskArn?.split('/').at(-1)}/logs?follow=true`,
  )
  // Who follows is written down as soon as there is something to read.
  await eventually('the log is followed', async () => {
    const path = '/v1/audit?action=gantry:GetTaskLogs&code=OK'
    const { json } = await getRest(root.endpoint, root.key, path)
    return (json['records'] as readonly object[]).length > 0 ? true : undefined
  })
  await agent.disconnect('close')
  ecs.destroy()
  t.equal(await mine.terminate(), 0)
  t.equal((await followed).status, 200)
  await mine.stop()
})

await tap.test(
  'a session and a log that is followed end with the key, or the right, that they were got with',
  async (t) => {
    const iam = new IAMClient({ endpoint, region, credentials })
    t.teardown(() => iam.destroy())
    const UserName = 'ann'
    const right = { UserName, PolicyArn: 'arn:aws:iam::aws:policy/GantryOperator' }
    await iam.send(new CreateUserCommand({ UserName }))
    await iam.send(new AttachUserPolicyCommand(right))
    const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName }))
    const { AccessKeyId = '', SecretAccessKey = '' } = AccessKey ?? {}
    const ann = { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey }
    const hers = new ECSClient({ endpoint, region, credentials: ann })
    t.teardown(() => hers.destroy())
    const ask = async (): Promise<{ url: string; token: string }> => {
      const { session } = await hers.send(new ExecuteCommandCommand({ task: arn, command: 'sh', interactive: true }))
      return { url: session?.streamUrl ?? '', token: session?.tokenValue ?? '' }
    }
    const follow = async (): Promise<Response> => {
      const url = `${endpoint}/v1/tasks/${arn.split('/').at(-1)}/logs?follow=true`
      return fetch(url, {
        headers: signRequest({
          method: 'GET',
          url,
          headers: {},
          credentials: ann,
          region,
          service: 'ecs',
          now: Date.now(),
        }),
      })
    }
    const begin = async () => {
      const from = peer.frames.length
      const { url, token } = await ask()
      const session = joinSession(url, token)
      const { message } = await peer.frame('GantryStreamRequest', from)
      const socket = await dial(peer, streamChannelPath, { stream: String(message['streamId']) })
      socket.send(JSON.stringify({ type: 'Started', message: {} }))
      await session.started
      return { session, log: await follow(), unused: await ask() }
    }
    const setKey = (Status: 'Active' | 'Inactive') =>
      iam.send(new UpdateAccessKeyCommand({ UserName, AccessKeyId, Status }))

    const first = await begin()
    await setKey('Inactive')
    const ofKey = /access key of this call was deleted or is Inactive/
    t.match(await first.session.ended, { reason: ofKey })
    t.match(await first.log.text(), ofKey)
    t.match(
      await joinSession(first.unused.url, first.unused.token).ended,
      { reason: ofKey },
      'one not joined yet as well',
    )
    await setKey('Active')
    const second = await begin()
    await iam.send(new DetachUserPolicyCommand(right))
    t.match(await second.session.ended, { reason: /not authorized to perform: ecs:ExecuteCommand/ })
    t.match(await second.log.text(), /not authorized to perform: gantry:GetTaskLogs/)
  },
)

await tap.test('an agent that does not dial is told of, and one that is away', async (t) => {
  const { url, token } = await execute()
  t.match(await joinSession(url, token).ended, { reason: /did not open the channel within 10 s/ })
  for (const one of [peer, other]) await one.disconnect('close')
  const waiting = await execute()
  t.match(await joinSession(waiting.url, waiting.token).ended, { reason: /agent is not connected/ })
})
