/**
 * Docker Engine with the truth about kills for memory: what it shows of an ended container says so only where the kernel
 * killed the container's main process. A child's kill, which Docker's flag remembers for good, is seen by what outlives it.
 *
 * A container's own counter goes with its cgroup before Docker tells of its end. In version 2 of cgroups the task's cgroup,
 * which stays, counts for all of them; in version 1 it does not, and the kernel's log or Docker's events have to say when
 * something was killed.
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { directoryOf } from './cgroups.ts'
import type { CgroupHost } from './cgroups.ts'
import { numberOf, readNumber, readText } from './cgroup-files.ts'
import { isKilledForMemory, killedExitCode, sameEndMs } from './decide/out-of-memory.ts'
import type { MemoryUse } from './decide/out-of-memory.ts'
import { cgroupParent } from './decide/task-cgroup.ts'
import { labels } from './engine.ts'
import type { Engine, ObservedContainer } from './engine.ts'
import { openKernelLog } from './kernel-log.ts'
import type { KernelLog } from './kernel-log.ts'
import type { Timers } from './timers.ts'

export interface MemoryKillsOptions {
  readonly engine: Engine
  /** Undefined where tasks have no cgroups of their own. */
  readonly host: CgroupHost | undefined
  readonly timers: Timers
  readonly now: () => number
  /** The kernel's log; undefined is the host's own, and read only where no cgroup counts. */
  readonly kernelLogFile?: string | undefined
}

/** How long after an end its flag may still come, and how long a look waits for it. */
const freshEndMs = 1000
const flagLagMs = 250

/** What is known of one run of a container. */
interface Life {
  startedAt: number | undefined
  readonly taskArn: string
  /** Of its main process; 0 where it was never seen running. */
  readonly pid: number
  eventAt: number | undefined
  outlived: number
  outlivedEvent: boolean
  /** Once it has ended: whether it was killed, so that a second look says the same. */
  killed: boolean | undefined
}

/** The same engine; nothing is asked of it that the caller did not ask. */
export function withMemoryTruth(options: MemoryKillsOptions): Engine {
  const kills = new MemoryKillsWatch(options)
  const { engine } = options
  return {
    ...engine,
    async inspectContainer(idOrName) {
      const first = await engine.inspectContainer(idOrName)
      if (first === undefined || !kills.isTooFresh(first)) return first === undefined ? undefined : kills.truthOf(first)
      await new Promise<void>((resolve) => options.timers.after(flagLagMs, resolve))
      const shown = await engine.inspectContainer(idOrName)
      return shown === undefined ? undefined : kills.truthOf(shown)
    },
    async listContainers() {
      const all = await engine.listContainers()
      // What may be told otherwise in a moment gets a look of its own.
      const fresh = all.shown.filter((one) => kills.isTooFresh(one))
      const shown = all.shown.filter((one) => !fresh.includes(one))
      const unshown = [...all.unshown, ...fresh]
      kills.keepOnly(new Set([...shown, ...unshown].map(({ id }) => id)))
      // Ends that nobody saw come first: what is counted for a task is news only from its living containers on.
      for (const one of shown) if (hasEnded(one)) kills.truthOf(one)
      return { shown: shown.map((one) => kills.truthOf(one)), unshown }
    },
    async watch(onEvent, signal) {
      await engine.watch((event) => {
        if (event.action === 'oom') kills.sawEvent(event.containerId)
        onEvent(event)
      }, signal)
    },
  }
}

function hasEnded({ status }: ObservedContainer): boolean {
  return status === 'exited' || status === 'dead'
}

class MemoryKillsWatch {
  readonly #options: MemoryKillsOptions
  readonly #lives = new Map<string, Life>()
  /** By task: kills of containers that have ended, as far as they are known. */
  readonly #accounted = new Map<string, number>()
  readonly #kernelLog: KernelLog | undefined

  constructor(options: MemoryKillsOptions) {
    this.#options = options
    this.#kernelLog = options.host?.version === 2 ? undefined : openKernelLog(options.kernelLogFile)
  }

  /**
   * True where Docker may not have heard yet why the container ended: the kernel's word of a kill for memory, on which its
   * flag hangs in version 1, comes another way than the end and may be later.
   */
  isTooFresh(shown: ObservedContainer): boolean {
    const { host, now } = this.#options
    const { exitCode, oomKilled, finishedAt } = shown
    if (host?.version === 2 || !hasEnded(shown) || exitCode !== killedExitCode || oomKilled) return false
    const agoMs = finishedAt === undefined ? Number.POSITIVE_INFINITY : now() - finishedAt
    if (agoMs < 0 || agoMs >= freshEndMs) return false
    const life = this.#lives.get(shown.id)
    return life?.killed === undefined && this.#kernelLog?.killIn(shown.id, life?.pid ?? 0) !== 'main-process'
  }

  truthOf(shown: ObservedContainer): ObservedContainer {
    if (shown.status === 'created') return shown
    const life = this.#lifeOf(shown)
    if (!hasEnded(shown)) return { ...shown, oomKilled: false }
    life.killed ??= this.#isKilled(shown, life)
    return life.killed ? { ...shown, oomKilled: true, memoryUse: this.#useOf(shown) } : { ...shown, oomKilled: false }
  }

  sawEvent(containerId: string): void {
    const life = this.#lives.get(containerId)
    if (life === undefined) return
    life.eventAt = this.#options.now()
    this.#sampleLater(containerId, life, true)
  }

  /** Forgets what Docker no longer has. */
  keepOnly(ids: ReadonlySet<string>): void {
    for (const id of this.#lives.keys()) if (!ids.has(id)) this.#lives.delete(id)
    const tasks = new Set([...this.#lives.values()].map(({ taskArn }) => taskArn))
    for (const taskArn of this.#accounted.keys()) if (!tasks.has(taskArn)) this.#accounted.delete(taskArn)
  }

  /** A container that is started again begins anew. */
  #lifeOf(shown: ObservedContainer): Life {
    const known = this.#lives.get(shown.id)
    if (known !== undefined && known.startedAt === shown.startedAt) return known
    const taskArn = shown.labels[labels.taskArn] ?? ''
    const life = {
      startedAt: shown.startedAt,
      taskArn,
      pid: hasEnded(shown) ? 0 : (shown.details?.pid ?? 0),
      eventAt: undefined,
      outlived: 0,
      outlivedEvent: false,
      killed: undefined,
    }
    this.#lives.set(shown.id, life)
    if (shown.status === 'running' || shown.status === 'paused') {
      this.#kernelLog?.begins(shown.id, life.pid)
      this.#account(taskArn)
      this.#sampleLater(shown.id, life, false)
    }
    return life
  }

  /** What it has outlived is known only once it has: the kill and the end that it brings come one after the other. */
  #sampleLater(containerId: string, life: Life, isEvent: boolean): void {
    this.#options.timers.after(sameEndMs, () => {
      if (life.killed !== undefined || this.#lives.get(containerId) !== life) return
      life.outlived = this.#countOf(life.taskArn, containerId) ?? life.outlived
      if (isEvent || life.outlived > 0) life.outlivedEvent = true
    })
  }

  #isKilled(shown: ObservedContainer, life: Life): boolean {
    const before = this.#accounted.get(life.taskArn)
    const ended = this.#endedOf(life.taskArn)
    const unaccounted = before === undefined || ended === undefined ? undefined : ended - before
    const { exitCode, finishedAt } = shown
    const { eventAt, outlived, outlivedEvent } = life
    const logged = this.#kernelLog?.killIn(shown.id, life.pid)
    this.#kernelLog?.ends(shown.id, life.pid)
    const flagged = shown.oomKilled || logged !== undefined
    const isMine = exitCode === killedExitCode || flagged || outlived > 0
    if (isMine && ended !== undefined) this.#accounted.set(life.taskArn, ended)
    const isLogged = logged === 'main-process'
    return isKilledForMemory({ exitCode, flagged, finishedAt, eventAt, outlived, outlivedEvent, unaccounted, isLogged })
  }

  /** From now on what is counted for the task is news. */
  #account(taskArn: string): void {
    if (this.#accounted.has(taskArn)) return
    const ended = this.#endedOf(taskArn)
    if (ended !== undefined) this.#accounted.set(taskArn, ended)
  }

  /** Kills in the task's cgroup that are none of its living containers'; undefined where nothing counts them. */
  #endedOf(taskArn: string): number | undefined {
    const { host } = this.#options
    if (host === undefined || host.version !== 2) return undefined
    const directory = directoryOf(host, 'memory', cgroupParent(taskArn, host))
    const all = killsIn(directory, host.version)
    if (all === undefined) return undefined
    return all - directoriesIn(directory).reduce((sum, below) => sum + (killsIn(below, host.version) ?? 0), 0)
  }

  #countOf(taskArn: string, containerId: string): number | undefined {
    const { host } = this.#options
    if (host === undefined) return undefined
    const directory = directoryOf(host, 'memory', cgroupParent(taskArn, host))
    const own = host.driver === 'systemd' ? `docker-${containerId}.scope` : containerId
    return killsIn(join(directory, own), host.version)
  }

  #useOf({ labels: its, memoryLimitBytes }: ObservedContainer): MemoryUse {
    const { host } = this.#options
    const own = memoryLimitBytes === 0 ? undefined : memoryLimitBytes
    if (host === undefined) return { containerLimitBytes: own }
    const directory = directoryOf(host, 'memory', cgroupParent(its[labels.taskArn] ?? '', host))
    const [limit, peak] =
      host.version === 2 ? ['memory.max', 'memory.peak'] : ['memory.limit_in_bytes', 'memory.max_usage_in_bytes']
    const taskLimitBytes = readNumber(join(directory, limit))
    return {
      containerLimitBytes: own,
      taskLimitBytes: taskLimitBytes === undefined || taskLimitBytes > unlimitedBytes ? undefined : taskLimitBytes,
      taskPeakBytes: readNumber(join(directory, peak)),
    }
  }
}

/** Version 1 writes no limit as the largest number of pages. */
const unlimitedBytes = 2 ** 60

function killsIn(directory: string, version: CgroupHost['version']): number | undefined {
  const text = readText(join(directory, version === 2 ? 'memory.events' : 'memory.oom_control'))
  return text === undefined ? undefined : numberOf(text, 'oom_kill')
}

function directoriesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => join(directory, name))
  } catch {
    return []
  }
}
