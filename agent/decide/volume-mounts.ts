/** What a task's volumes are to Docker: their names, and how containers mount them. */
import type { PayloadContainer, PayloadFileSystem, PayloadTask, PayloadVolume } from '../../proto/acs.ts'
import type { VolumeFacts } from './view.ts'

/** The file system that a volume is of; undefined for every other volume. */
export function fileSystemOf(payload: PayloadTask, volume: PayloadVolume): PayloadFileSystem | undefined {
  return volume.type === 'efs' ? payload.gantry?.fileSystems?.[volume.name] : undefined
}

/** The file systems that a container mounts, for a message: `fs-0123 (nfs 10.0.0.5:/export)`; empty where there are none. */
export function fileSystemsOf(payload: PayloadTask, container: PayloadContainer): string {
  const shown = payload.volumes.flatMap((volume) => {
    const fileSystem = fileSystemOf(payload, volume)
    const isMounted = container.mountPoints.some(({ sourceVolume }) => sourceVolume === volume.name)
    return fileSystem === undefined || !isMounted ? [] : [`${fileSystem.fileSystemId} (${fileSystem.described})`]
  })
  return shown.join(', ')
}

/** Facts of a task's volumes, before anything is done. `nameFor` chooses the Docker name of one that is the task's own. */
export function freshVolumes(
  payload: PayloadTask,
  nameFor: (volume: string) => string,
): Readonly<Record<string, VolumeFacts>> {
  const facts = payload.volumes.flatMap((volume): [string, VolumeFacts][] => {
    const { name } = volume
    const fileSystem = fileSystemOf(payload, volume)
    if (fileSystem !== undefined) {
      const ours = fileSystem.mount.kind === 'volume' && fileSystem.mount.name === undefined
      return [[name, { dockerName: nameFor(name), created: false, ours, isFileSystem: true }]]
    }
    if (volume.host?.sourcePath) return []
    const isShared = volume.dockerVolumeConfiguration?.scope === 'shared'
    return [[name, { dockerName: isShared ? name : nameFor(name), created: false, ours: !isShared }]]
  })
  return Object.fromEntries(facts)
}

/** How a container's mount points stand in Docker's host config. */
export function dockerMounts(
  task: PayloadTask,
  container: PayloadContainer,
  volumeFacts: Readonly<Record<string, VolumeFacts>>,
): { readonly Binds: readonly string[]; readonly Mounts?: readonly object[] } {
  const binds: string[] = []
  const mounts: object[] = []
  for (const { sourceVolume, containerPath, readOnly } of container.mountPoints) {
    const volume = task.volumes.find(({ name }) => name === sourceVolume)
    const fileSystem = volume === undefined ? undefined : fileSystemOf(task, volume)
    const dockerName = volumeFacts[sourceVolume]?.dockerName ?? sourceVolume
    if (fileSystem === undefined) {
      binds.push(`${volume?.host?.sourcePath || dockerName}:${containerPath}${readOnly ? ':ro' : ''}`)
    } else if (fileSystem.mount.kind === 'path') {
      // A bind would make a directory that is missing, and so hide that the file system is not there.
      const Source = `${fileSystem.mount.path}${fileSystem.rootDirectory === '/' ? '' : fileSystem.rootDirectory}`
      mounts.push({ Type: 'bind', Source, Target: containerPath, ReadOnly: readOnly })
    } else {
      // Docker would copy what the image has at that path into an empty volume, and give its root the image's owner.
      binds.push(`${fileSystem.mount.name ?? dockerName}:${containerPath}:${readOnly ? 'ro,' : ''}nocopy`)
    }
  }
  return { Binds: binds, ...(mounts.length > 0 && { Mounts: mounts }) }
}
