/** What performs the steps of a turn, made from the turn's options. */
import { noCgroups } from './cgroups.ts'
import { noFetchedSecrets } from './fetched-secrets.ts'
import { createImages } from './images.ts'
import { createExecutors } from './perform.ts'
import type { Executors } from './perform.ts'
import { createTaskNetworks, noHostInterfaces } from './task-networks.ts'
import type { AgentTurnOptions } from './turn-options.ts'
import { createVolumes, volumeDefaults } from './volumes.ts'

/** `pulledBefore` are the images that this agent pulled in an earlier life. */
export function executorsOf(options: AgentTurnOptions, pulledBefore: readonly string[]): Executors {
  const { engine, config, timers, registryAuth } = options
  return createExecutors(
    engine,
    createImages({ ...config, engine, registryAuth, pulledBefore }),
    options.cgroups ?? noCgroups,
    createVolumes({ engine, timers, ...volumeDefaults, ...config.volumes }),
    options.networks ?? createTaskNetworks(engine, noHostInterfaces, config.containerInstanceArn),
    options.fetched ?? noFetchedSecrets,
  )
}
