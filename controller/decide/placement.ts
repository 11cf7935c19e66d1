/**
 * Where a task goes: filters say which instances could take it, strategies choose one of them; and where none can, the
 * refusal says why, in ECS's reasons and in one sentence with counts. docs/placement.md has the rules.
 */
import type { Failure } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import type { InstanceRow, ReservedResources } from '../state/tables.ts'
import type { Candidate, PlacementRequest } from './placement-candidates.ts'
import type { ArmedFilter } from './placement-filter.ts'
import { armFilters } from './placement-filters.ts'
import { chooseCandidate } from './placement-strategies.ts'
import { taskDemand } from './resources.ts'

export interface Placed {
  readonly kind: 'placed'
  readonly instance: InstanceRow
  readonly reserved: ReservedResources
}

/** A value, not an error: RunTask answers 200 with it in `failures[]`. */
export interface Refused {
  readonly kind: 'refused'
  /** For each filter that refused any: how many instances failed it first. They add up to the instances. */
  readonly counts: readonly RefusalCount[]
  /** For each instance, in the order in which they registered, what it failed first. */
  readonly instances: readonly { readonly instance: InstanceRow; readonly filter: string; readonly reason: string }[]
  /** `no instance matched: 3 lack memory (want 2048 MiB, most free 1024), 1 is draining`. */
  readonly sentence: string
}

export interface RefusalCount {
  readonly filter: string
  readonly reason: string
  readonly count: number
  readonly explanation: string
}

/** Chooses an instance of `candidates` for one task; the caller writes the task before it places the next one. */
export function placeTask(candidates: readonly Candidate[], request: PlacementRequest, world: World): Placed | Refused {
  const { able, refused } = judgeAll(candidates, request)
  const chosen = chooseCandidate(able, candidates, request, world)
  if (chosen === undefined) return refusalOf(refused)
  return {
    kind: 'placed',
    instance: chosen.instance,
    reserved: taskDemand(request.definition, request.overrides),
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

interface Failed {
  readonly candidate: Candidate
  readonly filter: ArmedFilter
}

function judgeAll(
  candidates: readonly Candidate[],
  request: PlacementRequest,
): { readonly able: readonly Candidate[]; readonly refused: readonly Failed[] } {
  const filters = armFilters(request)
  const able: Candidate[] = []
  const refused: Failed[] = []
  for (const candidate of candidates) {
    const filter = filters.find((armed) => !armed.judge(candidate))
    if (filter === undefined) able.push(candidate)
    else refused.push({ candidate, filter })
  }
  return { able, refused }
}

function refusalOf(failed: readonly Failed[]): Refused {
  const byFilter = new Map<ArmedFilter, Candidate[]>()
  for (const { candidate, filter } of failed) byFilter.set(filter, [...(byFilter.get(filter) ?? []), candidate])
  const counts = [...byFilter]
    .map(([filter, candidates]) => ({
      filter: filter.name,
      reason: filter.reason,
      count: candidates.length,
      explanation: filter.explain(candidates),
    }))
    .sort((left, right) => right.count - left.count)
  const explanations = counts.map(({ explanation }) => explanation)
  return {
    kind: 'refused',
    counts,
    instances: failed.map(({ candidate, filter }) => ({
      instance: candidate.instance,
      filter: filter.name,
      reason: filter.reason,
    })),
    sentence: `no instance matched: ${explanations.length === 0 ? 'there is none' : explanations.join(', ')}`,
  }
}
