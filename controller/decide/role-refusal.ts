/** The end of a task that can't begin, because ECS can't assume a role of it (any more). */
import type { Transaction } from '../state/transaction.ts'

/**
 * Stops the task before it begins, with `why` as its reason: its role was withdrawn between the call that was answered and
 * the message to its agent. One that an agent has reported on goes on; its keys end in time.
 */
export function refuseForRole(tx: Transaction, taskId: string, why: string, now: number): void {
  const task = tx.get('task', taskId)
  if (task === undefined || task.desiredStatus === 'STOPPED' || task.reportedAt !== undefined) return
  tx.put('task', taskId, {
    ...task,
    desiredStatus: 'STOPPED',
    stopCode: 'TaskFailedToStart',
    stoppedReason: why,
    stoppingAt: now,
    version: task.version + 1,
  })
}
