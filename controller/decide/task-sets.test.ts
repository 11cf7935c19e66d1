/**
 * The laws of task sets, over histories of everything that may happen to a service of them: task sets that come, are
 * scaled, switched and go, tasks that crash, hosts that vanish, come back and drain, protection, time.
 */
import { test } from 'tap'
import * as fc from 'fast-check'
import { aCall, aState, aWorld } from '../../test/support/builders.ts'
import { aCourse, type Course, hostsOf, obey, revisions } from '../../test/support/service-course.ts'
import { refusal } from '../../test/support/refusal.ts'
import { taskSetHandlers } from '../ecs/task-sets.ts'
import type { TaskSetRow } from '../state/service-tables.ts'
import { phaseOf } from '../state/service-phase.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Change, Reader, Transaction } from '../state/transaction.ts'
import { findingsOfServiceChanges, findingsOfServices } from './service-invariants.ts'
import { serviceDecider } from './service.ts'
import { computedDesiredCount } from './task-set-scale.ts'

const serviceKey = 'default/web'
const named = { cluster: 'default', service: 'web' }
const unit = 'PERCENT'

type Asked =
  | { readonly do: 'create'; readonly revision: number; readonly percent: number }
  | { readonly do: 'scale'; readonly nth: number; readonly percent: number }
  | { readonly do: 'primary' | 'delete' | 'force'; readonly nth: number }

type Step =
  | Asked
  | {
      readonly do: 'protect' | 'lose' | 'back' | 'drain' | 'undrain'
      readonly nth: number
    }
  | { readonly do: 'desire'; readonly count: number }
  | { readonly do: 'agents'; readonly every: number; readonly crash: boolean }
  | { readonly do: 'pass'; readonly seconds: number }

const nth = fc.nat({ max: 20 })
const percent = fc.constantFrom(0, 10, 50, 66.6, 100)
const aStep: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('create' as const), revision: fc.integer({ min: 1, max: 3 }), percent }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('scale' as const), nth, percent }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('primary', 'delete', 'force' as const), nth }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constantFrom('protect', 'lose', 'back', 'drain', 'undrain' as const), nth }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('desire' as const), count: fc.integer({ min: 0, max: 4 }) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant('agents' as const),
      every: fc.integer({ min: 1, max: 3 }),
      crash: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('pass' as const), seconds: fc.constantFrom(1, 10, 60, 900) }) },
)

/** What the histories came to, so that laws which nothing tried are noticed. */
const met = { commits: 0, started: 0, drained: 0, protectedKept: 0, settled: 0 }

await test('the laws of task sets hold in every history', async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.array(aStep, { minLength: 30, maxLength: 60 }), async (steps) => {
      const hosts = hostsOf(3)
      const course = await aCourse({ hosts, definitions: revisions(3) })
      course.onCommit((changes) => holdLaws(course.turn().reader, changes))
      await course.create({ taskDefinition: undefined, desiredCount: 3, deploymentController: { type: 'EXTERNAL' } })
      for (const step of steps) await take(course, hosts, step)
      await settle(course, hosts)
      await course.close()
    }),
    { numRuns: 60, seed: 1121 },
  )
  t.ok(
    met.commits > 1000 && met.started > 300 && met.drained > 20 && met.protectedKept > 5 && met.settled === 60,
    JSON.stringify(met),
  )
})

function holdLaws(reader: Reader, changes: readonly Change[]): void {
  met.commits += 1
  const found = [...findingsOfServiceChanges(changes, reader), ...findingsOfServices(reader)]
  if (found.length > 0) throw new Error(JSON.stringify(found))
  const service = reader.get('service', serviceKey)
  const started = changes.filter(({ table, before }) => table === 'task' && before === undefined)
  met.started += started.length
  met.drained += changes.filter(({ table, row }) => table === 'taskSet' && row === undefined).length
  for (const { row } of started) {
    const taskSet = reader.get('taskSet', (row as TaskRow).deploymentId ?? '')
    if (service === undefined || taskSet === undefined) throw new Error('a task was started for nobody')
    const wanted = tasksOf(reader, taskSet).filter((task) => ['starting', 'healthy'].includes(phaseOf(task) ?? ''))
    const most = computedDesiredCount(service, taskSet)
    if (wanted.length > most)
      throw new Error(`${taskSet.id} wants ${most} tasks, and has started up to ${wanted.length}`)
  }
}

async function take(course: Course, hosts: readonly InstanceRow[], step: Step): Promise<void> {
  const { reader } = course.turn()
  const taskSets = reader.find('taskSet', 'byService', serviceKey)
  switch (step.do) {
    case 'agents': {
      let seen = 0
      return course.agents((task) => {
        seen += 1
        if (seen % step.every !== 0) return undefined
        return step.crash && seen % 4 === 0 && task.desiredStatus === 'RUNNING' ? 'fails' : obey(task)
      })
    }
    case 'pass':
      return course.pass(step.seconds * 1000)
    case 'desire':
      return course.update({ desiredCount: step.count })
    case 'lose':
    case 'back':
    case 'drain':
    case 'undrain':
      return moveHost(course, pick(hosts, step.nth), step.do)
    case 'protect': {
      const task = pick(
        course.tasks().filter(({ lastStatus }) => lastStatus === 'RUNNING'),
        step.nth,
      )
      if (task === undefined) return
      met.protectedKept += 1
      return course.change('protected', (tx, now) => {
        tx.put('task', task.taskId, { ...task, protectedUntil: now + 120_000 })
      })
    }
    case 'create':
    case 'scale':
    case 'primary':
    case 'delete':
    case 'force':
      return course.change(step.do, (tx, now) => {
        // What is refused, such as a sixth task set, is none of this test's business.
        refusal(() => ask(tx, step, pick(taskSets, step.do === 'create' ? 0 : step.nth)?.id ?? 'ecs-svc/0', now))
      })
  }
}

function ask(tx: Transaction, step: Asked, taskSet: string, now: number): void {
  const call = aCall({ now })
  const world = aWorld(now / 1000 + tx.count('taskSet', 'byService', serviceKey))
  if (step.do === 'create') {
    const input = { ...named, taskDefinition: `web:${step.revision}`, scale: { value: step.percent, unit } } as const
    taskSetHandlers.CreateTaskSet.handle(tx, input, call, world)
  } else if (step.do === 'scale') {
    taskSetHandlers.UpdateTaskSet.handle(tx, { ...named, taskSet, scale: { value: step.percent, unit } }, call, world)
  } else if (step.do === 'primary') {
    taskSetHandlers.UpdateServicePrimaryTaskSet.handle(tx, { ...named, primaryTaskSet: taskSet }, call, world)
  } else taskSetHandlers.DeleteTaskSet.handle(tx, { ...named, taskSet, force: step.do === 'force' }, call, world)
}

async function moveHost(
  course: Course,
  host: InstanceRow | undefined,
  how: 'lose' | 'back' | 'drain' | 'undrain',
): Promise<void> {
  const row = host === undefined ? undefined : course.turn().reader.get('instance', host.instanceId)
  if (row === undefined) return
  if (how === 'lose') return row.lostSince === undefined ? course.lose(row) : undefined
  if (how === 'back') return row.lostSince === undefined ? undefined : course.bringBack(row)
  const status = how === 'drain' ? 'DRAINING' : 'ACTIVE'
  return course.change(how, (tx) => tx.put('instance', row.instanceId, { ...row, status }))
}

/** Once nothing disturbs it any more, each task set has what it wants, deleted ones are gone, and deciding changes nothing. */
async function settle(course: Course, hosts: readonly InstanceRow[]): Promise<void> {
  for (const host of hosts) {
    await moveHost(course, host, 'back')
    await moveHost(course, host, 'undrain')
  }
  for (let round = 0; round < 4; round += 1) {
    await course.settle()
    await course.pass(900_000)
  }
  await course.settle()
  const { reader } = course.turn()
  const service = reader.get('service', serviceKey)
  if (service === undefined) throw new Error('the service is gone')
  for (const taskSet of reader.find('taskSet', 'byService', serviceKey)) {
    const running = tasksOf(reader, taskSet).filter(({ lastStatus }) => lastStatus === 'RUNNING').length
    const wanted = computedDesiredCount(service, taskSet)
    if (running === wanted && taskSet.stabilityStatus === 'STEADY_STATE' && taskSet.status !== 'DRAINING') continue
    throw new Error(`${taskSet.id} is ${taskSet.status} and ${taskSet.stabilityStatus} with ${running} of ${wanted}`)
  }
  const live = reader.find('task', 'liveByService', serviceKey)
  const owned = reader.find('taskSet', 'byService', serviceKey).flatMap((taskSet) => tasksOf(reader, taskSet))
  if (live.length !== owned.length) throw new Error(`of ${live.length} tasks ${owned.length} are of a task set`)
  decidesNothing(reader, course.now())
  met.settled += 1
}

function decidesNothing(reader: Reader, now: number): void {
  const state = aState({
    instance: reader.all('instance'),
    taskDefinition: reader.all('taskDefinition'),
    task: reader.all('task'),
    service: reader.all('service'),
    taskSet: reader.all('taskSet'),
  })
  const overlay = state.begin()
  serviceDecider.decide(overlay, serviceKey, now, aWorld())
  if (overlay.changes().length > 0) throw new Error(`decided again: ${JSON.stringify(overlay.changes()[0])}`)
}

function tasksOf(reader: Reader, { id }: TaskSetRow): readonly TaskRow[] {
  return reader.find('task', 'liveByService', serviceKey).filter(({ deploymentId }) => deploymentId === id)
}

function pick<T>(from: readonly T[], index: number): T | undefined {
  return from[index % Math.max(1, from.length)]
}
