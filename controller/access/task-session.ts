/**
 * Keys of a task die with it: whatever their own time, they are refused once the task has stopped. Nothing has to be
 * written down for that, because each call looks at the task's row.
 */
import { idOf } from '../../proto/arn.ts'
import type { Reader } from '../state/transaction.ts'

/** Why keys that were made for the task are none any more; undefined while it lives. */
export function endOfTaskSession(reader: Reader, taskArn: string): string | undefined {
  const task = reader.get('task', idOf(taskArn))
  return task === undefined || task.lastStatus === 'STOPPED' ? 'the task that it was given to has stopped' : undefined
}
