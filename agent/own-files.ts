/**
 * Keeps the agent's own files out of containers: its keys, its journal, its configuration. A mount that holds them, such
 * as the host's whole file system, gets an empty directory over their place; one of the files themselves is refused. What
 * a privileged container or one with the engine's socket can do no mount prevents (docs/task-roles.md).
 */
import { existsSync, realpathSync, statSync } from 'node:fs'
import type { Stats } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join, posix, relative } from 'node:path'
import { EngineError } from './engine.ts'
import type { CreateBody, Engine } from './engine.ts'
import { asWritten, realPaths as hostRealPaths, type RealPaths } from './real-paths.ts'

type Members = Readonly<Record<string, unknown>>

export interface OwnFilesOptions<E extends Engine> {
  readonly engine: E
  /** Directories and files that no container sees. */
  readonly paths: readonly string[]
  /** Where the metadata files of containers are; each container sees its own. */
  readonly metadataFiles: string
  /** Follows links of the host's paths. */
  readonly realPaths?: RealPaths | undefined
  /** Tells what lies at a path of the host; undefined where nothing does. */
  readonly look?: Look | undefined
}

type Look = (path: string) => Pick<Stats, 'dev' | 'rdev' | 'isBlockDevice'> | undefined

const hostLook: Look = (path) => statSync(path, { throwIfNoEntry: false })

const emptyDirectory = 'ro,noexec,nosuid,nodev,size=4k,mode=0555'

/** A mount as the container has it: a directory or file of the host, and where it is within. */
interface HostMount {
  readonly source: string
  readonly target: string
  /** The source may be a device, whose file system is mounted and not itself. */
  readonly isDisk?: boolean | undefined
  /** The name of the volume that it is of: Docker mounts that among its own files first, where nothing is hidden. */
  readonly volume?: string | undefined
}

export function withOwnFilesHidden<E extends Engine>(options: OwnFilesOptions<E>): E {
  const { engine } = options
  return {
    ...engine,
    async createContainer(name, body) {
      const hidden = await hiddenIn(options, name, body)
      return engine.createContainer(name, hidden.length === 0 ? body : withMasks(body, hidden))
    },
  }
}

/**
 * Where Gantry's services of a host have their data and settings, and what systemd hands them: the controller's are the
 * keys to everything.
 */
const servicePaths = ['/var/lib/gantry', '/etc/gantry', '/etc/ecs', '/run/credentials']

/**
 * Where they are kept: `credentialsFile` is taken with its directory, in which it may be replaced by a new one. None lies
 * within another: nothing can be mounted in the empty directory that hides the outer one.
 */
export function ownPaths(
  dataDirectory: string,
  credentialsFile: string | undefined,
  ofServices: readonly string[] = servicePaths,
): readonly string[] {
  const keys = credentialsFile === undefined ? [] : [keysPath(credentialsFile)]
  // Also what is not there: a controller may be installed on this host while its agent runs.
  const all = [...new Set([dataDirectory, ...keys, ...ofServices].map(realPath))]
  return all.filter((path) => !all.some((outer) => outer !== path && isWithin(path, outer)))
}

/**
 * A directory that is everybody's, such as somebody's home or a project in it, is not hidden for one file in it; one that
 * is hidden there, such as `.aws` or the `.gantry` of `npm start`, is for keys, and has those of others too.
 */
export function keysPath(credentialsFile: string, home = homedir()): string {
  const directory = dirname(credentialsFile)
  const isOfProject = directory.startsWith('/home/') && !directory.includes('/.')
  const isShared = directory === home || directory.split('/').length < 3 || isOfProject
  return isShared ? credentialsFile : directory
}

interface Hidden {
  /** Within the container. */
  readonly target: string
  readonly isFile: boolean
}

async function hiddenIn(
  { engine, paths, metadataFiles, realPaths = hostRealPaths, look = hostLook }: OwnFilesOptions<Engine>,
  name: string,
  body: CreateBody,
): Promise<readonly Hidden[]> {
  const own = join(metadataFiles, name)
  const mounts = (await hostMounts(engine, body)).filter(({ source }) => source !== own)
  const hidden = new Map<string, Hidden>()
  const led = await realPaths(mounts.map(({ source }) => source))
  // The agent's own places are on disks that it lives on itself.
  const places = paths.map(realPath)
  for (const [index, { source, target, isDisk, volume }] of mounts.entries()) {
    const from = led[index] ?? source
    for (const path of places) {
      if (isDisk === true && isDiskOf(look, from, path)) {
        throw new EngineError(
          'refused',
          `${source} is the disk of the host on which the agent has its own place ${path}, and no container may have it ` +
            'as a volume. Mount another.',
        )
      }
      if (isWithin(from, path)) {
        throw new EngineError(
          'refused',
          `${source} of the host is one of the agent's own places, ${path}, and no container may have it. Mount another.`,
        )
      }
      // What is gone meanwhile hides nothing, and Docker could not mount over it in what is read-only.
      if (!isWithin(path, from) || !existsSync(path)) continue
      if (volume !== undefined) {
        throw new EngineError(
          'refused',
          `volume ${volume} shows ${source} of the host, and within it the agent's own place ${path}, which Docker would ` +
            'mount once more where other containers find it. Mount that directory itself, as a host volume.',
        )
      }
      const within = posix.join(target, relative(from, path))
      hidden.set(within, { target: within, isFile: isFile(path) })
    }
  }
  return [...hidden.values()]
}

async function hostMounts(engine: Engine, body: CreateBody): Promise<readonly HostMount[]> {
  const hostConfig = membersOf(body['HostConfig'])
  const binds = textsOf(hostConfig['Binds']).map((bind) => {
    const [source = '', target = ''] = bind.split(':')
    return { source, target }
  })
  const mounts = listOf(hostConfig['Mounts']).map((mount) => {
    const { Source: source, Target: target } = membersOf(mount)
    return { source: textOf(source), target: textOf(target) }
  })
  const own = await Promise.all([...binds, ...mounts].map(async (mount) => ofHost(engine, mount)))
  const others = await Promise.all(textsOf(hostConfig['VolumesFrom']).map(async (from) => mountsOf(engine, from)))
  return [...own.flat(), ...others.flat()]
}

/** A named volume may be a directory of the host under another name. */
async function ofHost(engine: Engine, { source, target }: HostMount): Promise<readonly HostMount[]> {
  if (source.startsWith('/')) return [{ source, target }]
  const volume = source === '' ? undefined : await engine.inspectVolume(source)
  if (volume?.driver !== 'local') return []
  const sources = sourcesOf(volume.options)
  const partial = sources.find(({ source: one }) => !one.startsWith('/'))
  if (partial === undefined) return sources.map((one) => ({ ...one, target, volume: source }))
  throw new EngineError(
    'refused',
    `volume ${source} is of ${partial.source}, which is no whole path, so nobody can tell what of the host it is. Give ` +
      'its driverOpts paths that begin with a slash.',
  )
}

/**
 * What of the host a volume of the driver `local` shows, which hands its options to the kernel as they are. Source:
 * moby, volume/local; mount(2); the kernel's documentation of overlayfs.
 */
function sourcesOf({
  type = '',
  o = '',
  device = '',
}: Readonly<Record<string, string>>): readonly Omit<HostMount, 'target'>[] {
  const options = o.split(',')
  // Whatever the type says: the kernel does not look at it.
  if (options.includes('bind') || options.includes('rbind')) return [{ source: device }]
  if (type === 'overlay') return options.flatMap(layersIn)
  // `//server/share` is no path of this host.
  return device.startsWith('/') && !device.startsWith('//') ? [{ source: device, isDisk: true }] : []
}

/** The directories that an option of an overlay names; what has a colon in its name comes in two, neither of which is ours. */
function layersIn(option: string): readonly Omit<HostMount, 'target'>[] {
  const [name = '', value = ''] = option.split(/=(.*)/s)
  if (!/^(?:lowerdir|upperdir|workdir|datadir)\+?$/.test(name)) return []
  const directories = value.replaceAll(/\\(.)/gs, '$1').split(':')
  return directories.filter((directory) => directory !== '').map((source) => ({ source }))
}

/** What another container has mounted this one gets as well, and without what hides a part of it there. */
async function mountsOf(engine: Engine, from: string): Promise<readonly HostMount[]> {
  const [name = ''] = from.split(':')
  const shown = await engine.inspectContainer(name)
  const mounts = (shown?.details?.mounts ?? []).map((mount) => ({
    source: mount.name === '' ? mount.source : mount.name,
    target: mount.destination,
  }))
  return (await Promise.all(mounts.map(async (mount) => ofHost(engine, mount)))).flat()
}

/**
 * An empty directory that cannot be written is mounted there after what holds it, since Docker mounts by depth; a file
 * gets /dev/null in its place. Docker's own MaskedPaths are left as they are: to add to them is to replace its list.
 */
function withMasks(body: CreateBody, hidden: readonly Hidden[]): CreateBody {
  const hostConfig = membersOf(body['HostConfig'])
  const files = hidden.filter(({ isFile: is }) => is).map(({ target }) => `/dev/null:${target}:ro`)
  const directories = hidden.filter(({ isFile: is }) => !is).map(({ target }) => [target, emptyDirectory] as const)
  return {
    ...body,
    HostConfig: {
      ...hostConfig,
      Binds: [...textsOf(hostConfig['Binds']), ...files],
      Tmpfs: { ...membersOf(hostConfig['Tmpfs']), ...Object.fromEntries(directories) },
    },
  }
}

/** True where the device holds the file system in which the path lies. */
function isDiskOf(look: Look, device: string, path: string): boolean {
  const shown = look(device)
  return shown?.isBlockDevice() === true && shown.rdev === look(path)?.dev
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() !== true
}

/** True where `path` is `directory` or lies below it. */
function isWithin(path: string, directory: string): boolean {
  return path === directory || path.startsWith(directory === '/' ? '/' : `${directory}/`)
}

function realPath(path: string): string {
  try {
    return realpathSync(path)
  } catch {
    return asWritten(path)
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

function textsOf(value: unknown): readonly string[] {
  return listOf(value).filter((one) => typeof one === 'string')
}

function membersOf(value: unknown): Members {
  return typeof value === 'object' && value !== null ? (value as Members) : {}
}
