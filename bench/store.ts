/**
 * What durability costs: rows a second through a turn, the load of a large state, and what a running turn feels of the
 * checkpoint. Beside each stands SQLite alone with the same bytes, or the same work without what is measured.
 */
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { startController } from '../test/support/controller.ts'
import { startChild } from './child.ts'
import { ecsClient } from './ecs-client.ts'
import { describeMachine } from './machine.ts'
import type { BenchOptions } from './options.ts'
import type { Place } from './place.ts'
import type { BenchResult, Row } from './result.ts'
import { pairedRatio, summarize } from './statistics.ts'
import type { Steady, StoreWork } from './store-work.ts'

const rowCount = 20_000
const taskCount = 100_000
const steadyMs = 12_000
const loadAimMs = 5000
const stallAimMs = 50

export async function benchStore(place: Place, { rounds, progress }: BenchOptions): Promise<BenchResult> {
  const machine = await describeMachine(undefined)
  let directories = 0
  const fresh = (): string => join(place.directory, `store-${++directories}`)
  const rows: Row[] = []
  for (const bytes of [300, 2000]) {
    progress(`${rowCount} rows of ${bytes} B through turns, ${rounds} rounds ...`)
    rows.push(await measureRows(bytes, rounds, fresh))
  }
  progress(`${taskCount} tasks ...`)
  rows.push(...(await measureLoad(fresh(), fresh(), rounds)))
  progress(`turns while the log is folded, and while it is not, ${rounds} rounds ...`)
  rows.push(...(await measureFolds(rounds, fresh)))
  return { bench: 'store', machine, rows, notes }
}

const notes = [
  'Rows: inputs of one row each, 1000 to a turn and a sync, through the real deciders; beside: SQLite alone with the same rows as text, 1000 to a commit, synchronous=FULL.',
  'Load: openSqliteStore and startTurn in a fresh process; beside: SQLite and JSON.parse alone on the same file. Start: the real program, from spawn to ready, and to its first answered change.',
  `Folds: 20 rows of 2 KB every 10 ms for ${steadyMs / 1000} s; beside: the same with folding switched off. Each figure is the longest of a round.`,
]

async function work<T>(message: StoreWork): Promise<T> {
  const child = startChild('store-work.ts')
  try {
    return (await child.ask<{ result: T }>(message)).result
  } finally {
    await child.end()
  }
}

async function measureRows(bytes: number, rounds: number, fresh: () => string): Promise<Row> {
  const ours: number[] = []
  const raw: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    const both = [
      async () => ours.push(await work({ kind: 'rows', directory: fresh(), bytes, count: rowCount })),
      async () => raw.push(await work({ kind: 'rawRows', directory: fresh(), bytes, count: rowCount })),
    ]
    for (const one of round % 2 === 0 ? both : both.toReversed()) await one()
  }
  return {
    figure: `rows of ${bytes} B through turns`,
    ratio: pairedRatio(ours, raw),
    unit: '/s',
    measured: summarize(ours),
    beside: { what: 'SQLite alone', measured: summarize(raw) },
  }
}

async function measureLoad(directory: string, empty: string, rounds: number): Promise<readonly Row[]> {
  await work({ kind: 'fill', directory, tasks: taskCount })
  const load: number[] = []
  const rawLoad: number[] = []
  const starts: Start[] = []
  const emptyStarts: Start[] = []
  for (let round = 0; round < rounds; round += 1) {
    load.push(await work({ kind: 'load', directory }))
    rawLoad.push(await work({ kind: 'rawLoad', directory }))
    starts.push(await timeStart(directory))
    emptyStarts.push(await timeStart(empty))
  }
  const startRow = (figure: string, which: keyof Start): Row => {
    const ours = starts.map((start) => start[which])
    const beside = emptyStarts.map((start) => start[which])
    return {
      figure,
      ratio: pairedRatio(ours, beside),
      unit: 'ms',
      measured: summarize(ours),
      beside: { what: 'with an empty state', measured: summarize(beside) },
    }
  }
  return [
    {
      figure: `load of ${taskCount.toLocaleString('en-US')} tasks of 2 KB`,
      ratio: pairedRatio(load, rawLoad),
      unit: 'ms',
      measured: summarize(load),
      beside: { what: 'SQLite and JSON alone', measured: summarize(rawLoad) },
      aim: { text: `below ${loadAimMs} ms`, isMet: summarize(load).median < loadAimMs },
    },
    startRow('  start of the controller on it, to ready', 'ready'),
    startRow('  and to its first answered change', 'changed'),
  ]
}

interface Start {
  readonly ready: number
  readonly changed: number
}

async function timeStart(dataDir: string): Promise<Start> {
  const begun = performance.now()
  const controller = await startController({ dataDir })
  const ready = performance.now() - begun
  const ecs = ecsClient(controller.endpoint, controller.credentials, 1)
  try {
    await ecs.call('CreateCluster', { clusterName: `bench-${Math.round(begun)}` })
    return { ready, changed: performance.now() - begun }
  } finally {
    ecs.close()
    await controller.terminate()
  }
}

async function measureFolds(rounds: number, fresh: () => string): Promise<readonly Row[]> {
  const folded: Steady[] = []
  const plain: Steady[] = []
  for (let round = 0; round < rounds; round += 1) {
    const both = [
      async () =>
        folded.push(await work<Steady>({ kind: 'steady', directory: fresh(), folds: true, timeMs: steadyMs })),
      async () =>
        plain.push(await work<Steady>({ kind: 'steady', directory: fresh(), folds: false, timeMs: steadyMs })),
    ]
    for (const one of round % 2 === 0 ? both : both.toReversed()) await one()
  }
  const row = (figure: string, which: 'longestTurnMs' | 'longestDelayMs' | 'p99TurnMs', hasAim: boolean): Row => {
    const ours = folded.map((steady) => steady[which])
    const beside = plain.map((steady) => steady[which])
    const measured = summarize(ours)
    return {
      figure,
      ratio: pairedRatio(ours, beside),
      unit: 'ms',
      measured,
      beside: { what: 'without folding', measured: summarize(beside) },
      ...(hasAim ? { aim: { text: `no stall above ${stallAimMs} ms`, isMet: measured.median <= stallAimMs } } : {}),
    }
  }
  return [
    row('while the log is folded: longest turn', 'longestTurnMs', true),
    row('  longest stall of the event loop', 'longestDelayMs', true),
    row('  p99 of turns', 'p99TurnMs', false),
  ]
}
