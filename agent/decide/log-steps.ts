/** Asks for the last lines of what has ended, for the report of its end. */
import { factsOf } from './lifecycle.ts'
import { unlessUnderway } from './step-forms.ts'
import type { Step } from './steps.ts'
import type { TaskView } from './view.ts'

export function logSteps(view: TaskView): Step[] {
  return view.payload.containers.flatMap(({ name }) => {
    const { knownStatus, started, dockerId, lastLogLines } = factsOf(view.facts, name)
    if (knownStatus !== 'STOPPED' || !started || dockerId === undefined || lastLogLines !== undefined) return []
    return unlessUnderway(view, { step: 'collectLogs', args: { container: name, dockerId } })
  })
}
