import { isDeepStrictEqual } from 'node:util'
import * as fc from 'fast-check'
import t from 'tap'
import { aCluster, anInstance, aState, aTask, inTransaction } from '../../test/support/builders.ts'
import { patched } from './found-lists.ts'
import { compareKeys } from './index-buckets.ts'
import { createState, type Overlay, type State } from './state.ts'
import { type IndexName, indexes, tableNames, type Tables, type TaskRow } from './tables.ts'
import type { Reader } from './transaction.ts'

type TaskIndex = IndexName<'task'>
const taskIndexes = Object.keys(indexes.task) as readonly TaskIndex[]

/** The naive model: a map, and lists found by looking at every row. */
class Model {
  readonly rows: Map<string, TaskRow>
  constructor(rows: Iterable<[string, TaskRow]> = []) {
    this.rows = new Map(rows)
  }
  all(): readonly TaskRow[] {
    return [...this.rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row)
  }
  find(index: TaskIndex, value: string): readonly TaskRow[] {
    return this.all().filter((row) => indexes.task[index](row) === value)
  }
}

const keys = ['a', 'b', 'c', 'd', 'B', 'é']
const clusters = ['default', 'other']
const instances = ['i1', 'i2']
const values = [...clusters, ...instances, 'STOPPED', aTask().taskDefinitionArn, 'nowhere']

const someTask = fc.record({
  clusterName: fc.constantFrom(...clusters),
  instanceId: fc.constantFrom(...instances),
  lastStatus: fc.constantFrom('PENDING' as const, 'RUNNING' as const, 'STOPPED' as const),
})
const someWrite = fc.oneof(
  fc.record({ kind: fc.constant('put' as const), key: fc.constantFrom(...keys), task: someTask }),
  fc.record({ kind: fc.constant('delete' as const), key: fc.constantFrom(...keys) }),
)
const someWrites = fc.array(someWrite, { maxLength: 12 })
type Write = typeof someWrite extends fc.Arbitrary<infer W> ? W : never

function rowOf(write: Extract<Write, { kind: 'put' }>): TaskRow {
  return aTask({ taskId: write.key, ...write.task })
}

function writeAll(writes: readonly Write[], tx: Overlay, model: Model): void {
  for (const write of writes) {
    if (write.kind === 'delete') {
      tx.delete('task', write.key)
      model.rows.delete(write.key)
    } else {
      const row = rowOf(write)
      tx.put('task', write.key, row)
      model.rows.set(write.key, row)
    }
  }
}

function same(left: readonly unknown[], right: readonly unknown[]): boolean {
  return isDeepStrictEqual(left, right)
}

function readsLike(reader: Reader, model: Model): boolean {
  return (
    keys.every((key) => isDeepStrictEqual(reader.get('task', key), model.rows.get(key))) &&
    same(reader.all('task'), model.all()) &&
    taskIndexes.every((index) =>
      values.every(
        (value) =>
          same(reader.find('task', index, value), model.find(index, value)) &&
          reader.count('task', index, value) === model.find(index, value).length,
      ),
    )
  )
}

function stateAfter(writes: readonly Write[]): { state: State; model: Model } {
  const state = createState()
  const model = new Model()
  const tx = state.begin()
  writeAll(writes, tx, model)
  state.apply(tx.changes())
  return { state, model }
}

await t.test(
  'a transaction reads as the state does once it is applied, and leaves nothing behind when it is dropped',
  async (test) => {
    fc.assert(
      fc.property(someWrites, someWrites, someWrites, (first, second, third) => {
        const { state, model: before } = stateAfter(first)
        const after = new Model(before.rows)
        const tx = state.begin()
        writeAll(second, tx, after)
        const readsAtFirst = readsLike(tx, after)
        // Lists that were read are brought up to date, not made anew.
        writeAll(third, tx, after)
        const overlayReads = readsAtFirst && readsLike(tx, after)
        const nothingLeaks = readsLike(state, before)
        state.apply(tx.changes())
        return overlayReads && nothingLeaks && readsLike(state, after)
      }),
      { numRuns: 300 },
    )
    test.pass('300 histories')
  },
)

function keysOf(some: readonly number[]): string[] {
  return some.map(String).sort(compareKeys)
}

function taskRows(some: readonly string[], version: number): Map<string, TaskRow> {
  return new Map(some.map((key) => [key, aTask({ taskId: key, version })]))
}

await t.test('a list that is brought up to date is the one that would be made anew', async (test) => {
  const numbers = fc.uniqueArray(fc.integer({ min: 100, max: 199 }), { maxLength: 100 })
  fc.assert(
    fc.property(numbers, numbers, numbers, (first, added, removed) => {
      const before = taskRows(keysOf(first), 1)
      const after = new Map([...before, ...taskRows(keysOf(added), 2)])
      for (const key of keysOf(removed)) after.delete(key)
      const list = patched(
        { keys: [...before.keys()], rows: [...before.values()] },
        new Set([...keysOf(added), ...keysOf(removed)]),
        (key) => after.get(key),
      )
      const wanted = [...after].sort(([left], [right]) => compareKeys(left, right))
      return (
        same(
          list.keys,
          wanted.map(([key]) => key),
        ) &&
        same(
          list.rows,
          wanted.map(([, row]) => row),
        )
      )
    }),
    { numRuns: 200 },
  )
  test.pass('200 lists, short changes and long ones')
})

await t.test(
  'change logs name every value under which rows changed, in a transaction and once it is applied',
  async (test) => {
    const state = aState({ task: [aTask({ taskId: 'a', instanceId: 'i1' })] })
    const [committed] = state.changeLogs('task', 'liveByInstance')
    const outer = state.begin()
    outer.put('task', 'b', aTask({ taskId: 'b', instanceId: 'i2' }))
    const inner = outer.begin()
    const logs = inner.changeLogs('task', 'liveByInstance')
    test.same(
      logs.map(({ values: seen }) => [...seen]),
      [[], ['i2'], []],
      'what was written before a log began is in it',
    )
    test.equal(logs[0], committed)
    inner.put('task', 'a', aTask({ taskId: 'a', instanceId: 'i3' }))
    test.same(logs[2]?.values, ['i1', 'i3'], 'where it was and where it is')
    inner.delete('task', 'b')
    test.ok(logs[2]?.values.includes('i2'))
    outer.merge(inner)
    test.same(new Set(logs[1]?.values), new Set(['i1', 'i2', 'i3']))
    state.apply(outer.changes())
    test.same(new Set(committed?.values), new Set(['i1', 'i3']), 'a row that ended as it began did not change')
  },
)

await t.test('transactions nest: an inner one reads through, and is merged whole or leaves nothing', async (test) => {
  fc.assert(
    fc.property(someWrites, someWrites, someWrites, fc.boolean(), (first, second, third, merged) => {
      const { state, model: before } = stateAfter(first)
      const outerModel = new Model(before.rows)
      const outer = state.begin()
      writeAll(second, outer, outerModel)
      const innerModel = new Model(outerModel.rows)
      const inner = outer.begin()
      writeAll(third, inner, innerModel)
      const reads = readsLike(inner, innerModel) && readsLike(outer, outerModel)
      if (merged) outer.merge(inner)
      const expected = merged ? innerModel : outerModel
      const readsAfter = readsLike(outer, expected)
      state.apply(outer.changes())
      return reads && readsAfter && readsLike(state, expected)
    }),
    { numRuns: 300 },
  )
  test.pass('300 histories')
})

await t.test('changes are one for each row, and a row that ends as it began is none', async (test) => {
  const row = aTask({ taskId: 'a' })
  const state = aState({ task: [row] })

  const tx = state.begin()
  tx.put('task', 'a', { ...row, lastStatus: 'RUNNING' })
  tx.put('task', 'a', { ...row, waitingFor: undefined })
  tx.put('task', 'b', aTask({ taskId: 'b' }))
  tx.delete('task', 'b')
  tx.delete('task', 'never')
  test.same(tx.changes(), [], 'nothing remains of writes that were taken back')

  const stopped: TaskRow = { ...row, lastStatus: 'STOPPED' }
  tx.put('task', 'a', { ...row, lastStatus: 'RUNNING' })
  tx.put('task', 'a', stopped)
  test.same(tx.changes(), [{ table: 'task', key: 'a', before: row, row: stopped }], 'the last write stands')
  test.equal(state.get('task', 'a'), row, 'the state is as it was')
})

await t.test('an archived task leaves memory and is read from the history of its own transaction', async (test) => {
  const row = aTask({ lastStatus: 'STOPPED', stoppedAt: 5 })
  const state = aState({ task: [row] })
  const tx = state.begin()
  const inner = tx.begin()
  inner.archiveTask(row.taskId)
  test.equal(tx.history.task(row.taskId), undefined, 'not yet archived outside')
  tx.merge(inner)
  test.equal(tx.get('task', row.taskId), undefined)
  test.equal(tx.history.task(row.taskId), row)
  test.same(tx.history.tasksOfCluster('default', 10), [row])
  test.same(tx.history.tasksOfCluster('other', 10), [])
  test.same(tx.archivedTaskIds(), [row.taskId])
  test.equal(tx.changes().length, 1, 'the row is deleted from memory')
  test.throws(() => tx.archiveTask(row.taskId), /not in memory/, 'twice is a bug of the caller')
})

await t.test('every table holds rows, and builders fill them', async (test) => {
  const state = aState({ cluster: [aCluster({ clusterName: 'lab' })], instance: [anInstance({ clusterName: 'lab' })] })
  test.same(
    state.all('cluster').map((row) => row.clusterName),
    ['default', 'lab'],
  )
  test.equal(state.find('instance', 'byCluster', 'lab').length, 1)
  test.equal(
    inTransaction(state, (tx) => tx.count('instance', 'byCluster', 'default')),
    0,
  )
  test.throws(
    () =>
      inTransaction(state, (tx) => {
        tx.delete('cluster', 'lab')
        throw new Error('refused')
      }),
    /refused/,
  )
  test.ok(state.get('cluster', 'lab'), 'a transaction that throws leaves nothing behind')
  const names: readonly (keyof Tables)[] = tableNames
  test.same(names, [
    'cluster',
    'family',
    'taskDefinition',
    'instance',
    'task',
    'idempotency',
    'accountSetting',
    'service',
    'deployment',
    'serviceDeployment',
    'serviceRevision',
    'serviceEvent',
    'taskSet',
    'subnet',
    'address',
    'fileSystem',
    'accessPoint',
    'host',
    'hostKey',
    'joinToken',
    'hostEvent',
    'user',
    'accessKey',
    'role',
    'managedPolicy',
    'instanceProfile',
    'roleDeletion',
    'secret',
    'secretVersion',
    'parameter',
    'parameterVersion',
    'valueStore',
  ])
})
