/** What `why` tells of a task's own address: which it is, whether it is still held, and what is not enforced about it. */
import type { TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { ageText } from './age.ts'
import { interfaceAttachmentType } from './address-allocation.ts'

export function networkFacts(reader: Reader, row: TaskRow, now: number): readonly string[] {
  const attachment = row.attachments?.find(({ type }) => type === interfaceAttachmentType)
  if (attachment === undefined) return []
  const detail = (name: string): string => attachment.details?.find((one) => one.name === name)?.value ?? ''
  const [held] = reader.find('address', 'byTask', row.taskId)
  const which = `${detail('privateIPv4Address')} of subnet ${detail('subnetId')}`
  const groups = row.securityGroups ?? []
  return [
    held === undefined
      ? `Its address was ${which}, and has been given back.`
      : `Its address is ${which} (${held.macAddress}, interface ${attachment.status ?? ''}), for ${ageText(now - held.since)}.`,
    ...(held?.quarantine === undefined ? [] : [quarantineText(held.subnetId, held.quarantine.reason)]),
    ...(groups.length === 0
      ? []
      : [`Its security groups (${groups.join(', ')}) are kept and not enforced: nothing filters what reaches it.`]),
  ]
}

function quarantineText(subnetId: string, reason: string): string {
  return `The address is in quarantine: ${reason}. POST /v1/subnets/${subnetId}/release takes it back.`
}
