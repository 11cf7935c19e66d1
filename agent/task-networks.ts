/**
 * The networks of tasks with addresses of their own: the Docker network of each subnet, what the host itself needs in it,
 * and a look at the wire before an address is used. Nothing is believed to be there because it was made once: it is
 * looked at before each start, and once a minute as a whole.
 */
import type { PayloadNetwork } from '../proto/acs.ts'
import { networkNameOf } from './decide/task-network.ts'
import type { TaskNetwork } from './decide/task-network.ts'
import { EngineError, labels } from './engine.ts'
import type { Engine, NetworkSpec, ObservedNetwork } from './engine.ts'
import { bridgeNameOf, macvlanParentOf } from './host-interface.ts'
import type { HostInterfaces } from './host-interface.ts'
import { ensureTaskEndpointNetwork, taskEndpointNetworkName } from './task-endpoint-network.ts'

/** On each Docker network that is made for a subnet: the subnet's id. */
export const subnetLabel = 'gantry.subnet-id'

/** What a task's step asks for. Each fails with an EngineError whose message is the reason of the task's end. */
export interface TaskNetworks {
  /** Makes the subnet ready on this host for this task, and sees to it that its address is nobody else's. */
  prepare(network: TaskNetwork): Promise<void>
  /**
   * Puts the task's pause container, which runs, where it reaches the agent's own endpoints. Before it started Docker would
   * take its networks in any order, and the task's name might stand for its address there. Already there is success.
   */
  joinEndpoints(containerId: string): Promise<void>
  /** To be asked for before a start, which may be a container's second. */
  leaveEndpoints(containerId: string): Promise<void>
}

export interface KeptTaskNetworks extends TaskNetworks {
  /** Does so for those of these containers, which run, that are not there. */
  joinMissing(containerIds: readonly string[]): Promise<void>
  /** Removes the Docker networks of other subnets than these, as far as nothing runs in them and this agent made them. */
  removeIdle(subnetIds: () => ReadonlySet<string>): Promise<void>
}

type NetworkEngine = Pick<
  Engine,
  'createNetwork' | 'inspectNetwork' | 'listNetworks' | 'removeNetwork' | 'connectNetwork' | 'disconnectNetwork'
>

/** For an engine whose containers are on no wire: nothing of the host's own is made or looked at. */
export const noHostInterfaces: HostInterfaces = {
  check: async () => undefined,
  checkBlock: async () => undefined,
  mtuOf: async ({ mtu }) => mtu,
  attach: async () => undefined,
  keep: async () => undefined,
  strangerAt: async () => undefined,
  retain: async () => undefined,
}

/** `madeBy` is the ARN of the instance; networks of others are left alone. */
export function createTaskNetworks(engine: NetworkEngine, host: HostInterfaces, madeBy: string): KeptTaskNetworks {
  const underway = new Map<string, Promise<void>>()
  /** A network is not to be removed between the look at it and the start into it. */
  let removal: Promise<unknown> = Promise.resolve()
  /** Tasks of one subnet that start together make its network once. */
  const ensureOnce = async (subnet: PayloadNetwork): Promise<void> => {
    await removal
    const key = JSON.stringify(subnet)
    const mine = underway.get(key) ?? ensureNetwork(engine, host, subnet, madeBy).finally(() => underway.delete(key))
    underway.set(key, mine)
    return mine
  }
  return {
    async prepare(network) {
      const { subnet, address } = network
      await ensureOnce(subnet)
      await host.attach(subnet, address)
      const stranger = await host.strangerAt(network)
      if (stranger !== undefined) throw conflict(network, stranger)
    },

    async joinEndpoints(containerId) {
      await ensureTaskEndpointNetwork(engine)
      await engine.connectNetwork(taskEndpointNetworkName, containerId)
    },

    async joinMissing(containerIds) {
      const joined = new Set((await engine.inspectNetwork(taskEndpointNetworkName))?.containerIds ?? [])
      for (const id of containerIds) if (!joined.has(id)) await this.joinEndpoints(id)
    },

    leaveEndpoints: async (containerId) => engine.disconnectNetwork(taskEndpointNetworkName, containerId),

    async removeIdle(subnetIds) {
      const listed = await engine.listNetworks(subnetLabel)
      const kept = subnetIds()
      const idle = listed.filter((network) => {
        const isOurs = network.labels[labels.instanceArn] === madeBy
        return isOurs && network.containerIds.length === 0 && !kept.has(network.labels[subnetLabel] ?? '')
      })
      // One that somebody joined meanwhile stays.
      removal = Promise.allSettled(idle.map(async ({ id }) => engine.removeNetwork(id)))
      await removal
    },
  }
}

/** The Docker network of a subnet, as it is to be. */
export function networkSpecOf(subnet: PayloadNetwork, mtu: number | undefined, madeBy: string): NetworkSpec {
  const { subnetId, cidr, attachment, hostAddress } = subnet
  const marks = { [subnetLabel]: subnetId, [labels.instanceArn]: madeBy }
  const common = { name: networkNameOf(subnetId), cidr, labels: marks }
  const ofMtu = mtu === undefined ? {} : { 'com.docker.network.driver.mtu': String(mtu) }
  if (attachment.kind === 'macvlan') {
    const options = { parent: macvlanParentOf(subnet), macvlan_mode: 'bridge', ...ofMtu }
    return { ...common, driver: 'macvlan', internal: subnet.gateway === undefined, gateway: subnet.gateway, options }
  }
  const options = { 'com.docker.network.bridge.name': bridgeNameOf(subnetId), ...ofMtu }
  if (attachment.kind === 'bridge') {
    return { ...common, driver: 'bridge', internal: subnet.gateway === undefined, gateway: subnet.gateway, options }
  }
  if (hostAddress === undefined) {
    throw new EngineError('refused', `The controller reserved no address for this host in subnet ${subnetId}.`)
  }
  // All hosts' bridges are one network, so each has an address of its own there, and is the way out for its tasks.
  return { ...common, driver: 'bridge', internal: false, gateway: hostAddress, options }
}

async function ensureNetwork(
  engine: NetworkEngine,
  host: HostInterfaces,
  subnet: PayloadNetwork,
  madeBy: string,
): Promise<void> {
  await host.check(subnet)
  const wanted = networkSpecOf(subnet, await host.mtuOf(subnet), madeBy)
  const found = await engine.inspectNetwork(wanted.name)
  const differences = found === undefined ? [] : differencesOf(wanted, found)
  if (found !== undefined && differences.length === 0) return
  if (found !== undefined) await removeOutdated(engine, found, differences)
  await host.checkBlock(subnet)
  try {
    await engine.createNetwork(wanted)
  } catch (error) {
    if (!(error instanceof EngineError) || error.retryable) throw error
    throw new EngineError('refused', `${error.message}${adviceOn(error.message, subnet)}`, { cause: error })
  }
}

/** Made from an older description of the subnet, or by an older agent; whoever is in it keeps what he has. */
async function removeOutdated(
  engine: NetworkEngine,
  { id, name, containerIds }: ObservedNetwork,
  differences: readonly string[],
): Promise<void> {
  if (containerIds.length > 0) {
    const count = containerIds.length === 1 ? 'a container runs' : `${containerIds.length} containers run`
    throw new EngineError(
      'refused',
      `Docker's network ${name} is not as the subnet is described now (${differences.join('; ')}), and ${count} in it. ` +
        'Stop the tasks that were started before the subnet changed, and it is made anew.',
    )
  }
  await engine.removeNetwork(id)
}

function differencesOf(wanted: NetworkSpec, found: ObservedNetwork): readonly string[] {
  const differences: string[] = []
  const compare = (what: string, is: string | undefined, want: string | undefined): void => {
    if (is !== want) differences.push(`${what} is ${is ?? 'none'}, not ${want ?? 'none'}`)
  }
  compare('driver', found.driver, wanted.driver)
  compare('CIDR', found.cidr, wanted.cidr)
  // Docker chooses one where none is given.
  if (wanted.gateway !== undefined) compare('gateway', found.gateway, wanted.gateway)
  compare('internal', String(found.internal), String(wanted.internal))
  for (const [name, value] of Object.entries(wanted.options)) compare(name, found.options[name], value)
  return differences
}

function adviceOn(message: string, { attachment, cidr }: PayloadNetwork): string {
  if (/already using parent interface/.test(message)) {
    return '. An engine has one macvlan network for each parent interface: remove the other one, or give the subnet a VLAN.'
  }
  if (/overlaps with/.test(message)) {
    return `. Another network of this engine has addresses of ${cidr}: remove it, or give the subnet another CIDR.`
  }
  if (/device or resource busy/.test(message)) {
    return '. The parent interface is a port of a bridge, or has children of another kind.'
  }
  if (/vlan link/.test(message) && attachment.kind === 'macvlan') {
    return `. The kernel of this host must have VLANs (module 8021q) for ${macvlanParentOf({ attachment } as PayloadNetwork)}.`
  }
  return ''
}

function conflict({ subnet, address }: TaskNetwork, stranger: string): EngineError {
  const { attachment, subnetId } = subnet
  const where = attachment.kind === 'macvlan' ? ` on ${macvlanParentOf(subnet)}` : ''
  return new EngineError(
    'refused',
    `address ${address} is in use${where} by ${stranger}, which is none of Gantry's. ` +
      `Give that device another address, or take ${address} out of the range of subnet ${subnetId}.`,
  )
}
