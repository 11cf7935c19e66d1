/** Protected tasks: who can be protected, and how scaling, rollouts, drains and deletions then go. */
import { test } from 'tap'
import type { Input, Output } from '../../proto/model/types.ts'
import { aCall, aService, aState, aTask, aWorld, inTransaction, testNow } from '../../test/support/builders.ts'
import { refusal } from '../../test/support/refusal.ts'
import { aCourse, type Behaviour, type Course, hostsOf, obey, revisions } from '../../test/support/service-course.ts'
import { explainService } from '../decide/why-service.ts'
import type { State } from '../state/state.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { taskProtectionHandlers } from './task-protection.ts'

const minuteMs = 60_000

function update(
  tx: Transaction,
  input: Partial<Input<'UpdateTaskProtection'>>,
  now = testNow,
): Output<'UpdateTaskProtection'> {
  const all: Input<'UpdateTaskProtection'> = { cluster: 'default', tasks: [], protectionEnabled: true, ...input }
  return taskProtectionHandlers.UpdateTaskProtection.handle(tx, all, aCall({ now }), aWorld())
}

function get(reader: Reader, tasks: readonly string[] | undefined, now = testNow): Output<'GetTaskProtection'> {
  const input = { cluster: 'default', tasks }
  return taskProtectionHandlers.GetTaskProtection.handle(reader, input, aCall({ now }), aWorld())
}

/** A service of `desiredCount` tasks of web:1 that has come to its steady state. */
async function steady(
  desiredCount: number,
  input: Partial<Input<'CreateService'>> = {},
  definitions = revisions(3),
): Promise<Course> {
  const course = await aCourse({ hosts: hostsOf(3), definitions })
  await course.create({ desiredCount, ...input })
  await course.settle()
  await course.pass(10_000)
  course.lines.splice(0)
  return course
}

function protect(course: Course, tasks: readonly TaskRow[], minutes: number): Promise<void> {
  return course.change(`${tasks.length} protected`, (tx, now) => {
    const named = tasks.map(({ taskId }) => taskId)
    const { failures } = update(tx, { tasks: named, expiresInMinutes: minutes }, now)
    if (failures?.length !== 0) throw new Error(`a task could not be protected: ${JSON.stringify(failures)}`)
  })
}

function stuckEvents(course: Course): readonly string[] {
  return course.events().filter((message) => message.includes('scale-in protection'))
}

function whyOf(course: Course): ReturnType<typeof explainService> {
  const service = course.service()
  if (service === undefined) throw new Error('the service is gone')
  return explainService(course.turn().reader, service, course.now(), aWorld())
}

function ofService(letter: string, over: Partial<TaskRow> = {}): TaskRow {
  return aTask({ taskId: letter.repeat(32), serviceKey: 'default/web', lastStatus: 'RUNNING', ...over })
}

function arnOf(taskId: string): string {
  return `arn:aws:ecs:us-east-1:123456789012:task/default/${taskId}`
}

/** Tasks A to D of service web, which wants `desiredCount`; S is standalone, X has stopped, Y is being stopped. */
function aStateOfTasks(desiredCount: number): State {
  return aState({
    service: [aService({ desiredCount })],
    task: [
      ...['a', 'b', 'c', 'd'].map((letter) => ofService(letter)),
      aTask({ taskId: '5'.repeat(32), lastStatus: 'RUNNING' }),
      ofService('7', { lastStatus: 'STOPPED', desiredStatus: 'STOPPED' }),
      ofService('8', { desiredStatus: 'STOPPED' }),
    ],
  })
}

await test('protection is set for two hours or as long as is said, extended, read and taken away', async (t) => {
  const state = aStateOfTasks(4)
  const [a, b] = ['a'.repeat(32), 'b'.repeat(32)]
  t.same(
    inTransaction(state, (tx) => update(tx, { tasks: [a, arnOf(b), a] })),
    {
      protectedTasks: [a, b].map((id) => ({
        taskArn: arnOf(id),
        protectionEnabled: true,
        expirationDate: testNow + 120 * minuteMs,
      })),
      failures: [],
    },
    'by id and by ARN, each once',
  )
  inTransaction(state, (tx) => update(tx, { tasks: [a], expiresInMinutes: 2880 }, testNow + minuteMs))
  t.same(get(state, [a, 'c'.repeat(32)]).protectedTasks, [
    { taskArn: arnOf(a), protectionEnabled: true, expirationDate: testNow + 2881 * minuteMs },
    { taskArn: arnOf('c'.repeat(32)), protectionEnabled: false },
  ])
  t.same(
    get(state, [b], testNow + 120 * minuteMs).protectedTasks,
    [{ taskArn: arnOf(b), protectionEnabled: false }],
    'at its end it is over, whether the tick has noticed or not',
  )
  const over = inTransaction(state, (tx) => update(tx, { tasks: [a], protectionEnabled: false }))
  t.same(over.protectedTasks, [{ taskArn: arnOf(a), protectionEnabled: false }])
  t.equal(state.get('task', a)?.protectedUntil, undefined)
  const repeat = state.begin()
  update(repeat, { tasks: [a], protectionEnabled: false })
  t.same(repeat.changes(), [], 'a repeat writes nothing')
})

await test('what can not be protected is told of, and holds up no other task', async (t) => {
  const state = aStateOfTasks(2)
  const ids = ['f', '5', '7', '8', 'a', 'b', 'c'].map((letter) => letter.repeat(32))
  const answer = inTransaction(state, (tx) => update(tx, { tasks: ids }))
  t.equal(answer.protectedTasks?.length, 2)
  t.match(answer.failures, [
    { arn: `arn:aws:ecs:us-east-1:123456789012:task/default/${'f'.repeat(32)}`, reason: 'MISSING' },
    { reason: 'TASK_NOT_VALID', detail: /^The task is not part of a service/ },
    { reason: 'TASK_NOT_VALID', detail: /^The task has stopped/ },
    { reason: 'TASK_NOT_VALID', detail: /^The task is being stopped/ },
    { reason: 'DEPLOYMENT_BLOCKED', detail: /^Of service web, 2 tasks are protected already, and 2 are desired/ },
  ])
  t.match(
    get(state, ids.slice(0, 3)),
    { protectedTasks: [{ protectionEnabled: false }], failures: [{ reason: 'MISSING' }, { reason: 'TASK_NOT_VALID' }] },
    'a stopped task of a service can be asked about',
  )
  inTransaction(state, (tx) => tx.put('service', 'default/web', aService({ desiredCount: 1 })))
  t.same(
    inTransaction(state, (tx) => update(tx, { tasks: ['a'.repeat(32)], expiresInMinutes: 500 })).failures,
    [],
    'what is protected already can be extended',
  )
  const stopped = state.begin()
  update(stopped, { tasks: ['7'.repeat(32)], protectionEnabled: false })
  t.same(stopped.changes(), [], 'a stopped task is not written')

  const refused: readonly (readonly [Partial<Input<'UpdateTaskProtection'>>, RegExp])[] = [
    [{}, /^InvalidParameterException: Tasks cannot be empty\.$/],
    [{ tasks: Array.from({ length: 11 }, (_, n) => String(n)) }, /^InvalidParameterException: At most 10 tasks/],
    [
      { tasks: ['x'], expiresInMinutes: 0 },
      /^InvalidParameterException: expiresInMinutes must be a whole number from 1 to 2880/,
    ],
    [{ tasks: ['x'], expiresInMinutes: 2881 }, /is 2881\./],
    [{ tasks: ['x'], expiresInMinutes: 1.5 }, /whole number/],
    [
      { tasks: ['arn:aws:ecs:us-east-1:123456789012:task/other/x'] },
      /^InvalidParameterException: Identifier is for cluster other\./,
    ],
  ]
  for (const [input, words] of refused) {
    t.match(
      refusal(() => update(state.begin(), input)),
      words,
    )
  }
  t.match(
    refusal(() => get(state, undefined)),
    /Tasks cannot be empty/,
  )
  const many = Array.from({ length: 101 }, (_, n) => String(n))
  t.match(
    refusal(() => get(state, many)),
    /At most 100 tasks/,
  )
  t.match(
    refusal(() => update(state.begin(), { cluster: 'none', tasks: ['x'] })),
    /^ClusterNotFound/,
  )
})

await test('scaled in: the others go, and the protected ones once their time is over', async (t) => {
  const course = await steady(4)
  await protect(course, course.tasks().slice(0, 2), 1)
  await course.update({ desiredCount: 1 })
  await course.agents()
  await course.pass(59_000)
  await course.pass(1000)
  await course.agents()
  t.same(course.lines, [
    '2 protected | web:1 4 healthy',
    'scaled to 1 | stops 2 of web:1 | web:1 2 healthy 2 stopping',
    'agents | web:1 2 healthy',
    '59 s | web:1 2 healthy',
    '1 s | stops 1 of web:1 | web:1 1 healthy 1 stopping',
    'agents | web:1 1 healthy',
  ])
  await course.close()
})

await test('a rollout waits for protected tasks, and says until when; ended early, it goes on at once', async (t) => {
  const course = await steady(3)
  const old = course.tasks()
  const until = new Date(course.now() + 5 * minuteMs).toISOString()
  await protect(course, old.slice(0, 2), 5)
  await course.update({ taskDefinition: 'web:2' })
  await course.agents()
  await course.agents()
  await course.agents()
  await course.pass(30_000)
  t.same(course.lines.splice(0), [
    '2 protected | web:1 3 healthy',
    'web:2 deployed | starts 3 of web:2 | web:1 3 healthy, web:2 3 starting',
    'agents | stops 1 of web:1 | web:1 2 healthy 1 stopping, web:2 3 healthy',
    'agents | web:1 2 healthy, web:2 3 healthy',
    'agents | web:1 2 healthy, web:2 3 healthy',
    '30 s | web:1 2 healthy, web:2 3 healthy',
  ])
  t.same(stuckEvents(course), [
    '(service web) was unable to stop tasks because they have task scale-in protection. It goes on as their protection ends, ' +
      `at the latest at ${until} unless it is extended (protected tasks: 2); to have it end now, use UpdateTaskProtection ` +
      'with protectionEnabled false.',
  ])
  const why = whyOf(course)
  t.equal(why.state, 'stuck')
  t.match(why.summary, `2 are protected, the last until ${until}`)
  await course.change('one unprotected', (tx, now) => {
    update(tx, { tasks: [old[0]?.taskId ?? ''], protectionEnabled: false }, now)
  })
  await course.agents()
  await course.pass(5 * minuteMs)
  await course.agents()
  t.same(course.lines, [
    'one unprotected | stops 1 of web:1 | web:1 1 healthy 1 stopping, web:2 3 healthy',
    'agents | web:1 1 healthy, web:2 3 healthy',
    '300 s | stops 1 of web:1 | web:1 1 stopping, web:2 3 healthy',
    'agents | web:2 3 healthy',
  ])
  t.equal(course.turn().reader.find('deployment', 'liveByService', 'default/web')[0]?.rolloutState, 'COMPLETED')
  await course.close()
})

await test('a rollout of 50/100 replaces what is not protected first, and goes on within the minimum', async (t) => {
  const course = await steady(4, { deploymentConfiguration: { minimumHealthyPercent: 50, maximumPercent: 100 } })
  await protect(course, course.tasks().slice(0, 3), 5)
  await course.update({ taskDefinition: 'web:2' })
  await course.agents()
  await course.agents()
  await course.agents()
  t.same(course.lines, [
    '3 protected | web:1 4 healthy',
    'web:2 deployed | stops 1 of web:1 | web:1 3 healthy 1 stopping',
    'agents | starts 1 of web:2 | web:1 3 healthy, web:2 1 starting',
    'agents | web:1 3 healthy, web:2 1 healthy',
    'agents | web:1 3 healthy, web:2 1 healthy',
  ])
  t.ok(stuckEvents(course).length > 0)
  await course.close()
})

await test('a draining host keeps its protected task until the end of its protection', async (t) => {
  const course = await steady(3)
  const [first] = hostsOf(1)
  if (first === undefined) throw new Error('there is no host')
  const there = course.tasks().filter(({ instanceId }) => instanceId === first.instanceId)
  await protect(course, there, 1)
  await course.drain(first)
  await course.agents()
  await course.agents()
  await course.pass(minuteMs)
  await course.agents()
  t.same(course.lines, [
    '1 protected | web:1 3 healthy',
    'host one drains | starts 1 of web:1 | web:1 1 starting 2 healthy 1 leaving',
    'agents | web:1 3 healthy 1 leaving',
    'agents | web:1 3 healthy 1 leaving',
    '60 s | stops 1 of web:1 | web:1 3 healthy 1 stopping',
    'agents | web:1 3 healthy',
  ])
  t.equal(stuckEvents(course).length, 1)
  await course.close()
})

await test('a protected task whose host was lost goes on when that is back, though its deployment is done', async (t) => {
  const course = await steady(3)
  const [first] = hostsOf(1)
  if (first === undefined) throw new Error('there is no host')
  const there = course.tasks().filter(({ instanceId }) => instanceId === first.instanceId)
  await protect(course, there, 5)
  await course.lose(first)
  await course.agents()
  await course.update({ taskDefinition: 'web:2' })
  await course.settle()
  await course.pass(10_000)
  await course.settle()
  course.lines.splice(0)
  await course.bringBack(first)
  await course.pass(10_000)
  await course.pass(5 * minuteMs)
  await course.agents()
  t.same(course.lines, [
    'host one back | web:1 1 healthy, web:2 3 healthy',
    '10 s | web:1 1 healthy, web:2 3 healthy',
    '300 s | stops 1 of web:1 | web:1 1 stopping, web:2 3 healthy',
    'agents | web:2 3 healthy',
  ])
  await course.close()
})

await test('a protected task that fails its health checks is replaced, and stopped once its protection is over', async (t) => {
  const healthCheck = { command: ['CMD', 'true'] }
  const [plain] = revisions(1)
  const containerDefinitions = (plain?.containerDefinitions ?? []).map((container) => ({ ...container, healthCheck }))
  const course = await steady(2, {}, revisions(1, { containerDefinitions }))
  const [sick] = course.tasks()
  if (sick === undefined) throw new Error('there is no task')
  await protect(course, [sick], 1)
  const behave: Behaviour = (task) =>
    task.taskId === sick.taskId && task.desiredStatus === 'RUNNING' ? 'unhealthy' : obey(task)
  await course.agents(behave)
  await course.agents(behave)
  await course.agents(behave)
  await course.pass(minuteMs)
  await course.agents(behave)
  t.same(course.lines, [
    '1 protected | web:1 2 healthy',
    'agents | starts 1 of web:1 | web:1 1 starting 1 healthy 1 unhealthy',
    'agents | web:1 1 starting 1 healthy 1 unhealthy',
    'agents | web:1 2 healthy 1 unhealthy',
    '60 s | stops 1 of web:1 | web:1 2 healthy 1 stopping',
    'agents | web:1 2 healthy',
  ])
  await course.close()
})

await test('a daemon is not updated where its task is protected', async (t) => {
  const course = await steady(0, { schedulingStrategy: 'DAEMON', desiredCount: undefined })
  await protect(course, course.tasks().slice(0, 1), 1)
  await course.update({ taskDefinition: 'web:2' })
  await course.agents()
  await course.agents()
  await course.pass(minuteMs)
  await course.agents()
  await course.agents()
  t.same(course.lines, [
    '1 protected | web:1 3 healthy',
    'web:2 deployed | stops 2 of web:1 | web:1 1 healthy 2 stopping',
    'agents | starts 2 of web:2 | web:1 1 healthy, web:2 2 starting',
    'agents | web:1 1 healthy, web:2 2 healthy',
    '60 s | stops 1 of web:1 | web:1 1 stopping, web:2 2 healthy',
    'agents | starts 1 of web:2 | web:2 1 starting 2 healthy',
    'agents | web:2 3 healthy',
  ])
  await course.close()
})

await test('the deletion of a service stops its protected tasks too, and a stopped one is replaced', async (t) => {
  const course = await steady(2)
  const [one] = course.tasks()
  await protect(course, course.tasks(), 60)
  await course.change('one ends by itself', (tx) => {
    const row = tx.get('task', one?.taskId ?? '')
    if (row !== undefined) tx.put('task', row.taskId, { ...row, lastStatus: 'STOPPED', desiredStatus: 'STOPPED' })
  })
  await course.agents()
  await course.remove()
  await course.agents()
  t.same(course.lines, [
    '2 protected | web:1 2 healthy',
    'one ends by itself | starts 1 of web:1 | web:1 1 starting 1 healthy',
    'agents | web:1 2 healthy',
    'deleted | stops 2 of web:1 | web:1 2 stopping',
    'agents | none',
  ])
  t.equal(course.service()?.status, 'INACTIVE')
  await course.close()
})
