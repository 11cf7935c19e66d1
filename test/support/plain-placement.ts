/**
 * Placement by the plain rule: for each task every instance is looked at. What the controller does must come to the same,
 * and what it gains by doing otherwise is measured against this.
 */
import type { World } from '../../proto/world.ts'
import {
  type Candidate,
  type PlacementRequest,
  placementCandidates,
  placeOf,
  tasksOfGroup,
  withTask,
} from '../../controller/decide/placement-candidates.ts'
import { type Criterion, criteriaOf } from '../../controller/decide/placement-criteria.ts'
import type { ArmedFilter } from '../../controller/decide/placement-filter.ts'
import { armFilters } from '../../controller/decide/placement-filters.ts'
import { type Failed, type Refused, refusalOf } from '../../controller/decide/placement-refusal.ts'
import { taskDemand } from '../../controller/decide/resources.ts'
import { compareKeys } from '../../controller/state/index-buckets.ts'
import type { Reader } from '../../controller/state/transaction.ts'

export interface PlainPlan {
  next(): { readonly instanceId: string; readonly able: number; readonly considered: number } | Refused
}

export function planPlainly(reader: Reader, clusterName: string, request: PlacementRequest, world: World): PlainPlan {
  const filters = armFilters(request)
  const reserved = taskDemand(request.definition, request.overrides)
  let candidates: readonly Candidate[] = placementCandidates(reader, clusterName)
  return {
    next() {
      const { able, failed } = judgeAll(candidates, filters)
      const chosen = choose(able, candidates, request, world)
      if (chosen === undefined) return refusalOf(failed, filters)
      candidates = candidates.map((each) => (each === chosen ? withTask(each, request.group, reserved) : each))
      return { instanceId: chosen.instance.instanceId, able: able.length, considered: candidates.length }
    },
  }
}

function judgeAll(
  candidates: readonly Candidate[],
  filters: readonly ArmedFilter[],
): { readonly able: readonly Candidate[]; readonly failed: readonly Failed[] } {
  const able: Candidate[] = []
  const failed: Failed[] = []
  for (const candidate of candidates) {
    const filter = filters.find((armed) => !armed.judge(candidate))
    if (filter === undefined) able.push(candidate)
    else failed.push({ candidate, filter })
  }
  return { able, failed }
}

/** A criterion narrows the candidates, each what the one before left; the first of them by registration is taken. */
function choose(
  able: readonly Candidate[],
  everyone: readonly Candidate[],
  request: PlacementRequest,
  world: World,
): Candidate | undefined {
  const criteria = criteriaOf(request.strategies, request.default)
  let left = able
  const places: string[] = []
  for (const criterion of criteria) {
    if (criterion.kind === 'random') return draw(left, places, world)
    if (criterion.kind === 'place') places.push(criterion.attribute)
    left = leastBy(left, measureOf(criterion, everyone, request.group))
  }
  return left[0]
}

function measureOf(
  criterion: Criterion,
  everyone: readonly Candidate[],
  group: string,
): (candidate: Candidate) => number {
  switch (criterion.kind) {
    case 'liveTasks':
      return (candidate) => candidate.tasks.length
    case 'ownTasks':
      return (candidate) => tasksOfGroup(candidate, group)
    case 'binpack':
      return ({ resources }) =>
        criterion.resource === 'cpu' ? resources.remaining.cpuUnits : resources.remaining.memoryMiB
    case 'place': {
      const { attribute } = criterion
      const tasksByValue = new Map<string, number>()
      for (const candidate of everyone) {
        const value = placeOf(candidate.instance, attribute)
        tasksByValue.set(value, (tasksByValue.get(value) ?? 0) + tasksOfGroup(candidate, group))
      }
      return ({ instance }) => tasksByValue.get(placeOf(instance, attribute)) ?? 0
    }
    default:
      throw new Error(`criterion ${criterion.kind} measures nothing`)
  }
}

function leastBy(candidates: readonly Candidate[], measure: (candidate: Candidate) => number): readonly Candidate[] {
  const measured = candidates.map((candidate) => ({ candidate, size: measure(candidate) }))
  const least = measured.reduce((smallest, { size }) => Math.min(smallest, size), Number.POSITIVE_INFINITY)
  return measured.filter(({ size }) => size === least).map(({ candidate }) => candidate)
}

/** Counted by their places, then by registration. */
function draw(candidates: readonly Candidate[], places: readonly string[], world: World): Candidate | undefined {
  if (candidates.length <= 1) return candidates[0]
  const nameOf = ({ instance }: Candidate): string => {
    const names = places.map((attribute) => placeOf(instance, attribute))
    return names.length === 1 ? (names[0] ?? '') : JSON.stringify(names)
  }
  const sorted = candidates.toSorted((left, right) => compareKeys(nameOf(left), nameOf(right)))
  return sorted[Math.floor(world.random() * sorted.length)]
}
