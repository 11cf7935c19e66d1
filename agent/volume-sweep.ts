/**
 * Finds volumes that were made for one task and outlived it: the task was forgotten with a lost journal, or its agent
 * was killed at the wrong instant. What is not labelled as this instance's is never touched.
 */
import { EngineError, labels } from './engine.ts'
import type { Engine } from './engine.ts'
import type { Timers } from './timers.ts'
import type { TurnLog } from './turn-options.ts'

const firstAfterMs = 2 * 60_000
const everyMs = 10 * 60_000

export interface VolumeSweepOptions {
  readonly engine: Engine
  readonly containerInstanceArn: string
  /** ARNs of the tasks that this agent knows, stopped ones included. */
  readonly taskArns: () => readonly string[]
  readonly timers: Timers
  readonly log: TurnLog
}

/** A volume goes when two looks in a row find its task unknown: a payload that is on its way may bring it back. */
export function startVolumeSweep(options: VolumeSweepOptions): { close(): void } {
  const { engine, containerInstanceArn, taskArns, timers, log } = options
  let suspects: ReadonlySet<string> = new Set()
  let isClosed = false
  const logFailure = (error: unknown): void => {
    if (!(error instanceof EngineError)) throw error
    log.warn({ message: error.message }, 'a volume whose task is gone could not be removed')
  }
  const sweep = async (): Promise<void> => {
    const all = await engine.listVolumes(`${labels.instanceArn}=${containerInstanceArn}`)
    const known = new Set(taskArns())
    const orphans = all.filter((volume) => !known.has(volume.labels[labels.taskArn] ?? ''))
    for (const { name } of orphans.filter((volume) => suspects.has(volume.name))) {
      try {
        await engine.removeContainer(`${name}-probe`)
        await engine.removeVolume(name)
        log.info({ volume: name }, 'a volume whose task is gone was removed')
      } catch (error) {
        // It may be in somebody's use; the others need not wait for it.
        logFailure(error)
      }
    }
    suspects = new Set(orphans.map(({ name }) => name))
  }
  const next = (delayMs: number): (() => void) =>
    timers.after(delayMs, () => {
      sweep()
        .catch(logFailure)
        .finally(() => {
          if (!isClosed) cancel = next(everyMs)
        })
    })
  let cancel = next(firstAfterMs)
  return {
    close() {
      isClosed = true
      cancel()
    },
  }
}
