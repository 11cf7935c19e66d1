/** File systems and their access points, as an operator manages them: what tasks on any host mount by their ids. */
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import type { World } from '../../proto/world.ts'
import type { AccessPointRow, FileSystemRow } from '../state/file-system-tables.ts'
import type { TaskDefinitionRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { checkFileSystems, fileSystemsOf } from './file-system-rules.ts'
import {
  type AccessPointInput,
  checkAccessPoint,
  type FileSystemTargetInput,
  readTarget,
  refuseUnknownAccess,
} from './file-system-targets.ts'
import { refuseUnknownMembers } from './known-members.ts'

const idHexDigits = 17
const nameCharactersMax = 256
const usersShown = 5
/** As Amazon EFS: of an account, and of a file system. */
const fileSystemsMax = 1000
const accessPointsMax = 1000

export interface FileSystemInput {
  readonly name?: string | undefined
  readonly target: FileSystemTargetInput
  readonly encryptedInTransit?: boolean | undefined
}

const members = ['name', 'target', 'encryptedInTransit'] as const

export function createFileSystem(tx: Transaction, input: FileSystemInput, now: number, world: World): FileSystemRow {
  refuseUnknownMembers('A file system', input, members)
  checkRoom(tx.all('fileSystem').length, fileSystemsMax, 'file systems')
  const row: FileSystemRow = {
    fileSystemId: `fs-${world.hex(idHexDigits)}`,
    ...readName(input.name),
    target: readTarget(input.target),
    ...(input.encryptedInTransit === true && { encryptedInTransit: true }),
    createdAt: now,
  }
  tx.put('fileSystem', row.fileSystemId, row)
  return row
}

/**
 * Changes what is given; the kind and the driver stay. Tasks that run keep what they have, tasks that start get the new.
 * Refused where a task definition in use could no longer be what it says.
 */
export function updateFileSystem(
  tx: Transaction,
  fileSystemId: string,
  input: Partial<FileSystemInput>,
): FileSystemRow {
  const before = requireFileSystem(tx, fileSystemId)
  refuseUnknownMembers('A file system', input, members)
  const target = input.target === undefined ? before.target : readTarget(input.target)
  if (driverOf(target) !== driverOf(before.target)) {
    throw invalidParameter(
      `File system ${fileSystemId} is of ${driverOf(before.target)}, and where its tasks may run follows from that: ` +
        'register another file system, and revisions of the task definitions that name it.',
    )
  }
  const isEncrypted = input.encryptedInTransit ?? before.encryptedInTransit
  const row: FileSystemRow = {
    fileSystemId,
    ...readName(input.name ?? before.name),
    target,
    ...(isEncrypted === true && { encryptedInTransit: true }),
    createdAt: before.createdAt,
  }
  tx.put('fileSystem', fileSystemId, row)
  for (const accessPoint of accessPointsOf(tx, fileSystemId)) checkAccessPoint(target, accessPoint)
  for (const definition of usersOf(tx, fileSystemId)) {
    try {
      checkFileSystems(tx, definition)
    } catch (error) {
      throw inUse(`Task definition ${definition.family}:${definition.revision} would not be as it says`, error)
    }
  }
  return row
}

/** ResourceInUseException names who uses it. */
export function deleteFileSystem(tx: Transaction, fileSystemId: string): void {
  requireFileSystem(tx, fileSystemId)
  const accessPoints = accessPointsOf(tx, fileSystemId)
  if (accessPoints.length > 0) {
    const ids = accessPoints.map(({ accessPointId }) => accessPointId)
    throw inUse(`File system ${fileSystemId} has access points: ${shown(ids)}. Delete them first.`)
  }
  refuseUsers(`File system ${fileSystemId}`, usersOf(tx, fileSystemId))
  tx.delete('fileSystem', fileSystemId)
}

export function createAccessPoint(
  tx: Transaction,
  fileSystemId: string,
  input: AccessPointInput,
  now: number,
  world: World,
): AccessPointRow {
  const { target } = requireFileSystem(tx, fileSystemId)
  refuseUnknownAccess(input)
  checkRoom(tx.count('accessPoint', 'byFileSystem', fileSystemId), accessPointsMax, `access points of ${fileSystemId}`)
  checkAccessPoint(target, input)
  const row: AccessPointRow = {
    accessPointId: `fsap-${world.hex(idHexDigits)}`,
    fileSystemId,
    ...readName(input.name),
    path: input.path,
    ...(input.posixUser !== undefined && { posixUser: input.posixUser }),
    ...(input.creationInfo !== undefined && { creationInfo: input.creationInfo }),
    createdAt: now,
  }
  tx.put('accessPoint', row.accessPointId, row)
  return row
}

export function deleteAccessPoint(tx: Transaction, fileSystemId: string, accessPointId: string): void {
  requireAccessPoint(tx, fileSystemId, accessPointId)
  refuseUsers(`Access point ${accessPointId}`, usersOf(tx, fileSystemId, accessPointId))
  tx.delete('accessPoint', accessPointId)
}

export function requireFileSystem(reader: Reader, fileSystemId: string): FileSystemRow {
  const row = reader.get('fileSystem', fileSystemId)
  if (row === undefined) {
    throw new ApiError('ResourceNotFoundException', `File system '${fileSystemId}' does not exist.`)
  }
  return row
}

export function requireAccessPoint(reader: Reader, fileSystemId: string, accessPointId: string): AccessPointRow {
  requireFileSystem(reader, fileSystemId)
  const row = reader.get('accessPoint', accessPointId)
  if (row === undefined || row.fileSystemId !== fileSystemId) {
    throw new ApiError('ResourceNotFoundException', `Access point '${accessPointId}' does not exist.`)
  }
  return row
}

export function accessPointsOf(reader: Reader, fileSystemId: string): readonly AccessPointRow[] {
  return reader.find('accessPoint', 'byFileSystem', fileSystemId)
}

/** Task definitions that new tasks may still be of, or live tasks and services are. */
export function usersOf(reader: Reader, fileSystemId: string, accessPointId?: string): readonly TaskDefinitionRow[] {
  return reader.all('taskDefinition').filter((row) => {
    const named = fileSystemsOf(row).some(
      (efs) =>
        efs.fileSystemId === fileSystemId &&
        (accessPointId === undefined || efs.authorizationConfig?.accessPointId === accessPointId),
    )
    if (!named) return false
    const arn = row.taskDefinitionArn
    return (
      row.status === 'ACTIVE' ||
      reader.count('task', 'liveByTaskDefinition', arn) > 0 ||
      reader.count('service', 'liveByTaskDefinition', arn) > 0 ||
      reader.count('deployment', 'liveByTaskDefinition', arn) > 0 ||
      reader.count('taskSet', 'byTaskDefinition', arn) > 0
    )
  })
}

function checkRoom(count: number, most: number, what: string): void {
  if (count < most) return
  throw new ApiError('LimitExceededException', `There are ${count} ${what}, the most that there can be: delete some.`)
}

function refuseUsers(what: string, users: readonly TaskDefinitionRow[]): void {
  if (users.length === 0) return
  const names = users.map(({ family, revision }) => `${family}:${revision}`)
  throw inUse(
    `${what} is used by task definition ${shown(names)}. Stop the tasks and services that use it, and deregister ` +
      'the task definition, first.',
  )
}

function inUse(message: string, cause?: unknown): ApiError {
  const why = cause instanceof Error ? `${message}: ${cause.message}` : message
  return new ApiError('ResourceInUseException', why)
}

function shown(names: readonly string[]): string {
  const more = names.length - usersShown
  return names.slice(0, usersShown).join(', ') + (more > 0 ? ` and ${more} more` : '')
}

function driverOf(target: FileSystemRow['target']): string {
  return 'driver' in target ? `kind ${target.kind} with driver ${target.driver}` : `kind ${target.kind}`
}

function readName(name: string | undefined): { readonly name?: string } {
  if (name === undefined || name === '') return {}
  if (name.length > nameCharactersMax) throw invalidParameter(`name takes ${nameCharactersMax} characters at most.`)
  if (/\p{Cc}/u.test(name)) throw invalidParameter('name takes no control characters.')
  return { name }
}
