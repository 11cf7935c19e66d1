/**
 * Failures of a task set's tasks: counted once each, and paced like a deployment's. Nothing is ended by them: a task set
 * fails when whoever made it says so.
 */
import type { TaskSetRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { afterFailure, mayStart, provingMs } from './deployment-backoff.ts'
import { failureOf } from './deployment-failure.ts'
import { tasksInPhase } from './service-tasks.ts'

/** Counts `task`, which has failed, for its task set, if it has one. */
export function countTaskSetFailure(tx: Transaction, task: TaskRow, now: number): void {
  const row = task.deploymentId === undefined ? undefined : tx.get('taskSet', task.deploymentId)
  if (row === undefined) return
  const taskSet = afterTaskSetProof(tx, row, now)
  tx.put('taskSet', taskSet.id, {
    ...taskSet,
    ...afterFailure(paced(taskSet), task.createdAt, now),
    cause: failureOf(task, now).cause,
  })
}

/** False while the task set pauses after failures. */
export function mayStartInTaskSet(taskSet: TaskSetRow, now: number): boolean {
  return mayStart(paced(taskSet), now)
}

/**
 * The task set without its failures where a task of it has proved itself since the last round of them: by its health
 * check, or by having run for long enough.
 */
export function afterTaskSetProof(reader: Reader, taskSet: TaskSetRow, now: number): TaskSetRow {
  if (taskSet.failuresInRow === 0) return taskSet
  const since = taskSet.pause?.at ?? 0
  const isProven = tasksInPhase(reader, taskSet.id, 'healthy').some(
    ({ healthyAt, hasHealthCheck }) =>
      healthyAt !== undefined && healthyAt > since && (hasHealthCheck === true || healthyAt + provingMs <= now),
  )
  return isProven ? { ...taskSet, failuresInRow: 0, retryAt: undefined, pause: undefined } : taskSet
}

/** A task set's rollout is not ours to end. */
function paced({ failuresInRow, retryAt, pause }: TaskSetRow): Parameters<typeof mayStart>[0] {
  return { failuresInRow, retryAt, pause, rolloutState: 'IN_PROGRESS' }
}
