/** When a task's state change is due, and when what it waits for is to be told. */
import { stoppedIsWhole } from './end-steps.ts'
import { reportContent } from './report.ts'
import type { Step } from './steps.ts'
import type { HostView, TaskView } from './view.ts'

/** A wait is told only when it lasts, then when its cause changes, and its age now and then. */
const firstWaitMs = 2000
const changedWaitMs = 5000
const sameWaitMs = 15_000

export function reportSteps(view: TaskView, now: number, host: HostView, steps: readonly Step[]): Step[] {
  const { facts } = view
  const content = reportContent(view)
  const stopped = facts.knownStatus === 'STOPPED'
  if (stopped && !stoppedIsWhole(view, now, host)) return []
  const waiting = stopped ? undefined : steps.find((step) => step.step === 'wait')?.args
  if (content !== (facts.reported?.content ?? '')) return [{ step: 'report', args: { content, wait: waiting } }]
  // What is begun now is waited for in a moment.
  if (stopped || steps.some(({ step }) => step !== 'wait')) return []
  // What a task waits for is told to somebody, and is told anew once there is one.
  if (host.controller === 'away' || host.controller === 'gone') return []
  const due = waitReportDue(view, waiting?.cause, now)
  if (due === undefined) return []
  if (now < due) return [{ step: 'wait', args: { cause: 'waits to report', since: now, until: due } }]
  return [{ step: 'report', args: { content, wait: waiting } }]
}

/** When what the task waits for is to be told (again); undefined where there is nothing to tell. */
function waitReportDue(view: TaskView, cause: string | undefined, now: number): number | undefined {
  const { reported, acceptedAt } = view.facts
  if (cause === undefined && reported?.waitCause === undefined) return undefined
  const since = reported?.at ?? acceptedAt
  // The wall clock was set back.
  if (since > now) return now
  if (reported === undefined) return since + firstWaitMs
  return since + (reported.waitCause === cause ? sameWaitMs : changedWaitMs)
}
