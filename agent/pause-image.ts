/**
 * The image of pause containers: one layer with one file, made here and handed to Docker Engine, so that a task's network
 * needs no registry. Its name has the digest of its content, so an agent of another version has another image.
 */
import { createHash } from 'node:crypto'
import { arch } from 'node:os'
import { EngineError } from './engine.ts'
import type { Engine } from './engine.ts'
import { pauseProgram } from './pause-program.ts'
import type { PauseArchitecture } from './pause-program.ts'
import { tarOf } from './tar.ts'

/** Images of this repository are the agent's own: no clean-up takes them. */
export const pauseRepository = 'gantry-pause'

const programPath = 'pause'
const digestDigits = 12
/** Nobody: the program needs no rights. */
const user = '65534:65534'

export interface PauseImage {
  /** `gantry-pause:` and the first digits of the digest. */
  readonly name: string
  /** What `docker load` takes. */
  readonly tar: Buffer
}

const madeImages = new Map<PauseArchitecture, PauseImage>()

/**
 * Answers the image's name once Docker Engine has it. Cheap where it is there already. Fails with an EngineError;
 * `refused` on a machine for which there is no program.
 */
export async function ensurePauseImage(engine: Pick<Engine, 'inspectImage' | 'loadImage'>): Promise<string> {
  const { name, tar } = pauseImage(hostArchitecture())
  if ((await engine.inspectImage(name)) === undefined) await engine.loadImage(name, tar)
  return name
}

/** The name that it has on this host, whether or not the engine has it yet; undefined where there is no program for it. */
export function pauseImageName(): string | undefined {
  const machine = arch()
  return machine === 'x64' || machine === 'arm64' ? pauseImage(hostArchitecture()).name : undefined
}

/** The names that stay whatever is cleaned up. */
export function pauseImageNames(): readonly string[] {
  return [pauseImage('x86_64').name, pauseImage('arm64').name]
}

/** True for images that the agent made itself, by any of their names. */
export function isPauseImage(name: string): boolean {
  return name.replace(/^docker\.io\/(?:library\/)?/, '').startsWith(`${pauseRepository}:`)
}

/** The same bytes, and so the same name and the same image id, on every host of this architecture. */
export function pauseImage(architecture: PauseArchitecture): PauseImage {
  const made = madeImages.get(architecture) ?? makeImage(architecture)
  madeImages.set(architecture, made)
  return made
}

function makeImage(architecture: PauseArchitecture): PauseImage {
  const layer = tarOf([{ path: programPath, mode: 0o755, content: pauseProgram(architecture) }])
  const layerDigest = sha256(layer)
  const config = Buffer.from(
    JSON.stringify({
      architecture: architecture === 'x86_64' ? 'amd64' : 'arm64',
      os: 'linux',
      created: '1970-01-01T00:00:00Z',
      config: {
        Entrypoint: [`/${programPath}`],
        User: user,
        StopSignal: 'SIGTERM',
        Labels: { 'gantry.pause': 'true' },
      },
      rootfs: { type: 'layers', diff_ids: [`sha256:${layerDigest}`] },
      history: [{ created: '1970-01-01T00:00:00Z', created_by: 'gantry agent' }],
    }),
  )
  const configDigest = sha256(config)
  const name = `${pauseRepository}:${configDigest.slice(0, digestDigits)}`
  const manifest = [{ Config: `${configDigest}.json`, RepoTags: [name], Layers: [`${layerDigest}.tar`] }]
  const tar = tarOf([
    { path: `${configDigest}.json`, mode: 0o644, content: config },
    { path: `${layerDigest}.tar`, mode: 0o644, content: layer },
    { path: 'manifest.json', mode: 0o644, content: Buffer.from(JSON.stringify(manifest)) },
  ])
  return { name, tar }
}

function hostArchitecture(): PauseArchitecture {
  const machine = arch()
  if (machine === 'x64') return 'x86_64'
  if (machine === 'arm64') return 'arm64'
  throw new EngineError(
    'refused',
    `There is no pause program for ${machine}; network mode awsvpc and shared PID or IPC namespaces need x86_64 or arm64.`,
  )
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
