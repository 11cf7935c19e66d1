/**
 * What follows when a task's row has changed: a number in the order of what its agent is told, and the task's end where
 * an essential container has ended. Level-triggered: it looks at what the row says, not at how it came to say it.
 */
import type { Decider } from './decider.ts'
import { hasRun, startFailureOf } from './report.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'

export const taskDecider: Decider = {
  name: 'task',
  tables: ['task'],
  decide(tx, _table, key, _before, now) {
    const task = tx.get('task', key)
    if (task === undefined || task.lastStatus === 'STOPPED') return
    const wanted = withEssentialEnd(task, now)
    const told = wanted.numberedFor === wanted.desiredStatus ? wanted : numbered(tx, wanted)
    if (told !== task) tx.put('task', key, told)
  },
}

/**
 * ECS's essential rule, on the controller's side: once an essential container has stopped, the whole task is wanted
 * stopped. The agent follows the same rule by itself, so that it holds while the two are apart.
 */
function withEssentialEnd(task: TaskRow, now: number): TaskRow {
  if (task.desiredStatus === 'STOPPED') return task
  const ended = task.containers.find((container) => container.essential && container.lastStatus === 'STOPPED')
  if (ended === undefined) return task
  const ran = hasRun(task)
  return {
    ...task,
    desiredStatus: 'STOPPED',
    stopCode: ran ? 'EssentialContainerExited' : 'TaskFailedToStart',
    stoppedReason: ran ? 'Essential container in task exited' : startFailureOf(task.containers),
    stoppingAt: task.stoppingAt ?? now,
    version: task.version + 1,
  }
}

/** A task that is new, or wanted otherwise than its agent was last told, has to be told under a new number. */
function numbered(tx: Transaction, task: TaskRow): TaskRow {
  const instance = tx.get('instance', task.instanceId)
  if (instance === undefined)
    throw new Error(`task ${task.taskId} stands on instance ${task.instanceId}, which is gone`)
  const seqNum = instance.seqNum + 1
  tx.put('instance', instance.instanceId, { ...instance, seqNum })
  return { ...task, seqNum, numberedFor: task.desiredStatus }
}
