/** What an agent is told of a task's own network interface, and of the subnet that it is attached to. */
import type { PayloadNetwork, PayloadNetworkInterface } from '../../proto/acs.ts'
import { attachmentArn, type Place } from '../../proto/arn.ts'
import type { AddressRow, SubnetRow } from '../state/subnet-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { privateDnsName } from './address-allocation.ts'
import { parseCidr } from './ipv4.ts'

export interface TaskNetwork {
  readonly networkInterface: PayloadNetworkInterface
  readonly network: PayloadNetwork
}

/** Undefined for a task without an address of its own, and once its address has been taken back. */
export function payloadNetwork(reader: Reader, task: TaskRow, place: Place): TaskNetwork | undefined {
  const [address] = reader.find('address', 'byTask', task.taskId)
  const subnet = address === undefined ? undefined : reader.get('subnet', address.subnetId)
  if (address === undefined || subnet === undefined) return undefined
  const ofHost = reader
    .find('address', 'byInstance', task.instanceId)
    .find(({ owner, subnetId }) => owner === 'host' && subnetId === subnet.subnetId)
  return {
    networkInterface: networkInterfaceOf(address, subnet, ofHost, place),
    network: {
      subnetId: subnet.subnetId,
      cidr: subnet.cidr,
      ...(subnet.gateway !== undefined && { gateway: subnet.gateway }),
      attachment: subnet.attachment,
      ...(ofHost !== undefined && { hostAddress: ofHost.address, hostMacAddress: ofHost.macAddress }),
      ...(subnet.mtu !== undefined && { mtu: subnet.mtu }),
    },
  }
}

function networkInterfaceOf(
  row: AddressRow,
  subnet: SubnetRow,
  ofHost: AddressRow | undefined,
  place: Place,
): PayloadNetworkInterface {
  const { attachmentId, networkInterfaceId, macAddress, address } = row
  const prefix = parseCidr(subnet.cidr)?.prefix ?? 32
  return {
    attachmentArn: attachmentArn(place, attachmentId),
    ec2Id: networkInterfaceId,
    index: 0,
    macAddress,
    ipv4Addresses: [{ privateAddress: address, primary: true }],
    domainName: subnet.searchDomains,
    domainNameServers: subnet.dnsServers,
    privateDnsName: privateDnsName(row, subnet),
    // The official form knows no subnet without a gateway; `network.gateway` says whether there is one.
    subnetGatewayIpv4Address: `${subnet.gateway ?? ofHost?.address ?? address}/${prefix}`,
  }
}
