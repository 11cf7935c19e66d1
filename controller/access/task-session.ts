/**
 * Keys of a task die with it, and with the host that it is on: whatever their own time, they are refused once the task has
 * stopped, the host was revoked, or another host took the instance over, for whoever had the host may have read them.
 * Nothing has to be written down for that, because each call looks at the rows.
 */
import { idOf } from '../../proto/arn.ts'
import type { Reader } from '../state/transaction.ts'

/** Why keys that were made for the task at `issuedAt`, epoch milliseconds, are none any more; undefined while they are. */
export function endOfTaskSession(reader: Reader, taskArn: string, issuedAt: number): string | undefined {
  const task = reader.get('task', idOf(taskArn))
  if (task === undefined || task.lastStatus === 'STOPPED') return 'the task that it was given to has stopped'
  const hostId = reader.get('instance', task.instanceId)?.hostId
  const host = hostId === undefined ? undefined : reader.get('host', hostId)
  if (host === undefined) return undefined
  if (host.revokedAt !== undefined) return `host ${host.hostId}, which its task is on, was revoked`
  const isOfTheOneBefore = host.adoptsInstanceId === task.instanceId && issuedAt < (host.adoptedAt ?? host.joinedAt)
  return isOfTheOneBefore ? `host ${host.hostId} took over the instance of its task since` : undefined
}
