/**
 * Whether the kernel killed a container for its memory, and what its end says then. Docker's own flag stays from any child
 * that was ever killed, so what counts is what the kernel counted and when.
 */

/** 128 + SIGKILL: what the kernel leaves of a main process that it killed. */
export const killedExitCode = 137

/** An event and the end that it tells of come this close together. */
export const sameEndMs = 2000

export interface MemoryKills {
  readonly exitCode: number | undefined
  /** Docker's flag: something in the container was killed for memory at some time of this run. */
  readonly flagged: boolean
  /** Epoch milliseconds, by the host's clock. */
  readonly finishedAt: number | undefined
  /** When Docker last told of a kill in it. */
  readonly eventAt: number | undefined
  /** Kills that the container was seen to outlive: those of its children. */
  readonly outlived: number
  /** True where it outlived such an event, whether or not anything of its own was killed. */
  readonly outlivedEvent: boolean
  /** Kills in the task's cgroup that no living container and no earlier end accounts for; undefined where nothing counts them. */
  readonly unaccounted: number | undefined
  /** The kernel's log names the main process among those that it killed. */
  readonly isLogged: boolean
}

/** True where the container's main process was killed by the kernel for want of memory. */
export function isKilledForMemory(kills: MemoryKills): boolean {
  const { exitCode, flagged, finishedAt, eventAt, outlived, outlivedEvent, unaccounted, isLogged } = kills
  if (exitCode !== killedExitCode) return false
  if (isLogged) return true
  if (unaccounted !== undefined) return unaccounted > outlived
  if (!flagged) return false
  const isRecent = eventAt !== undefined && finishedAt !== undefined && Math.abs(finishedAt - eventAt) <= sameEndMs
  return isRecent || !outlivedEvent
}

/** What the container and its task might use, and what the task's containers used at most; undefined is no limit, or unknown. */
export interface MemoryUse {
  readonly containerLimitBytes?: number | undefined
  readonly taskLimitBytes?: number | undefined
  readonly taskPeakBytes?: number | undefined
}

const outOfMemory = 'OutOfMemoryError: Container killed due to memory usage'
const bytesPerMiB = 1024 * 1024
/** The kernel kills a little before the last byte is given out. */
const fullShare = 0.97

/** The container's reason: ECS's words, then the limit that was reached and what to do. */
export function outOfMemoryReason(use: MemoryUse | undefined): string {
  if (use === undefined) return outOfMemory
  const { containerLimitBytes, taskLimitBytes, taskPeakBytes } = use
  const isTaskFull =
    taskLimitBytes !== undefined && taskPeakBytes !== undefined && taskPeakBytes >= taskLimitBytes * fullShare
  const isOwn =
    containerLimitBytes !== undefined && (taskLimitBytes === undefined || containerLimitBytes < taskLimitBytes)
  if (taskLimitBytes !== undefined && (isTaskFull || !isOwn)) {
    const used =
      taskPeakBytes === undefined ? '' : `, and its containers used up to ${mebibytes(taskPeakBytes)} together`
    return `${outOfMemory}: its task's limit is ${mebibytes(taskLimitBytes)}${used}. Raise the task's memory, or let its containers use less.`
  }
  if (!isOwn) return `${outOfMemory}. It has no limit of its own: its host had no memory left.`
  return `${outOfMemory}: its limit is ${mebibytes(containerLimitBytes)}. Raise the container's memory, or let it use less.`
}

function mebibytes(bytes: number): string {
  return `${Math.round(bytes / bytesPerMiB)} MiB`
}
