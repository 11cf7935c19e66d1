/**
 * Which tasks of a service are stopped where some have to be. Protected ones never are.
 *
 * Source: AWS documentation, "Amazon ECS task scale-in protection"; "Use strategies to define Amazon ECS task placement"
 * (the strategies also choose which tasks are terminated).
 */
import type { ServiceRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'

export interface Chosen {
  readonly tasks: readonly TaskRow[]
  /** How many more were to be stopped, and are protected. */
  readonly protectedCount: number
}

/** At most `count` of `tasks`, those first that leave the service best balanced. */
export function chooseToStop(
  _reader: Reader,
  tasks: readonly TaskRow[],
  count: number,
  _service: ServiceRow,
  now: number,
): Chosen {
  if (count <= 0) return { tasks: [], protectedCount: 0 }
  const free = tasks.filter((task) => !isProtected(task, now))
  const chosen = byCrowding(free).slice(0, count)
  return { tasks: chosen, protectedCount: Math.min(count - chosen.length, tasks.length - free.length) }
}

export function isProtected({ protectedUntil }: TaskRow, now: number): boolean {
  return protectedUntil !== undefined && protectedUntil > now
}

/** From the zone, then the instance with the most of them; the newest first. */
function byCrowding(tasks: readonly TaskRow[]): readonly TaskRow[] {
  const ofZone = new Map<string, number>()
  const ofInstance = new Map<string, number>()
  const newestFirst = [...tasks].sort((left, right) => right.createdAt - left.createdAt)
  const ranked = newestFirst.map((task) => {
    const inZone = (ofZone.get(zoneOf(task)) ?? 0) + 1
    const onInstance = (ofInstance.get(task.instanceId) ?? 0) + 1
    ofZone.set(zoneOf(task), inZone)
    ofInstance.set(task.instanceId, onInstance)
    return { task, inZone, onInstance }
  })
  // A task's rank is how many of its zone are left once those after it are gone.
  return ranked
    .map((entry) => ({
      task: entry.task,
      inZone: (ofZone.get(zoneOf(entry.task)) ?? 0) - entry.inZone,
      onInstance: (ofInstance.get(entry.task.instanceId) ?? 0) - entry.onInstance,
    }))
    .sort((left, right) => right.inZone - left.inZone || right.onInstance - left.onInstance)
    .map(({ task }) => task)
}

function zoneOf({ availabilityZone }: TaskRow): string {
  return availabilityZone ?? ''
}
