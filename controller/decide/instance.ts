/**
 * What follows for its tasks when an instance's row changes: an INACTIVE instance has none that count, and whether its
 * agent is connected shows on each of them.
 */
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Decider } from './decider.ts'

export const instanceDecider: Decider = {
  name: 'instance',
  // A task that appears on an instance, or changes there, is held against it too: what counts is how things stand.
  tables: ['instance', 'task'],
  decide(tx, table, key, _before, now) {
    const instanceId = table === 'instance' ? key : tx.get('task', key)?.instanceId
    const instance = instanceId === undefined ? undefined : tx.get('instance', instanceId)
    if (instance === undefined) return
    const tasks =
      table === 'instance' ? tx.find('task', 'liveByInstance', instance.instanceId) : liveTask(tx.get('task', key))
    for (const task of tasks) {
      const next = instance.status === 'INACTIVE' ? orphaned(task, instance, now) : connected(task, instance)
      if (next !== task) tx.put('task', task.taskId, next)
    }
  },
}

function liveTask(task: TaskRow | undefined): readonly TaskRow[] {
  return task === undefined || task.lastStatus === 'STOPPED' ? [] : [task]
}

/** `connectivity` of a task is that of its instance's agent; a task that no agent has yet heard of has none. */
function connected(task: TaskRow, instance: InstanceRow): TaskRow {
  const connectivity = instance.agentConnected ? 'CONNECTED' : 'DISCONNECTED'
  if (task.connectivity === connectivity) return task
  return { ...task, connectivity, connectivityAt: instance.connectivityAt, version: task.version + 1 }
}

/**
 * A task of an instance that was deregistered by force. Its containers go on: ECS only stops to watch and to count them,
 * so to the cluster the task has ended. Source: ECS API reference, DeregisterContainerInstance, `force`.
 */
function orphaned(task: TaskRow, instance: InstanceRow, now: number): TaskRow {
  return {
    ...task,
    waitingFor: undefined,
    connectivity: 'DISCONNECTED',
    connectivityAt: now,
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
