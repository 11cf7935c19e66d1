/**
 * What strategies come to: a sequence of things to have the least of, and perhaps a draw at the end. The plan ranks
 * instances by it, scale-in chooses by it, and explanations name it.
 *
 * Source: AWS documentation, "Use strategies to define Amazon ECS task placement" and "Service scheduler concepts".
 */
import type { PlacementStrategy } from '../../proto/model/types.ts'

export type Criterion =
  /** Fewest of the group's tasks in the place, counted over all its instances. */
  | { readonly kind: 'place'; readonly attribute: string }
  /** Fewest of the group's tasks on the instance. */
  | { readonly kind: 'ownTasks' }
  /** Fewest live tasks on the instance, whosever they are. */
  | { readonly kind: 'liveTasks' }
  | { readonly kind: 'binpack'; readonly resource: 'cpu' | 'memory' }
  /** Any of those that are left, with the same chance. What stands behind it decides nothing. */
  | { readonly kind: 'random' }

const zoneAttribute = 'ecs.availability-zone'

/**
 * RunTask without a strategy: as ECS says of it, tasks go to random instances in a way that keeps any single one from
 * getting a disproportionate number. Here: at random among the instances with the fewest live tasks.
 */
const taskDefault: readonly Criterion[] = [{ kind: 'liveTasks' }, { kind: 'random' }]

/**
 * A service without a strategy: balanced over the availability zones, then the instance with the fewest of its tasks.
 * Live tasks of others come last, else every small service of a cluster would sit on its first instance.
 */
const serviceDefault: readonly Criterion[] = [
  { kind: 'place', attribute: zoneAttribute },
  { kind: 'ownTasks' },
  { kind: 'liveTasks' },
]

export function criteriaOf(
  strategies: readonly PlacementStrategy[],
  whose: 'task' | 'service' | undefined,
): readonly Criterion[] {
  if (strategies.length === 0) return whose === 'service' ? serviceDefault : taskDefault
  return strategies.map(criterionOf)
}

function criterionOf({ type, field = '' }: PlacementStrategy): Criterion {
  switch (type) {
    case 'random':
      return { kind: 'random' }
    case 'binpack':
      return { kind: 'binpack', resource: field.toLowerCase() === 'cpu' ? 'cpu' : 'memory' }
    case 'spread':
      return field.startsWith('attribute:')
        ? { kind: 'place', attribute: field.slice('attribute:'.length) }
        : { kind: 'ownTasks' }
    default:
      throw new Error(`placement strategy ${String(type)} has no rule here; it must be refused before`)
  }
}
