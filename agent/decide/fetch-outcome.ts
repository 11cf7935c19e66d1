/** What follows from having fetched what a container needs, or from having tried to. */
import type { AfterStep, Outcome } from './outcomes.ts'
import { factsOf, withContainer } from './lifecycle.ts'
import { retryMostMs } from './step-forms.ts'
import type { EngineSteps } from './steps.ts'
import type { TaskFacts } from './view.ts'

/** A controller that answers and can't, or is asked too often: the pauses between come to a minute and a half. */
const answeredMax = 7
const retryFirstMs = 1000
/** Of what was in the way, as those who wait are shown it. */
const whyMax = 300

/** A refusal ends the task at once. Silence never does: whoever does not answer may be back, and the task waits for it. */
export function afterFetch(
  facts: TaskFacts,
  { container }: EngineSteps['fetchForContainer'],
  outcome: Outcome<'fetchForContainer'>,
  { now }: { readonly now: number },
): AfterStep {
  const known = factsOf(facts, container)
  if (outcome.ok) return { facts: withContainer(facts, container, { ...known, fetchRetry: undefined }) }
  // It was stopped meanwhile: what it no longer needs is not why.
  if (known.knownStatus !== 'PENDING') return { facts }
  const { kind, message } = outcome.failure
  const { attempts: before = 0, answered: answeredBefore = 0 } = known.fetchRetry ?? {}
  const attempts = before + 1
  const answered = answeredBefore + (kind === 'unreachable' ? 0 : 1)
  const isOver = kind !== 'unreachable' && (kind !== 'deadline' || answered >= answeredMax)
  if (isOver) return { facts: { ...facts, reason: facts.reason ?? message } }
  const notBefore = now + Math.min(retryMostMs, retryFirstMs * 2 ** (attempts - 1))
  const fetchRetry = { attempts, notBefore, answered, why: message.slice(0, whyMax) }
  return { facts: withContainer(facts, container, { ...known, fetchRetry }) }
}
