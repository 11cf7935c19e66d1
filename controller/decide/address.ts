/**
 * When an address is taken back: once its task is gone for sure, because the agent of its host said so. A task of a host
 * that is lost keeps its address, wherever its replacement runs; one whose host was deregistered by force leaves it in
 * quarantine, since its containers may go on unwatched, until an operator or a long time takes it back.
 */
import type { AddressRow } from '../state/subnet-tables.ts'
import type { InstanceRow } from '../state/tables.ts'
import { areOfOneHost } from '../access/host-ownership.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import type { Decider } from './decider.ts'
import { addressKey } from './subnet-addresses.ts'

/**
 * How long an address stays in quarantine where no operator takes it back, milliseconds: 90 days. An agent goes on alone
 * for 30 days and more, so that a shorter time would give its tasks' addresses to others.
 */
export const quarantineMs = 90 * 24 * 3600 * 1000

export const addressDecider: Decider = {
  name: 'address',
  tables: ['task', 'instance', 'address'],
  decide(tx, table, key, _before, now) {
    for (const row of addressesOf(tx, table, key)) {
      if (row.quarantine !== undefined) continue
      const fate = row.owner === 'task' ? fateOfTask(tx, row) : fateOfHost(tx, row)
      if (fate === 'free') freeAddress(tx, row)
      else if (fate !== 'kept') putAddress(tx, { ...row, quarantine: { since: now, reason: fate.reason } })
    }
  },
}

/** Takes an address back: from now on it is free. */
export function freeAddress(tx: Transaction, row: AddressRow): void {
  tx.delete('address', addressKey(row.subnetId, row.address))
  const instance = row.owner === 'host' ? tx.get('instance', row.instanceId) : undefined
  if (instance?.addressedSubnetIds === undefined) return
  const addressedSubnetIds = instance.addressedSubnetIds.filter((subnetId) => subnetId !== row.subnetId)
  tx.put('instance', instance.instanceId, { ...instance, addressedSubnetIds })
}

/**
 * An agent says that a task has ended which was given up with its host: what it had in quarantine is free. Answers whether
 * there was anything. `by` is the instance that says so, which has to be one of the host that had it; undefined where
 * that was judged before.
 */
export function endQuarantineOf(tx: Transaction, taskId: string, by: string | undefined): boolean {
  const held = tx
    .find('address', 'byTask', taskId)
    .filter((row) => row.quarantine !== undefined && (by === undefined || areOfOneHost(tx, row.instanceId, by)))
  for (const row of held) freeAddress(tx, row)
  return held.length > 0
}

/** Takes back addresses that have been in quarantine for long. Answers how many. */
export function endQuarantines(tx: Transaction, rowsMax: number, now: number): number {
  const due = tx
    .find('address', 'quarantined', 'quarantined')
    .filter(({ quarantine }) => quarantine !== undefined && now - quarantine.since >= quarantineMs)
    .slice(0, Math.max(0, rowsMax))
  for (const row of due) freeAddress(tx, row)
  return due.length
}

function addressesOf(reader: Reader, table: string, key: string): readonly AddressRow[] {
  if (table === 'task') return reader.find('address', 'byTask', key)
  if (table === 'instance') {
    const isGone = reader.get('instance', key)?.status === 'INACTIVE'
    return isGone ? reader.find('address', 'byInstance', key) : []
  }
  const row = reader.get('address', key)
  return row === undefined ? [] : [row]
}

function putAddress(tx: Transaction, row: AddressRow): void {
  tx.put('address', addressKey(row.subnetId, row.address), row)
}

type Fate = 'kept' | 'free' | { readonly reason: string }

function fateOfTask(reader: Reader, { taskId = '', instanceId }: AddressRow): Fate {
  const task = reader.get('task', taskId) ?? reader.history.task(taskId)
  if (task === undefined) return { reason: `task ${taskId} is not known any more` }
  if (task.lastStatus !== 'STOPPED') return 'kept'
  if (task.abandonedAt === undefined) return 'free'
  return {
    reason: `container instance ${instanceId} was deregistered by force: containers of the task may still run on its host`,
  }
}

/** The host's own goes with the host, unless something of Gantry may still use the network there. */
function fateOfHost(reader: Reader, { instanceId, subnetId }: AddressRow): Fate {
  const instance = reader.get('instance', instanceId)
  if (instance === undefined) return { reason: `container instance ${instanceId} is not known any more` }
  if (instance.status !== 'INACTIVE') return 'kept'
  const isAbandoned = reader
    .find('address', 'byInstance', instanceId)
    .some((row) => row.subnetId === subnetId && row.owner === 'task')
  if (isAbandoned) return { reason: `container instance ${instanceId} was deregistered by force, with tasks on it` }
  return wasCutOff(instance)
    ? {
        reason: `container instance ${instanceId} was deregistered while it was cut off: its interface may still be up`,
      }
    : 'free'
}

/** `silentSince` stays as it was when the instance was deregistered; a deregistered one is never connected. */
function wasCutOff({ silentSince }: InstanceRow): boolean {
  return silentSince !== undefined
}
