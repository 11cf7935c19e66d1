/** Services with an external controller: calls in, the recorded course of their task sets out. */
import { test } from 'tap'
import type { Input, OperationName, Output, TaskSet } from '../../proto/model/types.ts'
import {
  aCall,
  aDeployment,
  anInstance,
  aService,
  aState,
  aTaskDefinition,
  aTaskSet,
  aWorld,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import { decideTaskSets } from '../decide/task-sets.ts'
import { refusal } from '../../test/support/refusal.ts'
import { aCourse, type Behaviour, type Course, hostsOf, obey, revisions } from '../../test/support/service-course.ts'
import { computedDesiredCount } from '../decide/task-set-scale.ts'
import { explainService } from '../decide/why-service.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { deleteService } from './delete-service.ts'
import { describeService } from './describe-service.ts'
import { taskProtectionHandlers } from './task-protection.ts'
import { taskSetHandlers } from './task-sets.ts'

type Operation = keyof typeof taskSetHandlers & OperationName

const world = aWorld(7)
const named = { cluster: 'default', service: 'web' }

interface Sets {
  readonly course: Course
  /** Creates one, and remembers it under the name of its task definition. */
  create(taskDefinition: string, percent?: number, input?: Partial<Input<'CreateTaskSet'>>): Promise<TaskSet>
  scale(taskSet: TaskSet, percent: number): Promise<void>
  makePrimary(taskSet: TaskSet): Promise<void>
  remove(taskSet: TaskSet, force?: boolean): Promise<void>
  /** As DescribeTaskSets answers now; undefined where it has gone. */
  describe(taskSet: TaskSet): TaskSet | undefined
  /** The events of the service, oldest first, with task sets by their task definition. */
  events(): readonly string[]
}

/** A service of four tasks with an external controller on three hosts, and nothing in it. */
async function external(
  input: Partial<Input<'CreateService'>> = {},
  hosts = hostsOf(3),
  definitions = revisions(3),
): Promise<Sets> {
  const course = await aCourse({ hosts, definitions })
  await course.create({
    taskDefinition: undefined,
    desiredCount: 4,
    deploymentController: { type: 'EXTERNAL' },
    ...input,
  })
  course.lines.splice(0)
  const names = new Map<string, string>()
  const nameOf = ({ id = '' }: TaskSet): string => names.get(id) ?? id
  const answers: TaskSet[] = []
  async function call(
    what: string,
    run: (at: Parameters<Parameters<Course['change']>[1]>[0], now: number) => unknown,
  ): Promise<void> {
    await course.change(what, (tx, now) => {
      const { taskSet } = run(tx, now) as { readonly taskSet?: TaskSet }
      if (taskSet !== undefined) answers.push(taskSet)
    })
  }
  return {
    course,
    async create(taskDefinition, percent = 100, over = {}) {
      await call(`task set of ${taskDefinition}, ${percent} %`, (tx, now) =>
        taskSetHandlers.CreateTaskSet.handle(
          tx,
          { ...named, taskDefinition, scale: { value: percent, unit: 'PERCENT' }, ...over },
          aCall({ now }),
          world,
        ),
      )
      const made = answers.at(-1) ?? {}
      names.set(made.id ?? '', taskDefinition)
      return made
    },
    scale: (taskSet, percent) =>
      call(`${nameOf(taskSet)} to ${percent} %`, (tx, now) => {
        const scale = { value: percent, unit: 'PERCENT' } as const
        return taskSetHandlers.UpdateTaskSet.handle(tx, { ...named, taskSet: taskSet.id, scale }, aCall({ now }), world)
      }),
    makePrimary: (taskSet) =>
      call(`${nameOf(taskSet)} primary`, (tx, now) => {
        const wanted = { ...named, primaryTaskSet: taskSet.taskSetArn }
        return taskSetHandlers.UpdateServicePrimaryTaskSet.handle(tx, wanted, aCall({ now }), world)
      }),
    remove: (taskSet, force = false) =>
      call(`${nameOf(taskSet)} deleted`, (tx, now) => {
        const wanted = { ...named, taskSet: taskSet.taskSetArn, force }
        return taskSetHandlers.DeleteTaskSet.handle(tx, wanted, aCall({ now }), world)
      }),
    describe: (taskSet) => describe(course.turn().reader, taskSet.id).taskSets?.[0],
    events: () => course.events().map((message) => message.replace(/ecs-svc\/\d{19}/, (id) => names.get(id) ?? id)),
  }
}

function describe(reader: Reader, ...taskSets: readonly (string | undefined)[]): Output<'DescribeTaskSets'> {
  const input = { ...named, taskSets: taskSets.filter((id) => id !== undefined) }
  return taskSetHandlers.DescribeTaskSets.handle(reader, input, aCall(), world)
}

function shown(course: Course): ReturnType<typeof describeService> {
  const service = course.service()
  if (service === undefined) throw new Error('the service is gone')
  return describeService(course.turn().reader, service, ['TAGS'])
}

function whyOf(course: Course): ReturnType<typeof explainService> {
  const service = course.service()
  if (service === undefined) throw new Error('the service is gone')
  return explainService(course.turn().reader, service, course.now(), world)
}

/** Nothing that is new gets to run. */
function breakNew(task: TaskRow): ReturnType<Behaviour> {
  return task.lastStatus === 'PENDING' ? 'fails' : obey(task)
}

await test('two task sets: the second at half the count, then the first gives way to it', async (t) => {
  const sets = await external()
  const { course } = sets
  const one = await sets.create('web:1')
  await course.agents()
  await sets.makePrimary(one)
  const two = await sets.create('web:2', 50)
  t.match(two, { status: 'ACTIVE', computedDesiredCount: 2, runningCount: 0, stabilityStatus: 'STABILIZING' })
  await course.agents()
  await sets.scale(two, 100)
  await course.agents()
  await sets.makePrimary(two)
  await sets.scale(one, 0)
  await course.agents()
  await sets.remove(one)
  t.same(course.lines.splice(0), [
    'task set of web:1, 100 % | starts 4 of web:1 | web:1 4 starting',
    'agents | web:1 4 healthy',
    'web:1 primary | web:1 4 healthy',
    'task set of web:2, 50 % | starts 2 of web:2 | web:1 4 healthy, web:2 2 starting',
    'agents | web:1 4 healthy, web:2 2 healthy',
    'web:2 to 100 % | starts 2 of web:2 | web:1 4 healthy, web:2 2 starting 2 healthy',
    'agents | web:1 4 healthy, web:2 4 healthy',
    'web:2 primary | web:1 4 healthy, web:2 4 healthy',
    'web:1 to 0 % | stops 4 of web:1 | web:1 4 stopping, web:2 4 healthy',
    'agents | web:2 4 healthy',
    'web:1 deleted | web:2 4 healthy',
  ])
  t.same(
    sets.events().map((message) => message.replaceAll(/ \(task [0-9a-f]{32}\)/g, '')),
    [
      '(service web, taskSet web:1) has started 4 tasks:.',
      '(service web, taskSet web:1) has reached a steady state.',
      '(service web, taskSet web:2) has started 2 tasks:.',
      '(service web, taskSet web:2) has reached a steady state.',
      '(service web, taskSet web:2) has started 2 tasks:.',
      '(service web, taskSet web:2) has reached a steady state.',
      '(service web, taskSet web:1) has stopped 4 running tasks:.',
      '(service web, taskSet web:1) has reached a steady state.',
    ],
  )
  t.match(describe(course.turn().reader, one.id, two.id), {
    taskSets: [{ id: two.id, status: 'PRIMARY', runningCount: 4, stabilityStatus: 'STEADY_STATE' }],
    failures: [{ arn: one.taskSetArn, reason: 'MISSING' }],
  })
  t.match(shown(course), {
    desiredCount: 4,
    runningCount: 4,
    deployments: [],
    taskDefinition: /web:2$/,
    taskSets: [{ id: two.id, status: 'PRIMARY' }],
  })
  for (const task of course.tasks()) {
    t.match(task, { group: 'service:web', startedBy: task.deploymentId, serviceKey: 'default/web' })
    t.ok([one.id, two.id].includes(task.deploymentId))
  }
  await course.update({ desiredCount: 6 })
  await course.agents()
  await course.update({ desiredCount: 1 })
  t.same(
    course.lines,
    [
      'scaled to 6 | starts 2 of web:2 | web:2 2 starting 4 healthy',
      'agents | web:2 6 healthy',
      'scaled to 1 | stops 5 of web:2 | web:2 1 healthy 5 stopping',
    ],
    'task sets follow the count of the service',
  )
  t.match(sets.describe(two), { stabilityStatus: 'STABILIZING', computedDesiredCount: 1 })
  await course.agents()
  t.match(sets.describe(two), { stabilityStatus: 'STEADY_STATE', runningCount: 1 })
  await course.close()
})

await test('a task that ends is replaced, failures are paced, and a task that proves itself ends the pace', async (t) => {
  const sets = await external({ desiredCount: 2 })
  const { course } = sets
  const one = await sets.create('web:1')
  await course.agents()
  const [victim] = course.tasks()
  await course.pass(60_000)
  await course.agents((task) => (task.taskId === victim?.taskId ? 'fails' : obey(task)))
  await course.agents()
  t.same(course.lines.splice(0), [
    'task set of web:1, 100 % | starts 2 of web:1 | web:1 2 starting',
    'agents | web:1 2 healthy',
    '60 s | web:1 2 healthy',
    'agents | starts 1 of web:1 | web:1 1 starting 1 healthy',
    'agents | web:1 2 healthy',
  ])
  await sets.scale(one, 50)
  await course.agents()
  await sets.scale(one, 100)
  const starts: string[] = []
  for (let second = 0; second < 200; second += 1) {
    const before = course.tasks().length
    await course.agents(breakNew)
    await course.pass(1000)
    if (course.tasks().length > before) starts.push(`${(course.now() - testNow) / 1000}`)
  }
  t.ok(starts.length >= 6 && starts.length <= 9, `in 200 s it was tried ${starts.length} times: ${starts.join(' ')}`)
  const impaired = sets.events().filter((message) => message.includes('is unable to consistently start tasks'))
  t.equal(impaired.length, 1, 'told once')
  t.match(impaired[0], /^\(service web, taskSet web:1\) is unable .* Last failure: .*task [0-9a-f]{32}: /)
  const why = whyOf(course)
  t.match(
    why.summary,
    /^Task set ecs-svc\/\d{19} of web:1 \(ACTIVE, 100 %\): 1 of 2 tasks healthy; \d+ tasks have failed in a row; the next start is in/,
  )
  t.equal(sets.describe(one)?.stabilityStatus, 'STABILIZING')

  await course.pass(600_000)
  await course.agents()
  await course.pass(10_000)
  await course.change('somebody looks', (tx) => {
    const service = tx.get('service', 'default/web')
    if (service !== undefined) tx.put('service', 'default/web', { ...service, desiredCount: 3 })
  })
  t.match(course.turn().reader.get('taskSet', one.id ?? ''), { failuresInRow: 0, retryAt: undefined, pause: undefined })
  await course.close()
})

await test('no room: told once, gone on with when there is some; the primary is given room first', async (t) => {
  const hosts = hostsOf(2)
  const sets = await external({ desiredCount: 4 }, hosts.slice(0, 1), revisions(3, { cpu: '512' }))
  const { course } = sets
  const one = await sets.create('web:1', 50)
  const two = await sets.create('web:2', 100)
  await course.agents()
  await sets.makePrimary(two)
  await course.pass(30_000)
  t.equal(sets.events().filter((message) => message.includes('was unable to place a task')).length, 1)
  t.match(
    sets.events().find((message) => message.includes('unable to place')),
    /^\(service web, taskSet web:2\) was unable to place a task because no container instance met all/,
  )
  const why = whyOf(course)
  t.match(why.summary, /of web:2 \(PRIMARY, 100 %\): 2 of 4 tasks healthy; the next task has had no place for 30 s: /)
  await sets.scale(one, 100)
  await course.change('host two registers', (tx) => {
    for (const host of hosts.slice(1)) tx.put('instance', host.instanceId, { ...host, tags: [] })
  })
  await course.settle()
  t.match(sets.describe(two), { runningCount: 4, stabilityStatus: 'STEADY_STATE' })
  t.match(sets.describe(one), { runningCount: 4, stabilityStatus: 'STEADY_STATE' })
  t.same(course.turn().reader.find('taskSet', 'waitingByCluster', 'default'), [])
  t.same(course.lines, [
    'task set of web:1, 50 % | starts 2 of web:1 | web:1 2 starting',
    'task set of web:2, 100 % | starts 2 of web:2 | web:1 2 starting, web:2 2 starting',
    'agents | web:1 2 healthy, web:2 2 healthy',
    'web:2 primary | web:1 2 healthy, web:2 2 healthy',
    '30 s | web:1 2 healthy, web:2 2 healthy',
    'web:1 to 100 % | web:1 2 healthy, web:2 2 healthy',
    'host two registers | starts 2 of web:1, starts 2 of web:2 | web:1 2 starting 2 healthy, web:2 2 starting 2 healthy',
  ])
  await course.close()
})

await test('hosts that drain or are lost: task sets keep their count, and what comes back is not kept twice', async (t) => {
  const hosts = hostsOf(3)
  const sets = await external({ desiredCount: 3 }, hosts)
  const { course } = sets
  const [first, second] = hosts
  if (first === undefined || second === undefined) throw new Error('there are too few hosts')
  const one = await sets.create('web:1')
  await course.agents()
  await course.drain(first)
  t.equal(sets.describe(one)?.stabilityStatus, 'STABILIZING', 'a task on a draining instance is not steady')
  await course.agents()
  await course.agents()
  t.equal(sets.describe(one)?.stabilityStatus, 'STEADY_STATE')
  await course.lose(second)
  await course.agents()
  await course.bringBack(second)
  await course.agents()
  t.same(course.lines.splice(0), [
    'task set of web:1, 100 % | starts 3 of web:1 | web:1 3 starting',
    'agents | web:1 3 healthy',
    'host one drains | starts 1 of web:1 | web:1 1 starting 2 healthy 1 leaving',
    'agents | stops 1 of web:1 | web:1 3 healthy 1 stopping',
    'agents | web:1 3 healthy',
    'host two lost | starts 2 of web:1 | web:1 2 starting 1 healthy 2 lost',
    'agents | web:1 3 healthy 2 lost',
    'host two back | stops 2 of web:1 | web:1 3 healthy 2 stopping',
    'agents | web:1 3 healthy',
  ])
  t.match(sets.describe(one), { runningCount: 3, stabilityStatus: 'STEADY_STATE' })

  const standing = course.tasks().filter(({ lastStatus }) => lastStatus === 'RUNNING')
  await course.lose(second)
  await course.agents()
  await sets.remove(one, true)
  await course.agents()
  t.equal(sets.describe(one), undefined, 'lost tasks are not waited for')
  await course.bringBack(second)
  await course.agents()
  t.ok(standing.every(({ taskId }) => course.tasks().find((task) => task.taskId === taskId)?.lastStatus === 'STOPPED'))

  const other = await sets.create('web:2')
  await course.agents()
  await course.lose(second)
  await course.change('replacement paused', (tx, now) => {
    const cluster = tx.get('cluster', 'default')
    if (cluster !== undefined) tx.put('cluster', 'default', { ...cluster, replacementPausedSince: now })
  })
  await sets.remove(other, true)
  await course.agents()
  t.equal(sets.describe(other), undefined)
  await course.bringBack(second)
  await course.agents()
  t.ok(
    course.tasks().every(({ lastStatus }) => lastStatus === 'STOPPED'),
    'what was lost when it was deleted ends as well',
  )
  await course.close()
})

await test('protected tasks hold up a task set, not the others; a deleted one stays until they end', async (t) => {
  const sets = await external({ desiredCount: 2 })
  const { course } = sets
  const one = await sets.create('web:1')
  const two = await sets.create('web:2')
  await course.agents()
  const [kept] = course.tasks().filter(({ deploymentId }) => deploymentId === one.id)
  await course.change('one protected', (tx, now) => {
    const input = { cluster: 'default', tasks: [kept?.taskId ?? ''], protectionEnabled: true, expiresInMinutes: 1 }
    taskProtectionHandlers.UpdateTaskProtection.handle(tx, input, aCall({ now }), world)
  })
  await sets.remove(one, true)
  await sets.scale(two, 50)
  await course.agents()
  t.match(sets.describe(one), { status: 'DRAINING', computedDesiredCount: 0, runningCount: 1 })
  t.match(
    sets.events().filter((message) => message.includes('scale-in protection')),
    [/^\(service web, taskSet web:1\) was unable to stop tasks .* at the latest at .* \(protected tasks: 1\)/],
  )
  await course.pass(60_000)
  await course.agents()
  t.same(course.lines, [
    'task set of web:1, 100 % | starts 2 of web:1 | web:1 2 starting',
    'task set of web:2, 100 % | starts 2 of web:2 | web:1 2 starting, web:2 2 starting',
    'agents | web:1 2 healthy, web:2 2 healthy',
    'one protected | web:1 2 healthy, web:2 2 healthy',
    'web:1 deleted | stops 1 of web:1 | web:1 1 healthy 1 stopping, web:2 2 healthy',
    'web:2 to 50 % | stops 1 of web:2 | web:1 1 healthy 1 stopping, web:2 1 healthy 1 stopping',
    'agents | web:1 1 healthy, web:2 1 healthy',
    '60 s | stops 1 of web:1 | web:1 1 stopping, web:2 1 healthy',
    'agents | web:2 1 healthy',
  ])
  t.equal(sets.describe(one), undefined)
  await course.close()
})

await test('unhealthy tasks are replaced, the grace period is waited for, and many are started in portions', async (t) => {
  const [plain] = revisions(1)
  const containerDefinitions = (plain?.containerDefinitions ?? []).map((container) => ({
    ...container,
    cpu: 1,
    memory: 1,
    healthCheck: { command: ['CMD', 'true'] },
  }))
  const sets = await external({ healthCheckGracePeriodSeconds: 30 }, hostsOf(3), revisions(2, { containerDefinitions }))
  const { course } = sets
  await course.update({ desiredCount: 2 })
  const one = await sets.create('web:1')
  await course.settle()
  const [sick] = course.tasks()
  const behave: Behaviour = (task) =>
    task.taskId === sick?.taskId && task.desiredStatus === 'RUNNING' ? 'unhealthy' : obey(task)
  course.lines.splice(0)
  await course.agents(behave)
  t.equal(sets.describe(one)?.stabilityStatus, 'STABILIZING')
  await course.pass(30_000)
  for (let step = 0; step < 4; step += 1) await course.agents(behave)
  t.same(course.lines, [
    'agents | web:1 1 healthy 1 unhealthy',
    '30 s | starts 1 of web:1 | web:1 1 starting 1 healthy 1 unhealthy',
    'agents | web:1 1 starting 1 healthy 1 unhealthy',
    'agents | stops 1 of web:1 | web:1 2 healthy 1 stopping',
    'agents | web:1 2 healthy',
    'agents | web:1 2 healthy',
  ])
  t.match(
    course.tasks().find(({ taskId }) => taskId === sick?.taskId),
    { stopCode: 'ServiceSchedulerInitiated', stoppedReason: 'Task failed container health checks' },
  )

  await course.pass(10_000)
  await sets.create('web:2', 50)
  await course.update({ desiredCount: 1200 })
  await course.settle()
  t.equal(course.tasks().filter(({ lastStatus }) => lastStatus === 'RUNNING').length, 1800)
  await course.update({ desiredCount: 0 })
  await course.settle()
  t.equal(course.tasks().filter(({ lastStatus }) => lastStatus === 'RUNNING').length, 0)
  t.match(sets.describe(one), { stabilityStatus: 'STEADY_STATE', runningCount: 0 })
  t.ok(
    sets.events().some((message) => /has started 1\d{3} tasks/.test(message)),
    'one event tells of all',
  )
  await course.close()

  const service = aService({ desiredCount: 1200, deploymentController: { type: 'EXTERNAL' } })
  const taskDefinition = revisions(1, { containerDefinitions })
  const state = aState({ service: [service], taskSet: [aTaskSet()], instance: hostsOf(3), taskDefinition })
  for (const expected of [500, 1000, 1200]) {
    inTransaction(state, (tx) => decideTaskSets(tx, service, testNow, aWorld(expected)))
    t.equal(state.all('task').length, expected, 'no decision starts more')
  }
})

await test('a deleted task set waits for the protected task on a lost host, and for no other there', async (t) => {
  const hosts = hostsOf(1)
  const [host] = hosts
  if (host === undefined) throw new Error('there is no host')
  const sets = await external({ desiredCount: 2 }, hosts)
  const { course } = sets
  const one = await sets.create('web:1')
  await course.agents()
  const [kept] = course.tasks()
  await course.change('one protected', (tx, now) => {
    const input = { cluster: 'default', tasks: [kept?.taskId ?? ''], protectionEnabled: true, expiresInMinutes: 5 }
    taskProtectionHandlers.UpdateTaskProtection.handle(tx, input, aCall({ now }), world)
  })
  await course.lose(host)
  await sets.remove(one, true)
  await course.agents()
  t.equal(sets.describe(one)?.status, 'DRAINING')
  course.lines.splice(0)
  await course.bringBack(host)
  await course.agents()
  await course.pass(300_000)
  await course.agents()
  t.same(course.lines, [
    'host one back | web:1 1 healthy 1 stopping',
    'agents | web:1 1 healthy',
    '300 s | stops 1 of web:1 | web:1 1 stopping',
    'agents | none',
  ])
  t.equal(sets.describe(one), undefined)
  await course.close()
})

await test('the deletion of the service takes its task sets with it', async (t) => {
  const sets = await external({ desiredCount: 1 })
  const { course } = sets
  const one = await sets.create('web:1')
  await sets.makePrimary(one)
  await course.agents()
  t.match(
    refusal(() => deleted(course)),
    /^InvalidParameterException: The service cannot be stopped while it is scaled above 0/,
  )
  await course.remove({ force: true })
  t.match(sets.describe(one), { status: 'DRAINING' })
  await course.agents()
  t.equal(course.service()?.status, 'INACTIVE')
  t.same(course.turn().reader.all('taskSet'), [])
  t.match(
    refusal(() => describe(course.turn().reader, one.id)),
    /^ServiceNotActiveException: /,
  )
  await course.close()
})

function deleted(course: Course): void {
  const turn = course.turn()
  const service = turn.reader.get('service', 'default/web')
  const state = aState({ service: service === undefined ? [] : [service], taskSet: turn.reader.all('taskSet') })
  inTransaction(state, (tx) => deleteService(tx, { service: 'web' }))
}

await test('what is refused, and in which words', (t) => {
  const state = aState({
    instance: [anInstance()],
    taskDefinition: [aTaskDefinition(), aTaskDefinition({ family: 'net', networkMode: 'awsvpc' })],
    service: [
      aService({ deploymentController: { type: 'EXTERNAL' }, taskDefinition: undefined }),
      aService({ serviceName: 'rolling' }),
      aService({ serviceName: 'going', deploymentController: { type: 'EXTERNAL' }, status: 'DRAINING' }),
    ],
    deployment: [aDeployment({ serviceKey: 'default/rolling' })],
    taskSet: [
      aTaskSet({ id: 'ecs-svc/1', status: 'PRIMARY' }),
      aTaskSet({ id: 'ecs-svc/2' }),
      aTaskSet({ id: 'ecs-svc/3', status: 'DRAINING' }),
      aTaskSet({ id: 'ecs-svc/4', scale: { value: 0, unit: 'PERCENT' } }),
    ],
  })
  const call = <Op extends Operation>(operation: Op, input: Partial<Input<Op>>): string =>
    refusal(() => {
      const handler = taskSetHandlers[operation] as unknown as {
        handle(reader: unknown, input: object, call: object, world: object): void
      }
      handler.handle(state.begin(), { ...named, ...input }, aCall(), world)
    })
  const web = { taskDefinition: 'web:1' }
  const cases: readonly (readonly [string, RegExp])[] = [
    [call('CreateTaskSet', { ...web, cluster: 'none' }), /^ClusterNotFoundException/],
    [call('CreateTaskSet', { ...web, service: 'none' }), /^ServiceNotFoundException/],
    [call('CreateTaskSet', { ...web, service: 'going' }), /^ServiceNotActiveException/],
    [
      call('CreateTaskSet', { ...web, service: 'rolling' }),
      /^InvalidParameterException: Amazon ECS only supports task set management on services configured to use external/,
    ],
    [call('DescribeTaskSets', { service: 'rolling', taskSets: ['ecs-svc/1'] }), /only supports task set management/],
    [call('CreateTaskSet', { taskDefinition: 'none' }), /^ClientException: TaskDefinition not found/],
    [
      call('CreateTaskSet', { taskDefinition: 'net' }),
      /^InvalidParameterException: Network Configuration must be provided when networkMode 'awsvpc'/,
    ],
    [call('CreateTaskSet', { ...web, launchType: 'FARGATE' }), /^UnsupportedFeatureException: Launch type FARGATE/],
    [call('CreateTaskSet', { ...web, loadBalancers: [{}] }), /^UnsupportedFeatureException: loadBalancers needs/],
    [call('CreateTaskSet', { ...web, serviceRegistries: [{}] }), /^UnsupportedFeatureException: serviceRegistries/],
    [call('CreateTaskSet', { ...web, platformVersion: 'LATEST' }), /^InvalidParameterException: The platform version/],
    [
      call('CreateTaskSet', { ...web, scale: { value: 101 } }),
      /scale\.value must be a percentage from 0 to 100, and is 101/,
    ],
    [call('CreateTaskSet', { ...web, scale: { value: Number.NaN } }), /scale\.value must be a percentage/],
    [call('CreateTaskSet', { ...web, clientToken: 'a b' }), /^InvalidParameterException: clientToken must be 1 to 36/],
    [call('CreateTaskSet', { ...web, tags: [{ key: 'aws:x' }] }), /reserved/],
    [call('DescribeTaskSets', {}), /^InvalidParameterException: TaskSets cannot be empty\.$/],
    [call('DescribeTaskSets', { taskSets: ['web'] }), /^InvalidParameterException: Task Set Identifier is invalid/],
    [call('DescribeTaskSets', { taskSets: ['x/ecs-svc/1'] }), /Task Set Identifier is invalid/],
    [call('UpdateTaskSet', { taskSet: 'ecs-svc/9', scale: { value: 1 } }), /^TaskSetNotFoundException/],
    [call('UpdateTaskSet', { taskSet: 'ecs-svc/2', scale: {} }), /scale\.value is required/],
    [call('UpdateTaskSet', { taskSet: 'ecs-svc/2', scale: { value: -1 } }), /from 0 to 100, and is -1/],
    [call('UpdateTaskSet', { taskSet: 'ecs-svc/3', scale: { value: 1 } }), /ecs-svc\/3 is DRAINING: it was deleted/],
    [call('UpdateServicePrimaryTaskSet', { primaryTaskSet: 'ecs-svc/3' }), /is DRAINING/],
    [call('UpdateServicePrimaryTaskSet', { primaryTaskSet: 'ecs-svc/9' }), /^TaskSetNotFoundException/],
    [call('DeleteTaskSet', { taskSet: 'ecs-svc/1' }), /^InvalidParameterException: Primary TaskSet cannot be deleted/],
    [call('DeleteTaskSet', { taskSet: 'ecs-svc/2' }), /while it is scaled above 0: it is to have 2 tasks/],
    [call('DeleteTaskSet', { taskSet: '' }), /TaskSet can not be blank/],
    [call('DeleteTaskSet', { taskSet: 'ecs-svc/1', force: true }), /^accepted$/],
    [call('DeleteTaskSet', { taskSet: 'ecs-svc/3' }), /^accepted$/],
    [call('DeleteTaskSet', { taskSet: 'ecs-svc/4' }), /^accepted$/],
  ]
  for (const [answered, expected] of cases) t.match(answered, expected)
  t.end()
})

await test('a token makes one task set; five are the most; without a scale it is to have none', (t) => {
  const state = aState({
    taskDefinition: [aTaskDefinition()],
    service: [aService({ deploymentController: { type: 'EXTERNAL' }, taskDefinition: undefined, desiredCount: 7 })],
  })
  const create = (input: Partial<Input<'CreateTaskSet'>>): TaskSet =>
    inTransaction(state, (tx) => {
      const whole = { ...named, taskDefinition: 'web:1', ...input }
      return taskSetHandlers.CreateTaskSet.handle(tx, whole, aCall(), world).taskSet ?? {}
    })
  const once = create({ clientToken: 'a', externalId: 'x', tags: [{ key: 'k', value: 'v' }] })
  t.match(once, {
    id: /^ecs-svc\/[1-9]\d{18}$/,
    taskSetArn: /:task-set\/default\/web\/ecs-svc\/\d{19}$/,
    externalId: 'x',
    scale: { value: 0, unit: 'PERCENT' },
    computedDesiredCount: 0,
    tags: [{ key: 'k', value: 'v' }],
  })
  t.equal(create({ clientToken: 'a', externalId: 'x', tags: [{ key: 'k', value: 'v' }] }).id, once.id)
  t.match(
    refusal(() => create({ clientToken: 'a' })),
    /^InvalidParameterException: Creation of task set was not idempotent/,
  )
  for (const percent of [10, 20, 30, 40]) create({ scale: { value: percent } })
  t.match(
    refusal(() => create({})),
    /^InvalidParameterException: 5 deployments exist on the service\. Unable to create new TaskSet since this exceeds/,
  )
  t.equal(describe(state, once.id).taskSets?.[0]?.tags, undefined, 'tags are only shown to those who ask')
  const counts = [0, 0.1, 14.2, 14.3, 50, 57.2, 100].map((value) =>
    computedDesiredCount({ desiredCount: 7 }, { scale: { value, unit: 'PERCENT' }, status: 'ACTIVE' }),
  )
  t.same(counts, [0, 1, 1, 2, 4, 5, 7], 'always rounded up')
  const whole = Array.from({ length: 101 }, (_, value) =>
    computedDesiredCount({ desiredCount: 100 }, { scale: { value, unit: 'PERCENT' }, status: 'ACTIVE' }),
  )
  t.same(
    whole,
    Array.from({ length: 101 }, (_, value) => value),
    'and not by what floating point adds',
  )
  t.end()
})
