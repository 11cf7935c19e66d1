import { test } from 'tap'
import { anAgent } from '../test/support/fake-turn.ts'
import type { Agent } from '../test/support/fake-turn.ts'
import type { PayloadTask } from '../proto/acs.ts'
import { aPayloadContainer, aPayloadTask, clusterArn, instanceArn, taskArnOf } from '../test/support/payloads.ts'

const one = taskArnOf(1)
const stopOf = (arn = one, over = {}) => aPayloadTask({ arn, desiredStatus: 'STOPPED', ...over })

async function running(agent: Agent, arn = one): Promise<void> {
  await agent.time.until(`${arn} is RUNNING`, () => agent.last(arn)?.status === 'RUNNING')
}

async function stopped(agent: Agent, arn = one): Promise<void> {
  await agent.time.until(`${arn} is STOPPED`, () => agent.last(arn)?.status === 'STOPPED')
}

function withImage(number: number, image: string): PayloadTask {
  return aPayloadTask({ arn: taskArnOf(number), containers: [aPayloadContainer({ image })] })
}

/** RUNNING or STOPPED, whichever a task of the image `app:1` comes to first. */
async function outcomeOf(agent: Agent, number: number): Promise<string | undefined> {
  agent.payload([withImage(number, 'app:1')], { seqNum: number })
  await agent.time.until('it runs or ends', () =>
    ['RUNNING', 'STOPPED'].includes(agent.last(taskArnOf(number))?.status ?? ''),
  )
  return agent.last(taskArnOf(number))?.status
}

function withPort(number: number, hostPort: number): PayloadTask {
  const portMappings = [{ containerPort: 80, hostPort, protocol: 'tcp' }] as const
  return aPayloadTask({ arn: taskArnOf(number), containers: [aPayloadContainer({ portMappings })] })
}

await test('a task runs, is stopped, and says so', async (t) => {
  const agent = anAgent()
  agent.engine.local.set('busybox:1', { digest: 'sha256:abc', output: ['one', 'two'] })
  const container = aPayloadContainer({ portMappings: [{ containerPort: 80, hostPort: 0, protocol: 'tcp' }] })
  agent.payload([aPayloadTask({ containers: [container] })])
  await running(agent)

  t.match(agent.sent, [{ type: 'AckRequest', message: { cluster: clusterArn, containerInstance: instanceArn } }])
  const web = agent.last(one)?.containers[0]
  t.match(web, {
    containerName: 'web',
    status: 'RUNNING',
    imageDigest: 'sha256:abc',
    networkBindings: [{ bindIP: '0.0.0.0', containerPort: 80, hostPort: 32768, protocol: 'tcp' }],
  })
  t.equal(web?.runtimeId, agent.engine.find('web').id)
  t.match(agent.engine.find('web').name, /^ecs-hello-3-web-[0-9a-f]{20}$/)

  agent.payload([stopOf()], { seqNum: 2, messageId: 'payload-2' })
  await stopped(agent)
  t.match(agent.last(one), { containers: [{ exitCode: 143, lastLogLines: ['one', 'two'] }] })
  t.type(agent.last(one)?.executionStoppedAt, 'number')
  t.same(agent.engine.created.length, 1)
  t.same(agent.errors, [])

  const changes = agent.changes().length
  await agent.time.pass(2 * 3_600_000)
  t.equal(agent.changes().length, changes, 'a task that has ended is not reported again')
  t.equal(agent.engine.containers.size, 1, 'its container is kept for a while')
  await agent.time.pass(2 * 3_600_000)
  t.equal(agent.engine.containers.size, 0, 'and removed after the cleanup wait')
  t.same(agent.journal.load().tasks, [])
})

await test('a payload that comes again changes nothing', async (t) => {
  const agent = anAgent()
  agent.payload([aPayloadTask()])
  agent.payload([aPayloadTask()])
  await running(agent)
  agent.payload([aPayloadTask()])
  await agent.time.pass(120_000)
  t.equal(agent.engine.created.length, 1)
  t.same(agent.statuses(one), ['RUNNING'])
  t.equal(agent.sent.filter(({ type }) => type === 'AckRequest').length, 3, 'each is acknowledged')

  agent.engine.exit('web', 3)
  await stopped(agent)
  t.match(agent.last(one), { containers: [{ exitCode: 3 }] })
  const told = agent.changes(one).length
  agent.payload([aPayloadTask()])
  await agent.time.pass(10_000)
  t.equal(agent.engine.created.length, 1, 'a finished task is not run again')
  t.equal(agent.changes(one).length, told + 1, 'but the controller that asks is told once more')
})

await test('an essential container that ends takes the others with it; one that is not does not', async (t) => {
  const agent = anAgent()
  agent.engine.local.set('quick:1', { exitsAfterMs: 1000, exitCode: 0 })
  const side = aPayloadContainer({ name: 'side', image: 'quick:1', essential: false })
  agent.payload([aPayloadTask({ containers: [aPayloadContainer(), side] })])
  await running(agent)
  await agent.time.pass(5000)
  t.equal(agent.last(one)?.status, 'RUNNING')
  t.match(agent.last(one)?.containers, [{ status: 'RUNNING' }, { status: 'STOPPED', exitCode: 0 }])

  agent.engine.exit('web', 1)
  await stopped(agent)
  t.match(agent.last(one)?.containers, [{ exitCode: 1 }, { exitCode: 0 }])

  const two = taskArnOf(2)
  const helper = aPayloadContainer({ name: 'helper', essential: false })
  agent.payload([aPayloadTask({ arn: two, containers: [aPayloadContainer({ name: 'main' }), helper] })], { seqNum: 2 })
  await running(agent, two)
  agent.engine.exit('main', 9)
  await stopped(agent, two)
  t.equal(agent.engine.find('helper').status, 'exited')
})

await test('dependsOn is obeyed in start and, backwards, in stop', async (t) => {
  const agent = anAgent()
  agent.engine.local.set('init:1', { exitsAfterMs: 4000, exitCode: 0 })
  const init = aPayloadContainer({ name: 'init', image: 'init:1', essential: false })
  const db = aPayloadContainer({ name: 'db', dependsOn: [{ containerName: 'init', condition: 'SUCCESS' }] })
  const web = aPayloadContainer({ name: 'web', dependsOn: [{ containerName: 'db', condition: 'START' }] })
  agent.payload([aPayloadTask({ containers: [web, db, init] })])
  await agent.time.pass(2500)
  t.match(agent.last(one)?.waitingFor, /^waits for container (db|init) to .*, for \d+ s$/)
  await running(agent)
  t.same(
    agent.engine.started.map((id) => agent.engine.containers.get(id)?.labels['com.amazonaws.ecs.container-name']),
    ['init', 'db', 'web'],
  )
  agent.payload([stopOf(one, { containers: [web, db, init] })], { seqNum: 2 })
  await stopped(agent)
  t.ok((agent.engine.find('web').finishedAt ?? 0) < (agent.engine.find('db').finishedAt ?? 0), 'web before db')

  const two = taskArnOf(2)
  agent.engine.local.set('bad:1', { exitsAfterMs: 10, exitCode: 5 })
  const bad = aPayloadContainer({ name: 'bad', image: 'bad:1', essential: false })
  const app = aPayloadContainer({ name: 'app', dependsOn: [{ containerName: 'bad', condition: 'SUCCESS' }] })
  agent.payload([aPayloadTask({ arn: two, containers: [app, bad] })], { seqNum: 3 })
  await stopped(agent, two)
  t.match(agent.last(two)?.containers[0], {
    exitCode: 143,
    reason: /^CannotStartContainerError: dependency graph: .*5/,
  })
})

await test('what cannot run ends within seconds and says why', async (t) => {
  const agent = anAgent()
  agent.engine.local.set('broken:1', { startError: 'exec: "nope": executable file not found' })
  agent.payload([withImage(1, 'missing:1'), withImage(2, 'broken:1')])
  agent.payload([aPayloadTask({ arn: taskArnOf(3), networkMode: 'awsvpc' })], { messageId: 'payload-2' })
  const started = agent.time.now()
  for (const number of [1, 2, 3]) await stopped(agent, taskArnOf(number))
  t.ok(agent.time.now() - started < 5000)
  t.match(agent.last(taskArnOf(1))?.containers[0]?.reason, /^CannotPullContainerError: .*manifest unknown/)
  t.match(agent.last(taskArnOf(2))?.containers[0]?.reason, /^CannotStartContainerError: .*executable file not found/)
  t.equal(agent.last(taskArnOf(2))?.containers[0]?.exitCode, undefined, 'it never ran')
  t.match(agent.last(taskArnOf(3))?.reason, /awsvpc names no interface/)

  agent.sent.length = 0
  agent.payload([{ ...aPayloadTask({ arn: taskArnOf(4) }), containers: [] }], { messageId: 'payload-3' })
  await stopped(agent, taskArnOf(4))
  t.match(agent.last(taskArnOf(4))?.reason, /^UnrecogniedTaskError: Error loading task - /)
  t.notOk(
    agent.sent.some(({ type }) => type === 'AckRequest'),
    'a payload that cannot be read is not acknowledged',
  )

  agent.engine.fail('pullImage', 'deadline', { times: 2 })
  agent.engine.registry.set('slow:1', {})
  agent.payload([withImage(5, 'slow:1')])
  await running(agent, taskArnOf(5))
  t.pass('a registry that was slow twice is asked a third time')
})

await test('killed for memory is told apart from merely killed', async (t) => {
  const agent = anAgent()
  agent.payload([
    aPayloadTask(),
    aPayloadTask({ arn: taskArnOf(2), containers: [aPayloadContainer({ name: 'other' })] }),
  ])
  await running(agent)
  await running(agent, taskArnOf(2))
  agent.engine.exit('web', 137, true)
  agent.engine.exit('other', 0, true)
  await stopped(agent)
  await stopped(agent, taskArnOf(2))
  t.equal(agent.last(one)?.containers[0]?.reason, 'OutOfMemoryError: Container killed due to memory usage')
  t.equal(agent.last(taskArnOf(2))?.containers[0]?.reason, undefined)

  agent.engine.local.set('stubborn:1', { ignoresTerm: true })
  const third = aPayloadTask({ arn: taskArnOf(3), containers: [aPayloadContainer({ name: 'c', image: 'stubborn:1' })] })
  agent.payload([third], { seqNum: 2 })
  await running(agent, third.arn)
  agent.engine.find('c').oomKilled = true
  agent.payload([{ ...third, desiredStatus: 'STOPPED' }], { seqNum: 3 })
  await stopped(agent, third.arn)
  const { exitCode, reason } = agent.last(third.arn)?.containers[0] ?? {}
  t.same({ exitCode, reason }, { exitCode: 137, reason: undefined }, 'a stop that had to kill is no lack of memory')
})

await test('a slow stop holds up no other task', async (t) => {
  const agent = anAgent()
  agent.engine.local.set('stubborn:1', { ignoresTerm: true })
  const stubborn = aPayloadTask({
    containers: [aPayloadContainer({ name: 'stubborn', image: 'stubborn:1', stopTimeout: 90 })],
  })
  agent.payload([stubborn])
  await running(agent)
  agent.payload([{ ...stubborn, desiredStatus: 'STOPPED' }, aPayloadTask({ arn: taskArnOf(2) })], { seqNum: 2 })
  const begun = agent.time.now()
  await running(agent, taskArnOf(2))
  t.ok(agent.time.now() - begun < 1000)
  await agent.time.pass(10_000)
  t.match(agent.last(one)?.waitingFor, /^waits for container stubborn to stop, for \d+ s$/)
  await stopped(agent)
  t.ok(agent.time.now() - begun >= 90_000)
  t.equal(agent.last(one)?.containers[0]?.exitCode, 137)
})

await test('a manifest stops what it does not list, in three steps', async (t) => {
  const agent = anAgent()
  agent.payload([aPayloadTask(), aPayloadTask({ arn: taskArnOf(2) })], { seqNum: 5 })
  await running(agent)
  await running(agent, taskArnOf(2))
  const manifest = {
    clusterArn,
    containerInstanceArn: instanceArn,
    messageId: 'manifest-1',
    generatedAt: 0,
    timeline: 6,
    tasks: [{ taskArn: one, taskClusterArn: clusterArn, desiredStatus: 'RUNNING' }],
  }
  agent.sent.length = 0
  agent.frame('TaskManifestMessage', { ...manifest, timeline: 5 })
  await agent.time.pass(100)
  t.same(agent.sent, [], 'one that is not newer is not answered')

  agent.frame('TaskManifestMessage', manifest)
  await agent.time.pass(100)
  t.match(agent.sent, [
    { type: 'AckRequest', message: { messageId: 'manifest-1' } },
    {
      type: 'TaskStopVerificationMessage',
      message: { messageId: 'manifest-1', stopCandidates: [{ taskArn: taskArnOf(2), desiredStatus: 'STOPPED' }] },
    },
  ])
  const stopTasks = [{ taskArn: taskArnOf(2), taskClusterArn: clusterArn, desiredStatus: 'STOPPED' }]
  agent.frame('TaskStopVerificationAck', { messageId: 'another', generatedAt: 0, stopTasks })
  await agent.time.pass(5000)
  t.equal(agent.last(taskArnOf(2)), undefined, 'an answer to another manifest is ignored')
  agent.frame('TaskStopVerificationAck', { messageId: 'manifest-1', generatedAt: 0, stopTasks })
  await stopped(agent, taskArnOf(2))
  agent.frame('TaskStopVerificationAck', { messageId: 'manifest-1', generatedAt: 0, stopTasks: [{ taskArn: one }] })
  await agent.time.pass(5000)
  t.equal(agent.engine.find('web').status, 'running', 'and an answer counts once')
})

await test('other messages: heartbeat, update, another instance, the unknown', async (t) => {
  const agent = anAgent()
  await agent.time.pass(100)
  agent.sent.length = 0
  agent.frame('HeartbeatMessage', { healthy: true, messageId: 'beat' })
  agent.frame('PerformUpdateMessage', { clusterArn, containerInstanceArn: instanceArn, messageId: 'update' })
  agent.frame('SomethingNew', { messageId: 'x' })
  agent.payload([aPayloadTask()], { containerInstanceArn: `${instanceArn}0` })
  agent.frame('TaskManifestMessage', {
    clusterArn,
    containerInstanceArn: instanceArn,
    messageId: 'm',
    timeline: 1,
    tasks: [null],
  })
  agent.frame('TaskStopVerificationAck', { messageId: 'm', stopTasks: [null, {}, { taskArn: 5 }] })
  t.same(agent.errors, [])
  agent.frame('PayloadMessage', null as unknown as object)
  await agent.time.pass(5000)
  t.match(agent.sent, [
    { type: 'HeartbeatAckRequest', message: { messageId: 'beat' } },
    { type: 'NackRequest', message: { messageId: 'update', reason: 'Updates are disabled' } },
    { type: 'AckRequest', message: { messageId: 'm' } },
  ])
  t.equal(agent.sent.length, 3)
  t.equal(agent.errors.length, 1, 'what cannot be read at all fails alone, loudly')
  t.equal(agent.engine.created.length, 0)
})

await test('host ports: static ones are never picked, taken ones are replaced', async (t) => {
  const agent = anAgent({}, [32769])
  agent.engine.busyPorts.add(32770)
  agent.payload([withPort(1, 0), withPort(2, 0), withPort(3, 32768)])
  for (const number of [1, 2, 3]) await running(agent, taskArnOf(number))
  const portOf = (number: number) => agent.last(taskArnOf(number))?.containers[0]?.networkBindings?.[0]?.hostPort
  t.equal(portOf(3), 32768)
  t.same(
    [portOf(1), portOf(2)].toSorted((a = 0, b = 0) => a - b),
    [32771, 32772],
    'neither the static, nor the listening, nor the refused one',
  )
  t.equal(agent.engine.containers.size, 3, 'what was made with a refused port is gone')
  t.same(
    agent.turn.ownPorts().tcp.toSorted((a = 0, b = 0) => a - b),
    [32768, 32771, 32772],
  )

  agent.payload([withPort(4, 32768)], { seqNum: 2 })
  await stopped(agent, taskArnOf(4))
  t.match(agent.last(taskArnOf(4))?.containers[0]?.reason, /port is already allocated/)
})

await test('many tasks at once: those on their way up are capped, first come, first served', async (t) => {
  const agent = anAgent({ startsMax: 3 })
  agent.engine.latencyMs = 400
  let most = 0
  let underway = 0
  const counted = async <T>(call: Promise<T>): Promise<T> => {
    underway += 1
    most = Math.max(most, underway)
    return call.finally(() => (underway -= 1))
  }
  const { engine } = agent
  const [create, start] = [engine.createContainer.bind(engine), engine.startContainer.bind(engine)]
  engine.createContainer = async (name, body) => counted(create(name, body))
  engine.startContainer = async (id) => counted(start(id))
  const tasks = Array.from({ length: 24 }, (_, number) => aPayloadTask({ arn: taskArnOf(number + 1) }))
  agent.payload(tasks)
  for (const { arn } of tasks) await running(agent, arn)
  t.equal(most, 3)
  t.equal(agent.engine.started.length, 24)
  const firstRunning = agent.changes().filter(({ status }) => status === 'RUNNING')
  t.same(
    firstRunning.slice(0, 3).map(({ task }) => task),
    tasks.slice(0, 3).map(({ arn }) => arn),
  )
  const told = agent.changes(taskArnOf(24)).flatMap(({ waitingFor }) => waitingFor ?? [])
  t.ok(told.some((wait) => wait.startsWith('waits for other containers of this host to finish starting, for ')))
})

await test('the journal is synced for what only it could bring back; the rest shares a sync a little later', async (t) => {
  const agent = anAgent()
  await agent.time.pass(1000)
  const before = agent.journal.commits
  agent.payload([aPayloadTask()])
  await running(agent)
  t.equal(agent.journal.commits - before, 2, 'for the payload, and for the report of RUNNING')
  t.same(
    agent.journal.load().outbox.map(({ change }) => change.status),
    ['RUNNING'],
  )
  await agent.time.pass(300)
  t.match(agent.journal.load(), { outbox: [], tasks: [{ facts: { knownStatus: 'RUNNING' } }] })

  agent.acknowledges = false
  agent.engine.latencyMs = 5000
  agent.payload([aPayloadTask({ arn: taskArnOf(2), containers: [aPayloadContainer({ name: 'slow' })] })], { seqNum: 2 })
  await agent.time.until('it says what it waits for', () => agent.last(taskArnOf(2))?.waitingFor !== undefined)
  t.same(agent.journal.load().outbox, [], 'a wait is told anew after a crash, and not kept')
})

await test('each pull behaviour asks its registry as it should, and makes do or not', async (t) => {
  const cached = anAgent({ pullBehavior: 'default' })
  cached.engine.local.set('app:1', { digest: 'sha256:old' })
  t.equal(await outcomeOf(cached, 1), 'RUNNING', 'default makes do with what is here')
  cached.engine.registry.set('app:1', { digest: 'sha256:new' })
  await outcomeOf(cached, 2)
  await outcomeOf(cached, 3)
  t.same(cached.engine.pulled, ['app:1'], 'and pulls what is newer, once')
  t.equal(cached.last(taskArnOf(3))?.containers[0]?.imageDigest, 'sha256:new')
  t.equal(cached.last(taskArnOf(3))?.pullStartedAt, undefined)

  const always = anAgent({ pullBehavior: 'always' })
  always.engine.local.set('app:1', { digest: 'sha256:old' })
  t.equal(await outcomeOf(always, 1), 'STOPPED', 'always does not make do')

  const once = anAgent({ pullBehavior: 'once' })
  once.engine.local.set('app:1', {})
  once.engine.registry.set('app:1', { digest: 'sha256:new' })
  await outcomeOf(once, 1)
  once.kill()
  once.engine.registry.clear()
  once.start()
  t.equal(
    await outcomeOf(once, 2),
    'RUNNING',
    'what this agent pulled, even in an earlier life, is not asked for again',
  )
  t.same(once.engine.pulled, ['app:1'])
})
