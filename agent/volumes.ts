/**
 * Volumes on this host: shared ones are compared with what is asked for, and shared file systems are tried, by a
 * container that never runs: Docker Engine mounts them for a look into it, and nobody else waits for the answer.
 */
import { readFile, stat } from 'node:fs/promises'
import type { PayloadFileSystem } from '../proto/acs.ts'
import type { EngineSteps } from './decide/steps.ts'
import { EngineError, labels } from './engine.ts'
import type { Engine } from './engine.ts'
import { ensurePauseImage } from './pause-image.ts'
import { tarNameBytesMax, tarOf } from './tar.ts'
import type { Timers } from './timers.ts'

const mountPath = '/fs'
const credentialsBytesMax = 4096
const mountTables = ['/proc/self/mountinfo', '/proc/1/mountinfo']

export interface Volumes {
  /** ECS's rules for Docker volumes of both scopes. */
  create(args: EngineSteps['createVolume']): Promise<void>
  /** Fails with an EngineError; `deadline` where the server does not answer in time. */
  mount(args: EngineSteps['mountFileSystem']): Promise<void>
  release(args: EngineSteps['releaseFileSystem']): Promise<void>
}

export interface VolumeSettings {
  /** How long a file system may take to be mounted. */
  readonly mountTimeoutMs: number
  /** ECS_SHARED_VOLUME_MATCH_FULL_CONFIG. */
  readonly matchFullConfig: boolean
}

export const volumeDefaults: VolumeSettings = { mountTimeoutMs: 60_000, matchFullConfig: false }

export interface VolumesOptions extends VolumeSettings {
  readonly engine: Engine
  readonly timers: Timers
}

export function createVolumes({ engine, timers, mountTimeoutMs, matchFullConfig }: VolumesOptions): Volumes {
  return {
    create: async (args) => create(engine, args, matchFullConfig),

    async mount(args) {
      const { promise: expired, reject } = Promise.withResolvers<never>()
      const cancel = timers.after(mountTimeoutMs, () =>
        reject(new EngineError('deadline', `it did not answer within ${mountTimeoutMs / 1000} s`)),
      )
      try {
        await Promise.race([mount(engine, args), expired])
      } finally {
        cancel()
      }
    },

    async release({ dockerName, ours }) {
      // Each may be left of a look that got no answer, or of an agent that was killed during it.
      await engine.removeContainer(probeNameOf(dockerName))
      await engine.removeContainer(probeNameOf(rootNameOf(dockerName)))
      await engine.removeVolume(rootNameOf(dockerName))
      if (ours) await engine.removeVolume(dockerName)
    },
  }
}

async function create(engine: Engine, args: EngineSteps['createVolume'], matchFullConfig: boolean): Promise<void> {
  const { dockerName, driver, options, labels: wanted, mustExist, isShared } = args
  const existing = await engine.inspectVolume(dockerName)
  if (existing === undefined) {
    if (mustExist) {
      throw new EngineError(
        'refused',
        `volume ${dockerName} does not exist, and its definition has no autoprovision. Create it on this host first.`,
      )
    }
    await engine.createVolume(dockerName, driver, options, wanted)
    return
  }
  if (!isShared || mustExist || !matchFullConfig) return
  const differing = [
    ...(existing.driver === driver ? [] : ['driver']),
    ...(isSame(existing.options, options) ? [] : ['driverOpts']),
    ...(isSame(existing.labels, wanted) ? [] : ['labels']),
  ]
  if (differing.length === 0) return
  throw new EngineError(
    'refused',
    `volume ${dockerName} exists on this host with other ${differing.join(' and ')} than its definition gives, and ` +
      'ECS_SHARED_VOLUME_MATCH_FULL_CONFIG is set. Remove the volume, or give the definition what the volume has.',
  )
}

function isSame(one: Readonly<Record<string, string>>, other: Readonly<Record<string, string>>): boolean {
  const names = Object.keys(one)
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name])
}

async function mount(engine: Engine, args: EngineSteps['mountFileSystem']): Promise<void> {
  const { dockerName, fileSystem, labels: wanted } = args
  const { mount: how, rootDirectory, creation, rootOpts } = fileSystem
  if (how.kind === 'path') {
    await look(engine, args, dockerName, bindOf(how.path), async (id) => {
      await checkPath(how)
      await walk(engine, id, fileSystem)
    })
    return
  }
  const credentials = how.credentialsFile === undefined ? undefined : await readCredentials(how.credentialsFile)
  const withCredentials = (options: Readonly<Record<string, string>>): Readonly<Record<string, string>> =>
    credentials === undefined ? options : { ...options, o: [credentials, options['o']].join(',') }
  if (creation !== undefined && rootOpts !== undefined && rootDirectory !== '/') {
    const root = rootNameOf(dockerName)
    await obtain(engine, root, how.driver, withCredentials(rootOpts), wanted)
    await look(engine, args, root, volumeOf(root), async (id) => walk(engine, id, fileSystem))
    await engine.removeVolume(root)
  }
  const name = how.name ?? dockerName
  await obtain(engine, name, how.driver, withCredentials(how.driverOpts), how.name === undefined ? wanted : {})
  await look(engine, args, dockerName, volumeOf(name), async (id) =>
    // Of all that Docker does with a mount this alone tells why there is none.
    engine.unpackInContainer(id, mountPath, tarOf([])),
  )
}

/** A volume of this name that is there is the one, whoever made it; but not by another driver. */
async function obtain(
  engine: Engine,
  name: string,
  driver: string,
  options: Readonly<Record<string, string>>,
  wanted: Readonly<Record<string, string>>,
): Promise<void> {
  const existing = await engine.inspectVolume(name)
  if (existing === undefined) {
    await engine.createVolume(name, driver, options, wanted)
  } else if (existing.driver !== driver) {
    throw new EngineError(
      'refused',
      `the Docker volume ${name} is of driver ${existing.driver}, not ${driver}. Remove it, or give another volumeName`,
    )
  }
}

/** Makes the container that never runs, and removes it whatever came of the look. */
async function look(
  engine: Engine,
  { labels: wanted }: EngineSteps['mountFileSystem'],
  name: string,
  mounted: object,
  work: (id: string) => Promise<void>,
): Promise<void> {
  const image = await ensurePauseImage(engine)
  const probe = probeNameOf(name)
  // One may be left of an agent that was killed.
  await engine.removeContainer(probe)
  const id = await engine.createContainer(probe, {
    Image: image,
    Labels: {
      [labels.probeOf]: wanted[labels.taskArn] ?? '',
      [labels.instanceArn]: wanted[labels.instanceArn] ?? '',
    },
    NetworkDisabled: true,
    HostConfig: { NetworkMode: 'none', Mounts: [mounted] },
  })
  try {
    await work(id)
  } finally {
    // What can't be removed now goes with its task.
    await engine.removeContainer(id).catch(() => undefined)
  }
}

/**
 * Sees that each directory on the way is one, and makes what is missing where it may. A link is refused: whoever can
 * write to the file system could else have a task mount any directory of the host.
 */
async function walk(engine: Engine, id: string, { rootDirectory, creation }: PayloadFileSystem): Promise<void> {
  await engine.unpackInContainer(id, mountPath, tarOf([]))
  let at = mountPath
  for (const part of rootDirectory.split('/').filter((each) => each !== '')) {
    const kind = await engine.pathInContainer(id, `${at}/${part}`)
    const shown = `${at}/${part}`.slice(mountPath.length)
    if (kind === 'link') throw new EngineError('refused', `${shown} is a symbolic link, which is not followed`)
    if (kind === 'other') throw new EngineError('refused', `${shown} is no directory`)
    if (kind === undefined) {
      if (creation === undefined) throw new EngineError('refused', `directory ${shown} does not exist`)
      if (Buffer.byteLength(part) > tarNameBytesMax) {
        throw new EngineError('refused', `${part} has more than ${tarNameBytesMax} bytes: make the directory yourself`)
      }
      const modifiedAt = Math.floor(Date.now() / 1000)
      const { ownerUid: uid, ownerGid: gid, permissions } = creation
      await engine.unpackInContainer(
        id,
        at,
        tarOf([{ path: part, mode: Number.parseInt(permissions, 8), uid, gid, modifiedAt }]),
      )
    }
    at = `${at}/${part}`
  }
}

/** By the kernel's table, which no dead server holds up. */
async function checkPath(how: { readonly path: string; readonly mustBeMounted?: true | undefined }): Promise<void> {
  if (how.mustBeMounted !== true) return
  const tables = await Promise.all(mountTables.map(async (path) => readFile(path, 'utf8').catch(() => '')))
  if (tables.some((table) => isMountPoint(table, how.path))) return
  throw new EngineError(
    'refused',
    `${how.path} is no mount point on this host, so nothing is written there. Mount the file system on it, or set ` +
      "the file system's mustBeMounted to false where a plain directory is meant",
  )
}

/** An automount point that nothing is mounted on yet is none. */
export function isMountPoint(mountinfo: string, path: string): boolean {
  return mountinfo.split('\n').some((line) => {
    const [before = '', after = ''] = line.split(' - ')
    const mountPoint = (before.split(' ')[4] ?? '').replaceAll(/\\(\d{3})/g, (_all, digits: string) =>
      String.fromCharCode(Number.parseInt(digits, 8)),
    )
    return mountPoint === path && !after.startsWith('autofs ')
  })
}

/** Reads `username=`, `password=` and `domain=` lines as mount options. The text goes to Docker Engine and nowhere else. */
export async function readCredentials(path: string): Promise<string> {
  const refused = (why: string): EngineError => new EngineError('refused', `credentialsFile ${path} ${why}`)
  const facts = await stat(path).catch((error: unknown) => {
    throw refused(`can't be read: ${(error as { code?: string }).code ?? 'unknown'}. Put it on every host`)
  })
  if (!facts.isFile() || facts.size > credentialsBytesMax) throw refused('is not a credentials file')
  if ((facts.mode & 0o077) !== 0) throw refused('may be read by others, not root alone: chmod 600 it')
  const lines = (await readFile(path, 'utf8')).split('\n').filter((line) => /^[^#\s]/.test(line))
  const options = lines.map((line) => {
    const [, name = '', value = ''] = /^\s*(user(?:name)?|pass(?:word)?|dom(?:ain)?)\s*=(.*?)\r?$/.exec(line) ?? []
    if (name === '') throw refused('is not a credentials file: it takes username=, password= and domain= lines alone')
    if (value.includes(',')) throw refused(`has a comma in its ${name}, which no mount option takes`)
    const full = name.startsWith('user') ? 'username' : name.startsWith('pass') ? 'password' : 'domain'
    return `${full}=${value}`
  })
  return options.join(',')
}

function bindOf(path: string): object {
  return { Type: 'bind', Source: path, Target: mountPath }
}

function volumeOf(name: string): object {
  return { Type: 'volume', Source: name, Target: mountPath, VolumeOptions: { NoCopy: true } }
}

function probeNameOf(name: string): string {
  return `${name}-probe`
}

function rootNameOf(name: string): string {
  return `${name}-root`
}
