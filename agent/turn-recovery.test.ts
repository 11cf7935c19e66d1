import { test } from 'tap'
import { anAgent, memoryJournal } from '../test/support/fake-turn.ts'
import type { Agent } from '../test/support/fake-turn.ts'
import { aPayloadContainer, aPayloadTask, clusterArn, instanceArn, taskArnOf } from '../test/support/payloads.ts'

const one = taskArnOf(1)
const stopOf = (arn = one, over = {}) => aPayloadTask({ arn, desiredStatus: 'STOPPED', ...over })

async function running(agent: Agent, arn = one): Promise<void> {
  await agent.time.until(`${arn} is RUNNING`, () => agent.last(arn)?.status === 'RUNNING')
}

async function stopped(agent: Agent, arn = one): Promise<void> {
  await agent.time.until(`${arn} is STOPPED`, () => agent.last(arn)?.status === 'STOPPED')
}

await test('killed at any moment, the agent takes up where it was', async (t) => {
  const containers = [
    aPayloadContainer({ name: 'init', image: 'init:1', essential: false }),
    aPayloadContainer({
      dependsOn: [{ containerName: 'init', condition: 'SUCCESS' }],
      portMappings: [{ containerPort: 80, protocol: 'tcp' }],
    }),
  ]
  // Every millisecond of the way up, and then of the way down.
  for (let killAfterMs = 0; killAfterMs < 120; killAfterMs += 1) {
    const agent = anAgent()
    agent.engine.local.set('init:1', { exitsAfterMs: 20, exitCode: 0 })
    const task = aPayloadTask({ containers })
    agent.payload([task])
    await agent.time.pass(killAfterMs)
    const acknowledged = agent.sent.some(({ type }) => type === 'AckRequest')
    agent.kill()
    agent.start()
    if (!acknowledged) agent.payload([task])
    await running(agent)
    t.equal(agent.engine.created.length, 2, `created once each, killed after ${killAfterMs} ms`)
    t.equal(agent.engine.started.length, 2, `started once each, killed after ${killAfterMs} ms`)

    agent.payload([stopOf(one, { containers })], { seqNum: 2, messageId: 'payload-2' })
    await agent.time.pass(killAfterMs % 40)
    const stopHeard = agent.sent.some(
      ({ type, message }) => type === 'AckRequest' && message['messageId'] === 'payload-2',
    )
    agent.kill()
    agent.start()
    if (!stopHeard) agent.payload([stopOf(one, { containers })], { seqNum: 2, messageId: 'payload-2' })
    await stopped(agent)
    t.equal(agent.engine.find('web').status, 'exited')
    t.same(agent.errors, [])
  }
})

await test('a task that is to stop when the agent comes back is STOPPED once its container is', async (t) => {
  let ran = 0
  for (let killAfterMs = 0; killAfterMs < 60; killAfterMs += 1) {
    for (const lost of [false, true]) {
      const agent = anAgent()
      agent.payload([aPayloadTask()])
      await agent.time.pass(killAfterMs)
      agent.kill()
      agent.start(lost ? memoryJournal() : agent.journal)
      agent.payload([stopOf()], { seqNum: 2 })
      await stopped(agent)
      const when = `killed after ${killAfterMs} ms, journal ${lost ? 'lost' : 'kept'}`
      const [container] = agent.engine.containers.values()
      t.not(container?.status, 'running', when)
      if (container?.startedAt === undefined) continue
      ran += 1
      t.equal(agent.last(one)?.containers[0]?.exitCode, 143, when)
    }
  }
  t.ok(ran > 20, 'some had started')
})

await test('a lost journal, and the payload comes before Docker has shown anything', async (t) => {
  const agent = anAgent()
  agent.payload([aPayloadTask()])
  await running(agent)
  for (const desiredStatus of ['RUNNING', 'STOPPED'] as const) {
    agent.kill()
    agent.start(memoryJournal())
    agent.payload([aPayloadTask({ desiredStatus, gantry: { knownStatus: 'RUNNING' } })], { seqNum: 7 })
    await agent.time.pass(3000)
    t.equal(agent.engine.created.length, 1, 'nothing is made a second time')
    t.equal(agent.last(one)?.status, desiredStatus)
    t.equal(agent.engine.find('web').status, desiredStatus === 'RUNNING' ? 'running' : 'exited')
  }
})

await test('a lost journal: what runs is adopted, and what ran is not run again', async (t) => {
  const agent = anAgent()
  const task = aPayloadTask()
  agent.payload([task, aPayloadTask({ arn: taskArnOf(2), containers: [aPayloadContainer({ name: 'other' })] })])
  await running(agent)
  await running(agent, taskArnOf(2))
  agent.kill()
  agent.engine.containers.delete(agent.engine.find('other').id)
  agent.start(memoryJournal())
  await agent.time.pass(1000)
  t.match(agent.turn.tasks(), [{ payload: { arn: one }, knownStatus: 'RUNNING' }])

  agent.sent.length = 0
  const known = { gantry: { knownStatus: 'RUNNING' } }
  agent.payload([{ ...task, ...known }, aPayloadTask({ arn: taskArnOf(2), ...known })], { seqNum: 7 })
  await stopped(agent, taskArnOf(2))
  t.match(agent.last(taskArnOf(2))?.containers[0]?.reason, /^ContainerVanishedError/)
  t.equal(agent.engine.created.length, 2)
  agent.engine.exit('web', 4)
  await stopped(agent)
  t.equal(agent.last(one)?.containers[0]?.exitCode, 4)
})

await test('what runs and is found again is not held against what its payload or its host lacks by now', async (t) => {
  const data = { name: 'data', type: 'docker', dockerVolumeConfiguration: { scope: 'shared', driver: 'gone' } } as const
  const mountPoints = [{ sourceVolume: 'data', containerPath: '/data', readOnly: false }]
  const taskCgroups = { driver: 'cgroupfs', parent: '/ecs', cpuPeriodUs: 100_000, epoch: '' } as const
  const fileSystem = {
    fileSystemId: 'fs-1',
    described: 'path /mnt/a',
    mount: { kind: 'path', path: '/mnt/a' },
    rootDirectory: '/',
  } as const
  const gantry = { knownStatus: 'RUNNING', fileSystems: { data: fileSystem } }
  for (const [what, volumes, now] of [
    ['a volume whose plugin is gone', [data], gantry],
    ['a file system whose server is away', [{ name: 'data', type: 'efs' }], gantry],
    ['a file system that is not registered any more', [{ name: 'data', type: 'efs' }], { knownStatus: 'RUNNING' }],
  ] as const) {
    for (const isPayloadFirst of [false, true]) {
      const agent = anAgent({ taskCgroups, cleanupWaitMs: 60_000 })
      agent.engine.volumes.set('data', { name: 'data', driver: 'gone', options: {}, labels: {} })
      const containers = [aPayloadContainer({ mountPoints })]
      agent.payload([aPayloadTask({ containers, volumes, gantry: { ...gantry, knownStatus: 'PENDING' } })])
      await running(agent)
      agent.kill()
      agent.sent.length = 0
      agent.engine.volumes.clear()
      agent.engine.fail('createVolume', 'refused', { times: 100 })
      agent.engine.fail('unpackInContainer', 'refused', { times: 100 })
      agent.engine.down = isPayloadFirst
      agent.start(memoryJournal())
      if (!isPayloadFirst) await agent.time.until('it is adopted', () => agent.turn.tasks().length === 1)
      agent.payload([aPayloadTask({ containers, volumes, gantry: now })])
      await agent.time.pass(100)
      agent.engine.down = false
      await running(agent)
      await agent.time.pass(10 * 60_000)
      t.equal(agent.last(one)?.status, 'RUNNING', what)
      t.equal(agent.engine.find('web').status, 'running')
      agent.engine.exit('web', 0)
      await stopped(agent)
      await agent.time.until('the task is forgotten', () => agent.turn.tasks().length === 0, 600_000)
      t.equal(agent.cgroups.size, 0, 'its cgroup goes with it')
      t.same(agent.errors, [])
    }
  }
})

await test('a task that is adopted after the manifest, which does not list it, is asked about and stops', async (t) => {
  const agent = anAgent()
  agent.payload([aPayloadTask()])
  await running(agent)
  agent.kill()
  agent.engine.down = true
  agent.start(memoryJournal())
  const manifest = {
    clusterArn,
    containerInstanceArn: instanceArn,
    messageId: 'm',
    generatedAt: 0,
    timeline: 9,
    tasks: [],
  }
  agent.frame('TaskManifestMessage', manifest)
  await agent.time.pass(1000)
  t.notOk(
    agent.sent.some(({ type }) => type === 'TaskStopVerificationMessage'),
    'nothing is known of the task yet',
  )

  agent.engine.down = false
  await agent.time.pass(60_000)
  const asked = agent.sent.filter(({ type }) => type === 'TaskStopVerificationMessage')
  t.match(asked, [{ message: { messageId: 'm', stopCandidates: [{ taskArn: one }] } }])
  agent.frame('TaskStopVerificationAck', { messageId: 'm', generatedAt: 0, stopTasks: [{ taskArn: one }] })
  await agent.time.pass(120_000)
  t.not(agent.engine.find('web').status, 'running')
})

await test("a task's cgroup is there whenever the agent died, also where the host forgot it, and goes with the task", async (t) => {
  const taskCgroups = { driver: 'cgroupfs', parent: '/ecs', cpuPeriodUs: 100_000, epoch: '' } as const
  const parent = `/ecs/${one.slice(one.lastIndexOf('/') + 1)}`
  for (let killAfterMs = 0; killAfterMs < 60; killAfterMs += 3) {
    for (const isForgotten of [false, true]) {
      const agent = anAgent({ taskCgroups, cleanupWaitMs: 60_000 })
      const task = aPayloadTask({ memory: 64 })
      agent.payload([task])
      await agent.time.pass(killAfterMs)
      const acknowledged = agent.sent.some(({ type }) => type === 'AckRequest')
      agent.kill()
      if (isForgotten) agent.cgroups.clear()
      agent.start()
      if (!acknowledged) agent.payload([task])
      await running(agent)
      await agent.time.pass(1000)
      const { body } = agent.engine.find('web')
      t.match(body, { HostConfig: { CgroupParent: parent } })
      t.match(agent.cgroups.get(parent), { memoryBytes: 67_108_864 }, `with its limits, killed after ${killAfterMs} ms`)
      t.equal(agent.engine.started.length, 1, 'and the container was started once')
      agent.engine.exit('web', 1)
      await agent.time.until('the task is forgotten', () => agent.turn.tasks().length === 0, 120_000)
      t.equal(agent.cgroups.size, 0)
      t.same(agent.errors, [])
    }
  }
})

await test('a container that Docker creates after its task was cleaned up is asked about, and removed', async (t) => {
  const agent = anAgent({ cleanupWaitMs: 60_000 })
  agent.payload([aPayloadTask()])
  await running(agent)
  const of = { clusterArn, containerInstanceArn: instanceArn }
  const tasks = [{ taskArn: one, taskClusterArn: clusterArn, desiredStatus: 'RUNNING' }]
  agent.frame('TaskManifestMessage', { ...of, messageId: 'm', generatedAt: 0, timeline: 9, tasks })
  const late = { ...agent.engine.find('web'), id: 'f'.repeat(64), name: 'late', status: 'created' as const }
  agent.engine.exit('web', 1)
  await agent.time.until('the task is forgotten', () => agent.turn.tasks().length === 0, 120_000)

  agent.engine.containers.set(late.id, late)
  await agent.time.pass(60_000)
  const asked = agent.sent.filter(({ type }) => type === 'TaskStopVerificationMessage')
  t.match(asked, [{ message: { messageId: 'm', stopCandidates: [{ taskArn: one }] } }])
  agent.frame('TaskStopVerificationAck', { messageId: 'm', generatedAt: 0, stopTasks: [{ taskArn: one }] })
  await agent.time.until('nothing is left', () => agent.turn.tasks().length === 0, 180_000)
  t.equal(agent.engine.containers.size, 0)
})

await test('of too many stopped tasks those that ended first are cleaned up before their time', async (t) => {
  const agent = anAgent({ stoppedTasksMax: 2 })
  for (const number of [1, 2, 3]) {
    const name = `web-${number}`
    agent.payload([aPayloadTask({ arn: taskArnOf(number), containers: [aPayloadContainer({ name })] })])
    await running(agent, taskArnOf(number))
    agent.engine.exit(name, 1)
    await agent.time.pass(10_000)
  }
  await agent.time.pass(10_000)
  t.strictSame(
    agent.turn.tasks().map(({ payload }) => payload.arn),
    [taskArnOf(2), taskArnOf(3)],
  )
  t.equal(agent.engine.containers.size, 2)
})

await test('a container that Docker lists and does not show holds up its own task alone', async (t) => {
  const agent = anAgent()
  agent.payload([aPayloadTask()])
  await running(agent)
  const { id } = agent.engine.find('web')
  for (const [lives, journal] of [agent.journal, memoryJournal()].entries()) {
    agent.kill()
    agent.engine.hung.add(id)
    agent.start(journal)
    const other = taskArnOf(2 + lives)
    agent.payload([
      aPayloadTask({ gantry: { knownStatus: 'RUNNING' } }),
      aPayloadTask({ arn: other, containers: [aPayloadContainer({ name: `other-${lives}` })] }),
    ])
    await running(agent, other)
    await agent.time.pass(180_000)
    t.notOk(agent.statuses(one).includes('STOPPED'), 'nothing is concluded about it')
    agent.engine.hung.delete(id)
    agent.engine.exit('web', 7)
    await stopped(agent)
    agent.engine.find('web').status = 'running'
    agent.sent.length = 0
  }
})

await test('state changes are in order, one at a time, and again until acknowledged', async (t) => {
  const agent = anAgent()
  agent.acknowledges = false
  agent.payload([aPayloadTask()])
  await running(agent)
  agent.engine.exit('web', 0)
  await agent.time.pass(5000)
  t.same(agent.statuses(one), ['RUNNING'], 'STOPPED waits for the answer to RUNNING')
  agent.turn.linkDown()
  await agent.time.pass(5000)
  agent.turn.linkUp()
  await agent.time.pass(100)
  t.same(agent.statuses(one), ['RUNNING', 'RUNNING'])
  const [first, again] = agent.changes(one)
  t.equal(again?.messageId, first?.messageId, 'the same change, not another')

  agent.kill()
  agent.start()
  await agent.time.pass(100)
  t.equal(agent.last(one)?.messageId, first?.messageId, 'even by another process')
  agent.frame('GantryTaskStateAck', { messageId: first?.messageId })
  await stopped(agent)
  agent.frame('GantryTaskStateRefusal', { messageId: agent.last(one)?.messageId, reason: 'not your task' })
  const told = agent.changes(one).length
  await agent.time.pass(120_000)
  t.equal(agent.changes(one).length, told, 'a refused change is not sent again')
  t.same(agent.journal.load().outbox, [])
})

await test('an engine that is away ends nothing; one that came back tells the truth', async (t) => {
  const agent = anAgent()
  agent.payload([aPayloadTask()])
  await running(agent)
  agent.engine.down = true
  agent.engine.restart()
  agent.payload([aPayloadTask({ arn: taskArnOf(2), containers: [aPayloadContainer({ name: 'late' })] })], { seqNum: 2 })
  await agent.time.pass(90_000)
  t.notOk(agent.statuses(one).includes('STOPPED'))
  t.match(agent.last(taskArnOf(2))?.waitingFor, /^waits for Docker Engine to answer, for \d+ s$/)
  agent.engine.down = false
  await stopped(agent)
  t.equal(agent.last(one)?.containers[0]?.exitCode, 137)
  await running(agent, taskArnOf(2))
})

await test('the controller is told of an engine that stays away, and at once when it is back', async (t) => {
  const agent = anAgent()
  const told = (): readonly unknown[] =>
    agent.sent
      .splice(0)
      .filter(({ type }) => type === 'GantryHostReport')
      .map(({ message }) => message['engineSilentForMs'])
  await agent.time.pass(1000)
  t.same(told(), [0])
  agent.engine.down = true
  agent.engine.restart()
  await agent.time.pass(4000)
  agent.engine.down = false
  await agent.time.pass(10_000)
  t.same(told(), [], 'a restart of the engine is no news')

  agent.engine.down = true
  agent.engine.restart()
  await agent.time.pass(8000)
  const [silentForMs, ...more] = told()
  t.ok(Number(silentForMs) >= 5000 && Number(silentForMs) < 5100, `told after ${String(silentForMs)} ms`)
  t.same(more, [], 'once')
  agent.turn.linkDown()
  await agent.time.pass(20_000)
  t.same(told(), [], 'to nobody')
  agent.turn.linkUp()
  await agent.time.pass(10)
  t.ok(Number(told()[0]) >= 27_500, 'a new connection is told anew, with the age')
  agent.engine.down = false
  await agent.time.pass(1500)
  t.same(told(), [0])
})

await test('answers that get lost do not make anything happen twice', async (t) => {
  const agent = anAgent()
  agent.engine.fail('createContainer', 'deadline', { afterDeed: true })
  agent.engine.fail('startContainer', 'deadline', { afterDeed: true })
  agent.payload([aPayloadTask()])
  await running(agent)
  t.equal(agent.engine.created.length, 1)
  t.equal(agent.engine.started.length, 1)
  agent.engine.fail('stopContainer', 'deadline', { afterDeed: true })
  agent.payload([stopOf()], { seqNum: 2 })
  await stopped(agent)

  const two = taskArnOf(2)
  agent.engine.fail('startContainer', 'deadline', { times: 3 })
  agent.payload([aPayloadTask({ arn: two })], { seqNum: 3 })
  await stopped(agent, two)
  t.match(agent.last(two)?.containers[0]?.reason, /^DockerTimeoutError: Could not transition to started/)
})

await test('a full disk: nothing new is started or acknowledged, and all of it later', async (t) => {
  const agent = anAgent()
  await agent.time.pass(100)
  agent.journal.full = true
  agent.payload([aPayloadTask()])
  agent.frame('HeartbeatMessage', { healthy: true, messageId: 'beat' })
  await agent.time.pass(10_000)
  t.equal(agent.engine.created.length, 0)
  t.notOk(agent.sent.some(({ type }) => type === 'AckRequest'))
  t.ok(
    agent.sent.some(({ type }) => type === 'HeartbeatAckRequest'),
    'the host is not lost',
  )
  agent.journal.full = false
  await running(agent)
  t.ok(agent.sent.some(({ type }) => type === 'AckRequest'))
})
