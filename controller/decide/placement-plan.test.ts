import * as fc from 'fast-check'
import t from 'tap'
import {
  aState,
  aTask,
  aTaskDefinition,
  aWorld,
  anInstance,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import { planPlainly } from '../../test/support/plain-placement.ts'
import type { PlacementStrategy } from '../../proto/model/types.ts'
import { createState, type State } from '../state/state.ts'
import type { InstanceRow, TaskDefinitionRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { type PlacementRequest, tasksOfGroup } from './placement-candidates.ts'
import { planPlacement } from './placement-plan.ts'
import { resourcesLeft } from './resources.ts'

const zone = 'ecs.availability-zone'

function withResources(cpuUnits: number, memoryMiB: number): Pick<InstanceRow, 'registeredResources'> {
  return {
    registeredResources: [
      { name: 'CPU', type: 'INTEGER', integerValue: cpuUnits },
      { name: 'MEMORY', type: 'INTEGER', integerValue: memoryMiB },
    ],
  }
}

interface HostShape {
  readonly zone: string
  readonly rack: string
  readonly cpuUnits: number
  readonly memoryMiB: number
}

function hostOf(shape: HostShape, number: number): InstanceRow {
  return anInstance({
    instanceId: `i${number}`,
    registeredAt: 1_000_000 + number,
    attributes: [
      { name: zone, value: shape.zone },
      { name: 'rack', value: shape.rack },
    ],
    ...withResources(shape.cpuUnits, shape.memoryMiB),
  })
}

function definitionOf(family: string, cpu: number, memory: number, hostPort: number): TaskDefinitionRow {
  const portMappings = hostPort === 0 ? [] : [{ containerPort: 80, hostPort, protocol: 'tcp' as const }]
  return aTaskDefinition({
    family,
    containerDefinitions: [{ name: 'app', image: 'busybox:1', cpu, memory, essential: true, portMappings }],
  })
}

const spreadZone: PlacementStrategy = { type: 'spread', field: `attribute:${zone}` }
const spreadRack: PlacementStrategy = { type: 'spread', field: 'attribute:rack' }
const spreadInstance: PlacementStrategy = { type: 'spread', field: 'instanceId' }
const binpackMemory: PlacementStrategy = { type: 'binpack', field: 'memory' }
const binpackCpu: PlacementStrategy = { type: 'binpack', field: 'cpu' }
const random: PlacementStrategy = { type: 'random' }

const strategyLists: readonly (readonly PlacementStrategy[])[] = [
  [],
  [random],
  [spreadInstance],
  [binpackCpu],
  [spreadZone, binpackMemory],
  [spreadZone, spreadRack, spreadInstance],
  [binpackMemory, spreadZone, random],
  [spreadZone, spreadRack, random],
]

const kinds: fc.Arbitrary<PlacementRequest> = fc
  .record({
    family: fc.constantFrom('web', 'db'),
    cpu: fc.integer({ min: 0, max: 3 }),
    memory: fc.integer({ min: 1, max: 6 }),
    hostPort: fc.constantFrom(0, 0, 0, 81),
    constraints: fc.constantFrom<PlacementRequest['constraints']>(
      [],
      [],
      [{ type: 'distinctInstance' }],
      [{ type: 'memberOf', expression: 'attribute:rack != r1' }],
      [{ type: 'memberOf', expression: 'not(task:group == service:db)' }],
      [{ type: 'memberOf', expression: 'runningTasksCount < 3' }],
    ),
    strategies: fc.constantFrom(...strategyLists),
    default: fc.constantFrom('task' as const, 'service' as const),
  })
  .map(({ family, cpu, memory, hostPort, ...rest }) => ({
    definition: definitionOf(family, cpu, memory, hostPort),
    group: `service:${family}`,
    ...rest,
  }))

const shapes: fc.Arbitrary<HostShape> = fc.record({
  zone: fc.constantFrom('a', 'b', 'c'),
  rack: fc.constantFrom('r1', 'r2'),
  cpuUnits: fc.integer({ min: 0, max: 12 }),
  memoryMiB: fc.integer({ min: 0, max: 24 }),
})

/** What happens to a cluster: tasks are placed and kept, or placed in a turn that fails; the rest goes on around them. */
function runtime(status: 'OK' | 'IMPAIRED'): InstanceRow['healthStatus'] {
  return { overallStatus: status, details: [{ type: 'CONTAINER_RUNTIME', status }] }
}

const steps = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('place' as const),
        request: fc.nat(3),
        count: fc.integer({ min: 1, max: 6 }),
        isKept: fc.constantFrom(true, true, false),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('stop' as const), which: fc.nat(20) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('host' as const),
        which: fc.nat(5),
        change: fc.constantFrom<Partial<InstanceRow>>(
          { agentConnected: false },
          { agentConnected: true },
          { healthStatus: runtime('IMPAIRED') },
          { healthStatus: runtime('OK') },
          { status: 'DRAINING' },
          { status: 'ACTIVE' },
          { status: 'INACTIVE' },
          { seqNum: 7 },
          { registeredAt: 5 },
          { attributes: [{ name: zone, value: 'a' }] },
          withResources(4, 8),
        ),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('join' as const), shape: shapes }) },
  ),
  { minLength: 3, maxLength: 25 },
)
type Step = typeof steps extends fc.Arbitrary<(infer S)[]> ? S : never

interface Told {
  placed: number
  refused: number
}

/** Places with both, and holds one answer against the other; writes what was placed as it goes. */
function placeBoth(tx: Transaction, request: PlacementRequest, count: number, seed: number, told: Told): void {
  // Each has a view of its own of the same rows: the plain one is asked before anything is written.
  const plain = planPlainly(tx, 'default', request, aWorld(seed))
  const plan = planPlacement(tx, 'default', request, testNow, aWorld(seed))
  for (let number = 0; number < count; number += 1) {
    const wanted = plain.next()
    const seen = plan.next()
    if (seen.kind === 'refused') {
      told.refused += 1
      if (JSON.stringify(seen) !== JSON.stringify(wanted))
        throw new Error(`refused: ${show(seen)}, want ${show(wanted)}`)
      return
    }
    told.placed += 1
    const { instanceId } = seen.instance
    const found = { instanceId, able: seen.note.able, considered: seen.note.considered }
    if (JSON.stringify(found) !== JSON.stringify(wanted)) throw new Error(`${show(found)}, want ${show(wanted)}`)
    const counted = seen.note.counts.reduce((sum, each) => sum + each.count, 0)
    if (counted + seen.note.able !== seen.note.considered)
      throw new Error(`the counts of ${show(seen.note)} do not add up`)
    if (seen.note.ranking[0]?.instanceId !== instanceId) throw new Error('the chosen one leads the ranking')
    const { reserved } = seen
    const row = aTask({ instanceId, group: request.group, reserved, placement: seen.note })
    tx.put('task', row.taskId, row)
  }
}

function show(value: object): string {
  return JSON.stringify(value).slice(0, 600)
}

function perform(state: State, step: Step, kindsOfTask: readonly PlacementRequest[], seed: number, told: Told): void {
  const turn = state.begin()
  if (step.kind === 'place') {
    const request = kindsOfTask[step.request % kindsOfTask.length]
    if (request === undefined) throw new Error('there is at least one kind of task')
    const decision = turn.begin()
    placeBoth(decision, request, step.count, seed, told)
    turn.merge(decision)
    const other = kindsOfTask[(step.request + 1) % kindsOfTask.length] ?? request
    placeBoth(turn.begin(), other, 1, seed, told)
    if (step.isKept) state.apply(turn.changes())
    return
  }
  disturb(turn, step)
  state.apply(turn.changes())
}

function disturb(tx: Transaction, step: Exclude<Step, { kind: 'place' }>): void {
  const instances = tx.find('instance', 'byCluster', 'default')
  if (step.kind === 'join') {
    const row = hostOf(step.shape, instances.length)
    tx.put('instance', row.instanceId, row)
  } else if (step.kind === 'host') {
    const host = instances[step.which % instances.length]
    if (host !== undefined) tx.put('instance', host.instanceId, { ...host, ...step.change })
  } else {
    const live = tx.find('task', 'liveByCluster', 'default')
    const task = live[step.which % Math.max(1, live.length)]
    if (task === undefined) return
    const isAsked = task.desiredStatus === 'RUNNING' && step.which % 2 === 0
    tx.put('task', task.taskId, isAsked ? { ...task, desiredStatus: 'STOPPED' } : { ...task, lastStatus: 'STOPPED' })
  }
}

await t.test('for any history the plan places as the plain rule does, and refuses in the same words', async (test) => {
  const told = { placed: 0, refused: 0 }
  fc.assert(
    fc.property(
      fc.array(shapes, { minLength: 1, maxLength: 6 }),
      fc.array(kinds, { minLength: 1, maxLength: 3 }),
      steps,
      fc.nat(),
      (layout, kindsOfTask, history, seed) => {
        const state = aState({ instance: layout.map(hostOf) })
        for (const [index, step] of history.entries()) perform(state, step, kindsOfTask, seed + index, told)
      },
    ),
    { numRuns: 400, seed: 20261121 },
  )
  test.ok(told.placed > 2000 && told.refused > 1000, `${told.placed} placed, ${told.refused} refused`)
})

function hostsOf(plan: ReturnType<typeof planPlacement>, count: number): string[] {
  return Array.from({ length: count }, () => {
    const placed = plan.next()
    return placed.kind === 'placed' ? placed.instance.instanceId : placed.sentence
  })
}

function planFor(reader: Reader, over: Partial<PlacementRequest> = {}): ReturnType<typeof planPlacement> {
  const request = { definition: aTaskDefinition(), group: 'service:web', constraints: [], strategies: [], ...over }
  return planPlacement(reader, 'default', request, testNow, aWorld())
}

function hosts(...zones: readonly string[]): InstanceRow[] {
  return zones.map((name, number) => hostOf({ zone: name, rack: 'r1', cpuUnits: 2048, memoryMiB: 4096 }, number + 1))
}

await t.test('a plan that nobody writes down keeps its own account, and leaves none to the next', async (test) => {
  const state = aState({ instance: hosts('a', 'a') })
  const strategies = [{ type: 'spread' as const, field: 'instanceId' }]
  test.same(hostsOf(planFor(state, { strategies }), 3), ['i1', 'i2', 'i1'])
  test.same(hostsOf(planFor(state, { strategies }), 2), ['i1', 'i2'])
})

await t.test('where more changed than is kept count of, every instance is read again', async (test) => {
  const state = createState(undefined, 8)
  inTransaction(state, (tx) => {
    for (const row of hosts('a', 'a')) tx.put('instance', row.instanceId, row)
  })
  const strategies = [{ type: 'spread' as const, field: 'instanceId' }]
  test.same(hostsOf(planFor(state, { strategies }), 1), ['i1'])
  for (let number = 0; number < 20; number += 1) {
    const instanceId = number === 0 ? 'i1' : 'elsewhere'
    const row = aTask({ instanceId, group: 'service:web' })
    inTransaction(state, (tx) => tx.put('task', row.taskId, row))
  }
  test.same(hostsOf(planFor(state, { strategies }), 3), ['i2', 'i1', 'i2'])
})

await t.test('a kind of task that was long not placed is judged by how the instances are now', async (test) => {
  const state = aState({ instance: hosts('a', 'a') })
  const strategies = [{ type: 'spread' as const, field: 'instanceId' }]
  test.same(hostsOf(planFor(state, { strategies }), 1), ['i1'])
  for (let number = 0; number < 40; number += 1) {
    const row = aTask({ instanceId: number < 2 ? 'i2' : 'i1', group: number < 2 ? 'service:web' : 'other' })
    inTransaction(state, (tx) =>
      tx.put('task', row.taskId, { ...row, reserved: { ...row.reserved, memoryMiB: 1, cpuUnits: 1 } }),
    )
    planFor(state, { group: 'service:db' }).next()
  }
  test.same(hostsOf(planFor(state, { strategies }), 3), ['i1', 'i1', 'i1'])
})

await t.test('a plan goes on after another one from what was written', async (test) => {
  const state = aState({ instance: hosts('a', 'a') })
  inTransaction(state, (tx) => {
    const big = { definition: definitionOf('big', 1, 4000, 0), group: 'service:big' }
    const small = planFor(tx, { strategies: [binpackMemory] })
    test.same(hostsOf(small, 1), ['i1'])
    tx.put('task', 'one', aTask({ taskId: 'one', instanceId: 'i1' }))
    test.same(hostsOf(planFor(tx, big), 1), ['i2'])
    const reserved = { cpuUnits: 1, memoryMiB: 4000, tcpPorts: [], udpPorts: [], dynamicPortsAwaited: 0 }
    tx.put('task', 'two', aTask({ taskId: 'two', instanceId: 'i2', reserved }))
    const full =
      'no instance matched: 1 lacks CPU (want 256 units, most free 0), 1 lacks memory (want 512 MiB, most free 96)'
    test.same(hostsOf(small, 8).slice(6), ['i1', full])
  })
})

await t.test('by default services balance zones, then their own tasks, then all tasks of an instance', async (test) => {
  const others = [aTask({ instanceId: 'i1' }), aTask({ instanceId: 'i1' })]
  const state = aState({ instance: hosts('a', 'a', 'b'), task: others })
  test.same(hostsOf(planFor(state, { default: 'service' }), 6), ['i2', 'i3', 'i1', 'i3', 'i2', 'i3'])
})

await t.test('a lost or leaving task leaves its place to its successor', async (test) => {
  const own = { instanceId: 'i3', group: 'service:web' }
  const task = [aTask({ ...own, lostSince: 1 }), aTask({ ...own, evacuatingSince: 1 }), aTask({ ...own })]
  const instance = [...hosts('a', 'b'), hostOf({ zone: 'b', rack: 'r1', cpuUnits: 99, memoryMiB: 99 }, 3)]
  const state = aState({ instance, task })
  test.same(hostsOf(planFor(state, { default: 'service' }), 3), ['i1', 'i2', 'i1'], 'one counts in zone b, not three')
})

await t.test('tasks of a group are counted alike on full instances and on empty ones', async (test) => {
  const own = { group: 'service:web' }
  const all = Array.from({ length: 40 }, (_, number) =>
    aTask({ group: `service:${number % 3}`, ...(number % 4 === 0 && own), ...(number % 5 === 0 && { lostSince: 1 }) }),
  )
  const instance = anInstance()
  for (const count of [0, 15, 16, 40]) {
    const tasks = all.slice(0, count)
    const meant = tasks.filter(({ group, lostSince }) => group === own.group && lostSince === undefined).length
    test.equal(
      tasksOfGroup({ instance, tasks, resources: resourcesLeft(instance, tasks) }, own.group),
      meant,
      `of ${count}`,
    )
  }
})

await t.test('the note on a task: what was weighed, the three best and their numbers', async (test) => {
  const instance = [
    ...hosts('a', 'b', 'b'),
    ...hosts('a').map((row) => ({ ...row, instanceId: 'i9', agentConnected: false })),
    ...hosts('a').map((row) => ({ ...row, instanceId: 'i8', healthStatus: runtime('IMPAIRED') })),
  ]
  const placed = planFor(aState({ instance }), { default: 'service' }).next()
  if (placed.kind === 'refused') throw new Error(placed.sentence)
  test.same(placed.note, {
    at: testNow,
    considered: 5,
    able: 3,
    counts: [
      {
        filter: 'engineAnswers',
        reason: 'AGENT',
        count: 1,
        explanation: '1 has a Docker Engine that does not answer',
      },
      { filter: 'agentConnected', reason: 'AGENT', count: 1, explanation: '1 has a disconnected agent' },
    ],
    ranking: [
      { instanceId: 'i1', scores: ['0 of its group in a', '0 of its group', '0 live tasks'] },
      { instanceId: 'i2', scores: ['0 of its group in b', '0 of its group', '0 live tasks'] },
      { instanceId: 'i3', scores: ['0 of its group in b', '0 of its group', '0 live tasks'] },
    ],
  })
})

await t.test('nearest: the fewest filters failed, then the smallest share lacking', async (test) => {
  const shape = { zone: 'a', rack: 'r1' }
  const instance = [
    hostOf({ ...shape, cpuUnits: 100, memoryMiB: 400 }, 1),
    hostOf({ ...shape, cpuUnits: 256, memoryMiB: 256 }, 2),
    { ...hostOf({ ...shape, cpuUnits: 256, memoryMiB: 512 }, 3), agentConnected: false },
    hostOf({ ...shape, cpuUnits: 256, memoryMiB: 500 }, 4),
  ]
  const refused = planFor(aState({ instance })).next()
  if (refused.kind === 'placed') throw new Error('nothing fits')
  test.same(refused.nearest, [
    { instanceId: 'i4', filter: 'memory', miss: 'lacks memory (want 512 MiB, most free 500)' },
    { instanceId: 'i2', filter: 'memory', miss: 'lacks memory (want 512 MiB, most free 256)' },
    { instanceId: 'i3', filter: 'agentConnected', miss: 'has a disconnected agent' },
  ])
})
