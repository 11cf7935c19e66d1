/** The shared file systems of a task: how each volume of `efsVolumeConfiguration` is mounted, and as whom it is used. */
import type { PayloadFileSystem } from '../../proto/acs.ts'
import type { ContainerDefinition, TaskDefinition } from '../../proto/model/types.ts'
import type { AccessPointRow, FileSystemRow, PosixUser } from '../state/file-system-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { mountSetsUser, payloadFileSystem } from './file-system-mount.ts'

/** Where rows are looked up. */
export type FileSystems = Pick<Reader, 'get'>

interface FileSystemVolume {
  readonly row: FileSystemRow
  readonly accessPoint: AccessPointRow | undefined
  readonly rootDirectory: string
}

/**
 * By volume name; undefined where the task has none. A file system that is no longer there is left out, and the agent
 * says so: its task ends with a reason in place of waiting for ever.
 */
export function payloadFileSystems(
  rows: FileSystems,
  definition: TaskDefinition,
): Readonly<Record<string, PayloadFileSystem>> | undefined {
  const volumes = fileSystemVolumes(rows, definition)
  if (volumes.size === 0) return undefined
  return Object.fromEntries(
    [...volumes].map(([name, { row, rootDirectory, accessPoint }]) => [
      name,
      payloadFileSystem(row, rootDirectory, accessPoint),
    ]),
  )
}

/**
 * What Docker is told of a container that uses an access point as its user: it may not become another one. Registration
 * has seen to it that it runs as that user.
 */
export function accessPointHostConfig(
  rows: FileSystems,
  definition: TaskDefinition,
  container: ContainerDefinition,
): Readonly<Record<string, unknown>> | undefined {
  const users = [...fileSystemVolumes(rows, definition)].flatMap(([name, { row, accessPoint }]): PosixUser[] => {
    const user = accessPoint?.posixUser
    if (user === undefined || mountSetsUser(row.target)) return []
    return containersWith(definition, name).some((each) => each.name === container.name) ? [user] : []
  })
  if (users.length === 0) return undefined
  const security = container.dockerSecurityOptions ?? []
  const groups = [...new Set(users.flatMap(({ secondaryGids = [] }) => secondaryGids))].map(String)
  return {
    SecurityOpt: [...security.filter((option) => !option.startsWith('no-new-privileges')), 'no-new-privileges'],
    ...(groups.length > 0 && { GroupAdd: groups }),
  }
}

function fileSystemVolumes(rows: FileSystems, definition: TaskDefinition): ReadonlyMap<string, FileSystemVolume> {
  const found = new Map<string, FileSystemVolume>()
  for (const { name = '', efsVolumeConfiguration: efs } of definition.volumes ?? []) {
    const row = efs === undefined ? undefined : rows.get('fileSystem', efs.fileSystemId ?? '')
    if (efs === undefined || row === undefined) continue
    const { accessPointId } = efs.authorizationConfig ?? {}
    const accessPoint = accessPointId === undefined ? undefined : rows.get('accessPoint', accessPointId)
    if (accessPointId !== undefined && accessPointId !== '' && accessPoint === undefined) continue
    found.set(name, { row, accessPoint, rootDirectory: efs.rootDirectory ?? '/' })
  }
  return found
}

/** Containers that mount the volume, or take it from one that does. */
export function containersWith(definition: TaskDefinition, volumeName: string): readonly ContainerDefinition[] {
  const containers = definition.containerDefinitions ?? []
  const names = new Set(
    containers
      .filter(({ mountPoints }) => (mountPoints ?? []).some(({ sourceVolume }) => sourceVolume === volumeName))
      .map(({ name }) => name),
  )
  for (let before = -1; before !== names.size; ) {
    before = names.size
    for (const { name, volumesFrom } of containers) {
      if ((volumesFrom ?? []).some(({ sourceContainer }) => names.has(sourceContainer))) names.add(name)
    }
  }
  return containers.filter(({ name }) => names.has(name))
}

/** What a host has to have for these file systems, as attributes: its kernel's modules, or a volume driver. */
export function fileSystemAttributes(rows: FileSystems, definition: TaskDefinition): readonly string[] {
  const names = [...fileSystemVolumes(rows, definition).values()].map(({ row: { target } }) => {
    switch (target.kind) {
      case 'nfs':
      case 'cifs':
        return `gantry.capability.file-system.${target.kind}`
      case 'path':
        return 'gantry.capability.file-system'
      default:
        return `ecs.capability.docker-plugin.${target.driver.replaceAll(':', '.')}`
    }
  })
  // An official agent has `ecs.capability.efs` too, and knows Amazon's file systems alone.
  return names.length === 0 ? [] : [...new Set(['gantry.capability.file-system', ...names])]
}
