/**
 * The attributes that an instance needs to run a task definition. Placement is then a plain subset test: what the
 * definition requires against what the agent registered.
 *
 * Sources: the ECS developer guide's task definition parameters ("requires version 1.25 of the Docker Remote API ..."),
 * the capabilities of the official agent, and definitions that ECS described, each member's attribute told apart by
 * comparing them. An empty list or map asks for nothing.
 */
import { ephemeralStorageAttribute } from '../../proto/acs.ts'
import type { Attribute, ContainerDefinition, TaskDefinition, Volume } from '../../proto/model/types.ts'
import { parseCpuUnits } from './task-size.ts'

type LogConfiguration = NonNullable<ContainerDefinition['logConfiguration']>
type LinuxParameters = NonNullable<ContainerDefinition['linuxParameters']>

const legacy = (capability: string): string => `com.amazonaws.ecs.capability.${capability}`
const capability = (name: string): string => `ecs.capability.${name}`
const remoteApi = (version: string): string => legacy(`docker-remote-api.${version}`)

/** The attributes without values, each once, in a stable order. */
export function requiresAttributes(definition: TaskDefinition): Attribute[] {
  const containers = definition.containerDefinitions ?? []
  const names = [
    ...containers.flatMap((container) => containerAttributes(container, definition)),
    ...(definition.volumes ?? []).flatMap(volumeAttributes),
    ...taskAttributes(definition),
  ]
  return [...new Set(names)].map((name) => ({ name }))
}

function taskAttributes(definition: TaskDefinition): string[] {
  const isAwsvpc = definition.networkMode === 'awsvpc'
  const sharesNamespaces = definition.pidMode !== undefined || definition.ipcMode !== undefined
  return [
    ...(definition.taskRoleArn === undefined ? [] : [legacy(taskRoleCapability(definition))]),
    ...(isAwsvpc ? [remoteApi('1.18'), capability('task-eni')] : []),
    ...(sharesNamespaces ? [capability('pid-ipc-namespace-sharing'), remoteApi('1.18')] : []),
    ...(definition.proxyConfiguration === undefined ? [] : [capability('aws-appmesh')]),
    ...(isFilled(definition.inferenceAccelerators) ? [capability('task-eia')] : []),
    ...(definition.ephemeralStorage === undefined ? [] : [ephemeralStorageAttribute]),
    ...(needsManyCpus(definition) ? [capability('increased-task-cpu-limit')] : []),
    ...(definition.enableFaultInjection === true ? [capability('fault-injection')] : []),
  ]
}

/** Ten vCPUs were once the most that a task could have. Source: ECS developer guide, task size. */
const cpuUnitsOfOld = 10_240

function needsManyCpus({ cpu }: TaskDefinition): boolean {
  return cpu !== undefined && (parseCpuUnits(cpu) ?? 0) > cpuUnitsOfOld
}

function taskRoleCapability(definition: TaskDefinition): string {
  return definition.networkMode === 'host' ? 'task-iam-role-network-host' : 'task-iam-role'
}

function containerAttributes(container: ContainerDefinition, definition: TaskDefinition): string[] {
  return [
    ...imageAttributes(container, definition),
    ...logAttributes(container.logConfiguration, definition),
    ...configAttributes(container),
    ...orderingAttributes(container),
    ...linuxAttributes(container.linuxParameters),
    ...secretAttributes(container.secrets, 'environment-variables'),
    ...firelensAttributes(container),
    ...(isFilled(container.environmentFiles) ? [capability('env-files.s3')] : []),
    ...(container.portMappings ?? [])
      .filter((port) => port.containerPortRange !== undefined)
      .map(() => capability('network.container-port-range')),
    ...(container.credentialSpecs ?? []).map((spec) =>
      capability(spec.startsWith('credentialspecdomainless:') ? 'gmsa-domainless' : 'gmsa'),
    ),
  ]
}

const ecrImage = /^(\d{12})\.dkr[.-]ecr[.-](?:fips\.)?([a-z0-9-]+)\.[a-z0-9.-]+\//

/** The registry of an image in Amazon ECR, which asks for AWS credentials; undefined for any other image. */
export function ecrRegistryOf(image: string | undefined): { registryId: string; region: string } | undefined {
  const [, registryId, region] = ecrImage.exec(image ?? '') ?? []
  return registryId === undefined || region === undefined ? undefined : { registryId, region }
}

function imageAttributes(container: ContainerDefinition, definition: TaskDefinition): string[] {
  if (container.repositoryCredentials !== undefined) {
    return [capability('private-registry-authentication.secretsmanager')]
  }
  if (ecrRegistryOf(container.image) === undefined) return []
  const pulledByRole = definition.executionRoleArn === undefined ? [] : [capability('execution-role-ecr-pull')]
  return [legacy('ecr-auth'), ...pulledByRole]
}

function logAttributes(log: LogConfiguration | undefined, definition: TaskDefinition): string[] {
  if (log?.logDriver === undefined) return []
  const options = log.options ?? {}
  const isAwslogs = log.logDriver === 'awslogs'
  return [
    legacy(`logging-driver.${log.logDriver}`),
    remoteApi(Object.keys(options).length === 0 ? '1.18' : '1.19'),
    ...(isAwslogs && definition.executionRoleArn !== undefined ? [capability('execution-role-awslogs')] : []),
    ...(isAwslogs && 'awslogs-create-group' in options ? [remoteApi('1.29')] : []),
    ...('mode' in options || 'max-buffer-size' in options ? [remoteApi('1.28')] : []),
    ...('log-driver-buffer-limit' in options ? [capability('logging-driver.awsfirelens.log-driver-buffer-limit')] : []),
    ...secretAttributes(log.secretOptions, 'bootstrap.log-driver'),
  ]
}

/** What goes into Docker's own config and hostConfig. */
function configAttributes(container: ContainerDefinition): string[] {
  const security = container.dockerSecurityOptions ?? []
  const isConfigured =
    container.user !== undefined ||
    container.hostname !== undefined ||
    container.workingDirectory !== undefined ||
    container.readonlyRootFilesystem !== undefined ||
    container.disableNetworking === true ||
    container.interactive === true ||
    container.pseudoTerminal === true ||
    isFilled(container.dnsServers) ||
    isFilled(container.dnsSearchDomains) ||
    isFilled(container.extraHosts)
  return [
    ...(isConfigured ? [remoteApi('1.17')] : []),
    ...(container.privileged === true ? [legacy('privileged-container')] : []),
    ...(isFilled(container.ulimits) || isFilled(Object.keys(container.dockerLabels ?? {})) ? [remoteApi('1.18')] : []),
    ...(container.memoryReservation === undefined ? [] : [remoteApi('1.21')]),
    ...(security.some((option) => option.startsWith('label')) ? [legacy('selinux')] : []),
    ...(security.some((option) => option.startsWith('apparmor')) ? [legacy('apparmor')] : []),
    ...(security.some((option) => option.startsWith('no-new-privileges')) ? [remoteApi('1.23')] : []),
    ...(isFilled(container.systemControls) ? [remoteApi('1.24')] : []),
  ]
}

function orderingAttributes(container: ContainerDefinition): string[] {
  const isOrdered =
    isFilled(container.dependsOn) || container.startTimeout !== undefined || container.stopTimeout !== undefined
  const check = container.healthCheck
  return [
    ...(isOrdered ? [capability('container-ordering')] : []),
    ...(check === undefined
      ? []
      : [capability('container-health-check'), remoteApi(check.startPeriod === undefined ? '1.24' : '1.29')]),
    ...(container.restartPolicy?.enabled === true ? [capability('container-restart-policy')] : []),
  ]
}

function linuxAttributes(linux: LinuxParameters | undefined): string[] {
  if (linux === undefined) return []
  return [
    ...(isFilled(linux.tmpfs) || linux.sharedMemorySize !== undefined ? [remoteApi('1.22')] : []),
    ...(linux.initProcessEnabled === undefined ? [] : [remoteApi('1.25')]),
    ...(linux.maxSwap === undefined && linux.swappiness === undefined ? [] : [remoteApi('1.32')]),
  ]
}

function secretAttributes(secrets: ContainerDefinition['secrets'], use: string): string[] {
  return (secrets ?? []).map((secret) =>
    capability(`secrets.${secret.valueFrom?.includes(':secretsmanager:') === true ? 'asm' : 'ssm'}.${use}`),
  )
}

function firelensAttributes(container: ContainerDefinition): string[] {
  const firelens = container.firelensConfiguration
  if (firelens === undefined) return []
  const source = firelens.options?.['config-file-type']
  return [
    capability(`firelens.${firelens.type}`),
    ...(source === undefined ? [] : [capability(`firelens.options.config.${source}`)]),
  ]
}

function volumeAttributes(volume: Volume): string[] {
  const efs = volume.efsVolumeConfiguration
  const isEncrypted = efs?.transitEncryption === 'ENABLED' || efs?.authorizationConfig !== undefined
  const docker = volume.dockerVolumeConfiguration
  return [
    ...(docker === undefined ? [] : [capability(`docker-plugin.${pluginName(docker.driver)}`), remoteApi('1.25')]),
    ...(efs === undefined ? [] : [capability('efs'), remoteApi('1.25')]),
    ...(isEncrypted ? [capability('efsAuth')] : []),
    ...(volume.s3filesVolumeConfiguration === undefined ? [] : [capability('storage.s3-files')]),
    ...(volume.fsxWindowsFileServerVolumeConfiguration === undefined ? [] : [capability('fsxWindowsFileServer')]),
    ...(volume.configuredAtLaunch === true ? [capability('storage.ebs-task-volume-attach')] : []),
  ]
}

/** As agents register it: a plugin's tag follows a dot. */
function pluginName(driver = 'local'): string {
  return driver.replaceAll(':', '.')
}

function isFilled(list: readonly unknown[] | undefined): boolean {
  return list !== undefined && list.length > 0
}
