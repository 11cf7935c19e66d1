/**
 * How far a task's own network interface is: PRECREATED once an address is given to it, ATTACHED once its agent says so,
 * DELETED once the task is gone. Statuses as ECS shows them.
 */
import { idOf } from '../../proto/arn.ts'
import type { TaskRow } from '../state/tables.ts'

type Attachments = NonNullable<TaskRow['attachments']>

export interface AttachmentReport {
  readonly attachmentArn?: string | undefined
  readonly status?: string | undefined
}

/** The attachments after a report; the very same where it says nothing new. A task that runs has its interface. */
export function attachmentsAfter(
  { attachments }: Pick<TaskRow, 'attachments'>,
  status: string | undefined,
  reports: readonly AttachmentReport[],
): TaskRow['attachments'] {
  if (attachments === undefined || attachments.length === 0) return attachments
  if (status === 'STOPPED') return detached(attachments)
  const attached = new Set(
    reports.flatMap(({ attachmentArn, status: word }) => (word === 'ATTACHED' ? [idOf(attachmentArn ?? '')] : [])),
  )
  const isNews = attachments.some(
    ({ id = '', status: known }) => known !== 'ATTACHED' && (status === 'RUNNING' || attached.has(id)),
  )
  if (!isNews) return attachments
  return attachments.map((attachment) =>
    status === 'RUNNING' || attached.has(attachment.id ?? '') ? { ...attachment, status: 'ATTACHED' } : attachment,
  )
}

/** The attachments of a task that has come to its end. */
export function detached(attachments: Attachments): Attachments {
  return attachments.map((attachment) => ({ ...attachment, status: 'DELETED' }))
}
