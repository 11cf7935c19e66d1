/**
 * What a task takes of an instance and what an instance has left: the sums that placement, Describe answers and the
 * invariants share, so that nothing is ever given out twice.
 */
import type { ContainerDefinition, ContainerOverride, PortMapping, TaskOverride } from '../../proto/model/types.ts'
import type { InstanceRow, ReservedResources, TaskContainer, TaskDefinitionRow, TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { freeGpuIds, taskGpus } from './gpus.ts'
import { parseCpuUnits, parseMemoryMiB } from './task-size.ts'

export interface Capacity {
  readonly cpuUnits: number
  readonly memoryMiB: number
}

export interface InstanceResources {
  readonly registered: Capacity
  /** Negative where an instance registered again with less than its tasks hold. */
  readonly remaining: Capacity
  /** Reserved by ECS or Gantry, held by the host's own programs, or given to a live task. */
  readonly usedTcpPorts: ReadonlySet<number>
  readonly usedUdpPorts: ReadonlySet<number>
  /** Dynamic host ports that the instance's agent is still to choose and report. */
  readonly dynamicPortsAwaited: number
  /** GPUs that no live task holds. */
  readonly freeGpuIds: readonly string[]
  /** Network interfaces of their own that live tasks have. */
  readonly networkInterfaces: number
}

/**
 * TCP ports that no task ever gets: SSH, Docker's two, the agent's introspection and credentials endpoints (as ECS
 * reserves them), and the controller's own two, since a controller and an agent may share a machine.
 */
export const reservedTcpPorts: readonly number[] = [22, 2375, 2376, 51678, 51679, 51700, 51443]

/** What `instance` registered, and what its live tasks, its host and the reserved ports leave of it. */
export function instanceResources(reader: Reader, instance: InstanceRow): InstanceResources {
  return resourcesLeft(instance, reader.find('task', 'liveByInstance', instance.instanceId))
}

/** The last sums of each row: a placement looks at every instance, and hardly any has changed since the one before. */
const summed = new WeakMap<InstanceRow, { readonly tasks: readonly TaskRow[]; readonly resources: InstanceResources }>()

/** The same where the instance's live tasks are at hand. */
export function resourcesLeft(instance: InstanceRow, liveTasks: readonly TaskRow[]): InstanceResources {
  const known = summed.get(instance)
  // Rows and lists of rows are never changed in place, so the same ones have the same sums.
  if (known?.tasks === liveTasks) return known.resources
  const resources = sumsOf(instance, liveTasks)
  summed.set(instance, { tasks: liveTasks, resources })
  return resources
}

/** The same, from what was summed before for the same instance: where few tasks came and went, only those are counted. */
export function resourcesSince(
  before: { readonly instance: InstanceRow; readonly tasks: readonly TaskRow[]; readonly resources: InstanceResources },
  instance: InstanceRow,
  liveTasks: readonly TaskRow[],
): InstanceResources {
  if (!offersTheSame(before.instance, instance)) return resourcesLeft(instance, liveTasks)
  const tasksBefore = before.tasks
  let first = 0
  while (first < liveTasks.length && tasksBefore[first] === liveTasks[first]) first += 1
  let tail = 0
  const shorter = Math.min(tasksBefore.length, liveTasks.length) - first
  while (tail < shorter && tasksBefore.at(-1 - tail) === liveTasks.at(-1 - tail)) tail += 1
  const gone = tasksBefore.slice(first, tasksBefore.length - tail)
  const come = liveTasks.slice(first, liveTasks.length - tail)
  if ([...gone, ...come].some(holdsMoreThanSizes)) return resourcesLeft(instance, liveTasks)
  let { cpuUnits, memoryMiB } = before.resources.remaining
  for (const { reserved } of gone) {
    cpuUnits += reserved.cpuUnits
    memoryMiB += reserved.memoryMiB
  }
  for (const { reserved } of come) {
    cpuUnits -= reserved.cpuUnits
    memoryMiB -= reserved.memoryMiB
  }
  return { ...before.resources, remaining: { cpuUnits, memoryMiB } }
}

function offersTheSame(before: InstanceRow, after: InstanceRow): boolean {
  return (
    before.registeredResources === after.registeredResources &&
    before.hostTcpPorts === after.hostTcpPorts &&
    before.hostUdpPorts === after.hostUdpPorts
  )
}

function holdsMoreThanSizes({ reserved, containers }: TaskRow): boolean {
  return (
    (reserved.gpus ?? 0) > 0 ||
    (reserved.networkInterfaces ?? 0) > 0 ||
    reserved.dynamicPortsAwaited > 0 ||
    reserved.tcpPorts.length > 0 ||
    reserved.udpPorts.length > 0 ||
    containers.some(({ networkBindings }) => networkBindings !== undefined && networkBindings.length > 0)
  )
}

/** What is left once a task that takes `reserved` has been given out as well. */
export function resourcesAfter(resources: InstanceResources, reserved: ReservedResources): InstanceResources {
  const { remaining, usedTcpPorts, usedUdpPorts, dynamicPortsAwaited, freeGpuIds: freeIds } = resources
  return {
    ...resources,
    remaining: {
      cpuUnits: remaining.cpuUnits - reserved.cpuUnits,
      memoryMiB: remaining.memoryMiB - reserved.memoryMiB,
    },
    usedTcpPorts: reserved.tcpPorts.length === 0 ? usedTcpPorts : new Set([...usedTcpPorts, ...reserved.tcpPorts]),
    usedUdpPorts: reserved.udpPorts.length === 0 ? usedUdpPorts : new Set([...usedUdpPorts, ...reserved.udpPorts]),
    dynamicPortsAwaited: dynamicPortsAwaited + reserved.dynamicPortsAwaited,
    freeGpuIds: reserved.gpus === undefined ? freeIds : freeIds.slice(reserved.gpus),
    networkInterfaces: resources.networkInterfaces + (reserved.networkInterfaces ?? 0),
  }
}

function sumsOf(instance: InstanceRow, liveTasks: readonly TaskRow[]): InstanceResources {
  const registered = registeredCapacity(instance)
  const usedTcpPorts = new Set([...reservedTcpPorts, ...registeredPorts(instance, 'PORTS'), ...instance.hostTcpPorts])
  const usedUdpPorts = new Set([...registeredPorts(instance, 'PORTS_UDP'), ...instance.hostUdpPorts])
  let { cpuUnits, memoryMiB } = registered
  let dynamicPortsAwaited = 0
  let networkInterfaces = 0
  for (const task of liveTasks) {
    networkInterfaces += task.reserved.networkInterfaces ?? 0
    cpuUnits -= task.reserved.cpuUnits
    memoryMiB -= task.reserved.memoryMiB
    dynamicPortsAwaited += task.reserved.dynamicPortsAwaited
    for (const port of task.reserved.tcpPorts) usedTcpPorts.add(port)
    for (const port of task.reserved.udpPorts) usedUdpPorts.add(port)
    for (const container of task.containers) addBoundPorts(container, usedTcpPorts, usedUdpPorts)
  }
  const remaining = { cpuUnits, memoryMiB }
  const freeIds = freeGpuIds(instance, liveTasks)
  const ports = { usedTcpPorts, usedUdpPorts, dynamicPortsAwaited }
  return { registered, remaining, ...ports, freeGpuIds: freeIds, networkInterfaces }
}

/**
 * What a task of `definition` takes of its instance, by ECS's rules: the task's own CPU and memory where it names them,
 * else the sum over its containers, where a container's memoryReservation counts before its memory. In `host` mode a
 * container port is a host port; in `bridge` mode (the default) a mapping without a host port awaits a dynamic one;
 * `none` and `awsvpc` take no port of the host.
 *
 * Source: AWS documentation, "Task definition parameters", task size, memoryReservation and hostPort.
 */
export function taskDemand(definition: TaskDefinitionRow, overrides: TaskOverride | undefined): ReservedResources {
  const ofContainers = containerSums(definition.containerDefinitions, overrides?.containerOverrides ?? [])
  const gpus = taskGpus(definition, overrides)
  return {
    cpuUnits: sizeOf(overrides?.cpu ?? definition.cpu, parseCpuUnits) ?? ofContainers.cpuUnits,
    memoryMiB: sizeOf(overrides?.memory ?? definition.memory, parseMemoryMiB) ?? ofContainers.memoryMiB,
    ...portDemand(definition),
    ...(gpus === 0 ? {} : { gpus }),
    ...(definition.networkMode === 'awsvpc' && { networkInterfaces: 1 }),
  }
}

/** First and last port of a `containerPortRange` or `hostPortRange` such as `8000-8010`; undefined for other text. */
function parsePortRange(text: string): { readonly first: number; readonly last: number } | undefined {
  const match = /^([0-9]{1,5})-([0-9]{1,5})$/.exec(text)
  if (match === null) return undefined
  const first = Number(match[1])
  const last = Number(match[2])
  return first >= 1 && first <= last && last <= 65535 ? { first, last } : undefined
}

function registeredCapacity(instance: InstanceRow): Capacity {
  return { cpuUnits: registeredNumber(instance, 'CPU'), memoryMiB: registeredNumber(instance, 'MEMORY') }
}

function registeredNumber(instance: InstanceRow, name: string): number {
  const resource = instance.registeredResources.find((candidate) => candidate.name === name)
  return resource?.integerValue ?? resource?.longValue ?? resource?.doubleValue ?? 0
}

function registeredPorts(instance: InstanceRow, name: string): readonly number[] {
  const resource = instance.registeredResources.find((candidate) => candidate.name === name)
  return (resource?.stringSetValue ?? []).map(Number).filter(isPort)
}

function addBoundPorts(container: TaskContainer, tcpPorts: Set<number>, udpPorts: Set<number>): void {
  for (const binding of container.networkBindings ?? []) {
    const ports = binding.protocol === 'udp' ? udpPorts : tcpPorts
    if (binding.hostPort !== undefined && isPort(binding.hostPort)) ports.add(binding.hostPort)
    const range = binding.hostPortRange === undefined ? undefined : parsePortRange(binding.hostPortRange)
    if (range === undefined) continue
    for (let port = range.first; port <= range.last; port += 1) ports.add(port)
  }
}

function containerSums(definitions: readonly ContainerDefinition[], overrides: readonly ContainerOverride[]): Capacity {
  let cpuUnits = 0
  let memoryMiB = 0
  for (const definition of definitions) {
    const override = overrides.find((candidate) => candidate.name === definition.name)
    cpuUnits += override?.cpu ?? definition.cpu ?? 0
    const reservation = override?.memoryReservation ?? definition.memoryReservation
    memoryMiB += reservation ?? override?.memory ?? definition.memory ?? 0
  }
  return { cpuUnits, memoryMiB }
}

function portDemand(definition: TaskDefinitionRow): Omit<ReservedResources, 'cpuUnits' | 'memoryMiB' | 'gpus'> {
  const tcpPorts = new Set<number>()
  const udpPorts = new Set<number>()
  let dynamicPortsAwaited = 0
  const networkMode = definition.networkMode ?? 'bridge'
  if (networkMode === 'bridge' || networkMode === 'host') {
    for (const mapping of definition.containerDefinitions.flatMap((container) => container.portMappings ?? [])) {
      const wanted = networkMode === 'host' ? staticPorts(mapping) : bridgePorts(mapping)
      for (const port of wanted.ports) (mapping.protocol === 'udp' ? udpPorts : tcpPorts).add(port)
      dynamicPortsAwaited += wanted.dynamic
    }
  }
  return { tcpPorts: [...tcpPorts], udpPorts: [...udpPorts], dynamicPortsAwaited }
}

interface WantedPorts {
  readonly ports: readonly number[]
  readonly dynamic: number
}

function bridgePorts(mapping: PortMapping): WantedPorts {
  const range = mapping.containerPortRange === undefined ? undefined : parsePortRange(mapping.containerPortRange)
  if (range !== undefined) return { ports: [], dynamic: range.last - range.first + 1 }
  if (mapping.hostPort === undefined || mapping.hostPort === 0) return { ports: [], dynamic: 1 }
  return { ports: [mapping.hostPort], dynamic: 0 }
}

function staticPorts(mapping: PortMapping): WantedPorts {
  const range = mapping.containerPortRange === undefined ? undefined : parsePortRange(mapping.containerPortRange)
  if (range === undefined) {
    const port = mapping.containerPort ?? mapping.hostPort
    return { ports: port === undefined ? [] : [port], dynamic: 0 }
  }
  return { ports: Array.from({ length: range.last - range.first + 1 }, (_, index) => range.first + index), dynamic: 0 }
}

function sizeOf(text: string | undefined, parse: (text: string) => number | undefined): number | undefined {
  return text === undefined ? undefined : parse(text)
}

function isPort(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 65535
}
