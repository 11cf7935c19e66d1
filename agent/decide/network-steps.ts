/** When the network of a task with an address of its own is made, and what is told of it. */
import { internalNames } from './internal-containers.ts'
import { factsOf } from './lifecycle.ts'
import { orWait, retryWait } from './step-forms.ts'
import { taskNetworkOf } from './task-network.ts'
import type { TaskNetwork } from './task-network.ts'
import type { TaskResource } from './task-resource.ts'
import type { TaskView } from './view.ts'

export const taskNetwork: TaskResource = {
  name: 'network',

  prepare(view, now) {
    const network = taskNetworkOf(view.payload)
    if (network === undefined || !awaitsNetwork(view)) return []
    const again = retryWait(view.facts.network?.retry, now, 'the network of the task to be made')
    if (again !== undefined) return [again]
    return orWait(view, { step: 'prepareNetwork', args: { network } }, waitCause(network))
  },

  holds(view, container) {
    const network = taskNetworkOf(view.payload)
    if (network === undefined || container.internal !== 'CNI_PAUSE' || !awaitsNetwork(view)) return undefined
    return waitCause(network)
  },

  // What a subnet needs on this host is shared by its tasks, and looked after as a whole.
  release: () => [],
}

/** Each start of the pause container is preceded by a look at what it starts into. */
function awaitsNetwork(view: TaskView): boolean {
  const pause = view.facts.containers[internalNames.CNI_PAUSE]
  return pause?.knownStatus === 'PENDING' && view.facts.network?.isReady !== true
}

function waitCause({ subnet, address }: TaskNetwork): string {
  return `waits for address ${address} of ${subnet.subnetId} to be attached to this host`
}

/** Interfaces of the task that are up, as the controller is told of them. */
export function attachmentsOf(view: TaskView): readonly { attachmentArn: string; status: 'ATTACHED' }[] | undefined {
  const { payload, facts } = view
  const pause = facts.containers[internalNames.CNI_PAUSE]
  if (taskNetworkOf(payload) === undefined || pause?.started !== true) return undefined
  return (payload.elasticNetworkInterfaces ?? []).map(({ attachmentArn }) => ({ attachmentArn, status: 'ATTACHED' }))
}

/** Nobody outside is told of internal containers, so the task itself says why one of them failed or ended first. */
export function reasonOfInternals(view: TaskView): string | undefined {
  const { payload, facts } = view
  for (const { name, internal } of payload.containers) {
    if (internal === undefined) continue
    const { knownStatus, reason, started, exitCode, stopAskedAt, finishedAt } = factsOf(facts, name)
    if (knownStatus !== 'STOPPED' || stopAskedAt !== undefined) continue
    const what = internal === 'CNI_PAUSE' ? 'network' : 'processes or memory'
    if (reason !== undefined) return started ? `The container that holds the task's ${what} ended: ${reason}` : reason
    const othersFirst = payload.containers.some((other) => {
      const end = factsOf(facts, other.name).finishedAt
      return other.internal === undefined && other.essential && end !== undefined && end <= (finishedAt ?? 0)
    })
    if (!started || othersFirst) continue
    const code = exitCode === undefined ? '' : ` (exit code ${exitCode})`
    return `ContainerNetworkingError: the container that holds the task's ${what} ended${code}; the others cannot go on without it.`
  }
  return undefined
}
