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
import type { State } from '../state/state.ts'
import type { InstanceRow } from '../state/tables.ts'
import type { PlacementRequest } from './placement-candidates.ts'
import { planPlacement } from './placement-plan.ts'

function host(
  number: number,
  attributes: Readonly<Record<string, string>> = {},
  over: Partial<InstanceRow> = {},
): InstanceRow {
  return anInstance({
    instanceId: String(number),
    registeredAt: number * 1000,
    attributes: Object.entries(attributes).map(([name, value]) => ({ name, value })),
    ...over,
  })
}

function aRequest(expressions: readonly string[], over: Partial<PlacementRequest> = {}): PlacementRequest {
  const constraints = expressions.map((expression) => ({ type: 'memberOf' as const, expression }))
  const strategies = [{ type: 'binpack' as const, field: 'memory' }]
  return { definition: aTaskDefinition(), group: 'service:web', constraints, strategies, ...over }
}

/** Where the tasks of one plan go, up to the first refusal, and its sentence. */
function planned(state: State, request: PlacementRequest, count: number): string[] {
  return inTransaction(state, (tx) => {
    const plan = planPlacement(tx, 'default', request, testNow, aWorld())
    const places: string[] = []
    while (places.length < count) {
      const placed = plan.next()
      places.push(placed.kind === 'placed' ? placed.instance.instanceId : placed.sentence)
      if (placed.kind === 'refused') break
    }
    return places
  })
}

function sentenceFor(instance: InstanceRow[], ...expressions: string[]): string | undefined {
  return planned(aState({ instance }), aRequest(expressions), 1)[0]
}

await t.test('a task goes where every expression holds, and several at once see each other', async (test) => {
  const instance = [host(1, { stack: 'dev' }), host(2, { stack: 'prod' }), host(3, { stack: 'prod', rack: 'r1' })]
  test.same(planned(aState({ instance }), aRequest(['attribute:stack == prod', 'attribute:rack exists']), 2), [
    '3',
    '3',
  ])
  test.same(planned(aState({ instance }), aRequest(['attribute:stack == prod', 'runningTasksCount < 2']), 5), [
    '2',
    '2',
    '3',
    '3',
    'no instance matched: 2 fail memberOf runningTasksCount < 2 (found 2), ' +
      '1 fails memberOf attribute:stack == prod (found dev)',
  ])
})

await t.test('tasks of a group are kept apart, or together', async (test) => {
  const instance = [host(1), host(2)]
  const apart = aRequest(['not (task:group == service:web)'])
  test.same(planned(aState({ instance }), apart, 3), [
    '1',
    '2',
    'no instance matched: 2 fail memberOf not task:group == service:web (found service:web)',
  ])
  const leaving = aTask({ instanceId: '1', group: 'service:web', lastStatus: 'RUNNING', desiredStatus: 'STOPPED' })
  test.same(planned(aState({ instance: [host(1)], task: [leaving] }), apart, 1), ['1'], 'one that stops makes room')
  const cache = aTask({ instanceId: '2', group: 'service:cache' })
  test.same(planned(aState({ instance, task: [cache] }), aRequest(['task:group == service:cache']), 2), ['2', '2'])
  test.equal(
    sentenceFor(instance, 'task:group == service:cache'),
    'no instance matched: 2 fail memberOf task:group == service:cache (found none)',
  )
})

await t.test('a refusal names the first part that fails, and what is there instead', async (test) => {
  const dev = host(1, { stack: 'dev', rack: 'r1' })
  const prod = host(2, { stack: 'prod', rack: 'r2' })
  const bare = host(3)
  const says = (expression: string, ...more: string[]) =>
    sentenceFor([dev, prod, bare], expression, ...more)?.replace('no instance matched: ', '')
  test.equal(says('attribute:stack == test'), '3 fail memberOf attribute:stack == test (found dev, none, prod)')
  test.equal(
    says('attribute:stack exists and attribute:rack in [r9]'),
    '2 fail memberOf attribute:rack in [r9] (found r1, r2), 1 fails memberOf attribute:stack exists (found none)',
  )
  test.equal(
    says('attribute:stack == test or attribute:rack == r9'),
    '3 fail memberOf attribute:stack == test or attribute:rack == r9 ' +
      '(found attribute:stack dev, none, prod; attribute:rack none, r1, r2)',
  )
  test.equal(
    says('not (agentConnected == true or attribute:rack exists)'),
    '3 fail memberOf not agentConnected == true (found true)',
  )
  test.equal(says('!(!(attribute:rack == r9))'), '3 fail memberOf attribute:rack == r9 (found none, r1, r2)')
  test.equal(
    says('attribute:stack == dev', 'attribute:stack == prod'),
    '2 fail memberOf attribute:stack == dev (found none, prod), 1 fails memberOf attribute:stack == prod (found dev), ' +
      'and no instance can meet both attribute:stack == dev and == prod',
  )
  test.equal(
    says('registeredAt < 1970-01-01T00:00:01'),
    '3 fail memberOf registeredAt < 1970-01-01T00:00:01 ' +
      '(found 1970-01-01T00:00:01Z, 1970-01-01T00:00:02Z, 1970-01-01T00:00:03Z)',
  )
  const many = Array.from({ length: 9 }, (_, index) => host(index, { rack: `r${index}` }))
  test.equal(
    sentenceFor(many, 'attribute:rack == x'),
    'no instance matched: 9 fail memberOf attribute:rack == x (found r0, r1, r2, r3, r4 and 4 more)',
  )
  test.match(
    says(`attribute:stack in [${'x, '.repeat(600)}x]`),
    /^3 fail memberOf attribute:stack in \[x, .{120,150}\.\.\. \(found/,
  )
  const old = sentenceFor([dev], 'attributes:stack == dev')
  test.match(
    old,
    /1 can't be judged by memberOf: Invalid expression at column 1: .*Write attribute:stack/,
    'a row is refused',
  )
})

await t.test('an operator who mends what the refusal names gets the task placed', async (test) => {
  const request = aRequest(['attribute:stack == prod'])
  const refused = inTransaction(aState({ instance: [host(1, { stack: 'dev' })] }), (tx) =>
    planPlacement(tx, 'default', request, testNow, aWorld()).next(),
  )
  if (refused.kind !== 'refused') throw new Error('nothing fits')
  test.match(refused.counts, [{ filter: 'memberOf', reason: 'MemberOf placement constraint unsatisfied.', count: 1 }])
  test.same(refused.nearest, [
    { instanceId: '1', filter: 'memberOf', miss: 'fails memberOf attribute:stack == prod (found dev)' },
  ])
  const attributeChanges = { put: [{ name: 'stack', value: 'prod' }], deleted: [] }
  const mended = host(1, { stack: 'dev' }, { attributeChanges })
  test.same(planned(aState({ instance: [mended] }), request, 1), ['1'])
})

function capped(number: number, tasksMax: string): InstanceRow {
  return host(number, { 'gantry.tasks-max': tasksMax })
}

await t.test("a host's own cap holds for all that it has not yet seen stop", async (test) => {
  const stopping = aTask({ instanceId: '1', lastStatus: 'RUNNING', desiredStatus: 'STOPPED' })
  const instance = [capped(1, '2'), capped(2, '1')]
  test.same(planned(aState({ instance, task: [stopping] }), aRequest([]), 3), [
    '1',
    '2',
    'no instance matched: 2 hold as many tasks as their agents allow (GANTRY_TASKS_MAX is 1 to 2)',
  ])
  test.same(planned(aState({ instance: [capped(1, '0')] }), aRequest([]), 1), [
    'no instance matched: 1 holds as many tasks as its agent allows (GANTRY_TASKS_MAX is 0)',
  ])
  test.same(planned(aState({ instance: [capped(1, 'many')] }), aRequest([]), 2), ['1', '1'], 'no number, no cap')
})
