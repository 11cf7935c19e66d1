/** Processes by their id, from /proc: who runs, with what arguments, and how one is brought to its end. */
import { readFileSync, readdirSync } from 'node:fs'

export function processIds(): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid))
}

/** The arguments, each ended by a NUL; empty for a process that is gone, and for a kernel thread. */
export function commandLineOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

/** A zombie counts as gone: it holds nothing any more, and its parent may never ask for it. */
export function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return false
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It ended in between, which is what was wanted.
  }
}

/** SIGTERM, then SIGKILL after the given time. True when it ended by itself. */
export async function endProcess(pid: number, timeoutMs: number): Promise<boolean> {
  signal(pid, 'SIGTERM')
  if (await waitUntilGone(pid, timeoutMs)) return true
  signal(pid, 'SIGKILL')
  await waitUntilGone(pid, 5_000)
  return false
}

async function waitUntilGone(pid: number, timeoutMs: number): Promise<boolean> {
  const giveUpAt = Date.now() + timeoutMs
  while (isRunning(pid)) {
    if (Date.now() >= giveUpAt) return false
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return true
}

/** The environment that the process was started with, entries ended by NUL; empty for one that is gone. */
function environmentOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8')
  } catch {
    return ''
  }
}

/** Processes whose environment names something in the directory, by whatever variable; ourselves left out. */
export function processesUsing(directory: string): number[] {
  return processIds().filter((pid) => {
    const values = environmentOf(pid)
      .split('\0')
      .map((entry) => entry.slice(entry.indexOf('=') + 1))
    return pid !== process.pid && values.some((value) => value === directory || value.startsWith(`${directory}/`))
  })
}

/** A name that the kernel makes anew at each boot. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
}

/** A process among all that ever had this pid: by the machine's boot and the tick at which it began. */
export interface ProcessIdentity {
  readonly pid: number
  readonly began: string
}

/** Undefined for one that is gone. */
export function identify(pid: number): ProcessIdentity | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is the name in parentheses and may hold anything; the start is the twentieth after it.
    const ticks = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
    return { pid, began: `${bootId()} ${ticks}` }
  } catch {
    return undefined
  }
}

/** A pid of a former boot may be anyone's now, even that of whoever asks. */
export function isSameProcess(identity: ProcessIdentity): boolean {
  return isRunning(identity.pid) && identify(identity.pid)?.began === identity.began
}
