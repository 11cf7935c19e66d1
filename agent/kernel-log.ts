/**
 * Kills for memory by the kernel's own log. In version 1 of cgroups Docker's word of them hangs on a notice that is lost
 * where the container's cgroup goes first, in some of a hundred ends; the log has the kill before the process is gone.
 *
 * Source: Linux, Documentation/ABI/testing/dev-kmsg (one record a read, EPIPE where records were overwritten), and
 * mm/oom_kill.c: the line `oom-kill:` with the cgroup is limited to ten in five seconds, `Killed process` is not.
 */
import { constants, openSync, readSync } from 'node:fs'

/** What the kernel took: the container's main process, or something in the container. */
export type KernelKill = 'main-process' | 'something'

export interface KernelLog {
  /** A container's run is seen: what was heard of its id and its process before is of others. `pid` 0 is unknown. */
  begins(containerId: string, pid: number): void
  /** What was killed in this run, as far as the log tells; undefined where it tells of nothing. */
  killIn(containerId: string, pid: number): KernelKill | undefined
  /** The run is over, and told of. */
  ends(containerId: string, pid: number): void
}

/** Kept of each kind: more than this have ended without anybody having asked, and nobody will. */
const keptKills = 1000
/** A record is shorter than 8 KiB. Source: kernel/printk/printk.c, PRINTK_MESSAGE_MAX. */
const buffer = Buffer.allocUnsafe(8192)

/** Open for the agent's life. Undefined where the log may not be read: without CAP_SYSLOG, or without the device. */
export function openKernelLog(path = '/dev/kmsg'): KernelLog | undefined {
  let file: number
  try {
    file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch {
    return undefined
  }
  const containers = new Set<string>()
  const processes = new Set<number>()
  const hear = (): void => {
    for (let text = nextRecords(file); text !== undefined; text = nextRecords(file)) {
      for (const [, id = ''] of text.matchAll(/\boom-kill:.*\btask_memcg=\S*?([0-9a-f]{64})/g)) keep(containers, id)
      for (const [, pid] of text.matchAll(/\bKilled process (\d+) \(/g)) keep(processes, Number(pid))
    }
  }
  const forget = (containerId: string, pid: number): void => {
    containers.delete(containerId)
    processes.delete(pid)
  }
  hear()
  return {
    begins: forget,
    killIn(containerId, pid) {
      hear()
      if (processes.has(pid)) return 'main-process'
      return containers.has(containerId) ? 'something' : undefined
    },
    ends: forget,
  }
}

/** Undefined at the end of what there is. */
function nextRecords(file: number): string | undefined {
  try {
    const length = readSync(file, buffer, 0, buffer.length, null)
    return length === 0 ? undefined : buffer.toString('latin1', 0, length)
  } catch (error) {
    // Records that nobody read were overwritten: the next read gives the oldest that is left.
    if (error instanceof Error && 'code' in error && error.code === 'EPIPE') return ''
    return undefined
  }
}

function keep<T>(kept: Set<T>, one: T): void {
  kept.delete(one)
  kept.add(one)
  const [oldest] = kept
  if (kept.size > keptKills && oldest !== undefined) kept.delete(oldest)
}
