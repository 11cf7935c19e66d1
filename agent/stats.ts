/**
 * What containers use, read from the kernel's own files and from no stream of Docker's: every 5 s one sweep over all of
 * them, of which the last samples are kept. From those come the sets of the telemetry channel and the rates of the
 * metadata endpoint; a whole document in Docker's form is read when somebody asks (`stats-document.ts`).
 *
 * A container that is started again counts on: the kernel's counters begin at 0, and what it had used before is added.
 */
import type { ContainerMetric, StatsSet } from '../proto/tcs.ts'
import { placeOf, readCpuNs, readInterfaces, readIoBytes, readMemoryUsed, readSystemCpuNs } from './cgroup-files.ts'
import type { CgroupLayout, CgroupPlace, ContainerProcess } from './cgroup-files.ts'
import type { Timers } from './timers.ts'

/** Source: issue 5 of this project: sampled every 5 s, told every 20 s. */
const sweepMsDefault = 5_000
/** Four make a set; the rest is for a channel that was away for a moment, and for the rates. */
const samplesKept = 9
/** After as many containers others have their turn: a sweep of a host full of them holds nothing up. */
const sweptAtOnce = 25
const bytesPerMiB = 1024 * 1024

/** A running container. */
export interface StatsTarget extends ContainerProcess {
  /** False with network modes host and none: those counters would be the host's. */
  readonly countsNetwork: boolean
  /** Containers that share one network count a part of it each, so that the task's sum is right. */
  readonly networkShare: number
}

const counters = [
  'cpuNs',
  'readBytes',
  'writeBytes',
  'rxBytes',
  'rxPackets',
  'rxErrors',
  'rxDropped',
  'txBytes',
  'txPackets',
  'txErrors',
  'txDropped',
] as const

export type Counters = Record<(typeof counters)[number], number>

export interface Sample extends Readonly<Counters> {
  /** Epoch milliseconds. */
  readonly at: number
  readonly memoryBytes: number
  /** All CPUs of the host, idle time included. */
  readonly systemCpuNs: number
  /** Since the sample before, percent of all CPUs of the host together; undefined in the first. */
  readonly cpuPercent: number | undefined
  /** Since the sample before; undefined in the first, and where there is no network to count. */
  readonly rxBytesPerSecond: number | undefined
  readonly txBytesPerSecond: number | undefined
}

interface Tracked {
  pid: number
  place: CgroupPlace
  /** What earlier runs of the container had used when they were last seen. */
  before: Counters
  /** The kernel's own counters at the last sample. */
  raw: Counters | undefined
  readonly samples: Sample[]
}

export interface StatsOptions {
  /** The containers that run now; asked at each sweep. */
  readonly targets: () => readonly StatsTarget[]
  readonly layout: CgroupLayout
  /** Logical CPUs of the host. */
  readonly cpus: number
  readonly now: () => number
  readonly timers: Timers
  readonly sweepMs?: number | undefined
}

/** The part of a ContainerMetric that is measured here; a set is absent where there is nothing to tell. */
export type UsageSets = Pick<ContainerMetric, 'cpuStatsSet' | 'memoryStatsSet' | 'networkStatsSet' | 'storageStatsSet'>

export interface Stats {
  /**
   * By Docker id, over the samples after `since` (epoch milliseconds): CPU in percent of the host, memory in MiB, network
   * and storage as the counters stood. A container with fewer than two samples in all is left out.
   */
  setsSince(since: number): ReadonlyMap<string, UsageSets>
  /** The last samples of a container, oldest first. */
  samplesOf(dockerId: string): readonly Sample[]
  /** What earlier runs of the container had used, to be added to the kernel's counters. */
  usedBefore(dockerId: string): Readonly<Counters>
  /** Samples all containers now, out of turn. */
  sweep(): Promise<void>
  close(): void
}

export function createStats(options: StatsOptions): Stats {
  const { timers, now, sweepMs = sweepMsDefault } = options
  const tracked = new Map<string, Tracked>()
  let cancel: (() => void) | undefined
  let closed = false
  let sweeping: Promise<void> | undefined

  const sweep = async (): Promise<void> => {
    sweeping ??= sweepAll(options, tracked, () => closed).finally(() => (sweeping = undefined))
    return sweeping
  }
  const arm = (dueAt: number): void => {
    cancel = timers.after(Math.max(0, dueAt - now()), () => {
      void sweep()
      // Sweeps that a pause of the machine swallowed are not made up for, and a clock that was set back makes none wait.
      if (!closed) arm(Math.min(Math.max(dueAt + sweepMs, now()), now() + sweepMs))
    })
  }
  arm(now() + sweepMs)

  return {
    setsSince(since) {
      const sets = new Map<string, UsageSets>()
      for (const [dockerId, { samples }] of tracked) {
        const due = samples.filter(({ at }) => at > since)
        if (samples.length >= 2 && due.length > 0) sets.set(dockerId, setsOf(due))
      }
      return sets
    },
    samplesOf: (dockerId) => tracked.get(dockerId)?.samples ?? [],
    usedBefore: (dockerId) => tracked.get(dockerId)?.before ?? noUse(),
    sweep,
    close() {
      closed = true
      cancel?.()
    },
  }
}

async function sweepAll(options: StatsOptions, tracked: Map<string, Tracked>, isClosed: () => boolean): Promise<void> {
  const targets = options.targets()
  const known = new Set(targets.map(({ dockerId }) => dockerId))
  for (const dockerId of tracked.keys()) if (!known.has(dockerId)) tracked.delete(dockerId)
  for (let first = 0; first < targets.length && !isClosed(); first += sweptAtOnce) {
    if (first > 0) await new Promise(setImmediate)
    const systemCpuNs = readSystemCpuNs(options.layout.procRoot)
    for (const target of targets.slice(first, first + sweptAtOnce)) sampleOne(options, tracked, target, systemCpuNs)
  }
}

function sampleOne(
  { layout, cpus, now }: StatsOptions,
  tracked: Map<string, Tracked>,
  target: StatsTarget,
  systemCpuNs: number,
): void {
  const one = trackedOf(layout, tracked, target)
  if (one === undefined) return
  const cpuNs = readCpuNs(one.place)
  const memoryBytes = readMemoryUsed(one.place)
  // It ended between the asking and the reading.
  if (cpuNs === undefined || memoryBytes === undefined) return
  const raw: Counters = { ...noUse(), ...networkOf(layout, target), cpuNs, ...storageOf(one.place) }
  if (one.raw !== undefined && raw.cpuNs < one.raw.cpuNs) one.before = sum(one.before, one.raw)
  one.raw = raw
  const at = now()
  const last = one.samples.at(-1)
  const total = sum(one.before, raw)
  const seconds = last === undefined ? 0 : (at - last.at) / 1000
  const rate = (counter: keyof Counters): number | undefined =>
    last === undefined || seconds <= 0 ? undefined : Math.max(0, total[counter] - last[counter]) / seconds
  const cpuRate = rate('cpuNs')
  one.samples.push({
    ...total,
    at,
    memoryBytes,
    systemCpuNs,
    cpuPercent: cpuRate === undefined ? undefined : cpuRate / (cpus * 10_000_000),
    rxBytesPerSecond: target.countsNetwork ? rate('rxBytes') : undefined,
    txBytesPerSecond: target.countsNetwork ? rate('txBytes') : undefined,
  })
  if (one.samples.length > samplesKept) one.samples.shift()
}

/** Its place is looked up once for each process that it had. */
function trackedOf(layout: CgroupLayout, tracked: Map<string, Tracked>, target: StatsTarget): Tracked | undefined {
  const known = tracked.get(target.dockerId)
  if (known !== undefined && known.pid === target.pid) return known
  const place = placeOf(layout, target)
  if (place === undefined) return undefined
  if (known === undefined) {
    const one: Tracked = { pid: target.pid, place, before: noUse(), raw: undefined, samples: [] }
    tracked.set(target.dockerId, one)
    return one
  }
  // Another run of the same container: what the one before had used stays counted.
  if (known.raw !== undefined) known.before = sum(known.before, known.raw)
  known.raw = undefined
  known.pid = target.pid
  known.place = place
  return known
}

function storageOf(place: CgroupPlace): Pick<Counters, 'readBytes' | 'writeBytes'> {
  const { read, write } = readIoBytes(place)
  return { readBytes: read, writeBytes: write }
}

function networkOf({ procRoot }: CgroupLayout, target: StatsTarget): Partial<Counters> {
  if (!target.countsNetwork) return {}
  const share = Math.max(1, target.networkShare)
  const total: Partial<Counters> = {}
  for (const { name: _name, ...counts } of readInterfaces(procRoot, target.pid)) {
    for (const key of Object.keys(counts) as (keyof typeof counts)[]) {
      total[key] = (total[key] ?? 0) + Math.round(counts[key] / share)
    }
  }
  return total
}

function setsOf(samples: readonly Sample[]): UsageSets {
  const over = (read: (sample: Sample) => number | undefined): StatsSet | undefined =>
    setOf(samples.flatMap((one) => read(one) ?? []))
  const cpu = over(({ cpuPercent }) => cpuPercent)
  const memory = over(({ memoryBytes }) => Math.floor(memoryBytes / bytesPerMiB))
  const read = over(({ readBytes }) => readBytes)
  const write = over(({ writeBytes }) => writeBytes)
  const rates = {
    rxBytesPerSecond: over(({ rxBytesPerSecond }) => rxBytesPerSecond),
    txBytesPerSecond: over(({ txBytesPerSecond }) => txBytesPerSecond),
  }
  const { rxBytesPerSecond, txBytesPerSecond } = rates
  const network =
    rxBytesPerSecond === undefined || txBytesPerSecond === undefined
      ? undefined
      : { ...networkSets(over), rxBytesPerSecond, txBytesPerSecond }
  return {
    ...(cpu === undefined ? {} : { cpuStatsSet: cpu }),
    ...(memory === undefined ? {} : { memoryStatsSet: memory }),
    ...(read === undefined || write === undefined
      ? {}
      : { storageStatsSet: { readSizeBytes: read, writeSizeBytes: write } }),
    ...(network === undefined ? {} : { networkStatsSet: network }),
  }
}

const networkCounters = counters.filter((counter) => counter.startsWith('rx') || counter.startsWith('tx'))

function networkSets(over: (read: (sample: Sample) => number) => StatsSet | undefined): Record<string, StatsSet> {
  const sets = networkCounters.map((counter) => [counter, over((sample) => sample[counter])] as const)
  return Object.fromEntries(sets.flatMap(([name, set]) => (set === undefined ? [] : [[name, set]])))
}

function setOf(values: readonly number[]): StatsSet | undefined {
  if (values.length === 0) return undefined
  const total = values.reduce((all, value) => all + value, 0)
  return { min: Math.min(...values), max: Math.max(...values), sampleCount: values.length, sum: total }
}

function noUse(): Counters {
  return {
    cpuNs: 0,
    readBytes: 0,
    writeBytes: 0,
    rxBytes: 0,
    rxPackets: 0,
    rxErrors: 0,
    rxDropped: 0,
    txBytes: 0,
    txPackets: 0,
    txErrors: 0,
    txDropped: 0,
  }
}

function sum(a: Readonly<Counters>, b: Readonly<Counters>): Counters {
  const both = noUse()
  for (const counter of counters) both[counter] = a[counter] + b[counter]
  return both
}
