import * as fc from 'fast-check'
import t from 'tap'
import { aState, aTask, aWorld, anInstance, testNow } from '../../test/support/builders.ts'
import type { PlacementStrategy } from '../../proto/model/types.ts'
import type { State } from '../state/state.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import { rankForStop } from './placement-scale-in.ts'
import { instanceResources } from './resources.ts'

const serviceKey = 'default/web'
const group = 'service:web'

function inZone(value: string): Pick<InstanceRow, 'attributes'> {
  return { attributes: [{ name: 'ecs.availability-zone', value }] }
}

/** A host with that number for its id, which registered that many seconds after the epoch. */
function host(number: number, zone: string): InstanceRow {
  return anInstance({ instanceId: String(number), registeredAt: number * 1000, ...inZone(zone) })
}

let built = 0

/** A task of service `web` on that host, younger than those made before it. */
function taskOn(instanceId: string, over: Partial<TaskRow> = {}): TaskRow {
  built += 1
  return aTask({ instanceId, serviceKey, group, createdAt: testNow + built, lastStatus: 'RUNNING', ...over })
}

function reserving(memoryMiB: number): Pick<TaskRow, 'reserved'> {
  return { reserved: { cpuUnits: 1, memoryMiB, tcpPorts: [], udpPorts: [], dynamicPortsAwaited: 0 } }
}

/** The hosts of the tasks in the order in which they would be stopped. */
function stops(state: State, tasks: readonly TaskRow[], strategies: readonly PlacementStrategy[] = []): string[] {
  return rankForStop(state, tasks, strategies, aWorld()).map(({ instanceId }) => instanceId)
}

await t.test('by default zones stay balanced, then the instances in a zone', async (test) => {
  const instance = [host(1, 'a'), host(2, 'a'), host(3, 'b')]
  const task = [taskOn('1'), taskOn('1'), taskOn('2'), taskOn('3'), taskOn('3')]
  test.same(stops(aState({ instance, task }), task), ['1', '3', '1', '2', '3'])
})

await t.test('tasks that may not be stopped count for the balance; those that leave anyway do not', async (test) => {
  const instance = [host(1, 'a'), host(2, 'b')]
  const kept = [taskOn('1'), taskOn('1')]
  const leaving = [
    taskOn('2', { desiredStatus: 'STOPPED' }),
    taskOn('2', { lostSince: 1 }),
    taskOn('2', { lostSince: 1 }),
  ]
  const mayStop = [taskOn('1'), taskOn('2')]
  const state = aState({ instance, task: [...kept, ...leaving, ...mayStop] })
  test.same(stops(state, mayStop), ['1', '2'])
})

await t.test('the newest of an instance goes first', async (test) => {
  const task = [taskOn('1'), taskOn('1'), taskOn('1')]
  const ranked = rankForStop(aState({ instance: [host(1, 'a')], task }), task, [], aWorld())
  test.same(
    ranked.map(({ taskId }) => taskId),
    [...task].reverse().map(({ taskId }) => taskId),
  )
})

await t.test('binpack empties the instance that is left with the most free memory', async (test) => {
  const instance = [host(1, 'a'), host(2, 'a')]
  const other = aTask({ instanceId: '1', ...reserving(1000) })
  const task = [
    taskOn('1', reserving(100)),
    taskOn('2', reserving(300)),
    taskOn('2', reserving(300)),
    taskOn('1', reserving(100)),
  ]
  const state = aState({ instance, task: [other, ...task] })
  test.same(stops(state, task, [{ type: 'binpack', field: 'memory' }]), ['2', '2', '1', '1'])
})

/** The plain rule: at each step, look at every task that is left. */
function rankPlainly(state: State, tasks: readonly TaskRow[], strategies: readonly PlacementStrategy[]): string[] {
  const zoneOf = (id: string): string => state.get('instance', id)?.attributes[0]?.value ?? ''
  const order = strategies.length === 0 ? ['zone', 'own', 'live'] : strategies.map(({ field }) => field ?? '')
  let left = [...tasks]
  const ranked: string[] = []
  while (left.length > 0) {
    const gone = tasks.filter((task) => !left.includes(task))
    const measure = (task: TaskRow, what: string): number => {
      if (what === 'zone' || what.startsWith('attribute')) {
        return left.filter((other) => zoneOf(other.instanceId) === zoneOf(task.instanceId)).length
      }
      if (what === 'own' || what === 'instanceId') {
        return left.filter((other) => other.instanceId === task.instanceId).length
      }
      const live = state
        .find('task', 'liveByInstance', task.instanceId)
        .filter((other) => !gone.some(({ taskId }) => taskId === other.taskId))
      if (what === 'live') return live.length
      const instance = state.get('instance', task.instanceId)
      if (instance === undefined) throw new Error('every task has its host')
      const freed = gone.filter(({ instanceId }) => instanceId === task.instanceId)
      const free = instanceResources(state, instance).remaining.memoryMiB
      return freed.reduce((sum, { reserved }) => sum + reserved.memoryMiB, free + task.reserved.memoryMiB)
    }
    let best = left.filter(
      (task) => !left.some((one) => one.instanceId === task.instanceId && one.createdAt > task.createdAt),
    )
    for (const what of order) {
      const most = Math.max(...best.map((task) => measure(task, what)))
      best = best.filter((task) => measure(task, what) === most)
    }
    const next = best.toSorted((one, other) => Number(one.instanceId) - Number(other.instanceId))[0]
    if (next === undefined) throw new Error('something is always best')
    ranked.push(next.taskId)
    left = left.filter((task) => task !== next)
  }
  return ranked
}

await t.test('for any cluster the order is that of the plain rule', async (test) => {
  const layouts = fc.record({
    zones: fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 5 }),
    tasks: fc.array(fc.record({ on: fc.nat(4), memoryMiB: fc.integer({ min: 1, max: 3 }) }), { maxLength: 12 }),
    others: fc.array(fc.record({ on: fc.nat(4), memoryMiB: fc.integer({ min: 1, max: 3 }) }), { maxLength: 6 }),
    strategies: fc.constantFrom<readonly PlacementStrategy[]>(
      [],
      [{ type: 'spread', field: 'instanceId' }],
      [{ type: 'binpack', field: 'memory' }],
      [
        { type: 'spread', field: 'attribute:ecs.availability-zone' },
        { type: 'binpack', field: 'memory' },
      ],
      [
        { type: 'binpack', field: 'memory' },
        { type: 'spread', field: 'attribute:ecs.availability-zone' },
      ],
    ),
  })
  let ranked = 0
  fc.assert(
    fc.property(layouts, ({ zones, tasks, others, strategies }) => {
      const instance = zones.map((zone, index) => host(index + 1, zone))
      const idOf = (on: number): string => String((on % zones.length) + 1)
      const own = tasks.map(({ on, memoryMiB }) => taskOn(idOf(on), reserving(memoryMiB)))
      const foreign = others.map(({ on, memoryMiB }) => aTask({ instanceId: idOf(on), ...reserving(memoryMiB) }))
      const state = aState({ instance, task: [...own, ...foreign] })
      const seen = rankForStop(state, own, strategies, aWorld()).map(({ taskId }) => taskId)
      ranked += seen.length
      return JSON.stringify(seen) === JSON.stringify(rankPlainly(state, own, strategies))
    }),
    { numRuns: 300, seed: 20261121 },
  )
  test.ok(ranked > 1000, `${ranked} tasks were ranked`)
})

await t.test('random is a draw: another seed, another order', async (test) => {
  const instance = [host(1, 'a'), host(2, 'a'), host(3, 'a'), host(4, 'a')]
  const task = instance.flatMap(({ instanceId }) => [taskOn(instanceId), taskOn(instanceId)])
  const state = aState({ instance, task })
  const orderOf = (seed: number): string =>
    rankForStop(state, task, [{ type: 'random' }], aWorld(seed))
      .map(({ instanceId }) => instanceId)
      .join()
  test.equal(orderOf(1), orderOf(1))
  test.ok(new Set([1, 2, 3, 4, 5].map(orderOf)).size > 2)
})
