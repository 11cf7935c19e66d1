/** Keeps the host in order while its tasks run: unused images go, and a disk that fills up is told of. */
import { randomUUID } from 'node:crypto'
import type { AgentConfig } from './config.ts'
import { DiskReporter } from './disk-report.ts'
import type { Engine } from './engine.ts'
import { createImageCleanup } from './image-cleanup.ts'
import { pauseImageNames } from './pause-image.ts'
import type { Timers } from './timers.ts'
import type { TurnLog, TurnTask } from './turn-options.ts'

export interface UpkeepOptions {
  readonly config: AgentConfig
  readonly engine: Engine
  /** Where the engine keeps its data. */
  readonly rootDirectory: string
  readonly tasks: () => readonly TurnTask[]
  readonly send: (type: string, message: object) => boolean
  readonly now: () => number
  readonly timers: Timers
  readonly log: TurnLog
}

export interface Upkeep {
  /** The engine as tasks are to use it: what they ask for is remembered, and not removed under them. */
  readonly engine: Engine
  linkUp(): void
  close(): void
}

export function startUpkeep(options: UpkeepOptions): Upkeep {
  const { config, engine, rootDirectory, tasks, send, now, timers, log } = options
  const disk = new DiskReporter({ uuid: randomUUID, send })
  const images = createImageCleanup({
    engine,
    directory: config.dataDirectory,
    rootDirectory,
    policy: {
      minimumAgeMs: config.imageMinimumCleanupAgeMs,
      imagesPerCycle: config.imagesPerCycle,
      untracked: config.untrackedImageCleanup,
      untrackedMinimumAgeMs: config.untrackedImageMinimumAgeMs,
      excludedNames: [...config.excludedImages, ...pauseImageNames()],
    },
    isEnabled: !config.imageCleanupDisabled,
    intervalMs: config.imageCleanupIntervalMs,
    pressurePercent: config.diskPressurePercent,
    wantedNames: () =>
      tasks()
        .filter(({ knownStatus }) => knownStatus !== 'STOPPED')
        .flatMap(({ payload }) => payload.containers.map(({ image }) => image)),
    onDiskUse: (use) => disk.seen(use),
    now,
    timers,
    log,
  })
  images.start()
  return {
    engine: images.engine,
    linkUp: () => disk.linkUp(),
    close: () => images.close(),
  }
}
