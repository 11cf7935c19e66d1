/**
 * ECS's rules for port mappings, which differ with the network mode. Two mappings of one task must never want the same
 * port in the same place: that task could be placed nowhere.
 */
import { clientError } from '../../proto/errors.ts'
import type { ContainerDefinition, PortMapping, TaskDefinition } from '../../proto/model/types.ts'

type NetworkMode = TaskDefinition['networkMode']

const portMax = 65_535
const portMappingsMax = 100

export function checkPortMappings(containers: readonly ContainerDefinition[], networkMode: NetworkMode): void {
  const names = new Set<string>()
  const hostPorts = new Map<string, string>()
  for (const container of containers) {
    const mappings = container.portMappings ?? []
    if (mappings.length > 0 && networkMode === 'none') {
      throw clientError('Port mappings are not supported when networkMode=none.')
    }
    if (mappings.length > portMappingsMax) {
      throw invalid(container, 'portMappings', `It takes at most ${portMappingsMax} mappings.`)
    }
    for (const mapping of mappings) {
      checkMapping(container, mapping, networkMode)
      checkName(container, mapping, names)
      claimHostPorts(container, mapping, networkMode, hostPorts)
    }
  }
}

function invalid(container: ContainerDefinition, member: string, rule: string): Error {
  return clientError(`Invalid '${member}' setting for container '${container.name ?? ''}'. ${rule}`)
}

function checkMapping(container: ContainerDefinition, mapping: PortMapping, networkMode: NetworkMode): void {
  const { containerPort, hostPort, containerPortRange } = mapping
  if (containerPortRange !== undefined) return checkRange(container, mapping, networkMode)
  if (containerPort === undefined || containerPort < 1 || containerPort > portMax) {
    throw invalid(container, 'containerPort', `It takes 1 to ${portMax}, and is ${containerPort ?? 'absent'}.`)
  }
  if (hostPort !== undefined && (hostPort < 0 || hostPort > portMax)) {
    throw invalid(container, 'hostPort', `It takes 0 to ${portMax}, and is ${hostPort}.`)
  }
  if ((networkMode === 'awsvpc' || networkMode === 'host') && hostPort !== containerPort) {
    throw clientError(
      `When networkMode=${networkMode}, the host ports and container ports in port mappings must match.`,
    )
  }
}

function checkRange(container: ContainerDefinition, mapping: PortMapping, networkMode: NetworkMode): void {
  const range = parseRange(mapping.containerPortRange ?? '')
  if (range === undefined) {
    throw invalid(
      container,
      'containerPortRange',
      `It is 'first-last' with ports from 1 to ${portMax}, and is '${mapping.containerPortRange ?? ''}'.`,
    )
  }
  if (mapping.containerPort !== undefined || mapping.hostPort !== undefined) {
    throw invalid(container, 'containerPortRange', 'It stands alone, without containerPort and hostPort.')
  }
  if (networkMode === 'host') {
    throw invalid(container, 'containerPortRange', 'It is only supported when networkMode=bridge or awsvpc.')
  }
}

function parseRange(text: string): { first: number; last: number } | undefined {
  const match = /^(\d{1,5})-(\d{1,5})$/.exec(text)
  if (match === null) return undefined
  const [first, last] = [Number(match[1]), Number(match[2])]
  return first >= 1 && first <= last && last <= portMax ? { first, last } : undefined
}

function checkName(container: ContainerDefinition, { name }: PortMapping, names: Set<string>): void {
  if (name === undefined) return
  if (!/^[a-z0-9_][a-z0-9_-]{0,63}$/.test(name)) {
    throw invalid(
      container,
      'portMappings',
      `The name '${name}' takes up to 64 lower-case letters, digits, underscores and hyphens, not beginning with a hyphen.`,
    )
  }
  if (names.has(name)) throw invalid(container, 'portMappings', `The name '${name}' is used more than once.`)
  names.add(name)
}

/**
 * In bridge mode host ports are claimed, in awsvpc and host mode container ports, which are the same ones. A dynamic port
 * (0) never collides.
 */
function claimHostPorts(
  container: ContainerDefinition,
  mapping: PortMapping,
  networkMode: NetworkMode,
  claimed: Map<string, string>,
): void {
  const range = mapping.containerPortRange === undefined ? undefined : parseRange(mapping.containerPortRange)
  if (range !== undefined && networkMode !== 'awsvpc') return
  const first = range?.first ?? mapping.hostPort ?? 0
  if (first === 0) return
  for (let port = first; port <= (range?.last ?? first); port += 1) {
    const key = `${port}/${mapping.protocol ?? 'tcp'}`
    const holder = claimed.get(key)
    if (holder !== undefined) {
      throw invalid(container, 'portMappings', `Port ${key} is already mapped by container '${holder}'.`)
    }
    claimed.set(key, container.name ?? '')
  }
}
