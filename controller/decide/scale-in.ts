/**
 * Which tasks of a service are stopped where some have to be. Protected ones never are.
 *
 * Source: AWS documentation, "Amazon ECS task scale-in protection"; "Use strategies to define Amazon ECS task placement"
 * (the strategies also choose which tasks are terminated).
 */
import type { World } from '../../proto/world.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { rankForStop } from './placement-scale-in.ts'
import { isProtected } from './task-protection.ts'

export interface Chosen {
  readonly tasks: readonly TaskRow[]
  /** How many more were to be stopped, and are protected. */
  readonly protectedCount: number
}

/** At most `count` of `tasks`, all of one service: those first whose end leaves it best balanced. */
export function chooseToStop(
  reader: Reader,
  tasks: readonly TaskRow[],
  count: number,
  service: ServiceRow,
  now: number,
  world: World,
): Chosen {
  const free = tasks.filter((task) => !isProtected(task, now))
  const tooFew = Math.min(count, tasks.length) - free.length
  const protectedCount = Math.max(0, tooFew)
  // Where all go, their order is nobody's concern.
  if (free.length <= count) return { tasks: free, protectedCount }
  return { tasks: rankForStop(reader, free, service.placementStrategy, world, count), protectedCount }
}
