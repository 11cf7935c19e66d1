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

/** The task set without its failures where a task of it has proved itself since the last round of them. */
export function afterTaskSetProof(reader: Reader, taskSet: TaskSetRow, now: number): TaskSetRow {
  const at = proofOf(reader, taskSet)
  if (at === undefined || at > now) return taskSet
  return { ...taskSet, failuresInRow: 0, retryAt: undefined, pause: undefined }
}

/**
 * When the first of its tasks proves itself after failures, by its health check or by having run for long enough (epoch
 * milliseconds); undefined where there is nothing to prove, or no task to do so.
 */
export function proofOf(reader: Reader, { id, failuresInRow, pause }: TaskSetRow): number | undefined {
  if (failuresInRow === 0) return undefined
  const since = pause?.at ?? 0
  const proofs = tasksInPhase(reader, id, 'healthy').flatMap(({ healthyAt, hasHealthCheck }) => {
    if (healthyAt === undefined || healthyAt <= since) return []
    return [hasHealthCheck === true ? healthyAt : healthyAt + provingMs]
  })
  return proofs.length === 0 ? undefined : proofs.reduce((first, at) => Math.min(first, at))
}

/** A task set's rollout is not ours to end. */
function paced({ failuresInRow, retryAt, pause }: TaskSetRow): Parameters<typeof mayStart>[0] {
  return { failuresInRow, retryAt, pause, rolloutState: 'IN_PROGRESS' }
}
