/**
 * Part (a) of the scheduler bench: placement alone, as the scheduler asks for it. Decisions are taken in the transactions
 * of turns, and what is decided is written and applied; only the deciding is timed.
 */
import { performance } from 'node:perf_hooks'
import { planPlacement } from '../controller/decide/placement-plan.ts'
import type { PlacementRequest } from '../controller/decide/placement-candidates.ts'
import type { State } from '../controller/state/state.ts'
import type { InstanceRow, TaskRow } from '../controller/state/tables.ts'
import { aState, aTask, aTaskDefinition, aWorld, anInstance, testNow } from '../test/support/builders.ts'
import { planPlainly } from '../test/support/plain-placement.ts'
import type { Row } from './result.ts'
import { pairedRatio, quantile, summarize } from './statistics.ts'

const sizes = [100, 1000, 5000] as const
/** Tasks of others that are there before: for each instance. */
const tasksBefore = 5
/** As the scheduler starts at most in one decision. */
const batchSize = 500
const batches = 20
const singles = 400
const plainDecisions = 40

const rateAim = 10_000
const p99AimMs = 2

interface Kind {
  readonly name: string
  readonly request: Pick<PlacementRequest, 'strategies' | 'constraints' | 'default'>
}

const spreadZone = { type: 'spread' as const, field: 'attribute:ecs.availability-zone' }
const binpack = { type: 'binpack' as const, field: 'memory' }

const kinds: readonly Kind[] = [
  { name: 'binpack', request: { strategies: [binpack], constraints: [] } },
  { name: 'spread over zone, then binpack', request: { strategies: [spreadZone, binpack], constraints: [] } },
  {
    name: 'default of services, memberOf',
    request: {
      strategies: [],
      default: 'service',
      constraints: [
        {
          type: 'memberOf',
          expression: 'attribute:stack == prod and not(task:group == service:db) and runningTasksCount < 900',
        },
      ],
    },
  },
]

interface Round {
  readonly rate: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly singleP99Ms: number
  readonly plainRate: number
}

export function benchPlacement(rounds: number, progress: (message: string) => void): readonly Row[] {
  const rows: Row[] = []
  for (const size of sizes) {
    for (const kind of kinds) {
      progress(`${size} instances, ${kind.name} ...`)
      // The first round warms up, and does not count.
      const seen = Array.from({ length: rounds + 1 }, () => measure(size, kind)).slice(1)
      rows.push(...rowsOf(size, kind, seen))
    }
  }
  return rows
}

export const placementNotes = [
  `Placement: ${tasksBefore} tasks of others on each instance beforehand; ${batchSize} tasks to a plan and a turn, ${batches} turns; what is decided is written and applied to the state, outside of the time.`,
  `  p50 and p99 are of one decision, those that begin a plan included; "one task a turn": ${singles} turns of one plan and one task each. Beside: the plain rule that looks at every instance for each task.`,
]

function measure(size: number, kind: Kind): Round {
  const request = requestOf(kind)
  const state = clusterOf(size)
  const latencies: number[] = []
  for (let batch = 0; batch < batches; batch += 1) latencies.push(...placeInTurn(state, request, batchSize))
  const single: number[] = []
  for (let turn = 0; turn < singles; turn += 1) single.push(...placeInTurn(state, request, 1))
  return {
    rate: (latencies.length * 1000) / latencies.reduce((sum, each) => sum + each, 0),
    p50Ms: quantile(latencies, 0.5),
    p99Ms: quantile(latencies, 0.99),
    singleP99Ms: quantile(single, 0.99),
    plainRate: measurePlain(state, request),
  }
}

/** Milliseconds of each decision; the first holds the beginning of the plan too. */
function placeInTurn(state: State, request: PlacementRequest, count: number): readonly number[] {
  const turn = state.begin()
  const decision = turn.begin()
  const latencies: number[] = []
  let begun = performance.now()
  const plan = planPlacement(decision, 'default', request, testNow, world)
  for (let number = 0; number < count; number += 1) {
    const placed = plan.next()
    latencies.push(performance.now() - begun)
    if (placed.kind === 'refused') throw new Error(`the bench's cluster is too small: ${placed.sentence}`)
    const { instance, reserved, note } = placed
    const task = taskOn(instance.instanceId, { group: request.group, reserved, placement: note })
    decision.put('task', task.taskId, task)
    // As the task decider does: the agent is told under the next number.
    const row = decision.get('instance', instance.instanceId) ?? instance
    decision.put('instance', row.instanceId, { ...row, seqNum: row.seqNum + 1 })
    begun = performance.now()
  }
  turn.merge(decision)
  state.apply(turn.changes())
  return latencies
}

function measurePlain(state: State, request: PlacementRequest): number {
  const plan = planPlainly(state, 'default', request, world)
  const begun = performance.now()
  for (let number = 0; number < plainDecisions; number += 1) plan.next()
  return (plainDecisions * 1000) / (performance.now() - begun)
}

const world = aWorld()

function requestOf({ request }: Kind): PlacementRequest {
  const container = { name: 'app', image: 'busybox:1', cpu: 16, memory: 32, essential: true }
  const definition = aTaskDefinition({
    containerDefinitions: [container],
    requiresAttributes: [
      { name: 'com.amazonaws.ecs.capability.docker-remote-api.1.21' },
      { name: 'ecs.capability.task-eni' },
    ],
  })
  return { definition, group: 'service:web', ...request }
}

/** Attributes as a real agent registers them: about thirty, those that tasks ask for among the last. */
const capabilities = [
  ...Array.from({ length: 24 }, (_, index) => ({ name: `ecs.capability.some-feature-${index}` })),
  { name: 'com.amazonaws.ecs.capability.docker-remote-api.1.21' },
  { name: 'ecs.capability.task-eni' },
]

function clusterOf(size: number): State {
  const instance: InstanceRow[] = Array.from({ length: size }, (_, index) => {
    const attributes = [
      { name: 'ecs.availability-zone', value: `us-east-1${'abcde'[index % 5] ?? 'a'}` },
      { name: 'stack', value: index % 4 === 0 ? 'test' : 'prod' },
      { name: 'ecs.os-type', value: 'linux' },
      { name: 'ecs.cpu-architecture', value: 'x86_64' },
      ...capabilities,
    ]
    return anInstance({ attributes, registeredAt: testNow + index, ...roomFor(size) })
  })
  const task = instance.flatMap(({ instanceId }) =>
    Array.from({ length: tasksBefore }, () => taskOn(instanceId, { group: 'service:other' })),
  )
  return aState({ instance, task })
}

/** Enough for what all turns place. */
function roomFor(size: number): Pick<InstanceRow, 'registeredResources'> {
  const tasks = Math.ceil((4 * (batches * batchSize + singles)) / size) + 100
  return {
    registeredResources: [
      { name: 'CPU', type: 'INTEGER', integerValue: 256 * tasks },
      { name: 'MEMORY', type: 'INTEGER', integerValue: 512 * tasks },
    ],
  }
}

function taskOn(instanceId: string, over: Partial<TaskRow>): TaskRow {
  return aTask({ instanceId, lastStatus: 'RUNNING', ...over })
}

function rowsOf(size: number, { name }: Kind, rounds: readonly Round[]): readonly Row[] {
  const of = (figure: (round: Round) => number): readonly number[] => rounds.map(figure)
  const rate = summarize(of((round) => round.rate))
  const p99 = summarize(of((round) => round.p99Ms))
  const single = summarize(of((round) => round.singleP99Ms))
  const isAimed = size === 5000
  const p99Aim = (median: number): Row['aim'] =>
    isAimed ? { text: `at most ${p99AimMs} ms`, isMet: median <= p99AimMs } : undefined
  return [
    {
      figure: `${size} instances, ${name}`,
      ratio: pairedRatio(
        of((round) => round.rate),
        of((round) => round.plainRate),
      ),
      unit: '/s',
      measured: rate,
      beside: { what: 'looking at each', measured: summarize(of((round) => round.plainRate)) },
      aim: isAimed ? { text: `at least ${rateAim}/s`, isMet: rate.median >= rateAim } : undefined,
    },
    { figure: '  p50', unit: 'ms', measured: summarize(of((round) => round.p50Ms)) },
    { figure: '  p99', unit: 'ms', measured: p99, aim: p99Aim(p99.median) },
    { figure: '  p99, one task a turn', unit: 'ms', measured: single, aim: p99Aim(single.median) },
  ]
}
