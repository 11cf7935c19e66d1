import * as fc from 'fast-check'
import t from 'tap'
import {
  aCall,
  aCluster,
  anInstance,
  aState,
  aTask,
  aTaskDefinition,
  aWorld,
  testNow,
} from '../../test/support/builders.ts'
import { aMemoryStore } from '../../test/support/memory-store.ts'
import { instanceHandlers } from '../ecs/instances.ts'
import { acknowledgePayload, agentConnected, agentDisconnected, applyTaskStateChange } from '../ecs/submit.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { startTurn, type TurnInput } from '../turn.ts'
import { countOf, decideUntilQuiet, markDirty, nothingUndecided, putBack } from '../turn-deciders.ts'
import type { Decider, KeyedDecider } from './decider.ts'
import { writesOf } from '../state/store.ts'
import { instanceDecider } from './instance.ts'
import { retain, retentionDefaults } from './retention.ts'
import { taskDecider } from './task.ts'

const deciders = [taskDecider, instanceDecider]
const quietLog = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }
const instances = [0, 1].map((at) => anInstance({ instanceId: `${at}`.padStart(32, '1'), agentConnected: false }))
const taskIds = ['a', 'b', 'c'].map((letter) => letter.repeat(32))

const someStep = fc.record({
  kind: fc.constantFrom(
    'run',
    'run',
    'report',
    'report',
    'report',
    'stop',
    'ack',
    'connect',
    'disconnect',
    'leave',
    'tick',
  ),
  instance: fc.constantFrom(...instances.map(({ instanceId }) => instanceId)),
  taskId: fc.constantFrom(...taskIds),
  status: fc.constantFrom('PENDING', 'RUNNING', 'STOPPED'),
  passMs: fc.constantFrom(0, 1000, 3_600_000),
})
type Step = typeof someStep extends fc.Arbitrary<infer S> ? S : never

/** Each step as the input that the controller would post for it; one that makes no sense now is refused or does nothing. */
function inputFor(step: Step): TurnInput<unknown> {
  return { name: step.kind, run: (tx, now) => take(tx, step, now) }
}

function take(tx: Transaction, { kind, instance, taskId, status }: Step, now: number): unknown {
  const task = tx.get('task', taskId)
  switch (kind) {
    case 'run':
      if (task !== undefined || tx.get('instance', instance)?.status !== 'ACTIVE') return undefined
      return tx.put('task', taskId, aTask({ taskId, instanceId: instance, createdAt: now }))
    case 'stop':
      if (task === undefined || task.lastStatus === 'STOPPED') return undefined
      return tx.put('task', taskId, { ...task, desiredStatus: 'STOPPED', stopCode: 'UserInitiated' })
    case 'report': {
      const containers = [{ containerName: 'app', status, exitCode: 0 }]
      return (
        task &&
        applyTaskStateChange(tx, { instanceId: instance, change: { task: task.taskArn, status, containers } }, now)
      )
    }
    case 'ack':
      return acknowledgePayload(tx, instance, new Map([[taskId, task?.seqNum ?? 0]]))
    case 'connect':
      return agentConnected(tx, instance, {}, now)
    case 'disconnect':
      return agentDisconnected(tx, instance, now)
    case 'leave':
      return instanceHandlers.DeregisterContainerInstance.handle(
        tx,
        { containerInstance: instance, force: true },
        aCall({ now }),
        aWorld(),
      )
    default:
      return retain(tx, retentionDefaults, now)
  }
}

/** What must hold in every committed state, whatever happened; undefined where it does. */
function violation(reader: Reader): string | undefined {
  for (const task of reader.all('task')) {
    const instance = reader.get('instance', task.instanceId)
    if (instance === undefined) {
      if (task.lastStatus === 'STOPPED') continue
      return `live task ${task.taskId} is on an instance that is gone`
    }
    if (task.seqNum > instance.seqNum) return `task ${task.taskId} has a number that its instance never gave`
    if (task.lastStatus === 'STOPPED') continue
    if (instance.status === 'INACTIVE') return `live task ${task.taskId} is on an INACTIVE instance`
    if (task.seqNum === 0) return `task ${task.taskId} will never be told to its agent`
  }
  const numbers = reader.all('task').map((task) => `${task.instanceId}/${task.seqNum}`)
  const told = numbers.filter((text) => !text.endsWith('/0'))
  return new Set(told).size < told.length ? `a number was given twice: ${told.join()}` : undefined
}

/** The rows that change when every row is decided once more; none, where deciding came to rest. */
function changedByDecidingAgain(reader: Reader, now: number): readonly string[] {
  const state = aState()
  for (const table of ['cluster', 'instance', 'task'] as const) {
    const keyOf = { cluster: 'clusterName', instance: 'instanceId', task: 'taskId' }[table]
    state.apply(
      reader.all(table).map((row) => ({ table, key: String(Reflect.get(row, keyOf)), before: undefined, row })),
    )
  }
  const overlay = state.begin()
  const undecided = nothingUndecided()
  markDirty(undecided, [...state.rowsAsChanges('instance'), ...state.rowsAsChanges('task')])
  const deciding = { overlay, undecided, deciders, keyedDeciders: [], now, world: aWorld(), log: quietLog }
  decideUntilQuiet(deciding, { decisionsMax: 1000, decidedRowsMax: 1000 })
  return overlay.changes().map(({ table, key }) => `${table}/${key}`)
}

await t.test(
  'whatever happens in whatever order, the invariants hold, numbers only rise, and deciding rests',
  async (test) => {
    let stoppedSeen = 0
    let orphansSeen = 0
    await fc.assert(
      fc.asyncProperty(fc.array(someStep, { minLength: 5, maxLength: 40 }), async (steps) => {
        let now = testNow
        const seed = aState({ instance: instances, taskDefinition: [aTaskDefinition()] })
        const rows = (['cluster', 'instance', 'taskDefinition'] as const).flatMap((table) => seed.rowsAsChanges(table))
        const store = aMemoryStore(writesOf(rows))
        const turn = await startTurn({
          store,
          clock: { now: () => now },
          world: aWorld(),
          log: quietLog,
          deciders,
          schedule: queueMicrotask,
        })
        const highest = new Map<string, number>()
        for (const step of steps) {
          now += step.passMs
          const refusal: unknown = await turn.submit(inputFor(step)).then(
            () => undefined,
            (error: unknown) => error,
          )
          if (refusal instanceof Error && refusal.name === 'ServerException') throw refusal
          const broken = violation(turn.reader)
          if (broken !== undefined) throw new Error(`${broken}, after ${step.kind}`)
          const rest = changedByDecidingAgain(turn.reader, now)
          if (rest.length > 0)
            throw new Error(`${rest.join()} would be decided otherwise a second time, after ${step.kind}`)
          for (const { instanceId, seqNum } of turn.reader.all('instance')) {
            if (seqNum < (highest.get(instanceId) ?? 0)) throw new Error(`the numbers of ${instanceId} went back`)
            highest.set(instanceId, seqNum)
          }
        }
        stoppedSeen += turn.reader.count('task', 'stopped', 'STOPPED')
        orphansSeen += turn.reader
          .all('task')
          .filter(({ stoppedReason }) => /by force/.test(stoppedReason ?? '')).length
        await turn.close()
      }),
      { numRuns: 160 },
    )
    test.ok(
      stoppedSeen > 10 && orphansSeen > 5,
      `${stoppedSeen} stopped tasks, ${orphansSeen} of them orphaned by force`,
    )
  },
)

await t.test('the invariants can fail', async (test) => {
  const [instance] = instances
  const live = aTask({ instanceId: instance?.instanceId ?? '', seqNum: 1 })
  const wrong = [
    { task: [live] },
    { instance, task: [{ ...live, seqNum: 9 }] },
    { instance: { ...anInstance(), ...instance, status: 'INACTIVE' as const }, task: [live] },
    { instance, task: [{ ...live, seqNum: 0 }] },
    { instance, task: [live, { ...live, taskId: 'twin' }] },
  ]
  for (const { instance: row, task } of wrong) {
    const state = aState({ instance: row === undefined ? [] : [row], task })
    test.type(violation(state), 'string')
  }
  test.equal(violation(aState({ instance: instance === undefined ? [] : [instance], task: [live] })), undefined)
  test.not(changedByDecidingAgain(aState({ instance: instances, task: [{ ...live, seqNum: 0 }] }), testNow).length, 0)
})

const change = (table: 'service' | 'instance', key: string) => ({ table, key, before: undefined, row: undefined })

await t.test(
  'what instances mean for their tasks is decided before any service, in whatever order rows changed',
  (test) => {
    const overlay = aState({ instance: instances }).begin()
    const asked: string[] = []
    const keyed = (name: 'instance' | 'service'): KeyedDecider => ({
      name,
      tables: [name],
      concerns: (_reader, _table, key) => [key],
      decide(tx, key, now) {
        asked.push(`${name} ${key}`)
        tx.put('cluster', key, aCluster({ clusterName: key, createdAt: now }))
        return key === 'b' ? 'more' : 'done'
      },
    })
    const undecided = nothingUndecided()
    markDirty(undecided, [change('service', 'a'), change('instance', 'z'), change('service', 'b')])
    const keyedDeciders = [keyed('instance'), keyed('service')]
    const deciding = { overlay, undecided, deciders: [], keyedDeciders, now: testNow, world: aWorld(), log: quietLog }
    const bounds = { decisionsMax: 1000, decidedRowsMax: 1000 }

    test.equal(decideUntilQuiet(deciding, bounds), 1, 'b has more to do, in the next turn')
    test.same(asked, ['instance z', 'service a', 'service b'])
    const taken = nothingUndecided()
    test.equal(decideUntilQuiet({ ...deciding, taken }, bounds), 0, 'whoever writes nothing is done, whatever it says')
    test.same(asked.slice(3), ['service b'])
    putBack(undecided, taken)
    test.equal(countOf(undecided), 1, 'what a failed commit goes back to')
    test.end()
  },
)

await t.test('what a failed commit puts back is as it was when it was taken', (test) => {
  const seen: [string, unknown][] = []
  const decider: Decider = {
    name: 'watcher',
    tables: ['cluster'],
    decide(tx, _table, key, before, now) {
      seen.push([key, before])
      const row = tx.get('cluster', key)
      if (row !== undefined && row.createdAt !== now) tx.put('cluster', key, { ...row, createdAt: now })
    },
  }
  const [before, row] = [aCluster({ createdAt: 1 }), aCluster({ createdAt: 2 })]
  const undecided = nothingUndecided()
  markDirty(undecided, [{ table: 'cluster', key: row.clusterName, before, row }])
  const turn = () => {
    const taken = nothingUndecided()
    const overlay = aState({ cluster: [row] }).begin()
    const deciding = { overlay, undecided, taken, deciders: [decider], keyedDeciders: [], world: aWorld() }
    const left = decideUntilQuiet({ ...deciding, now: testNow, log: quietLog }, { decisionsMax: 1, decidedRowsMax: 10 })
    test.equal(left, 1, 'what it wrote itself is still to be looked at')
    putBack(undecided, taken)
  }
  turn()
  turn()
  test.same(seen, [
    [row.clusterName, before],
    [row.clusterName, before],
  ])
  test.end()
})

await t.test('as many rows as a large cluster has are decided in one walk', (test) => {
  const undecided = nothingUndecided()
  const rows = 1000
  const overlay = aState({}).begin()
  markDirty(
    undecided,
    Array.from({ length: rows }, (_, index) => ({
      table: 'cluster' as const,
      key: String(index),
      before: undefined,
      row: undefined,
    })),
  )
  let looks = 0
  const entries = undecided.rows.entries.bind(undecided.rows)
  undecided.rows.entries = () => {
    looks += 1
    return entries()
  }
  const deciding = { overlay, undecided, deciders: [], keyedDeciders: [], now: testNow, world: aWorld(), log: quietLog }
  test.equal(decideUntilQuiet(deciding, { decisionsMax: rows, decidedRowsMax: 10 }), 0)
  test.equal(looks, 1)
  test.end()
})
