/** The forms in which steps are put: a wait with its cause, a step or the wait for it while it is under way. */
import { stepKey } from './steps.ts'
import type { EngineStep, Step } from './steps.ts'
import type { Retry, TaskView } from './view.ts'

/** The longest wait between two attempts at the same thing. */
export const retryMostMs = 30_000

export function wait(cause: string, since: number, until?: number): Step {
  return { step: 'wait', args: { cause, since, until } }
}

export function retryWait(retry: Retry | undefined, now: number, what: string): Step | undefined {
  if (retry === undefined || now >= retry.notBefore) return undefined
  // A wall clock that was set back must not lengthen the wait by as much.
  if (retry.notBefore - now > retryMostMs) return undefined
  return wait(`waits to try again after ${retry.attempts} failures: ${what}`, now, retry.notBefore)
}

export function unlessUnderway(view: TaskView, step: EngineStep): Step[] {
  return view.underway.has(stepKey(step)) ? [] : [step]
}

/** The step; or, while it is under way, the wait for it. */
export function orWait(view: TaskView, step: EngineStep, cause: string): Step[] {
  const underway = view.underway.get(stepKey(step))
  return underway === undefined ? [step] : [wait(cause, underway.since)]
}
