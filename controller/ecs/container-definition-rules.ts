/**
 * ECS's rules for one container definition; see task-definition-rules.ts. Each refusal is a ClientException that names
 * the container and the member.
 */
import { clientError } from '../../proto/errors.ts'
import { awslogsProblem } from '../../proto/log-options.ts'
import type { ContainerDefinition, TaskDefinition } from '../../proto/model/types.ts'
import { checkFetched } from './fetched-rules.ts'

/** The smallest limit that a Docker Engine 20.10 or newer takes. */
export const memoryMiBMin = 6

const ignoredExitCodesMax = 50

/** Bounds of a member: both ends included. */
interface Bounds {
  readonly min: number
  readonly max: number
}

const cpuUnits: Bounds = { min: 0, max: 196_608 }
const startTimeoutSecondsMin = 2
const restartAttemptPeriodSeconds: Bounds = { min: 60, max: 1800 }
const healthCheckBounds = {
  interval: { min: 5, max: 300 },
  timeout: { min: 2, max: 60 },
  retries: { min: 1, max: 10 },
  startPeriod: { min: 0, max: 300 },
} as const

export function checkContainer(container: ContainerDefinition, definition: TaskDefinition): void {
  checkCpu(container)
  checkMemory(container, definition.memory)
  checkTimeouts(container)
  checkHealthCheck(container)
  checkRestartPolicy(container)
  checkEnvironment(container)
  checkFetched(container)
  checkLog(container)
  checkLimits(container)
  checkNetworkMembers(container, definition.networkMode)
  checkSystemControls(container, definition)
  checkSecurityOptions(container)
  checkLinuxParameters(container, definition.memory)
  checkResourceRequirements(container)
}

function invalid(container: ContainerDefinition, member: string, rule: string): Error {
  return clientError(`Invalid '${member}' setting for container '${container.name ?? ''}'. ${rule}`)
}

function isOutside(value: number | undefined, bounds: Bounds): boolean {
  return value !== undefined && (!Number.isInteger(value) || value < bounds.min || value > bounds.max)
}

function checkCpu(container: ContainerDefinition): void {
  if (isOutside(container.cpu, cpuUnits)) {
    throw invalid(container, 'cpu', `It takes ${cpuUnits.min} to ${cpuUnits.max} CPU units.`)
  }
}

function checkMemory(container: ContainerDefinition, taskMemory: string | undefined): void {
  const { name = '', memory, memoryReservation } = container
  for (const [member, value] of [
    ['memory', memory],
    ['memoryReservation', memoryReservation],
  ] as const) {
    if (isOutside(value, { min: memoryMiBMin, max: Number.MAX_SAFE_INTEGER })) {
      throw invalid(container, member, `It takes ${memoryMiBMin} MiB or more, and is ${value ?? ''}.`)
    }
  }
  if (memory === undefined && memoryReservation === undefined && taskMemory === undefined) {
    throw clientError(
      `Invalid setting for container '${name}'. At least one of 'memory' or 'memoryReservation' must be specified.`,
    )
  }
  if (memory !== undefined && memoryReservation !== undefined && memoryReservation > memory) {
    throw clientError(`Invalid setting for container '${name}'. 'memory' must be greater than 'memoryReservation'.`)
  }
  if (memory !== undefined && taskMemory !== undefined && memory > Number(taskMemory)) {
    throw invalid(container, 'memory', `It cannot be greater than the task's 'memory', ${taskMemory} MiB.`)
  }
}

function checkTimeouts(container: ContainerDefinition): void {
  const { name = '', startTimeout, stopTimeout } = container
  if (startTimeout !== undefined && startTimeout < startTimeoutSecondsMin) {
    throw clientError(
      `Granular start timeout on container '${name}' must be at least ${startTimeoutSecondsMin} seconds.`,
    )
  }
  if (stopTimeout !== undefined && stopTimeout < 0) {
    throw invalid(container, 'stopTimeout', 'It takes 0 seconds or more.')
  }
}

function checkHealthCheck(container: ContainerDefinition): void {
  const check = container.healthCheck
  if (check === undefined) return
  const [kind, ...words] = check.command ?? []
  if (kind === undefined) throw invalid(container, 'healthCheck.command', 'It should not be null or empty.')
  if (kind === 'NONE' ? words.length > 0 : (kind === 'CMD' || kind === 'CMD-SHELL') && words.length === 0) {
    throw invalid(
      container,
      'healthCheck.command',
      `${kind} is followed by ${kind === 'NONE' ? 'nothing' : 'a command'}.`,
    )
  }
  for (const member of ['interval', 'timeout', 'retries', 'startPeriod'] as const) {
    const bounds = healthCheckBounds[member]
    if (isOutside(check[member], bounds)) {
      throw invalid(container, `healthCheck.${member}`, `It takes ${bounds.min} to ${bounds.max}.`)
    }
  }
}

function checkRestartPolicy(container: ContainerDefinition): void {
  const policy = container.restartPolicy
  if (policy === undefined) return
  if (isOutside(policy.restartAttemptPeriod, restartAttemptPeriodSeconds)) {
    const { min, max } = restartAttemptPeriodSeconds
    throw invalid(container, 'restartPolicy.restartAttemptPeriod', `It takes ${min} to ${max} seconds.`)
  }
  const codes = policy.ignoredExitCodes ?? []
  if (codes.length > ignoredExitCodesMax) {
    throw invalid(container, 'restartPolicy.ignoredExitCodes', `It takes at most ${ignoredExitCodesMax} codes.`)
  }
  if (codes.some((code) => isOutside(code, { min: 0, max: 255 }))) {
    throw invalid(container, 'restartPolicy.ignoredExitCodes', 'Each is a whole number from 0 to 255.')
  }
}

function checkEnvironment(container: ContainerDefinition): void {
  for (const { name } of container.environment ?? []) {
    if (name === undefined || name === '') {
      throw invalid(container, 'environment', 'The name of a variable should not be null or empty.')
    }
    if (/[=\0]/.test(name)) {
      throw invalid(container, 'environment', `The name '${name}' holds a character that no variable can have.`)
    }
  }
}

const awslogsModes = ['blocking', 'non-blocking']

function checkLog(container: ContainerDefinition): void {
  const log = container.logConfiguration
  if (log === undefined) return
  const options = log.options ?? {}
  if (log.logDriver === 'awslogs' && !(options['awslogs-region'] && options['awslogs-group'])) {
    throw clientError('Log driver awslogs requires options: awslogs-region, awslogs-group')
  }
  const problem = log.logDriver === 'awslogs' ? awslogsProblem(options) : undefined
  if (problem !== undefined) throw invalid(container, 'logConfiguration.options', problem)
  if (options.mode !== undefined && !awslogsModes.includes(options.mode)) {
    throw invalid(container, 'logConfiguration.options.mode', `It takes ${awslogsModes.join(' or ')}.`)
  }
}

function checkLimits(container: ContainerDefinition): void {
  const names = new Set<string>()
  for (const { name = '', softLimit = 0, hardLimit = 0 } of container.ulimits ?? []) {
    if (names.has(name)) throw invalid(container, 'ulimits', `Limit '${name}' is given more than once.`)
    names.add(name)
    // -1 is 'unlimited' to the kernel.
    if (hardLimit !== -1 && (softLimit > hardLimit || softLimit === -1)) {
      throw invalid(container, 'ulimits', `The soft limit of '${name}' cannot be greater than its hard limit.`)
    }
  }
  for (const { namespace, value } of container.systemControls ?? []) {
    if (!namespace || !value) {
      throw invalid(container, 'systemControls', 'Both namespace and value should not be null or empty.')
    }
  }
}

/** What belongs to the network: where that is the host's or another's, the container can't change it. */
function checkNetworkMembers(container: ContainerDefinition, networkMode: TaskDefinition['networkMode']): void {
  const isAwsvpc = networkMode === 'awsvpc'
  if (isAwsvpc && container.hostname !== undefined) {
    throw invalid(container, 'hostname', 'It is not supported when networkMode=awsvpc.')
  }
  const hosts = container.extraHosts ?? []
  if (isAwsvpc && hosts.length > 0) {
    throw invalid(container, 'extraHosts', 'It is not supported when networkMode=awsvpc.')
  }
  if (hosts.some((host) => !host.hostname || !host.ipAddress)) {
    throw invalid(container, 'extraHosts', 'Both hostname and ipAddress should not be null or empty.')
  }
  for (const member of ['dnsServers', 'dnsSearchDomains'] as const) {
    if (isAwsvpc && (container[member] ?? []).length > 0) {
      throw invalid(container, member, 'It is not supported when networkMode=awsvpc.')
    }
  }
}

/** Settings of the kernel that belong to shared memory and message queues. */
const ipcControl = /^(?:kernel\.(?:msg|sem|shm)|fs\.mqueue\.)/

/** Where a namespace is the host's, its settings are the host's as well, and no container changes them. */
function checkSystemControls(container: ContainerDefinition, { networkMode, ipcMode }: TaskDefinition): void {
  for (const { namespace = '' } of container.systemControls ?? []) {
    if (networkMode === 'host' && namespace.startsWith('net.')) {
      throw invalid(container, 'systemControls', "Namespaces of 'net.*' are not supported when networkMode=host.")
    }
    if (ipcMode === 'host' && ipcControl.test(namespace)) {
      throw invalid(container, 'systemControls', `'${namespace}' is not supported when ipcMode=host.`)
    }
  }
}

function checkSecurityOptions(container: ContainerDefinition): void {
  if ((container.dockerSecurityOptions ?? []).some((option) => option.startsWith('credentialspec'))) {
    throw invalid(
      container,
      'dockerSecurityOptions',
      'credentialspec is for Windows containers, and all hosts run Linux.',
    )
  }
}

function checkLinuxParameters(container: ContainerDefinition, taskMemory: string | undefined): void {
  const linux = container.linuxParameters
  if (linux === undefined) return
  if (isOutside(linux.swappiness, { min: 0, max: 100 })) {
    throw invalid(container, 'linuxParameters.swappiness', 'It takes 0 to 100.')
  }
  if (linux.maxSwap !== undefined && linux.maxSwap < 0) {
    throw invalid(container, 'linuxParameters.maxSwap', 'It takes 0 MiB or more.')
  }
  if (linux.maxSwap !== undefined && container.memory === undefined && taskMemory === undefined) {
    throw invalid(container, 'linuxParameters.maxSwap', "It needs a limit of 'memory', to which the swap is added.")
  }
  if (linux.sharedMemorySize !== undefined && linux.sharedMemorySize <= 0) {
    throw invalid(container, 'linuxParameters.sharedMemorySize', 'It takes 1 MiB or more.')
  }
  for (const { containerPath = '', size = 0 } of linux.tmpfs ?? []) {
    if (!containerPath.startsWith('/')) {
      throw invalid(container, 'linuxParameters.tmpfs', `containerPath '${containerPath}' is not an absolute path.`)
    }
    if (size <= 0) throw invalid(container, 'linuxParameters.tmpfs', 'The size takes 1 MiB or more.')
  }
  if ((linux.devices ?? []).some((device) => !device.hostPath?.startsWith('/'))) {
    throw invalid(container, 'linuxParameters.devices', 'Each hostPath is an absolute path.')
  }
}

function checkResourceRequirements(container: ContainerDefinition): void {
  const problem = resourceProblem(container.resourceRequirements)
  if (problem !== undefined) throw invalid(container, 'resourceRequirements', problem)
}

/** What is wrong with what a container asks for beside CPU and memory: whole GPUs are all that there is. */
export function resourceProblem(requirements: ContainerDefinition['resourceRequirements']): string | undefined {
  if ((requirements ?? []).length > 1) return 'It takes one requirement, the number of GPUs.'
  for (const { type, value, sharingStrategy } of requirements ?? []) {
    if (type !== 'GPU') return `${type ?? ''} is not available here: only GPU is.`
    if (!/^[1-9]\d{0,2}$/.test(value ?? '')) return `The number of GPUs is a whole number, and is '${value ?? ''}'.`
    if (sharingStrategy !== undefined) return 'sharingStrategy is not available here: a GPU belongs to one container.'
  }
  return undefined
}
