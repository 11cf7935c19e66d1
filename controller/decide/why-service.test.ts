import * as fc from 'fast-check'
import t from 'tap'
import {
  aCall,
  aCluster,
  aDeployment,
  aService,
  aState,
  aTask,
  aTaskDefinition,
  aWorld,
  anInstance,
  inTransaction,
  type Rows,
  testNow,
} from '../../test/support/builders.ts'
import type { Input, PlacementConstraint } from '../../proto/model/types.ts'
import { createService } from '../ecs/create-service.ts'
import { planCreateService, planRunTask, planUpdateService } from '../ecs/plan.ts'
import { runTask } from '../ecs/run-task.ts'
import type { DeploymentRow } from '../state/service-tables.ts'
import { compareKeys } from '../state/index-buckets.ts'
import type { State } from '../state/state.ts'
import type { InstanceRow, TaskDefinitionRow, TaskRow } from '../state/tables.ts'
import { placeOn } from './placement.ts'
import type { PlacementRequest } from './placement-candidates.ts'
import { planPlacement } from './placement-plan.ts'
import type { PlannedRollout, PlannedTasks } from './plan-rollout.ts'
import { serviceDecider } from './service.ts'
import { explainService, type WhyService } from './why-service.ts'
import { explainTask } from './why.ts'

const zone = 'ecs.availability-zone'
const key = 'default/web'

function host(number: number, over: Partial<InstanceRow> = {}): InstanceRow {
  const attributes = [{ name: zone, value: number % 2 === 1 ? 'a' : 'b' }]
  return anInstance({ instanceId: `i${number}`, registeredAt: number, attributes, ...over })
}

function roomFor(tasks: number): Pick<InstanceRow, 'registeredResources'> {
  return {
    registeredResources: [
      { name: 'CPU', type: 'INTEGER', integerValue: 256 * tasks },
      { name: 'MEMORY', type: 'INTEGER', integerValue: 512 * tasks },
    ],
  }
}

const deployment = aDeployment({ createdAt: testNow - 60_000 })

/** A task of service `web`, RUNNING unless said otherwise. */
function member(over: Partial<TaskRow> = {}): TaskRow {
  const own = { serviceKey: key, group: 'service:web', deploymentId: deployment.id }
  return aTask({ instanceId: 'i1', lastStatus: 'RUNNING', ...own, ...over })
}

/** What is told of service `web` of two tasks, with one deployment. */
function why(rows: Rows, over: Partial<DeploymentRow> = {}, service: Parameters<typeof aService>[0] = {}): WhyService {
  const web = aService({ desiredCount: 2, createdAt: testNow - 3600_000, ...service })
  const state = aState({
    taskDefinition: [aTaskDefinition()],
    instance: [host(1)],
    service: [web],
    deployment: [{ ...deployment, ...over }],
    ...rows,
  })
  return explainService(state, web, testNow, aWorld())
}

await t.test('a service in its steady state waits for nothing', async (test) => {
  const told = why({ task: [member(), member()] }, { rolloutState: 'COMPLETED' }, { steadySince: testNow - 120_000 })
  test.equal(told.state, 'steady')
  test.equal(told.summary, 'The service is in a steady state, announced 2 min ago; it waits for nothing.')
  test.same(told.facts, ['2 tasks are desired, and there are 2: 2 healthy.'])
  test.same(told.next, [])
  test.match(told, { desired: 2, tasks: { healthy: 2 }, ages: { created: 3600, deployment: 60 } })

  const undone = { rolloutState: 'COMPLETED', rollbackOf: 'ecs-svc/9' } as const
  const back = why({ task: [member(), member()] }, undone, { steadySince: testNow })
  test.equal(back.facts[0], 'It runs what ran before deployment ecs-svc/9, which was rolled back.')
  test.match(back.next[0], /^ListServiceDeployments tells why/)
})

await t.test('a rollout tells how far it is', async (test) => {
  const old = aDeployment({ status: 'ACTIVE', rolloutState: 'COMPLETED' })
  const task = [member(), member({ lastStatus: 'PENDING' }), member({ deploymentId: old.id })]
  const told = why({ task, deployment: [deployment, old] })
  test.equal(told.state, 'deploying')
  test.match(told.summary, /of web:1 has been going on for 60 s: 1 of 2 new tasks are healthy, 1 old are left\.$/)
  test.ok(told.facts.includes('It waits for 1 task to become healthy.'))
  test.same(told.deployments.map(({ status }) => status).sort(), ['ACTIVE', 'PRIMARY'])
})

await t.test('a wait for a place is judged anew, with the nearest misses and what to do', async (test) => {
  const waiting = { since: testNow - 300_000, at: testNow - 20_000, sentence: 'as it was', counts: [], nearest: [] }
  const told = why(
    { instance: [host(1, roomFor(1)), host(2, { agentConnected: false })], task: [member()] },
    { waiting },
  )
  test.equal(told.state, 'waiting')
  test.match(
    told.summary,
    /^Its next task has had no place for 5 min: no instance matched: 1 lacks CPU \(want 256 units, most free 0\), 1 has a disconnected agent\.$/,
  )
  test.equal(told.waiting?.nearest[0]?.instanceId, 'i2', 'one miss is nearer than two')
  test.ok(told.facts.includes('Nearest: instance i2 has a disconnected agent.'))
  test.match(told.next[0], /nearest is instance i2, which has a disconnected agent/)
  test.equal(told.waiting?.since, waiting.since)

  const room = why({ task: [member()] }, { waiting })
  test.equal(room.waiting, undefined, 'there is room by now')
  const none = why({ instance: [] }, { waiting })
  test.match(none.summary, /no instance matched: there is none\.$/)
  test.match(none.next[0], /Start an agent/)
})

await t.test('failures: the pause, the cause, and where its log lines are', async (test) => {
  const failedTask = aTask({ taskId: 'f'.repeat(32) })
  const cause = {
    at: testNow - 5000,
    taskArn: failedTask.taskArn,
    reason: 'Essential container in task exited',
    containerName: 'app',
    exitCode: 3,
    isHopeless: false,
  }
  const pausing = why({}, { cause, failuresInRow: 4, retryAt: testNow + 8000 })
  test.equal(pausing.state, 'backoff')
  test.equal(pausing.summary, '4 tasks have failed in a row; the next start is in 8 s (2026-11-21T12:00:08.000Z).')
  test.match(
    pausing.facts.join('\n'),
    /Last failure, 5 s ago: container app of task f{32}: Essential .* \(exit code 3\)\./,
  )
  test.match(pausing.next[0], `/v1/tasks/${'f'.repeat(32)}/why`)
  test.match(pausing.deployments[0], { retryInSeconds: 8, lastFailure: { exitCode: 3, ageSeconds: 5 } })

  const reason = 'ECS deployment failed: tasks failed to start.'
  const failed = why({}, { cause, rolloutState: 'FAILED', rolloutStateReason: reason })
  test.equal(failed.state, 'failed')
  test.match(failed.summary, /has failed, and starts nothing any more: ECS deployment failed: tasks failed to start\.$/)
  test.notMatch(failed.facts.join(' '), /about to start/)

  const old = aDeployment({ status: 'ACTIVE', rolloutState: 'COMPLETED' })
  const task = [
    member({ hasHealthCheck: true, healthStatus: 'UNHEALTHY' }),
    member({ deploymentId: old.id }),
    member({ deploymentId: old.id }),
  ]
  const left = why({ task, deployment: [{ ...deployment, rolloutState: 'FAILED' }, old] })
  test.ok(left.facts.includes('Of its tasks 0 are healthy; 2 of older deployments go on.'))
  test.notMatch(left.facts.join(' '), /going on for|replacement/)
})

await t.test('a pause of replacement, percentages and protection that hold it', async (test) => {
  const cluster = [aCluster({ replacementPausedSince: testNow - 30_000 })]
  const paused = why(
    { cluster, task: [member(), member({ lostSince: testNow - 30_000 })] },
    { rolloutState: 'COMPLETED' },
  )
  test.equal(paused.state, 'paused')
  test.match(paused.summary, /^1 task is on instances that fell silent, and not replaced for 30 s now/)
  test.notMatch(paused.facts.join(' '), /about to start/)
  test.match(paused.next[1], '/v1/clusters/default/resume-replacement')

  const deploymentConfiguration = { minimumHealthyPercent: 100, maximumPercent: 100 }
  const percentages = why(
    { task: [member(), member()] },
    { stuck: { since: testNow - 10_000, by: 'percentages' } },
    { deploymentConfiguration },
  )
  test.equal(percentages.state, 'stuck')
  test.match(
    percentages.summary,
    /of 2 desired, minimumHealthyPercent 100 keeps 2 healthy and maximumPercent 100 allows 2/,
  )

  const task = [member({ protectedUntil: testNow + 60_000 }), member({ protectedUntil: testNow - 1 })]
  const protectedTasks = why({ task }, { stuck: { since: testNow - 10_000, by: 'protection' } })
  test.match(protectedTasks.summary, /protection for 10 s: 1 is protected, the last until 2026-11-21T12:01:00/)
})

await t.test('the end of a service', async (test) => {
  test.match(why({ task: [member()] }, {}, { status: 'DRAINING' }), {
    state: 'draining',
    summary: 'The service is being deleted; 1 task has yet to end.',
  })
  test.match(why({}, { status: 'INACTIVE' }, { status: 'INACTIVE', inactiveSince: testNow - 9000 }), {
    state: 'inactive',
    summary: 'The service was deleted 9 s ago.',
  })
  test.equal(why({}, {}, { deploymentController: { type: 'EXTERNAL' } }).state, 'external')
})

await t.test('a task tells how it was placed', async (test) => {
  const state = aState({ instance: [host(1), host(2), host(3, { status: 'DRAINING' })] })
  const request = {
    definition: aTaskDefinition(),
    group: 'service:web',
    constraints: [],
    strategies: [],
    default: 'service' as const,
  }
  const placed = planPlacement(state, 'default', request, testNow, aWorld()).next()
  if (placed.kind === 'refused') throw new Error(placed.sentence)
  const row = aTask({ instanceId: placed.instance.instanceId, placement: placed.note })
  const told = explainTask(state, row, testNow)
  test.equal(
    told.facts.at(-1),
    'It was placed on instance i1, one of 2 that could take it of 3 (1 is draining): 0 of its group in a, 0 of its group, ' +
      '0 live tasks; next came instance i2: 0 of its group in b, 0 of its group, 0 live tasks.',
  )
  test.same(told.placement, placed.note)
})

function clusterOf(hosts: number, tasksEach: number, rows: Rows = {}): State {
  const instance = Array.from({ length: hosts }, (_, index) => host(index + 1, roomFor(tasksEach)))
  return aState({ instance, taskDefinition: [aTaskDefinition(), aTaskDefinition({ revision: 2 })], ...rows })
}

function sizes(groups: readonly PlannedTasks[]): number {
  return groups.reduce((sum, { count }) => sum + count, 0)
}

/** `2 started, 0 stopped` for each step. */
function story({ steps }: PlannedRollout): string[] {
  return steps.map(({ started, stopped }) => `${sizes(started)} started, ${sizes(stopped)} stopped`)
}

/** A service of `count` tasks of web:1 that has come to rest: what a plan would end with, made so. */
function runningService(state: State, desiredCount: number, percentages: { min: number; max: number }): void {
  const deploymentConfiguration = { minimumHealthyPercent: percentages.min, maximumPercent: percentages.max }
  inTransaction(state, (tx) => {
    const input = { serviceName: 'web', taskDefinition: 'web:1', desiredCount, deploymentConfiguration }
    planCreateService(tx, input, aCall(), aWorld())
  })
}

await t.test('a plan of an update tells the steps of the rollout, and writes nothing', async (test) => {
  const state = clusterOf(2, 4)
  runningService(state, 4, { min: 50, max: 100 })
  const before = JSON.stringify(state.all('task'))
  const update = { service: 'web', taskDefinition: 'web:2' }
  const atHalf = planUpdateService(state.begin(), update, aCall({ now: testNow + 600_000 }), aWorld(2))
  test.same(story(atHalf), [
    '0 started, 2 stopped',
    '2 started, 0 stopped',
    '0 started, 2 stopped',
    '2 started, 0 stopped',
  ])
  test.equal(atHalf.end.state, 'steady')
  test.ok((atHalf.end.ages.deployment ?? Infinity) <= 60, 'told as it stands after the last step, not hours later')
  test.equal(atHalf.isCutShort, false)
  test.equal(JSON.stringify(state.all('task')), before)

  const more = { ...update, deploymentConfiguration: { minimumHealthyPercent: 100, maximumPercent: 150 } }
  const above = planUpdateService(state.begin(), more, aCall({ now: testNow + 600_000 }), aWorld(2))
  test.same(story(above), [
    '2 started, 0 stopped',
    '0 started, 2 stopped',
    '2 started, 0 stopped',
    '0 started, 2 stopped',
  ])
})

await t.test('a plan of what has no room ends with what is waited for', async (test) => {
  const planned = planCreateService(
    clusterOf(2, 2).begin(),
    { serviceName: 'web', taskDefinition: 'web:1', desiredCount: 5 },
    aCall(),
    aWorld(),
  )
  test.same(story(planned), ['4 started, 0 stopped'])
  test.equal(planned.end.state, 'waiting')
  test.match(planned.end.waiting?.sentence, /^no instance matched: 2 lack CPU/)
  test.equal(planned.steps[0]?.placement?.ranking[0]?.instanceId, 'i1')
})

await t.test('what plan says is what the call then does', async (test) => {
  let placed = 0
  const layouts = fc.record({
    hosts: fc.integer({ min: 1, max: 5 }),
    tasksEach: fc.integer({ min: 0, max: 4 }),
    desiredCount: fc.integer({ min: 1, max: 10 }),
    strategy: fc.constantFrom<Input<'CreateService'>['placementStrategy']>(
      undefined,
      [{ type: 'random' }],
      [{ type: 'binpack', field: 'memory' }],
      [{ type: 'spread', field: 'instanceId' }],
    ),
    seed: fc.nat(),
  })
  const property = fc.property(layouts, ({ hosts, tasksEach, desiredCount, strategy, seed }) => {
    const state = clusterOf(hosts, tasksEach)
    const input = { serviceName: 'web', taskDefinition: 'web:1', desiredCount, placementStrategy: strategy }
    const planned = planCreateService(state.begin(), input, aCall(), aWorld(seed))
    const started = inTransaction(state, (tx) => {
      const world = aWorld(seed)
      createService(tx, input, aCall(), world)
      serviceDecider.decide(tx, key, testNow, world)
      return tx.find('task', 'liveByService', key).map(({ instanceId }) => instanceId)
    })
    placed += started.length
    const told = (planned.steps[0]?.started ?? []).flatMap(({ instanceId, count }) => Array(count).fill(instanceId))
    if (JSON.stringify(told.toSorted(compareKeys)) !== JSON.stringify(started.toSorted(compareKeys)))
      throw new Error(`${told.join()} is not ${started.join()}`)

    const count = Math.min(10, desiredCount)
    const run = { taskDefinition: 'web:1', count, placementStrategy: strategy }
    const plannedRun = planRunTask(state.begin(), run, aCall(), aWorld(seed))
    const { tasks = [], failures } = inTransaction(state, (tx) => runTask(tx, run, aCall(), aWorld(seed)))
    const went = tasks.map(({ containerInstanceArn }) => containerInstanceArn?.split('/').at(-1))
    if (JSON.stringify(went) !== JSON.stringify(plannedRun.tasks.map(({ instanceId }) => instanceId))) return false
    return JSON.stringify(failures) === JSON.stringify(plannedRun.failures)
  })
  fc.assert(property, { numRuns: 150, seed: 20261121 })
  test.ok(placed > 300, `${placed} tasks were planned and placed`)
})

/** What mends each kind of miss, by the words that name it. */
const mends: readonly (readonly [RegExp, (instance: InstanceRow) => Partial<InstanceRow>])[] = [
  [/is draining/, () => ({ status: 'ACTIVE' })],
  [/has a disconnected agent/, () => ({ agentConnected: true })],
  [/lacks CPU \(want/, (row) => ({ registeredResources: withMore(row, 'CPU') })],
  [/lacks memory \(want/, (row) => ({ registeredResources: withMore(row, 'MEMORY') })],
  [/has TCP port 81 in use/, () => ({ hostTcpPorts: [] })],
  [/lacks attribute gpu/, (row) => ({ attributes: [...row.attributes, { name: 'gpu' }] })],
  [
    /fails memberOf attribute:rack == r1 \(found/,
    (row) => ({ attributes: [...withoutRack(row), { name: 'rack', value: 'r1' }] }),
  ],
]

function withMore(row: InstanceRow, name: string): InstanceRow['registeredResources'] {
  return row.registeredResources.map((each) => (each.name === name ? { ...each, integerValue: 9999 } : each))
}

function withoutRack(row: InstanceRow): InstanceRow['attributes'] {
  return row.attributes.filter((attribute) => attribute.name !== 'rack')
}

await t.test('removing what why names makes that host eligible, and each of it is needed', async (test) => {
  const definition: TaskDefinitionRow = aTaskDefinition({
    requiresAttributes: [{ name: 'gpu' }],
    containerDefinitions: [
      {
        name: 'app',
        image: 'busybox:1',
        cpu: 100,
        memory: 100,
        portMappings: [{ containerPort: 80, hostPort: 81, protocol: 'tcp' }],
      },
    ],
  })
  const constraints: PlacementConstraint[] = [{ type: 'memberOf', expression: 'attribute:rack == r1' }]
  const request: PlacementRequest = { definition, group: 'service:web', constraints, strategies: [] }
  const shapes = fc.array(
    fc.record({
      status: fc.constantFrom('ACTIVE' as const, 'DRAINING' as const),
      agentConnected: fc.boolean(),
      cpu: fc.constantFrom(50, 200),
      memory: fc.constantFrom(60, 200),
      hostTcpPorts: fc.constantFrom([], [81]),
      attributes: fc.subarray([{ name: 'gpu' }, { name: 'rack', value: 'r1' }]),
    }),
    { minLength: 1, maxLength: 5 },
  )
  let mended = 0
  const property = fc.property(shapes, (layout) => {
    const instances = layout.map(({ cpu, memory, ...rest }, index) => {
      const registeredResources = [
        { name: 'CPU', type: 'INTEGER', integerValue: cpu },
        { name: 'MEMORY', type: 'INTEGER', integerValue: memory },
      ]
      return host(index + 1, { registeredResources, ...rest })
    })
    const refused = planPlacement(aState({ instance: instances }), 'default', request, testNow, aWorld()).next()
    if (refused.kind === 'placed') return
    for (const { instanceId, miss } of refused.nearest) {
      const instance = instances.find((each) => each.instanceId === instanceId)
      const named = mends.filter(([words]) => words.test(miss))
      if (instance === undefined || named.length === 0) throw new Error(`${miss} names nothing that can be mended`)
      const fits = (some: typeof named): boolean => {
        const row = some.reduce((sofar, [, mend]) => ({ ...sofar, ...mend(sofar) }), instance)
        return placeOn(aState({ instance: [row] }), row, request, testNow).kind === 'placed'
      }
      if (!fits(named)) throw new Error(`${instanceId} is refused though all of it is mended: ${miss}`)
      for (const one of named) if (fits(named.filter((each) => each !== one))) throw new Error(`${miss} names too much`)
      mended += named.length
    }
  })
  fc.assert(property, { numRuns: 200, seed: 20261121 })
  test.ok(mended > 500, `${mended} causes were removed`)
})
