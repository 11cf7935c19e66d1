/**
 * Which of the instances that could take a task does. A strategy narrows the candidates; several run in sequence, each
 * on what the one before left. What is still equal at the end goes to the instance that registered first, so that the
 * same state and the same seed always give the same answer.
 *
 * Source: AWS documentation, "Use strategies to define Amazon ECS task placement".
 */
import type { PlacementStrategy } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { attributesOf } from './operator-changes.ts'
import { type Candidate, type PlacementRequest, tasksOfGroup } from './placement-candidates.ts'

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
  for (const strategy of request.strategies) left = narrow(strategy, left, everyone, request.group, world)
  if (request.strategies.length === 0) left = spreadLoad(left, world)
  return left[0]
}

/**
 * RunTask without a strategy: as ECS says of it, tasks go to random instances in a way that keeps any single one from
 * getting a disproportionate number. Here: at random among the instances with the fewest live tasks.
 */
function spreadLoad(candidates: readonly Candidate[], world: World): readonly Candidate[] {
  return pickAny(
    leastBy(candidates, (candidate) => candidate.tasks.length),
    world,
  )
}

function narrow(
  strategy: PlacementStrategy,
  candidates: readonly Candidate[],
  everyone: readonly Candidate[],
  group: string,
  world: World,
): readonly Candidate[] {
  const field = strategy.field ?? ''
  switch (strategy.type) {
    case 'random':
      return pickAny(candidates, world)
    case 'binpack':
      return leastBy(candidates, ({ resources }) =>
        field.toLowerCase() === 'cpu' ? resources.remaining.cpuUnits : resources.remaining.memoryMiB,
      )
    case 'spread':
      return spread(candidates, everyone, group, field)
    default:
      throw new Error(`placement strategy ${String(strategy.type)} has no rule here; it must be refused before`)
  }
}

function spread(
  candidates: readonly Candidate[],
  everyone: readonly Candidate[],
  group: string,
  field: string,
): readonly Candidate[] {
  const tasksByValue = new Map<string, number>()
  for (const candidate of everyone) {
    const value = spreadValue(candidate, field)
    tasksByValue.set(value, (tasksByValue.get(value) ?? 0) + tasksOfGroup(candidate, group))
  }
  return leastBy(candidates, (candidate) => tasksByValue.get(spreadValue(candidate, field)) ?? 0)
}

/** Instances without the attribute count as one place of their own. */
function spreadValue({ instance }: Candidate, field: string): string {
  if (!field.startsWith('attribute:')) return instance.instanceId
  const name = field.slice('attribute:'.length)
  return attributesOf(instance).find((attribute) => attribute.name === name)?.value ?? ''
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
