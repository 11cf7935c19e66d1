/** What the agent adds to a task before it takes it: see internal-containers.ts. */
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import { withInternalContainers } from './internal-containers.ts'
import { namespacePause } from './namespace-pause.ts'
import { networkPause } from './task-network.ts'

/** Each makes the container that it is about, where the task needs it. */
const makers: readonly ((task: PayloadTask, pauseImage: string) => PayloadContainer | undefined)[] = [
  networkPause,
  namespacePause,
]

/** `pauseImage` is undefined where the host can't run one: what needs it is refused then. */
export function withAddedContainers(task: PayloadTask, pauseImage: string | undefined): PayloadTask {
  if (pauseImage === undefined) return task
  const added = makers.flatMap((make) => make(task, pauseImage) ?? [])
  return withInternalContainers(task, added)
}
