/** How hosts may be attached to a subnet, and what else a subnet says beside its addresses. */
import type { SubnetAttachment } from '../../proto/acs.ts'
import { invalidParameter } from '../../proto/errors.ts'
import { parseCidr, parseIpv4 } from '../decide/ipv4.ts'
import type { SubnetRow } from '../state/subnet-tables.ts'
import type { SubnetInput } from './subnet-rules.ts'

const nameLengthMax = 255
/** What a resolver reads: glibc's MAXNS and, before it took any number, MAXDNSRCH. Source: resolv.conf(5). */
const dnsServersMax = 3
const searchDomainsMax = 6
/** Linux's IFNAMSIZ less its end. */
const interfaceNamePattern = /^(?!\.{1,2}$)[A-Za-z0-9_.:@-]{1,15}$/
const domainPattern =
  /^(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*$/
const zonePattern = /^[A-Za-z0-9._\-/@]{1,128}$/
const vlanMax = 4094
const vxlanIdMax = 16_777_215
/** What IPv4 asks of every link, and the largest that Linux gives to an interface of this kind. */
const mtuMin = 576
const mtuMax = 9216

/** `macvlan on eth0, VLAN 10`: the same for two subnets on the same network. */
export function attachmentText(attachment: SubnetAttachment): string {
  switch (attachment.kind) {
    case 'macvlan':
      return `macvlan on ${attachment.parent}${attachment.vlan === undefined ? '' : `, VLAN ${attachment.vlan}`}`
    case 'bridge':
      return 'a bridge of each host'
    case 'vxlan':
      return `VXLAN ${attachment.networkId}`
    default:
      throw new Error(`an attachment of a kind that nobody knows: ${JSON.stringify(attachment)}`)
  }
}

/** What such an attachment can't do, for whoever makes a subnet of it. */
export function attachmentLimits({ kind }: SubnetAttachment): readonly string[] {
  return limits[kind]
}

const limits: Readonly<Record<SubnetAttachment['kind'], readonly string[]>> = {
  macvlan: [
    'The parent has to be a wired interface: Wi-Fi carries one MAC address only, and access points drop the others.',
    "The ranges must be left out of the LAN's DHCP server: nobody else may give these addresses out.",
  ],
  bridge: [
    'The addresses are known to their own host alone: tasks of other hosts and the LAN do not reach them.',
    'What tasks send beyond their host leaves with the address of the host (NAT).',
  ],
  vxlan: [
    'The addresses are known to the hosts alone: the LAN does not reach them unless it is routed to a host.',
    'The hosts have to reach each other by multicast, and by UDP port 4789.',
  ],
}

export function checkAttachment(attachment: SubnetAttachment): SubnetAttachment {
  switch (attachment.kind) {
    case 'macvlan': {
      const { parent, vlan } = attachment
      checkInterface(parent)
      if (vlan !== undefined && !isNumberFrom(vlan, 1, vlanMax)) {
        throw invalidParameter(`attachment.vlan must be a whole number from 1 to ${vlanMax}, and is ${String(vlan)}.`)
      }
      return { kind: 'macvlan', parent, ...(vlan !== undefined && { vlan }) }
    }
    case 'bridge':
      return { kind: 'bridge' }
    case 'vxlan':
      return checkVxlan(attachment)
    default: {
      const { kind } = attachment as { readonly kind?: unknown }
      throw invalidParameter(`attachment.kind is macvlan, bridge or vxlan, and not '${String(kind).slice(0, 32)}'.`)
    }
  }
}

export function checkNames(
  input: SubnetInput,
): Pick<SubnetRow, 'name' | 'availabilityZone' | 'dnsServers' | 'searchDomains'> {
  const { name, availabilityZone, dnsServers = [], searchDomains = [] } = input
  if (typeof name === 'string' && (name === '' || name.length > nameLengthMax)) {
    throw invalidParameter(`name takes 1 to ${nameLengthMax} characters, and has ${name.length}.`)
  }
  if (typeof name === 'string' && /\p{Cc}/u.test(name)) throw invalidParameter('name takes no control characters.')
  if (typeof availabilityZone === 'string' && !zonePattern.test(availabilityZone)) {
    throw invalidParameter(
      'availabilityZone takes 1 to 128 letters, digits and . _ - / @: the value of ecs.availability-zone of the hosts.',
    )
  }
  checkServers(dnsServers)
  checkDomains(searchDomains)
  return {
    ...(typeof name === 'string' && { name }),
    ...(typeof availabilityZone === 'string' && { availabilityZone }),
    dnsServers,
    searchDomains,
  }
}

export function checkMtu(mtu: number | undefined): number | undefined {
  if (mtu === undefined || isNumberFrom(mtu, mtuMin, mtuMax)) return mtu
  throw invalidParameter(`mtu must be a whole number from ${mtuMin} to ${mtuMax}, and is ${mtu}.`)
}

interface VxlanInput {
  readonly networkId: number
  readonly multicastGroup?: string | undefined
  readonly parent?: string | undefined
}

function checkVxlan({ networkId, multicastGroup = '', parent }: VxlanInput): SubnetAttachment {
  if (!isNumberFrom(networkId, 1, vxlanIdMax)) {
    throw invalidParameter(
      `attachment.networkId must be a whole number from 1 to ${vxlanIdMax}, and is ${String(networkId)}: any that no other ` +
        'VXLAN of the LAN has.',
    )
  }
  const group = parseIpv4(multicastGroup)
  const scoped = parseCidr('239.0.0.0/8')
  if (group === undefined || scoped === undefined || group < scoped.network || group > scoped.broadcast) {
    throw invalidParameter(
      `attachment.multicastGroup must be an address of 239.0.0.0/8 (multicast of a site's own, RFC 2365), such as 239.1.1.1, ` +
        `and is '${multicastGroup.slice(0, 64)}'.`,
    )
  }
  if (parent !== undefined) checkInterface(parent)
  return { kind: 'vxlan', networkId, multicastGroup, ...(parent !== undefined && { parent }) }
}

function checkInterface(name: string | undefined): void {
  if (name !== undefined && interfaceNamePattern.test(name)) return
  throw invalidParameter(
    `attachment.parent must be the name of a network interface of the hosts, such as eth0, and is '${String(name).slice(0, 64)}'.`,
  )
}

function checkServers(dnsServers: readonly string[]): void {
  if (dnsServers.length > dnsServersMax) {
    throw invalidParameter(`dnsServers can name at most ${dnsServersMax} servers: resolvers read no more.`)
  }
  const wrong = dnsServers.find((text) => parseIpv4(text) === undefined)
  if (wrong === undefined) return
  throw invalidParameter(`dnsServers: '${wrong.slice(0, 64)}' is no IPv4 address. Write it like 10.0.0.1.`)
}

function checkDomains(searchDomains: readonly string[]): void {
  if (searchDomains.length > searchDomainsMax) {
    throw invalidParameter(`searchDomains can name at most ${searchDomainsMax} domains: resolvers read no more.`)
  }
  const wrong = searchDomains.find((text) => !domainPattern.test(text))
  if (wrong === undefined) return
  throw invalidParameter(`searchDomains: '${wrong.slice(0, 64)}' is no domain name. Write it like home.lan.`)
}

function isNumberFrom(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max
}
