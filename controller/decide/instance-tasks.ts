/**
 * What an instance's own state means for its tasks: while it counts as lost they are lost, and while it drains, those of
 * services are to move away. The scheduler goes by the tasks' rows alone.
 */
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { KeyedDecider } from './decider.ts'
import { tellLost } from './end-events.ts'

/** Tasks written by one decision; the rest follows in the next turn. */
const tasksMax = 500

/** Keys are instances' ids. */
export const instanceTasksDecider: KeyedDecider = {
  name: 'instanceTasks',
  tables: ['instance', 'task'],

  concerns(reader, table, key, before) {
    if (table === 'instance') {
      const instance = reader.get('instance', key)
      if (instance === undefined) return []
      return isTroubled(instance) || (before !== undefined && isTroubled(before as InstanceRow)) ? [key] : []
    }
    const task = reader.get('task', key)
    const instance = task === undefined ? undefined : reader.get('instance', task.instanceId)
    if (task === undefined || instance === undefined || task.lastStatus === 'STOPPED') return []
    return asItsInstance(task, instance, 0) === task ? [] : [instance.instanceId]
  },

  decide(tx, instanceId, now, world) {
    const instance = tx.get('instance', instanceId)
    if (instance === undefined || instance.status === 'INACTIVE') return 'done'
    let written = 0
    const lost: TaskRow[] = []
    let outcome: 'done' | 'more' = 'done'
    for (const task of tx.find('task', 'liveByInstance', instanceId)) {
      const next = asItsInstance(task, instance, now)
      if (next === task) continue
      if (written === tasksMax) {
        outcome = 'more'
        break
      }
      tx.put('task', task.taskId, next)
      written += 1
      const isLost = next.lostSince !== undefined && task.lostSince === undefined
      if (isLost && next.serviceKey !== undefined && next.desiredStatus === 'RUNNING') lost.push(next)
    }
    tellLost(tx, instance, lost, now, world)
    return outcome
  },
}

function isTroubled({ lostSince, status }: InstanceRow): boolean {
  return lostSince !== undefined || status === 'DRAINING'
}

/** The task as it stands on this instance; the very same row where it stands so already. */
function asItsInstance(task: TaskRow, { lostSince, status, instanceId }: InstanceRow, now: number): TaskRow {
  const mustMove = status === 'DRAINING' && task.serviceKey !== undefined
  const evacuatingSince = mustMove ? (task.evacuatingSince ?? now) : undefined
  const seen =
    task.lostSince === lostSince && task.evacuatingSince === evacuatingSince
      ? task
      : { ...task, lostSince, evacuatingSince }
  return mustMove && isStillPending(task) ? stoppedForDraining(seen, instanceId, now) : seen
}

/**
 * Source: ECS developer guide, "Draining container instances": service tasks that are PENDING are stopped immediately. Not
 * those that somebody protected; the tick takes their protection back at its end.
 */
function isStillPending({ lastStatus, desiredStatus, protectedUntil }: TaskRow): boolean {
  if (desiredStatus !== 'RUNNING' || protectedUntil !== undefined) return false
  return lastStatus === 'PROVISIONING' || lastStatus === 'PENDING'
}

function stoppedForDraining(task: TaskRow, instanceId: string, now: number): TaskRow {
  return {
    ...task,
    desiredStatus: 'STOPPED',
    stopCode: 'ServiceSchedulerInitiated',
    stoppedReason: `Container instance ${instanceId} is DRAINING, and the task was still ${task.lastStatus} there.`,
    stoppingAt: task.stoppingAt ?? now,
    version: task.version + 1,
  }
}
