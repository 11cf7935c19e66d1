/**
 * RunTask's clientToken: a repeated call is answered with the tasks of the first one. Source: AWS documentation,
 * "Ensuring idempotency in Amazon ECS".
 */
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import type { Failure, Output, Task } from '../../proto/model/types.ts'
import type { IdempotencyRow, TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { describeTask } from './describe-task.ts'

const keptMs = 24 * 60 * 60 * 1000

export function checkClientToken(clientToken: string | undefined): void {
  if (clientToken === undefined || /^[\x21-\x7e]{1,64}$/.test(clientToken)) return
  throw invalidParameter('clientToken must be 1 to 64 printable ASCII characters without spaces.')
}

/**
 * The answer that the token stands for, with the tasks as they are now, or undefined where it is new. The same token with
 * other parameters is a ConflictException.
 */
export function recallAnswer(
  tx: Transaction,
  clusterName: string,
  clientToken: string | undefined,
  inputHash: string,
  now: number,
): Output<'RunTask'> | undefined {
  if (clientToken === undefined) return undefined
  const row = tx.get('idempotency', keyOf(clusterName, clientToken))
  if (row === undefined || now - row.createdAt >= keptMs) return undefined
  if (row.inputHash !== inputHash) {
    throw new ApiError(
      'ConflictException',
      'This clientToken was used before, with other parameters. Use a new token for a new request.',
    )
  }
  return { tasks: tasksOf(tx, row), failures: row.failures }
}

/** Keeps the answer for 24 hours. One without any task is not kept: with the same token the caller may try again. */
export function rememberAnswer(
  tx: Transaction,
  clusterName: string,
  clientToken: string | undefined,
  inputHash: string,
  rows: readonly TaskRow[],
  failures: readonly Failure[],
  now: number,
): void {
  if (clientToken === undefined || rows.length === 0) return
  const key = keyOf(clusterName, clientToken)
  tx.put('idempotency', key, {
    key,
    inputHash,
    taskIds: rows.map((row) => row.taskId),
    failures: failures.map(({ arn = '', reason = '', detail = '' }) => ({ arn, reason, detail })),
    createdAt: now,
  })
}

function keyOf(clusterName: string, clientToken: string): string {
  return `RunTask/${clusterName}/${clientToken}`
}

function tasksOf(tx: Transaction, row: IdempotencyRow): readonly Task[] {
  return row.taskIds
    .map((taskId) => tx.get('task', taskId) ?? tx.history.task(taskId))
    .filter((task) => task !== undefined)
    .map((task) => describeTask(tx, task, ['TAGS']))
}
