/**
 * When a deployment whose tasks fail may start the next ones: at once, and then after pauses that double from a second
 * to fifteen minutes, until a task proves itself or a new deployment begins.
 *
 * Source: AWS documentation, "Amazon ECS service throttle logic" (fifteen minutes at most; a new deployment resets it).
 * ECS slows down only tasks that never reach RUNNING; here those that end soon after their start are slowed down too.
 */
import type { DeploymentRow } from '../state/service-tables.ts'

/**
 * How long a task without a health check runs before it has proved itself, milliseconds. One that ends earlier counts as
 * a failed start, and no deployment is completed on its word.
 */
export const provingMs = 10_000

const pauseFirstMs = 1000
export const pauseMaxMs = 900_000

/** A pause from which on people are told that the service is unable to consistently start tasks. */
export const longPauseMs = 60_000

/** The pause after the `round`th round of failures in a row (from 1), milliseconds. */
export function pauseAfter(round: number): number {
  return round < 1 ? 0 : Math.min(pauseMaxMs, pauseFirstMs * 2 ** Math.min(round - 1, 30))
}

type Paced = Pick<DeploymentRow, 'failuresInRow' | 'retryAt' | 'pause' | 'rolloutState'>

/** False while the deployment has failed for good, or pauses after failures (until its `retryAt`). */
export function mayStart(deployment: Paced, now: number): boolean {
  if (deployment.rolloutState === 'FAILED') return false
  return deployment.retryAt === undefined || deployment.retryAt <= now
}

/**
 * The members that change when one more task fails that was created at `createdAt`. Tasks that were started side by side
 * and fail side by side are one round: a service of a hundred tasks does not begin with the longest pause.
 */
export function afterFailure(
  { failuresInRow, pause, retryAt }: Paced,
  createdAt: number,
  now: number,
): Pick<DeploymentRow, 'failuresInRow' | 'retryAt' | 'pause'> {
  const isNewRound = pause === undefined || createdAt > pause.at
  if (!isNewRound) return { failuresInRow: failuresInRow + 1, pause, retryAt }
  const round = (pause?.round ?? 0) + 1
  return { failuresInRow: failuresInRow + 1, pause: { ...pause, at: now, round }, retryAt: now + pauseAfter(round) }
}

/** True once a task of the deployment has passed its health check, or has run for long enough without a failure beside it. */
export function isProven({ provenAt }: Pick<DeploymentRow, 'provenAt'>, now: number): boolean {
  return provenAt !== undefined && provenAt <= now
}

/** True while it is not known yet whether what the deployment starts stays up: older tasks are kept until then. */
export function isProving(deployment: Pick<DeploymentRow, 'provenAt' | 'rolloutState'>, now: number): boolean {
  return deployment.rolloutState === 'IN_PROGRESS' && !isProven(deployment, now)
}

/** When older tasks may go since the new ones have stayed up; none where nobody waits for that. */
export function proofs(deployment: Pick<DeploymentRow, 'provenAt' | 'rolloutState'>, now: number): readonly number[] {
  return deployment.provenAt === undefined || !isProving(deployment, now) ? [] : [deployment.provenAt]
}
