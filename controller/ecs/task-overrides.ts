/** ECS's rules on the `overrides` of RunTask and StartTask, and the form in which a task keeps and echoes them. */
import { ApiError, clientError, invalidParameter } from '../../proto/errors.ts'
import type { ContainerOverride, TaskOverride } from '../../proto/model/types.ts'
import { rolesOf } from '../decide/task-roles.ts'
import { parseCpuUnits, parseMemoryMiB } from '../decide/task-size.ts'
import type { TaskDefinitionRow } from '../state/tables.ts'
import { memoryMiBMin, resourceProblem } from './container-definition-rules.ts'
import { environmentFilesProblem, isRole } from './fetched-rules.ts'

const overridesLengthMax = 8192

/**
 * The overrides as a task keeps them: one entry for each container of the definition, task sizes as whole numbers of CPU
 * units and MiB. InvalidParameterException or ClientException where they break a rule.
 */
export function checkOverrides(definition: TaskDefinitionRow, overrides: TaskOverride | undefined): TaskOverride {
  const given = overrides ?? {}
  if (JSON.stringify(given).length > overridesLengthMax) {
    throw invalidParameter(`Container Overrides length must be at most ${overridesLengthMax}`)
  }
  refuseWhatIsNotBuilt(given)
  const sizes = taskSizes(given)
  const containerOverrides = given.containerOverrides ?? []
  checkNames(definition, containerOverrides)
  checkRoles(given)
  checkFetched(definition, given)
  for (const override of containerOverrides) checkContainerSizes(definition, sizes.memory, override)
  return {
    ...(given.taskRoleArn ? { taskRoleArn: given.taskRoleArn } : {}),
    ...(given.executionRoleArn ? { executionRoleArn: given.executionRoleArn } : {}),
    ...sizes,
    containerOverrides: definition.containerDefinitions.map(
      ({ name }) => containerOverrides.find((override) => override.name === name) ?? { name },
    ),
    inferenceAcceleratorOverrides: [],
  }
}

function refuseWhatIsNotBuilt(overrides: TaskOverride): void {
  if ((overrides.inferenceAcceleratorOverrides ?? []).length > 0) {
    throw new ApiError(
      'UnsupportedFeatureException',
      'Inference accelerators are not available. Leave inferenceAcceleratorOverrides out.',
    )
  }
  if (overrides.ephemeralStorage !== undefined) {
    throw invalidParameter('ephemeralStorage can only be overridden for tasks of launch type FARGATE.')
  }
}

/** Names of roles in ECS's forms; an empty one overrides nothing. */
function checkRoles({ taskRoleArn, executionRoleArn }: TaskOverride): void {
  for (const role of [taskRoleArn, executionRoleArn]) {
    if (role && !isRole(role)) throw clientError(`Role is not valid: '${role.slice(0, 255)}'.`)
  }
}

function checkFetched(definition: TaskDefinitionRow, overrides: TaskOverride): void {
  for (const { name, environmentFiles } of overrides.containerOverrides ?? []) {
    const problem = environmentFilesProblem(environmentFiles)
    if (problem !== undefined) {
      throw invalidParameter(`Override for container named ${name}: invalid environmentFiles. ${problem}`)
    }
    if ((environmentFiles ?? []).length === 0) continue
    if (rolesOf(definition, overrides).executionRoleArn !== undefined) continue
    throw clientError(
      "When you are specifying container environment files, you must also specify a value for 'executionRoleArn'.",
    )
  }
}

function refuseOfContainer({ name, resourceRequirements }: ContainerOverride): void {
  const problem = resourceProblem(resourceRequirements)
  if (problem !== undefined) throw invalidParameter(`Override for container named ${name}: ${problem}`)
}

function taskSizes(overrides: TaskOverride): { readonly cpu?: string; readonly memory?: string } {
  const cpuUnits = overrides.cpu === undefined ? undefined : parseCpuUnits(overrides.cpu)
  const memoryMiB = overrides.memory === undefined ? undefined : parseMemoryMiB(overrides.memory)
  if (overrides.cpu !== undefined && cpuUnits === undefined) {
    throw clientError(`Invalid 'cpu' setting for task: '${overrides.cpu}'. Give CPU units (256) or vCPUs (0.25 vCPU).`)
  }
  if (overrides.memory !== undefined && memoryMiB === undefined) {
    throw clientError(`Invalid 'memory' setting for task: '${overrides.memory}'. Give MiB (512) or GB (0.5 GB).`)
  }
  return {
    ...(cpuUnits === undefined ? {} : { cpu: String(cpuUnits) }),
    ...(memoryMiB === undefined ? {} : { memory: String(memoryMiB) }),
  }
}

function checkNames(definition: TaskDefinitionRow, overrides: readonly ContainerOverride[]): void {
  const seen = new Set<string>()
  for (const override of overrides) {
    const { name, environment } = override
    if (name === undefined || name === '')
      throw invalidParameter('Container override name should not be null or empty.')
    if (!definition.containerDefinitions.some((container) => container.name === name)) {
      throw invalidParameter(`Override for container named ${name} is not a container in the TaskDefinition.`)
    }
    if (seen.has(name)) throw invalidParameter(`Container ${name} is overridden twice. Put both into one override.`)
    seen.add(name)
    refuseOfContainer(override)
    for (const variable of environment ?? []) {
      if (variable.name === undefined || variable.name === '') {
        throw invalidParameter(`Override for container named ${name}: an environment variable has no name.`)
      }
    }
  }
}

function checkContainerSizes(
  definition: TaskDefinitionRow,
  taskMemory: string | undefined,
  override: ContainerOverride,
): void {
  const where = `Override for container named ${override.name}`
  if (override.cpu !== undefined && override.cpu < 0) throw invalidParameter(`${where}: cpu can't be negative.`)
  for (const member of ['memory', 'memoryReservation'] as const) {
    const size = override[member]
    if (size !== undefined && size < memoryMiBMin) {
      throw invalidParameter(`${where}: ${member} must be at least ${memoryMiBMin} MiB, and is ${size}.`)
    }
  }
  const container = definition.containerDefinitions.find((candidate) => candidate.name === override.name)
  const memory = override.memory ?? container?.memory
  const reservation = override.memoryReservation ?? container?.memoryReservation
  if (memory !== undefined && reservation !== undefined && memory < reservation) {
    throw clientError(`${where}: memory (${memory} MiB) must not be less than memoryReservation (${reservation} MiB).`)
  }
  const taskMemoryMiB = parseMemoryMiB(taskMemory ?? definition.memory ?? '')
  const largest = memory ?? reservation ?? 0
  if (taskMemoryMiB !== undefined && largest > taskMemoryMiB) {
    throw clientError(`${where}: ${largest} MiB is more than the memory of the task (${taskMemoryMiB} MiB).`)
  }
}
