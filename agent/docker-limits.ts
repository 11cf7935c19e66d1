/** How long each call to the engine may take, and the deadline that holds it to that. */
import { engineErrorOf } from './docker-errors.ts'
import type { ErrorOrigin } from './docker-errors.ts'
import { EngineError } from './engine.ts'
import { timerMostMs } from './timers.ts'

/** Milliseconds. Source: amazon-ecs-agent 1.105, dockerclient/timeout. */
export interface EngineLimits {
  readonly pingMs: number
  readonly versionMs: number
  readonly inspectMs: number
  /** For each container of a list, so that one that hangs does not hold up the look at all the others. */
  readonly listedInspectMs: number
  readonly listMs: number
  readonly createMs: number
  readonly startMs: number
  /** Added to a container's own stop timeout. */
  readonly stopMarginMs: number
  readonly removeMs: number
  readonly logsMs: number
  readonly digestMs: number
  readonly imageLoadMs: number
  readonly imageRemoveMs: number
  readonly volumeMs: number
  /** A look into a container's file systems, which are mounted for it. */
  readonly archiveMs: number
  readonly networkMs: number
}

export const defaultEngineLimits: EngineLimits = {
  pingMs: 5_000,
  versionMs: 10_000,
  inspectMs: 30_000,
  listedInspectMs: 5_000,
  listMs: 60_000,
  createMs: 240_000,
  startMs: 180_000,
  stopMarginMs: 120_000,
  removeMs: 300_000,
  logsMs: 30_000,
  digestMs: 60_000,
  imageLoadMs: 60_000,
  imageRemoveMs: 180_000,
  volumeMs: 300_000,
  archiveMs: 60_000,
  networkMs: 60_000,
}

/** An engine that hangs leaves even an aborted request unanswered, so the deadline does not wait for dockerode. */
export async function within<T>(
  doing: string,
  timeoutMs: number,
  call: (abortSignal: AbortSignal) => Promise<T>,
  origin?: ErrorOrigin,
): Promise<T> {
  const abort = new AbortController()
  const { promise: expired, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(
    () => {
      reject(
        new EngineError(
          'deadline',
          `The Docker daemon did not ${doing} within ${timeoutMs / 1000} s; it may be hanging.`,
        ),
      )
      abort.abort()
    },
    Math.min(timeoutMs, timerMostMs),
  )
  try {
    return await Promise.race([call(abort.signal), expired])
  } catch (error) {
    throw engineErrorOf(error, doing, origin)
  } finally {
    clearTimeout(timer)
  }
}
