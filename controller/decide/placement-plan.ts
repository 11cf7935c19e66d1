/**
 * Places tasks of one request one after the other, each seeing what the ones before it took. The plan keeps account of
 * its own placements; the caller writes the rows.
 */
import type { World } from '../../proto/world.ts'
import type { PlacementNote } from '../state/service-tables.ts'
import type { Reader } from '../state/transaction.ts'
import type { Placed } from './placement.ts'
import { type Candidate, type PlacementRequest, placementCandidates, withTask } from './placement-candidates.ts'
import { armFilters } from './placement-filters.ts'
import { countsOf, type Failed, type Refused, refusalOf } from './placement-refusal.ts'
import { chooseCandidate, scoresOf } from './placement-strategies.ts'
import { taskDemand } from './resources.ts'

export interface PlacementPlan {
  /** How many instances the cluster has that are not deregistered. */
  readonly considered: number
  /** The next task's place. Once refused, every further call is refused in the same words. */
  next(): Placed | Refused
}

/** Plans for the cluster as `reader` shows it now. */
export function planPlacement(
  reader: Reader,
  clusterName: string,
  request: PlacementRequest,
  now: number,
  world: World,
): PlacementPlan {
  const filters = armFilters(request)
  const reserved = taskDemand(request.definition, request.overrides)
  let candidates = placementCandidates(reader, clusterName)

  function next(): Placed | Refused {
    const able: Candidate[] = []
    const failed: Failed[] = []
    for (const candidate of candidates) {
      const filter = filters.find((armed) => !armed.judge(candidate))
      if (filter === undefined) able.push(candidate)
      else failed.push({ candidate, filter })
    }
    const chosen = chooseCandidate(able, candidates, request, world)
    if (chosen === undefined) return refusalOf(failed, filters)
    const { instance } = chosen
    const note: PlacementNote = {
      at: now,
      considered: candidates.length,
      able: able.length,
      counts: countsOf(failed),
      ranking: [{ instanceId: instance.instanceId, scores: scoresOf(chosen, candidates, request) }],
    }
    candidates = candidates.map((each) => (each === chosen ? withTask(each, request.group, reserved) : each))
    return { kind: 'placed', instance, reserved, note }
  }

  return { considered: candidates.length, next }
}
