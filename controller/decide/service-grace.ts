/**
 * The grace period of health checks: for so long after its start a task that fails them counts as starting, and is left
 * alone.
 */
import type { ServiceRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import type { PhaseCounts } from './rolling.ts'
import { graceEnd } from './service-decision.ts'
import { tasksInPhase } from './service-tasks.ts'

export interface Grace {
  /** How many tasks fail health checks that are not heeded yet. */
  readonly within: number
  /** When each of their times is over (epoch milliseconds). */
  readonly ends: readonly number[]
  /** Those whose failing health checks are heeded. */
  readonly unhealthy: readonly TaskRow[]
}

/** Of the tasks of a deployment or a task set. */
export function graceOf(reader: Reader, service: ServiceRow, ownerId: string, now: number): Grace {
  const tasks = tasksInPhase(reader, ownerId, 'unhealthy')
  const ends = tasks.map((task) => graceEnd(service, task)).filter((end) => end > now)
  return { within: ends.length, ends, unhealthy: tasks.filter((task) => graceEnd(service, task) <= now) }
}

export function withGrace(counts: PhaseCounts, { within }: Grace): PhaseCounts {
  return { ...counts, unhealthy: counts.unhealthy - within, starting: counts.starting + within }
}

/** Not healthy yet: those within their grace period are among them, first. */
export function startingTasks(reader: Reader, ownerId: string, { unhealthy }: Grace): readonly TaskRow[] {
  const withinGrace = tasksInPhase(reader, ownerId, 'unhealthy').filter((task) => !unhealthy.includes(task))
  return [...withinGrace, ...tasksInPhase(reader, ownerId, 'starting')]
}
