/**
 * Tasks that the controller marked are kept going while there is no controller: one that ends is started again in place,
 * as a whole and in the order of its dependencies, with growing pauses where it ends again and again. Everything that
 * was reported of it stays true: it runs.
 */
import { refusalOf } from './payload.ts'
import { startedAgain } from './restart.ts'
import type { ControllerSight, TaskFacts, TaskView } from './view.ts'

/** The pause before the second start of those that end soon; it doubles with each. */
const pauseFirstMs = 1000
const pauseMostMs = 5 * 60_000
/** A task that ran for so long has nothing to do with how often it ended before. */
const wellAfterMs = 10 * 60_000

/** True where this agent may start the task again by itself, once it has ended and nobody is there to tell. */
export function mayRestartAlone({ payload, facts }: TaskView): boolean {
  return (
    payload.gantry?.restartAlone === true &&
    payload.containers.length > 0 &&
    facts.desiredStatus === 'RUNNING' &&
    facts.stoppedAcknowledgedAt === undefined &&
    !facts.adopted &&
    refusalOf(payload) === undefined
  )
}

/** True where the task's end is not concluded although all its containers have ended: it may go on in place. */
export function isHeldOpen(view: TaskView, controller: ControllerSight): boolean {
  return controller !== 'there' && mayRestartAlone(view)
}

/**
 * The facts as they follow from there being no controller: an end is noted, and once nobody is awaited any more and the
 * pause after it is over, the task begins anew. All of its containers must have ended for sure.
 */
export function startedAgainAlone(view: TaskView, now: number, controller: ControllerSight): TaskFacts {
  const { facts } = view
  const { restart } = facts
  if (restart?.endedAt === undefined) return { ...facts, restart: endedOnceMore(facts, now) }
  if (controller !== 'gone') return facts
  return now >= restartDue(restart) || isAheadOfTime(restart, now) ? begunAnew(view, now) : facts
}

/** When a task that ended alone is started again, epoch milliseconds; undefined where it has not ended. */
export function restartsAt({ restart }: TaskFacts): number | undefined {
  return restart?.endedAt === undefined ? undefined : restartDue(restart)
}

type Restart = NonNullable<TaskFacts['restart']>

function endedOnceMore(facts: TaskFacts, now: number): Restart {
  const endsInRow = ranWell(facts) ? 0 : (facts.restart?.endsInRow ?? 0)
  return { endsInRow: endsInRow + 1, endedAt: now }
}

/** At once after the first end, so that a host that boots is up soon. */
function restartDue({ endsInRow, endedAt = 0 }: Restart): number {
  if (endsInRow <= 1) return endedAt
  return endedAt + Math.min(pauseMostMs, pauseFirstMs * 2 ** Math.min(endsInRow - 2, 20))
}

/** A wall clock that was set back must not lengthen the pause by as much. */
function isAheadOfTime({ endedAt = 0 }: Restart, now: number): boolean {
  return now < endedAt - pauseMostMs
}

/** By Docker's own instants, so that neither a late look nor a restarted agent makes a short run a long one. */
function ranWell(facts: TaskFacts): boolean {
  const runs = Object.values(facts.containers).flatMap(({ startedAt, finishedAt }) =>
    startedAt === undefined || finishedAt === undefined ? [] : [{ startedAt, finishedAt }],
  )
  if (runs.length === 0) return false
  const begun = Math.min(...runs.map(({ startedAt }) => startedAt))
  return Math.max(...runs.map(({ finishedAt }) => finishedAt)) - begun >= wellAfterMs
}

function begunAnew({ facts }: TaskView, now: number): TaskFacts {
  const ran = Object.values(facts.containers).some(({ started }) => started)
  const containers = Object.entries(facts.containers).map(([name, container]) => [
    name,
    // Dependents ask whether it started in this run.
    { ...startedAgain(container), started: false },
  ])
  // Volumes are looked for again: who cleaned up the host meanwhile may have taken them.
  const volumes = Object.entries(facts.volumes).map(([name, volume]) => [
    name,
    { ...volume, created: false, removed: undefined, retry: undefined },
  ])
  return {
    ...facts,
    knownStatus: facts.knownStatus === 'STOPPED' ? (ran ? 'RUNNING' : 'PENDING') : facts.knownStatus,
    reason: undefined,
    executionStoppedAt: undefined,
    containers: Object.fromEntries(containers),
    volumes: Object.fromEntries(volumes),
    // Looked at anew as well: it may have been made ready for a start that never came.
    network: undefined,
    // An end that was told and not heard is taken back.
    reported: facts.reported?.status === 'STOPPED' ? undefined : facts.reported,
    restart: { endsInRow: facts.restart?.endsInRow ?? 0, begunAt: now },
  }
}
