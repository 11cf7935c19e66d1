/**
 * The rules for `efsVolumeConfiguration`: what it names has to be registered, and what it promises has to be true on
 * these hosts. Refused in ECS's words where they are known.
 */
import { clientError } from '../../proto/errors.ts'
import type { ApiError } from '../../proto/errors.ts'
import type { TaskDefinition, Volume } from '../../proto/model/types.ts'
import { isEncryptedInTransit, mountSetsUser } from '../decide/file-system-mount.ts'
import { containersWith } from '../decide/payload-file-systems.ts'
import type { AccessPointRow, FileSystemRow, PosixUser } from '../state/file-system-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { rootDirectoryProblem } from './file-system-targets.ts'

export type EfsVolume = NonNullable<Volume['efsVolumeConfiguration']>

export function fileSystemsOf(definition: TaskDefinition): readonly EfsVolume[] {
  return (definition.volumes ?? []).flatMap(({ efsVolumeConfiguration }) => efsVolumeConfiguration ?? [])
}

/** ClientException says which volume is wrong and how to mend it. */
export function checkFileSystems(reader: Reader, definition: TaskDefinition): void {
  for (const volume of definition.volumes ?? []) {
    const efs = volume.efsVolumeConfiguration
    if (efs !== undefined) checkVolume(reader, definition, volume.name ?? '', efs)
  }
}

function checkVolume(reader: Reader, definition: TaskDefinition, name: string, efs: EfsVolume): void {
  const refused = (why: string): ApiError => clientError(`Invalid 'efsVolumeConfiguration' of volume '${name}'. ${why}`)
  const { fileSystemId = '', rootDirectory = '/', authorizationConfig, transitEncryptionPort } = efs
  if (fileSystemId === '') throw refused('fileSystemId should not be null or empty.')
  const row = reader.get('fileSystem', fileSystemId)
  if (row === undefined) {
    throw refused(
      `File system '${fileSystemId}' does not exist. Register it on POST /v1/file-systems; GET lists those there are.`,
    )
  }
  if (authorizationConfig?.iam === 'ENABLED') {
    throw refused('authorizationConfig.iam ENABLED is not available yet: leave iam out. An access point can be used.')
  }
  if (transitEncryptionPort !== undefined && transitEncryptionPort !== 0) {
    throw refused("transitEncryptionPort is a port of Amazon's own mount helper, which is not here: leave it out.")
  }
  if (efs.transitEncryption === 'ENABLED' && !isEncryptedInTransit(row)) {
    throw refused(
      `transitEncryption ENABLED can't be kept: nothing encrypts the way to file system ${fileSystemId}. Mount it so ` +
        "(nfs: option xprtsec=tls or sec=krb5p; cifs: option seal), or set the file system's encryptedInTransit to true " +
        'where the network does it (a VPN, sshfs), or leave transitEncryption out.',
    )
  }
  const problem = rootDirectoryProblem(row.target, rootDirectory)
  if (problem !== undefined) throw refused(`rootDirectory: ${problem}`)
  const accessPointId = authorizationConfig?.accessPointId
  if (accessPointId === undefined || accessPointId === '') return
  if (rootDirectory !== '/') {
    throw refused('When using an EFS access point, the root directory must either be set to "/" or be omitted.')
  }
  const accessPoint = reader.get('accessPoint', accessPointId)
  if (accessPoint === undefined || accessPoint.fileSystemId !== fileSystemId) {
    throw refused(`Access point '${accessPointId}' does not exist on file system ${fileSystemId}.`)
  }
  const why = posixUserProblem(definition, name, row, accessPoint)
  if (why !== undefined) throw refused(why)
}

/**
 * EFS makes every file of an access point its user's, whoever asks. An NFS server and a directory know only who the
 * process is: so the containers have to run as that user, and with nothing that lets them become another.
 */
function posixUserProblem(
  definition: TaskDefinition,
  volumeName: string,
  row: FileSystemRow,
  { accessPointId, posixUser }: AccessPointRow,
): string | undefined {
  if (posixUser === undefined || mountSetsUser(row.target)) return undefined
  const user = userText(posixUser)
  for (const container of containersWith(definition, volumeName)) {
    const { name = '' } = container
    const why =
      `access point ${accessPointId} is for user ${user}, and file system ${row.fileSystemId} (${row.target.kind}) ` +
      `knows only as whom container '${name}' runs`
    if (container.user !== user) {
      const given = container.user === undefined ? 'which names no user' : `which runs as '${container.user}'`
      return `${upperFirst(why)}, ${given}: set its user to '${user}'.`
    }
    if (container.privileged === true || (container.linuxParameters?.capabilities?.add ?? []).length > 0) {
      return `${upperFirst(why)}: it must be neither privileged nor have added capabilities, or it could be anyone.`
    }
  }
  return undefined
}

function userText({ uid, gid }: PosixUser): string {
  return `${uid}:${gid}`
}

function upperFirst(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}
