/** What a service says of tasks that it loses by no doing of its own: why others are started in their place. */
import type { World } from '../../proto/world.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { isHeld } from './instance-loss.ts'
import { addTaskEvent, subjectOf } from './service-events.ts'

/** Reasons may hold what a registry or an engine answered, at any length. */
const reasonCharsMax = 255

/** `(service web) (task ID) stopped: Essential container in task exited (exit code 137).`, unless the scheduler wanted it. */
export function tellEnded(tx: Transaction, task: TaskRow, now: number, world: World): void {
  const service = task.serviceKey === undefined ? undefined : tx.get('service', task.serviceKey)
  if (service?.status !== 'ACTIVE' || task.stopCode === undefined || task.stopCode === 'ServiceSchedulerInitiated')
    return
  const subject = subjectOf(service)
  const reason = endOf(task)
  const say = (count: number, named: string): string =>
    count === 1
      ? `${subject} ${named} stopped: ${reason}.`
      : `${subject} ${count} tasks stopped, the last one since: ${reason}. They are ${named}.`
  // By its code: reasons may name what no other task has.
  const kind = `ended ${task.deploymentId} ${task.stopCode}`
  addTaskEvent(tx, service.serviceKey, { kind, taskIds: [task.taskId], say }, now, world)
}

function endOf({ stoppedReason = 'no reason is known', containers }: TaskRow): string {
  const reason =
    stoppedReason.length > reasonCharsMax
      ? `${stoppedReason.slice(0, reasonCharsMax)}...`
      : stoppedReason.replace(/\.$/, '')
  const exited = containers.find(({ essential, exitCode }) => essential && exitCode !== undefined)
  return exited === undefined ? reason : `${reason} (exit code ${exited.exitCode})`
}

/**
 * `(service web) has lost 2 tasks with container instance ID, and replaces them: (task ID) (task ID).` Nothing where they are
 * held, which another event tells; a daemon is replaced nowhere.
 */
export function tellLost(
  tx: Transaction,
  { instanceId, clusterName, lostSince, silentSince }: InstanceRow,
  tasks: readonly TaskRow[],
  now: number,
  world: World,
): void {
  const cluster = tx.get('cluster', clusterName)
  if (lostSince === undefined || (cluster !== undefined && isHeld({ lostSince, silentSince }, cluster))) return
  const ofServices = Map.groupBy(tasks, ({ serviceKey = '' }) => serviceKey)
  for (const [serviceKey, lost] of ofServices) {
    const service = tx.get('service', serviceKey)
    if (service?.status !== 'ACTIVE') continue
    const goesOn = service.schedulingStrategy === 'DAEMON' ? '' : ', and replaces them'
    const say = (count: number, named: string): string =>
      `${subjectOf(service)} has lost ${count} tasks with container instance ${instanceId}${goesOn}: ${named}.`
    const taskIds = lost.map(({ taskId }) => taskId)
    addTaskEvent(tx, serviceKey, { kind: `lost ${instanceId}`, taskIds, say }, now, world)
  }
}
