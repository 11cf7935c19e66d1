/** What this host can do beyond running containers: found out once, at start, and registered as attributes and devices. */
import { ephemeralStorageAttribute } from '../proto/acs.ts'
import type { Attribute } from './attributes.ts'
import type { AgentConfig } from './config.ts'
import { storageLimits } from './container-storage.ts'
import type { Engine, EngineInfo } from './engine.ts'
import { fileSystemAttributes } from './file-system-kinds.ts'
import { openIp } from './ip-command.ts'
import { networkAttributes } from './network-abilities.ts'
import { findGpus } from './gpus.ts'
import type { HostGpus } from './gpus.ts'
import type { Log } from './log.ts'
import { ensurePauseImage, pauseImageName } from './pause-image.ts'
import { keepTaskCgroups } from './task-cgroups.ts'
import type { TaskCgroupKeeping } from './task-cgroups.ts'

export interface HostAbilities {
  /** Absent where tasks get no cgroup of their own. */
  readonly taskCgroups: TaskCgroupKeeping | undefined
  readonly gpus: HostGpus
  /**
   * The image of the containers that the agent adds to tasks; absent where there is none for this machine. An engine that
   * did not take it just now gets no new tasks that need it, and the containers of those that it has are known by it.
   */
  readonly pauseImage: string | undefined
  readonly attributes: readonly Attribute[]
}

export interface AbilitiesOptions {
  readonly config: AgentConfig
  readonly engine: Pick<Engine, 'inspectImage' | 'loadImage' | 'inspectNetwork'>
  readonly engineInfo: EngineInfo
  readonly log: Log
}

export async function findAbilities({ config, engine, engineInfo, log }: AbilitiesOptions): Promise<HostAbilities> {
  const [taskCgroups, gpus, loaded] = await Promise.all([
    keepTaskCgroups(config, engineInfo, log),
    findGpus(config, log),
    loadPauseImage(engine, log),
  ])
  const networking = await networkAttributes({ config, engine, ip: openIp(), pauseImage: loaded, log })
  const storage = storageLimits(engineInfo)
  if (!storage.canLimit) log.info({ why: storage.why }, 'tasks that ask for ephemeralStorage are not placed here')
  const { driverVersion } = gpus
  const names = [
    ...(await fileSystemAttributes()),
    ...(taskCgroups === undefined
      ? []
      : ['ecs.capability.task-cpu-mem-limit', 'ecs.capability.increased-task-cpu-limit']),
    ...(loaded === undefined ? [] : ['ecs.capability.pid-ipc-namespace-sharing']),
    ...(storage.canLimit ? [ephemeralStorageAttribute] : []),
    ...(driverVersion === undefined ? [] : [`ecs.capability.nvidia-driver-version.${driverVersion}`]),
  ]
  const versions =
    driverVersion === undefined ? [] : [{ name: 'ecs.capability.gpu-driver-version', value: driverVersion }]
  const attributes = [...names.map((name) => ({ name })), ...versions, ...networking]
  return { taskCgroups, gpus, pauseImage: pauseImageName(), attributes }
}

/** Made again whenever a task needs it and it is gone; that it can be made at all is what counts here. */
async function loadPauseImage(
  engine: Pick<Engine, 'inspectImage' | 'loadImage'>,
  log: Log,
): Promise<string | undefined> {
  try {
    return await ensurePauseImage(engine)
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    log.warn({ err: error }, `Tasks that share namespaces or have an address of their own are not placed here: ${why}`)
    return undefined
  }
}
