/**
 * Clock-driven work: each tick of node-cron only posts an input to the turn, and the input does it all. So a simulation
 * posts the same inputs by its own clock.
 */
import { schedule } from 'node-cron'
import type { Config } from './config.ts'
import { retain, retentionDefaults } from './decide/retention.ts'
import type { Log } from './log.ts'
import type { Turn } from './turn.ts'

export interface Housekeeping {
  close(): Promise<void>
}

export function startHousekeeping(services: {
  readonly turn: Turn
  readonly log: Log
  readonly config: Config
}): Housekeeping {
  const { turn, log, config } = services
  const limits = { ...retentionDefaults, stoppedTaskKeepMs: config.stoppedTaskMemoryMs }
  const retention = schedule(
    '* * * * *',
    () => {
      turn.submit({ name: 'retention', run: (tx, now) => retain(tx, limits, now) }).catch((error: unknown) => {
        log.warn({ err: error }, 'housekeeping could not be committed; the next minute tries again')
      })
    },
    { name: 'retention', noOverlap: true },
  )
  return {
    async close() {
      await retention.destroy()
    },
  }
}
