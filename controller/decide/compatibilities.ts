/**
 * Which launch types a task definition can run on, and for those that it can't, the reason in ECS's words.
 * Source: the ECS developer guide, "Task definition differences" for Fargate, external and managed instances.
 */
import type { ContainerDefinition, TaskDefinition } from '../../proto/model/types.ts'
import { ecrRegistryOf } from './requires-attributes.ts'
import { isFargateSize } from './task-size.ts'

type Compatibility = NonNullable<TaskDefinition['compatibilities']>[number]

/**
 * In ECS's order. MANAGED_INSTANCES is named only where the definition asks for it: ECS validates against it on request,
 * and there are none here.
 */
export function compatibilities(definition: TaskDefinition): Compatibility[] {
  const asksForManaged = definition.requiresCompatibilities?.includes('MANAGED_INSTANCES') === true
  return [
    ...(externalProblem(definition) === undefined ? (['EXTERNAL'] as const) : []),
    'EC2',
    ...(fargateProblem(definition) === undefined ? (['FARGATE'] as const) : []),
    ...(asksForManaged && managedInstancesProblem(definition) === undefined ? (['MANAGED_INSTANCES'] as const) : []),
  ]
}

/** Why the definition can't have a launch type that it requires; undefined where it can. */
export function compatibilityProblem(definition: TaskDefinition): string | undefined {
  const problems = { EC2: () => undefined, EXTERNAL: externalProblem, FARGATE: fargateProblem }
  for (const required of definition.requiresCompatibilities ?? []) {
    const problem = required === 'MANAGED_INSTANCES' ? managedInstancesProblem : problems[required]
    const found = problem(definition)
    if (found !== undefined) return found
  }
  return undefined
}

function externalProblem(definition: TaskDefinition): string | undefined {
  if (definition.networkMode === 'awsvpc') return 'External launch type does not support network mode awsvpc.'
  if (definition.proxyConfiguration !== undefined) return 'External launch type does not support proxyConfiguration.'
  if ((definition.inferenceAccelerators ?? []).length > 0) {
    return 'External launch type does not support inferenceAccelerators.'
  }
  return undefined
}

function managedInstancesProblem(definition: TaskDefinition): string | undefined {
  const { networkMode } = definition
  return networkMode === 'awsvpc' || networkMode === 'host'
    ? undefined
    : 'Managed instances only support network modes awsvpc and host.'
}

function fargateProblem(definition: TaskDefinition): string | undefined {
  const { networkMode, cpu, memory, ipcMode, pidMode } = definition
  if (networkMode !== 'awsvpc') return 'Fargate only supports network mode ‘awsvpc’.'
  if (cpu === undefined) return "Fargate requires that 'cpu' be defined at the task level."
  if (memory === undefined) return "Fargate requires that 'memory' be defined at the task level."
  if (!isFargateSize(Number(cpu), Number(memory))) {
    return (
      `No Fargate configuration exists for given values: ${cpu} CPU, ${memory} memory. ` +
      'See the Amazon ECS documentation for the valid values.'
    )
  }
  if (ipcMode !== undefined) return unsupportedOnFargate('ipcMode')
  if (pidMode === 'host') return unsupportedOnFargate('pidMode host')
  if ((definition.placementConstraints ?? []).length > 0) return unsupportedOnFargate('placementConstraints')
  if ((definition.inferenceAccelerators ?? []).length > 0) return unsupportedOnFargate('inferenceAccelerators')
  return fargateVolumeProblem(definition) ?? fargateContainersProblem(definition)
}

function unsupportedOnFargate(member: string): string {
  return `Fargate compatible task definitions do not support ${member}.`
}

function fargateVolumeProblem(definition: TaskDefinition): string | undefined {
  for (const volume of definition.volumes ?? []) {
    if (volume.host?.sourcePath !== undefined) return unsupportedOnFargate('host.sourcePath')
    if (volume.dockerVolumeConfiguration !== undefined) return unsupportedOnFargate('dockerVolumeConfiguration')
    if (volume.fsxWindowsFileServerVolumeConfiguration !== undefined) {
      return unsupportedOnFargate('fsxWindowsFileServerVolumeConfiguration')
    }
  }
  return undefined
}

function fargateContainersProblem(definition: TaskDefinition): string | undefined {
  for (const container of definition.containerDefinitions ?? []) {
    const problem =
      fargateContainerProblem(container) ??
      fargateLinuxProblem(container) ??
      fargateRoleProblem(container, definition.executionRoleArn)
    if (problem !== undefined) return problem
  }
  return undefined
}

const fargateLogDrivers = ['awslogs', 'splunk', 'awsfirelens']
const fargateStopTimeoutSecondsMax = 120

function fargateContainerProblem(container: ContainerDefinition): string | undefined {
  const driver = container.logConfiguration?.logDriver
  if (driver !== undefined && !fargateLogDrivers.includes(driver)) {
    return `${driver} is not a valid log driver. Must be one of [${fargateLogDrivers.join(',')}]`
  }
  if ((container.stopTimeout ?? 0) > fargateStopTimeoutSecondsMax) {
    return 'Tasks using the Fargate launch type must have a container stop timeout of less than 120 seconds.'
  }
  if (container.privileged === true) return unsupportedOnFargate('privileged')
  if (container.disableNetworking === true) return unsupportedOnFargate('disableNetworking')
  if ((container.dockerSecurityOptions ?? []).length > 0) return unsupportedOnFargate('dockerSecurityOptions')
  if ((container.resourceRequirements ?? []).some((requirement) => requirement.type === 'GPU')) {
    return 'Tasks using the Fargate launch type do not support GPU resource requirements.'
  }
  return undefined
}

function fargateLinuxProblem(container: ContainerDefinition): string | undefined {
  const linux = container.linuxParameters
  if (linux === undefined) return undefined
  if ((linux.devices ?? []).length > 0) return unsupportedOnFargate('devices')
  if ((linux.tmpfs ?? []).length > 0) return unsupportedOnFargate('tmpfs')
  if (linux.sharedMemorySize !== undefined) return unsupportedOnFargate('sharedMemorySize')
  if (linux.maxSwap !== undefined) return unsupportedOnFargate('maxSwap')
  if (linux.swappiness !== undefined) return unsupportedOnFargate('swappiness')
  const added = linux.capabilities?.add ?? []
  return added.some((name) => name !== 'SYS_PTRACE')
    ? unsupportedOnFargate('capabilities other than SYS_PTRACE')
    : undefined
}

/** On Fargate there is no instance role, so whatever needs AWS before the task runs needs the execution role. */
function fargateRoleProblem(container: ContainerDefinition, executionRoleArn: string | undefined): string | undefined {
  if (executionRoleArn !== undefined) return undefined
  if (container.logConfiguration?.logDriver === 'awslogs') return needsExecutionRole('log driver awslogs')
  if (ecrRegistryOf(container.image) !== undefined) return needsExecutionRole('ECR images')
  return undefined
}

function needsExecutionRole(what: string): string {
  return `Fargate requires task definition to have execution role ARN to support ${what}.`
}
