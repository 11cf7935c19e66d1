/**
 * Clock-driven work: each tick only posts an input to the turn, and the input does it all. So a simulation posts the same
 * inputs by its own clock. node-cron says when; its own timers are not used, as they go by the wall clock: one that is set
 * back stops them for as long, and one that is set ahead by a day has them look at each second of that day.
 */
import { createTask } from 'node-cron'
import type { Agents } from './agents.ts'
import { startClockwork } from './clockwork.ts'
import type { Config } from './config.ts'
import { suspectAfterMs } from './decide/instance-loss.ts'
import { isResealDue, reseal, type ResealResult, type SealingKeys } from './decide/reseal.ts'
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
  readonly keyring: SealingKeys
}): Housekeeping {
  const { turn, log, config, agents, keyring } = services
  const limits = { ...retentionDefaults, stoppedTaskKeepMs: config.stoppedTaskMemoryMs }
  const input: TurnInput<RetentionResult> = { name: 'retention', run: (tx, now) => retain(tx, limits, now) }
  let broken = 0
  const retention = startBy('* * * * *', async () => {
    try {
      // Each input is bounded; what is due beyond its bound follows at once, between other inputs.
      while ((await turn.submit(input)).hasMore) continue
      broken = await resealAll(turn, keyring, log, broken)
    } catch (error) {
      log.warn({ err: error }, 'housekeeping could not be committed; the next minute tries again')
    }
  })
  const tick = (): TurnInput<ScheduleResult> => {
    const silence = { readyAt: agents.readyAt, silences: agents.silences(suspectAfterMs) }
    return { name: 'schedule', run: (tx, now, world) => runSchedule(tx, silence, now, world) }
  }
  const ticks = startBy('* * * * * *', async () => {
    try {
      while ((await turn.submit(tick())).hasMore) continue
    } catch (error) {
      log.warn({ err: error }, 'what was due by the clock could not be committed; the next second tries again')
    }
  })
  return {
    async close() {
      await Promise.all([retention(), ticks()])
    },
  }
}

const lookMs = 1000

/** Work at the times of a cron expression. Answers what ends it. */
function startBy(expression: string, work: () => Promise<void>): () => Promise<void> {
  const task = createTask(expression, work)
  const nextRun = (): number => task.getNextRuns(1)[0]?.getTime() ?? Number.POSITIVE_INFINITY
  const end = startClockwork({ nextRun, work, lookMs })
  return async () => {
    end()
    await task.destroy()
  }
}

/**
 * Nothing to do, and nothing written, unless a newer key was put first into the key file. Resolves with how many texts no
 * key opens; `told` is how many the log has told of before.
 */
async function resealAll(turn: Turn, keyring: SealingKeys, log: Log, told: number): Promise<number> {
  if (!isResealDue(turn.reader, keyring)) return 0
  let resealed = 0
  let result: ResealResult
  do {
    result = await turn.submit({ name: 'reseal', run: (tx) => reseal(tx, keyring) })
    resealed += result.resealed
  } while (result.hasMore)
  if (resealed > 0) log.info({ resealed, keyId: keyring.keyId }, 'secrets were sealed anew under the newest key')
  if (result.broken !== told && result.broken > 0) {
    log.warn(
      { broken: result.broken },
      'sealed texts that no key opens: they were changed or moved in the database, and stay as they are',
    )
  }
  return result.broken
}
