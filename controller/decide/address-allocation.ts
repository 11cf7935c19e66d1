/**
 * How a task that placement has put on an instance gets an address of its own: in the same transaction, from the subnet
 * with the most free addresses among those that the host can be attached to. The host gets one beside its first task there.
 */
import type { Attachment } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import type { AddressRow, SubnetRow } from '../state/subnet-tables.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { octetsOf, parseIpv4 } from './ipv4.ts'
import { hasHostAddresses, hasParent, hasRoom, isInZone, networkOffer } from './network-offer.ts'
import { addressesFree, addressKey, nextFreeAddress } from './subnet-addresses.ts'

export const interfaceAttachmentType = 'ElasticNetworkInterface'

/** Writes the task, with an address of its own where it is to have one. Answers it as it was written. */
export function putNewTask(
  tx: Transaction,
  task: TaskRow,
  subnetIds: readonly string[] | undefined,
  now: number,
  world: World,
): TaskRow {
  const row = subnetIds === undefined ? task : withAddress(tx, task, subnetIds, now, world)
  tx.put('task', row.taskId, row)
  return row
}

function withAddress(tx: Transaction, task: TaskRow, subnetIds: readonly string[], now: number, world: World): TaskRow {
  const { taskId, instanceId, clusterName } = task
  const instance = tx.get('instance', instanceId)
  const subnet = instance === undefined ? undefined : chooseSubnet(tx, subnetIds, instance)
  if (instance === undefined || subnet === undefined) {
    throw new Error(`task ${taskId} was placed on instance ${instanceId}, and no subnet has an address for it there`)
  }
  if (hasHostAddresses(subnet) && instance.addressedSubnetIds?.includes(subnet.subnetId) !== true) {
    giveAddress(tx, subnet.subnetId, { owner: 'host', instanceId, clusterName }, now, world)
    const addressedSubnetIds = [...(instance.addressedSubnetIds ?? []), subnet.subnetId]
    tx.put('instance', instanceId, { ...instance, addressedSubnetIds })
  }
  const address = giveAddress(tx, subnet.subnetId, { owner: 'task', taskId, instanceId, clusterName }, now, world)
  const { attachmentId, address: privateIpv4Address } = address
  return {
    ...task,
    attachments: [...(task.attachments ?? []), attachmentOf(address, subnet)],
    containers: task.containers.map((container) => ({
      ...container,
      networkInterfaces: [{ attachmentId, privateIpv4Address }],
    })),
  }
}

/** Of several that would do, the one with the most free addresses, so that tasks spread; of two alike the one named first. */
function chooseSubnet(reader: Reader, subnetIds: readonly string[], instance: InstanceRow): SubnetRow | undefined {
  let best: { readonly subnet: SubnetRow; readonly free: number } | undefined
  for (const offered of networkOffer(reader, subnetIds).subnets) {
    const subnet = reader.get('subnet', offered.subnetId)
    if (subnet === undefined || !isInZone(offered, instance) || !hasParent(offered, instance)) continue
    if (!hasRoom(offered, instance)) continue
    const free = addressesFree(reader, subnet)
    if (best === undefined || free > best.free) best = { subnet, free }
  }
  return best?.subnet
}

function giveAddress(
  tx: Transaction,
  subnetId: string,
  owner: Pick<AddressRow, 'owner' | 'taskId' | 'instanceId' | 'clusterName'>,
  now: number,
  world: World,
): AddressRow {
  const subnet = tx.get('subnet', subnetId)
  const address = subnet === undefined ? undefined : nextFreeAddress(tx, subnet)
  if (subnet === undefined || address === undefined) throw new Error(`subnet ${subnetId} has no free address to give`)
  const row: AddressRow = {
    subnetId,
    address,
    macAddress: macAddressOf(subnet, address),
    networkInterfaceId: `eni-${world.hex(17)}`,
    attachmentId: world.uuid(),
    ...owner,
    since: now,
  }
  tx.put('address', addressKey(subnetId, address), row)
  tx.put('subnet', subnetId, { ...subnet, lastGiven: address })
  return row
}

/**
 * Locally administered, unicast. An address has the same MAC address whenever it is given out, so that what neighbours
 * remember of it stays true; the second byte tells apart subnets that have the same addresses.
 */
function macAddressOf({ macByte }: SubnetRow, address: string): string {
  return [0x0a, macByte, ...octetsOf(parseIpv4(address) ?? 0)]
    .map((byte) => byte.toString(16).padStart(2, '0'))
    .join(':')
}

/** The host's own interfaces in the subnets of its tasks, as ECS shows those of an instance. CREATED: whether they are up is the agent's to know. */
export function hostAttachments(reader: Reader, instanceId: string): readonly Attachment[] {
  const own = reader.find('address', 'byInstance', instanceId).filter(({ owner }) => owner === 'host')
  return own.map((row) => ({
    id: row.attachmentId,
    type: interfaceAttachmentType,
    status: 'CREATED',
    details: [
      { name: 'subnetId', value: row.subnetId },
      { name: 'networkInterfaceId', value: row.networkInterfaceId },
      { name: 'macAddress', value: row.macAddress },
      { name: 'privateIPv4Address', value: row.address },
    ],
  }))
}

/** As ECS shows a task's network interface. */
function attachmentOf(row: AddressRow, subnet: SubnetRow): Attachment {
  return {
    id: row.attachmentId,
    type: interfaceAttachmentType,
    status: 'PRECREATED',
    details: [
      { name: 'subnetId', value: row.subnetId },
      { name: 'networkInterfaceId', value: row.networkInterfaceId },
      { name: 'macAddress', value: row.macAddress },
      { name: 'privateDnsName', value: privateDnsName(row, subnet) },
      { name: 'privateIPv4Address', value: row.address },
    ],
  }
}

/** `ip-10-0-0-5.home.lan`: the task's host name, as in ECS. No DNS server is told of it. */
export function privateDnsName({ address }: AddressRow, { searchDomains }: SubnetRow): string {
  const [domain] = searchDomains
  const name = `ip-${address.replaceAll('.', '-')}`
  return domain === undefined ? name : `${name}.${domain}`
}
