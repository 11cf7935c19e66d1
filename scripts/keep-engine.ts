/** Starts an engine of ours again when its dockerd has ended; its containers go on meanwhile (`--live-restore`). */
import { say } from './report.ts'

export interface KeptEngine {
  /** False once its process has ended. */
  readonly isRunning: () => boolean
  /** Throws an Error with what is wrong. */
  readonly start: () => Promise<unknown>
  /** Resolves after that many milliseconds; rejects once nothing is to be kept any more. */
  readonly wait: (ms: number) => Promise<unknown>
}

const lookEveryMs = 2_000
const longestBackoffMs = 30_000

/** Goes on until `wait` rejects. An engine that can't be started is tried again after 2 s, doubling to 30 s. */
export async function keepEngine(engine: KeptEngine): Promise<void> {
  let pauseMs = lookEveryMs
  while (await isDue(engine, pauseMs)) {
    if (engine.isRunning()) continue
    say('the Docker Engine has ended; containers go on, but for their published ports. Starting it again ...')
    try {
      await engine.start()
      pauseMs = lookEveryMs
    } catch (error) {
      pauseMs = Math.min(pauseMs * 2, longestBackoffMs)
      say(`${error instanceof Error ? error.message : String(error)}\ngantry: trying again in ${pauseMs / 1000} s`)
    }
  }
}

function isDue(engine: KeptEngine, pauseMs: number): Promise<boolean> {
  return engine.wait(pauseMs).then(
    () => true,
    () => false,
  )
}
