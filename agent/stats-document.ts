/**
 * What a container uses as Docker's own `stats` document tells it, which is what the metadata endpoint answers; read from
 * the kernel's files at the time of asking. What Docker's would compare itself with is the sample before.
 *
 * Source: Docker Engine API 1.41, `ContainerStats`; amazon-ecs-agent 1.105, tmds/handlers/v4/state (`network_rate_stats`).
 */
import { join } from 'node:path'
import {
  numberOf,
  numbersOf,
  placeOf,
  readCpuNs,
  readCpuSplitNs,
  readHostMemory,
  readInterfaces,
  readIo,
  readNumber,
  readSystemCpuNs,
  readText,
} from './cgroup-files.ts'
import type { CgroupLayout, CgroupPlace } from './cgroup-files.ts'
import type { Sample, Stats, StatsTarget } from './stats.ts'

export interface StatsHost {
  readonly layout: CgroupLayout
  readonly cpus: number
  /** Epoch milliseconds. */
  readonly now: number
}

/** A comparison over less than this says little. */
const comparedOverMs = 1000

/** undefined where the container's cgroup is not there (any more). */
export function statsDocument(
  host: StatsHost,
  stats: Pick<Stats, 'samplesOf' | 'usedBefore'>,
  target: StatsTarget,
  dockerName: string,
): object | undefined {
  const { layout, cpus, now } = host
  const place = placeOf(layout, target)
  const cpuNs = place === undefined ? undefined : readCpuNs(place)
  if (place === undefined || cpuNs === undefined) return undefined
  const samples = stats.samplesOf(target.dockerId)
  const last = samples.at(-1)
  const before = samples.findLast(({ at }) => now - at >= comparedOverMs)
  const used = stats.usedBefore(target.dockerId)
  return {
    read: new Date(now).toISOString(),
    preread: before === undefined ? '0001-01-01T00:00:00Z' : new Date(before.at).toISOString(),
    pids_stats: pidsOf(place),
    blkio_stats: blkioOf(place),
    num_procs: 0,
    storage_stats: {},
    cpu_stats: cpuOf(layout, place, cpus, cpuNs + used.cpuNs),
    precpu_stats: previousCpuOf(before, cpus),
    memory_stats: memoryOf(layout, place),
    name: dockerName,
    id: target.dockerId,
    ...(target.countsNetwork ? { networks: networksOf(layout, target) } : {}),
    ...rateOf(last),
  }
}

function rateOf(last: Sample | undefined): object {
  if (last?.rxBytesPerSecond === undefined || last.txBytesPerSecond === undefined) return {}
  const { rxBytesPerSecond: rx_bytes_per_sec, txBytesPerSecond: tx_bytes_per_sec } = last
  return { network_rate_stats: { rx_bytes_per_sec, tx_bytes_per_sec } }
}

function pidsOf({ directories }: CgroupPlace): object {
  const current = readNumber(join(directories.pids, 'pids.current'))
  const limit = readNumber(join(directories.pids, 'pids.max'))
  return { ...(current === undefined ? {} : { current }), ...(limit === undefined ? {} : { limit }) }
}

function blkioOf(place: CgroupPlace): object {
  const devices = readIo(place)
  const entries = (read: 'readBytes' | 'reads', write: 'writeBytes' | 'writes'): object[] =>
    devices.flatMap((device) => {
      const { major, minor } = device
      return [
        { major, minor, op: 'read', value: device[read] },
        { major, minor, op: 'write', value: device[write] },
      ]
    })
  return {
    io_service_bytes_recursive: entries('readBytes', 'writeBytes'),
    io_serviced_recursive: entries('reads', 'writes'),
    io_queue_recursive: null,
    io_service_time_recursive: null,
    io_wait_time_recursive: null,
    io_merged_recursive: null,
    io_time_recursive: null,
    sectors_recursive: null,
  }
}

function cpuOf({ procRoot }: CgroupLayout, place: CgroupPlace, cpus: number, totalNs: number): object {
  const { user, kernel } = readCpuSplitNs(place)
  const perCpu = place.version === 1 ? readText(join(place.directories.cpuacct, 'cpuacct.usage_percpu')) : undefined
  const throttling = readText(join(place.directories.cpu, 'cpu.stat')) ?? ''
  return {
    cpu_usage: {
      total_usage: totalNs,
      ...(perCpu === undefined ? {} : { percpu_usage: perCpu.trim().split(/\s+/).map(Number) }),
      usage_in_kernelmode: kernel,
      usage_in_usermode: user,
    },
    system_cpu_usage: readSystemCpuNs(procRoot),
    online_cpus: cpus,
    throttling_data: {
      periods: numberOf(throttling, 'nr_periods') ?? 0,
      throttled_periods: numberOf(throttling, 'nr_throttled') ?? 0,
      throttled_time: numberOf(throttling, 'throttled_time') ?? (numberOf(throttling, 'throttled_usec') ?? 0) * 1000,
    },
  }
}

function previousCpuOf(before: Sample | undefined, cpus: number): object {
  return {
    cpu_usage: { total_usage: before?.cpuNs ?? 0, usage_in_kernelmode: 0, usage_in_usermode: 0 },
    ...(before === undefined ? {} : { system_cpu_usage: before.systemCpuNs, online_cpus: cpus }),
    throttling_data: { periods: 0, throttled_periods: 0, throttled_time: 0 },
  }
}

function memoryOf({ procRoot }: CgroupLayout, { version, directories: { memory } }: CgroupPlace): object {
  const number = (name: string): number | undefined => readNumber(join(memory, name))
  const most = number(version === 1 ? 'memory.max_usage_in_bytes' : 'memory.peak')
  const failures = number('memory.failcnt')
  const limit = number(version === 1 ? 'memory.limit_in_bytes' : 'memory.max')
  return {
    usage: number(version === 1 ? 'memory.usage_in_bytes' : 'memory.current') ?? 0,
    ...(most === undefined ? {} : { max_usage: most }),
    stats: numbersOf(readText(join(memory, 'memory.stat')) ?? ''),
    ...(failures === undefined ? {} : { failcnt: failures }),
    // Without a limit of its own a container may have what the host has.
    limit: Math.min(limit ?? Number.POSITIVE_INFINITY, readHostMemory(procRoot)),
  }
}

function networksOf({ procRoot }: CgroupLayout, { pid }: StatsTarget): object {
  const networks = readInterfaces(procRoot, pid).map(({ name, ...counts }) => [
    name,
    {
      rx_bytes: counts.rxBytes,
      rx_packets: counts.rxPackets,
      rx_errors: counts.rxErrors,
      rx_dropped: counts.rxDropped,
      tx_bytes: counts.txBytes,
      tx_packets: counts.txPackets,
      tx_errors: counts.txErrors,
      tx_dropped: counts.txDropped,
    },
  ])
  return Object.fromEntries(networks)
}
