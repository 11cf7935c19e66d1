/** Why a service starts no tasks: a role that they need can't be assumed (any more). */
import type { Place } from '../../proto/arn.ts'
import type { PlacementWait } from '../state/service-tables.ts'
import type { TaskDefinitionRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { assumableRole } from './assumable-role.ts'

/** The first of the definition's roles that can't be assumed; undefined where there is none. */
export function waitForRole(
  reader: Reader,
  definition: TaskDefinitionRow,
  place: Place,
  now: number,
): PlacementWait | undefined {
  for (const named of [definition.taskRoleArn, definition.executionRoleArn]) {
    if (named === undefined) continue
    const found = assumableRole(reader, named, place, now)
    if (!('problem' in found)) continue
    const explanation = found.problem.replace(/\.$/, '')
    const counts = [{ filter: roleFilter, reason: 'ROLE', count: 0, explanation }]
    return { since: now, at: now, sentence: explanation, counts, nearest: [] }
  }
  return undefined
}

/** Where a wait is of this kind, it stands in place of a filter of placement. */
export const roleFilter = 'role'
