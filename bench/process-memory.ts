/** What a process holds, as the kernel tells it. */
import { readFileSync } from 'node:fs'

export interface ProcessMemory {
  /** What `ps` shows as RSS. */
  readonly residentMb: number
  /** The most that it ever was. */
  readonly peakMb: number
}

export function memoryOf(pid: number): ProcessMemory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const kilobytes = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1])
  return { residentMb: kilobytes('VmRSS') / 1000, peakMb: kilobytes('VmHWM') / 1000 }
}

/** User and system time that it took so far, seconds; the kernel counts in hundredths. */
export function cpuSecondsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}
