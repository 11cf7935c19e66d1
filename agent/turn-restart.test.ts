/** Containers that are started again in place: by their restart policy, and by an agent that has no controller. */
import { test } from 'tap'
import type { PayloadContainer, PayloadTask } from '../proto/acs.ts'
import { anAgent, memoryJournal } from '../test/support/fake-turn.ts'
import type { Agent } from '../test/support/fake-turn.ts'
import { aPayloadContainer, aPayloadTask, taskArnOf } from '../test/support/payloads.ts'
import { restartsByPolicy } from './decide/restart.ts'
import { freshContainer } from './decide/view.ts'

const one = taskArnOf(1)
const minute = 60_000
const restartPolicy = { enabled: true, ignoredExitCodes: [7], restartAttemptPeriod: 60 }

function marked(over: Partial<PayloadTask> = {}): PayloadTask {
  return aPayloadTask({ gantry: { knownStatus: 'PENDING', restartAlone: true }, ...over })
}

async function reaches(agent: Agent, status: string, arn = one): Promise<void> {
  await agent.time.until(`${arn} is ${status}`, () => agent.last(arn)?.status === status)
}

function runs({ engine }: Agent, name: string): boolean {
  return [...engine.containers.values()].some(
    ({ labels, status }) => labels['com.amazonaws.ecs.container-name'] === name && status === 'running',
  )
}

function startsOf(agent: Agent, name: string): number {
  return agent.engine.find(name).starts
}

/** The agent runs one task, and hears no more of its controller. */
async function aloneWith(task: PayloadTask, prepare: (agent: Agent) => void = () => undefined): Promise<Agent> {
  const agent = anAgent()
  prepare(agent)
  agent.payload([task])
  await reaches(agent, 'RUNNING')
  await agent.time.pass(1000)
  agent.turn.linkDown()
  return agent
}

/** The controller's side of a return: the link, and its first words. */
function returns(agent: Agent): void {
  agent.turn.linkUp()
  agent.frame('HeartbeatMessage', { healthy: true, messageId: 'heartbeat' })
}

await test('a restart policy: in place, counted, and no status changes by it', async (t) => {
  const agent = anAgent()
  agent.engine.local.set('web:1', { health: 'HEALTHY' })
  const portMappings = [{ containerPort: 80, protocol: 'tcp' }] as const
  const web = aPayloadContainer({ image: 'web:1', restartPolicy, portMappings })
  const side = aPayloadContainer({ name: 'side', dependsOn: [{ containerName: 'web', condition: 'START' }] })
  agent.payload([aPayloadTask({ containers: [web, side] })])
  await reaches(agent, 'RUNNING')
  const before = agent.last(one)?.containers[0]
  const sideStarted = agent.engine.find('side').startedAt

  for (const restarts of [1, 2]) {
    await agent.time.pass(minute)
    const told = agent.changes(one).length
    const died = agent.time.now()
    agent.engine.exit('web', restarts === 1 ? 1 : 0)
    await agent.time.until('it runs again', () => agent.engine.find('web').status === 'running')
    t.ok(agent.time.now() - died < 500, `after ${agent.time.now() - died} ms`)
    await agent.time.pass(1000)
    t.equal(startsOf(agent, 'web'), restarts + 1)
    t.equal(agent.engine.created.length, 2, 'nothing is made anew')
    t.match(agent.last(one), { status: 'RUNNING', containers: [{ restartCount: restarts, status: 'RUNNING' }, {}] })
    t.equal(agent.last(one)?.containers[0]?.runtimeId, before?.runtimeId)
    t.same(agent.last(one)?.containers[0]?.networkBindings, before?.networkBindings)
    const since = agent
      .changes(one)
      .slice(told)
      .map(({ containers }) => containers[0])
    t.ok(since.every((container) => container?.status === 'RUNNING' && container.exitCode === undefined))
    t.ok(
      since.some((container) => container?.healthStatus === 'UNKNOWN'),
      'its health is not known at first',
    )
    t.equal(agent.last(one)?.containers[0]?.healthStatus, 'HEALTHY')
  }
  t.equal(agent.engine.find('side').startedAt, sideStarted, 'what depends on it goes on')

  agent.engine.exit('web', 9)
  await reaches(agent, 'STOPPED')
  t.match(agent.last(one)?.containers[0], { exitCode: 9, restartCount: 2 }, 'too soon after its last start')
  t.equal(agent.engine.find('side').status, 'exited')
  t.same(agent.errors, [])
})

await test('what a restart policy does not restart', async (t) => {
  for (const [why, over, end] of [
    ['an ignored exit code', { restartPolicy }, 7],
    ['a policy that is off', { restartPolicy: { ...restartPolicy, enabled: false } }, 1],
    ['less than the default period', { restartPolicy: { enabled: true } }, 1],
  ] as const) {
    const agent = anAgent()
    agent.payload([aPayloadTask({ containers: [aPayloadContainer(over)] })])
    await reaches(agent, 'RUNNING')
    await agent.time.pass(2 * minute)
    agent.engine.exit('web', end)
    await reaches(agent, 'STOPPED')
    t.match(agent.last(one)?.containers[0], { exitCode: end }, why)
    t.equal(startsOf(agent, 'web'), 1, why)
  }
})

await test('a clock that was set back while it ran takes no container its restart', (t) => {
  const container = aPayloadContainer({ restartPolicy })
  const ended = { ...freshContainer, knownStatus: 'STOPPED', started: true, exitCode: 1 } as const
  t.ok(restartsByPolicy(container, { ...ended, startedAt: 10 * minute, finishedAt: minute }))
  t.notOk(restartsByPolicy(container, { ...ended, startedAt: minute, finishedAt: minute }))
  t.end()
})

await test('a stop always wins over a restart policy', async (t) => {
  for (let stopAfterMs = 0; stopAfterMs < 40; stopAfterMs += 1) {
    const agent = anAgent()
    const other = aPayloadContainer({ name: 'other' })
    const containers = [aPayloadContainer({ restartPolicy }), other]
    agent.payload([aPayloadTask({ containers })])
    await reaches(agent, 'RUNNING')
    await agent.time.pass(2 * minute)
    agent.engine.exit('web', 1)
    await agent.time.pass(stopAfterMs)
    agent.payload([aPayloadTask({ containers, desiredStatus: 'STOPPED' })], { seqNum: 2 })
    await reaches(agent, 'STOPPED')
    await agent.time.pass(10_000)
    t.equal(agent.engine.find('web').status, 'exited', `stopped ${stopAfterMs} ms after its end`)
    t.type(agent.last(one)?.containers[0]?.exitCode, 'number', `stopped ${stopAfterMs} ms after its end`)
    t.same(agent.errors, [])
  }
  const agent = anAgent()
  agent.payload([
    aPayloadTask({ containers: [aPayloadContainer({ restartPolicy }), aPayloadContainer({ name: 'other' })] }),
  ])
  await reaches(agent, 'RUNNING')
  await agent.time.pass(2 * minute)
  agent.engine.exit('other', 1)
  agent.engine.exit('web', 1)
  await reaches(agent, 'STOPPED')
  t.equal(startsOf(agent, 'web'), 1, 'another essential container has ended the task')
})

await test('a start that Docker refuses has the container made anew, with its name and ports', async (t) => {
  const agent = anAgent()
  agent.engine.local.set('busybox:1', {})
  const portMappings = [{ containerPort: 80, hostPort: 8080, protocol: 'tcp' }] as const
  agent.payload([aPayloadTask({ containers: [aPayloadContainer({ restartPolicy, portMappings })] })])
  await reaches(agent, 'RUNNING')
  const { name, id } = agent.engine.find('web')
  await agent.time.pass(2 * minute)
  agent.engine.fail('startContainer', 'refused')
  agent.engine.exit('web', 1)
  await agent.time.until('another one runs', () => runs(agent, 'web'))
  t.equal(agent.engine.find('web').name, name)
  t.not(agent.engine.find('web').id, id)
  await agent.time.pass(1000)
  t.match(agent.last(one)?.containers[0], { restartCount: 1, runtimeId: agent.engine.find('web').id })
  t.match(agent.last(one)?.containers[0]?.networkBindings, [{ hostPort: 8080 }])

  await agent.time.pass(2 * minute)
  agent.engine.fail('startContainer', 'refused', { times: 2 })
  agent.engine.exit('web', 4)
  await reaches(agent, 'STOPPED')
  t.match(agent.last(one)?.containers[0], { exitCode: 4, reason: /^CannotStartContainerError/ }, 'once, not for ever')

  const dynamic = [{ containerPort: 80, protocol: 'tcp' }] as const
  const two = taskArnOf(2)
  const other = aPayloadContainer({ name: 'dynamic', restartPolicy, portMappings: dynamic })
  agent.payload([aPayloadTask({ arn: two, containers: [other] })], { seqNum: 2 })
  await reaches(agent, 'RUNNING', two)
  await agent.time.pass(2 * minute)
  const had = agent.engine.find('dynamic').ports[0]?.hostPort ?? 0
  agent.engine.busyPorts.add(had)
  agent.engine.exit('dynamic', 1)
  await agent.time.pass(5000)
  const has = agent.engine.find('dynamic').ports[0]?.hostPort
  t.not(has, had)
  t.match(agent.last(two)?.containers[0]?.networkBindings, [{ hostPort: has }], 'the port that it has now is told')
})

await test('killed at any moment of a restart, the agent takes it up where it was', async (t) => {
  for (let killAfterMs = 0; killAfterMs < 60; killAfterMs += 1) {
    const agent = anAgent()
    agent.payload([aPayloadTask({ containers: [aPayloadContainer({ restartPolicy })] })])
    await reaches(agent, 'RUNNING')
    await agent.time.pass(2 * minute)
    agent.engine.exit('web', 1)
    await agent.time.pass(killAfterMs)
    agent.kill()
    agent.start()
    await agent.time.pass(5000)
    t.equal(agent.engine.find('web').status, 'running', `killed after ${killAfterMs} ms`)
    t.equal(startsOf(agent, 'web'), 2, `killed after ${killAfterMs} ms`)
    t.match(agent.last(one), { status: 'RUNNING' })
    t.same(agent.errors, [])
  }
})

await test('alone: a marked task that ends is started again in place, in the order of its dependencies', async (t) => {
  const agent = anAgent()
  agent.engine.local.set('init:1', { exitsAfterMs: 100, exitCode: 0 })
  const containers: PayloadContainer[] = [
    aPayloadContainer({
      portMappings: [{ containerPort: 80, protocol: 'tcp' }],
      dependsOn: [{ containerName: 'db', condition: 'START' }],
    }),
    aPayloadContainer({ name: 'db', dependsOn: [{ containerName: 'init', condition: 'SUCCESS' }] }),
    aPayloadContainer({ name: 'init', image: 'init:1', essential: false }),
  ]
  agent.payload([marked({ containers })])
  await reaches(agent, 'RUNNING')
  const port = agent.engine.find('web').ports[0]?.hostPort
  agent.turn.linkDown()
  await agent.time.pass(30_000)
  agent.engine.exit('web', 3)
  await agent.time.pass(20_000)
  t.equal(agent.engine.find('db').status, 'exited', 'the rest of it has stopped')
  t.equal(startsOf(agent, 'web'), 1, 'the controller is awaited for a while')
  t.match(agent.turn.tasks(), [{ knownStatus: 'RUNNING' }], 'and meanwhile nothing is concluded')

  await agent.time.pass(15_000)
  const order = agent.engine.started
    .slice(3)
    .map((id) => agent.engine.containers.get(id)?.labels['com.amazonaws.ecs.container-name'])
  t.same(order, ['init', 'db', 'web'])
  t.equal(agent.engine.created.length, 3)
  t.equal(agent.engine.find('web').ports[0]?.hostPort, port, 'its ports stay')

  const told = agent.sent.length
  t.equal(
    agent.changes(one).some(({ status }) => status === 'STOPPED'),
    false,
  )
  returns(agent)
  await agent.time.pass(5000)
  t.ok(agent.sent.length > told)
  t.match(agent.last(one), {
    status: 'RUNNING',
    containers: [{ status: 'RUNNING', restartCount: 1 }, { restartCount: 1 }, {}],
  })
  t.equal(startsOf(agent, 'web'), 2, 'and nothing is started once more')
  t.same(agent.errors, [])
})

await test('alone: crash loops pause for longer and longer, and a long run makes up for them', async (t) => {
  const agent = await aloneWith(marked(), ({ engine }) => engine.local.set('busybox:1', {}))
  const starts: number[] = []
  const web = agent.engine.find('web')
  await agent.time.pass(2 * minute)
  for (let count = 0; count < 14; count += 1) {
    const died = agent.time.now()
    agent.engine.exit('web', 1)
    await agent.time.until('it runs again', () => web.status === 'running')
    starts.push(Math.round((agent.time.now() - died) / 1000))
    await agent.time.pass(2000)
  }
  t.same(starts, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300, 300])
  await agent.time.pass(11 * minute)
  agent.engine.exit('web', 1)
  const died = agent.time.now()
  await agent.time.until('it runs again', () => web.status === 'running')
  t.ok(agent.time.now() - died < 1000)
  t.ok(agent.journal.load().outbox.length <= 2, 'what is to be told stays one picture')
  t.same(agent.errors, [])
})

await test('alone: a controller that comes back in time is told of the end, and replaces the task itself', async (t) => {
  const agent = await aloneWith(marked())
  agent.engine.exit('web', 3)
  await agent.time.pass(30_000)
  returns(agent)
  await reaches(agent, 'STOPPED')
  t.match(agent.last(one)?.containers[0], { exitCode: 3 })
  await agent.time.pass(10 * minute)
  t.equal(startsOf(agent, 'web'), 1)

  // The same in the pause of a crash loop.
  const looping = await aloneWith(marked())
  await looping.time.pass(2 * minute)
  for (const _ of [1, 2, 3, 4, 5, 6]) {
    looping.engine.exit('web', 5)
    await looping.time.until('it runs again', () => looping.engine.find('web').status === 'running')
    await looping.time.pass(500)
  }
  looping.engine.exit('web', 6)
  await looping.time.pass(2000)
  const starts = startsOf(looping, 'web')
  returns(looping)
  await looping.time.until('it is told', () => looping.last(one)?.status === 'STOPPED', 1000)
  t.match(looping.last(one)?.containers[0], { exitCode: 6, restartCount: 6 })
  await looping.time.pass(10 * minute)
  t.equal(startsOf(looping, 'web'), starts)
})

await test('alone: what is not marked, or is to stop, has ended', async (t) => {
  const standalone = await aloneWith(aPayloadTask())
  await standalone.time.pass(2 * minute)
  standalone.engine.exit('web', 0)
  await standalone.time.pass(60 * minute)
  t.equal(startsOf(standalone, 'web'), 1)
  t.match(standalone.turn.tasks(), [{ knownStatus: 'STOPPED' }])

  const stopping = anAgent()
  stopping.payload([marked()])
  await reaches(stopping, 'RUNNING')
  stopping.payload([marked({ desiredStatus: 'STOPPED' })], { seqNum: 2 })
  await stopping.time.pass(1)
  stopping.turn.linkDown()
  await stopping.time.pass(60 * minute)
  t.equal(startsOf(stopping, 'web'), 1)

  const told = anAgent()
  told.payload([marked()])
  await reaches(told, 'RUNNING')
  told.engine.exit('web', 1)
  await reaches(told, 'STOPPED')
  await told.time.pass(1000)
  told.turn.linkDown()
  await told.time.pass(60 * minute)
  t.equal(startsOf(told, 'web'), 1, 'the controller knows of this end')
})

await test('alone: an end that was told to nobody is taken back', async (t) => {
  const agent = anAgent()
  agent.payload([marked()])
  await reaches(agent, 'RUNNING')
  await agent.time.pass(1000)
  // The network is cut, and for a while nobody notices.
  agent.acknowledges = false
  agent.engine.exit('web', 1)
  await reaches(agent, 'STOPPED')
  agent.turn.linkDown()
  await agent.time.pass(2 * minute)
  t.equal(agent.engine.find('web').status, 'running')
  t.equal(agent.journal.load().outbox.filter(({ change }) => change.status === 'STOPPED').length, 0)
  agent.acknowledges = true
  agent.sent.length = 0
  returns(agent)
  await agent.time.pass(5000)
  t.same([...new Set(agent.statuses(one))], ['RUNNING'])
})

await test('alone: a reboot, and the host goes on by itself', async (t) => {
  const agent = anAgent()
  const standalone = aPayloadTask({ arn: taskArnOf(2), containers: [aPayloadContainer({ name: 'job' })] })
  const side = aPayloadContainer({ name: 'side', dependsOn: [{ containerName: 'web', condition: 'START' }] })
  agent.payload([marked({ containers: [side, aPayloadContainer()] }), standalone])
  await reaches(agent, 'RUNNING')
  await reaches(agent, 'RUNNING', taskArnOf(2))
  const reboot = (): void => {
    agent.kill()
    agent.engine.restart()
    agent.start()
    agent.turn.linkDown()
  }
  reboot()
  await agent.time.pass(30_000)
  t.equal(agent.engine.find('web').status, 'exited', 'a controller that is there would want to know')
  await agent.time.pass(35_000)
  t.same([agent.engine.find('web').status, agent.engine.find('side').status], ['running', 'running'])
  t.ok((agent.engine.find('web').startedAt ?? 0) <= (agent.engine.find('side').startedAt ?? 0))
  t.equal(agent.engine.find('job').status, 'exited')

  reboot()
  await agent.time.pass(11_000)
  t.equal(agent.engine.find('web').status, 'running', 'one that was alone before waits no minute for nobody')
  await agent.time.pass(minute)
  returns(agent)
  await reaches(agent, 'STOPPED', taskArnOf(2))
  await agent.time.pass(5000)
  t.match(agent.last(one), { status: 'RUNNING', containers: [{ restartCount: 2 }, { restartCount: 2 }] })
  t.equal(startsOf(agent, 'web'), 3)
  t.equal(agent.journal.load().isAlone, false)
  t.same(agent.errors, [])
})

await test('alone: a full disk keeps nothing from being started again, and a crash after it starts nothing twice', async (t) => {
  const portMappings = [{ containerPort: 80, protocol: 'tcp' }] as const
  const agent = await aloneWith(marked({ containers: [aPayloadContainer({ portMappings })] }))
  await agent.time.pass(2 * minute)
  agent.journal.full = true
  agent.engine.exit('web', 1)
  await agent.time.pass(5000)
  t.equal(agent.engine.find('web').status, 'running')
  agent.engine.exit('web', 1)
  await agent.time.pass(5000)
  t.equal(startsOf(agent, 'web'), 3)

  agent.kill()
  agent.start()
  agent.turn.linkDown()
  await agent.time.pass(3 * minute)
  t.equal(startsOf(agent, 'web'), 3, 'what Docker shows is believed')
  agent.journal.full = false
  returns(agent)
  await agent.time.pass(5000)
  t.match(agent.last(one), { status: 'RUNNING', containers: [{ status: 'RUNNING' }] })
})

await test('alone: a full disk does not keep what a task needs beside its containers from being made again', async (t) => {
  const mountPoints = [{ sourceVolume: 'data', containerPath: '/data', readOnly: false }]
  const volumes = [{ name: 'data', type: 'docker', dockerVolumeConfiguration: { scope: 'task' } }] as const
  const taskCgroups = { driver: 'cgroupfs', parent: '/ecs', cpuPeriodUs: 100_000, epoch: '' } as const
  const agent = anAgent({ taskCgroups })
  agent.payload([marked({ containers: [aPayloadContainer({ mountPoints })], volumes })])
  await agent.time.until('it runs', () => agent.last(one)?.status === 'RUNNING')
  agent.turn.linkDown()
  await agent.time.pass(2 * minute)
  agent.journal.full = true
  agent.kill()
  agent.engine.exit('web', 1)
  agent.engine.volumes.clear()
  agent.cgroups.clear()
  agent.start()
  agent.turn.linkDown()
  await agent.time.pass(3 * minute)
  t.equal(agent.engine.find('web').status, 'running')
  t.equal(agent.engine.volumes.size, 1)
  t.equal(agent.cgroups.size, 1)
  t.same(agent.errors.length, 1, 'that the journal can not be written')
})

await test('alone: containers that somebody removed are made anew, and an image that is gone is pulled', async (t) => {
  const agent = await aloneWith(marked())
  await agent.time.pass(2 * minute)
  const { name } = agent.engine.find('web')
  agent.engine.exit('web', 137)
  agent.engine.containers.delete(agent.engine.find('web').id)
  agent.engine.local.clear()
  await agent.time.pass(2 * minute)
  agent.engine.local.set('busybox:1', {})
  await agent.time.pass(6 * minute)
  t.match(agent.engine.find('web'), { name, status: 'running' })
  t.same(agent.errors, [])
})

await test('alone: a link that leads to nobody does not count as a controller', async (t) => {
  const agent = await aloneWith(marked())
  for (let count = 0; count < 6; count += 1) {
    await agent.time.pass(10_000)
    agent.turn.linkUp()
    await agent.time.pass(2000)
    agent.turn.linkDown()
  }
  agent.engine.exit('web', 1)
  await agent.time.pass(2000)
  t.equal(startsOf(agent, 'web'), 2)
  agent.kill()
  agent.start(memoryJournal())
  agent.turn.linkDown()
  await agent.time.pass(2 * minute)
  agent.engine.exit('web', 1)
  await agent.time.pass(10 * minute)
  t.equal(startsOf(agent, 'web'), 2, 'without its journal the agent does not know what may be started again')
})
