/** What is left to do for a task that has ended: its last report, and its clean-up when nobody needs it any more. */
import { stableHash } from '../../proto/hash.ts'
import { logSteps } from './log-steps.ts'
import { factsOf } from './lifecycle.ts'
import { orWait, retryWait, wait } from './step-forms.ts'
import type { Step } from './steps.ts'
import { releaseResources } from './task-resources.ts'
import type { HostView, TaskView } from './view.ts'

/** How long the last lines of output may hold up the report of STOPPED. */
const collectLogsMs = 5000
/** How long output that nobody takes may hold up the clean-up of its container, and how often that is looked at. */
const unshippedMaxMs = 24 * 3_600_000
const unshippedLookMs = 5000
/** How long an adopted task that ended waits for its payload before it is reported as it is. */
const adoptedGraceMs = 60_000

/** True once the last report can be written: the output of what ran has been asked for, and had its time to come. */
export function stoppedIsWhole(view: TaskView, now: number, host: HostView): boolean {
  if (view.facts.adopted && now < view.facts.acceptedAt + adoptedGraceMs) return false
  if (!host.engineAnswers) return true
  return view.payload.containers.every(({ name }) => {
    const { started, lastLogLines, dockerId } = factsOf(view.facts, name)
    if (!started || lastLogLines !== undefined || dockerId === undefined) return true
    const asked = view.underway.get(`collectLogs:${name}`)
    return asked !== undefined && now >= asked.since + collectLogsMs
  })
}

export function endSteps(view: TaskView, now: number, host: HostView): Step[] {
  const { facts } = view
  if (facts.reported?.status !== 'STOPPED') {
    const until = wholeAt(view)
    const pending = [...logSteps(view)]
    return until === undefined ? pending : [...pending, wait('waits for the last lines of its output', now, until)]
  }
  if (facts.stoppedAcknowledgedAt === undefined) return []
  const cleanupAt = facts.stoppedAcknowledgedAt + host.cleanupWaitMs + jitterOf(facts.taskArn) * host.cleanupJitterMs
  if (now < cleanupAt && !host.cleanupDue.has(facts.taskArn))
    return [wait('is kept until its cleanup', facts.stoppedAcknowledgedAt, cleanupAt)]
  // Where there are too many, or for a controller that takes no output for a day, they go all the same.
  const isHeld = !host.cleanupDue.has(facts.taskArn) && now < cleanupAt + unshippedMaxMs
  if (isHeld && Object.values(facts.containers).some(({ dockerId }) => host.unshippedLogs.has(dockerId ?? '')))
    return [wait('is kept until its output is shipped', facts.stoppedAcknowledgedAt, now + unshippedLookMs)]
  return cleanupSteps(view, now)
}

/** When the last of what its report waits for has had its time; an earlier instant would wake the turn over and over. */
function wholeAt(view: TaskView): number | undefined {
  const adopted = view.facts.adopted ? [view.facts.acceptedAt + adoptedGraceMs] : []
  const asked = [...view.underway].filter(([key]) => key.startsWith('collectLogs:'))
  const ends = [...adopted, ...asked.map(([, { since }]) => since + collectLogsMs)]
  return ends.length === 0 ? undefined : Math.max(...ends)
}

function cleanupSteps(view: TaskView, now: number): Step[] {
  const { payload } = view
  const removals = payload.containers.flatMap(({ name }): Step[] => {
    const { dockerId, removed, retry } = factsOf(view.facts, name)
    if (dockerId === undefined || removed === true) return []
    const again = retryWait(retry, now, `container ${name} to be removed`)
    return again === undefined
      ? orWait(
          view,
          { step: 'removeContainer', args: { container: name, dockerId } },
          `waits for ${name} to be removed`,
        )
      : [again]
  })
  if (removals.length > 0) return removals
  const releases = releaseResources(view, now)
  return releases.length > 0 ? [...releases] : [{ step: 'forget', args: { taskArn: payload.arn } }]
}

/** 0 to 1, always the same for a task. */
function jitterOf(taskArn: string): number {
  return Number.parseInt(stableHash(taskArn).slice(0, 8), 16) / 0xff_ff_ff_ff
}
