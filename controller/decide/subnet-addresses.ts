/**
 * The addresses of a subnet: which may be given out, which is next, how many are free, and who holds the others, in words.
 */
import type { AddressRow, SubnetRow } from '../state/subnet-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { formatIpv4, parseCidr, parseIpv4 } from './ipv4.ts'
import { listed } from './placement-filter.ts'

export function addressKey(subnetId: string, address: string): string {
  return `${subnetId}/${address}`
}

interface Span {
  readonly first: number
  readonly last: number
}

/** The subnet's ranges without what is never given out. */
interface Allocatable {
  readonly spans: readonly Span[]
  readonly excluded: ReadonlySet<number>
}

type Layout = Pick<SubnetRow, 'cidr' | 'gateway' | 'ranges' | 'reservedAddresses'>

function allocatableOf({ cidr, gateway, ranges, reservedAddresses }: Layout): Allocatable {
  const block = parseCidr(cidr)
  const never = [block?.network, block?.broadcast, ...[gateway ?? '', ...reservedAddresses].map(parseIpv4)]
  return {
    spans: ranges.map(({ first, last }) => ({ first: parseIpv4(first) ?? 0, last: parseIpv4(last) ?? -1 })),
    excluded: new Set(never.filter((address) => address !== undefined)),
  }
}

/** How many addresses the subnet has to give: its ranges less the gateway, the reserved ones and the network's own. */
export function addressesTotal(layout: Layout): number {
  const { spans, excluded } = allocatableOf(layout)
  let total = 0
  for (const span of spans) {
    total += span.last - span.first + 1
    for (const address of excluded) if (address >= span.first && address <= span.last) total -= 1
  }
  return total
}

/** Tells of each address whether the subnet gives it out; the layout is read once for all that are asked of. */
export function allocatableIn(layout: Layout): (address: string) => boolean {
  const { spans, excluded } = allocatableOf(layout)
  return (address) => {
    const number = parseIpv4(address)
    if (number === undefined || excluded.has(number)) return false
    return spans.some(({ first, last }) => number >= first && number <= last)
  }
}

/** Free ones. Rows of addresses that an operator has taken out of the ranges since don't count. */
export function addressesFree(reader: Reader, subnet: SubnetRow): number {
  const held = reader.count('address', 'bySubnet', subnet.subnetId)
  const total = addressesTotal(subnet)
  if (held === 0) return total
  if (subnet.hasNarrowed !== true) return total - held
  const isAllocatable = allocatableIn(subnet)
  return total - reader.find('address', 'bySubnet', subnet.subnetId).filter((row) => isAllocatable(row.address)).length
}

/** The first free address behind the one that was given out last, in a circle; undefined where none is free. */
export function nextFreeAddress(reader: Reader, subnet: SubnetRow): string | undefined {
  const { spans, excluded } = allocatableOf(subnet)
  const last = parseIpv4(subnet.lastGiven ?? '') ?? -1
  const isFree = (address: number): boolean =>
    !excluded.has(address) && reader.get('address', addressKey(subnet.subnetId, formatIpv4(address))) === undefined
  const behind = spans.map((span) => ({ first: Math.max(span.first, last + 1), last: span.last }))
  const before = spans.map((span) => ({ first: span.first, last: Math.min(span.last, last) }))
  for (const span of [...behind, ...before]) {
    for (let address = span.first; address <= span.last; address += 1) if (isFree(address)) return formatIpv4(address)
  }
  return undefined
}

/** Who holds an address, as of now. */
export type AddressState = 'running' | 'starting' | 'stopping' | 'cutOff' | 'host' | 'quarantined'

export function addressStateOf(reader: Reader, row: AddressRow): AddressState {
  if (row.quarantine !== undefined) return 'quarantined'
  const instance = reader.get('instance', row.instanceId)
  if (instance === undefined || !instance.agentConnected) return 'cutOff'
  if (row.owner === 'host') return 'host'
  const task = reader.get('task', row.taskId ?? '')
  if (task === undefined || task.desiredStatus === 'STOPPED') return 'stopping'
  return task.lastStatus === 'RUNNING' ? 'running' : 'starting'
}

const stateTexts: readonly (readonly [AddressState, (count: number) => string])[] = [
  ['running', (count) => `${count} running`],
  ['starting', (count) => `${count} starting`],
  ['stopping', (count) => `${count} stopping`],
  ['cutOff', (count) => `${count} of ${count === 1 ? 'a host that is' : 'hosts that are'} cut off`],
  ['host', (count) => (count === 1 ? "1 is a host's own" : `${count} are hosts' own`)],
  ['quarantined', (count) => `${count} in quarantine after a forced deregistration`],
]

/** `subnet subnet-1 has 0 of 12 addresses free: 9 running, 2 stopping, 1 of a host that is cut off`. */
export function addressesText(reader: Reader, subnet: SubnetRow): string {
  const counts = new Map<AddressState, number>()
  for (const row of reader.find('address', 'bySubnet', subnet.subnetId)) {
    const state = addressStateOf(reader, row)
    counts.set(state, (counts.get(state) ?? 0) + 1)
  }
  const parts = stateTexts.flatMap(([state, say]) => {
    const count = counts.get(state)
    return count === undefined ? [] : [say(count)]
  })
  const free = addressesFree(reader, subnet)
  const holders = parts.length === 0 ? '' : `: ${parts.join(', ')}`
  return `subnet ${subnet.subnetId} has ${free} of ${addressesTotal(subnet)} addresses free${holders}`
}

export function subnetsText(subnetIds: readonly string[]): string {
  return `${subnetIds.length === 1 ? 'subnet' : 'subnets'} ${listed(subnetIds)}`
}
