/** What must always hold of addresses: none has two owners, each task and host has its own, and none is left without one. */
import type { AddressRow } from '../state/subnet-tables.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { addressKey } from './subnet-addresses.ts'
import { hasHostAddresses } from './network-offer.ts'

/** An instance with its tasks that are not STOPPED and the addresses of both. */
export interface AddressView {
  readonly reader: Reader
  readonly instance: InstanceRow
  readonly tasks: readonly TaskRow[]
  readonly addresses: readonly AddressRow[]
}

type AddressInvariant = (view: AddressView) => readonly string[]

export const addressInvariants = {
  addressesHaveOneOwner({ reader, addresses }) {
    return addresses.flatMap((row) => {
      const key = addressKey(row.subnetId, row.address)
      const found: string[] = []
      if (reader.get('address', key) !== row) found.push(`address ${key} is kept under another key`)
      if (reader.count('address', 'byMac', row.macAddress) !== 1) found.push(`${key} shares its MAC ${row.macAddress}`)
      if (reader.get('subnet', row.subnetId) === undefined) found.push(`address ${key} is of a subnet that is gone`)
      return found
    })
  },

  addressesAreHeldBySomeone({ reader, instance, addresses }) {
    return addresses.flatMap((row) => {
      const key = addressKey(row.subnetId, row.address)
      if (row.quarantine !== undefined) return []
      if (instance.status === 'INACTIVE') return [`address ${key} is held on ${instance.instanceId}, which is INACTIVE`]
      if (row.owner === 'host') return []
      const task = reader.get('task', row.taskId ?? '')
      if (task !== undefined && task.lastStatus !== 'STOPPED' && task.instanceId === row.instanceId) return []
      return [`address ${key} is held by task ${row.taskId ?? ''}, which is not live on ${row.instanceId}`]
    })
  },

  tasksHaveTheirAddress({ reader, tasks }) {
    return tasks.flatMap(({ taskId, instanceId, reserved }) => {
      const held = reader.find('address', 'byTask', taskId)
      const wanted = reserved.networkInterfaces ?? 0
      if (held.length === wanted && held.every((row) => row.instanceId === instanceId)) return []
      return [`task ${taskId} on ${instanceId} is to have ${wanted} addresses, and has ${held.length}`]
    })
  },

  hostsHaveOneAddressInEachSubnet({ reader, instance, addresses }) {
    const held = addresses.filter(({ quarantine }) => quarantine === undefined)
    const own = held.filter(({ owner }) => owner === 'host').map(({ subnetId }) => subnetId)
    const named = instance.addressedSubnetIds ?? []
    const ofTasks = held.flatMap(({ owner, subnetId }) => {
      const subnet = reader.get('subnet', subnetId)
      return owner === 'task' && subnet !== undefined && hasHostAddresses(subnet) ? [subnetId] : []
    })
    const lacking = [...new Set(ofTasks)].filter((subnetId) => !own.includes(subnetId))
    const isInStep = own.length === new Set(own).size && (instance.status === 'INACTIVE' || sameSet(own, named))
    return [
      ...lacking.map((subnetId) => `${instance.instanceId} has tasks in ${subnetId}, and no address of its own`),
      ...(isInStep ? [] : [`${instance.instanceId} has addresses in ${own.join()}, and its row says ${named.join()}`]),
    ]
  },
} as const satisfies Readonly<Record<string, AddressInvariant>>

function sameSet(one: readonly string[], other: readonly string[]): boolean {
  return one.length === other.length && one.every((item) => other.includes(item))
}
