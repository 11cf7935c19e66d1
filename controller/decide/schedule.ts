/**
 * What happens because time has passed, once a second: services that wanted to be looked at again are, and protection
 * of tasks ends. Posted by housekeeping as an input like any other; a simulation posts it by its own clock.
 */
import type { Transaction } from '../state/transaction.ts'

export interface ScheduleResult {
  /** Rows written by the tick itself; what follows from them is the deciders'. */
  readonly rowsWritten: number
  /** True where `rowsMax` left something over: the same input is due again at once. */
  readonly hasMore: boolean
}

/** Rows written by one tick at most, so that no turn grows with the cluster. */
export const scheduledRowsMax = 1000

/** Clears what is due at `now` (epoch milliseconds): the cleared row is dirty, and so its service is decided. */
export function schedule(tx: Transaction, now: number): ScheduleResult {
  const services = tx.find('service', 'timed', 'timed').filter(({ wakeAt = now }) => wakeAt <= now)
  const woken = services.slice(0, scheduledRowsMax)
  for (const service of woken) tx.put('service', service.serviceKey, { ...service, wakeAt: undefined })
  const tasks = tx.find('task', 'protected', 'protected').filter(({ protectedUntil = now }) => protectedUntil <= now)
  const unprotected = tasks.slice(0, scheduledRowsMax - woken.length)
  for (const task of unprotected) tx.put('task', task.taskId, { ...task, protectedUntil: undefined })
  const rowsWritten = woken.length + unprotected.length
  return { rowsWritten, hasMore: rowsWritten < services.length + tasks.length }
}
