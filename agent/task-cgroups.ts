/** Whether this host can keep a cgroup around each task: found out once, at start, by making one and removing it. */
import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { promisify } from 'node:util'
import type { CgroupHost, TaskCgroups } from './cgroups.ts'
import { openCgroups } from './cgroups.ts'
import { askSystemd } from './cgroups-systemd.ts'
import type { RunProgram } from './cgroups-systemd.ts'
import type { AgentConfig } from './config.ts'
import { cgroupParent } from './decide/task-cgroup.ts'
import type { TaskCgroupSettings } from './decide/task-cgroup.ts'
import type { EngineInfo } from './engine.ts'
import type { TurnLog } from './turn-options.ts'

export interface TaskCgroupKeeping {
  readonly settings: TaskCgroupSettings
  readonly cgroups: TaskCgroups
  readonly host: CgroupHost
}

const programTimeoutMs = 10_000
const probeLimits = { cpuQuota: { quotaUs: 100_000, periodUs: 100_000 }, cpuShares: 2, memoryBytes: 64 * 1024 * 1024 }

/**
 * Undefined where it is configured off, or where the host does not let it: then the log says why, once, and the instance
 * does not register what it can't keep.
 */
export async function keepTaskCgroups(
  config: AgentConfig,
  engine: EngineInfo,
  log: Pick<TurnLog, 'warn' | 'info'>,
  run: RunProgram = runProgram,
): Promise<TaskCgroupKeeping | undefined> {
  if (!config.taskCpuMemLimit) return undefined
  const { cgroupDriver: driver } = engine
  if (driver !== 'cgroupfs' && driver !== 'systemd') {
    log.warn({ driver }, `${without} Docker Engine uses the cgroup driver "${driver}"; cgroupfs or systemd is needed.`)
    return undefined
  }
  const parent = config.cgroupParent
  const host: CgroupHost = { root: config.cgroupPath, driver, parent, version: engine.cgroupVersion === '2' ? 2 : 1 }
  const cgroups = openCgroups(host, run)
  const pids = config.taskPidsLimit === undefined ? {} : { pids: config.taskPidsLimit }
  const probe = cgroupParent(`probe${randomBytes(8).toString('hex')}`, host)
  try {
    if (driver === 'systemd') await askSystemd(run)
    // Each kind of limit is tried: a kernel may lack a controller.
    await cgroups.make(probe, { ...probeLimits, ...pids })
    await cgroups.remove(probe)
  } catch (error) {
    log.warn({ err: error }, `${without} ${error instanceof Error ? error.message : String(error)}`)
    return undefined
  }
  const settings: TaskCgroupSettings = {
    driver,
    parent,
    cpuPeriodUs: config.cgroupCpuPeriodMs * 1000,
    ...(config.taskPidsLimit === undefined ? {} : { pidsLimit: config.taskPidsLimit }),
    epoch: randomBytes(8).toString('hex'),
  }
  log.info({ driver, version: host.version }, 'tasks get a cgroup of their own')
  return { settings, cgroups, host }
}

const without = "Tasks get no cgroup of their own, so a task's own cpu and memory only reserve and do not limit."

const runProgram: RunProgram = async (program, args) => {
  try {
    const { stdout } = await promisify(execFile)(program, [...args], { timeout: programTimeoutMs })
    return stdout
  } catch (error) {
    const { stderr, code, message } = error as { stderr?: string; code?: unknown; message: string }
    if (code === 'ENOENT') throw new Error(`${program} is not installed`, { cause: error })
    throw new Error(stderr === undefined || stderr.trim() === '' ? message : stderr.trim(), { cause: error })
  }
}
