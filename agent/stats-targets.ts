/** Which containers are sampled: those of tasks that run, with whose network they count. */
import { definedContainers } from './decide/internal-containers.ts'
import type { MetadataTask } from './decide/task-metadata.ts'
import type { ObservedContainer } from './engine.ts'
import type { StatsTarget } from './stats.ts'

export function statsTargets(tasks: readonly MetadataTask[]): readonly StatsTarget[] {
  return tasks.flatMap((task) =>
    definedContainers(task.payload).flatMap(({ name }) => statsTargetOf(task, task.observed.get(name)) ?? []),
  )
}

/** undefined where the container does not run, or where its engine does not say as which process. */
export function statsTargetOf(
  { payload }: MetadataTask,
  observed: ObservedContainer | undefined,
): StatsTarget | undefined {
  if (observed?.status !== 'running' || observed.details === undefined || observed.details.pid === 0) return undefined
  const { pid, cgroupParent } = observed.details
  const { networkMode } = observed
  // The containers of a task that share one network count a part of it each.
  const isShared = networkMode.startsWith('container:')
  return {
    dockerId: observed.id,
    pid,
    cgroupParent,
    countsNetwork: networkMode !== 'host' && networkMode !== 'none',
    networkShare: isShared ? definedContainers(payload).length : 1,
  }
}
