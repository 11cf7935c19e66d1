/** Host ports: which to take for a container in bridge mode, and what Docker's published ports are called in ECS. */
import type { PayloadContainer, PayloadPortMapping } from '../../proto/acs.ts'
import type { NetworkBinding } from '../../proto/model/types.ts'
import type { ObservedPort } from '../engine.ts'
import type { HostPort } from './view.ts'

export interface PortRange {
  readonly first: number
  readonly last: number
}

/** Ports of this host that may not be picked, per protocol. */
export interface PortsInUse {
  readonly tcp: ReadonlySet<number>
  readonly udp: ReadonlySet<number>
}

export type PortChoice =
  | { readonly hostPorts: readonly HostPort[]; readonly refusal?: undefined }
  | { readonly refusal: string }

const portMax = 65535

/**
 * The host ports of one container in bridge mode. A static port is taken as it is; the others come from the dynamic
 * range, upwards from `searchFrom` and around, so that a port just given back is not the next one given out.
 * A range of container ports gets as many host ports in a row.
 */
export function chooseHostPorts(
  mappings: readonly PayloadPortMapping[],
  range: PortRange,
  inUse: PortsInUse,
  searchFrom: number = range.first,
): PortChoice {
  const taken = { tcp: new Set(inUse.tcp), udp: new Set(inUse.udp) }
  for (const { hostPort, protocol } of mappings) if (hostPort) taken[protocol].add(hostPort)
  const hostPorts: HostPort[] = []
  for (const mapping of mappings) {
    const { protocol } = mapping
    const ports = containerPortsOf(mapping)
    if (ports === undefined) {
      return { refusal: `"${mapping.containerPortRange}" is no range of container ports, such as 8000-8010.` }
    }
    const first = mapping.hostPort || firstFree(ports.length, range, taken[protocol], searchFrom)
    if (first === undefined) {
      return {
        refusal:
          `No ${ports.length === 1 ? 'host port' : `${ports.length} host ports in a row`} for ${protocol} free in the ` +
          `dynamic range ${range.first}-${range.last}. Widen ECS_DYNAMIC_HOST_PORT_RANGE or stop other tasks.`,
      }
    }
    for (const [index, containerPort] of ports.entries()) {
      taken[protocol].add(first + index)
      hostPorts.push({ containerPort, protocol, hostPort: first + index, picked: !mapping.hostPort })
    }
  }
  return { hostPorts }
}

/** The host ports that a container's definition itself names, in any network mode. */
export function staticHostPorts(container: PayloadContainer, networkMode: string): readonly HostPort[] {
  // A task with an address of its own takes no port of its host's.
  if (networkMode === 'awsvpc') return []
  return container.portMappings.flatMap((mapping) => {
    const hostPort = networkMode === 'host' ? (mapping.hostPort ?? mapping.containerPort) : mapping.hostPort
    if (!hostPort) return []
    return [{ containerPort: mapping.containerPort ?? hostPort, protocol: mapping.protocol, hostPort, picked: false }]
  })
}

/** The container ports that a mapping names; undefined where it names a range that is none. */
export function containerPortsOf(mapping: PayloadPortMapping): readonly number[] | undefined {
  if (mapping.containerPortRange === undefined) {
    return mapping.containerPort === undefined ? undefined : [mapping.containerPort]
  }
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(mapping.containerPortRange)
  const first = Number(match?.[1])
  const last = Number(match?.[2])
  if (match === null || first < 1 || last < first || last > portMax) return undefined
  return Array.from({ length: last - first + 1 }, (_, index) => first + index)
}

/**
 * What Docker published, in ECS's form. IPv6 bindings are left out, as the official agent does by default; the ports of
 * a `containerPortRange` are one binding for each address.
 */
export function networkBindings(
  mappings: readonly PayloadPortMapping[],
  observed: readonly ObservedPort[],
): readonly NetworkBinding[] {
  const ports = observed
    .filter(({ hostIp }) => !hostIp.includes(':'))
    .toSorted((a, b) => a.containerPort - b.containerPort || (a.protocol < b.protocol ? -1 : 1))
  const ranges = mappings.filter(({ containerPortRange }) => containerPortRange !== undefined)
  const bindings: NetworkBinding[] = []
  const collapsed = new Set<ObservedPort>()
  for (const range of ranges) {
    const wanted = new Set(containerPortsOf(range))
    const members = ports.filter((port) => port.protocol === range.protocol && wanted.has(port.containerPort))
    const first = members[0]
    const last = members.at(-1)
    if (first === undefined || last === undefined) continue
    for (const member of members) collapsed.add(member)
    bindings.push({
      bindIP: first.hostIp,
      containerPortRange: `${first.containerPort}-${last.containerPort}`,
      hostPortRange: `${first.hostPort}-${last.hostPort}`,
      protocol: range.protocol,
    })
  }
  for (const port of ports) {
    if (collapsed.has(port)) continue
    const { hostIp, containerPort, hostPort, protocol } = port
    bindings.push({ bindIP: hostIp === '' ? '0.0.0.0' : hostIp, containerPort, hostPort, protocol })
  }
  return bindings
}

function firstFree(
  count: number,
  range: PortRange,
  taken: ReadonlySet<number>,
  searchFrom: number,
): number | undefined {
  const start = searchFrom >= range.first && searchFrom <= range.last ? searchFrom : range.first
  return firstFreeBetween(start, range.last, count, taken) ?? firstFreeBetween(range.first, range.last, count, taken)
}

function firstFreeBetween(first: number, last: number, count: number, taken: ReadonlySet<number>): number | undefined {
  let free = 0
  for (let port = first; port <= last; port += 1) {
    free = taken.has(port) ? 0 : free + 1
    if (free === count) return port - count + 1
  }
  return undefined
}
