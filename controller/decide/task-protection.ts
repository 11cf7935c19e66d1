/**
 * Task scale-in protection: until its end neither scale-in, nor a deployment, nor a drain stops the task. The deletion of
 * its service does, and so does StopTask.
 *
 * Source: AWS documentation, "Protect your Amazon ECS tasks from being terminated by scale-in events".
 */
import type { ServiceRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { computedDesiredCount } from './task-set-scale.ts'

/** A service's protected tasks as they are now. */
export interface Protection {
  readonly tasks: number
  /** When the last of them loses its protection unless it is extended (epoch milliseconds). */
  readonly until: number
}

export function isProtected({ protectedUntil }: TaskRow, now: number): boolean {
  return protectedUntil !== undefined && protectedUntil > now
}

/** Undefined where none is protected. Lost tasks, and those that are being stopped, are not counted. */
export function protectionOf(reader: Reader, serviceKey: string, now: number): Protection | undefined {
  let tasks = 0
  let until = 0
  for (const task of reader.find('task', 'protectedByService', serviceKey)) {
    if (!isProtected(task, now) || task.desiredStatus === 'STOPPED' || task.lostSince !== undefined) continue
    tasks += 1
    until = Math.max(until, task.protectedUntil ?? 0)
  }
  return tasks === 0 ? undefined : { tasks, until }
}

/**
 * How many tasks of a service may be protected at a time: as many as it wants to have. More would hold up its deployments
 * for as long as they last. With task sets that is what all of them want together.
 */
export function protectedMax(reader: Reader, service: ServiceRow): number {
  if (service.deploymentController.type === 'ECS') return service.desiredCount
  return reader
    .find('taskSet', 'byService', service.serviceKey)
    .reduce((sum, set) => sum + computedDesiredCount(service, set), 0)
}
