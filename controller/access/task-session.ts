/**
 * Keys of a task die with it, and with the host that it is on: whatever their own time, they are refused once the task has
 * stopped or the host was revoked, for whoever has the host may have read them. Nothing has to be written down for that,
 * because each call looks at the rows.
 */
import { idOf } from '../../proto/arn.ts'
import type { Reader } from '../state/transaction.ts'

/** Why keys that were made for the task are none any more; undefined while it lives. */
export function endOfTaskSession(reader: Reader, taskArn: string): string | undefined {
  const task = reader.get('task', idOf(taskArn))
  if (task === undefined || task.lastStatus === 'STOPPED') return 'the task that it was given to has stopped'
  const hostId = reader.get('instance', task.instanceId)?.hostId
  const host = hostId === undefined ? undefined : reader.get('host', hostId)
  return host?.revokedAt === undefined ? undefined : `host ${host.hostId}, which its task is on, was revoked`
}
