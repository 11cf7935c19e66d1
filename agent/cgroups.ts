/**
 * The door to the host's cgroups: makes and removes the one around each task, and reads what the kernel counted in it.
 * With Docker's cgroupfs driver they are directories under /sys/fs/cgroup; with the systemd driver they are slices, and
 * systemd is asked (`cgroups-systemd.ts`).
 */
import { existsSync, mkdirSync, readFileSync, readdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CgroupLimits, TaskCgroupSettings } from './decide/task-cgroup.ts'
import { EngineError } from './engine.ts'
import { cpuWeight } from './decide/container-limits.ts'
import { makeSlice, removeSlice, slicePath } from './cgroups-systemd.ts'
import type { RunProgram } from './cgroups-systemd.ts'

/** Named by Docker's `CgroupParent`. Failures are EngineErrors of the kind `refused`, with what to do. */
export interface TaskCgroups {
  /** Makes it, or finds it, and sets its limits. */
  make(parent: string, limits: CgroupLimits): Promise<void>
  /** Already gone is success. */
  remove(parent: string): Promise<void>
}

/** Where a host keeps none: nothing asks for one then, since its settings say so. */
export const noCgroups: TaskCgroups = {
  make: () => Promise.reject(new EngineError('refused', 'this host keeps no cgroups for tasks')),
  remove: () => Promise.resolve(),
}

export interface CgroupHost {
  /** ECS_CGROUP_PATH: where the host's cgroups are mounted. */
  readonly root: string
  readonly driver: TaskCgroupSettings['driver']
  /** GANTRY_CGROUP_PARENT. */
  readonly parent: string
  /** 1, where each controller is a tree of its own, or 2. */
  readonly version: 1 | 2
}

/** The controllers of version 2 that a task's limits and its containers' own need. */
const controllers = ['cpu', 'cpuset', 'io', 'memory', 'pids']

export function openCgroups(host: CgroupHost, run: RunProgram): TaskCgroups {
  if (host.driver === 'systemd') {
    return {
      make: async (parent, limits) => makeSlice(run, parent, limits),
      remove: async (parent) => removeSlice(run, parent),
    }
  }
  return {
    async make(parent, limits) {
      explained(parent, () =>
        host.version === 2 ? makeUnified(host, parent, limits) : makeByTree(host, parent, limits),
      )
    },
    async remove(parent) {
      explained(parent, () => {
        for (const directory of directoriesOf(host, parent)) removeDirectory(directory)
      })
    },
  }
}

/** Every directory of a cgroup: one in version 2, one for each tree in version 1. */
export function directoriesOf({ root, driver, version }: CgroupHost, parent: string): readonly string[] {
  const path = driver === 'systemd' ? slicePath(parent) : parent
  if (version === 2) return [join(root, path)]
  return treesIn(root).map((tree) => join(root, tree, path))
}

/** The directory of one controller's files: that of `memory`, for example. */
export function directoryOf({ root, driver, version }: CgroupHost, controller: string, parent: string): string {
  const path = driver === 'systemd' ? slicePath(parent) : parent
  return version === 2 ? join(root, path) : join(root, controller, path)
}

/** The trees of version 1: directories, of which `cpu,cpuacct` is one with links `cpu` and `cpuacct` to it. */
function treesIn(root: string): readonly string[] {
  return readdirSync(root, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && existsSync(join(root, entry.name, 'cgroup.procs')))
    .map(({ name }) => name)
}

function makeUnified({ root }: CgroupHost, parent: string, limits: CgroupLimits): void {
  const names = parent.split('/').filter((name) => name !== '')
  let above = root
  for (const name of names) {
    enableControllers(above)
    above = join(above, name)
    mkdirSync(above, { recursive: true })
  }
  const { cpuQuota, cpuShares, memoryBytes, pids } = limits
  write(above, 'cpu.max', cpuQuota === undefined ? undefined : `${cpuQuota.quotaUs} ${cpuQuota.periodUs}`)
  write(above, 'cpu.weight', cpuShares === undefined ? undefined : String(cpuWeight(cpuShares)))
  write(above, 'memory.max', memoryBytes === undefined ? undefined : String(memoryBytes))
  write(above, 'pids.max', pids === undefined ? undefined : String(pids))
}

/** Limits of a cgroup exist only where the one above passes their controller on. */
function enableControllers(directory: string): void {
  const offered = readFileSync(join(directory, 'cgroup.controllers'), 'utf8').trim().split(/\s+/)
  const passedOn = readFileSync(join(directory, 'cgroup.subtree_control'), 'utf8').trim().split(/\s+/)
  const missing = controllers.filter((name) => offered.includes(name) && !passedOn.includes(name))
  if (missing.length > 0) {
    writeFileSync(join(directory, 'cgroup.subtree_control'), missing.map((name) => `+${name}`).join(' '))
  }
}

/** In `cpuset` an empty cgroup can hold no process until it has CPUs: Docker's runtime fills those that it makes itself. */
const leftToRuntime = new Set(['cpuset'])

function makeByTree(host: CgroupHost, parent: string, limits: CgroupLimits): void {
  for (const tree of treesIn(host.root)) {
    if (leftToRuntime.has(tree)) continue
    const directory = join(host.root, tree, parent)
    if (tree === 'memory') countBelow(join(host.root, tree), parent)
    mkdirSync(directory, { recursive: true })
  }
  const { cpuQuota, cpuShares, memoryBytes, pids } = limits
  const cpu = directoryOf(host, 'cpu', parent)
  write(cpu, 'cpu.cfs_period_us', cpuQuota === undefined ? undefined : String(cpuQuota.periodUs))
  write(cpu, 'cpu.cfs_quota_us', cpuQuota === undefined ? undefined : String(cpuQuota.quotaUs))
  write(cpu, 'cpu.shares', cpuShares === undefined ? undefined : String(cpuShares))
  const memory = memoryBytes === undefined ? undefined : String(memoryBytes)
  write(directoryOf(host, 'memory', parent), 'memory.limit_in_bytes', memory)
  write(directoryOf(host, 'pids', parent), 'pids.max', pids === undefined ? undefined : String(pids))
}

/** Older kernels count what is below a cgroup only where it says so before anything is below it. */
function countBelow(tree: string, parent: string): void {
  const top = join(tree, parent.split('/')[1] ?? '')
  if (existsSync(top)) return
  mkdirSync(top)
  const file = join(top, 'memory.use_hierarchy')
  if (existsSync(file) && readFileSync(file, 'utf8').trim() === '0') writeFileSync(file, '1')
}

function write(directory: string, file: string, value: string | undefined): void {
  if (value === undefined) return
  writeFileSync(join(directory, file), value)
}

/** A container's own cgroup may outlive its container by a moment, and empty ones below are nobody's. */
function removeDirectory(directory: string): void {
  if (!existsSync(directory)) return
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    if (entry.isDirectory()) removeDirectory(join(directory, entry.name))
  }
  rmdirSync(directory)
}

function explained(parent: string, work: () => void): void {
  try {
    work()
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const advice =
      code === 'EINVAL' || code === 'ENOENT'
        ? 'The kernel may lack a controller: see the file cgroup.controllers, or start the kernel with cgroup_enable=memory.'
        : 'The agent must run as root on the host and be allowed to write there (ECS_CGROUP_PATH), or be told to do without: ECS_ENABLE_TASK_CPU_MEM_LIMIT=false.'
    throw new EngineError('refused', `cgroup ${parent}: ${message}. ${advice}`, {
      cause: error,
    })
  }
}
