/** All that a task may need beside its containers, in the order in which it is made. */
import type { PayloadContainer } from '../../proto/acs.ts'
import { fetchedValues } from './fetch-steps.ts'
import { taskNetwork } from './network-steps.ts'
import type { Step } from './steps.ts'
import { taskCgroup } from './task-cgroup.ts'
import type { TaskResource } from './task-resource.ts'
import type { HostView, TaskView } from './view.ts'
import { volumes } from './volume-steps.ts'

const taskResources: readonly TaskResource[] = [taskCgroup, taskNetwork, volumes, fetchedValues]

export function prepareResources(view: TaskView, now: number, host: HostView): readonly Step[] {
  return taskResources.flatMap((resource) => resource.prepare(view, now, host))
}

/** What the container waits for before it may be made; undefined where all that it needs is there. */
export function heldByResource(
  view: TaskView,
  container: PayloadContainer,
  host: HostView,
  now: number,
): string | undefined {
  for (const resource of taskResources) {
    const held = resource.holds(view, container, host, now)
    if (held !== undefined) return held
  }
  return undefined
}

/** In the reverse of the order in which they were made, each after the one before is gone. */
export function releaseResources(view: TaskView, now: number): readonly Step[] {
  for (const resource of taskResources.toReversed()) {
    const steps = resource.release(view, now)
    if (steps.length > 0) return steps
  }
  return []
}
