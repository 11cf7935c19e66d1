/** Docker's inspect document, read into the few facts that the agent decides by. */
import { EngineError } from './engine.ts'
import type { ContainerDetails, ObservedContainer, ObservedPort } from './engine.ts'

/** What the telemetry channel takes of a health check's output. Source: amazon-ecs-agent, docker/types. */
const healthOutputBytesMax = 1024

/** The members read here, of the engine's `GET /containers/{id}/json`. */
export interface InspectedContainer {
  readonly Id: string
  readonly Name: string
  readonly Created: string
  readonly Image: string
  readonly Config: {
    readonly Image: string
    readonly Tty: boolean
    readonly Labels?: Readonly<Record<string, string>> | null
  }
  readonly State: {
    readonly Status: string
    readonly ExitCode: number
    readonly StartedAt: string
    readonly FinishedAt: string
    readonly OOMKilled: boolean
    readonly Error?: string
    readonly Pid?: number
    readonly Health?: { readonly Status: string; readonly Log?: readonly HealthRun[] | null } | null
  }
  readonly HostConfig: {
    readonly NetworkMode?: string
    readonly Memory?: number
    readonly CgroupParent?: string
    readonly LogConfig?: { readonly Type?: string; readonly Config?: Readonly<Record<string, string>> | null }
  }
  readonly NetworkSettings?: {
    readonly Ports?: PortMap | null
    readonly Networks?: Readonly<Record<string, InspectedAddress | null>> | null
  }
  readonly Mounts?:
    | readonly { readonly Name?: string; readonly Source?: string; readonly Destination?: string }[]
    | null
}

interface HealthRun {
  readonly Output: string
  readonly ExitCode?: number
  readonly End?: string
}

interface InspectedAddress {
  readonly IPAddress?: string
  readonly GlobalIPv6Address?: string
  readonly MacAddress?: string
}

type PortMap = Readonly<Record<string, readonly { readonly HostIp?: string; readonly HostPort?: string }[] | null>>

export function observedContainer(inspected: InspectedContainer): ObservedContainer {
  const { State: state, Config: config } = inspected
  const status = statusOf(state.Status)
  return {
    id: inspected.Id,
    name: nameOf(inspected.Name),
    image: config.Image,
    imageId: inspected.Image,
    labels: config.Labels ?? {},
    status,
    // Docker leaves 0, or the code of the run before, on a container that has no end of its own.
    exitCode: status === 'exited' || status === 'dead' ? state.ExitCode : undefined,
    createdAt: instantOf(inspected.Created),
    startedAt: instantOf(state.StartedAt),
    finishedAt: status === 'running' ? undefined : instantOf(state.FinishedAt),
    oomKilled: state.OOMKilled,
    memoryLimitBytes: inspected.HostConfig.Memory ?? 0,
    error: state.Error ?? '',
    health: healthOf(state.Health),
    ports: portsOf(inspected.NetworkSettings?.Ports),
    networkMode: inspected.HostConfig.NetworkMode ?? '',
    details: detailsOf(inspected),
  }
}

function detailsOf({ State: state, HostConfig: host, NetworkSettings: settings, Mounts: mounts }: InspectedContainer) {
  const lastCheck = state.Health?.Log?.at(-1)
  const details: ContainerDetails = {
    pid: state.Pid ?? 0,
    cgroupParent: host.CgroupParent ?? '',
    networks: Object.entries(settings?.Networks ?? {}).map(([network, address]) => ({
      network,
      ipv4: address?.IPAddress ?? '',
      ipv6: address?.GlobalIPv6Address ?? '',
      mac: address?.MacAddress ?? '',
    })),
    // In Docker's own document they stand in any order.
    mounts: (mounts ?? [])
      .map(({ Name: name = '', Source: source = '', Destination: destination = '' }) => ({ name, source, destination }))
      .toSorted((a, b) => (a.destination < b.destination ? -1 : 1)),
    logDriver: host.LogConfig?.Type ?? '',
    logOptions: host.LogConfig?.Config ?? {},
    healthCheckedAt: instantOf(lastCheck?.End),
    healthExitCode: lastCheck?.ExitCode,
  }
  return details
}

/** Docker leads a container's name with a slash. */
export function nameOf(dockerName: string): string {
  return dockerName.replace(/^\//, '')
}

function statusOf(text: string): ObservedContainer['status'] {
  switch (text) {
    case 'created':
    case 'running':
    case 'paused':
    case 'restarting':
    case 'removing':
    case 'exited':
    case 'dead':
      return text
    default:
      // Of this container nothing may be concluded; the others are not held up by it.
      throw new EngineError('refused', `Docker reports a container status that this agent does not know: ${text}`)
  }
}

/** Docker writes year 1 for "has not happened". */
function instantOf(text: string | undefined): number | undefined {
  if (text === undefined || text === '' || text.startsWith('0001-')) return undefined
  const instant = Date.parse(text)
  return Number.isNaN(instant) ? undefined : instant
}

function healthOf(health: InspectedContainer['State']['Health']): ObservedContainer['health'] {
  if (health === undefined || health === null || health.Status === 'none') return undefined
  const status = health.Status === 'healthy' ? 'HEALTHY' : health.Status === 'unhealthy' ? 'UNHEALTHY' : 'UNKNOWN'
  const output = health.Log?.at(-1)?.Output ?? ''
  return { status, output: Buffer.from(output).subarray(0, healthOutputBytesMax).toString() }
}

function portsOf(ports: PortMap | null | undefined): readonly ObservedPort[] {
  const observed: ObservedPort[] = []
  for (const [key, bindings] of Object.entries(ports ?? {})) {
    const [port, protocol] = key.split('/')
    if (protocol !== 'tcp' && protocol !== 'udp') continue
    for (const binding of bindings ?? []) {
      const hostPort = Number(binding.HostPort)
      if (!Number.isInteger(hostPort) || hostPort === 0) continue
      observed.push({ containerPort: Number(port), protocol, hostIp: binding.HostIp ?? '', hostPort })
    }
  }
  return observed
}
