/** ECS's rules for the volumes of a task and where its containers mount them. */
import { clientError } from '../../proto/errors.ts'
import type { ContainerDefinition, TaskDefinition, Volume } from '../../proto/model/types.ts'

export function checkVolumes(definition: TaskDefinition, containers: readonly ContainerDefinition[]): void {
  const names = new Set<string>()
  for (const volume of definition.volumes ?? []) {
    const name = checkVolume(volume)
    if (names.has(name)) throw clientError(`Volume names must be unique: '${name}' is used more than once.`)
    names.add(name)
  }
  for (const container of containers) checkMountPoints(container, names)
}

function checkVolume(volume: Volume): string {
  const { name } = volume
  if (name === undefined || name === '') throw clientError('Volume.name should not be null or empty.')
  if (!/^[A-Za-z0-9_-]{1,255}$/.test(name)) {
    throw clientError(`Volume.name '${name.slice(0, 255)}' takes 1 to 255 letters, digits, hyphens and underscores.`)
  }
  refuseWhatIsNotHere(volume, name)
  const sources = [volume.host?.sourcePath, volume.dockerVolumeConfiguration, volume.efsVolumeConfiguration].filter(
    (source) => source !== undefined,
  )
  if (sources.length > 1) throw clientError(`Volume '${name}' can have only one kind of source.`)
  const sourcePath = volume.host?.sourcePath
  if (sourcePath !== undefined && sourcePath.trim() === '') throw clientError('host.sourcePath should not be blank.')
  if (sourcePath !== undefined && !/^(?:\/|[A-Za-z]:)/.test(sourcePath)) {
    throw clientError(`host.sourcePath '${sourcePath}' of volume '${name}' is not an absolute path.`)
  }
  const docker = volume.dockerVolumeConfiguration
  if (docker?.autoprovision === true && docker.scope !== 'shared') {
    throw clientError(`dockerVolumeConfiguration.autoprovision of volume '${name}' is only for the scope 'shared'.`)
  }
  return name
}

/** Kinds of ECS's model that need a service of Amazon's behind them. */
function refuseWhatIsNotHere(volume: Volume, name: string): void {
  const useInstead = 'Use host, dockerVolumeConfiguration, or efsVolumeConfiguration with a registered file system.'
  if (volume.fsxWindowsFileServerVolumeConfiguration !== undefined) {
    throw clientError(
      `fsxWindowsFileServerVolumeConfiguration of volume '${name}' is only supported on Windows container instances, ` +
        `which are not available. ${useInstead} A file system of kind cifs mounts a Windows share.`,
    )
  }
  if (volume.s3filesVolumeConfiguration !== undefined) {
    throw clientError(`s3filesVolumeConfiguration of volume '${name}' (S3 Files) is not available. ${useInstead}`)
  }
  if (volume.configuredAtLaunch === true) {
    throw clientError(
      `configuredAtLaunch of volume '${name}' (an Amazon EBS volume that is attached at launch) is not available. ` +
        useInstead,
    )
  }
}

function checkMountPoints(container: ContainerDefinition, volumeNames: ReadonlySet<string>): void {
  const paths = new Set<string>()
  for (const { sourceVolume, containerPath } of container.mountPoints ?? []) {
    if (sourceVolume === undefined || !volumeNames.has(sourceVolume)) {
      throw clientError(`Unknown volume '${sourceVolume ?? ''}'.`)
    }
    const of = `for container '${container.name ?? ''}'`
    if (containerPath === undefined || containerPath === '') {
      throw clientError(`Invalid 'mountPoints' setting ${of}. containerPath should not be null or empty.`)
    }
    if (paths.has(containerPath)) {
      throw clientError(`Invalid 'mountPoints' setting ${of}. '${containerPath}' is mounted more than once.`)
    }
    paths.add(containerPath)
  }
}
