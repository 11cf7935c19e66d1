/**
 * Clock-driven work: each tick of node-cron only posts an input to the turn, and the input does it all. So a simulation
 * posts the same inputs by its own clock.
 */
import { schedule } from 'node-cron'
import type { Agents } from './agents.ts'
import type { Config } from './config.ts'
import { suspectAfterMs } from './decide/instance-loss.ts'
import { retain, retentionDefaults, type RetentionResult } from './decide/retention.ts'
import { schedule as runSchedule, type ScheduleResult } from './decide/schedule.ts'
import type { Log } from './log.ts'
import type { Turn, TurnInput } from './turn.ts'

export interface Housekeeping {
  close(): Promise<void>
}

export function startHousekeeping(services: {
  readonly turn: Turn
  readonly log: Log
  readonly config: Config
  readonly agents: Pick<Agents, 'readyAt' | 'silences'>
}): Housekeeping {
  const { turn, log, config, agents } = services
  const limits = { ...retentionDefaults, stoppedTaskKeepMs: config.stoppedTaskMemoryMs }
  const input: TurnInput<RetentionResult> = { name: 'retention', run: (tx, now) => retain(tx, limits, now) }
  const retention = schedule(
    '* * * * *',
    async () => {
      try {
        // Each input is bounded; what is due beyond its bound follows at once, between other inputs.
        while ((await turn.submit(input)).hasMore) continue
      } catch (error) {
        log.warn({ err: error }, 'housekeeping could not be committed; the next minute tries again')
      }
    },
    { name: 'retention', noOverlap: true },
  )
  const tick = (): TurnInput<ScheduleResult> => {
    const silence = { readyAt: agents.readyAt, silences: agents.silences(suspectAfterMs) }
    return { name: 'schedule', run: (tx, now, world) => runSchedule(tx, silence, now, world) }
  }
  const ticks = schedule(
    '* * * * * *',
    async () => {
      try {
        while ((await turn.submit(tick())).hasMore) continue
      } catch (error) {
        log.warn({ err: error }, 'what was due by the clock could not be committed; the next second tries again')
      }
    },
    { name: 'schedule', noOverlap: true },
  )
  return {
    async close() {
      await Promise.all([retention.destroy(), ticks.destroy()])
    },
  }
}
