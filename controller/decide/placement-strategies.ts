/**
 * Which of the instances that could take a task does. A criterion narrows the candidates; several run in sequence, each
 * on what the one before left. What is still equal at the end goes to the instance that registered first, so that the
 * same state and the same seed always give the same answer.
 */
import type { World } from '../../proto/world.ts'
import { type Candidate, type PlacementRequest, placeOf, tasksOfGroup } from './placement-candidates.ts'
import { type Criterion, criteriaOf } from './placement-criteria.ts'

/**
 * The instance to take of `able`, at least one, in the order of their registration. `everyone` is the whole cluster:
 * spread counts what runs on instances that can't take this task too.
 */
export function chooseCandidate(
  able: readonly Candidate[],
  everyone: readonly Candidate[],
  request: PlacementRequest,
  world: World,
): Candidate | undefined {
  let left = able
  for (const criterion of criteriaOf(request.strategies, request.default)) {
    left = narrow(criterion, left, everyone, request.group, world)
  }
  return left[0]
}

function narrow(
  criterion: Criterion,
  candidates: readonly Candidate[],
  everyone: readonly Candidate[],
  group: string,
  world: World,
): readonly Candidate[] {
  switch (criterion.kind) {
    case 'random':
      return pickAny(candidates, world)
    case 'liveTasks':
      return leastBy(candidates, (candidate) => candidate.tasks.length)
    case 'ownTasks':
      return leastBy(candidates, (candidate) => tasksOfGroup(candidate, group))
    case 'binpack':
      return leastBy(candidates, ({ resources }) =>
        criterion.resource === 'cpu' ? resources.remaining.cpuUnits : resources.remaining.memoryMiB,
      )
    default:
      return spread(candidates, everyone, group, criterion.attribute)
  }
}

/** What each criterion counted on a candidate, in words. */
export function scoresOf(
  candidate: Candidate,
  everyone: readonly Candidate[],
  { strategies, group, ...request }: PlacementRequest,
): readonly string[] {
  const { remaining } = candidate.resources
  return criteriaOf(strategies, request.default).map((criterion) => {
    switch (criterion.kind) {
      case 'random':
        return 'drawn at random'
      case 'liveTasks':
        return `${candidate.tasks.length} live tasks`
      case 'ownTasks':
        return `${tasksOfGroup(candidate, group)} tasks of ${group}`
      case 'binpack':
        return criterion.resource === 'cpu' ? `${remaining.cpuUnits} CPU units free` : `${remaining.memoryMiB} MiB free`
      default: {
        const place = placeOf(candidate.instance, criterion.attribute)
        const inPlace = everyone.filter((each) => placeOf(each.instance, criterion.attribute) === place)
        const number = inPlace.reduce((sum, each) => sum + tasksOfGroup(each, group), 0)
        return `${number} tasks of ${group} where ${criterion.attribute} is ${place === '' ? 'not set' : place}`
      }
    }
  })
}

function spread(
  candidates: readonly Candidate[],
  everyone: readonly Candidate[],
  group: string,
  attribute: string,
): readonly Candidate[] {
  const tasksByValue = new Map<string, number>()
  for (const candidate of everyone) {
    const value = placeOf(candidate.instance, attribute)
    tasksByValue.set(value, (tasksByValue.get(value) ?? 0) + tasksOfGroup(candidate, group))
  }
  return leastBy(candidates, (candidate) => tasksByValue.get(placeOf(candidate.instance, attribute)) ?? 0)
}

function leastBy(candidates: readonly Candidate[], measure: (candidate: Candidate) => number): readonly Candidate[] {
  const measured = candidates.map((candidate) => ({ candidate, size: measure(candidate) }))
  const least = Math.min(...measured.map(({ size }) => size))
  return measured.filter(({ size }) => size === least).map(({ candidate }) => candidate)
}

function pickAny(candidates: readonly Candidate[], world: World): readonly Candidate[] {
  if (candidates.length <= 1) return candidates
  const index = Math.floor(world.random() * candidates.length)
  return candidates.slice(index, index + 1)
}
