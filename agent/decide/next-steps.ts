/**
 * What can be done next for a task, and only what can be done now: desired and observed in, steps out. It is asked
 * again after each answer and each event, so nothing here depends on having seen one.
 */
import { endSteps } from './end-steps.ts'
import { logSteps } from './log-steps.ts'
import { lookSteps } from './look-steps.ts'
import { shouldStop } from './lifecycle.ts'
import { reportSteps } from './report-steps.ts'
import { restartsAt } from './restart-alone.ts'
import { startSteps } from './start-steps.ts'
import { wait } from './step-forms.ts'
import { stopSteps, straySteps } from './stop-steps.ts'
import type { Step } from './steps.ts'
import type { HostView, TaskView } from './view.ts'

/** The view's facts must be settled (`lifecycle.settle`). */
export function nextSteps(view: TaskView, now: number, host: HostView): readonly Step[] {
  const steps = host.engineAnswers ? engineSteps(view, now, host) : [engineWait(host)]
  if (view.facts.reported?.status === 'STOPPED') return steps
  return [...steps, ...reportSteps(view, now, host, steps)]
}

function engineWait(host: HostView): Step {
  return { step: 'wait', args: { cause: 'waits for Docker Engine to answer', since: host.engineSilentSince } }
}

/** A task that ended while no controller is there: it begins anew at that time, unless one comes back first. */
function restartWait({ facts }: TaskView, now: number): Step[] {
  const until = restartsAt(facts)
  return until === undefined || until <= now ? [] : [wait('waits to be started again in place', now, until)]
}

function engineSteps(view: TaskView, now: number, host: HostView): Step[] {
  const { payload, facts } = view
  if (facts.knownStatus === 'STOPPED')
    return [...lookSteps(view, now), ...straySteps(view, now, host), ...endSteps(view, now, host)]
  const stopping = shouldStop(payload, facts, host.pullBehavior)
  const steps = [...lookSteps(view, now), ...straySteps(view, now, host), ...logSteps(view)]
  if (stopping) return [...steps, ...stopSteps(view, now, host), ...restartWait(view, now)]
  if (facts.adopted) return [...steps, wait('waits for its payload from the controller', facts.acceptedAt)]
  return [...steps, ...startSteps(view, now, host)]
}
