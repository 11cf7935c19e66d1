/**
 * Reading a task out of a payload: its structure, so that the rest may trust it, and what this agent cannot run. The
 * first is a malformed message, the second a refusal; both become a STOPPED task that says why.
 */
import type { PayloadContainer, PayloadTask, PayloadVolume } from '../../proto/acs.ts'
import { mergedConfigs } from './container.ts'
import { containerPortsOf } from './network.ts'
import { sharesNamespaces } from './task-host-config.ts'
import { taskNetworkProblem } from './task-network.ts'

export type ReadTask =
  | { readonly task: PayloadTask; readonly malformed?: undefined }
  /** `task` holds what could be read, with the ARN at least. */
  | { readonly task: PayloadTask; readonly malformed: string }

type Members = Readonly<Record<string, unknown>>

/** Undefined where there is not even an ARN to answer under. */
export function readPayloadTask(value: unknown): ReadTask | undefined {
  if (!isMembers(value) || typeof value['arn'] !== 'string' || value['arn'] === '') return undefined
  const containers = value['containers']
  // Credentials are kept elsewhere, in memory alone: from here on the task is journalled, logged and shown.
  const { roleCredentials: _role, executionRoleCredentials: _execution, ...kept } = value
  const task = {
    ...kept,
    taskClusterArn: textOf(value['taskClusterArn']),
    family: textOf(value['family']),
    version: textOf(value['version']),
    desiredStatus: value['desiredStatus'] === 'STOPPED' ? 'STOPPED' : 'RUNNING',
    networkMode: textOf(value['networkMode']) || 'bridge',
    launchType: textOf(value['launchType']),
    containers: Array.isArray(containers) ? containers.filter(isNamed).map(readContainer) : [],
    volumes: listOf(value['volumes']).filter(isNamed),
  } as unknown as PayloadTask
  const malformed = structureProblem(value, task)
  return malformed === undefined ? { task } : { task: { ...task, containers: [] }, malformed }
}

function structureProblem(value: Members, task: PayloadTask): string | undefined {
  if (value['desiredStatus'] !== 'RUNNING' && value['desiredStatus'] !== 'STOPPED') {
    return `desiredStatus is ${JSON.stringify(value['desiredStatus'])}; it must be RUNNING or STOPPED.`
  }
  if (!Array.isArray(value['containers']) || value['containers'].length === 0) return 'The task has no containers.'
  if (task.containers.length !== value['containers'].length) return 'A container has no name.'
  const names = task.containers.map(({ name }) => name)
  const twice = names.find((name, index) => names.indexOf(name) !== index)
  if (twice !== undefined) return `Two containers are named "${twice}".`
  for (const container of task.containers) {
    if (typeof container.image !== 'string' || container.image === '')
      return `Container ${container.name} has no image.`
    const configs = mergedConfigs(container)
    if (configs.problem !== undefined) return configs.problem
  }
  return undefined
}

function readContainer(value: Members): PayloadContainer {
  const dockerConfig = isMembers(value['dockerConfig']) ? value['dockerConfig'] : {}
  return {
    ...value,
    containerArn: textOf(value['containerArn']),
    essential: value['essential'] !== false,
    cpu: typeof value['cpu'] === 'number' ? value['cpu'] : 0,
    memory: typeof value['memory'] === 'number' ? value['memory'] : 0,
    command: textsOf(value['command']),
    entryPoint: textsOf(value['entryPoint']),
    environment: environmentOf(value['environment']),
    links: listOf(value['links']).filter((link) => typeof link === 'string'),
    mountPoints: listOf(value['mountPoints']).filter(isMembers),
    portMappings: listOf(value['portMappings'])
      .filter(isMembers)
      .map((mapping) => ({ ...mapping, protocol: mapping['protocol'] === 'udp' ? 'udp' : 'tcp' })),
    volumesFrom: listOf(value['volumesFrom']).filter(isMembers),
    dependsOn: listOf(value['dependsOn']).filter(isMembers),
    ...fetchedMembers(value),
    startTimeout: secondsOf(value['startTimeout']),
    stopTimeout: secondsOf(value['stopTimeout']),
    dockerConfig: {
      version: textOf(dockerConfig['version']),
      config: textOf(dockerConfig['config']) || '{}',
      hostConfig: textOf(dockerConfig['hostConfig']) || '{}',
    },
    overrides: textOf(value['overrides']) || '{}',
  } as unknown as PayloadContainer
}

/** Left out where there is nothing in them, so that a container without any is described as it always was. */
function fetchedMembers(value: Members): Members {
  const secrets = listOf(value['secrets']).filter(isMembers)
  const files = listOf(value['environmentFiles']).filter(isMembers)
  return {
    secrets: secrets.length === 0 ? undefined : secrets.map(readSecret),
    environmentFiles:
      files.length === 0 ? undefined : files.map((file) => ({ value: textOf(file['value']), type: 's3' })),
  }
}

function readSecret(secret: Members): Members {
  return {
    name: textOf(secret['name']),
    valueFrom: textOf(secret['valueFrom']),
    type: secret['type'],
    provider: secret['provider'] === 'asm' ? 'asm' : 'ssm',
    region: textOf(secret['region']),
    target: secret['target'] === 'LOG_DRIVER' ? 'LOG_DRIVER' : 'CONTAINER',
  }
}

/** Why this agent cannot run a well-formed task, in one sentence; undefined where it can. */
export function refusalOf(task: PayloadTask): string | undefined {
  if (!['bridge', 'host', 'none', 'awsvpc'].includes(task.networkMode)) {
    return `Network mode ${task.networkMode} is not supported by this agent; use awsvpc, bridge, host or none.`
  }
  const networkProblem = taskNetworkProblem(task)
  if (networkProblem !== undefined) return networkProblem
  if (sharesNamespaces(task) && !task.containers.some(({ internal }) => internal === 'NAMESPACE_PAUSE')) {
    return 'pidMode and ipcMode task need a pause container, which this host cannot run; its agent logged why.'
  }
  return (
    task.volumes.map((volume) => volumeProblem(task, volume)).find((problem) => problem !== undefined) ??
    task.containers.map((container) => containerProblem(task, container)).find((problem) => problem !== undefined) ??
    cycleProblem(task)
  )
}

function volumeProblem(task: PayloadTask, volume: PayloadVolume): string | undefined {
  const type = volume.type ?? 'host'
  if (type === 'host' || type === 'docker') return undefined
  if (type !== 'efs') {
    return `Volume ${volume.name} is of type ${String(type)}, which is not supported by this agent; use host, docker or efs.`
  }
  if (task.gantry?.fileSystems?.[volume.name] !== undefined) return undefined
  return (
    `ResourceInitializationError: the file system of volume ${volume.name} is not registered with the controller any ` +
    'more. Register a revision of the task definition with one that is on GET /v1/file-systems.'
  )
}

/** Members of ECS's model that change what a container is and that this agent does not know yet. */
const unsupportedMembers = ['firelensConfiguration', 'credentialSpecs'] as const

function containerProblem(task: PayloadTask, container: PayloadContainer): string | undefined {
  const known = new Set(task.containers.map(({ name }) => name))
  const given = container as unknown as Members
  for (const member of unsupportedMembers) {
    const value = given[member]
    if (isMembers(value) || (Array.isArray(value) && value.length > 0)) {
      return `Container ${container.name} has ${member}, which is not supported by this agent.`
    }
  }
  for (const { sourceVolume } of container.mountPoints) {
    if (!task.volumes.some(({ name }) => name === sourceVolume)) {
      return `HostConfigError: Invalid volume referenced: ${sourceVolume} (container ${container.name}).`
    }
  }
  const others = [
    ...container.links.map((link) => link.split(':')[0] ?? ''),
    ...container.volumesFrom.map(({ sourceContainer }) => sourceContainer),
    ...(container.dependsOn ?? []).map(({ containerName }) => containerName),
  ]
  const missing = others.find((name) => !known.has(name))
  if (missing !== undefined) return `Container ${container.name} refers to container ${missing}, which does not exist.`
  const range = container.portMappings.find((mapping) => containerPortsOf(mapping) === undefined)
  if (range !== undefined) return `Container ${container.name} has a port mapping without a container port.`
  return healthProblem(task, container)
}

function healthProblem(task: PayloadTask, container: PayloadContainer): string | undefined {
  for (const { containerName, condition } of container.dependsOn ?? []) {
    const dependency = task.containers.find(({ name }) => name === containerName)
    if (condition !== 'HEALTHY' || dependency === undefined) continue
    const { config } = mergedConfigs(dependency)
    if (config?.['Healthcheck'] === undefined) {
      return `Container ${container.name} waits for ${containerName} to be HEALTHY, which has no health check.`
    }
  }
  return undefined
}

function cycleProblem(task: PayloadTask): string | undefined {
  const open = new Map(task.containers.map((container) => [container.name, namesBefore(container)]))
  for (let before = -1; open.size > 0 && open.size !== before; ) {
    before = open.size
    for (const [name, needs] of open) if (needs.every((need) => !open.has(need))) open.delete(name)
  }
  return open.size === 0 ? undefined : `Task dependencies cannot be resolved, taskArn: ${task.arn}`
}

/** The containers that must be there before this one: dependsOn, links and volumesFrom. */
export function namesBefore(container: PayloadContainer): readonly string[] {
  return [
    ...(container.dependsOn ?? []).map(({ containerName }) => containerName),
    ...container.links.map((link) => link.split(':')[0] ?? ''),
    ...container.volumesFrom.map(({ sourceContainer }) => sourceContainer),
  ]
}

function isMembers(value: unknown): value is Members {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isNamed(value: unknown): value is Members & { readonly name: string } {
  return isMembers(value) && typeof value['name'] === 'string' && value['name'] !== ''
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** Undefined where it is absent or no list of texts: an image's own command then stands. */
function textsOf(value: unknown): readonly string[] | undefined {
  return Array.isArray(value) && value.every((item) => typeof item === 'string') ? value : undefined
}

function environmentOf(value: unknown): Readonly<Record<string, string>> {
  if (!isMembers(value)) return {}
  return Object.fromEntries(Object.entries(value).map(([name, text]) => [name, textOf(text)]))
}

function secondsOf(value: unknown): number | undefined {
  return typeof value === 'number' && value >= 0 ? value : undefined
}

function textOf(value: unknown): string {
  if (typeof value === 'number') return String(value)
  return typeof value === 'string' ? value : ''
}
