/**
 * ECS's rules for a task definition that is registered. Each refusal is a ClientException that names the member, in
 * ECS's own words where they are known. The definition comes with its defaults filled in.
 * Source: the ECS API reference, RegisterTaskDefinition and ContainerDefinition, and the service's answers.
 */
import { clientError } from '../../proto/errors.ts'
import type { ContainerDefinition, TaskDefinition } from '../../proto/model/types.ts'
import { compatibilityProblem } from '../decide/compatibilities.ts'
import { checkContainer, memoryMiBMin } from './container-definition-rules.ts'
import { checkDependencies } from './container-dependency-rules.ts'
import { checkRoles } from './fetched-rules.ts'
import { checkExpression } from './placement-rules.ts'
import { checkPortMappings } from './port-mapping-rules.ts'
import { checkVolumes } from './volume-rules.ts'

const containersMax = 10
const definitionBytesMax = 64 * 1024
const placementConstraintsMax = 10
/** EC2 and external instances: 0.125 to 192 vCPU. */
const cpuUnitsMin = 128
const cpuUnitsMax = 196_608
const ephemeralStorageGiB = { min: 21, max: 200 }

export function checkTaskDefinition(definition: TaskDefinition): void {
  checkFamily(definition.family)
  const containers = definition.containerDefinitions ?? []
  checkContainerList(containers)
  checkTaskSize(definition)
  for (const container of containers) checkContainer(container, definition)
  checkShares(definition, containers)
  checkPortMappings(containers, definition.networkMode)
  checkDependencies(containers, definition.networkMode)
  checkVolumes(definition, containers)
  checkNotOffered(definition)
  checkTaskMembers(definition, containers)
  checkRoles(definition, containers)
  const problem = compatibilityProblem(definition)
  if (problem !== undefined) throw clientError(problem)
  checkDocumentSize(definition)
}

function checkFamily(family: string | undefined): void {
  if (family === undefined || family === '') throw clientError('Family should not be null or empty.')
  if (family.length > 255) throw clientError('Family should not be longer than 255 characters.')
  if (!/^[A-Za-z0-9_-]+$/.test(family)) throw clientError(`Family contains invalid characters: '${family}'.`)
}

function checkContainerList(containers: readonly ContainerDefinition[]): void {
  if (containers.length === 0) throw clientError('Container list cannot be empty.')
  if (containers.length > containersMax) {
    throw clientError(`A task definition can have at most ${containersMax} containers, and has ${containers.length}.`)
  }
  const names = new Set<string>()
  for (const { name, image } of containers) {
    if (name === undefined || name === '') throw clientError('Container.name should not be null or empty.')
    if (!/^[A-Za-z0-9_-]{1,255}$/.test(name)) {
      throw clientError(
        `Container.name '${name.slice(0, 255)}' takes 1 to 255 letters, digits, hyphens and underscores.`,
      )
    }
    if (names.has(name)) throw clientError(`Container.name must be unique: '${name}' is used more than once.`)
    names.add(name)
    if (image === undefined || image === '') throw clientError('Container.image should not be null or empty.')
    if (image.length > 255 || /\s/.test(image)) {
      throw clientError(`Container.image of '${name}' takes up to 255 characters without spaces.`)
    }
  }
  if (!containers.some((container) => container.essential !== false)) {
    throw clientError("Task definition doesn't have any essential container.")
  }
}

/** The size of the task itself. Its Fargate pairs are judged with the launch types. */
function checkTaskSize({ cpu, memory }: TaskDefinition): void {
  const cpuUnits = Number(cpu ?? cpuUnitsMin)
  if (!Number.isSafeInteger(cpuUnits) || cpuUnits < cpuUnitsMin || cpuUnits > cpuUnitsMax) {
    throw clientError(
      `Invalid 'cpu' setting for task. It takes ${cpuUnitsMin} to ${cpuUnitsMax} CPU units, as '256' or '.25 vCPU', ` +
        `and is '${cpu ?? ''}'.`,
    )
  }
  const memoryMiB = Number(memory ?? memoryMiBMin)
  if (!Number.isSafeInteger(memoryMiB) || memoryMiB < memoryMiBMin) {
    throw clientError(
      `Invalid 'memory' setting for task. It takes ${memoryMiBMin} MiB or more, as '512' or '.5 GB', and is '${memory ?? ''}'.`,
    )
  }
}

/** What the containers take together has to fit into the task. */
function checkShares(definition: TaskDefinition, containers: readonly ContainerDefinition[]): void {
  const cpuUnits = containers.reduce((sum, container) => sum + (container.cpu ?? 0), 0)
  if (definition.cpu !== undefined && cpuUnits > Number(definition.cpu)) {
    throw clientError("The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.")
  }
  if (definition.memory === undefined) return
  const reservedMiB = containers.reduce((sum, container) => sum + (container.memoryReservation ?? 0), 0)
  if (reservedMiB > Number(definition.memory)) {
    throw clientError(
      "The sum of all container 'memoryReservation' values cannot be greater than the value of the task 'memory'.",
    )
  }
}

/** What AWS itself has ended, and what no host here could do: better refused now than never placed. */
function checkNotOffered(definition: TaskDefinition): void {
  if (definition.proxyConfiguration !== undefined) {
    throw clientError('proxyConfiguration is not supported: AWS App Mesh has ended. Leave proxyConfiguration out.')
  }
  if ((definition.inferenceAccelerators ?? []).length > 0) {
    throw clientError(
      'inferenceAccelerators are not supported: Amazon Elastic Inference has ended. Ask for a GPU by resourceRequirements.',
    )
  }
}

function checkTaskMembers(definition: TaskDefinition, containers: readonly ContainerDefinition[]): void {
  const constraints = definition.placementConstraints ?? []
  if (constraints.length > placementConstraintsMax) {
    throw clientError(`A task definition can have at most ${placementConstraintsMax} placementConstraints.`)
  }
  for (const { type, expression } of constraints) {
    if (type === undefined) throw clientError('placementConstraints.type should not be null or empty.')
    if (expression === undefined || expression.trim() === '') {
      throw clientError('placementConstraints.expression should not be null or empty.')
    }
    checkExpression(expression, clientError)
  }
  const sizeGiB = definition.ephemeralStorage?.sizeInGiB
  if (sizeGiB !== undefined && (sizeGiB < ephemeralStorageGiB.min || sizeGiB > ephemeralStorageGiB.max)) {
    throw clientError(
      `ephemeralStorage.sizeInGiB takes ${ephemeralStorageGiB.min} to ${ephemeralStorageGiB.max}, and is ${sizeGiB}.`,
    )
  }
  checkFirelens(containers)
}

function checkFirelens(containers: readonly ContainerDefinition[]): void {
  const routers = containers.filter((container) => container.firelensConfiguration !== undefined)
  const isRouted = containers.some((container) => container.logConfiguration?.logDriver === 'awsfirelens')
  if (routers.length > 1) throw clientError('Only one container can have a firelensConfiguration object.')
  if (routers.length === 1 && !isRouted) {
    throw clientError(
      'When a firelensConfiguration object is specified, at least one container has to be configured with the ' +
        'awsfirelens log driver.',
    )
  }
  if (routers.length === 0 && isRouted) {
    throw clientError(
      'When the awsfirelens log driver is specified, one container has to be configured with a firelensConfiguration object.',
    )
  }
}

function checkDocumentSize(definition: TaskDefinition): void {
  const bytes = new TextEncoder().encode(JSON.stringify(definition)).length
  if (bytes > definitionBytesMax) {
    throw clientError(
      `Actual length: '${bytes}'. Max allowed length is '${definitionBytesMax}' bytes for a task definition. ` +
        'Move large values into the image, a volume or environment files.',
    )
  }
}
