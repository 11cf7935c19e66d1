/**
 * Notices that the container which holds a task's network was started a second time behind the agent's back: its network
 * is another one then, and the task's other containers are still in the one before, which leads nowhere.
 */
import { internalNames } from './internal-containers.ts'
import type { TaskFacts, TaskView } from './view.ts'

/** The facts with what follows for the task; the same object where nothing does. */
export function withNetworkHeld(view: TaskView): TaskFacts {
  const { facts, observed } = view
  const pause = facts.containers[internalNames.CNI_PAUSE]
  const shown = observed.get(internalNames.CNI_PAUSE)
  if (pause?.knownStatus !== 'RUNNING' || shown?.status !== 'running' || shown.startedAt === undefined) return facts
  const { heldSince } = facts.network ?? {}
  if (heldSince === shown.startedAt || facts.reason !== undefined) return facts
  const held = joinedSince(view, shown.startedAt)
  if (heldSince === undefined || held === 'all') return { ...facts, network: { heldSince: shown.startedAt } }
  if (held === 'unknown') return facts
  const reason =
    "ContainerNetworkingError: the container that holds the task's network was started again by somebody else; " +
    'the network of the other containers is gone.'
  return { ...facts, reason }
}

/** Whether all containers that run started into the network that is: then it was this agent that forgot that it began anew. */
function joinedSince({ payload, facts, observed }: TaskView, startedAt: number): 'all' | 'not all' | 'unknown' {
  const up = payload.containers.filter(
    ({ name, internal }) => internal === undefined && facts.containers[name]?.knownStatus === 'RUNNING',
  )
  const starts = up.map(({ name }) => observed.get(name)?.startedAt)
  if (starts.some((at) => at !== undefined && at < startedAt)) return 'not all'
  return starts.includes(undefined) ? 'unknown' : 'all'
}
