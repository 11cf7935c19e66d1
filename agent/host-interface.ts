/**
 * A host's own place in the subnets of its tasks, made with iproute2:
 *
 * - `macvlan` cuts a host off from its own children, so the host gets a macvlan interface beside them, with the address
 *   that the controller reserved for it, and a route to each of its tasks over it.
 * - `vxlan` joins the bridge of the subnet to those of the other hosts by a VXLAN device.
 * - On a `bridge` of its own the host is the gateway already.
 *
 * Everything is compared with what is there before it is changed, so each call may be repeated; what it makes carries the
 * instance's ARN, and nothing else is ever removed.
 */
import { createSocket } from 'node:dgram'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { BlockList } from 'node:net'
import type { PayloadNetwork } from '../proto/acs.ts'
import { stableHash } from '../proto/hash.ts'
import type { TaskNetwork } from './decide/task-network.ts'
import { EngineError } from './engine.ts'
import { showAddresses, showHostAddresses, showLink, showLinks, showNeighbour, showRoutes } from './ip-command.ts'
import type { HostLink, RunIp } from './ip-command.ts'

export interface HostInterfaces {
  /** Whether the subnet can be attached to this host at all; fails with an EngineError that says why not. */
  check(subnet: PayloadNetwork): Promise<void>
  /**
   * Whether a bridge can have the subnet's block, before it is made; fails with an EngineError where the block is that of
   * a network which the host itself is in. The bridge would take the router's address, and the host off that network.
   */
  checkBlock(subnet: PayloadNetwork): Promise<void>
  /** What the tasks' interfaces may send at once, in bytes; undefined where the driver finds it out itself. */
  mtuOf(subnet: PayloadNetwork): Promise<number | undefined>
  /** Makes what is missing for a task at this address, once the Docker network is there. */
  attach(subnet: PayloadNetwork, address: string): Promise<void>
  /**
   * Looks at all that is there for the tasks of a subnet, and takes away routes to others. The addresses are asked for when
   * it is this one's turn, so that no task is missing among them that was attached before.
   */
  keep(subnet: PayloadNetwork, addresses: () => readonly string[]): Promise<void>
  /** The MAC address of a stranger who answers for the task's address. */
  strangerAt(network: TaskNetwork): Promise<string | undefined>
  /** Removes what was made for other subnets than these, which are asked for as the addresses are. */
  retain(subnetIds: () => ReadonlySet<string>): Promise<void>
}

export interface HostInterfacesOptions {
  readonly ip: RunIp
  /** Marks the interfaces that are this agent's to remove. */
  readonly containerInstanceArn: string
  readonly log: { warn(facts: object, message: string): void }
}

/** What VXLAN puts in front of each frame. Source: RFC 7348, with IPv4 and without VLAN tag. */
export const vxlanHeaderBytes = 50
const vxlanPort = 4789
const interfaceDigits = 8
/** A neighbour in a LAN answers within a few milliseconds, one on Wi-Fi within some tens. */
const answerTimeMs = 200
const discardPort = 9
/** For so long what was seen of a macvlan interface is believed, so that a burst of starts costs one look. */
const seenForMs = 5_000

/** Names of at most 15 characters, the same for a subnet on every host. */
export function bridgeNameOf(subnetId: string): string {
  return `gbr-${stableHash(subnetId).slice(0, interfaceDigits)}`
}

export function hostInterfaceNameOf(subnetId: string): string {
  return `gmv-${stableHash(subnetId).slice(0, interfaceDigits)}`
}

export function vxlanNameOf(subnetId: string): string {
  return `gvx-${stableHash(subnetId).slice(0, interfaceDigits)}`
}

const ownName = /^(?:gmv|gvx)-[0-9a-f]{8}$/

export function createHostInterfaces(options: HostInterfacesOptions): HostInterfaces {
  return new OwnInterfaces(options)
}

class OwnInterfaces implements HostInterfaces {
  readonly #ip: RunIp
  readonly #alias: string
  readonly #log: HostInterfacesOptions['log']
  /** Interface -> when it was last seen to be as wanted. */
  readonly #seenAt = new Map<string, number>()
  /** One change at a time: two that make the same interface would refuse each other. */
  #last: Promise<unknown> = Promise.resolve()

  constructor({ ip, containerInstanceArn, log }: HostInterfacesOptions) {
    this.#ip = ip
    this.#alias = `gantry ${containerInstanceArn}`
    this.#log = log
  }

  async check({ attachment }: PayloadNetwork): Promise<void> {
    if (attachment.kind === 'bridge') return
    const parent = attachment.parent ?? defaultRouteInterface()
    const links = await showLinks(this.#ip)
    const link = links.find(({ ifname }) => ifname === parent)
    if (parent === undefined || link === undefined) throw noParent(parent, links)
    if (attachment.kind === 'macvlan') checkMacvlanParent(link, links)
  }

  async checkBlock({ attachment, cidr, subnetId }: PayloadNetwork): Promise<void> {
    if (attachment.kind === 'macvlan') return
    const taken = (await showHostAddresses(this.#ip)).find(
      ({ ifname, address }) => ifname !== bridgeNameOf(subnetId) && overlap(cidr, address),
    )
    if (taken === undefined) return
    throw new EngineError(
      'refused',
      `this host itself is in the network ${cidr}, by ${taken.ifname} (${taken.address}), and a bridge of that network ` +
        'would cut it off from there. Give the subnet a block that no network of the hosts has, or attach it by macvlan.',
    )
  }

  async mtuOf({ attachment, mtu }: PayloadNetwork): Promise<number | undefined> {
    if (mtu !== undefined || attachment.kind !== 'vxlan') return mtu
    const parent = attachment.parent ?? defaultRouteInterface() ?? ''
    const link = await showLink(this.#ip, parent)
    return link === undefined ? undefined : link.mtu - vxlanHeaderBytes
  }

  async attach(subnet: PayloadNetwork, address: string): Promise<void> {
    const { attachment } = subnet
    if (attachment.kind === 'bridge') return
    await this.#inTurn(async () => {
      if (attachment.kind === 'vxlan') await this.#joinVxlan(subnet)
      else await this.#attachQuickly(subnet, address)
    })
  }

  async keep(subnet: PayloadNetwork, addresses: () => readonly string[]): Promise<void> {
    const { attachment } = subnet
    if (attachment.kind === 'bridge') return
    await this.#inTurn(async () => {
      if (attachment.kind === 'vxlan') await this.#joinVxlan(subnet)
      else await this.#keepMacvlan(subnet, addresses())
    })
  }

  async strangerAt({ subnet, address, macAddress }: TaskNetwork): Promise<string | undefined> {
    const device = probeDeviceOf(subnet)
    if (device === undefined) return undefined
    // What was known of an earlier owner of the address would be taken for an answer.
    await this.#ip(['neighbour', 'flush', 'to', address, 'dev', device])
    await provokeArp(address)
    await new Promise((resolve) => setTimeout(resolve, answerTimeMs))
    const answered = await showNeighbour(this.#ip, device, address)
    await this.#ip(['neighbour', 'flush', 'to', address, 'dev', device])
    return answered === undefined || answered.toLowerCase() === macAddress.toLowerCase() ? undefined : answered
  }

  async retain(subnetIds: () => ReadonlySet<string>): Promise<void> {
    await this.#inTurn(async () => {
      const kept = new Set([...subnetIds()].flatMap((id) => [hostInterfaceNameOf(id), vxlanNameOf(id)]))
      for (const { ifname, ifalias } of await showLinks(this.#ip)) {
        if (!ownName.test(ifname) || ifalias !== this.#alias || kept.has(ifname)) continue
        this.#seenAt.delete(ifname)
        await this.#ip(['link', 'delete', 'dev', ifname])
      }
    })
  }

  async #attachQuickly(subnet: PayloadNetwork, address: string): Promise<void> {
    const { hostAddress, subnetId } = subnet
    if (hostAddress === undefined) return
    const name = hostInterfaceNameOf(subnetId)
    if (Date.now() - (this.#seenAt.get(name) ?? 0) < seenForMs) {
      const isRouted = await this.#route(name, address, hostAddress).then(
        () => true,
        () => false,
      )
      // It went away with its parent, or by hand, since it was seen.
      if (isRouted) return
    }
    await this.#makeMacvlan(name, subnet, hostAddress)
    await this.#route(name, address, hostAddress)
  }

  async #keepMacvlan(subnet: PayloadNetwork, addresses: readonly string[]): Promise<void> {
    const { hostAddress, subnetId } = subnet
    if (hostAddress === undefined) return
    const name = hostInterfaceNameOf(subnetId)
    await this.#makeMacvlan(name, subnet, hostAddress)
    const routed = new Set(await showRoutes(this.#ip, name))
    for (const address of addresses) if (!routed.delete(address)) await this.#route(name, address, hostAddress)
    for (const stale of routed) await this.#ip(['route', 'delete', stale, 'dev', name])
  }

  async #route(name: string, address: string, hostAddress: string): Promise<void> {
    await this.#ip(['route', 'replace', `${address}/32`, 'dev', name, 'scope', 'link', 'src', hostAddress])
  }

  async #makeMacvlan(name: string, subnet: PayloadNetwork, hostAddress: string): Promise<void> {
    const parent = macvlanParentOf(subnet)
    const mac = subnet.hostMacAddress
    const found = await showLink(this.#ip, name)
    const isRight =
      found?.linkinfo?.info_kind === 'macvlan' && found.link === parent && (mac === undefined || found.address === mac)
    if (!isRight) {
      if (found !== undefined) await this.#ip(['link', 'delete', 'dev', name])
      const withMac = mac === undefined ? [] : ['address', mac]
      await this.#ip(['link', 'add', 'name', name, 'link', parent, ...withMac, 'type', 'macvlan', 'mode', 'bridge'])
    }
    if (found?.ifalias !== this.#alias || !isRight) await this.#ip(['link', 'set', 'dev', name, 'alias', this.#alias])
    // It answers for the host's other addresses too, but only to those whom it has a route to: the host's own tasks.
    this.#setKernel(name, 'arp_filter', '1')
    this.#setKernel(name, 'arp_announce', '2')
    const addresses = await showAddresses(this.#ip, name)
    for (const other of addresses.filter((one) => one !== `${hostAddress}/32`)) {
      await this.#ip(['address', 'delete', other, 'dev', name])
    }
    if (!addresses.includes(`${hostAddress}/32`)) await this.#ip(['address', 'add', `${hostAddress}/32`, 'dev', name])
    if (found?.flags.includes('UP') !== true || !isRight) await this.#ip(['link', 'set', 'dev', name, 'up'])
    this.#seenAt.set(name, Date.now())
  }

  async #joinVxlan(subnet: PayloadNetwork): Promise<void> {
    const { attachment, subnetId } = subnet
    if (attachment.kind !== 'vxlan') return
    const name = vxlanNameOf(subnetId)
    const bridge = bridgeNameOf(subnetId)
    const { networkId, multicastGroup } = attachment
    const parent = attachment.parent ?? defaultRouteInterface() ?? ''
    const found = await showLink(this.#ip, name)
    const data = found?.linkinfo?.info_data
    const isRight = data?.['id'] === networkId && data['group'] === multicastGroup && data['link'] === parent
    if (!isRight) {
      if (found !== undefined) await this.#ip(['link', 'delete', 'dev', name])
      const over = ['id', String(networkId), 'group', multicastGroup, 'dev', parent, 'dstport', String(vxlanPort)]
      await this.#ip(['link', 'add', 'name', name, 'type', 'vxlan', ...over])
    }
    const mtu = await this.mtuOf(subnet)
    const settings = [
      ...(found?.ifalias === this.#alias && isRight ? [] : ['alias', this.#alias]),
      ...(mtu === undefined || (isRight && found?.mtu === mtu) ? [] : ['mtu', String(mtu)]),
      ...(isRight && found?.master === bridge ? [] : ['master', bridge]),
      ...(isRight && found?.flags.includes('UP') ? [] : ['up']),
    ]
    if (settings.length > 0) await this.#ip(['link', 'set', 'dev', name, ...settings])
  }

  #setKernel(name: string, setting: string, value: string): void {
    const path = `/proc/sys/net/ipv4/conf/${name}/${setting}`
    try {
      if (readFileSync(path, 'utf8').trim() !== value) writeFileSync(path, value)
    } catch (error) {
      this.#log.warn(
        { err: error },
        `${path} can't be set to ${value}: neighbours of this host may get two answers for its address. ` +
          'Let the agent write there (systemd: ProtectKernelTunables=no).',
      )
    }
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#last.then(work)
    this.#last = mine.catch(() => undefined)
    return mine
  }
}

/** Whether two blocks have addresses in common: then the larger one holds the other's. */
function overlap(one: string, other: string): boolean {
  const [larger, smaller] = [one, other]
    .map((text) => text.split('/'))
    .map(([address = '', prefix = '32']) => ({ address, prefix: Number(prefix) }))
    .toSorted((a, b) => a.prefix - b.prefix)
  if (larger === undefined || smaller === undefined) return false
  const block = new BlockList()
  block.addSubnet(larger.address, larger.prefix)
  return block.check(smaller.address)
}

/** The parent itself, or the interface of its VLAN, which Docker makes with the network. */
export function macvlanParentOf({ attachment }: PayloadNetwork): string {
  if (attachment.kind !== 'macvlan') throw new Error(`A ${attachment.kind} has no macvlan parent.`)
  return attachment.vlan === undefined ? attachment.parent : `${attachment.parent}.${attachment.vlan}`
}

/** The interface over which this host sees what tasks send to all of the subnet; only where it has an address there. */
function probeDeviceOf({ attachment, subnetId, hostAddress }: PayloadNetwork): string | undefined {
  if (hostAddress === undefined || attachment.kind === 'bridge') return undefined
  return attachment.kind === 'macvlan' ? hostInterfaceNameOf(subnetId) : bridgeNameOf(subnetId)
}

function noParent(parent: string | undefined, links: readonly HostLink[]): EngineError {
  if (parent === undefined) {
    return new EngineError(
      'refused',
      'The subnet names no parent interface, and this host has no default route to find one by. Name it in the subnet.',
    )
  }
  const names = parentCandidates(links).join(', ') || 'none'
  return new EngineError(
    'refused',
    `This host has no network interface ${parent}, which the subnet hangs on. It could hang on: ${names}.`,
  )
}

function checkMacvlanParent({ ifname, master }: HostLink, links: readonly HostLink[]): void {
  if (isWireless(ifname)) {
    throw new EngineError(
      'refused',
      `${ifname} is a Wi-Fi interface: access points drop frames of other MAC addresses, so macvlan can't work on it. ` +
        'Attach the subnet with vxlan instead, or use a wired interface.',
    )
  }
  if (master !== undefined) {
    throw new EngineError(
      'refused',
      `${ifname} is a port of ${master}, and a port can't be the parent of macvlan interfaces. Hang the subnet on ${master}.`,
    )
  }
  const rival = links.find(({ link, linkinfo }) => {
    const mode = linkinfo?.info_data?.['mode']
    const isRival = linkinfo?.info_kind === 'ipvlan' || (linkinfo?.info_kind === 'macvlan' && mode === 'passthru')
    return link === ifname && isRival
  })
  if (rival === undefined) return
  const kind = rival.linkinfo?.info_kind === 'ipvlan' ? 'an ipvlan interface' : 'a macvlan interface in passthru mode'
  throw new EngineError(
    'refused',
    `${ifname} has ${kind} already (${rival.ifname}), and takes no others beside it. Remove that, or use another parent.`,
  )
}

/** Names of the interfaces that macvlan children can hang on, of all that are up or may come up. */
export function parentCandidates(links: readonly HostLink[]): readonly string[] {
  const unfit = new Set(['macvlan', 'macvtap', 'ipvlan', 'vxlan', 'tun', 'wireguard', 'dummy', 'ifb'])
  return links
    .filter(({ link_type: type, master }) => type === 'ether' && master === undefined)
    .filter(({ linkinfo }) => !unfit.has(linkinfo?.info_kind ?? ''))
    .filter(
      ({ ifname }) => !/^(?:docker|br-[0-9a-f]{12}$|gbr-|docker_gwbridge|gantry-)/.test(ifname) && !isWireless(ifname),
    )
    .map(({ ifname }) => ifname)
}

/** By the directory of the kernel's driver model, and by the older list, which is of our own network namespace. */
function isWireless(name: string): boolean {
  if (existsSync(`/sys/class/net/${name}/phy80211`)) return true
  try {
    return new RegExp(`^ *${name}:`, 'm').test(readFileSync('/proc/self/net/wireless', 'utf8'))
  } catch {
    return false
  }
}

/** The interface of the IPv4 default route; the one with the least metric of several. */
function defaultRouteInterface(): string | undefined {
  const rows = readFileSync('/proc/self/net/route', 'utf8').trim().split('\n').slice(1)
  const defaults = rows
    .map((row) => row.split('\t'))
    .filter(([, destination, , , , , , mask]) => destination === '00000000' && mask === '00000000')
  return defaults.toSorted((a, b) => Number(a[6]) - Number(b[6]))[0]?.[0]
}

/** A datagram to nobody in particular makes the kernel ask the network who has the address. */
async function provokeArp(address: string): Promise<void> {
  const socket = createSocket('udp4')
  await new Promise<void>((resolve) => {
    // An address that has no route is no stranger's.
    socket.once('error', () => resolve())
    socket.send('', discardPort, address, () => resolve())
  })
  socket.close()
}
