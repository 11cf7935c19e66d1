/**
 * What subnets have to offer to the next awsvpc task, as placement judges instances by it: plain data, as of one moment.
 */
import type { SubnetRow } from '../state/subnet-tables.ts'
import type { InstanceRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { attributesOf } from './operator-changes.ts'
import { addressesFree, addressesText } from './subnet-addresses.ts'
import { networkInterfacesAttribute } from '../../proto/networking.ts'

export interface NetworkOffer {
  readonly subnets: readonly OfferedSubnet[]
}

export interface OfferedSubnet {
  readonly subnetId: string
  readonly availabilityZone?: string | undefined
  /** The interface of the host that the subnet hangs on, with macvlan. */
  readonly parent?: string | undefined
  readonly hasHostAddresses: boolean
  /** Free addresses; 2 stands for any more, since no task needs more than one for itself and one for its host. */
  readonly free: 0 | 1 | 2
  /** Who holds the addresses, where they are short. */
  readonly shortage?: string | undefined
}

export function networkOffer(reader: Reader, subnetIds: readonly string[]): NetworkOffer {
  return {
    subnets: subnetIds.map((subnetId) => {
      const subnet = reader.get('subnet', subnetId)
      if (subnet === undefined) {
        return { subnetId, hasHostAddresses: false, free: 0, shortage: `subnet ${subnetId} does not exist any more` }
      }
      const free = addressesFree(reader, subnet)
      return {
        subnetId,
        availabilityZone: subnet.availabilityZone,
        parent: parentOf(subnet),
        hasHostAddresses: hasHostAddresses(subnet),
        free: free >= 2 ? 2 : free === 1 ? 1 : 0,
        ...(free < 2 && { shortage: addressesText(reader, subnet) }),
      }
    }),
  }
}

/** On a bridge of its own the host is the gateway; in a network that it shares it has an address beside its tasks. */
export function hasHostAddresses({ attachment }: SubnetRow): boolean {
  return attachment.kind !== 'bridge'
}

/** Hosts register the interfaces that macvlan can hang on; VXLAN goes over others too, such as Wi-Fi and tunnels. */
function parentOf({ attachment }: SubnetRow): string | undefined {
  return attachment.kind === 'macvlan' ? attachment.parent : undefined
}

export function isInZone({ availabilityZone }: OfferedSubnet, instance: InstanceRow): boolean {
  return availabilityZone === undefined || availabilityZone === zoneOf(instance)
}

export function zoneOf(instance: InstanceRow): string | undefined {
  return attributesOf(instance).find(({ name }) => name === 'ecs.availability-zone')?.value
}

/** A host whose agent doesn't say which interfaces there are is not held to lack one: its agent tells if so. */
export function hasParent({ parent }: OfferedSubnet, instance: InstanceRow): boolean {
  if (parent === undefined) return true
  return interfacesOf(instance)?.includes(parent) ?? true
}

export function interfacesOf(instance: InstanceRow): readonly string[] | undefined {
  return attributesOf(instance)
    .find(({ name }) => name === networkInterfacesAttribute)
    ?.value?.split(',')
}

/** How many addresses the next task takes there: one more where the host has none in that subnet yet. */
export function addressesNeeded({ subnetId, hasHostAddresses: isShared }: OfferedSubnet, instance: InstanceRow): 1 | 2 {
  return isShared && instance.addressedSubnetIds?.includes(subnetId) !== true ? 2 : 1
}

export function hasRoom(subnet: OfferedSubnet, instance: InstanceRow): boolean {
  return subnet.free >= addressesNeeded(subnet, instance)
}
