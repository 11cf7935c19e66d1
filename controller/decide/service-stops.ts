/**
 * Stopping tasks of a service: so many of these, as far as the decision's budget goes and protection allows; and telling
 * of it once it is done.
 */
import type { World } from '../../proto/world.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { chooseToStop } from './scale-in.ts'
import { addServiceEvent } from './service-events.ts'
import { stopServiceTask, tellStopped } from './service-tasks.ts'

export const unhealthyReason = 'Task failed container health checks'

/** Source: AWS documentation, "Amazon ECS service action events". */
const violation = { eventType: 'ERROR', eventName: 'SERVICE_DAEMON_PLACEMENT_CONSTRAINT_VIOLATED' } as const

export interface Stops {
  /** Stops at most `count` of `tasks`, and answers how many were chosen, whether the budget covered them or not. */
  stop(tasks: readonly TaskRow[], count: number, reason?: string): number
  /** Adds the events, those of tasks that violate a constraint by themselves, and says how it went. */
  finish(violating?: readonly TaskRow[]): StopsDone
}

export interface StopsDone {
  readonly stopped: number
  /** The budget ran out before everything was stopped that was chosen. */
  readonly isCutShort: boolean
  /** How many more were to be stopped, and are protected. */
  readonly protectedCount: number
}

/** Stops of one decision, at most `budget`. */
export function beginStops(tx: Transaction, service: ServiceRow, budget: number, now: number, world: World): Stops {
  const stopped: TaskRow[] = []
  const unhealthy: TaskRow[] = []
  let chosenCount = 0
  let protectedCount = 0
  return {
    stop(tasks, count, reason) {
      if (count <= 0 || tasks.length === 0) return 0
      const chosen = chooseToStop(tx, tasks, count, service, now, world)
      protectedCount += chosen.protectedCount
      for (const { taskId } of chosen.tasks.slice(0, Math.max(0, budget - chosenCount))) {
        const row = stopServiceTask(tx, taskId, now, reason)
        if (row !== undefined) stopped.push(row)
        if (row !== undefined && reason === unhealthyReason) unhealthy.push(row)
      }
      chosenCount += chosen.tasks.length
      return chosen.tasks.length
    },
    finish(violating = []) {
      for (const { taskId } of unhealthy) {
        const message = `(service ${service.serviceName}) (task ${taskId}) failed container health checks.`
        addServiceEvent(tx, service.serviceKey, message, now, world)
      }
      const ids = new Set(violating.map(({ taskId }) => taskId))
      tellStopped(
        tx,
        service,
        stopped.filter(({ taskId }) => !ids.has(taskId)),
        now,
        world,
      )
      tellStopped(tx, service, violating, now, world, violation)
      return { stopped: stopped.length, isCutShort: chosenCount > budget, protectedCount }
    },
  }
}
