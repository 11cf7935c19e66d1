/**
 * GPUs: how many each container asks for, which of its instance's it gets, and what the agent is told of them. A GPU
 * belongs to one container from the moment the task is placed until it is STOPPED.
 */
import type { PayloadAssociation } from '../../proto/acs.ts'
import type { ContainerDefinition, ContainerOverride, TaskOverride } from '../../proto/model/types.ts'
import type { InstanceRow, TaskContainer, TaskDefinitionRow, TaskRow } from '../state/tables.ts'

/** How many GPUs a task takes; an override stands in place of the definition's. */
export function taskGpus(definition: TaskDefinitionRow, overrides: TaskOverride | undefined): number {
  return definition.containerDefinitions.reduce((sum, container) => sum + containerGpus(container, overrides), 0)
}

/** The ids of the GPUs that an instance registered, in its order. */
export function registeredGpuIds({ registeredResources }: InstanceRow): readonly string[] {
  return registeredResources.find(({ name }) => name === 'GPU')?.stringSetValue ?? noIds
}

/** What its live tasks leave of them. */
export function freeGpuIds(instance: InstanceRow, liveTasks: readonly TaskRow[]): readonly string[] {
  const registered = registeredGpuIds(instance)
  if (registered.length === 0) return noIds
  const held = new Set(liveTasks.flatMap(heldGpuIds))
  return registered.filter((id) => !held.has(id))
}

export function heldGpuIds({ containers }: Pick<TaskRow, 'containers'>): readonly string[] {
  return containers.flatMap(({ gpuIds }) => gpuIds ?? noIds)
}

/** A new task's containers with the GPUs that placement gave it, each container in turn as many as it asks for. */
export function withGpuIds(
  containers: readonly TaskContainer[],
  definition: TaskDefinitionRow,
  overrides: TaskOverride | undefined,
  gpuIds: readonly string[],
): readonly TaskContainer[] {
  if (gpuIds.length === 0) return containers
  let given = 0
  return containers.map((container) => {
    const wanted = definition.containerDefinitions.find(({ name }) => name === container.name)
    const number = wanted === undefined ? 0 : containerGpus(wanted, overrides)
    const ids = gpuIds.slice(given, given + number)
    given += number
    return number === 0 ? container : { ...container, gpuIds: ids }
  })
}

/** In the official agent's form: one association for each GPU. */
export function gpuAssociations({ containers }: Pick<TaskRow, 'containers'>): readonly PayloadAssociation[] {
  return containers.flatMap(({ name, gpuIds }) =>
    (gpuIds ?? noIds).map((id) => ({
      name: id,
      type: 'gpu' as const,
      content: { encoding: 'identity' as const, value: id },
      containers: [name],
    })),
  )
}

const noIds: readonly string[] = []

function containerGpus(container: ContainerDefinition, overrides: TaskOverride | undefined): number {
  const override: ContainerOverride | undefined = overrides?.containerOverrides?.find(
    ({ name }) => name === container.name,
  )
  const overridden = override?.resourceRequirements ?? []
  const requirements = overridden.length > 0 ? overridden : (container.resourceRequirements ?? [])
  return requirements.reduce((sum, { type, value }) => sum + (type === 'GPU' ? Number(value) : 0), 0)
}
