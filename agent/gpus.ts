/**
 * The GPUs of the host that Docker can hand to containers. NVIDIA's are found by a file that says so (ecs-init's own form),
 * else by `nvidia-smi`, else by what NVIDIA's driver shows in /proc. Those of AMD and Intel have no ids that Docker takes in a
 * device request: such a card is given to a container by `linuxParameters.devices`, and isn't counted.
 *
 * Source: amazon-ecs-agent 1.105.1, `ecs-init/gpu/nvidia_gpu_manager.go`; NVIDIA Container Toolkit, device ids.
 */
import { execFile } from 'node:child_process'
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { AgentConfig } from './config.ts'
import type { TurnLog } from './turn-options.ts'

export interface HostGpus {
  /** `GPU-...` as the driver names them; each once, in the driver's order. */
  readonly ids: readonly string[]
  readonly driverVersion: string | undefined
}

/** Where to look, so that a test can look elsewhere. */
export interface GpuPlaces {
  /** A directory for each card, with a file `information`. */
  readonly driverDirectory: string
  /** What `nvidia-smi -L` prints; undefined where there is none. */
  readonly listByProgram: () => Promise<string | undefined>
}

const none: HostGpus = { ids: [], driverVersion: undefined }

const hostPlaces: GpuPlaces = {
  driverDirectory: '/proc/driver/nvidia',
  listByProgram: async () => {
    try {
      const { stdout } = await promisify(execFile)('nvidia-smi', ['-L'], { timeout: 10_000 })
      return stdout
    } catch {
      return undefined
    }
  },
}

export async function findGpus(
  config: Pick<AgentConfig, 'gpuSupport' | 'gpuInfoFile'>,
  log: Pick<TurnLog, 'info' | 'warn'>,
  places: GpuPlaces = hostPlaces,
): Promise<HostGpus> {
  if (!config.gpuSupport) return none
  const found = readInfoFile(config.gpuInfoFile, log) ?? (await askDriver(places))
  if (found.ids.length > 0) log.info({ gpus: found.ids, driver: found.driverVersion }, 'GPUs that tasks can be given')
  return found
}

/** Undefined where there is no such file, or none that can be read: then the driver is asked. */
function readInfoFile(path: string, log: Pick<TurnLog, 'warn'>): HostGpus | undefined {
  const text = readText(path)
  if (text === undefined) return undefined
  try {
    const { DriverVersion: driverVersion, GPUIDs: ids } = JSON.parse(text) as {
      DriverVersion?: unknown
      GPUIDs?: unknown
    }
    if (!Array.isArray(ids) || !ids.every((id) => typeof id === 'string' && id !== '')) throw new Error('no GPUIDs')
    return { ids: distinct(ids as string[]), driverVersion: versionOf(driverVersion) }
  } catch {
    log.warn(
      { path },
      `${path} is not of the form {"DriverVersion": "...", "GPUIDs": ["..."]} and has no effect; the GPUs are looked for.`,
    )
    return undefined
  }
}

async function askDriver({ driverDirectory, listByProgram }: GpuPlaces): Promise<HostGpus> {
  const version = readText(join(driverDirectory, 'version'))
  // Without its driver no card can be used, and the program need not be started.
  if (version === undefined) return none
  const driverVersion = versionOf(/Module\s+(?:for \S+\s+)?(\d+(?:\.\d+)+)/.exec(version)?.[1])
  const listed = [...((await listByProgram()) ?? '').matchAll(/\(UUID:\s*(GPU-[0-9a-f-]+)\)/gi)].flatMap(
    ([, id]) => id ?? [],
  )
  return { ids: distinct(listed.length > 0 ? listed : shownByDriver(driverDirectory)), driverVersion }
}

function shownByDriver(directory: string): readonly string[] {
  return entriesOf(join(directory, 'gpus')).flatMap((card) => {
    const information = readText(join(directory, 'gpus', card, 'information')) ?? ''
    return /GPU UUID:\s*(GPU-[0-9a-f-]+)/i.exec(information)?.[1] ?? []
  })
}

function versionOf(value: unknown): string | undefined {
  return typeof value === 'string' && /^[\w.-]{1,64}$/.test(value) ? value : undefined
}

function distinct(ids: readonly string[]): readonly string[] {
  return [...new Set(ids)]
}

function entriesOf(directory: string): readonly string[] {
  try {
    return readdirSync(directory).sort()
  } catch {
    return []
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
