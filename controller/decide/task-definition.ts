/**
 * Removes a task definition whose deletion was asked for, as soon as no live task uses it. Its family keeps the number, so
 * that no revision is ever given out twice.
 */
import { parseTaskDefinitionName } from '../../proto/arn.ts'
import type { Decider } from './decider.ts'
import type { TaskDefinitionRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'

export const taskDefinitionDecider: Decider = {
  name: 'taskDefinition',
  tables: ['taskDefinition', 'task'],
  decide(tx, table, key) {
    const row = table === 'task' ? definitionOfTask(tx, key) : tx.get('taskDefinition', key)
    if (row?.status !== 'DELETE_IN_PROGRESS') return
    if (tx.count('task', 'liveByTaskDefinition', row.taskDefinitionArn) > 0) return
    tx.delete('taskDefinition', `${row.family}:${row.revision}`)
  },
}

function definitionOfTask(tx: Transaction, taskId: string): TaskDefinitionRow | undefined {
  const task = tx.get('task', taskId)
  const name = task === undefined ? undefined : parseTaskDefinitionName(task.taskDefinitionArn)
  return name?.revision === undefined ? undefined : tx.get('taskDefinition', `${name.family}:${name.revision}`)
}
