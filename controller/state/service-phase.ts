/**
 * Where a task of a service stands in the eyes of its scheduler. Phases are an index of the task table, so that a
 * deployment of thousands of tasks is counted without looking at each.
 */
import type { DesiredStatus, TaskStatus } from '../../proto/status.ts'

/**
 * - `starting`: wanted, and not healthy for the first time yet
 * - `healthy`: passes the health gate
 * - `unhealthy`: was healthy, or had its time to become so, and fails its health check
 * - `leaving`, `leavingUnready`: on a draining instance, healthy or not; to be replaced elsewhere
 * - `stopping`: wanted stopped, and not known to have stopped
 * - `lost`: on an instance that counts as lost; replaced elsewhere, and kept or stopped once the instance is back
 */
export const servicePhases = [
  'starting',
  'healthy',
  'unhealthy',
  'leaving',
  'leavingUnready',
  'stopping',
  'lost',
] as const
export type ServicePhase = (typeof servicePhases)[number]

interface PhasedTask {
  readonly lastStatus: TaskStatus
  readonly desiredStatus: DesiredStatus
  readonly healthStatus?: string | undefined
  readonly hasHealthCheck?: true | undefined
  readonly healthyAt?: number | undefined
  readonly lostSince?: number | undefined
  readonly evacuatingSince?: number | undefined
}

/** Undefined for a task that is STOPPED. */
export function phaseOf(task: PhasedTask): ServicePhase | undefined {
  if (task.lastStatus === 'STOPPED') return undefined
  if (task.lostSince !== undefined) return 'lost'
  if (task.desiredStatus === 'STOPPED') return 'stopping'
  if (task.evacuatingSince !== undefined) return isHealthy(task) ? 'leaving' : 'leavingUnready'
  if (isHealthy(task)) return 'healthy'
  return task.lastStatus === 'RUNNING' && task.healthStatus === 'UNHEALTHY' ? 'unhealthy' : 'starting'
}

/**
 * The health gate, the one place where it is said what healthy means: the task is RUNNING, and its essential containers
 * with health checks, if any, are HEALTHY. Load balancer targets will be asked here too. Where nothing is known of the health
 * of a task that was healthy before, it still is: an agent that starts anew says UNKNOWN until it has looked.
 *
 * Source: AWS documentation, "Amazon ECS task health" and the service parameter `minimumHealthyPercent`.
 */
export function isHealthy(task: PhasedTask): boolean {
  if (task.lastStatus !== 'RUNNING') return false
  if (task.hasHealthCheck === undefined || task.healthStatus === 'HEALTHY') return true
  return task.healthyAt !== undefined && task.healthStatus !== 'UNHEALTHY'
}
