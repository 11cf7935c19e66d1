/** StopTask: says that a task shall be stopped. What its containers do until then remains the agent's to report. */
import { invalidParameter } from '../../proto/errors.ts'
import type { Input, Output } from '../../proto/model/types.ts'
import type { Transaction } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { describeTask, findTask } from './describe-task.ts'

const reasonLengthMax = 1024

/**
 * Repeating it, or stopping what has stopped, changes nothing and answers the task as it is: the first reason stays.
 * lastStatus is left alone, since the agent may be out of reach and the containers running on; the task decider numbers
 * the change, so that the agent hears of it as soon as it can.
 */
export function stopTask(tx: Transaction, input: Input<'StopTask'>, now: number): Output<'StopTask'> {
  const cluster = requireCluster(tx, input.cluster)
  if (input.task === undefined || input.task === '') throw invalidParameter('taskId can not be blank.')
  const reason = input.reason ?? ''
  if (reason.length > reasonLengthMax) {
    throw invalidParameter(`reason can have at most ${reasonLengthMax} characters, and has ${reason.length}.`)
  }
  const row = findTask(tx, cluster, input.task)
  if (row === undefined) throw invalidParameter('The referenced task was not found.')
  if (row.desiredStatus === 'STOPPED' || row.lastStatus === 'STOPPED') {
    return { task: describeTask(tx, row, ['TAGS']) }
  }
  const stopping = {
    ...row,
    desiredStatus: 'STOPPED' as const,
    stopCode: 'UserInitiated' as const,
    stoppedReason: reason === '' ? 'Task stopped by user' : reason,
    stoppingAt: now,
    version: row.version + 1,
  }
  tx.put('task', row.taskId, stopping)
  return { task: describeTask(tx, stopping, ['TAGS']) }
}
