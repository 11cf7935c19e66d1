/** What must hold of the task sets of a service with an external controller once everything had its time. */
import { computedDesiredCount } from '../../controller/decide/task-set-scale.ts'
import type { ServiceRow, TaskSetRow } from '../../controller/state/service-tables.ts'
import type { Reader } from '../../controller/state/transaction.ts'

/** Each has what its scale says and says that it is steady, or says what it waits for; a deleted one is gone. */
export function unsettledTaskSets(reader: Reader, service: ServiceRow): readonly string[] {
  return reader.find('taskSet', 'byService', service.serviceKey).flatMap((taskSet) => {
    if (isExplained(taskSet)) return []
    const { id, status, stabilityStatus } = taskSet
    const desired = computedDesiredCount(service, taskSet)
    const healthy = reader.count('task', 'byDeploymentPhase', `${id}/healthy`)
    if (status !== 'DRAINING' && stabilityStatus === 'STEADY_STATE' && healthy === desired) return []
    return [`task set ${id} of ${service.serviceKey}: ${status}, ${healthy} of ${desired} healthy, ${stabilityStatus}`]
  })
}

/** Its operators have left it one task set, which is primary and can run. */
export function unmendedTaskSets(reader: Reader, service: ServiceRow): readonly string[] {
  const taskSets = reader.find('taskSet', 'byService', service.serviceKey)
  const told = taskSets.map(({ id, status, stabilityStatus }) => `${id} ${status} ${stabilityStatus}`)
  const [only] = taskSets
  const isMended = taskSets.length === 1 && only?.status === 'PRIMARY' && only.stabilityStatus === 'STEADY_STATE'
  return isMended ? [] : [`service ${service.serviceKey} has the task sets ${told.join(', ')}`]
}

/** It waits for room, for protection to end or after failures, and says so. */
function isExplained({ waiting, stuck, cause, failuresInRow }: TaskSetRow): boolean {
  return waiting !== undefined || stuck !== undefined || (failuresInRow > 0 && cause !== undefined)
}
