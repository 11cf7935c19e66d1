/**
 * What leaves memory with time: tasks that stopped a while ago go to the history, and tokens, clusters and instances
 * that nobody can ask for any more go for good, as do deleted services and old deployments (`service-retention.ts`) and secrets whose
 * time to be restored is over. Posted by housekeeping as an input like any other.
 */
import { forgetDeletedSecrets } from '../secretsmanager/delete-secret.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { endQuarantines } from './address.ts'
import { retainServices, serviceRetentionDefaults, type ServiceRetentionLimits } from './service-retention.ts'

export interface RetentionLimits extends ServiceRetentionLimits {
  /** How long a stopped task stays in memory, and so in ListTasks, milliseconds. */
  readonly stoppedTaskKeepMs: number
  /** How many stopped tasks stay in memory; beyond, those that ended first leave before their time. */
  readonly stoppedTasksMax: number
  /** How long an INACTIVE cluster, service or container instance stays describable, milliseconds. */
  readonly inactiveKeepMs: number
  /** How long a clientToken is remembered, milliseconds. */
  readonly tokenKeepMs: number
  /** How many clientTokens are remembered; beyond, the oldest are forgotten before their time. */
  readonly tokensMax: number
  /** Rows moved or dropped by one input at most, so that no turn grows with the cluster; the next input goes on. */
  readonly rowsMax: number
}

/** ECS keeps a stopped task in its lists for an hour, and a clientToken for 24. The counts are a few ten MB of memory. */
export const retentionDefaults: RetentionLimits = {
  ...serviceRetentionDefaults,
  stoppedTaskKeepMs: 3_600_000,
  stoppedTasksMax: 10_000,
  inactiveKeepMs: 86_400_000,
  tokenKeepMs: 86_400_000,
  tokensMax: 50_000,
  rowsMax: 1000,
}

export interface RetentionResult {
  readonly archivedTasks: number
  readonly droppedRows: number
  /** True where `rowsMax` left something over: the same input is due again at once. */
  readonly hasMore: boolean
}

export function retain(tx: Transaction, limits: RetentionLimits, now: number): RetentionResult {
  const stopped = tx.find('task', 'stopped', 'STOPPED')
  const until = now - limits.stoppedTaskKeepMs
  const archived = expiredOf(stopped, endOf, until, limits.stoppedTasksMax, limits.rowsMax)
  for (const task of archived) tx.archiveTask(task.taskId)
  const droppedServiceRows = retainServices(tx, limits, now, limits.rowsMax - archived.length)
  const freed = endQuarantines(tx, limits.rowsMax - archived.length - droppedServiceRows, now)
  const forgotten = forgetDeletedSecrets(tx, now, limits.rowsMax - archived.length - droppedServiceRows - freed)
  const left = limits.rowsMax - archived.length - droppedServiceRows - freed - forgotten
  const droppedRows = droppedServiceRows + freed + forgotten + dropExpired(tx, limits, now, left)
  return { archivedTasks: archived.length, droppedRows, hasMore: archived.length + droppedRows >= limits.rowsMax }
}

function dropExpired(tx: Transaction, limits: RetentionLimits, now: number, rowsMax: number): number {
  const until = now - limits.tokenKeepMs
  const tokens = expiredOf(tx.all('idempotency'), (row) => row.createdAt, until, limits.tokensMax, rowsMax)
  const instances = tx.all('instance').filter((row) => isForgotten(tx, row, now - limits.inactiveKeepMs))
  const clusters = tx
    .all('cluster')
    .filter((row) => row.status === 'INACTIVE' && (row.inactiveSince ?? row.createdAt) <= now - limits.inactiveKeepMs)
  const drops = [
    ...tokens.map((row) => () => tx.delete('idempotency', row.key)),
    ...instances.map((row) => () => tx.delete('instance', row.instanceId)),
    ...clusters.map((row) => () => tx.delete('cluster', row.clusterName)),
  ].slice(0, rowsMax)
  for (const drop of drops) drop()
  return drops.length
}

/**
 * The oldest rows, oldest first: those not younger than `until`, and those beyond `keptMax`; at most `most` of them. Only
 * those are put in order: after a large deployment there are as many rows as it had tasks, and each input asks again.
 */
function expiredOf<Row>(
  rows: readonly Row[],
  instantOf: (row: Row) => number,
  until: number,
  keptMax: number,
  most: number,
): readonly Row[] {
  const excess = rows.length - keptMax
  const instants = new Float64Array(rows.length)
  for (const [at, row] of rows.entries()) instants[at] = instantOf(row)
  const youngest = instants.toSorted()[Math.min(most, rows.length) - 1] ?? Number.NEGATIVE_INFINITY
  return rows
    .filter((_row, at) => (instants[at] ?? 0) <= youngest)
    .sort((left, right) => instantOf(left) - instantOf(right))
    .slice(0, Math.max(0, most))
    .filter((row, at) => at < excess || instantOf(row) <= until)
}

/** An instance stays while a task of it still holds something, however long ago it was deregistered. */
function isForgotten(tx: Transaction, row: InstanceRow, before: number): boolean {
  if (row.status !== 'INACTIVE' || (row.inactiveSince ?? row.registeredAt) > before) return false
  return tx.count('task', 'liveByInstance', row.instanceId) === 0
}

function endOf(task: TaskRow): number {
  return task.stoppedAt ?? task.createdAt
}
