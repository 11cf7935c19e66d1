/** Usage as the kernel's files show it: both versions of control groups, restarts, shares of a network, and the sets. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import tap from 'tap'
import type { CgroupLayout } from './cgroup-files.ts'
import { placeOf } from './cgroup-files.ts'
import { statsDocument } from './stats-document.ts'
import { createStats } from './stats.ts'
import type { Stats, StatsTarget } from './stats.ts'

const dockerId = 'c'.repeat(64)

interface Use {
  readonly cpuNs: number
  readonly memoryBytes: number
  readonly cacheBytes?: number
  readonly readBytes?: number
  readonly rxBytes?: number
}

/** A host of files: /proc and /sys/fs/cgroup of one container. */
function aHost(directory: string, version: 1 | 2, path = `/ecs/task/${dockerId}`) {
  const layout: CgroupLayout = { root: join(directory, 'cgroup'), procRoot: join(directory, 'proc'), version }
  const put = (name: string, text: string): void => {
    mkdirSync(dirname(join(directory, name)), { recursive: true })
    writeFileSync(join(directory, name), text)
  }
  const process = (pid: number): void => {
    put(
      `proc/${pid}/cgroup`,
      version === 2 ? `0::${path}\n` : `4:memory:${path}\n2:pids:${path}\n3:blkio:${path}\n1:cpu,cpuacct:${path}\n`,
    )
  }
  const use = (pid: number, { cpuNs, memoryBytes, cacheBytes = 0, readBytes = 0, rxBytes = 0 }: Use): void => {
    put('proc/stat', 'cpu  100 0 100 800 0 0 0 0 50 0\ncpu0 1 1 1 1\n')
    put('proc/meminfo', 'MemTotal:        1000000 kB\n')
    const face = `${rxBytes} 2 0 1 0 0 0 0 70 3 0 0 0 0 0 0`
    put(
      `proc/${pid}/net/dev`,
      `Inter-| Receive\n face |bytes\n    lo: 9 9 0 0 0 0 0 0 9 9 0 0 0 0 0 0\n  eth0: ${face}\n`,
    )
    if (version === 2) {
      put(
        `cgroup${path}/cpu.stat`,
        `usage_usec ${cpuNs / 1000}\nuser_usec 5\nsystem_usec 7\nnr_periods 3\nnr_throttled 1\nthrottled_usec 2\n`,
      )
      put(`cgroup${path}/memory.current`, `${memoryBytes}\n`)
      put(`cgroup${path}/memory.stat`, `anon 5\nfile 6\ninactive_file ${cacheBytes}\nactive_file 1\n`)
      put(`cgroup${path}/memory.max`, 'max\n')
      put(`cgroup${path}/pids.current`, '4\n')
      put(`cgroup${path}/io.stat`, `8:0 rbytes=${readBytes} wbytes=10 rios=2 wios=1 dbytes=0 dios=0\n`)
      return
    }
    put(`cgroup/cpu,cpuacct${path}/cpuacct.usage`, `${cpuNs}\n`)
    put(`cgroup/cpu,cpuacct${path}/cpuacct.stat`, 'user 5\nsystem 7\n')
    put(`cgroup/cpu,cpuacct${path}/cpu.stat`, 'nr_periods 3\nnr_throttled 1\nthrottled_time 2000\n')
    put(`cgroup/memory${path}/memory.usage_in_bytes`, `${memoryBytes}\n`)
    put(`cgroup/memory${path}/memory.limit_in_bytes`, '67108864\n')
    put(`cgroup/memory${path}/memory.stat`, `cache ${cacheBytes}\nrss 7\ntotal_cache 1\n`)
    put(`cgroup/pids${path}/pids.current`, '4\n')
    put(
      `cgroup/blkio${path}/blkio.throttle.io_service_bytes`,
      `8:0 Read ${readBytes}\n8:0 Write 10\n8:0 Total 1\nTotal 1\n`,
    )
    put(`cgroup/blkio${path}/blkio.throttle.io_serviced`, '8:0 Read 2\n8:0 Write 1\nTotal 3\n')
  }
  return { layout, process, use, remove: () => rmSync(join(directory, 'cgroup'), { recursive: true }) }
}

function sampling(layout: CgroupLayout, targets: () => readonly StatsTarget[], time: { at: number }): Stats {
  const timers = { after: () => () => undefined }
  return createStats({ targets, layout, cpus: 2, now: () => time.at, timers })
}

const aTarget: StatsTarget = { dockerId, pid: 7, countsNetwork: true, networkShare: 1 }
const MiB = 1024 * 1024

for (const version of [1, 2] as const) {
  await tap.test(`version ${version}: sets over what was sampled since the last time`, async (t) => {
    const host = aHost(t.testdir(), version)
    host.process(7)
    const time = { at: 1_000_000 }
    const stats = sampling(host.layout, () => [aTarget], time)
    host.use(7, { cpuNs: 1e9, memoryBytes: 30 * MiB, cacheBytes: 10 * MiB, readBytes: 100, rxBytes: 1000 })
    await stats.sweep()
    t.equal(stats.setsSince(0).size, 0, 'one sample tells of no rate')

    time.at += 5000
    // 1 s of CPU in 5 s, of 2 CPUs: 10 %.
    host.use(7, { cpuNs: 2e9, memoryBytes: 50 * MiB, cacheBytes: 10 * MiB, readBytes: 300, rxBytes: 6000 })
    await stats.sweep()
    const sets = stats.setsSince(0).get(dockerId)
    t.same(sets?.cpuStatsSet, { min: 10, max: 10, sampleCount: 1, sum: 10 })
    t.same(sets?.memoryStatsSet, { min: 20, max: 40, sampleCount: 2, sum: 60 })
    t.same(sets?.storageStatsSet, {
      readSizeBytes: { min: 100, max: 300, sampleCount: 2, sum: 400 },
      writeSizeBytes: { min: 10, max: 10, sampleCount: 2, sum: 20 },
    })
    t.same(sets?.networkStatsSet?.['rxBytes'], { min: 1000, max: 6000, sampleCount: 2, sum: 7000 })
    t.same(sets?.networkStatsSet?.['rxBytesPerSecond'], { min: 1000, max: 1000, sampleCount: 1, sum: 1000 })
    t.match(Object.keys(sets?.networkStatsSet ?? {}).length, 10)

    t.equal(stats.setsSince(time.at).size, 0, 'what was told is not told again')
    time.at += 5000
    await stats.sweep()
    t.same(stats.setsSince(time.at - 5000).get(dockerId)?.cpuStatsSet, { min: 0, max: 0, sampleCount: 1, sum: 0 })
  })

  await tap.test(`version ${version}: a container that was started again counts on`, async (t) => {
    const host = aHost(t.testdir(), version)
    host.process(7)
    host.process(8)
    const time = { at: 0 }
    let pid = 7
    const stats = sampling(host.layout, () => [{ ...aTarget, pid }], time)
    host.use(7, { cpuNs: 4e9, memoryBytes: MiB, rxBytes: 500 })
    await stats.sweep()
    pid = 8
    time.at = 5000
    host.use(8, { cpuNs: 1e9, memoryBytes: MiB, rxBytes: 20 })
    await stats.sweep()
    t.match(stats.samplesOf(dockerId).at(-1), { cpuNs: 5e9, rxBytes: 520, cpuPercent: 10 })
    t.equal(stats.usedBefore(dockerId).cpuNs, 4e9)

    host.remove()
    await stats.sweep()
    t.equal(stats.samplesOf(dockerId).length, 2, 'a cgroup that is gone gives no sample')
  })

  await tap.test(`version ${version}: Docker's document, with what the sampler knows`, async (t) => {
    const host = aHost(t.testdir(), version)
    host.process(7)
    const time = { at: 1_700_000_000_000 }
    const stats = sampling(host.layout, () => [aTarget], time)
    host.use(7, { cpuNs: 1e9, memoryBytes: 3 * MiB, cacheBytes: MiB, rxBytes: 1000 })
    await stats.sweep()
    time.at += 5000
    host.use(7, { cpuNs: 2e9, memoryBytes: 3 * MiB, cacheBytes: MiB, rxBytes: 2000 })
    await stats.sweep()
    const document = statsDocument({ layout: host.layout, cpus: 2, now: time.at + 100 }, stats, aTarget, '/ecs-app')
    t.match(document, {
      read: '2023-11-14T22:13:25.100Z',
      preread: '2023-11-14T22:13:20.000Z',
      id: dockerId,
      name: '/ecs-app',
      cpu_stats: {
        cpu_usage: { total_usage: 2e9 },
        system_cpu_usage: 1e10,
        online_cpus: 2,
        throttling_data: { periods: 3, throttled_periods: 1, throttled_time: 2000 },
      },
      precpu_stats: { cpu_usage: { total_usage: 1e9 }, system_cpu_usage: 1e10 },
      memory_stats: { usage: 3 * MiB, limit: version === 1 ? 64 * MiB : 1_024_000_000 },
      pids_stats: { current: 4 },
      networks: { eth0: { rx_bytes: 2000, rx_packets: 2, rx_dropped: 1, tx_bytes: 70, tx_packets: 3 } },
      network_rate_stats: { rx_bytes_per_sec: 200, tx_bytes_per_sec: 0 },
      blkio_stats: {
        io_service_bytes_recursive: [
          { major: 8, minor: 0, op: 'read' },
          { op: 'write', value: 10 },
        ],
      },
    })
    host.remove()
    t.equal(statsDocument({ layout: host.layout, cpus: 2, now: time.at }, stats, aTarget, 'x'), undefined)
  })
}

await tap.test('where the kernel does not show the path, the usual layout of Docker is tried', async (t) => {
  for (const [path, cgroupParent] of [
    [`/docker/${dockerId}`, undefined],
    [`/system.slice/docker-${dockerId}.scope`, undefined],
    [`/ecs/0123/${dockerId}`, '/ecs/0123'],
  ] as const) {
    const host = aHost(t.testdir({ [path.replaceAll('/', '_')]: {} }), 2, path)
    host.use(7, { cpuNs: 1, memoryBytes: 1 })
    t.match(placeOf(host.layout, { dockerId, pid: 0, cgroupParent }), { version: 2 })
  }
})

await tap.test("a network that is shared counts once for the task, and the host's own never", async (t) => {
  const host = aHost(t.testdir(), 2)
  host.process(7)
  const time = { at: 0 }
  let target: StatsTarget = { ...aTarget, networkShare: 4 }
  const stats = sampling(host.layout, () => [target], time)
  host.use(7, { cpuNs: 0, memoryBytes: 1, rxBytes: 4000 })
  await stats.sweep()
  t.equal(stats.samplesOf(dockerId).at(-1)?.rxBytes, 1000)
  target = { ...aTarget, countsNetwork: false }
  time.at = 5000
  await stats.sweep()
  t.equal(stats.setsSince(0).get(dockerId)?.networkStatsSet, undefined)
})

await tap.test('a wall clock that is set back by days keeps the next sweeps as near as they were', async (t) => {
  const time = { at: 1_000_000_000 }
  const armed: { readonly delayMs: number; readonly callback: () => void }[] = []
  const timers = {
    after(delayMs: number, callback: () => void) {
      armed.push({ delayMs, callback })
      return () => undefined
    },
  }
  const { layout } = aHost(t.testdir(), 2)
  const stats = createStats({ targets: () => [], layout, cpus: 2, now: () => time.at, timers })
  for (const byMs of [5_000, 5_000 - 24 * 3_600_000, 5_000, 60_000]) {
    time.at += byMs
    armed.at(-1)?.callback()
  }
  t.same(
    armed.map(({ delayMs }) => delayMs),
    [5_000, 5_000, 5_000, 5_000, 0],
  )
  stats.close()
})
