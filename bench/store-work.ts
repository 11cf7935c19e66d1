/** The work of the store bench, in a process of its own for each measurement, so that none warms or burdens another. */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { monitorEventLoopDelay, performance } from 'node:perf_hooks'
import { DatabaseSync } from 'node:sqlite'
import { instanceDecider } from '../controller/decide/instance.ts'
import { taskDefinitionDecider } from '../controller/decide/task-definition.ts'
import { taskDecider } from '../controller/decide/task.ts'
import { openSqliteStore, type SqliteStoreOptions } from '../controller/state/sqlite.ts'
import type { IdempotencyRow, TaskRow } from '../controller/state/tables.ts'
import { startTurn, type Turn, type TurnInput } from '../controller/turn.ts'
import { aTask, anInstance, aWorld } from '../test/support/builders.ts'
import { quantile } from './statistics.ts'

export type StoreWork =
  | { readonly kind: 'rows' | 'rawRows'; readonly directory: string; readonly bytes: number; readonly count: number }
  | { readonly kind: 'fill'; readonly directory: string; readonly tasks: number }
  | { readonly kind: 'load' | 'rawLoad'; readonly directory: string }
  | { readonly kind: 'steady'; readonly directory: string; readonly folds: boolean; readonly timeMs: number }

export interface Steady {
  readonly longestTurnMs: number
  readonly p99TurnMs: number
  readonly longestDelayMs: number
  readonly turns: number
}

/** Inputs of one row each that share a turn: the turn's own bound. */
const rowsPerTurn = 1000
const silent = { debug: ignore, info: ignore, warn: ignore, error: complainOfBugs }

async function openTurn(directory: string, options: SqliteStoreOptions = {}): Promise<Turn> {
  const store = await openSqliteStore(directory, { onFoldFailure: (error) => complain({ err: error }), ...options })
  const deciders = [taskDecider, instanceDecider, taskDefinitionDecider]
  return startTurn({ store, clock: { now: () => Date.now() }, world: aWorld(), log: silent, deciders })
}

const instanceIds = Array.from({ length: 100 }, (_, index) => index.toString(16).padStart(32, '1'))

/** A row of about this many bytes as JSON: below 1 KB an idempotency row, else a RUNNING task on one of 100 instances. */
function putRow(index: number, bytes: number): TurnInput<void> {
  const name = 'bench'
  if (bytes < 1000) {
    const row = smallRow(index, bytes)
    return { name, run: (tx) => tx.put('idempotency', row.key, row) }
  }
  const row = taskRow(index, bytes)
  return { name, run: (tx) => tx.put('task', row.taskId, row) }
}

function smallRow(index: number, bytes: number): IdempotencyRow {
  const row = {
    key: `RunTask/default/${index}`,
    inputHash: '',
    taskIds: [],
    failures: [],
    createdAt: 1_795_000_000_000,
  }
  return { ...row, inputHash: 'h'.repeat(Math.max(0, bytes - JSON.stringify(row).length)) }
}

function taskRow(index: number, bytes: number): TaskRow {
  const row = aTask({
    taskId: index.toString(16).padStart(32, '2'),
    instanceId: instanceIds[index % instanceIds.length] ?? '',
    lastStatus: 'RUNNING',
    numberedFor: 'RUNNING',
    seqNum: 1,
    acknowledgedSeqNum: 1,
    startedAt: 1_795_000_000_000,
  })
  const missing = bytes - JSON.stringify(row).length
  return missing <= 0 ? row : { ...row, tags: [{ key: 'note', value: 'v'.repeat(missing) }] }
}

async function putInstances(turn: Turn): Promise<void> {
  await turn.submit({
    name: 'bench',
    run(tx) {
      for (const instanceId of instanceIds) {
        tx.put('instance', instanceId, anInstance({ instanceId, agentConnected: false }))
      }
    },
  })
}

/** Writes `count` rows, a full turn's worth at a time; rows a second. */
async function writeRows(turn: Turn, from: number, count: number, bytes: number): Promise<number> {
  // The rows are made beforehand: that is not what a turn costs.
  const inputs = Array.from({ length: count }, (_, index) => putRow(from + index, bytes))
  const begun = performance.now()
  for (let at = 0; at < count; at += rowsPerTurn) {
    await Promise.all(inputs.slice(at, at + rowsPerTurn).map(async (input) => turn.submit(input)))
  }
  return (count * 1000) / (performance.now() - begun)
}

async function measureRows(directory: string, bytes: number, count: number): Promise<number> {
  const turn = await openTurn(directory)
  await putInstances(turn)
  await writeRows(turn, count, count / 10, bytes)
  const rate = await writeRows(turn, 0, count, bytes)
  await turn.close()
  return rate
}

/** The least that it takes: the same rows as text, a turn's worth in one synced commit. */
function measureRawRows(directory: string, bytes: number, count: number): number {
  const database = new DatabaseSync(join(directory, 'raw.db'))
  database.exec('pragma journal_mode = wal; pragma synchronous = full')
  database.exec('create table log (revision integer primary key, record text not null) strict')
  const insert = database.prepare('insert into log (record) values (?)')
  const rows = Array.from({ length: count }, (_, index) =>
    bytes < 1000 ? smallRow(index, bytes) : taskRow(index, bytes),
  )
  const write = (some: readonly object[]): void => {
    for (let at = 0; at < some.length; at += rowsPerTurn) {
      insert.run(JSON.stringify(some.slice(at, at + rowsPerTurn)))
    }
  }
  write(rows.slice(0, count / 10))
  const begun = performance.now()
  write(rows)
  const durationMs = performance.now() - begun
  database.close()
  return (count * 1000) / durationMs
}

async function fill(directory: string, tasks: number): Promise<number> {
  const turn = await openTurn(directory)
  await putInstances(turn)
  await writeRows(turn, 0, tasks, 2000)
  await turn.close()
  return tasks
}

async function load(directory: string): Promise<number> {
  const begun = performance.now()
  const turn = await openTurn(directory)
  const durationMs = performance.now() - begun
  await turn.close()
  return durationMs
}

/** Reads the same file with nothing but SQLite and JSON. */
function rawLoad(directory: string): number {
  const begun = performance.now()
  const database = new DatabaseSync(join(directory, 'controller.db'), { readOnly: true })
  const rows = new Map<string, unknown>()
  for (const { key, row } of database.prepare('select key, row from checkpoint').iterate()) {
    rows.set(String(key), JSON.parse(String(row)))
  }
  for (const { record } of database.prepare('select record from log order by revision').iterate()) {
    const { writes } = JSON.parse(String(record)) as { writes: { key: string; row: unknown }[] }
    for (const { key, row } of writes) rows.set(key, row)
  }
  const durationMs = performance.now() - begun
  database.close()
  return durationMs
}

const steadyEveryMs = 10
const steadyRows = 20
const steadyKeys = 5000

/** Turns of 20 rows of 2 KB every 10 ms, about 4 MB/s: a fold every four seconds or so. */
async function steady(directory: string, folds: boolean, timeMs: number): Promise<Steady> {
  const never = { foldAfterRecords: Number.POSITIVE_INFINITY, foldAfterBytes: Number.POSITIVE_INFINITY }
  const turn = await openTurn(directory, folds ? {} : never)
  await putInstances(turn)
  await writeRows(turn, 0, steadyKeys, 2000)
  const delay = monitorEventLoopDelay({ resolution: 1 })
  const latencies: number[] = []
  const begun = performance.now()
  delay.enable()
  for (let at = 0; performance.now() - begun < timeMs; at += steadyRows) {
    const submitted = performance.now()
    await Promise.all(
      Array.from({ length: steadyRows }, (_, index) =>
        turn.submit(putRow((at + index) % steadyKeys, 1900 + ((at / steadyKeys) % 100))),
      ),
    )
    latencies.push(performance.now() - submitted)
    await new Promise((resolve) => setTimeout(resolve, steadyEveryMs))
  }
  delay.disable()
  await turn.close()
  return {
    longestTurnMs: Math.max(...latencies),
    p99TurnMs: quantile(latencies, 0.99),
    longestDelayMs: delay.max / 1e6,
    turns: latencies.length,
  }
}

const works: { readonly [Kind in StoreWork['kind']]: (work: StoreWork & { kind: Kind }) => Promise<number | Steady> } =
  {
    rows: async ({ directory, bytes, count }) => measureRows(directory, bytes, count),
    rawRows: async ({ directory, bytes, count }) => measureRawRows(directory, bytes, count),
    fill: async ({ directory, tasks }) => fill(directory, tasks),
    load: async ({ directory }) => load(directory),
    rawLoad: async ({ directory }) => rawLoad(directory),
    steady: async ({ directory, folds, timeMs }) => steady(directory, folds, timeMs),
  }

async function perform(work: StoreWork): Promise<number | Steady> {
  mkdirSync(work.directory, { recursive: true })
  // That a kind goes with its own members is lost to the compiler in a union.
  return (works[work.kind] as (any: StoreWork) => Promise<number | Steady>)(work)
}

function ignore(): void {}

/** What the deciders leave for the next turn, after a load for one, is logged and is no failure of the bench. */
function complainOfBugs(facts: object): void {
  if (!('leftOver' in facts)) complain(facts)
}

function complain(facts: object): void {
  process.send?.({
    failure: JSON.stringify(facts, (_, value: unknown) => (value instanceof Error ? value.stack : value)),
  })
}

process.on('message', (work: StoreWork) => {
  perform(work).then(
    (result) => process.send?.({ result }, () => process.exit(0)),
    (error: unknown) => complain({ err: error }),
  )
})
