/**
 * The statuses of ECS, in the order in which they are passed through. A status only ever moves forward, which is what
 * makes every message about it safe to repeat.
 */

export const taskStatuses = [
  'PROVISIONING',
  'PENDING',
  'ACTIVATING',
  'RUNNING',
  'DEACTIVATING',
  'STOPPING',
  'DEPROVISIONING',
  'STOPPED',
] as const
export type TaskStatus = (typeof taskStatuses)[number]

export type DesiredStatus = 'RUNNING' | 'STOPPED'

export const containerStatuses = ['PENDING', 'RUNNING', 'STOPPED'] as const
export type ContainerStatus = (typeof containerStatuses)[number]

export type ClusterStatus = 'ACTIVE' | 'INACTIVE'
export type InstanceStatus = 'ACTIVE' | 'DRAINING' | 'INACTIVE'
export type ServiceStatus = 'ACTIVE' | 'DRAINING' | 'INACTIVE'
/** Of a deployment: PRIMARY is the newest, ACTIVE an older one that still has tasks, INACTIVE one that is done with. */
export type DeploymentStatus = 'PRIMARY' | 'ACTIVE' | 'INACTIVE'
export type RolloutState = 'IN_PROGRESS' | 'COMPLETED' | 'FAILED'

/** True where `next` is further along than `current`, so that a late or repeated report changes nothing. */
export function isLaterTaskStatus(current: TaskStatus, next: TaskStatus): boolean {
  return taskStatuses.indexOf(next) > taskStatuses.indexOf(current)
}

/** Same law for a container: PENDING, RUNNING, STOPPED. */
export function isLaterContainerStatus(current: ContainerStatus, next: ContainerStatus): boolean {
  return containerStatuses.indexOf(next) > containerStatuses.indexOf(current)
}
