/**
 * The filter of a host's own cap: its agent registers how many tasks the host takes at most (`gantry.tasks-max`, from the
 * agent's GANTRY_TASKS_MAX). Every task that the instance holds counts until it is STOPPED.
 */
import type { InstanceRow } from '../state/tables.ts'
import { tasksMaxAttribute } from '../../proto/acs.ts'
import { attributesOf } from './operator-changes.ts'
import { count, definePlacementFilter } from './placement-filter.ts'

export const tasksMax = definePlacementFilter({
  name: 'tasksMax',
  reason: 'RESOURCE:TASKS',
  take: () => true,
  judge: (_want, { instance, tasks }) => tasks.length < capOf(instance),
  explain: (_want, failed) => {
    const caps = failed.map(({ instance }) => capOf(instance))
    const most = Math.max(...caps)
    const figures = Math.min(...caps) === most ? `${most}` : `${Math.min(...caps)} to ${most}`
    return count(
      failed.length,
      `holds as many tasks as its agent allows (GANTRY_TASKS_MAX is ${figures})`,
      `hold as many tasks as their agents allow (GANTRY_TASKS_MAX is ${figures})`,
    )
  },
})

/** Every placement asks every instance, and rows are never changed in place. */
const caps = new WeakMap<InstanceRow, number>()

/** Infinity where the agent gives none, or none that is a number: then nothing is capped. */
function capOf(instance: InstanceRow): number {
  const known = caps.get(instance)
  if (known !== undefined) return known
  const value = attributesOf(instance).find(({ name }) => name === tasksMaxAttribute)?.value ?? ''
  const cap = /^\d{1,9}$/.test(value) ? Number(value) : Number.POSITIVE_INFINITY
  caps.set(instance, cap)
  return cap
}
