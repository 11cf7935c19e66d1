/**
 * A payload's container as Docker's create body. The controller sends Docker's own `config` and `hostConfig`; the agent
 * lays them over the few members that it fills in itself, and forces its labels last.
 *
 * Source: amazon-ecs-agent 1.105.1, `agent/api/task/task.go` (dockerConfig, dockerHostConfig) and
 * `agent/engine/docker_task_engine.go` (createContainer).
 */
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import { stableHash } from '../../proto/hash.ts'
import { labels } from '../engine.ts'
import type { CreateBody } from '../engine.ts'
import { cpuShares, memoryBytes } from './container-limits.ts'
import { endpointEnvironment, metadataFile } from './endpoint-environment.ts'
import { containerPortsOf } from './network.ts'
import { taskHostConfig } from './task-host-config.ts'
import { withTaskNetwork } from './task-network.ts'
import type { HostPort, HostView, TaskFacts } from './view.ts'
import { dockerMounts } from './volume-mounts.ts'

const defaultLogConfig = { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '3' } }
/**
 * What Docker keeps of a container whose output the agent ships: the buffer while the controller is away or slow. Of the
 * drivers that can be read back json-file is taken: a burst is read from its files whole, also by the operator's tools.
 */
const shippedLogConfig = { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '5' } }

type Members = Readonly<Record<string, unknown>>

export interface MergedConfigs {
  readonly config?: Members
  readonly hostConfig?: Members
  readonly command?: readonly string[] | undefined
  readonly problem?: string
}

/** Reads the JSON strings of a payload's container; `problem` says which one cannot be read. */
export function mergedConfigs(container: PayloadContainer): MergedConfigs {
  const config = parseMembers(container.dockerConfig.config)
  if (config === undefined) return { problem: notJson(container, 'dockerConfig.config') }
  const hostConfig = parseMembers(container.dockerConfig.hostConfig)
  if (hostConfig === undefined) return { problem: notJson(container, 'dockerConfig.hostConfig') }
  const overrides = parseMembers(container.overrides)
  if (overrides === undefined) return { problem: notJson(container, 'overrides') }
  const stranger = Object.keys(overrides).find((key) => key !== 'command')
  if (stranger !== undefined) {
    return { problem: `Container ${container.name}: overrides may hold "command" alone, not "${stranger}".` }
  }
  const command = overrides['command']
  if (command !== undefined && command !== null && !isTexts(command)) {
    return { problem: `Container ${container.name}: overrides.command is no list of strings.` }
  }
  return { config, hostConfig, command: isTexts(command) ? command : container.command }
}

/** The log driver that the definition names; undefined where it names none. */
export function logDriverOf(container: PayloadContainer): string | undefined {
  const { hostConfig = {} } = mergedConfigs(container)
  const given = hostConfig['LogConfig']
  return isMembers(given) && typeof given['Type'] === 'string' ? given['Type'] : undefined
}

/** The name of a new container: `ecs-<family>-<version>-<container>-<20 hex>`, in Docker's alphabet. */
export function dockerNameOf(task: PayloadTask, objectName: string, hex20: string): string {
  const cleaned = objectName.replace(/[^A-Za-z0-9-]/g, '')
  return ['ecs', task.family, task.version, cleaned, hex20].filter((part) => part !== '').join('-')
}

/** Docker's create body of one container whose links and volumes have their Docker names already. */
export function createBody(
  task: PayloadTask,
  container: PayloadContainer,
  facts: TaskFacts,
  host: Pick<HostView, 'cluster' | 'containerInstanceArn' | 'taskCgroups' | 'endpoints'>,
): CreateBody {
  const { config = {}, hostConfig = {}, command } = mergedConfigs(container)
  const { hostPorts = [], endpointId, dockerName } = facts.containers[container.name] ?? {}
  const file = container.internal === undefined ? metadataFile(dockerName, host.endpoints) : undefined
  const told = container.internal === undefined ? toldTo(task, container, facts, host.endpoints) : {}
  const environment = { ...container.environment, ...told, ...file?.variable }
  const merged = mergeOver(baseConfig({ ...container, environment }, command), config)
  const hostMerged = mergeOver(baseHostConfig(task, container, facts, hostPorts), hostConfig)
  const body = {
    ...merged,
    Labels: {
      ...(isMembers(merged['Labels']) ? merged['Labels'] : {}),
      [labels.taskArn]: task.arn,
      [labels.containerName]: container.name,
      [labels.family]: task.family,
      [labels.version]: task.version,
      [labels.cluster]: host.cluster,
      [labels.instanceArn]: host.containerInstanceArn,
      ...(endpointId === undefined ? {} : { [labels.endpointId]: endpointId }),
      [labels.specHash]: stableHash(container),
    },
    HostConfig: {
      ...withLogConfig(file === undefined ? hostMerged : withBind(hostMerged, file.bind)),
      ...taskHostConfig(task, container, facts, host),
    },
  }
  return withTaskNetwork(task, container, facts, body)
}

function toldTo(
  task: PayloadTask,
  container: PayloadContainer,
  facts: TaskFacts,
  endpoints: HostView['endpoints'],
): Readonly<Record<string, string>> {
  return endpoints === undefined ? {} : endpointEnvironment(task, container, facts, endpoints)
}

function withBind(hostConfig: Members, bind: string): Members {
  const binds: unknown = hostConfig['Binds']
  return { ...hostConfig, Binds: [...(Array.isArray(binds) ? (binds as readonly unknown[]) : []), bind] }
}

function baseConfig(container: PayloadContainer, command: readonly string[] | undefined): Members {
  const exposed = container.portMappings.flatMap((mapping) =>
    (containerPortsOf(mapping) ?? []).map((port) => [`${port}/${mapping.protocol}`, {}] as const),
  )
  return {
    Image: container.image,
    ...(command !== undefined && command.length > 0 ? { Cmd: command } : {}),
    ...(container.entryPoint !== undefined && container.entryPoint.length > 0
      ? { Entrypoint: container.entryPoint }
      : {}),
    Env: Object.entries(container.environment).map(([name, value]) => `${name}=${value}`),
    ExposedPorts: Object.fromEntries(exposed),
  }
}

function baseHostConfig(
  task: PayloadTask,
  container: PayloadContainer,
  facts: TaskFacts,
  hostPorts: readonly HostPort[],
): Members {
  const dockerNameFor = (name: string): string => facts.containers[name]?.dockerName ?? name
  const links = container.links.map((link) => {
    const [name = '', alias = name] = link.split(':')
    return `${dockerNameFor(name)}:${alias}`
  })
  return {
    NetworkMode: task.networkMode,
    Links: links,
    ...dockerMounts(task, container, facts.volumes),
    VolumesFrom: container.volumesFrom.map(
      ({ sourceContainer, readOnly }) => `${dockerNameFor(sourceContainer)}${readOnly ? ':ro' : ''}`,
    ),
    PortBindings: task.networkMode === 'bridge' ? portBindings(hostPorts) : {},
    Memory: memoryBytes(container.memory),
    CpuShares: cpuShares(container.cpu),
  }
}

function portBindings(hostPorts: readonly HostPort[]): Members {
  const bindings: Record<string, { HostPort: string }[]> = {}
  for (const { containerPort, protocol, hostPort } of hostPorts) {
    const key = `${containerPort}/${protocol}`
    bindings[key] = [...(bindings[key] ?? []), { HostPort: String(hostPort) }]
  }
  return bindings
}

/** Logs that nobody limits fill the disk: json-file rotates unless the task definition says otherwise. */
function withLogConfig(hostConfig: Members): Members {
  const given = hostConfig['LogConfig']
  if (!isMembers(given) || typeof given['Type'] !== 'string' || given['Type'] === '') {
    return { ...hostConfig, LogConfig: defaultLogConfig }
  }
  const options = isMembers(given['Config']) ? given['Config'] : {}
  if (given['Type'] === 'awslogs') return { ...hostConfig, LogConfig: shippedLog(options) }
  if (options['mode'] !== 'non-blocking' || options['max-buffer-size'] !== undefined) return hostConfig
  return { ...hostConfig, LogConfig: { ...given, Config: { ...options, 'max-buffer-size': '10m' } } }
}

/** The agent itself ships to the log group; of the options only those for Docker's own queue are Docker's. */
function shippedLog(options: Members): Members {
  const { mode, 'max-buffer-size': size = '10m' } = options
  const queue = mode === 'non-blocking' ? { mode, 'max-buffer-size': size } : {}
  return { ...shippedLogConfig, Config: { ...shippedLogConfig.Config, ...queue } }
}

/** Lays `over` on `base` as Go's JSON decoder does: objects member by member, everything else replaced, null empties. */
function mergeOver(base: Members, over: Members): Members {
  const merged: Record<string, unknown> = { ...base }
  for (const [name, value] of Object.entries(over)) {
    const below = merged[name]
    if (value === null) delete merged[name]
    else merged[name] = isMembers(below) && isMembers(value) ? mergeOver(below, value) : value
  }
  return merged
}

function parseMembers(text: string): Members | undefined {
  try {
    const value: unknown = JSON.parse(text === '' ? '{}' : text)
    return isMembers(value) ? value : undefined
  } catch {
    return undefined
  }
}

function notJson(container: PayloadContainer, member: string): string {
  return `Container ${container.name}: ${member} is no JSON object.`
}

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isTexts(value: unknown): value is readonly string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}
