/**
 * What a subnet may be: its addresses, and how hosts are attached to it. Each refusal is an InvalidParameterException that
 * names the member, what is wrong with it and what would do.
 */
import type { SubnetAttachment } from '../../proto/acs.ts'
import { type ApiError, invalidParameter } from '../../proto/errors.ts'
import type { Tag } from '../../proto/model/types.ts'
import {
  blocksOverlap,
  formatCidr,
  formatIpv4,
  type Ipv4Block,
  isInBlock,
  parseCidr,
  parseIpv4,
} from '../decide/ipv4.ts'
import { addressesTotal } from '../decide/subnet-addresses.ts'
import type { AddressRange, SubnetRow } from '../state/subnet-tables.ts'
import { attachmentText, checkAttachment, checkMtu, checkNames } from './subnet-attachment-rules.ts'
import { checkTags } from './tags.ts'

/** A subnet as operators write it. `ranges` are `first-last` or single addresses; `null` in a change takes a member away. */
export interface SubnetInput {
  readonly subnetId?: string | undefined
  readonly name?: string | null | undefined
  readonly cidr: string
  readonly gateway?: string | null | undefined
  readonly ranges?: readonly string[] | undefined
  readonly reservedAddresses?: readonly string[] | undefined
  readonly availabilityZone?: string | null | undefined
  readonly attachment: SubnetAttachment
  readonly dnsServers?: readonly string[] | undefined
  readonly searchDomains?: readonly string[] | undefined
  readonly assignPublicIp?: 'refused' | 'lan' | undefined
  readonly mtu?: number | null | undefined
  readonly tags?: readonly Tag[] | undefined
}

/** What follows from the members alone; the rest of a row is the controller's. */
export type CheckedSubnet = Omit<SubnetRow, 'subnetId' | 'createdAt' | 'macByte' | 'lastGiven' | 'hasNarrowed'>

export const subnetMembers = [
  'subnetId',
  'name',
  'cidr',
  'gateway',
  'ranges',
  'reservedAddresses',
  'availabilityZone',
  'attachment',
  'dnsServers',
  'searchDomains',
  'assignPublicIp',
  'mtu',
  'tags',
] as const

/** AWS's own bounds of a subnet's size. Source: Amazon VPC user guide, "Subnet CIDR blocks". */
const prefixMin = 16
const prefixMax = 28
/** Each of `ranges` and `reservedAddresses`: all are looked at for every task that is placed. */
const listedMax = 100

export function checkSubnet(input: SubnetInput): CheckedSubnet {
  const attachment = checkAttachment(input.attachment)
  const block = checkCidr(input.cidr)
  const gateway = checkGateway(input.gateway ?? undefined, block, attachment)
  checkLength('ranges', input.ranges)
  checkLength('reservedAddresses', input.reservedAddresses)
  const ranges = checkRanges(input.ranges, block)
  const reservedAddresses = (input.reservedAddresses ?? []).map((text) =>
    formatIpv4(addressIn(block, text, 'reservedAddresses')),
  )
  const layout = {
    cidr: formatCidr(block),
    ...(gateway !== undefined && { gateway }),
    ranges,
    reservedAddresses: [...new Set(reservedAddresses)],
  }
  checkRoom(layout, attachment)
  const mtu = checkMtu(input.mtu ?? undefined)
  return {
    ...layout,
    ...checkNames(input),
    attachment,
    assignPublicIp: checkPublicIp(input.assignPublicIp ?? 'refused', attachment),
    ...(mtu !== undefined && { mtu }),
    tags: checkTags(input.tags),
  }
}

/**
 * Refused where another subnet has some of the same addresses and a host could be attached to both, so that it could not
 * tell them apart. In different availability zones two may have the same block; what could be one LAN, not the same ranges.
 */
export function checkNeighbours(subnet: CheckedSubnet, subnetId: string, others: readonly SubnetRow[]): void {
  const block = parseCidr(subnet.cidr)
  for (const other of others) {
    if (other.subnetId === subnetId) continue
    const otherBlock = parseCidr(other.cidr)
    checkVxlanIds(subnet, other)
    const isSameNetwork = attachmentText(subnet.attachment) === attachmentText(other.attachment)
    const areApart = areInDifferentZones(subnet, other)
    if (isSameNetwork && subnet.attachment.kind === 'macvlan' && !areApart) throw alreadyAttached(subnet, other)
    if (block === undefined || otherBlock === undefined || !blocksOverlap(block, otherBlock)) continue
    if (areApart && !mayShareAddresses(subnet, other)) continue
    const why = areApart
      ? `and so do the ranges: both may be the same network (${attachmentText(other.attachment)}). Give each its own ranges`
      : 'and hosts could be attached to both. Choose another block, or give each an availability zone of its own'
    throw invalidParameter(`cidr ${subnet.cidr} overlaps with ${other.cidr} of subnet ${nameOf(other)}, ${why}.`)
  }
}

function areInDifferentZones(one: CheckedSubnet, other: SubnetRow): boolean {
  const zones = [one.availabilityZone, other.availabilityZone]
  return zones.every((zone) => zone !== undefined) && zones[0] !== zones[1]
}

/** Interfaces of other names may well be on the same LAN: then the cidr may be the same, and the ranges may not. */
function mayShareAddresses(one: CheckedSubnet, other: SubnetRow): boolean {
  if (one.attachment.kind !== other.attachment.kind || one.attachment.kind === 'bridge') return false
  if (one.attachment.kind !== 'macvlan' || other.attachment.kind !== 'macvlan') return true
  if (one.attachment.vlan !== other.attachment.vlan) return false
  return one.ranges.some((range) => other.ranges.some((otherRange) => rangesOverlap(range, otherRange)))
}

function rangesOverlap(one: AddressRange, other: AddressRange): boolean {
  const [first = 0, last = 0, otherFirst = 0, otherLast = 0] = [one.first, one.last, other.first, other.last].map(
    parseIpv4,
  )
  return first <= otherLast && otherFirst <= last
}

function alreadyAttached({ attachment }: CheckedSubnet, other: SubnetRow): ApiError {
  return invalidParameter(
    `attachment: subnet ${nameOf(other)} is ${attachmentText(attachment)} already, and Docker has one macvlan network for ` +
      'each interface, or VLAN of it, of a host. Widen the ranges of that subnet, or give this one a VLAN or an availability ' +
      'zone of its own.',
  )
}

/** Another one than that of each subnet with some of the same addresses, so that no two have a MAC address in common. */
export function chooseMacByte(cidr: string, digest: string, others: readonly SubnetRow[]): number {
  const block = parseCidr(cidr)
  const taken = new Set(
    others.flatMap((other) => {
      const otherBlock = parseCidr(other.cidr)
      const overlaps = block !== undefined && otherBlock !== undefined && blocksOverlap(block, otherBlock)
      return overlaps ? [other.macByte] : []
    }),
  )
  const first = Number.parseInt(digest.slice(0, 2), 16)
  for (let step = 0; step < 256; step += 1) {
    const byte = (first + step) % 256
    if (!taken.has(byte)) return byte
  }
  throw invalidParameter(`256 subnets have addresses of ${cidr} already: delete those that are not needed.`)
}

export function nameOf({ subnetId, name }: Pick<SubnetRow, 'subnetId' | 'name'>): string {
  return name === undefined ? subnetId : `${subnetId} (${name})`
}

function checkCidr(text: string): Ipv4Block {
  const block = parseCidr(text)
  if (block === undefined) {
    throw invalidParameter(`cidr '${text.slice(0, 64)}' is no block of IPv4 addresses. Write it like 10.0.0.0/24.`)
  }
  if (formatCidr(block) !== text) {
    throw invalidParameter(`cidr ${text} is not in canonical form: the block that it lies in is ${formatCidr(block)}.`)
  }
  if (block.prefix < prefixMin || block.prefix > prefixMax) {
    throw invalidParameter(
      `cidr ${text} is of size /${block.prefix}, and a subnet is of /${prefixMin} to /${prefixMax}. To give out fewer ` +
        'addresses of a network, keep its cidr and name them in ranges.',
    )
  }
  const special = specialBlocks.find(([other]) => blocksOverlap(block, parseCidr(other) ?? block))
  if (special === undefined) return block
  throw invalidParameter(`cidr ${text} lies in ${special[0]}, ${special[1]}: no host could reach its addresses.`)
}

/** Source: RFC 6890 and RFC 5771. */
const specialBlocks = [
  ['0.0.0.0/8', 'which means this network'],
  ['127.0.0.0/8', 'which is loopback'],
  ['169.254.0.0/16', "which is link-local, and holds the task metadata endpoint's address"],
  ['224.0.0.0/4', 'which is multicast'],
  ['240.0.0.0/4', 'which is reserved'],
] as const

function checkGateway(text: string | undefined, block: Ipv4Block, { kind }: SubnetAttachment): string | undefined {
  if (kind === 'vxlan') {
    if (text === undefined) return undefined
    throw invalidParameter('gateway is not for VXLAN: each host is the gateway of its own tasks there. Leave it out.')
  }
  // The gateway of a bridge is the bridge itself, on each host.
  if (text === undefined) return kind === 'bridge' ? formatIpv4(block.network + 1) : undefined
  return formatIpv4(addressIn(block, text, 'gateway'))
}

function addressIn(block: Ipv4Block, text: string, member: string): number {
  const address = parseIpv4(text)
  if (address === undefined) {
    throw invalidParameter(`${member} '${text.slice(0, 64)}' is no IPv4 address. Write it like 10.0.0.1.`)
  }
  if (!isInBlock(address, block)) {
    throw invalidParameter(`${member} ${text} lies outside of cidr ${formatCidr(block)}.`)
  }
  if (address === block.network || address === block.broadcast) {
    const what = address === block.network ? 'network' : 'broadcast'
    throw invalidParameter(`${member} ${text} is the ${what} address of ${formatCidr(block)}, which nobody can have.`)
  }
  return address
}

function checkLength(member: string, texts: readonly string[] = []): void {
  if (texts.length <= listedMax) return
  throw invalidParameter(
    `${member} can have at most ${listedMax} items, and has ${texts.length}. Write neighbours as one range of ranges, first-last.`,
  )
}

/** In order. Without any, everything between the network's own two addresses. */
function checkRanges(texts: readonly string[] | undefined, block: Ipv4Block): readonly AddressRange[] {
  if (texts === undefined || texts.length === 0) {
    return [{ first: formatIpv4(block.network + 1), last: formatIpv4(block.broadcast - 1) }]
  }
  const spans = texts.map((text) => spanOf(text, block)).sort((one, other) => one.first - other.first)
  for (const [at, span] of spans.entries()) {
    const before = spans[at - 1]
    if (before === undefined || before.last < span.first) continue
    throw invalidParameter(
      `ranges ${before.text} and ${span.text} overlap: each address can be in one of them. Join them into one.`,
    )
  }
  return spans.map(({ first, last }) => ({ first: formatIpv4(first), last: formatIpv4(last) }))
}

function spanOf(
  text: string,
  block: Ipv4Block,
): { readonly text: string; readonly first: number; readonly last: number } {
  const [firstText = '', lastText = firstText, ...rest] = text.split('-').map((part) => part.trim())
  if (rest.length > 0) throw invalidParameter(`ranges: '${text.slice(0, 64)}' is not of the form 10.0.0.10-10.0.0.20.`)
  const first = addressIn(block, firstText, 'ranges:')
  const last = addressIn(block, lastText, 'ranges:')
  if (first <= last) return { text, first, last }
  throw invalidParameter(`ranges: ${text} ends before it begins. Write ${lastText}-${firstText}.`)
}

/** A task needs an address, and where a network is shared its host needs one beside it. */
function checkRoom(
  layout: Pick<SubnetRow, 'cidr' | 'gateway' | 'ranges' | 'reservedAddresses'>,
  { kind }: SubnetAttachment,
): void {
  const needed = kind === 'bridge' ? 1 : 2
  const total = addressesTotal(layout)
  if (total >= needed) return
  const why = kind === 'bridge' ? 'a task needs one' : "a task needs one, and its host's own interface another"
  throw invalidParameter(
    `The subnet is too small: without the gateway and the reserved addresses its ranges have ${total} of ${layout.cidr} to ` +
      `give, and ${why}. Widen ranges, or take addresses out of reservedAddresses.`,
  )
}

function checkVxlanIds({ attachment }: CheckedSubnet, other: SubnetRow): void {
  if (attachment.kind !== 'vxlan' || other.attachment.kind !== 'vxlan') return
  if (attachment.networkId !== other.attachment.networkId) return
  throw invalidParameter(
    `attachment.networkId ${attachment.networkId} is that of subnet ${nameOf(other)}: the two would be one network. Choose ` +
      'another number.',
  )
}

function checkPublicIp(rule: 'refused' | 'lan', { kind }: SubnetAttachment): 'refused' | 'lan' {
  if (rule !== 'refused' && rule !== 'lan') {
    throw invalidParameter(`assignPublicIp is refused or lan, and not '${String(rule).slice(0, 32)}'.`)
  }
  if (rule === 'refused' || kind === 'macvlan') return rule
  throw invalidParameter(
    `assignPublicIp can't be lan with an attachment of kind ${kind}: its addresses are none of the LAN. Use macvlan, or ` +
      'leave it refused.',
  )
}
