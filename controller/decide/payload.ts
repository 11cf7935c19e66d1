/**
 * What an agent is told about one task: the task definition with the task's overrides applied, in the shape of the
 * agents' channel. The controller does the translation, so our agent and the official one run the same payload.
 */
import type {
  PayloadContainer,
  PayloadMountPoint,
  PayloadPortMapping,
  PayloadTask,
  PayloadVolume,
} from '../../proto/acs.ts'
import type { ContainerDefinition, ContainerOverride, PortMapping, Volume } from '../../proto/model/types.ts'
import type { TaskContainer, TaskDefinitionRow, TaskRow } from '../state/tables.ts'
import { dockerConfig, dockerHostConfig } from './docker-config.ts'
import { gpuAssociations } from './gpus.ts'
import { payloadFetched } from './payload-fetched.ts'
import type { TaskNetwork } from './payload-network.ts'
import { accessPointHostConfig, type FileSystems, payloadFileSystems } from './payload-file-systems.ts'
import { rolesOf } from './task-roles.ts'
import { parseCpuUnits, parseMemoryMiB } from './task-size.ts'

const cpuUnitsPerVcpu = 1024
/** The Docker API that ECS asks for where nothing in the definition needs a newer one. */
const remoteApiMinorMin = 21
const remoteApiAttribute = 'com.amazonaws.ecs.capability.docker-remote-api.1.'

export interface PayloadReceiver {
  /** True where the agent registered `gantry.protocol`: it alone is sent Gantry's own members. */
  readonly gantryProtocol: boolean
  /** Where a secret that is named without an ARN is looked up. */
  readonly region: string
  readonly fileSystems: FileSystems
  /** Where the task has an address of its own. */
  readonly network?: TaskNetwork | undefined
  /** Keys of the task's roles. */
  readonly keys?: Pick<PayloadTask, 'roleCredentials' | 'executionRoleCredentials'> | undefined
}

export function payloadTask(task: TaskRow, definition: TaskDefinitionRow, to: PayloadReceiver): PayloadTask {
  const cpu = task.overrides?.cpu ?? definition.cpu
  const memory = task.overrides?.memory ?? definition.memory
  const associations = gpuAssociations(task)
  const { taskRoleArn } = rolesOf(definition, task.overrides)
  const { roleCredentials, executionRoleCredentials } = to.keys ?? {}
  const ephemeralGiB = definition.ephemeralStorage?.sizeInGiB
  const service = /^service:(.+)$/.exec(task.group)?.[1]
  const fileSystems = to.gantryProtocol ? payloadFileSystems(to.fileSystems, definition) : undefined
  return {
    arn: task.taskArn,
    taskClusterArn: task.clusterArn,
    family: definition.family,
    version: String(definition.revision),
    desiredStatus: task.desiredStatus,
    networkMode: definition.networkMode ?? 'bridge',
    launchType: task.launchType ?? 'EC2',
    ...(cpu !== undefined && { cpu: (parseCpuUnits(cpu) ?? 0) / cpuUnitsPerVcpu }),
    ...(memory !== undefined && { memory: parseMemoryMiB(memory) }),
    ...(definition.pidMode !== undefined && { pidMode: definition.pidMode }),
    ...(definition.ipcMode !== undefined && { ipcMode: definition.ipcMode }),
    group: task.group,
    ...(service !== undefined && { serviceName: service }),
    containers: definition.containerDefinitions.map((container) => payloadContainer(container, task, definition, to)),
    ...(associations.length > 0 && { associations }),
    ...(to.network !== undefined && { elasticNetworkInterfaces: [to.network.networkInterface] }),
    volumes: (definition.volumes ?? []).map(payloadVolume),
    ...(roleCredentials !== undefined && { roleCredentials }),
    ...(executionRoleCredentials !== undefined && { executionRoleCredentials }),
    ...(to.gantryProtocol && {
      gantry: {
        knownStatus: task.lastStatus,
        ...(to.network !== undefined && { network: to.network.network }),
        ...(fileSystems !== undefined && { fileSystems }),
        ...(ephemeralGiB !== undefined && { ephemeralStorageGiB: ephemeralGiB }),
        ...(task.enableExecuteCommand === true && { enableExecuteCommand: true as const }),
        ...(mayRestartAlone(task, definition) && { restartAlone: true as const }),
        ...(taskRoleArn !== undefined && { taskRoleArn }),
      },
    }),
  }
}

/** A Docker label on any container of the definition; `false` opts its tasks out. */
const restartAloneLabel = 'gantry.restart-alone'

/**
 * A service's task is to run until the service says otherwise, so an agent without a controller starts it again; a
 * standalone task that ends has ended.
 */
function mayRestartAlone({ serviceKey }: TaskRow, { containerDefinitions }: TaskDefinitionRow): boolean {
  if (serviceKey === undefined) return false
  return containerDefinitions.every(({ dockerLabels }) => dockerLabels?.[restartAloneLabel] !== 'false')
}

function payloadContainer(
  container: ContainerDefinition,
  task: TaskRow,
  definition: TaskDefinitionRow,
  to: PayloadReceiver,
): PayloadContainer {
  const name = container.name ?? ''
  const override = task.overrides?.containerOverrides?.find((one) => one.name === name)
  const taskMemory = task.overrides?.memory ?? definition.memory
  const memory = {
    // A container without a limit of its own may have all that its task reserved, and no more.
    memory: override?.memory ?? container.memory ?? (taskMemory === undefined ? undefined : parseMemoryMiB(taskMemory)),
    memoryReservation: override?.memoryReservation ?? container.memoryReservation,
  }
  return {
    name,
    containerArn: rowOf(task, name).containerArn,
    image: rowOf(task, name).pinnedImage ?? container.image ?? '',
    essential: container.essential ?? true,
    cpu: override?.cpu ?? container.cpu ?? 0,
    memory: memory.memory ?? 0,
    ...payloadCommand(container, override),
    environment: payloadEnvironment(container, override),
    links: container.links ?? [],
    mountPoints: (container.mountPoints ?? []).map(payloadMountPoint),
    portMappings: (container.portMappings ?? []).map(payloadPortMapping),
    volumesFrom: (container.volumesFrom ?? []).map((source) => ({
      sourceContainer: source.sourceContainer ?? '',
      readOnly: source.readOnly ?? false,
    })),
    ...payloadOrder(container),
    ...payloadFetched(container, definition, task.overrides, to),
    dockerConfig: dockerConfigOf(container, definition, memory, task.logDriverMode, to.fileSystems),
  }
}

type DockerConfig = PayloadContainer['dockerConfig']

/**
 * By container definition, which is never changed in place, then by what a task adds to it: the tasks of a service are
 * alike, and there may be thousands.
 */
const dockerConfigs = new WeakMap<ContainerDefinition, Map<string, DockerConfig>>()
const dockerConfigsKept = 16

function dockerConfigOf(
  container: ContainerDefinition,
  definition: TaskDefinitionRow,
  memory: { readonly memory: number | undefined; readonly memoryReservation: number | undefined },
  logDriverMode: TaskRow['logDriverMode'],
  fileSystems: FileSystems,
): DockerConfig {
  const { networkMode, taskDefinitionArn } = definition
  // An access point is never changed, so what follows from it needs no part in the key.
  const key = [taskDefinitionArn, networkMode, memory.memory, memory.memoryReservation, logDriverMode].join(' ')
  const known = dockerConfigs.get(container) ?? new Map<string, DockerConfig>()
  const kept = known.get(key)
  if (kept !== undefined) return kept
  const config = {
    version: remoteApiVersion(definition),
    config: JSON.stringify(dockerConfig(container)),
    hostConfig: JSON.stringify({
      ...dockerHostConfig(container, networkMode, memory, logDriverMode),
      ...accessPointHostConfig(fileSystems, definition, container),
    }),
  }
  if (known.size >= dockerConfigsKept) known.clear()
  dockerConfigs.set(container, known.set(key, config))
  return config
}

/** A task has a container row for each definition from the moment it is placed; another state of things is a bug. */
function rowOf(task: TaskRow, name: string): TaskContainer {
  const row = task.containers.find((container) => container.name === name)
  if (row === undefined) throw new Error(`Task ${task.taskArn} has no container '${name}' of its task definition.`)
  return row
}

/**
 * An overridden command replaces the definition's, and stands once more in `overrides`, where the official agent looks
 * for it. Any other member in there makes that agent refuse the whole task. An empty command overrides nothing.
 */
function payloadCommand(
  container: ContainerDefinition,
  override: ContainerOverride | undefined,
): Pick<PayloadContainer, 'command' | 'entryPoint' | 'overrides'> {
  const overridden = override?.command?.length === 0 ? undefined : override?.command
  const command = overridden ?? container.command
  return {
    ...(command !== undefined && { command }),
    ...(container.entryPoint !== undefined && { entryPoint: container.entryPoint }),
    overrides: JSON.stringify(overridden === undefined ? {} : { command: overridden }),
  }
}

function payloadEnvironment(
  container: ContainerDefinition,
  override: ContainerOverride | undefined,
): Record<string, string> {
  const variables = [...(container.environment ?? []), ...(override?.environment ?? [])]
  return Object.fromEntries([
    ['AWS_EXECUTION_ENV', 'AWS_ECS_EC2'],
    ...variables.map(({ name = '', value = '' }): [string, string] => [name, value]),
  ])
}

function payloadMountPoint(mount: NonNullable<ContainerDefinition['mountPoints']>[number]): PayloadMountPoint {
  return {
    sourceVolume: mount.sourceVolume ?? '',
    containerPath: mount.containerPath ?? '',
    readOnly: mount.readOnly ?? false,
  }
}

function payloadPortMapping(port: PortMapping): PayloadPortMapping {
  const protocol = port.protocol ?? 'tcp'
  if (port.containerPortRange !== undefined) return { containerPortRange: port.containerPortRange, protocol }
  return { containerPort: port.containerPort, hostPort: port.hostPort ?? 0, protocol }
}

/** What decides when a container starts, stops and starts again. */
function payloadOrder(
  container: ContainerDefinition,
): Pick<PayloadContainer, 'dependsOn' | 'startTimeout' | 'stopTimeout' | 'restartPolicy' | 'healthCheckType'> {
  const dependsOn = (container.dependsOn ?? []).map(({ containerName = '', condition = 'START' }) => ({
    containerName,
    condition,
  }))
  const policy = container.restartPolicy
  return {
    ...(dependsOn.length > 0 && { dependsOn }),
    ...(container.startTimeout !== undefined && { startTimeout: container.startTimeout }),
    ...(container.stopTimeout !== undefined && { stopTimeout: container.stopTimeout }),
    ...(policy !== undefined && { restartPolicy: { ...policy, enabled: policy.enabled ?? false } }),
    ...(container.healthCheck !== undefined && { healthCheckType: 'docker' as const }),
  }
}

/** A volume without a host path is one that lives and dies with the task. */
function payloadVolume(volume: Volume): PayloadVolume {
  const name = volume.name ?? ''
  const docker = volume.dockerVolumeConfiguration
  if (docker !== undefined) return { name, type: 'docker', dockerVolumeConfiguration: { scope: 'task', ...docker } }
  const efs = volume.efsVolumeConfiguration
  if (efs !== undefined) return { name, type: 'efs', efsVolumeConfiguration: efs }
  const sourcePath = volume.host?.sourcePath
  return { name, type: 'host', host: sourcePath === undefined ? {} : { sourcePath } }
}

/** The newest Docker API that the definition requires: an older one would drop what it doesn't know without a word. */
function remoteApiVersion(definition: TaskDefinitionRow): string {
  const minors = (definition.requiresAttributes ?? [])
    .map((attribute) => attribute.name ?? '')
    .filter((name) => name.startsWith(remoteApiAttribute))
    .map((name) => Number(name.slice(remoteApiAttribute.length)))
  return `1.${Math.max(remoteApiMinorMin, ...minors)}`
}
