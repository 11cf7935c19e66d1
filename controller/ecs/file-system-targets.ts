/** What an operator may register as a file system and as an access point, and why something else is refused. */
import { invalidParameter } from '../../proto/errors.ts'
import { mountSetsUser, rootPlaceholder, takesRootDirectory } from '../decide/file-system-mount.ts'
import type { AccessPointRow, FileSystemTarget } from '../state/file-system-tables.ts'
import { refuseUnknownMembers } from './known-members.ts'

/** A target as it comes over the wire: of which kind its members are is checked here. */
export interface FileSystemTargetInput {
  readonly kind: string
  readonly server?: string | undefined
  readonly export?: string | undefined
  readonly share?: string | undefined
  readonly options?: string | undefined
  readonly credentialsFile?: string | undefined
  readonly servers?: readonly string[] | undefined
  readonly volume?: string | undefined
  readonly driver?: string | undefined
  readonly driverOpts?: Readonly<Record<string, string>> | undefined
  readonly volumeName?: string | undefined
  readonly path?: string | undefined
  readonly mustBeMounted?: boolean | undefined
}

const membersOfKind: Readonly<Record<FileSystemTarget['kind'], readonly (keyof FileSystemTargetInput)[]>> = {
  nfs: ['kind', 'server', 'export', 'options'],
  cifs: ['kind', 'server', 'share', 'options', 'credentialsFile'],
  glusterfs: ['kind', 'servers', 'volume', 'driver'],
  volume: ['kind', 'driver', 'driverOpts', 'volumeName'],
  path: ['kind', 'path', 'mustBeMounted'],
}

const uidMost = 4_294_967_294
const secondaryGidsMost = 16
const pathCharactersMost = 1024
/** Of all members of a target together, as JSON: every payload of a task that uses it carries them. */
const targetCharactersMax = 8192
const secretKeys = '(?:access|account|api|encryption|license|private|secret|shared)[_-]?key'
const secretWords = `(?:pass(?:word|wd|phrase)?\\d?|secret|token|${secretKeys})`
/** Options of these names are secrets, or name the user that belongs to one. */
const secretOption = new RegExp(`^(?:user(?:name|id)?|cred(?:entials)?|dom(?:ain)?|${secretWords})$`, 'i')
const secretDriverOption = new RegExp(`${secretWords}$`, 'i')
const secretDriverValue = new RegExp(`(?:^|[,;&?\\s])${secretWords}=`, 'i')
/** `user:password@host`, also behind `//`. */
const userinfo = /(?:^|\/\/|\s)[^/@:\s]+:[^/@\s]+@/

/** Reads a target; InvalidParameterException says which member is wrong and what to give in its place. */
export function readTarget(input: FileSystemTargetInput): FileSystemTarget {
  const { kind } = input
  if (JSON.stringify(input).length > targetCharactersMax) {
    throw invalidParameter(`target can have at most ${targetCharactersMax} characters, all its members together.`)
  }
  if (!isKind(kind)) {
    throw invalidParameter(`kind must be one of ${Object.keys(membersOfKind).join(', ')}, and is '${kind}'.`)
  }
  for (const [name, value] of Object.entries(input)) {
    if (value !== undefined && !membersOfKind[kind].includes(name as keyof FileSystemTargetInput)) {
      throw invalidParameter(`A file system of kind ${kind} takes ${membersOfKind[kind].join(', ')}, not ${name}.`)
    }
  }
  switch (kind) {
    case 'nfs':
      return readNfs(input)
    case 'cifs':
      return readCifs(input)
    case 'glusterfs':
      return readGlusterfs(input)
    case 'volume':
      return readVolume(input)
    default:
      return { kind: 'path', path: readPath('path', input.path), mustBeMounted: input.mustBeMounted ?? true }
  }
}

function isKind(kind: string): kind is FileSystemTarget['kind'] {
  return Object.hasOwn(membersOfKind, kind)
}

function readNfs(input: FileSystemTargetInput): FileSystemTarget {
  const exported = input.export === '/' ? '/' : readPath('export', input.export)
  const options = readOptions(input.options)
  if (exported.includes(',')) throw invalidParameter(`export '${exported}' holds a comma, which no mount takes.`)
  return { kind: 'nfs', server: readServer(input.server), export: exported, ...(options !== undefined && { options }) }
}

function readCifs(input: FileSystemTargetInput): FileSystemTarget {
  const { share } = input
  if (share === undefined || !/^[^/\\,\s\p{Cc}][^\\,\p{Cc}]*$/u.test(share) || share.split('/').includes('..')) {
    throw invalidParameter(`share must be the share's name, as in //server/share, and is '${share ?? ''}'.`)
  }
  const options = readOptions(input.options)
  const credentialsFile =
    input.credentialsFile === undefined ? undefined : readPath('credentialsFile', input.credentialsFile)
  return {
    kind: 'cifs',
    server: readServer(input.server),
    share: share.replace(/\/+$/, ''),
    ...(options !== undefined && { options }),
    ...(credentialsFile !== undefined && { credentialsFile }),
  }
}

function readGlusterfs({ servers = [], volume, driver = 'glusterfs' }: FileSystemTargetInput): FileSystemTarget {
  if (servers.length === 0) throw invalidParameter('servers must name one server or more.')
  if (volume === undefined || !/^[\w.-]+$/.test(volume)) {
    throw invalidParameter(`volume must be the name of a Gluster volume, and is '${volume ?? ''}'.`)
  }
  return { kind: 'glusterfs', servers: servers.map(readServer), volume, driver: readDriver(driver) }
}

function readVolume({ driver, driverOpts = {}, volumeName }: FileSystemTargetInput): FileSystemTarget {
  for (const [name, value] of Object.entries(driverOpts)) {
    if (secretDriverOption.test(name) || secretDriverValue.test(value) || userinfo.test(value)) {
      throw invalidParameter(
        `driverOpts.${name} looks like a secret, and everybody who may read file systems would see it: give it to ` +
          'the driver on the hosts (its own settings, or a key file there), or use kind cifs with credentialsFile.',
      )
    }
  }
  const takesRoot = Object.values(driverOpts).some((value) => value.includes(rootPlaceholder))
  if (volumeName !== undefined && takesRoot) {
    throw invalidParameter(
      `volumeName stands for one volume, and ${rootPlaceholder} in driverOpts for several: leave one of them out.`,
    )
  }
  if (volumeName !== undefined && !/^[A-Za-z0-9][\w.-]{1,200}$/.test(volumeName)) {
    throw invalidParameter(`volumeName '${volumeName}' is no name that Docker takes: letters, digits, '_', '.', '-'.`)
  }
  return { kind: 'volume', driver: readDriver(driver), driverOpts, ...(volumeName !== undefined && { volumeName }) }
}

function readServer(server: string | undefined): string {
  if (server === undefined || !/^[A-Za-z0-9][A-Za-z0-9.:-]{0,254}$/.test(server)) {
    throw invalidParameter(`server must be a host name or an address, and is '${server ?? ''}'.`)
  }
  return server
}

function readDriver(driver: string | undefined): string {
  if (driver === undefined || !/^[A-Za-z0-9][\w./:-]{0,254}$/.test(driver)) {
    throw invalidParameter(
      `driver must be the name of a Docker volume driver, as \`docker plugin ls\` shows it, and is '${driver ?? ''}'.`,
    )
  }
  return driver
}

function readOptions(options: string | undefined): string | undefined {
  if (options === undefined || options === '') return undefined
  for (const option of options.split(',')) {
    const name = option.split('=')[0] ?? ''
    if (secretOption.test(name)) {
      throw invalidParameter(
        `options must not hold '${name}': a secret has no safe place there. For cifs put username, password and ` +
          'domain into a file on each host, readable for root alone, and give its path as credentialsFile.',
      )
    }
    if (name === 'addr' || name === 'ip') {
      throw invalidParameter(`options must not hold '${name}': server says it.`)
    }
    if (!/^[\w.=:/@+-]+$/.test(option)) throw invalidParameter(`options holds '${option}', which is no mount option.`)
  }
  return options
}

/** An absolute path without `..`, `//` and what would end it in a mount option or a bind. */
function readPath(member: string, path: string | undefined): string {
  const isPlain =
    path !== undefined &&
    path.length <= pathCharactersMost &&
    /^\/[^:\p{Cc}]+$/u.test(path) &&
    !path.split('/').some((part, at) => at > 0 && (part === '' || part === '.' || part === '..'))
  if (!isPlain) {
    throw invalidParameter(
      `${member} must be an absolute path other than /, without ':', '..' and a slash at its end, and is '${path ?? ''}'.`,
    )
  }
  return path
}

/** As `efsVolumeConfiguration.rootDirectory`; what is wrong with it, undefined where nothing is. */
export function rootDirectoryProblem(target: FileSystemTarget, directory: string): string | undefined {
  if (directory === '/') return undefined
  try {
    readPath('The root directory', directory)
  } catch (error) {
    return (error as Error).message
  }
  if (target.kind !== 'path' && /[,\s]/.test(directory)) {
    return `The root directory '${directory}' holds a comma or a space, which no mount option takes.`
  }
  if (takesRootDirectory(target)) return undefined
  return (
    `The volume driver mounts all of the file system: for a root directory other than / put ${rootPlaceholder} into ` +
    'the value of driverOpts that names the directory, or register the directory as a file system of its own.'
  )
}

export type AccessPointInput = Omit<AccessPointRow, 'accessPointId' | 'fileSystemId' | 'createdAt'>

/** A misspelt `posixUser` would be an access point for everybody. */
export function refuseUnknownAccess(input: AccessPointInput): void {
  refuseUnknownMembers('An access point', input, ['name', 'path', 'posixUser', 'creationInfo'])
  refuseUnknownMembers('posixUser', input.posixUser ?? {}, ['uid', 'gid', 'secondaryGids'])
  refuseUnknownMembers('creationInfo', input.creationInfo ?? {}, ['ownerUid', 'ownerGid', 'permissions'])
}

/** Checks an access point of this target; InvalidParameterException. */
export function checkAccessPoint(target: FileSystemTarget, { path, posixUser, creationInfo }: AccessPointInput): void {
  const problem = rootDirectoryProblem(target, path)
  if (problem !== undefined) throw invalidParameter(`path '${path}': ${problem}`)
  const ids = [
    ['posixUser.uid', posixUser?.uid],
    ['posixUser.gid', posixUser?.gid],
    ...(posixUser?.secondaryGids ?? []).map((gid) => ['posixUser.secondaryGids', gid] as const),
    ['creationInfo.ownerUid', creationInfo?.ownerUid],
    ['creationInfo.ownerGid', creationInfo?.ownerGid],
  ] as const
  for (const [member, id] of ids) {
    if (id !== undefined && (!Number.isInteger(id) || id < 0 || id > uidMost)) {
      throw invalidParameter(`${member} must be a whole number from 0 to ${uidMost}, and is ${id}.`)
    }
  }
  const secondary = posixUser?.secondaryGids ?? []
  if (secondary.length > secondaryGidsMost) {
    throw invalidParameter(`posixUser.secondaryGids takes ${secondaryGidsMost} groups at most.`)
  }
  if (secondary.length > 0 && mountSetsUser(target)) {
    throw invalidParameter(
      'posixUser.secondaryGids has no effect where the mount makes every file the one user and group: leave it out.',
    )
  }
  if (creationInfo !== undefined && !/^0?[0-7]{3,4}$/.test(creationInfo.permissions)) {
    throw invalidParameter(`creationInfo.permissions must be octal, as 0755, and is '${creationInfo.permissions}'.`)
  }
}
