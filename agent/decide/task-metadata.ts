/**
 * A task and its containers as the task metadata endpoint shows them, in the official agent's forms: v2 and v3 are the
 * same, v4 says more. What is not known is left out, as the official agent does; internal containers never show.
 *
 * Source: amazon-ecs-agent 1.105, `ecs-agent/tmds/handlers/v2`, `v4/state`; AWS documentation, "Amazon ECS task metadata
 * endpoint version 4".
 */
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import type { ObservedContainer, ObservedPort } from '../engine.ts'
import { mergedConfigs } from './container.ts'
import { cpuShares } from './container-limits.ts'
import { shownLabels } from './endpoint-environment.ts'
import { definedContainers } from './internal-containers.ts'
import type { ContainerFacts, TaskFacts } from './view.ts'

export interface MetadataTask {
  readonly payload: PayloadTask
  readonly facts: TaskFacts
  readonly observed: ReadonlyMap<string, ObservedContainer>
}

export interface MetadataHost {
  /** The cluster's name or ARN, as configured. */
  readonly cluster: string
  /** undefined where the operator wants none of it told. */
  readonly availabilityZone: string | undefined
}

export type MetadataVersion = 'v2' | 'v3' | 'v4'

const gibibyte = 1024

export function taskMetadata(task: MetadataTask, host: MetadataHost, version: MetadataVersion): Members {
  const { payload, facts } = task
  const reserved = payload.gantry?.ephemeralStorageGiB
  return defined({
    Cluster: host.cluster,
    TaskARN: payload.arn,
    Family: payload.family,
    Revision: payload.version,
    DesiredStatus: facts.desiredStatus,
    KnownStatus: knownTaskStatus(task),
    Limits: taskLimits(payload),
    PullStartedAt: instant(facts.pullStartedAt),
    PullStoppedAt: instant(facts.pullStoppedAt),
    ExecutionStoppedAt: instant(facts.executionStoppedAt),
    AvailabilityZone: host.availabilityZone,
    ...(version === 'v4'
      ? {
          LaunchType: payload.launchType === '' ? undefined : payload.launchType,
          ServiceName: payload.serviceName,
          Group: payload.group,
          EphemeralStorageMetrics: reserved === undefined ? undefined : { Reserved: reserved * gibibyte },
          FaultInjectionEnabled: false,
        }
      : {}),
    Containers: definedContainers(payload).map((container) => containerMetadata(task, container, version)),
  })
}

export function containerMetadata(task: MetadataTask, container: PayloadContainer, version: MetadataVersion): Members {
  const facts = task.facts.containers[container.name]
  const observed = task.observed.get(container.name)
  return defined({
    DockerId: facts?.dockerId ?? observed?.id ?? '',
    Name: container.name,
    DockerName: facts?.dockerName ?? observed?.name ?? '',
    Image: container.image,
    ImageID: observed?.imageId ?? '',
    Ports: filled(portsOf(task.payload, container, observed)),
    Labels: observed === undefined ? undefined : shownLabels(observed.labels),
    DesiredStatus: task.facts.desiredStatus,
    KnownStatus: knownContainerStatus(facts, observed),
    ExitCode: facts?.exitCode,
    Limits: defined({
      CPU: cpuShares(container.cpu),
      Memory: container.memory > 0 ? container.memory : undefined,
    }),
    CreatedAt: instant(observed?.createdAt),
    StartedAt: instant(observed?.startedAt ?? facts?.startedAt),
    FinishedAt: instant(facts?.finishedAt),
    Type: 'NORMAL',
    Health: healthOf(facts, observed),
    Volumes: filled(volumesOf(observed)),
    ...(version === 'v4'
      ? {
          ...logOf(task, container, observed),
          ContainerARN: container.containerArn === '' ? undefined : container.containerArn,
          RestartCount: restartCountOf(container, facts),
        }
      : {}),
    Networks: filled(networksOf(task, container, version)),
  })
}

/** Each network that the container is in: by the payload where the task has an address of its own, else as Docker has it. */
export function networksOf(
  { payload, observed }: MetadataTask,
  container: PayloadContainer,
  version: MetadataVersion,
): readonly Members[] {
  const [own] = payload.elasticNetworkInterfaces ?? []
  if (payload.networkMode === 'awsvpc' && own !== undefined) {
    const shown = { NetworkMode: 'awsvpc', IPv4Addresses: own.ipv4Addresses.map((one) => one.privateAddress) }
    if (version !== 'v4') return [shown]
    return [
      defined({
        ...shown,
        AttachmentIndex: own.index,
        MACAddress: own.macAddress,
        IPv4SubnetCIDRBlock: payload.gantry?.network?.cidr,
        DomainNameServers: filled(own.domainNameServers),
        DomainNameSearchList: filled(own.domainName),
        PrivateDNSName: own.privateDnsName,
        SubnetGatewayIpv4Address: own.subnetGatewayIpv4Address,
      }),
    ]
  }
  // The official agent's v2 is for tasks with addresses of their own alone.
  if (version === 'v2') return []
  return (observed.get(container.name)?.details?.networks ?? []).map(({ network, ipv4, ipv6 }) =>
    defined({
      NetworkMode: network,
      IPv4Addresses: ipv4 === '' ? [] : [ipv4],
      IPv6Addresses: ipv6 === '' ? undefined : [ipv6],
    }),
  )
}

export function volumesOf(observed: ObservedContainer | undefined): readonly Members[] {
  return (observed?.details?.mounts ?? []).map(({ name, source, destination }) =>
    defined({ DockerName: name === '' ? undefined : name, Source: source, Destination: destination }),
  )
}

export function shownPorts(ports: readonly ObservedPort[]): readonly Members[] {
  return ports.map(({ containerPort, hostPort, hostIp, protocol }) => ({
    ContainerPort: containerPort,
    Protocol: protocol,
    HostPort: hostPort,
    HostIp: hostIp,
  }))
}

/** How often the container was started again; undefined where nothing ever does that. */
export function restartCountOf(container: PayloadContainer, facts: ContainerFacts | undefined): number | undefined {
  return facts?.restartCount ?? (container.restartPolicy?.enabled === true ? 0 : undefined)
}

/** As ISO 8601, in UTC. */
export function instant(at: number | undefined): string | undefined {
  return at === undefined ? undefined : new Date(at).toISOString()
}

type Members = Readonly<Record<string, unknown>>

/** With an address of its own a task's ports are its own; else Docker says where they are published. */
function portsOf(
  payload: PayloadTask,
  container: PayloadContainer,
  observed: ObservedContainer | undefined,
): readonly Members[] {
  if (payload.networkMode === 'bridge') return shownPorts(observed?.ports ?? [])
  return container.portMappings.flatMap(({ containerPort, protocol }) =>
    containerPort === undefined ? [] : { ContainerPort: containerPort, Protocol: protocol, HostPort: containerPort },
  )
}

function taskLimits({ cpu, memory }: PayloadTask): Members | undefined {
  if (cpu === undefined && memory === undefined) return undefined
  return defined({ CPU: cpu, Memory: memory })
}

/** The official agent's ladder: what runs may ask before the answer to its start has come. */
const ladder = ['NONE', 'PULLED', 'CREATED', 'RUNNING', 'STOPPED'] as const

function knownContainerStatus(
  facts: ContainerFacts | undefined,
  observed: ObservedContainer | undefined,
): (typeof ladder)[number] {
  if (facts === undefined) return 'NONE'
  if (facts.knownStatus !== 'PENDING') return facts.knownStatus
  if (observed?.status === 'running') return 'RUNNING'
  if (facts.dockerId !== undefined) return 'CREATED'
  return facts.imageReady ? 'PULLED' : 'NONE'
}

function knownTaskStatus({ payload, facts, observed }: MetadataTask): string {
  if (facts.knownStatus !== 'PENDING') return facts.knownStatus
  const steps = payload.containers.map(({ name }) =>
    ladder.indexOf(knownContainerStatus(facts.containers[name], observed.get(name))),
  )
  // A container that ended keeps no task from having come as far as the others.
  return ladder[Math.min(ladder.indexOf('RUNNING'), ...steps)] ?? 'NONE'
}

function healthOf(facts: ContainerFacts | undefined, observed: ObservedContainer | undefined): Members | undefined {
  const health = observed?.health
  if (health === undefined) return undefined
  return defined({
    status: health.status,
    statusSince: instant(facts?.healthSince),
    exitCode: observed?.details?.healthExitCode,
    output: health.output === '' ? undefined : health.output,
  })
}

/** As its definition says; the agent itself may stand behind a driver of another name. */
function logOf({ facts }: MetadataTask, container: PayloadContainer, observed: ObservedContainer | undefined): Members {
  const given = mergedConfigs(container).hostConfig?.['LogConfig']
  const { Type: type, Config: options } = (given ?? {}) as { Type?: unknown; Config?: unknown }
  if (typeof type === 'string' && type !== '') return { LogDriver: type, LogOptions: options ?? {} }
  const details = observed?.details
  if (details === undefined) return {}
  // Docker's own hold secrets too, and without the definition nobody knows which.
  return { LogDriver: details.logDriver, LogOptions: facts.adopted ? {} : details.logOptions }
}

function defined(members: Members): Members {
  return Object.fromEntries(Object.entries(members).filter(([, value]) => value !== undefined))
}

function filled<T>(list: readonly T[]): readonly T[] | undefined {
  return list.length === 0 ? undefined : list
}
