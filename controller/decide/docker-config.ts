/**
 * A container definition in Docker's own words: the `config` and `hostConfig` of a create request. The agent, ours or the
 * official one, merges them over the few members it sets itself (command, environment, ports, volumes, memory limit), so
 * those are not here. A member that the definition doesn't give is left out, for the image or the engine to decide.
 *
 * Sources: Docker Engine API 1.41, ContainerCreate; the ECS API reference, which names the Docker member of each parameter.
 */
import type { ContainerDefinition, TaskDefinition } from '../../proto/model/types.ts'
import type { TaskRow } from '../state/tables.ts'

const bytesPerMiB = 1024 * 1024
const nanosecondsPerSecond = 1_000_000_000

/** What a container may use of memory, after the task's overrides. MiB; undefined is no limit. */
export interface ContainerMemory {
  readonly memory: number | undefined
  readonly memoryReservation: number | undefined
}

export function dockerConfig(container: ContainerDefinition): Record<string, unknown> {
  return given({
    Labels: filled(container.dockerLabels),
    Healthcheck: dockerHealthcheck(container.healthCheck),
    User: container.user,
    WorkingDir: container.workingDirectory,
    Hostname: container.hostname,
    Tty: container.pseudoTerminal,
    OpenStdin: container.interactive,
    NetworkDisabled: container.disableNetworking,
  })
}

export function dockerHostConfig(
  container: ContainerDefinition,
  networkMode: TaskDefinition['networkMode'],
  memory: ContainerMemory,
  logDriverMode: TaskRow['logDriverMode'],
): Record<string, unknown> {
  const linux = container.linuxParameters
  return given({
    // Both lists are always there, as ECS sends them.
    CapAdd: linux?.capabilities?.add ?? [],
    CapDrop: linux?.capabilities?.drop ?? [],
    NetworkMode: networkMode ?? 'bridge',
    MemoryReservation: bytes(memory.memoryReservation),
    Privileged: container.privileged,
    ReadonlyRootfs: container.readonlyRootFilesystem,
    Dns: filled(container.dnsServers),
    DnsSearch: filled(container.dnsSearchDomains),
    ExtraHosts: filled(container.extraHosts?.map((host) => `${host.hostname}:${host.ipAddress}`)),
    SecurityOpt: filled(container.dockerSecurityOptions),
    Ulimits: filled(
      container.ulimits?.map((limit) => ({ Name: limit.name, Soft: limit.softLimit, Hard: limit.hardLimit })),
    ),
    Sysctls: filled(
      Object.fromEntries((container.systemControls ?? []).map((control) => [control.namespace, control.value])),
    ),
    LogConfig: dockerLogConfig(container.logConfiguration, logDriverMode),
    Devices: filled(linux?.devices?.map(dockerDevice)),
    Init: linux?.initProcessEnabled,
    ShmSize: bytes(linux?.sharedMemorySize),
    Tmpfs: filled(Object.fromEntries((linux?.tmpfs ?? []).map((tmpfs) => [tmpfs.containerPath, tmpfsOptions(tmpfs)]))),
    ...dockerSwap(linux, memory.memory),
  })
}

function dockerHealthcheck(check: ContainerDefinition['healthCheck']): Record<string, unknown> | undefined {
  if (check === undefined) return undefined
  return given({
    Test: check.command,
    Interval: nanoseconds(check.interval ?? 30),
    Timeout: nanoseconds(check.timeout ?? 5),
    Retries: check.retries ?? 3,
    StartPeriod: check.startPeriod === undefined ? undefined : nanoseconds(check.startPeriod),
  })
}

/**
 * Absent where the definition names no driver: the agent then rotates json-file logs. The account's mode is for a
 * definition that names a driver and no mode of its own; the buffer's size is left to the agent.
 */
function dockerLogConfig(
  log: ContainerDefinition['logConfiguration'],
  logDriverMode: 'non-blocking' | undefined,
): Record<string, unknown> | undefined {
  if (log === undefined) return undefined
  const options = log.options ?? {}
  const takesMode = logDriverMode === 'non-blocking' && options['mode'] === undefined
  return { Type: log.logDriver, Config: takesMode ? { ...options, mode: logDriverMode } : options }
}

type LinuxParameters = NonNullable<ContainerDefinition['linuxParameters']>
type Device = NonNullable<LinuxParameters['devices']>[number]
type Tmpfs = NonNullable<LinuxParameters['tmpfs']>[number]

const devicePermissions = { read: 'r', write: 'w', mknod: 'm' } as const

function dockerDevice(device: Device): Record<string, unknown> {
  const permissions = device.permissions ?? []
  return {
    PathOnHost: device.hostPath,
    PathInContainer: device.containerPath ?? device.hostPath,
    CgroupPermissions:
      permissions.length === 0 ? 'rwm' : permissions.map((permission) => devicePermissions[permission]).join(''),
  }
}

function tmpfsOptions(tmpfs: Tmpfs): string {
  return [...(tmpfs.mountOptions ?? []), `size=${tmpfs.size ?? 0}m`].join(',')
}

/** Docker's limit is of memory and swap together. Without maxSwap ECS ignores swappiness, and the engine's own rule holds. */
function dockerSwap(linux: LinuxParameters | undefined, memoryMiB: number | undefined): Record<string, unknown> {
  if (linux?.maxSwap === undefined || memoryMiB === undefined) return {}
  return { MemorySwap: bytes(memoryMiB + linux.maxSwap), MemorySwappiness: linux.swappiness }
}

function bytes(mebibytes: number | undefined): number | undefined {
  return mebibytes === undefined ? undefined : mebibytes * bytesPerMiB
}

function nanoseconds(seconds: number): number {
  return seconds * nanosecondsPerSecond
}

function filled<T extends object>(value: T | undefined): T | undefined {
  return value === undefined || Object.keys(value).length === 0 ? undefined : value
}

function given(members: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))
}
