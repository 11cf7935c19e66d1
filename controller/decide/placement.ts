/**
 * Where a task goes: filters say which instances could take it, strategies choose one of them; and where none can, the
 * refusal says why, in ECS's reasons and in one sentence with counts. docs/placement.md has the rules.
 */
import type { Failure } from '../../proto/model/types.ts'
import type { InstanceRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { givenGpuIds, type Placed } from './placed.ts'
import { candidateOf, type PlacementRequest, withOffer } from './placement-candidates.ts'
import { armFilters } from './placement-filters.ts'
import { type Refused, refusalOf } from './placement-refusal.ts'
import { taskDemand } from './resources.ts'

/** Whether the one instance that a caller names can take a task: StartTask, and daemons. */
export function placeOn(
  reader: Reader,
  instance: InstanceRow,
  request: PlacementRequest,
  now: number,
): Placed | Refused {
  const candidate = candidateOf(reader, instance)
  const filters = armFilters(withOffer(reader, request))
  const filter = filters.find((armed) => !armed.judge(candidate))
  if (filter !== undefined) return refusalOf([{ candidate, filter }], filters)
  const reserved = taskDemand(request.definition, request.overrides)
  return {
    kind: 'placed',
    instance,
    reserved,
    gpuIds: givenGpuIds(candidate, reserved),
    note: { at: now, considered: 1, able: 1, counts: [], ranking: [{ instanceId: instance.instanceId, scores: [] }] },
  }
}

/** More than an answer can usefully list; the sentence counts all of them anyway. */
const failuresMax = 100

/**
 * `failures[]` of RunTask: as in ECS one for each instance, with the reason for which it was passed over. `detail` is
 * the sentence about all of them.
 */
export function failuresOf(refused: Refused, detail: string): readonly Failure[] {
  return refused.instances
    .slice(0, failuresMax)
    .map(({ instance, reason }) => ({ arn: instance.containerInstanceArn, reason, detail }))
}
