/** What the two schedulers of services, replica.ts and daemon.ts, share: the bounds and the times of one decision. */
import type { ServiceRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { placementRetryMs } from './service-starts.ts'

/** Tasks that one decision starts or stops at most; the rest is for the next one. */
export const tasksPerDecisionMax = 500

export interface Decided {
  readonly more: boolean
  /** When to look again though nothing changes (epoch milliseconds). */
  readonly wakeAt: readonly number[]
}

/** A placement is tried again, and so is a deployment that pauses after failures. */
export function retries(tx: Transaction, deploymentId: string): readonly number[] {
  const deployment = tx.get('deployment', deploymentId)
  if (deployment === undefined || deployment.rolloutState === 'FAILED') return []
  const times: number[] = []
  if (deployment.waiting !== undefined) times.push(deployment.waiting.at + placementRetryMs)
  if (deployment.retryAt !== undefined) times.push(deployment.retryAt)
  return times
}

/**
 * Until then a task's failing health checks are not heeded (epoch milliseconds). Source: ECS API reference,
 * CreateService, `healthCheckGracePeriodSeconds`: container health checks are meant too.
 */
export function graceEnd({ healthCheckGracePeriodSeconds = 0 }: ServiceRow, task: TaskRow): number {
  return (task.startedAt ?? task.createdAt) + healthCheckGracePeriodSeconds * 1000
}
