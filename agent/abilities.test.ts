/** What a host can do: its cgroups in either version, systemd's slices, kills for memory, GPUs, sizes of disks. */
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import t from 'tap'
import { fakeTime } from '../test/support/fake-time.ts'
import { openCgroups } from './cgroups.ts'
import { slicePath } from './cgroups-systemd.ts'
import { readConfig } from './config.ts'
import { storageLimits } from './container-storage.ts'
import { cpuWeight } from './decide/container-limits.ts'
import { EngineError, labels } from './engine.ts'
import type { ContainerList, Engine, EngineEvent, EngineInfo, ObservedContainer } from './engine.ts'
import { findGpus } from './gpus.ts'
import { withMemoryTruth } from './memory-kills.ts'
import { keepTaskCgroups } from './task-cgroups.ts'

const directory = mkdtempSync(join(tmpdir(), 'gantry-abilities-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))

/** Files of a kernel that is none: what is written stays as it was written. */
function files(name: string, contents: Readonly<Record<string, string>>): string {
  const root = join(directory, name)
  for (const [path, text] of Object.entries(contents)) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return root
}

const quiet = { info: () => undefined, warn: () => undefined, debug: () => undefined }
const never = async (): Promise<string> => {
  throw new Error('no program is to be run')
}
const taskId = 'a'.repeat(32)
const taskArn = `arn:aws:ecs:us-east-1:123456789012:task/default/${taskId}`
const bytesPerMiB = 1024 * 1024

const engineInfo: EngineInfo = {
  engineVersion: '28.0.0',
  apiVersion: '1.48',
  loggingDrivers: [],
  volumePlugins: [],
  securityOptions: [],
  cgroupDriver: 'cgroupfs',
  cgroupVersion: '2',
  storageDriver: 'overlay2',
  backingFileSystem: 'xfs',
  rootDirectory: '/var/lib/docker',
}

await t.test('cgroups of version 2: controllers are passed on, limits written, all of it removed', async (test) => {
  const passing = { 'cgroup.controllers': 'cpu io memory pids\n', 'cgroup.subtree_control': 'memory\n' }
  const root = files('unified', {
    ...passing,
    'ecs/cgroup.controllers': 'cpu memory\n',
    'ecs/cgroup.subtree_control': '',
  })
  const cgroups = openCgroups({ root, driver: 'cgroupfs', parent: '/ecs', version: 2 }, never)
  const parent = `/ecs/${taskId}`
  const limits = { cpuQuota: { quotaUs: 25_000, periodUs: 100_000 }, memoryBytes: 64 * bytesPerMiB, pids: 100 }
  await cgroups.make(parent, limits)
  const written = (path: string): string => readFileSync(join(root, path), 'utf8')
  test.equal(written('cgroup.subtree_control'), '+cpu +io +pids', 'those that are missing, of those that there are')
  test.equal(written('ecs/cgroup.subtree_control'), '+cpu +memory')
  test.equal(written(`${parent}/cpu.max`), '25000 100000')
  test.equal(written(`${parent}/memory.max`), String(64 * bytesPerMiB))
  test.equal(written(`${parent}/pids.max`), '100')
  test.notOk(existsSync(join(root, parent, 'cpu.weight')))

  await cgroups.make(`/ecs/${'b'.repeat(32)}`, { cpuShares: 1024 })
  test.equal(written(`/ecs/${'b'.repeat(32)}/cpu.weight`), '39', 'on the scale of version 2, as runc puts it')
  test.same([2, 262_144].map(cpuWeight), [1, 10_000])
  await cgroups.remove('/ecs/never-made')
})

await t.test('a cgroup that cannot be made says why and what to do', async (test) => {
  const cgroups = openCgroups(
    { root: join(directory, 'nothing'), driver: 'cgroupfs', parent: '/ecs', version: 2 },
    never,
  )
  await test.rejects(cgroups.make('/ecs/x', {}), /^cgroup \/ecs\/x: ENOENT.*cgroup_enable=memory/)
  const { config } = readConfig({ ECS_CGROUP_PATH: join(directory, 'nothing') }, '')
  const warned: string[] = []
  const log = { ...quiet, warn: (_facts: object, message: string) => void warned.push(message) }
  test.equal(await keepTaskCgroups(config, { ...engineInfo, cgroupVersion: '2' }, log, never), undefined)
  test.equal(warned.length, 1, 'it is said once')
  test.match(warned[0], /only reserve and do not limit\. cgroup \/ecs\/probe/)
  test.equal(await keepTaskCgroups(config, { ...engineInfo, cgroupDriver: 'none' }, log, never), undefined)
  test.match(warned[1], /cgroup driver "none"/)
  const { config: off } = readConfig({ ECS_ENABLE_TASK_CPU_MEM_LIMIT: 'false' }, '')
  test.equal(await keepTaskCgroups(off, engineInfo, log, never), undefined)
  test.equal(warned.length, 2, 'what is configured off is no news')
})

const done = (_args: readonly string[]): string => ''

await t.test("with systemd's driver the calls are exactly these", async (test) => {
  const calls: (readonly string[])[] = []
  const manager = ['org.freedesktop.systemd1', '/org/freedesktop/systemd1', 'org.freedesktop.systemd1.Manager']
  let answer = done
  const run = async (program: string, args: readonly string[]): Promise<string> => {
    calls.push([program, ...args])
    return answer(args)
  }
  const slice = `ecstasks-${taskId}.slice`
  const cgroups = openCgroups({ root: '/sys/fs/cgroup', driver: 'systemd', parent: '/ecs', version: 2 }, run)
  const limits = { cpuQuota: { quotaUs: 25_000, periodUs: 100_000 }, memoryBytes: 64 * bytesPerMiB, pids: 100 }
  await cgroups.make(slice, limits)
  const accounting = ['CPUAccounting', 'b', 'true', 'MemoryAccounting', 'b', 'true', 'TasksAccounting', 'b', 'true']
  const wanted = [
    'CPUQuotaPerSecUSec t 250000 CPUQuotaPeriodUSec t 100000',
    'MemoryMax t 67108864 TasksMax t 100',
  ].flatMap((words) => words.split(' '))
  const described = ['Description', 's', 'Containers of an ECS task']
  const start = [
    'StartTransientUnit',
    'ssa(sv)a(sa(sv))',
    slice,
    'replace',
    '8',
    ...described,
    ...accounting,
    ...wanted,
    '0',
  ]
  test.same(calls.splice(0), [['busctl', 'call', ...manager, ...start]])

  answer = (args) => {
    if (args.includes('StartTransientUnit'))
      throw new Error(`Call failed: Unit ${slice} was already loaded or has a fragment file.`)
    return ''
  }
  await cgroups.make(slice, { cpuShares: 2 })
  const set = ['SetUnitProperties', 'sba(sv)', slice, 'true', '4', ...accounting, 'CPUWeight', 't', '1']
  test.same(calls.splice(0).at(-1), ['busctl', 'call', ...manager, ...set])

  await cgroups.remove(slice)
  test.same(calls.splice(0), [['busctl', 'call', ...manager, 'StopUnit', 'ss', slice, 'replace']])
  answer = () => {
    throw new Error(`Call failed: Unit ${slice} not loaded.`)
  }
  await cgroups.remove(slice)
  answer = () => {
    throw new Error('Failed to connect to bus: No such file or directory')
  }
  await test.rejects(cgroups.make(slice, limits), /^slice ecstasks-a+\.slice: Failed to connect to bus.*do without\.$/)
  await test.rejects(cgroups.remove(slice), EngineError)
  test.equal(slicePath(slice), `/ecstasks.slice/${slice}`)
  const { config } = readConfig({}, '')
  test.equal(await keepTaskCgroups(config, { ...engineInfo, cgroupDriver: 'systemd' }, quiet, run), undefined)
  answer = done
  test.match((await keepTaskCgroups(config, { ...engineInfo, cgroupDriver: 'systemd' }, quiet, run))?.settings, {
    driver: 'systemd',
    cpuPeriodUs: 100_000,
  })
})

const anEnd: ObservedContainer = {
  id: 'x1',
  name: 'x',
  image: 'busybox',
  imageId: 'sha256:1',
  labels: { [labels.taskArn]: taskArn },
  status: 'exited',
  exitCode: 137,
  createdAt: 0,
  startedAt: 1000,
  finishedAt: 100_000,
  oomKilled: true,
  memoryLimitBytes: 16 * bytesPerMiB,
  error: '',
  health: undefined,
  ports: [],
  networkMode: 'bridge',
}
const aLife: ObservedContainer = {
  ...anEnd,
  status: 'running',
  exitCode: undefined,
  finishedAt: undefined,
  oomKilled: false,
}

/** An engine that shows what it is told to, and tells of kills. */
function shownEngine(version: 1 | 2, root: string) {
  const time = fakeTime(10_000)
  const shown = new Map<string, ObservedContainer>()
  let tell: ((event: EngineEvent) => void) | undefined
  const engine = {
    inspectContainer: async (id: string) => shown.get(id),
    listContainers: async (): Promise<ContainerList> => ({ shown: [...shown.values()], unshown: [] }),
    watch: async (onEvent: (event: EngineEvent) => void) => {
      tell = onEvent
    },
  } as Partial<Engine> as Engine
  const host = { root, driver: 'cgroupfs', parent: '/ecs', version } as const
  const kernelLogFile = join(files(`${basename(root)}-log`, { kmsg: '' }), 'kmsg')
  const truthful = withMemoryTruth({ engine, host, timers: time, now: () => time.now(), kernelLogFile })
  const log = (...lines: readonly string[]): void => appendFileSync(kernelLogFile, `${lines.join('\n')}\n`)
  const look = async (container: ObservedContainer): Promise<ObservedContainer | undefined> => {
    shown.set(container.id, container)
    return truthful.inspectContainer(container.id)
  }
  const show = (...containers: readonly ObservedContainer[]): void => {
    for (const container of containers) shown.set(container.id, container)
  }
  return { time, look, show, log, truthful, kill: (containerId: string) => tell?.({ containerId, action: 'oom' }) }
}

const events = (kills: number): string => `low 0\nhigh 0\nmax 7\noom 1\noom_kill ${kills}\n`

await t.test('version 2: what the kernel counted tells whose end was a want of memory', async (test) => {
  const count = (path: string, kills: number): string =>
    files('kills', { [`ecs/${taskId}/${path}memory.events`]: events(kills) })
  const root = count('', 0)
  files('kills', { [`ecs/${taskId}/memory.max`]: '33554432\n', [`ecs/${taskId}/memory.peak`]: '20000000\n' })
  const { time, look } = shownEngine(2, root)
  const other = { ...aLife, id: 'y1', name: 'y' }
  const gone = (id: string): void => rmSync(join(root, 'ecs', taskId, id), { recursive: true })
  for (const [id, container] of [
    ['x1', aLife],
    ['y1', other],
  ] as const) {
    count(`${id}/`, 0)
    test.match(await look(container), { oomKilled: false })
  }
  // A child of y is killed, and y lives on.
  count('y1/', 1)
  count('', 1)
  await time.pass(5000)
  // x is killed itself; its own cgroup goes with it.
  count('', 2)
  gone('x1')
  test.match(await look(anEnd), {
    oomKilled: true,
    memoryUse: { containerLimitBytes: 16 * bytesPerMiB, taskLimitBytes: 32 * bytesPerMiB, taskPeakBytes: 20_000_000 },
  })
  test.match(await look(anEnd), { oomKilled: true }, 'a second look says the same')
  // y is killed from outside, and Docker's flag is still that of its child.
  gone('y1')
  test.match(await look({ ...anEnd, id: 'y1', name: 'y' }), { oomKilled: false })
})

await t.test('an agent that was away takes what it finds ended before what lives', async (test) => {
  const root = files('away', {
    [`ecs/${taskId}/memory.events`]: 'oom_kill 1\n',
    [`ecs/${taskId}/y1/memory.events`]: 'oom_kill 0\n',
  })
  const living = { ...aLife, id: 'y1', name: 'y' }
  const peer = shownEngine(2, root)
  peer.show(living, anEnd)
  const { shown } = await peer.truthful.listContainers()
  test.same(
    shown.map(({ id, oomKilled }) => `${id} ${oomKilled}`),
    ['y1 false', 'x1 true'],
  )
})

await t.test('where only events tell: what was outlived is not what it died of', async (test) => {
  const root = files('trees', {
    [`memory/ecs/${taskId}/x1/memory.oom_control`]: 'oom_kill_disable 0\nunder_oom 0\noom_kill 0\n',
  })
  const fresh = async () => {
    const peer = shownEngine(1, root)
    await peer.truthful.watch(() => undefined, new AbortController().signal)
    await peer.look(aLife)
    return peer
  }
  const [own, child, both, unseen] = [await fresh(), await fresh(), await fresh(), await fresh()]
  own.kill('x1')
  test.match(await own.look({ ...anEnd, finishedAt: own.time.now() + 5 }), { oomKilled: true })
  child.kill('x1')
  await child.time.pass(60_000)
  test.match(await child.look({ ...anEnd, finishedAt: child.time.now() }), { oomKilled: false })
  both.kill('x1')
  await both.time.pass(60_000)
  both.kill('x1')
  test.match(await both.look({ ...anEnd, finishedAt: both.time.now() }), { oomKilled: true })
  test.match(await unseen.look(anEnd), { oomKilled: true }, 'nothing speaks against the flag')
  test.match(await unseen.look({ ...anEnd, startedAt: 2000, exitCode: 0 }), { oomKilled: false }, 'exit code 0')
})

await t.test('a flag that comes after the end is waited for, by a look and by a list', async (test) => {
  const root = files('late', { 'memory/placeholder': '' })
  const { time, show, truthful } = shownEngine(1, root)
  show(aLife)
  await truthful.inspectContainer('x1')
  await time.pass(5000)
  const ended = { ...anEnd, oomKilled: false, finishedAt: time.now() - 10 }
  show(ended)
  const { shown, unshown } = await truthful.listContainers()
  test.same([shown, unshown.map(({ id }) => id)], [[], ['x1']], 'it is to be looked at by itself')
  const look = truthful.inspectContainer('x1')
  show({ ...ended, oomKilled: true })
  await time.pass(300)
  test.match(await look, { oomKilled: true })

  const later = { ...aLife, id: 'z1', name: 'z' }
  show(later)
  await truthful.inspectContainer('z1')
  const killed = { ...ended, id: 'z1', name: 'z', finishedAt: time.now() - 10 }
  show(killed)
  const second = truthful.inspectContainer('z1')
  await time.pass(300)
  test.match(await second, { oomKilled: false }, 'no flag came: somebody else killed it')
})

/** As Linux 6 writes it; the first line is left out where there were too many in a short time. */
const logLines = (containerId: string, pid: number): readonly string[] => [
  '4,1812,45004200371,-;busybox invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0',
  `6,1843,45004200693,-;oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=${containerId},mems_allowed=0,` +
    `oom_memcg=/ecs/${taskId}/${containerId},task_memcg=/ecs/${taskId}/${containerId},task=busybox,pid=${pid},uid=0`,
  `3,1844,45004200711,-;Memory cgroup out of memory: Killed process ${pid} (busybox) total-vm:18168kB, anon-rss:16000kB`,
]

await t.test("where Docker's word is lost the kernel's log tells whom it killed", async (test) => {
  const id = 'c'.repeat(64)
  const running = (pid: number, startedAt = 1000): ObservedContainer => ({
    ...aLife,
    id,
    startedAt,
    details: { pid, cgroupParent: '', networks: [], mounts: [], logDriver: '', logOptions: {} },
  })
  let made = 0
  const begun = async (pid: number) => {
    made += 1
    const peer = shownEngine(1, files(`log-${made}`, { 'memory/placeholder': '' }))
    await peer.look(running(pid))
    const end = (startedAt = 1000) => ({ ...anEnd, id, startedAt, oomKilled: false, finishedAt: peer.time.now() })
    const ending = async (startedAt?: number): Promise<ObservedContainer | undefined> => {
      const look = peer.look(end(startedAt))
      await peer.time.pass(300)
      return look
    }
    return { ...peer, ending }
  }

  const whole = await begun(77)
  whole.log(...logLines(id, 77))
  test.match(await whole.ending(), { oomKilled: true })
  const brief = await begun(77)
  brief.log(...logLines(id, 77).slice(2))
  test.match(await brief.ending(), { oomKilled: true }, 'by its process alone')
  const unseen = shownEngine(1, files('log-unseen', { 'memory/placeholder': '' }))
  unseen.log(...logLines(id, 77))
  const unseenEnd = { ...anEnd, id, oomKilled: false, finishedAt: unseen.time.now() - 5000 }
  test.match(await unseen.look(unseenEnd), { oomKilled: true }, 'by its cgroup, where its process was never seen')

  const neighbour = await begun(77)
  neighbour.log(...logLines('d'.repeat(64), 78))
  test.match(await neighbour.ending(), { oomKilled: false }, 'another was killed')
  const again = await begun(77)
  again.log(...logLines(id, 77))
  test.match(await again.ending(), { oomKilled: true })
  await again.look(running(79, 2000))
  test.match(await again.ending(2000), { oomKilled: false }, 'its next run is another')
  const first = await begun(77)
  first.log(...logLines('e'.repeat(64), 80))
  await first.ending()
  await first.look(running(80, 2000))
  test.match(await first.ending(2000), { oomKilled: false }, 'a process id that is given out again')
})

const listByProgram = async (): Promise<string> => 'GPU 0: NVIDIA T4 (UUID: GPU-cc)\nGPU 1: NVIDIA T4 (UUID: GPU-dd)\n'

const none = async (): Promise<undefined> => undefined

await t.test('GPUs: by a file, by nvidia-smi, by the driver, or none', async (test) => {
  const nowhere = join(directory, 'no-such-file')
  const driverDirectory = files('nvidia', {
    version: 'NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.14  Thu Feb 22 01:44:30 UTC 2024\n',
    'gpus/0000:01:00.0/information': 'Model: \t\t NVIDIA T4\nGPU UUID: \t GPU-11111111-aaaa\n',
    'gpus/0000:02:00.0/information': 'Model: \t\t NVIDIA T4\nGPU UUID: \t GPU-22222222-bbbb\n',
  })
  const look = async (gpuInfoFile: string, places = { driverDirectory, listByProgram: none }, gpuSupport = true) =>
    findGpus({ gpuSupport, gpuInfoFile }, quiet, places)
  const byFile = files('info', { ok: '{"DriverVersion":"1.2","GPUIDs":["GPU-1","GPU-1","GPU-2"]}', bad: '["GPU-1"]' })
  test.same(await look(join(byFile, 'ok')), { ids: ['GPU-1', 'GPU-2'], driverVersion: '1.2' })
  const fromDriver = { ids: ['GPU-11111111-aaaa', 'GPU-22222222-bbbb'], driverVersion: '550.54.14' }
  test.same(await look(nowhere), fromDriver)
  test.same(await look(join(byFile, 'bad')), fromDriver, 'a file that is none has no effect')
  test.same(
    (await findGpus({ gpuSupport: true, gpuInfoFile: nowhere }, quiet, { driverDirectory, listByProgram })).ids,
    ['GPU-cc', 'GPU-dd'],
  )
  const nothing = { ids: [], driverVersion: undefined }
  test.same(await look(nowhere, { driverDirectory: nowhere, listByProgram: none }), nothing)
  test.same(await look(join(byFile, 'ok'), undefined, false), nothing, 'ECS_ENABLE_GPU_SUPPORT=false')
})

const mounts = (options: string): string =>
  '22 1 8:1 / / rw - ext4 /dev/sda1 rw\n' +
  `30 22 8:2 / /var/lib/docker rw,relatime shared:9 - xfs /dev/sdb1 ${options}\n`

const why = (info: Partial<EngineInfo>, options = 'rw,attr2,prjquota'): string => {
  const limits = storageLimits({ ...engineInfo, ...info }, mounts(options))
  return limits.canLimit ? 'can' : limits.why
}

await t.test('whether a disk can be held to a size depends on what Docker keeps it on', async (test) => {
  test.equal(why({}), 'can')
  test.equal(why({}, 'rw,pquota'), 'can')
  test.match(why({}, 'rw,noquota'), /the xfs under \/var\/lib\/docker is not mounted with the option pquota/)
  test.match(why({ backingFileSystem: 'extfs' }), /only on xfs, and \/var\/lib\/docker is on extfs/)
  test.equal(why({ storageDriver: 'btrfs' }), 'can')
  test.equal(why({ storageDriver: 'zfs' }), 'can')
  test.match(why({ storageDriver: 'overlayfs' }), /the storage driver overlayfs can't limit/)
  test.match(why({ rootDirectory: '/srv/docker' }), /not mounted with/, 'another mount holds it')
})
