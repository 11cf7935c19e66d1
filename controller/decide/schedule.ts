/**
 * What happens because time has passed, once a second: instances come to count as lost, services that wanted to be looked
 * at again are, and protection of tasks ends. Posted by housekeeping as an input like any other; a simulation posts it by
 * its own clock.
 */
import type { World } from '../../proto/world.ts'
import type { Transaction } from '../state/transaction.ts'
import { announcePauseEnds } from './pause-events.ts'
import { type AgentSilence, scheduleLosses } from './schedule-losses.ts'

export interface ScheduleResult {
  /** Rows written by the tick itself; what follows from them is the deciders'. */
  readonly rowsWritten: number
  /** True where `rowsMax` may have left something over: the same input is due again at once. */
  readonly hasMore: boolean
}

/** Rows written by one tick at most, so that no turn grows with the cluster. Losses alone may be more. */
export const scheduledRowsMax = 1000

/** Does what is due at `now` (epoch milliseconds): each row that it writes is dirty, and so its service is decided. */
export function schedule(
  tx: Transaction,
  silence: AgentSilence,
  now: number,
  world: World,
  rowsMax = scheduledRowsMax,
): ScheduleResult {
  let written = scheduleLosses(tx, silence, rowsMax, now, world)
  written += announcePauseEnds(tx, rowsMax - written, now, world)
  written += wakeServices(tx, rowsMax - written, now)
  written += endProtections(tx, rowsMax - written, now)
  return { rowsWritten: written, hasMore: written >= rowsMax }
}

/** A cleared `wakeAt` makes the service dirty. */
function wakeServices(tx: Transaction, rowsMax: number, now: number): number {
  const due = tx
    .find('service', 'timed', 'timed')
    .filter(({ wakeAt = now }) => wakeAt <= now)
    .slice(0, Math.max(0, rowsMax))
  for (const service of due) tx.put('service', service.serviceKey, { ...service, wakeAt: undefined })
  return due.length
}

function endProtections(tx: Transaction, rowsMax: number, now: number): number {
  const due = tx
    .find('task', 'protected', 'protected')
    .filter(({ protectedUntil = now }) => protectedUntil <= now)
    .slice(0, Math.max(0, rowsMax))
  for (const task of due) tx.put('task', task.taskId, { ...task, protectedUntil: undefined })
  return due.length
}
