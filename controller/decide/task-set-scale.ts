/** How many tasks a task set is to have, and in which order a service's task sets are given room. */
import type { ServiceRow, TaskSetRow } from '../state/service-tables.ts'

/** Less than this is what floating point adds to a product: 7 % of 100 is 7. */
const tolerance = 1e-9

/**
 * The service's desired count times the task set's scale, always rounded up. A task set that is being deleted wants none.
 * Source: ECS API reference, TaskSet, `computedDesiredCount`.
 */
export function computedDesiredCount(
  { desiredCount }: Pick<ServiceRow, 'desiredCount'>,
  { scale, status }: Pick<TaskSetRow, 'scale' | 'status'>,
): number {
  if (status === 'DRAINING') return 0
  return Math.ceil((desiredCount * (scale.value ?? 0)) / 100 - tolerance)
}

function rank({ status }: TaskSetRow): number {
  return status === 'PRIMARY' ? 0 : 1
}

/** The PRIMARY one first, then the oldest: the order in which they are given room. */
export function inOrder(taskSets: readonly TaskSetRow[]): readonly TaskSetRow[] {
  return taskSets.toSorted(
    (one, other) => rank(one) - rank(other) || one.createdAt - other.createdAt || (one.id < other.id ? -1 : 1),
  )
}
