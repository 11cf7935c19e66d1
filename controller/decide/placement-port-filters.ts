/**
 * The filters on host ports. A static port is refused where it is reserved, held by the host's own programs or by a live
 * task; and, inside the range from which the agent picks dynamic ports, as long as the agent still has ports to pick.
 */
import type { Candidate, PlacementRequest } from './placement-candidates.ts'
import { count, definePlacementFilter, listed, type PlacementFilter, shareOf } from './placement-filter.ts'
import { reservedTcpPorts, taskDemand } from './resources.ts'

const tcpPorts = definePlacementFilter({
  name: 'tcpPorts',
  reason: 'RESOURCE:PORTS',
  take: (request) => nonEmpty(demandOf(request).tcpPorts),
  judge: (want, { resources }) => !want.some((port) => resources.usedTcpPorts.has(port)),
  explain: (want, failed) => {
    const taken = want.filter((port) => failed.some(({ resources }) => resources.usedTcpPorts.has(port)))
    const reserved = taken.filter((port) => reservedTcpPorts.includes(port))
    const aside = reserved.length === 0 ? '' : `; ${listed(reserved)} never given to tasks`
    return portsInUse('TCP', taken, failed.length, aside)
  },
})

const udpPorts = definePlacementFilter({
  name: 'udpPorts',
  reason: 'RESOURCE:PORTS',
  take: (request) => nonEmpty(demandOf(request).udpPorts),
  judge: (want, { resources }) => !want.some((port) => resources.usedUdpPorts.has(port)),
  explain: (want, failed) => {
    const taken = want.filter((port) => failed.some(({ resources }) => resources.usedUdpPorts.has(port)))
    return portsInUse('UDP', taken, failed.length, '')
  },
})

const awaitedPorts = definePlacementFilter({
  name: 'awaitedPorts',
  reason: 'RESOURCE:PORTS',
  take: (request) => {
    const { tcpPorts: tcp, udpPorts: udp } = demandOf(request)
    return nonEmpty([...new Set([...tcp, ...udp])])
  },
  judge: (want, candidate) =>
    candidate.resources.dynamicPortsAwaited === 0 || portsInRange(want, candidate).length === 0,
  explain: (want, failed) => {
    const ports = [...new Set(failed.flatMap((candidate) => portsInRange(want, candidate)))]
    const noun = ports.length === 1 ? 'port' : 'ports'
    const why = `(${noun} ${listed(ports)} in the dynamic range, which the agent may be taking right now: try again in a moment)`
    return count(failed.length, `awaits dynamic ports ${why}`, `await dynamic ports ${why}`)
  },
})

const dynamicPorts = definePlacementFilter({
  name: 'dynamicPorts',
  reason: 'RESOURCE:PORTS',
  take: (request) => {
    const demand = demandOf(request)
    if (demand.dynamicPortsAwaited === 0) return undefined
    return { dynamic: demand.dynamicPortsAwaited, fixed: [...new Set([...demand.tcpPorts, ...demand.udpPorts])] }
  },
  judge: (want, candidate) => want.dynamic <= freeDynamicPorts(candidate, want.fixed),
  explain: (want, failed) => {
    const most = Math.max(...failed.map((candidate) => freeDynamicPorts(candidate, want.fixed)))
    const numbers = `(want ${want.dynamic}, most free ${Math.max(0, most)})`
    return count(failed.length, `lacks dynamic ports ${numbers}`, `lack dynamic ports ${numbers}`)
  },
  shortfall: (want, candidate) => shareOf(want.dynamic, freeDynamicPorts(candidate, want.fixed)),
})

export const portFilters: readonly PlacementFilter[] = [tcpPorts, udpPorts, awaitedPorts, dynamicPorts]

function demandOf(request: PlacementRequest): ReturnType<typeof taskDemand> {
  return taskDemand(request.definition, request.overrides)
}

function portsInUse(protocol: string, ports: readonly number[], failed: number, aside: string): string {
  const what = `${protocol} ${ports.length === 1 ? 'port' : 'ports'} ${listed(ports)} in use${aside}`
  return count(failed, `has ${what}`, `have ${what}`)
}

function portsInRange(ports: readonly number[], { instance }: Candidate): readonly number[] {
  const { first, last } = instance.dynamicPorts
  return ports.filter((port) => port >= first && port <= last)
}

/**
 * Ports of the agent's range that nothing holds for either protocol and no earlier task awaits. The agent picks one port
 * whatever its protocol, so a port that is taken for one counts as taken for both.
 */
function freeDynamicPorts({ instance, resources }: Candidate, alsoTaken: readonly number[]): number {
  const { first, last } = instance.dynamicPorts
  const taken = new Set<number>()
  for (const ports of [resources.usedTcpPorts, resources.usedUdpPorts, alsoTaken]) {
    for (const port of ports) if (port >= first && port <= last) taken.add(port)
  }
  return last - first + 1 - taken.size - resources.dynamicPortsAwaited
}

function nonEmpty<T>(items: readonly T[]): readonly T[] | undefined {
  return items.length === 0 ? undefined : items
}
