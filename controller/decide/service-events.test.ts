/** Events about tasks: which of them share one, for how long, and what is told beside them. */
import * as fc from 'fast-check'
import t from 'tap'
import {
  aCluster,
  aDeployment,
  anInstance,
  aService,
  aState,
  aTask,
  aWorld,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import type { State } from '../state/state.ts'
import type { ClusterRow, TaskRow } from '../state/tables.ts'
import { tellEnded, tellLost } from './end-events.ts'
import { addServiceEvent, addTaskEvent } from './service-events.ts'
import { tellStarted, tellStopped } from './service-tasks.ts'

const service = aService()
const one = aDeployment()
const other = aDeployment()

/** What happened, so many milliseconds after the beginning. */
type Happening = readonly [
  what: 'starts' | 'stops' | 'starts other' | 'says something else',
  atMs: number,
  tasks?: number | undefined,
]

function told(happenings: readonly Happening[]): { readonly state: State; readonly messages: readonly string[] } {
  const state = aState({ service: [service], deployment: [one, other] })
  const world = aWorld()
  for (const [what, atMs, tasks = 1] of happenings) {
    const now = testNow + atMs
    const rows = Array.from({ length: tasks }, () =>
      aTask({ lastStatus: 'RUNNING', deploymentId: what === 'starts other' ? other.id : one.id }),
    )
    inTransaction(state, (tx) => {
      if (what === 'says something else') addServiceEvent(tx, service.serviceKey, 'something else', now, world)
      else if (what === 'stops') tellStopped(tx, service, rows, now, world)
      else tellStarted(tx, service, rows, now, world)
    })
  }
  const messages = state
    .find('serviceEvent', 'byService', service.serviceKey)
    .map(({ message }) => message.replaceAll(/ ?\(task [0-9a-f]{32}\)/g, '*').replace('(service web) has ', ''))
  return { state, messages }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

await t.test('which share an event', (test) => {
  const table: readonly (readonly [string, readonly Happening[], readonly string[]])[] = [
    [
      'starts within five seconds',
      [
        ['starts', 0],
        ['starts', 5000, 2],
      ],
      ['started 3 tasks:***.'],
    ],
    [
      'later ones do not',
      [
        ['starts', 0],
        ['starts', 5001],
      ],
      ['started 1 tasks:*.', 'started 1 tasks:*.'],
    ],
    [
      'starts and stops that take turns',
      [
        ['starts', 0],
        ['stops', 1000],
        ['starts', 2000],
        ['stops', 3000],
      ],
      ['started 2 tasks:**.', 'stopped 2 running tasks:**.'],
    ],
    [
      'each deployment has its own',
      [
        ['starts', 0],
        ['starts other', 1],
        ['starts', 2],
      ],
      ['started 2 tasks:**.', 'started 1 tasks:*.'],
    ],
    [
      'what else is said keeps its place',
      [
        ['starts', 0],
        ['says something else', 1],
        ['starts', 2],
      ],
      ['started 1 tasks:*.', 'something else', 'started 1 tasks:*.'],
    ],
    [
      'ten are named',
      [
        ['starts', 0, 9],
        ['starts', 1, 4],
      ],
      ['started 13 tasks:********** and 3 more.'],
    ],
    [
      'an event grows for half a minute',
      Array.from({ length: 11 }, (_each, at) => ['starts', at * 4000] as const),
      ['started 8 tasks:********.', 'started 3 tasks:***.'],
    ],
  ]
  for (const [name, happenings, expected] of table) test.same(told(happenings).messages, expected, name)
  test.end()
})

await t.test('an event that grew has a new id and time, and the feed tells it again', (test) => {
  const first = told([['starts', 0]]).state.all('serviceEvent')[0]
  const { state } = told([
    ['starts', 0],
    ['starts', 1000],
  ])
  const [grown] = state.all('serviceEvent')
  test.not(grown?.id, first?.id)
  test.match(grown, { seq: first?.seq, createdAt: testNow + 1000, tally: { count: 2, since: testNow } })
  test.equal(state.get('service', service.serviceKey)?.eventSeq, 1)
  test.end()
})

await t.test('laws: every task is counted once, ten are named at most, and few events tell of many', (test) => {
  const happening = fc.tuple(
    fc.constantFrom('starts' as const, 'stops' as const),
    fc.integer({ min: 0, max: 3000 }),
    fc.integer({ min: 1, max: 15 }),
  )
  fc.assert(
    fc.property(fc.array(happening, { maxLength: 60 }), (steps) => {
      let at = 0
      const happenings = steps.map(([what, gap, tasks]): Happening => [what, (at += gap), tasks])
      const events = told(happenings).state.all('serviceEvent')
      const counted = sum(events.map(({ tally }) => tally?.count ?? 0))
      if (counted !== sum(steps.map(([, , tasks]) => tasks))) throw new Error(`${counted} are counted`)
      if (events.some(({ tally }) => (tally?.taskIds.length ?? 0) > 10)) throw new Error('more are named')
      // Each kind begins a new event when the gap was too long, or after half a minute.
      const gaps = events.filter(({ tally, createdAt }) => createdAt - (tally?.since ?? 0) > 35_000)
      if (gaps.length > 0) throw new Error('an event grows without end')
    }),
  )
  test.end()
})

await t.test('tasks that end by themselves are told with their reason, many of them in one event', (test) => {
  const state = aState({ service: [service], deployment: [one] })
  const world = aWorld()
  const end = (over: Partial<TaskRow>): void => {
    const [container] = aTask().containers
    const containers = container === undefined ? [] : [{ ...container, essential: true, exitCode: 137 }]
    const task = aTask({ serviceKey: service.serviceKey, deploymentId: one.id, containers, ...over })
    inTransaction(state, (tx) => tellEnded(tx, task, testNow, world))
  }
  const messages = (): readonly string[] =>
    state.all('serviceEvent').map(({ message }) => message.replaceAll(/[0-9a-f]{32}/g, 'ID'))
  const crash = { stopCode: 'EssentialContainerExited', stoppedReason: 'Essential container in task exited' } as const
  end(crash)
  const first = '(service web) (task ID) stopped: Essential container in task exited (exit code 137).'
  test.same(messages(), [first])
  for (let index = 1; index < 50; index += 1) end({ ...crash, stoppedReason: `exit ${index}` })
  test.equal(messages().length, 1)
  test.match(
    messages()[0],
    /^\(service web\) 50 tasks stopped, the last one since: exit 49 .* They are .* and 40 more\.$/,
  )
  end({ stopCode: 'ServiceSchedulerInitiated', stoppedReason: 'Scaling activity' })
  end({ ...crash, serviceKey: undefined })
  test.equal(messages().length, 1, 'what the scheduler wanted, and what is of no service, is told elsewhere or not')
  end({ stopCode: 'UserInitiated', stoppedReason: 'x'.repeat(1000), containers: [] })
  test.equal(messages()[1]?.length, '(service web) (task ID) stopped: '.length + 255 + '....'.length, 'reasons are cut')
  test.end()
})

await t.test('tasks lost with an instance are told for each service, unless they are held', (test) => {
  const lostAt = { lostSince: testNow, silentSince: testNow - 15_000 }
  const instance = anInstance({ ...lostAt, agentConnected: false })
  const eye = aService({ serviceName: 'eye', schedulingStrategy: 'DAEMON' })
  const tasks = [service, service, eye].map(({ serviceKey }) => aTask({ serviceKey }))
  const messagesOf = (over: Partial<ClusterRow>): readonly string[] => {
    const state = aState({ cluster: [aCluster(over)], service: [service, eye] })
    inTransaction(state, (tx) => tellLost(tx, instance, tasks, testNow, aWorld()))
    return state.all('serviceEvent').map(({ message }) => message.replaceAll(/[0-9a-f]{32}/g, 'ID'))
  }
  test.same(messagesOf({}).toSorted(), [
    '(service eye) has lost 1 tasks with container instance ID: (task ID).',
    '(service web) has lost 2 tasks with container instance ID, and replaces them: (task ID) (task ID).',
  ])
  test.same(messagesOf({ replacementPausedSince: testNow, lossWindowSince: testNow - 15_000 }), [])
  test.end()
})

await t.test('nothing is told of no task', (test) => {
  const state = aState({ service: [service] })
  const news = { kind: 'none', taskIds: [], say: () => 'nothing' }
  inTransaction(state, (tx) => addTaskEvent(tx, service.serviceKey, news, testNow, aWorld()))
  test.same(state.all('serviceEvent'), [])
  test.end()
})
