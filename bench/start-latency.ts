/**
 * How long from RunTask to RUNNING, beside raw create and start of the same container on the same engine, turn about in
 * one run. The real agent's lines come from its own measured run on a machine of this size.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { describeMachine } from './machine.ts'
import type { BenchOptions } from './options.ts'
import type { Place } from './place.ts'
import type { BenchResult, Row } from './result.ts'
import { digits } from './result.ts'
import { median, pairedDifference, pairedRatio, quantile, summarize } from './statistics.ts'
import { openWorkplace, type Workplace } from './tasks-on-engine.ts'

/** amazon-ecs-agent 1.105.1 as a host process, Docker Engine 20.10, 2 cores, an 8.7 MB image; milliseconds. */
const realAgent = { oneTask: 567, thirtyTasks: 5300, stops: 3200 }

const parallelisms = [1, 2, 4, 8, 16, 32]
const scanCount = 32
const burstCount = 64
const stopCount = 34
const thirty = 30
/** Between two measurements, for what the one before set off to come to rest. */
const restMs = 700
/** Of the quickest raw start so far: no task runs before its container was made and started. */
const askAfterShare = 0.7
const overheadAimMs = 50
const burstAim = 0.9

export async function benchStartLatency(place: Place, { rounds, progress }: BenchOptions): Promise<BenchResult> {
  const dockerHost = await place.engine()
  const machine = await describeMachine(dockerHost)
  const workplace = await openWorkplace(dockerHost)
  try {
    progress('one task, turn about with raw ...')
    const single = await measureOne(workplace, rounds * 5)
    progress(`raw over parallelism ${parallelisms.join(', ')} ...`)
    const scan = await scanRaw(workplace)
    const batches: Batches[] = []
    for (let round = 0; round < rounds; round += 1) {
      progress(`batches, round ${round + 1} of ${rounds} ...`)
      batches.push(await measureBatches(workplace, scan, round % 2 === 0))
    }
    return { bench: 'start-latency', machine, rows: [...rowsOfOne(single), ...rowsOfBatches(batches, scan)], notes }
  } finally {
    await workplace.close()
  }
}

const notes = [
  'RunTask to RUNNING: from the call to the DescribeTasks answer that shows it (asked every 10 ms for one task, every 60 ms for ten of many, which costs the tasks and not raw).',
  'Raw: create and start by plain HTTP on kept-alive connections, with the create body of the container that the agent made.',
  'Ratios and differences are medians of round by round pairs, taken turn about; which of the two goes first alternates.',
  'Real agent: its measured run of 2026-11 on a 2-core machine, not of this run.',
]

interface Single {
  readonly raw: readonly number[]
  readonly fromAccepted: readonly number[]
  readonly fromCall: readonly number[]
}

async function measureOne(workplace: Workplace, pairs: number): Promise<Single> {
  const raw: number[] = []
  const fromAccepted: number[] = []
  const fromCall: number[] = []
  const one = {
    async raw() {
      raw.push((await workplace.runRaw(1, 1)).last)
    },
    async task() {
      const quickestMs = raw.length === 0 ? 0 : Math.min(...raw)
      const { last, accepted } = await workplace.runTasks(1, quickestMs * askAfterShare)
      fromCall.push(last)
      fromAccepted.push(last - accepted)
    },
  }
  // The first of each warms up, and does not count.
  for (let turn = -1; turn < pairs; turn += 1) {
    for (const which of turn % 2 === 0 ? (['raw', 'task'] as const) : (['task', 'raw'] as const)) {
      await one[which]()
      await rest(workplace)
    }
    if (turn < 0) for (const values of [raw, fromAccepted, fromCall]) values.length = 0
  }
  return { raw, fromAccepted, fromCall }
}

interface Scan {
  /** Containers per second for each parallelism, over the rounds of the scan. */
  readonly starts: ReadonlyMap<number, readonly number[]>
  readonly stops: ReadonlyMap<number, readonly number[]>
  /** The quickest first. */
  readonly bestStarts: readonly number[]
  readonly bestStops: readonly number[]
}

async function scanRaw(workplace: Workplace): Promise<Scan> {
  const starts = new Map<number, number[]>(parallelisms.map((parallelism) => [parallelism, []]))
  const stops = new Map<number, number[]>(parallelisms.map((parallelism) => [parallelism, []]))
  for (const order of [parallelisms, parallelisms.toReversed()]) {
    for (const parallelism of order) {
      const started = await workplace.runRaw(scanCount, parallelism)
      starts.get(parallelism)?.push(perSecond(scanCount, started.last))
      await sleep(restMs)
      const stopped = await workplace.stopRaw(started.ids, parallelism)
      stops.get(parallelism)?.push(perSecond(scanCount, stopped.last))
      await rest(workplace)
    }
  }
  const best = (rates: ReadonlyMap<number, readonly number[]>): readonly number[] =>
    parallelisms.toSorted((a, b) => median(rates.get(b) ?? []) - median(rates.get(a) ?? []))
  return { starts, stops, bestStarts: best(starts), bestStops: best(stops) }
}

interface Batches {
  readonly thirty: Pair
  readonly stop: Pair
  readonly burst: Pair
  /** The burst by the second best parallelism of the scan. */
  readonly burstSecond: number
}

interface Pair {
  readonly raw: number
  readonly gantry: number
  readonly gantryFirst: number
}

function pair(one: { last: number }, other: { first: number; last: number }): Pair {
  return { raw: one.last, gantry: other.last, gantryFirst: other.first }
}

async function measureBatches(workplace: Workplace, scan: Scan, isRawFirst: boolean): Promise<Batches> {
  const [best = 8, second = 8] = scan.bestStarts
  const thirtyAndStop = {
    raw: async () => {
      const begun = await workplace.runRaw(thirty, best)
      const more = await workplace.runRaw(stopCount - thirty, best)
      await sleep(restMs)
      const ended = await workplace.stopRaw([...begun.ids, ...more.ids], scan.bestStops[0] ?? 8)
      return { start: begun, stop: ended }
    },
    gantry: async () => {
      const begun = await workplace.runTasks(thirty)
      const more = await workplace.runTasks(stopCount - thirty)
      await sleep(restMs)
      const ended = await workplace.stopTasks([...begun.arns, ...more.arns])
      return { start: begun, stop: ended }
    },
  }
  const [raw, gantry] = await turnAbout(workplace, thirtyAndStop.raw, thirtyAndStop.gantry, isRawFirst)
  const [rawBurst, burst] = await turnAbout(
    workplace,
    async () => workplace.runRaw(burstCount, best),
    async () => workplace.runTasks(burstCount),
    isRawFirst,
  )
  const secondBurst = await workplace.runRaw(burstCount, second)
  await rest(workplace)
  return {
    thirty: pair(raw.start, gantry.start),
    stop: pair(raw.stop, gantry.stop),
    burst: pair(rawBurst, burst),
    burstSecond: secondBurst.last,
  }
}

async function turnAbout<One, Other>(
  workplace: Workplace,
  raw: () => Promise<One>,
  gantry: () => Promise<Other>,
  isRawFirst: boolean,
): Promise<readonly [One, Other]> {
  const early = isRawFirst ? await raw() : undefined
  if (isRawFirst) await rest(workplace)
  const ours = await gantry()
  await rest(workplace)
  const theirs = early ?? (await raw())
  if (!isRawFirst) await rest(workplace)
  return [theirs, ours]
}

async function rest(workplace: Workplace): Promise<void> {
  await workplace.clear()
  await sleep(restMs)
}

function rowsOfOne({ raw, fromAccepted, fromCall }: Single): readonly Row[] {
  const above = pairedDifference(fromAccepted, raw)
  const beside = { what: 'raw', measured: summarize(raw) }
  const seenRatio = realAgent.oneTask / median(fromCall)
  return [
    {
      figure: '1 task: RunTask accepted to RUNNING',
      ratio: pairedRatio(fromAccepted, raw),
      unit: 'ms',
      measured: summarize(fromAccepted),
      beside,
      aim: {
        text: `p50 at most ${overheadAimMs} ms above raw`,
        seen: `${above >= 0 ? '+' : ''}${digits(above)} ms`,
        isMet: above <= overheadAimMs,
      },
    },
    {
      figure: '1 task: RunTask called to RUNNING',
      ratio: pairedRatio(fromCall, raw),
      unit: 'ms',
      measured: summarize(fromCall),
      beside,
      aim: {
        text: `ahead of the real agent's ${realAgent.oneTask} ms`,
        seen: `${digits(seenRatio)} times`,
        isMet: seenRatio > 1,
      },
    },
    {
      figure: '1 task: the slowest twentieth (p95)',
      ratio: quantile(fromAccepted, 0.95) / quantile(raw, 0.95),
      unit: 'ms',
      measured: summarize([quantile(fromAccepted, 0.95)]),
      beside: { what: 'raw', measured: summarize([quantile(raw, 0.95)]) },
    },
  ]
}

function perSecond(count: number, durationMs: number): number {
  return (count * 1000) / durationMs
}

function rowsOfBatches(batches: readonly Batches[], scan: Scan): readonly Row[] {
  const [best = 8, second = 8] = scan.bestStarts
  const bursts = batches.map(({ burst }) => perSecond(burstCount, burst.gantry))
  // The best that raw did in this round, by either of the two best parallelisms.
  const rawBursts = batches.map(({ burst, burstSecond }) => perSecond(burstCount, Math.min(burst.raw, burstSecond)))
  const burstRatio = pairedRatio(bursts, rawBursts)
  return [
    batchRow(`${thirty} tasks: last RUNNING`, batches, 'thirty', `raw, ${best} at a time`, realAgent.thirtyTasks),
    {
      figure: `${thirty} tasks: first RUNNING`,
      unit: 'ms',
      measured: summarize(batches.map((batch) => batch.thirty.gantryFirst)),
    },
    {
      figure: `burst of ${burstCount}: tasks started`,
      ratio: burstRatio,
      unit: '/s',
      measured: summarize(bursts),
      beside: { what: `raw, best of ${best} and ${second} at a time`, measured: summarize(rawBursts) },
      aim: { text: `${burstAim} of the best raw rate`, seen: digits(burstRatio), isMet: burstRatio >= burstAim },
    },
    batchRow(
      `stop of ${stopCount}: last STOPPED`,
      batches,
      'stop',
      `raw, ${scan.bestStops[0]} at a time`,
      realAgent.stops,
    ),
    ...[...scan.starts].map(
      ([parallelism, rates]): Row => ({
        figure: `raw alone: ${scanCount} starts, ${parallelism} at a time`,
        unit: '/s',
        measured: summarize(rates),
      }),
    ),
  ]
}

function batchRow(
  figure: string,
  batches: readonly Batches[],
  which: 'thirty' | 'stop',
  what: string,
  realAgentMs: number,
): Row {
  const raw = batches.map((batch) => batch[which].raw)
  const gantry = batches.map((batch) => batch[which].gantry)
  const ahead = realAgentMs / median(gantry)
  return {
    figure,
    ratio: pairedRatio(gantry, raw),
    unit: 'ms',
    measured: summarize(gantry),
    beside: { what, measured: summarize(raw) },
    aim: {
      text: `ahead of the real agent's ${realAgentMs} ms`,
      seen: `${digits(ahead)} times`,
      isMet: ahead > 1,
    },
  }
}
