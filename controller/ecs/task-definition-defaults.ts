/**
 * What ECS fills into a task definition that is registered, and nothing else: tools compare what they registered with
 * what is described, and take any other difference for a change.
 */
import type { ContainerDefinition, PortMapping, TaskDefinition, Volume } from '../../proto/model/types.ts'
import { parseCpuUnits, parseMemoryMiB } from '../decide/task-size.ts'

/** The definition with ECS's defaults. What cannot be read stays as it was given, for the rules to refuse. */
export function withDefaults(definition: TaskDefinition): TaskDefinition {
  const { cpu, memory } = definition
  return {
    ...definition,
    containerDefinitions: (definition.containerDefinitions ?? []).map((container) =>
      containerWithDefaults(container, definition.networkMode),
    ),
    volumes: (definition.volumes ?? []).map(volumeWithDefaults),
    placementConstraints: definition.placementConstraints ?? [],
    ...(cpu !== undefined && { cpu: String(parseCpuUnits(cpu) ?? cpu) }),
    ...(memory !== undefined && { memory: String(parseMemoryMiB(memory) ?? memory) }),
  }
}

function volumeWithDefaults(volume: Volume): Volume {
  const efs = volume.efsVolumeConfiguration
  if (efs === undefined || efs.rootDirectory !== undefined) return volume
  return { ...volume, efsVolumeConfiguration: { ...efs, rootDirectory: '/' } }
}

function containerWithDefaults(
  container: ContainerDefinition,
  networkMode: TaskDefinition['networkMode'],
): ContainerDefinition {
  const check = container.healthCheck
  return {
    ...container,
    cpu: container.cpu ?? 0,
    essential: container.essential ?? true,
    environment: container.environment ?? [],
    mountPoints: container.mountPoints ?? [],
    portMappings: (container.portMappings ?? []).map((port) => portWithDefaults(port, networkMode)),
    volumesFrom: container.volumesFrom ?? [],
    systemControls: container.systemControls ?? [],
    ...(check !== undefined && {
      healthCheck: {
        ...check,
        interval: check.interval ?? 30,
        timeout: check.timeout ?? 5,
        retries: check.retries ?? 3,
      },
    }),
  }
}

/** Where the task has the network to itself (awsvpc) or shares the host's, host port and container port are one. */
function portWithDefaults(port: PortMapping, networkMode: TaskDefinition['networkMode']): PortMapping {
  const filled = { ...port, protocol: port.protocol ?? 'tcp' }
  if (port.containerPortRange !== undefined || port.containerPort === undefined) return filled
  const isSamePort = networkMode === 'awsvpc' || networkMode === 'host'
  const hostPort = isSamePort && !port.hostPort ? port.containerPort : (port.hostPort ?? 0)
  return { ...filled, hostPort }
}
