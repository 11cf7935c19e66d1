/**
 * How a registered file system comes into a container: as a directory of the host, or as a Docker volume with the options
 * that its kind asks for.
 */
import type { PayloadFileSystem } from '../../proto/acs.ts'
import { stableHash } from '../../proto/hash.ts'
import type { AccessPointRow, FileSystemRow, FileSystemTarget, PosixUser } from '../state/file-system-tables.ts'

/**
 * Those that Amazon's documents give for EFS, but `soft` with 15 s in place of `hard` with 60: when the server dies,
 * programs get an error after a minute or so, where `hard` lets them, and a stop of their task, wait for its return. And
 * without `noresvport`: a Linux server refuses ports that are not reserved, unless it exports with `insecure`.
 */
const nfsDefaults = 'nfsvers=4.1,rsize=1048576,wsize=1048576,soft,timeo=150,retrans=2'
/** A server that dies is noticed within twice this many seconds; the kernel's own value is 60. */
const cifsDefaults = 'vers=3.0,soft,echo_interval=10'
const nameHashDigits = 12

export const rootPlaceholder = '{rootDirectory}'
export const uidPlaceholder = '{uid}'
export const gidPlaceholder = '{gid}'

/** Options of which one takes the place of another. */
const sameOption: Readonly<Record<string, string>> = {
  hard: 'soft',
  softerr: 'soft',
  vers: 'nfsvers',
  noresvport: 'resvport',
}

/** `rootDirectory` is the definition's own; an access point has its path instead. */
export function payloadFileSystem(
  row: FileSystemRow,
  rootDirectory: string,
  accessPoint: AccessPointRow | undefined,
): PayloadFileSystem {
  const directory = accessPoint?.path ?? rootDirectory
  const { target, fileSystemId } = row
  const creation = accessPoint?.creationInfo
  return {
    fileSystemId,
    described: describeTarget(target),
    mount: mountOf(row, directory, accessPoint?.posixUser),
    rootDirectory: directory,
    ...(creation !== undefined && directory !== '/' && { creation: { ...creation } }),
    ...(creation !== undefined && target.kind !== 'path' && directory !== '/' && { rootOpts: rootOptsOf(target) }),
  }
}

/** `nfs 10.0.0.5:/export`: what it is, in an operator's words and without a secret. */
export function describeTarget(target: FileSystemTarget): string {
  switch (target.kind) {
    case 'nfs':
      return `nfs ${target.server}:${target.export}`
    case 'cifs':
      return `cifs //${target.server}/${target.share}`
    case 'glusterfs':
      return `glusterfs ${target.servers.join(',')}:${target.volume}`
    case 'volume':
      return `volume driver ${target.driver}`
    default:
      return `path ${target.path}`
  }
}

/** True where tasks can be given a part of it. */
export function takesRootDirectory(target: FileSystemTarget): boolean {
  return target.kind !== 'volume' || Object.values(target.driverOpts).some((value) => value.includes(rootPlaceholder))
}

/** True where the mount itself makes every file the user's, whoever runs in the container. */
export function mountSetsUser(target: FileSystemTarget): boolean {
  if (target.kind === 'cifs') return true
  if (target.kind !== 'volume') return false
  const values = Object.values(target.driverOpts).join(' ')
  return values.includes(uidPlaceholder) && values.includes(gidPlaceholder)
}

/** True where what travels to the server is encrypted: by the mount's own options, or as an operator says. */
export function isEncryptedInTransit({ target, encryptedInTransit }: FileSystemRow): boolean {
  if (encryptedInTransit === true) return true
  const options = target.kind === 'nfs' || target.kind === 'cifs' ? (target.options ?? '').split(',') : []
  if (target.kind === 'nfs') return options.some((option) => /^(?:xprtsec=m?tls|sec=krb5p)$/.test(option))
  return target.kind === 'cifs' && options.includes('seal')
}

function mountOf(row: FileSystemRow, directory: string, user: PosixUser | undefined): PayloadFileSystem['mount'] {
  const { target } = row
  const below = directory === '/' ? '' : directory
  switch (target.kind) {
    case 'path':
      return { kind: 'path', path: target.path, ...(target.mustBeMounted && { mustBeMounted: true as const }) }
    case 'nfs':
      return {
        kind: 'volume',
        driver: 'local',
        driverOpts: {
          type: 'nfs',
          device: `:${target.export === '/' ? below || '/' : `${target.export}${below}`}`,
          o: `addr=${target.server},${withDefaults(target.options, nfsDefaults)}`,
        },
      }
    case 'cifs':
      return {
        kind: 'volume',
        driver: 'local',
        driverOpts: {
          type: 'cifs',
          device: `//${target.server}/${target.share}${below}`,
          o: `addr=${target.server},${withDefaults(target.options, cifsDefaults)}${cifsUser(user)}`,
        },
        ...(target.credentialsFile !== undefined && { credentialsFile: target.credentialsFile }),
      }
    case 'glusterfs':
      return { kind: 'volume', driver: target.driver, driverOpts: glusterOpts(target, below) }
    default: {
      const driverOpts = filledOpts(target.driverOpts, below, user)
      const hash = stableHash([target.driver, driverOpts]).slice(0, nameHashDigits)
      return {
        kind: 'volume',
        driver: target.driver,
        driverOpts,
        // What a driver's `remove` does to the data nobody knows: such a volume is left where it is.
        name: target.volumeName ?? `gantry-${row.fileSystemId}-${hash}`,
      }
    }
  }
}

/** The options that mount all of it, where its own part is to be made first. */
function rootOptsOf(target: FileSystemTarget): Readonly<Record<string, string>> {
  const mount = mountOf({ fileSystemId: '', target, createdAt: 0 }, '/', undefined)
  return mount.kind === 'volume' ? mount.driverOpts : {}
}

function glusterOpts(
  { servers, volume }: Extract<FileSystemTarget, { kind: 'glusterfs' }>,
  below: string,
): Readonly<Record<string, string>> {
  const words = [
    ...servers.map((server) => `--volfile-server=${server}`),
    `--volfile-id=${volume}`,
    ...(below === '' ? [] : [`--subdir-mount=${below}`]),
  ]
  return { glusteropts: words.join(' ') }
}

function filledOpts(
  driverOpts: Readonly<Record<string, string>>,
  below: string,
  user: PosixUser | undefined,
): Readonly<Record<string, string>> {
  const fill = (value: string): string =>
    value
      .replaceAll(rootPlaceholder, below)
      .replaceAll(uidPlaceholder, String(user?.uid ?? 0))
      .replaceAll(gidPlaceholder, String(user?.gid ?? 0))
  return Object.fromEntries(Object.entries(driverOpts).map(([name, value]) => [name, fill(value)]))
}

function cifsUser(user: PosixUser | undefined): string {
  return user === undefined ? '' : `,uid=${user.uid},forceuid,gid=${user.gid},forcegid`
}

function withDefaults(options: string | undefined, defaults: string): string {
  const given = (options ?? '').split(',').filter((option) => option !== '')
  const names = new Set(given.map(optionName))
  return [...defaults.split(',').filter((option) => !names.has(optionName(option))), ...given].join(',')
}

function optionName(option: string): string {
  const name = option.split('=')[0] ?? ''
  return sameOption[name] ?? name
}
