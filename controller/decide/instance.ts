/** What follows for the tasks of an instance that is INACTIVE: it has none that count. */
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Decider } from './decider.ts'
import { detached } from './task-attachments.ts'

export const instanceDecider: Decider = {
  name: 'instance',
  // A task that appears on an instance, or changes there, is held against it too: what counts is how things stand.
  tables: ['instance', 'task'],
  decide(tx, table, key, _before, now) {
    const instanceId = table === 'instance' ? key : tx.get('task', key)?.instanceId
    const instance = instanceId === undefined ? undefined : tx.get('instance', instanceId)
    if (instance?.status !== 'INACTIVE') return
    const tasks =
      table === 'instance' ? tx.find('task', 'liveByInstance', instance.instanceId) : liveTask(tx.get('task', key))
    for (const task of tasks) tx.put('task', task.taskId, orphaned(task, instance, now))
  },
}

function liveTask(task: TaskRow | undefined): readonly TaskRow[] {
  return task === undefined || task.lastStatus === 'STOPPED' ? [] : [task]
}

/**
 * A task of an instance that was deregistered by force. Its containers go on: ECS only stops to watch and to count them,
 * so to the cluster the task has ended. Source: ECS API reference, DeregisterContainerInstance, `force`.
 */
function orphaned(task: TaskRow, instance: InstanceRow, now: number): TaskRow {
  return {
    ...task,
    waitingFor: undefined,
    abandonedAt: now,
    attachments: task.attachments === undefined ? undefined : detached(task.attachments),
    lastStatus: 'STOPPED',
    desiredStatus: 'STOPPED',
    containers: task.containers.map((container) => ({ ...container, lastStatus: 'STOPPED' })),
    stopCode: task.stopCode ?? 'TerminationNotice',
    stoppedReason:
      task.stoppedReason ??
      `Container instance ${instance.instanceId} was deregistered by force. Containers of this task may still run on ` +
        'its host, unwatched.',
    stoppingAt: task.stoppingAt ?? now,
    stoppedAt: now,
    reserved: { ...task.reserved, dynamicPortsAwaited: 0 },
    version: task.version + 1,
  }
}
