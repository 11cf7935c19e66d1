/** Services as their operators see them: commands in, the recorded course out. */
import { test } from 'tap'
import {
  aCluster,
  aDeployment,
  anInstance,
  aService,
  aState,
  aTask,
  aTaskDefinition,
  aWorld,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import {
  aCourse,
  type Behaviour,
  type Course,
  type CourseOptions,
  hostsOf,
  obey,
  revisions,
} from '../../test/support/service-course.ts'
import type { Input } from '../../proto/model/types.ts'
import { applyHostReport } from '../ecs/submit.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { abortDeployment, primaryOf } from './deployment-outcome.ts'
import { taskAfterReport } from './report.ts'
import { serviceDecider } from './service.ts'
import { explainService } from './why-service.ts'

/** A service `web` of `web:1` that has come to its steady state; the course starts there. */
async function steady(input: Partial<Input<'CreateService'>>, options: Partial<CourseOptions> = {}): Promise<Course> {
  const course = await aCourse({ hosts: hostsOf(3), ...options })
  await course.create(input)
  await course.settle()
  await course.pass(10_000)
  course.lines.splice(0)
  return course
}

async function agents(course: Course, steps: number, behave?: Behaviour): Promise<void> {
  for (let step = 0; step < steps; step += 1) await course.agents(behave)
}

function percent(minimumHealthyPercent: number, maximumPercent: number): Partial<Input<'CreateService'>> {
  return { deploymentConfiguration: { minimumHealthyPercent, maximumPercent } }
}

/** The second revision ends as soon as it is started. */
function secondFails(task: TaskRow): ReturnType<Behaviour> {
  return task.taskDefinitionArn.endsWith('web:2') ? 'fails' : obey(task)
}

/** What the agents say of every task of the second revision, without any time passing. */
function reportOfSecond(tx: Transaction, status: 'RUNNING' | 'STOPPED', now: number): void {
  for (const task of tx.all('task').filter(({ taskDefinitionArn }) => taskDefinitionArn.endsWith('web:2'))) {
    const containers = [{ containerName: 'app', status, ...(status === 'STOPPED' && { exitCode: 1 }) }]
    tx.put('task', task.taskId, taskAfterReport(task, { status, containers }, undefined, now))
  }
}

/** These fail their health checks until they are to stop. */
function sick(tasks: readonly TaskRow[]): Behaviour {
  const ids = new Set(tasks.map(({ taskId }) => taskId))
  return (task) => (ids.has(task.taskId) && task.desiredStatus === 'RUNNING' ? 'unhealthy' : obey(task))
}

/** The second revision runs, and fails its health checks until it is to stop. */
const secondIsSick: Behaviour = (task) =>
  task.taskDefinitionArn.endsWith('web:2') && task.lastStatus === 'RUNNING' && task.desiredStatus === 'RUNNING'
    ? 'unhealthy'
    : obey(task)

function counted(course: Course, phrase: string): number {
  return course.events().filter((message) => message.includes(phrase)).length
}

function hostOf(hosts: readonly InstanceRow[], index: number): InstanceRow {
  const host = hosts[index]
  if (host === undefined) throw new Error(`there is no host ${index}`)
  return host
}

/** What the host's agent says of its engine. */
function engine({ instanceId }: InstanceRow, engineSilentForMs: number): (tx: Transaction, now: number) => void {
  return (tx, now) => applyHostReport(tx, instanceId, { engineSilentForMs }, now)
}

const daemon: Partial<Input<'CreateService'>> = { schedulingStrategy: 'DAEMON' }

await test('4 tasks, 50/100: 2 old stop, 2 new start, 2 old stop, 2 new start', async (t) => {
  const course = await steady({ desiredCount: 4, ...percent(50, 100) })
  await course.update({ taskDefinition: 'web:2' })
  await agents(course, 5)
  t.same(course.lines, [
    'web:2 deployed | stops 2 of web:1 | web:1 2 healthy 2 stopping',
    'agents | starts 2 of web:2 | web:1 2 healthy, web:2 2 starting',
    'agents | stops 2 of web:1 | web:1 2 stopping, web:2 2 healthy',
    'agents | starts 2 of web:2 | web:2 2 starting 2 healthy',
    'agents | web:2 4 healthy',
    'agents | web:2 4 healthy',
  ])
  await course.close()
})

await test('4 tasks, 100/150: 2 new start, 2 old stop, 2 new start, 2 old stop', async (t) => {
  const course = await steady({ desiredCount: 4, ...percent(100, 150) })
  await course.update({ taskDefinition: 'web:2' })
  await agents(course, 5)
  t.same(course.lines, [
    'web:2 deployed | starts 2 of web:2 | web:1 4 healthy, web:2 2 starting',
    'agents | stops 2 of web:1 | web:1 2 healthy 2 stopping, web:2 2 healthy',
    'agents | starts 2 of web:2 | web:1 2 healthy, web:2 2 starting 2 healthy',
    'agents | stops 2 of web:1 | web:1 2 stopping, web:2 4 healthy',
    'agents | web:2 4 healthy',
    'agents | web:2 4 healthy',
  ])
  await course.close()
})

await test('a rolling update with the default percentages, and its events', async (t) => {
  const course = await steady({ desiredCount: 2 })
  await course.update({ taskDefinition: 'web:2' })
  // One of the new tasks is slower than the other.
  const [slow] = course.tasks().filter(({ taskDefinitionArn }) => taskDefinitionArn.endsWith('web:2'))
  await course.agents((task) => (task.taskId === slow?.taskId ? undefined : obey(task)))
  await agents(course, 2)
  await course.pass(10_000)
  t.same(course.lines, [
    'web:2 deployed | starts 2 of web:2 | web:1 2 healthy, web:2 2 starting',
    'agents | stops 1 of web:1 | web:1 1 healthy 1 stopping, web:2 1 starting 1 healthy',
    'agents | stops 1 of web:1 | web:1 1 stopping, web:2 2 healthy',
    'agents | web:2 2 healthy',
    '10 s | web:2 2 healthy',
  ])
  t.same(
    course.events().map((message) => message.replaceAll(/[0-9a-f]{32}|[0-9]{19}/g, 'ID')),
    [
      '(service web) (deployment ecs-svc/ID) deployment in progress.',
      '(service web) has started 2 tasks: (task ID) (task ID).',
      '(service web) (deployment ecs-svc/ID) deployment completed.',
      '(service web) has reached a steady state.',
      '(service web) (deployment ecs-svc/ID) deployment in progress.',
      '(service web) has started 2 tasks: (task ID) (task ID).',
      // The second joined the first.
      '(service web) has stopped 2 running tasks: (task ID) (task ID).',
      '(service web) (deployment ecs-svc/ID) deployment completed.',
      '(service web) has reached a steady state.',
    ],
  )
  await course.close()
})

await test('rollback by hand in the middle of an update: what was never completed goes first', async (t) => {
  const course = await steady({ desiredCount: 4, ...percent(100, 150) })
  await course.update({ taskDefinition: 'web:2' })
  await course.agents()
  await course.update({ taskDefinition: 'web:1' })
  await agents(course, 5)
  t.same(course.lines, [
    'web:2 deployed | starts 2 of web:2 | web:1 4 healthy, web:2 2 starting',
    'agents | stops 2 of web:1 | web:1 2 healthy 2 stopping, web:2 2 healthy',
    'web:1 deployed | web:1 2 healthy 2 stopping, web:2 2 healthy',
    'agents | starts 2 of web:1 | web:1 2 starting 2 healthy, web:2 2 healthy',
    'agents | stops 2 of web:2 | web:1 4 healthy, web:2 2 stopping',
    'agents | starts 2 of web:1 | web:1 2 starting 4 healthy',
    'agents | stops 2 of web:1 | web:1 4 healthy 2 stopping',
    'agents | web:1 4 healthy',
  ])
  await course.close()
})

await test('scaled out and in during an update', async (t) => {
  const course = await steady({ desiredCount: 4, ...percent(50, 100) })
  await course.update({ taskDefinition: 'web:2' })
  await course.agents()
  await course.update({ desiredCount: 6 })
  await course.agents()
  await course.update({ desiredCount: 2 })
  await agents(course, 2)
  t.same(course.lines, [
    'web:2 deployed | stops 2 of web:1 | web:1 2 healthy 2 stopping',
    'agents | starts 2 of web:2 | web:1 2 healthy, web:2 2 starting',
    'scaled to 6 | starts 2 of web:2 | web:1 2 healthy, web:2 4 starting',
    'agents | stops 2 of web:1 | web:1 2 stopping, web:2 4 healthy',
    'scaled to 2 | stops 2 of web:2 | web:1 2 stopping, web:2 2 healthy 2 stopping',
    'agents | web:2 2 healthy',
    'agents | web:2 2 healthy',
  ])
  await course.close()
})

await test('a second deployment in the middle of the first: what has not started yet never does', async (t) => {
  const course = await steady({ desiredCount: 4, ...percent(100, 150) })
  await course.update({ taskDefinition: 'web:2' })
  await agents(course, 2)
  await course.update({ taskDefinition: 'web:3' })
  await agents(course, 5)
  t.same(course.lines, [
    'web:2 deployed | starts 2 of web:2 | web:1 4 healthy, web:2 2 starting',
    'agents | stops 2 of web:1 | web:1 2 healthy 2 stopping, web:2 2 healthy',
    'agents | starts 2 of web:2 | web:1 2 healthy, web:2 2 starting 2 healthy',
    'web:3 deployed | stops 2 of web:2 | web:1 2 healthy, web:2 2 healthy 2 stopping',
    'agents | starts 2 of web:3 | web:1 2 healthy, web:2 2 healthy, web:3 2 starting',
    'agents | stops 2 of web:2 | web:1 2 healthy, web:2 2 stopping, web:3 2 healthy',
    'agents | starts 2 of web:3 | web:1 2 healthy, web:3 2 starting 2 healthy',
    'agents | stops 2 of web:1 | web:1 2 stopping, web:3 4 healthy',
    'agents | web:3 4 healthy',
  ])
  await course.close()
})

await test('a host whose engine does not answer keeps its daemon, gets no task, and is taken back at once', async (t) => {
  const hosts = hostsOf(2)
  const [first, second] = [hostOf(hosts, 0), hostOf(hosts, 1)]
  const course = await steady({ ...daemon }, { hosts: [first] })
  await course.change('the engine of one goes', engine(first, 6000))
  await course.change('host two registers', (tx) => {
    tx.put('instance', second.instanceId, second)
    engine(second, 6000)(tx, course.now())
  })
  await course.create({ serviceName: 'shop', desiredCount: 1, taskDefinition: 'web:3' })
  t.equal(course.service()?.desiredCount, 1, 'the daemon does not count on the second host')
  await course.change('the engine of two comes', engine(second, 0))
  t.equal(course.service()?.desiredCount, 2)
  t.same(course.lines, [
    'the engine of one goes | web:1 1 healthy',
    'host two registers | web:1 1 healthy',
    'shop created | web:1 1 healthy',
    'the engine of two comes | starts 1 of web:1, starts 1 of web:3 | web:1 1 starting 1 healthy, web:3 1 starting',
  ])
  t.ok(
    course.events('shop').some((message) => message.includes('2 have Docker Engines that do not answer')),
    'the service says why it waited',
  )
  t.ok(course.tasks('shop').every(({ instanceId }) => instanceId === second.instanceId))
  await course.close()
})

await test('a daemon comes to a new host, is updated host by host, and leaves a draining one last', async (t) => {
  const hosts = hostsOf(3)
  const course = await steady({ ...daemon, ...percent(60, 100) }, { hosts: hosts.slice(0, 2) })
  const third = hostOf(hosts, 2)
  await course.change('host three registers', (tx) => tx.put('instance', third.instanceId, third))
  t.equal(course.service()?.desiredCount, 3, 'the desired count is the number of its instances')
  await course.agents()
  await course.update({ taskDefinition: 'web:2' })
  await agents(course, 6)
  t.same(course.lines.splice(0), [
    'host three registers | starts 1 of web:1 | web:1 1 starting 2 healthy',
    'agents | web:1 3 healthy',
    'web:2 deployed | stops 1 of web:1 | web:1 2 healthy 1 stopping',
    'agents | starts 1 of web:2 | web:1 2 healthy, web:2 1 starting',
    'agents | stops 1 of web:1 | web:1 1 healthy 1 stopping, web:2 1 healthy',
    'agents | starts 1 of web:2 | web:1 1 healthy, web:2 1 starting 1 healthy',
    'agents | stops 1 of web:1 | web:1 1 stopping, web:2 2 healthy',
    'agents | starts 1 of web:2 | web:2 1 starting 2 healthy',
    'agents | web:2 3 healthy',
  ])

  await course.create({ serviceName: 'shop', desiredCount: 3, taskDefinition: 'web:3' })
  await course.settle()
  course.lines.splice(0)
  await course.drain(hostOf(hosts, 0))
  await agents(course, 3)
  t.same(course.lines, [
    'host one drains | starts 1 of web:3 | web:2 2 healthy 1 leaving, web:3 1 starting 2 healthy 1 leaving',
    'agents | stops 1 of web:3 | web:2 2 healthy 1 leaving, web:3 3 healthy 1 stopping',
    'agents | stops 1 of web:2 | web:2 2 healthy 1 stopping, web:3 3 healthy',
    'agents | web:2 2 healthy, web:3 3 healthy',
  ])
  t.equal(course.service()?.desiredCount, 2)
  await course.close()
})

await test('a daemon leaves an instance that stops meeting its constraints, and says so', async (t) => {
  const hosts = hostsOf(2)
  const placementConstraints = [
    { type: 'memberOf', expression: 'attribute:ecs.availability-zone == us-east-1b' },
  ] as const
  const course = await steady({ ...daemon, placementConstraints: [...placementConstraints] }, { hosts })
  t.equal(course.service()?.desiredCount, 1)
  await course.change('host one moves to zone b, host two out of it', (tx) => {
    for (const [index, zone] of ['us-east-1b', 'us-east-1a'].entries()) {
      const host = tx.get('instance', hostOf(hosts, index).instanceId) ?? hostOf(hosts, index)
      tx.put('instance', host.instanceId, { ...host, attributes: [{ name: 'ecs.availability-zone', value: zone }] })
    }
  })
  await course.settle()
  t.same(course.lines, [
    'host one moves to zone b, host two out of it | starts 1 of web:1, stops 1 of web:1 | web:1 1 starting 1 stopping',
  ])
  t.same(
    course
      .tasks()
      .filter(({ lastStatus }) => lastStatus === 'RUNNING')
      .map(({ instanceId }) => instanceId),
    [hostOf(hosts, 0).instanceId],
  )
  const news = course
    .turn()
    .reader.find('serviceEvent', 'byService', 'default/web')
    .map(({ eventName }) => eventName)
  t.ok(news.includes('SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED'))
  await course.close()
})

await test('a draining host loses its tasks once their replacements are healthy', async (t) => {
  const hosts = hostsOf(3)
  const course = await steady({ desiredCount: 3 }, { hosts })
  await course.drain(hostOf(hosts, 0))
  await agents(course, 2)
  await course.pass(1000)
  t.same(course.lines, [
    'host one drains | starts 1 of web:1 | web:1 1 starting 2 healthy 1 leaving',
    'agents | stops 1 of web:1 | web:1 3 healthy 1 stopping',
    'agents | web:1 3 healthy',
    '1 s | web:1 3 healthy',
  ])
  t.equal(counted(course, 'has reached a steady state'), 2)
  await course.close()
})

await test('the only host drains: the minimum says how many tasks stay on it', async (t) => {
  const hosts = hostsOf(2)
  const course = await steady({ desiredCount: 2, ...percent(50, 200) }, { hosts: hosts.slice(0, 1) })
  await course.drain(hostOf(hosts, 0))
  await course.agents()
  await course.update({ deploymentConfiguration: { minimumHealthyPercent: 0 } }, 'the minimum is 0')
  await course.agents()
  const second = hostOf(hosts, 1)
  await course.change('host two registers', (tx) => tx.put('instance', second.instanceId, second))
  t.same(course.lines, [
    'host one drains | stops 1 of web:1 | web:1 1 leaving 1 stopping',
    'agents | web:1 1 leaving',
    'the minimum is 0 | stops 1 of web:1 | web:1 1 stopping',
    'agents | none',
    'host two registers | starts 2 of web:1 | web:1 2 starting',
  ])
  t.match(
    course.events().find((message) => message.includes('unable to place')),
    /1 is draining/,
  )
  await course.close()
})

await test('what one service gives back goes to the one that waits for it, in the same turn as it is heard of', async (t) => {
  const course = await steady({ desiredCount: 8 }, { hosts: hostsOf(1) })
  await course.create({ serviceName: 'shop', desiredCount: 1, taskDefinition: 'web:2' })
  await course.update({ desiredCount: 7 })
  await course.agents()
  t.same(course.lines, [
    'shop created | web:1 8 healthy',
    'scaled to 7 | stops 1 of web:1 | web:1 7 healthy 1 stopping',
    'agents | starts 1 of web:2 | web:1 7 healthy, web:2 1 starting',
  ])
  await course.close()
})

await test('what an agent is told and acknowledges concerns no service', async (t) => {
  const host = hostOf(hostsOf(1), 0)
  const task = aTask({ serviceKey: 'default/web', instanceId: host.instanceId })
  const waiting = { since: testNow, at: testNow, sentence: 'no instance matched', counts: [], nearest: [] }
  const state = aState({
    instance: [host],
    task: [task],
    service: [aService(), aService({ serviceName: 'logs', schedulingStrategy: 'DAEMON' })],
    deployment: [aDeployment({ waiting })],
  })
  const concerns = serviceDecider.concerns.bind(serviceDecider)
  const { taskId } = task
  const { instanceId } = host
  t.same(concerns(state, 'task', taskId, { ...task, seqNum: 7, acknowledgedSeqNum: 7, version: 9 }), [])
  t.same(concerns(state, 'instance', instanceId, { ...host, seqNum: 7, connectivityAt: 1, version: 9 }), [])
  t.same(concerns(state, 'task', taskId, { ...task, lastStatus: 'PROVISIONING' }), ['default/web'])
  t.same(concerns(state, 'task', taskId, undefined), ['default/web'])
  t.same(concerns(state, 'instance', instanceId, { ...host, agentConnected: false }), ['default/logs', 'default/web'])
  t.same(concerns(state, 'instance', instanceId, { ...host, hostTcpPorts: [80] }), ['default/logs', 'default/web'])
})

await test('a lost host is replaced; when it comes back before that, what was not replaced stays', async (t) => {
  const hosts = hostsOf(3)
  const course = await steady({ desiredCount: 4 }, { hosts })
  await course.lose(hostOf(hosts, 0))
  // One of the two replacements runs before the host is back.
  const [slow] = course.tasks().filter(({ lastStatus }) => lastStatus === 'PENDING')
  await course.agents((task) => (task.taskId === slow?.taskId ? undefined : obey(task)))
  await course.bringBack(hostOf(hosts, 0))
  await agents(course, 2)
  t.same(course.lines, [
    'host one lost | starts 2 of web:1 | web:1 2 starting 2 healthy 2 lost',
    'agents | web:1 1 starting 3 healthy 2 lost',
    'host one back | stops 2 of web:1 | web:1 4 healthy 2 stopping',
    'agents | web:1 4 healthy',
    'agents | web:1 4 healthy',
  ])
  await course.close()
})

await test('nothing is replaced while the cluster holds back after a mass loss', async (t) => {
  const hosts = hostsOf(3)
  const course = await steady({ desiredCount: 6 }, { hosts })
  await course.change('replacement is paused', (tx, now) => {
    tx.put('cluster', 'default', { ...aCluster(), replacementPausedSince: now })
  })
  await course.lose(hostOf(hosts, 0))
  await course.lose(hostOf(hosts, 1))
  await course.update({ desiredCount: 7 })
  await course.agents()
  await course.bringBack(hostOf(hosts, 0))
  await course.change('the pause ends', (tx) => tx.put('cluster', 'default', aCluster()))
  t.same(course.lines, [
    'replacement is paused | web:1 6 healthy',
    'host one lost | web:1 4 healthy 2 lost',
    'host two lost | web:1 2 healthy 4 lost',
    'scaled to 7 | starts 1 of web:1 | web:1 1 starting 2 healthy 4 lost',
    'agents | web:1 3 healthy 4 lost',
    'host one back | web:1 5 healthy 2 lost',
    'the pause ends | starts 2 of web:1 | web:1 2 starting 5 healthy 2 lost',
  ])
  await course.close()
})

await test('a host that was lost before does not keep a crashed task from its replacement during a pause', async (t) => {
  const hosts = hostsOf(3)
  const course = await steady({ desiredCount: 6 }, { hosts })
  await course.lose(hostOf(hosts, 0))
  await course.settle()
  await course.pass(600_000)
  await course.change('replacement is paused', (tx, now) => {
    tx.put('cluster', 'default', { ...aCluster(), replacementPausedSince: now, lossWindowSince: now })
  })
  await course.lose(hostOf(hosts, 1))
  course.lines.splice(0)
  const [crashed] = course.tasks().filter((task) => task.lastStatus === 'RUNNING' && task.lostSince === undefined)
  await course.agents((task) => (task.taskId === crashed?.taskId ? 'fails' : obey(task)))
  t.same(course.lines, ['agents | starts 1 of web:1 | web:1 1 starting 2 healthy 5 lost'])
  await course.close()
})

await test('lost tasks of an old deployment end when their host is back', async (t) => {
  const hosts = hostsOf(3)
  const course = await steady({ desiredCount: 3 }, { hosts })
  await course.lose(hostOf(hosts, 0))
  await course.update({ taskDefinition: 'web:2' })
  await course.settle()
  await course.pass(10_000)
  t.match(course.events().at(-1), /has reached a steady state/)
  course.lines.splice(0)
  await course.bringBack(hostOf(hosts, 0))
  await course.agents()
  t.same(course.lines, ['host one back | web:1 1 stopping, web:2 3 healthy', 'agents | web:2 3 healthy'])
  await course.close()
})

await test('a host that is back serves on with its old tasks while the new ones fail', async (t) => {
  const hosts = hostsOf(2)
  const course = await steady({ desiredCount: 4, ...percent(100, 150) }, { hosts })
  await course.lose(hostOf(hosts, 0))
  await course.update({ taskDefinition: 'web:2' })
  await course.agents(secondFails)
  await course.bringBack(hostOf(hosts, 0))
  await course.agents(secondFails)
  t.same(
    course
      .tasks()
      .filter(({ lastStatus, desiredStatus }) => lastStatus === 'RUNNING' && desiredStatus === 'RUNNING')
      .map(({ taskDefinitionArn }) => taskDefinitionArn.slice(-5)),
    ['web:1', 'web:1', 'web:1', 'web:1'],
    course.lines.join('\n'),
  )
  await course.close()
})

await test('a deleted service ends with its last task; lost ones are not waited for', async (t) => {
  const hosts = hostsOf(2)
  const course = await steady({ desiredCount: 4 }, { hosts })
  await course.lose(hostOf(hosts, 0))
  await course.remove()
  t.equal(course.service()?.status, 'DRAINING')
  await course.settle()
  t.equal(course.service()?.status, 'INACTIVE')
  t.same(
    course
      .turn()
      .reader.all('deployment')
      .map(({ status }) => status),
    ['INACTIVE'],
  )
  await course.bringBack(hostOf(hosts, 0))
  await course.settle()
  t.ok(course.tasks().every(({ lastStatus }) => lastStatus === 'STOPPED'))
  await course.close()
})

await test('a restart of the controller replaces nothing, in the middle of an update either', async (t) => {
  const course = await steady({ desiredCount: 4, ...percent(100, 150) })
  await course.restart()
  await course.update({ taskDefinition: 'web:2' })
  await course.restart()
  await course.agents()
  await course.restart()
  t.same(course.lines, [
    'controller restarted | web:1 4 healthy',
    'web:2 deployed | starts 2 of web:2 | web:1 4 healthy, web:2 2 starting',
    'controller restarted | web:1 4 healthy, web:2 2 starting',
    'agents | stops 2 of web:1 | web:1 2 healthy 2 stopping, web:2 2 healthy',
    'controller restarted | web:1 2 healthy 2 stopping, web:2 2 healthy',
  ])
  await course.close()
})

await test('unhealthy tasks: their grace, their replacement, and one at a time where there is no room', async (t) => {
  const [plain] = revisions(1)
  const checked = aTaskDefinition({
    containerDefinitions: (plain?.containerDefinitions ?? []).map((container) => ({
      ...container,
      healthCheck: { command: ['CMD-SHELL', 'true'] },
    })),
  })
  await t.test('with room, the replacement comes first', async (part) => {
    const course = await steady({ desiredCount: 2, healthCheckGracePeriodSeconds: 60 }, { definitions: [checked] })
    const behave = sick(course.tasks().slice(0, 1))
    await course.agents(behave)
    await course.pass(60_000)
    await agents(course, 3, behave)
    part.same(course.lines, [
      'agents | web:1 1 healthy 1 unhealthy',
      '60 s | starts 1 of web:1 | web:1 1 starting 1 healthy 1 unhealthy',
      'agents | web:1 1 starting 1 healthy 1 unhealthy',
      'agents | stops 1 of web:1 | web:1 2 healthy 1 stopping',
      'agents | web:1 2 healthy',
    ])
    part.equal(counted(course, 'failed container health checks.'), 1)
    const ended = course.tasks().find(({ lastStatus }) => lastStatus === 'STOPPED')
    part.equal(ended?.stoppedReason, 'Task failed container health checks')
    await course.close()
  })
  await t.test('without room, one goes first', async (part) => {
    const course = await steady({ desiredCount: 3, ...percent(0, 100) }, { definitions: [checked] })
    const behave = sick(course.tasks().slice(0, 2))
    await course.agents(behave)
    await course.agents(behave)
    await course.pass(1000)
    await agents(course, 3, behave)
    await course.agents(behave)
    part.same(course.lines, [
      'agents | stops 1 of web:1 | web:1 1 healthy 1 unhealthy 1 stopping',
      'agents | web:1 1 healthy 1 unhealthy',
      // The pause after a failure.
      '1 s | starts 1 of web:1 | web:1 1 starting 1 healthy 1 unhealthy',
      'agents | web:1 1 starting 1 healthy 1 unhealthy',
      'agents | stops 1 of web:1 | web:1 2 healthy 1 stopping',
      'agents | web:1 2 healthy',
      'agents | web:1 2 healthy',
    ])
    await course.close()
  })
})

await test('a release whose health checks fail', async (t) => {
  const [plain] = revisions(1)
  const checked = [1, 2].map((revision) =>
    aTaskDefinition({
      revision,
      containerDefinitions: (plain?.containerDefinitions ?? []).map((container) => ({
        ...container,
        healthCheck: { command: ['CMD-SHELL', 'true'] },
      })),
    }),
  )
  await t.test('aborted: what is not healthy of it goes, and a drain goes on', async (part) => {
    const hosts = hostsOf(3)
    const course = await steady({ desiredCount: 4, healthCheckGracePeriodSeconds: 60 }, { definitions: checked, hosts })
    await course.update({ taskDefinition: 'web:2', ...percent(75, 200) })
    await agents(course, 2, secondIsSick)
    await course.change('aborted', (tx, now) => {
      const service = tx.get('service', 'default/web')
      const primary = primaryOf(tx, 'default/web')
      if (service !== undefined && primary !== undefined) abortDeployment(tx, service, primary, now, aWorld())
    })
    await agents(course, 1, secondIsSick)
    await course.drain(hostOf(hosts, 1))
    await agents(course, 1, secondIsSick)
    part.same(course.lines, [
      'web:2 deployed | starts 4 of web:2 | web:1 4 healthy, web:2 4 starting',
      'agents | web:1 4 healthy, web:2 4 starting',
      'agents | web:1 4 healthy, web:2 4 unhealthy',
      'aborted | stops 4 of web:2 | web:1 4 healthy, web:2 4 stopping',
      'agents | web:1 4 healthy',
      'host two drains | stops 1 of web:1 | web:1 3 healthy 1 stopping',
      'agents | web:1 3 healthy',
    ])
    part.equal(counted(course, 'has failed, and 4 of its tasks that are not healthy are stopped'), 1)
    await course.close()
  })
  await t.test('rolled back: all of it goes at once', async (part) => {
    const course = await steady({ desiredCount: 3 }, { definitions: checked })
    const deploymentCircuitBreaker = { enable: true, rollback: true }
    await course.update({ taskDefinition: 'web:2', deploymentConfiguration: { deploymentCircuitBreaker } })
    await agents(course, 3, secondIsSick)
    part.same(course.lines, [
      'web:2 deployed | starts 3 of web:2 | web:1 3 healthy, web:2 3 starting',
      'agents | web:1 3 healthy, web:2 3 starting',
      'agents | stops 3 of web:2 | web:1 3 healthy, web:2 3 stopping',
      'agents | web:1 3 healthy',
    ])
    part.equal(counted(course, 'deployment failed: tasks failed to start.'), 1)
    part.match(course.events().at(-1), /steady state|rollback completed/)
    await course.close()
  })
})

await test('protected tasks stay, and the events say why the service waits', async (t) => {
  const course = await steady({ desiredCount: 3 })
  const tasks = course.tasks()
  await course.change('two are protected', (tx, now) => {
    for (const task of tasks.slice(0, 2)) tx.put('task', task.taskId, { ...task, protectedUntil: now + 60_000 })
  })
  await course.update({ desiredCount: 0 })
  await course.agents()
  await course.pass(60_000)
  t.same(course.lines, [
    'two are protected | web:1 3 healthy',
    'scaled to 0 | stops 1 of web:1 | web:1 2 healthy 1 stopping',
    'agents | web:1 2 healthy',
    '60 s | stops 2 of web:1 | web:1 2 stopping',
  ])
  t.equal(counted(course, 'they have task scale-in protection'), 1)
  await course.close()
})

await test('a release that crashes after its start takes nothing down; one that stays up goes on', async (t) => {
  const course = await steady({ desiredCount: 3 }, { hosts: hostsOf(2) })
  await course.update({ taskDefinition: 'web:2' })
  await course.change('web:2 runs', (tx, now) => reportOfSecond(tx, 'RUNNING', now))
  await course.pass(5000)
  await course.change('and crashes', (tx, now) => reportOfSecond(tx, 'STOPPED', now))
  await course.pass(5000)
  t.same(course.lines, [
    'web:2 deployed | starts 3 of web:2 | web:1 3 healthy, web:2 3 starting',
    'web:2 runs | web:1 3 healthy, web:2 3 healthy',
    '5 s | web:1 3 healthy, web:2 3 healthy',
    'and crashes | web:1 3 healthy',
    '5 s | starts 3 of web:2 | web:1 3 healthy, web:2 3 starting',
  ])
  await course.agents()
  t.match(course.lines.at(-1), /web:1 3 stopping/, 'once they have stayed up, the old ones go')
  await course.close()
})

await test('what is healthy beside a failure proves itself, though no other task is wanted any more', async (t) => {
  const course = await steady({ desiredCount: 2 })
  await course.update({ taskDefinition: 'web:2' })
  await course.change('web:2 runs', (tx, now) => reportOfSecond(tx, 'RUNNING', now))
  await course.pass(1000)
  await course.change('one crashes', (tx, now) => {
    const [task] = tx.all('task').filter(({ taskDefinitionArn }) => taskDefinitionArn.endsWith('web:2'))
    const containers = [{ containerName: 'app', status: 'STOPPED', exitCode: 1 }]
    if (task !== undefined) {
      tx.put('task', task.taskId, taskAfterReport(task, { status: 'STOPPED', containers }, undefined, now))
    }
  })
  await course.update({ desiredCount: 1 })
  t.match(course.lines.at(-1), /web:1 [12] healthy.*web:2 1 healthy$/, 'the older ones stay until then')
  await course.pass(10_000)
  await course.settle()
  await course.pass(10_000)
  t.match(course.events().at(-1), /has reached a steady state/, course.lines.join('\n'))
  await course.close()
})

await test('no place for a task: told once, with the nearest instance, and gone on with when there is room', async (t) => {
  const hosts = hostsOf(2)
  const [first, second] = [revisions(1), revisions(2, { cpu: '768' }).slice(1)]
  const course = await steady({ desiredCount: 4 }, { hosts: hosts.slice(0, 1), definitions: [...first, ...second] })
  await course.update({ taskDefinition: 'web:2' })
  await course.agents()
  for (let retry = 0; retry < 3; retry += 1) await course.pass(30_000)
  t.equal(counted(course, 'was unable to place a task'), 1)
  t.match(
    course.events().find((message) => message.includes('was unable to place a task')),
    `(service web) was unable to place a task because no container instance met all of its requirements. The closest ` +
      `matching (container-instance ${hostOf(hosts, 0).instanceId}) has insufficient CPU units available.`,
  )
  const waiting = course.turn().reader.find('deployment', 'waitingByCluster', 'default')[0]?.waiting
  t.match(waiting, { since: testNow + 20_000, at: testNow + 120_000 }, 'since it waits, and when it was tried last')
  await course.change('host two registers', (tx) => tx.put('instance', hostOf(hosts, 1).instanceId, hostOf(hosts, 1)))
  await course.settle()
  t.same(course.turn().reader.find('deployment', 'waitingByCluster', 'default'), [])
  t.equal(course.tasks().filter(({ lastStatus }) => lastStatus === 'RUNNING').length, 4)
  t.same(course.lines, [
    'web:2 deployed | starts 1 of web:2 | web:1 4 healthy, web:2 1 starting',
    'agents | stops 1 of web:1 | web:1 3 healthy 1 stopping, web:2 1 healthy',
    '30 s | web:1 3 healthy 1 stopping, web:2 1 healthy',
    '30 s | web:1 3 healthy 1 stopping, web:2 1 healthy',
    '30 s | web:1 3 healthy 1 stopping, web:2 1 healthy',
    'host two registers | starts 2 of web:2 | web:1 3 healthy 1 stopping, web:2 2 starting 1 healthy',
  ])
  await course.close()
})

await test('a full host and a minimum of 100: the event and why name the minimum that keeps the old tasks', async (t) => {
  const definitions = revisions(2, { cpu: '512' })
  const course = await steady({ desiredCount: 4 }, { hosts: hostsOf(1), definitions })
  await course.update({ taskDefinition: 'web:2' })
  const advice =
    "Tasks of the service's older deployments may hold what is wanting, and minimumHealthyPercent 100 of 4 desired " +
    'keeps 4 healthy: with a lower one, they can end first.'
  t.match(course.events().at(-1), /was unable to place a task .*4 healthy: with a lower one, they can end first\.$/)
  t.ok(course.events().at(-1)?.endsWith(advice))
  const { reader } = course.turn()
  const [service] = reader.all('service')
  if (service === undefined) throw new Error('there is a service')
  t.ok(explainService(reader, service, testNow + 60_000, aWorld()).next.includes(advice))
  await course.close()
})

await test('a full host and room under the percentages: old tasks make room where the minimum allows it', async (t) => {
  const definitions = revisions(2, { cpu: '512' })
  const course = await steady({ desiredCount: 4, ...percent(50, 200) }, { hosts: hostsOf(1), definitions })
  await course.update({ taskDefinition: 'web:2' })
  await agents(course, 4)
  t.same(course.lines, [
    'web:2 deployed | stops 2 of web:1 | web:1 2 healthy 2 stopping',
    'agents | starts 2 of web:2 | web:1 2 healthy, web:2 2 starting',
    'agents | stops 2 of web:1 | web:1 2 stopping, web:2 2 healthy',
    'agents | starts 2 of web:2 | web:2 2 starting 2 healthy',
    'agents | web:2 4 healthy',
  ])
  await course.close()
})

await test('a cap on tasks for each instance: an update makes room under it', async (t) => {
  const placementConstraints = [{ type: 'memberOf', expression: 'runningTasksCount < 2' }] as const
  const course = await steady(
    { desiredCount: 2, ...percent(50, 200), placementConstraints: [...placementConstraints] },
    { hosts: hostsOf(1) },
  )
  await course.update({ taskDefinition: 'web:2' })
  await course.settle()
  t.same(
    course
      .tasks()
      .filter(({ lastStatus }) => lastStatus === 'RUNNING')
      .map(({ taskDefinitionArn }) => taskDefinitionArn.slice(-5)),
    ['web:2', 'web:2'],
  )
  await course.close()
})

await test('percentages that allow nothing are told once, with what to do', async (t) => {
  const course = await steady({ desiredCount: 1, ...percent(100, 150) })
  await course.update({ taskDefinition: 'web:2' })
  await course.agents()
  await course.pass(60_000)
  t.same(course.lines, ['web:2 deployed | web:1 1 healthy', 'agents | web:1 1 healthy', '60 s | web:1 1 healthy'])
  t.equal(counted(course, 'because of the service deployment configuration'), 1)
  t.match(course.events().at(-1), /minimumHealthyPercent 100 \(rounded up\) keeps 1 healthy/)
  course.lines.splice(0)
  await course.update({ deploymentConfiguration: { maximumPercent: 200 } }, 'maximumPercent is 200')
  await agents(course, 2)
  t.same(course.lines, [
    'maximumPercent is 200 | starts 1 of web:2 | web:1 1 healthy, web:2 1 starting',
    'agents | stops 1 of web:1 | web:1 1 stopping, web:2 1 healthy',
    'agents | web:2 1 healthy',
  ])
  await course.close()
})

await test('a task of a service is told from others', async (t) => {
  const course = await aCourse({
    hosts: hostsOf(1),
    definitions: revisions(1, { tags: [{ key: 'of', value: 'web' }] }),
  })
  await course.create({ desiredCount: 1, propagateTags: 'TASK_DEFINITION', enableECSManagedTags: true })
  const [task] = course.tasks()
  const deployment = course.turn().reader.all('deployment')[0]
  t.match(task, {
    group: 'service:web',
    startedBy: deployment?.id,
    deploymentId: deployment?.id,
    launchType: 'EC2',
    tags: [
      { key: 'of', value: 'web' },
      { key: 'aws:ecs:clusterName', value: 'default' },
      { key: 'aws:ecs:serviceName', value: 'web' },
    ],
  })
  t.match(task?.placement, { considered: 1, able: 1 })
  await course.agents()
  await course.update({ desiredCount: 0 })
  t.match(course.tasks()[0], {
    desiredStatus: 'STOPPED',
    stopCode: 'ServiceSchedulerInitiated',
    stoppedReason: `Scaling activity initiated by (deployment ${deployment?.id})`,
  })
  await course.close()
})

function aLargeHost(): InstanceRow {
  return anInstance({
    registeredResources: [
      { name: 'CPU', type: 'INTEGER', integerValue: 1_000_000 },
      { name: 'MEMORY', type: 'INTEGER', integerValue: 1_000_000 },
    ],
  })
}

await test('however many tasks of a deleted service are lost, none is forgotten', async (t) => {
  const host = aLargeHost()
  const course = await steady({ desiredCount: 700 }, { hosts: [host] })
  await course.lose(host)
  await course.remove()
  t.equal(course.service()?.status, 'INACTIVE')
  await course.bringBack(host)
  await course.settle()
  t.equal(course.tasks().filter(({ lastStatus }) => lastStatus !== 'STOPPED').length, 0)
  await course.close()
})

await test('lost tasks of old deployments are given up in portions', async (t) => {
  const old = aDeployment({ status: 'ACTIVE' })
  const lost = Array.from({ length: 700 }, () =>
    aTask({ serviceKey: 'default/web', deploymentId: old.id, lastStatus: 'RUNNING', lostSince: testNow }),
  )
  const service = aService({ desiredCount: 0 })
  const state = aState({ service: [service], deployment: [aDeployment(), old], task: lost })
  const stopped = (): number => state.all('task').filter(({ desiredStatus }) => desiredStatus === 'STOPPED').length
  for (const expected of [500, 700]) {
    inTransaction(state, (tx) => serviceDecider.decide(tx, 'default/web', testNow, aWorld()))
    t.equal(stopped(), expected)
  }
})

await test('a large service is started and stopped in portions', async (t) => {
  const course = await aCourse({ hosts: [aLargeHost()] })
  await course.create({ desiredCount: 1200 })
  t.equal(course.tasks().length, 1200)
  t.equal(counted(course, 'and 1190 more.'), 1, 'one event tells it all')
  t.equal(counted(course, 'has started 1200 tasks'), 1)
  await course.settle()
  await course.pass(10_000)
  t.match(course.events().at(-1), /has reached a steady state/)
  await course.update({ desiredCount: 0 })
  await course.settle()
  t.equal(counted(course, 'has stopped 1200 running tasks'), 1)
  await course.close()

  const service = aService({ desiredCount: 1200 })
  const instance = [aLargeHost()]
  const state = aState({ service: [service], deployment: [aDeployment()], instance, taskDefinition: revisions(1) })
  for (const expected of [500, 1000, 1200]) {
    inTransaction(state, (tx) => serviceDecider.decide(tx, 'default/web', testNow, aWorld(expected)))
    t.equal(state.all('task').length, expected)
  }
})

await test('a service that has what it wants is counted, and none of its tasks is looked at', async (t) => {
  const deployment = aDeployment({ rolloutState: 'COMPLETED' })
  const tasks = Array.from({ length: 50 }, () =>
    aTask({ serviceKey: 'default/web', deploymentId: deployment.id, lastStatus: 'RUNNING', healthyAt: testNow }),
  )
  const service = aService({ desiredCount: 50, steadySince: testNow })
  const state = aState({ service: [service], deployment: [deployment], task: tasks, taskDefinition: revisions(1) })
  const decide = (): number => {
    const tx = state.begin()
    let listed = 0
    const watched: Transaction = {
      get: tx.get.bind(tx),
      find(table, index, value) {
        const rows = tx.find(table, index, value)
        if (table === 'task') listed += rows.length
        return rows
      },
      count: tx.count.bind(tx),
      all: tx.all.bind(tx),
      history: tx.history,
      changeLogs: tx.changeLogs.bind(tx),
      put: tx.put.bind(tx),
      delete: tx.delete.bind(tx),
      archiveTask: tx.archiveTask.bind(tx),
      audit: tx.audit.bind(tx),
    }
    serviceDecider.decide(watched, 'default/web', testNow, aWorld())
    state.apply(tx.changes())
    return listed
  }
  t.equal(decide(), 0)
  t.equal(decide(), 0)
  inTransaction(state, (tx) => tx.put('service', 'default/web', { ...service, desiredCount: 49 }))
  t.ok(decide() > 0, 'one has to be chosen now')
})
