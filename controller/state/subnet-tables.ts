/**
 * The rows of task networking: subnets, which operators make, and the addresses in them that are given out. An address has
 * a row for as long as somebody may be using it.
 */
import type { SubnetAttachment } from '../../proto/acs.ts'
import type { Tag } from '../../proto/model/types.ts'

/** Key: its id, `subnet-` and 17 hex digits, or what an operator chose in that form. */
export interface SubnetRow {
  readonly subnetId: string
  readonly name?: string | undefined
  /** `10.0.0.0/24`, in canonical form. */
  readonly cidr: string
  /** The router of the subnet. Absent: a subnet without a way out. */
  readonly gateway?: string | undefined
  /** What may be given out: inclusive, in order, without overlap. The network's own addresses never are. */
  readonly ranges: readonly AddressRange[]
  /** Addresses inside the ranges that are never given out. */
  readonly reservedAddresses: readonly string[]
  readonly availabilityZone?: string | undefined
  readonly attachment: SubnetAttachment
  readonly dnsServers: readonly string[]
  readonly searchDomains: readonly string[]
  /** What becomes of `assignPublicIp` ENABLED: refused, or honoured since a task's own address is one of the LAN. */
  readonly assignPublicIp: 'refused' | 'lan'
  readonly mtu?: number | undefined
  readonly tags: readonly Tag[]
  readonly createdAt: number
  /** The second byte of the MAC addresses here: another one than in any subnet with some of the same addresses. */
  readonly macByte: number
  /** The address given out last: the next is the first free one behind it, so that none is used again at once. */
  readonly lastGiven?: string | undefined
  /** Set once the ranges were changed while addresses were held: some of those may lie outside of them now. */
  readonly hasNarrowed?: true | undefined
}

export interface AddressRange {
  readonly first: string
  readonly last: string
}

/** Key: `subnetId/address`, so that an address has one owner. */
export interface AddressRow {
  readonly subnetId: string
  readonly address: string
  readonly macAddress: string
  /** `eni-` and 17 hex digits. */
  readonly networkInterfaceId: string
  readonly attachmentId: string
  /** A task's own interface, or a host's in the subnet of its tasks. */
  readonly owner: 'task' | 'host'
  readonly taskId?: string | undefined
  readonly instanceId: string
  readonly clusterName: string
  /** Epoch milliseconds. */
  readonly since: number
  /** Why it can't be taken back: nobody knows whether it is still in use on a host that nobody watches any more. */
  readonly quarantine?: { readonly since: number; readonly reason: string } | undefined
}
