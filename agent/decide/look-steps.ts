/** Looks at containers about which something must be found out before anything else is concluded. */
import { factsOf } from './lifecycle.ts'
import { retryWait, unlessUnderway, wait } from './step-forms.ts'
import type { Step } from './steps.ts'
import type { TaskView } from './view.ts'

/** A start that takes longer may have happened without its answer having come. */
const lookDuringStartMs = 10_000

export function lookSteps(view: TaskView, now: number): Step[] {
  return view.payload.containers.flatMap(({ name }) => {
    const hint = view.look.get(name)
    const { dockerId, dockerName, lookRetry } = factsOf(view.facts, name)
    const idOrName = dockerId ?? dockerName
    if (hint === undefined || idOrName === undefined) return []
    const again = retryWait(lookRetry, now, `container ${name} to be shown by Docker Engine`)
    if (again !== undefined) return [again]
    // The answer to a start brings a look with it; Docker's event of the same start need not bring another.
    const starting = view.underway.get(`startContainer:${name}`)
    const until = (starting?.since ?? 0) + lookDuringStartMs
    if (starting !== undefined && now < until)
      return [wait(`waits for container ${name} to start`, starting.since, until)]
    return unlessUnderway(view, { step: 'inspectContainer', args: { container: name, idOrName, hint } })
  })
}
