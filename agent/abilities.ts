/** What this host can do beyond running containers: found out once, at start, and registered as attributes and devices. */
import type { Attribute } from './attributes.ts'
import type { AgentConfig } from './config.ts'
import { storageLimits } from './container-storage.ts'
import type { EngineInfo } from './engine.ts'
import { findGpus } from './gpus.ts'
import type { HostGpus } from './gpus.ts'
import type { Log } from './log.ts'
import { keepTaskCgroups } from './task-cgroups.ts'
import type { TaskCgroupKeeping } from './task-cgroups.ts'

export interface HostAbilities {
  /** Absent where tasks get no cgroup of their own. */
  readonly taskCgroups: TaskCgroupKeeping | undefined
  readonly gpus: HostGpus
  readonly attributes: readonly Attribute[]
}

export async function findAbilities(config: AgentConfig, engine: EngineInfo, log: Log): Promise<HostAbilities> {
  const [taskCgroups, gpus] = await Promise.all([keepTaskCgroups(config, engine, log), findGpus(config, log)])
  const storage = storageLimits(engine)
  if (!storage.canLimit) log.info({ why: storage.why }, 'tasks that ask for ephemeralStorage are not placed here')
  const names = [
    ...(taskCgroups === undefined
      ? []
      : ['ecs.capability.task-cpu-mem-limit', 'ecs.capability.increased-task-cpu-limit']),
    ...(storage.canLimit ? ['gantry.capability.ephemeral-storage'] : []),
    ...(gpus.driverVersion === undefined ? [] : [`ecs.capability.nvidia-driver-version.${gpus.driverVersion}`]),
  ]
  const versions =
    gpus.driverVersion === undefined ? [] : [{ name: 'ecs.capability.gpu-driver-version', value: gpus.driverVersion }]
  return { taskCgroups, gpus, attributes: [...names.map((name) => ({ name })), ...versions] }
}
