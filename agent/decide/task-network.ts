/**
 * The network of a task with an address of its own (network mode awsvpc): a pause container holds it, with the IP and
 * the MAC address that the controller gave, and the task's containers join that one's namespace. The Docker network of
 * the subnet, and what the host needs to reach its tasks, are made before the pause container is.
 *
 * Source: amazon-ecs-agent 1.105.1, `agent/api/task/task.go` (addNetworkResourceProvisioningDependencyAwsvpc,
 * overrideDNS), `agent/engine/docker_task_engine.go` (createContainer).
 */
import type { PayloadContainer, PayloadNetwork, PayloadNetworkInterface, PayloadTask } from '../../proto/acs.ts'
import type { CreateBody } from '../engine.ts'
import { internalNames } from './internal-containers.ts'
import type { TaskFacts } from './view.ts'

/** Kept on the pause container, so that an agent without a journal knows what it finds. */
export const taskNetworkLabel = 'gantry.task-network'

/** A task's place in its subnet. */
export interface TaskNetwork {
  readonly subnet: PayloadNetwork
  readonly address: string
  readonly macAddress: string
}

type Members = Readonly<Record<string, unknown>>

const hostnameCharactersMax = 63
const pauseStopTimeoutSeconds = 2
/** It needs nothing of what a container may do, and writes nothing. */
const pauseHostConfig = {
  LogConfig: { Type: 'none' },
  ReadonlyRootfs: true,
  CapDrop: ['ALL'],
  SecurityOpt: ['no-new-privileges'],
}

/** The name of the Docker network that a subnet's tasks are in. */
export function networkNameOf(subnetId: string): string {
  return `gantry-${subnetId}`
}

/** Undefined for tasks without an address of their own. */
export function taskNetworkOf(task: PayloadTask): TaskNetwork | undefined {
  const subnet = task.gantry?.network
  if (task.networkMode !== 'awsvpc' || !isSubnet(subnet)) return undefined
  const interfaces: unknown = task.elasticNetworkInterfaces
  const place = placeOf(Array.isArray(interfaces) ? interfaces[0] : undefined)
  return place === undefined ? undefined : { subnet, ...place }
}

/** What an adopted pause container says of its task's payload; nothing where it says nothing. */
export function networkFromLabel(text: string | undefined): Pick<PayloadTask, 'elasticNetworkInterfaces' | 'gantry'> {
  const { subnet, own } = parsedMembers(text ?? '')
  if (!isSubnet(subnet) || placeOf(own) === undefined) return {}
  return {
    elasticNetworkInterfaces: [own as PayloadNetworkInterface],
    gantry: { knownStatus: '', network: subnet },
  }
}

/** Why a task of mode awsvpc cannot be given its network, as far as its payload tells. */
export function taskNetworkProblem(task: PayloadTask): string | undefined {
  if (task.networkMode !== 'awsvpc' || taskNetworkOf(task) !== undefined) return undefined
  return (
    'The payload of a task with network mode awsvpc names no interface or no subnet. ' +
    'Make a subnet with POST /v1/subnets, and name it in networkConfiguration.'
  )
}

/** The container that holds the task's network; undefined where it has none of its own. `image` is the agent's own. */
export function networkPause(task: PayloadTask, image: string): PayloadContainer | undefined {
  if (taskNetworkOf(task) === undefined) return undefined
  return {
    name: internalNames.CNI_PAUSE,
    internal: 'CNI_PAUSE',
    containerArn: '',
    image,
    essential: true,
    cpu: 0,
    memory: 0,
    environment: {},
    links: [],
    mountPoints: [],
    portMappings: [],
    volumesFrom: [],
    stopTimeout: pauseStopTimeoutSeconds,
    dockerConfig: { version: '', config: '{}', hostConfig: JSON.stringify(pauseHostConfig) },
    overrides: '{}',
  }
}

/**
 * The create body of a container of a task with its own network. The pause container takes all that is the network's; the
 * others join it and lose what Docker refuses beside that: a name, ports, links, DNS and settings of the network.
 */
export function withTaskNetwork(
  task: PayloadTask,
  container: PayloadContainer,
  facts: TaskFacts,
  body: CreateBody,
): CreateBody {
  const network = taskNetworkOf(task)
  if (network === undefined || container.internal === 'NAMESPACE_PAUSE') return body
  if (container.internal === 'CNI_PAUSE') return pauseBody(task, network, body)
  const { Hostname: _hostname, Domainname: _domainname, ExposedPorts: _ports, ...joined } = body
  const { MacAddress: _mac, NetworkingConfig: _networking, HostConfig: hostConfig, ...kept } = joined
  const { Dns: _dns, DnsSearch: _search, DnsOptions: _options, ExtraHosts: _hosts, ...rest } = membersOf(hostConfig)
  const { Links: _links, PortBindings: _bindings, PublishAllPorts: _publish, Sysctls: sysctls, ...host } = rest
  const own = Object.entries(membersOf(sysctls)).filter(([name]) => !isOfNetwork(name))
  const pauseId = facts.containers[internalNames.CNI_PAUSE]?.dockerId ?? ''
  return {
    ...kept,
    HostConfig: {
      ...host,
      NetworkMode: `container:${pauseId}`,
      ...(own.length > 0 ? { Sysctls: Object.fromEntries(own) } : {}),
    },
  }
}

function pauseBody(task: PayloadTask, network: TaskNetwork, body: CreateBody): CreateBody {
  const { subnet, address, macAddress } = network
  const [own] = task.elasticNetworkInterfaces ?? []
  const shared = sharedSettings(task)
  const name = networkNameOf(subnet.subnetId)
  const dns = [...new Set([...shared.dns, ...(own?.domainNameServers ?? [])])]
  const dnsSearch = [...new Set([...shared.dnsSearch, ...(own?.domainName ?? [])])]
  return {
    ...body,
    Hostname: hostnameOf(own?.privateDnsName, address),
    // Engines before API 1.44 read the first, later ones the endpoint's own.
    MacAddress: macAddress,
    NetworkingConfig: {
      EndpointsConfig: { [name]: { IPAMConfig: { IPv4Address: address }, MacAddress: macAddress } },
    },
    Labels: { ...membersOf(body['Labels']), [taskNetworkLabel]: JSON.stringify({ subnet, own }) },
    HostConfig: {
      ...membersOf(body['HostConfig']),
      NetworkMode: name,
      Dns: dns,
      DnsSearch: dnsSearch,
      ExtraHosts: shared.extraHosts,
      Sysctls: shared.sysctls,
    },
  }
}

/** What containers ask of the network that they share: of a setting that several name, the last one's counts. */
function sharedSettings(task: PayloadTask) {
  const hostConfigs = task.containers.map(({ dockerConfig }) => parsedMembers(dockerConfig.hostConfig))
  const listOf = (member: string): readonly string[] => [
    ...new Set(hostConfigs.flatMap((hostConfig) => textsIn(hostConfig[member]))),
  ]
  const sysctls = hostConfigs.flatMap((hostConfig) => Object.entries(membersOf(hostConfig['Sysctls'])))
  return {
    dns: listOf('Dns'),
    dnsSearch: listOf('DnsSearch'),
    extraHosts: listOf('ExtraHosts'),
    sysctls: Object.fromEntries(sysctls.filter(([name]) => isOfNetwork(name))),
  }
}

function isOfNetwork(sysctl: string): boolean {
  return sysctl.startsWith('net.')
}

/** The kernel takes 64 characters and Docker 63; a longer name loses its domain. */
function hostnameOf(privateDnsName: string | undefined, address: string): string {
  const name =
    privateDnsName === undefined || privateDnsName === '' ? `ip-${address.replaceAll('.', '-')}` : privateDnsName
  return name.length <= hostnameCharactersMax ? name : (name.split('.')[0] ?? '').slice(0, hostnameCharactersMax)
}

/** Read with care: nothing has looked at the members of the message, or at the label, before. */
function placeOf(own: unknown): Pick<TaskNetwork, 'address' | 'macAddress'> | undefined {
  const { ipv4Addresses, macAddress } = membersOf(own)
  const addresses = Array.isArray(ipv4Addresses) ? ipv4Addresses.map(membersOf) : []
  const { privateAddress: address } = addresses.find(({ primary }) => primary === true) ?? addresses[0] ?? {}
  return typeof address === 'string' && typeof macAddress === 'string' ? { address, macAddress } : undefined
}

function isSubnet(value: unknown): value is PayloadNetwork {
  const { subnetId, cidr, attachment } = membersOf(value)
  return typeof subnetId === 'string' && typeof cidr === 'string' && typeof membersOf(attachment)['kind'] === 'string'
}

function parsedMembers(text: string): Members {
  try {
    return membersOf(JSON.parse(text))
  } catch {
    // Refused as malformed when it came.
    return {}
  }
}

function membersOf(value: unknown): Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : {}
}

function textsIn(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : []
}
