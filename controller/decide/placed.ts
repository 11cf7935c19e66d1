/** What placement answers for a task that has a place. */
import type { PlacementNote } from '../state/service-tables.ts'
import type { InstanceRow, ReservedResources } from '../state/tables.ts'
import type { Candidate } from './placement-candidates.ts'

export interface Placed {
  readonly kind: 'placed'
  readonly instance: InstanceRow
  readonly reserved: ReservedResources
  /** The GPUs that it gets, as many as it asks for. */
  readonly gpuIds: readonly string[]
  /** What was weighed, for the task's row. */
  readonly note: PlacementNote
}

/** The first of the instance's free ones. */
export function givenGpuIds({ resources }: Candidate, { gpus = 0 }: ReservedResources): readonly string[] {
  return resources.freeGpuIds.slice(0, gpus)
}
