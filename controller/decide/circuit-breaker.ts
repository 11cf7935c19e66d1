/**
 * ECS's deployment circuit breaker: how many failed tasks end a deployment.
 *
 * Source: AWS API reference, DeploymentCircuitBreaker, ThresholdConfiguration, ServiceDeploymentCircuitBreaker.
 */
import type { DeploymentConfiguration, ServiceDeployment } from '../../proto/model/types.ts'
import type { DeploymentRow, ServiceRow } from '../state/service-tables.ts'

const thresholdMin = 3
const thresholdMax = 200
const percentDefault = 50

type Breaker = NonNullable<DeploymentConfiguration['deploymentCircuitBreaker']>

/** How many failed tasks trip the breaker; percentages are of the latest desired count and round up. At least 1. */
export function breakerThreshold(breaker: Breaker, desiredCount: number): number {
  const { type = 'BOUNDED_PERCENT', value = percentDefault } = breaker.thresholdConfiguration ?? {}
  if (type === 'COUNT') return Math.max(1, value)
  const share = Math.ceil((desiredCount * value) / 100)
  if (type === 'UNBOUNDED_PERCENT') return Math.max(1, share)
  return Math.min(thresholdMax, Math.max(thresholdMin, share))
}

/** True where a healthy task sets the count back to 0, as it does unless `resetOnHealthyTask` is false. */
export function resetsOnHealthyTask(breaker: Breaker | undefined): boolean {
  return breaker?.resetOnHealthyTask !== false
}

/** Undefined where the breaker is off. */
export function breakerOf(service: ServiceRow): Breaker | undefined {
  const breaker = service.deploymentConfiguration.deploymentCircuitBreaker
  return breaker?.enable === true ? breaker : undefined
}

/** A rollback is never given up for its number of failures: what it returns to has run before. */
export function isTripped(service: ServiceRow, deployment: DeploymentRow): boolean {
  const breaker = breakerOf(service)
  if (breaker === undefined || deployment.rollbackOf !== undefined) return false
  return deployment.failedTasks >= breakerThreshold(breaker, service.desiredCount)
}

/** What DescribeServiceDeployments says of the breaker while the deployment is monitored, or once it no longer is. */
export function describeBreaker(
  service: ServiceRow,
  failureCount: number,
  status: 'MONITORING' | 'MONITORING_COMPLETE' | 'TRIGGERED',
): NonNullable<ServiceDeployment['deploymentCircuitBreaker']> {
  const breaker = breakerOf(service)
  if (breaker === undefined) return { status: 'DISABLED', failureCount: 0, threshold: 0 }
  return { status, failureCount, threshold: breakerThreshold(breaker, service.desiredCount) }
}

/**
 * The same for a deployment that has ended, or is rolled back. What failed at once did not wait for the breaker; what a
 * user stopped has not tripped it.
 */
export function breakerEnd(
  service: ServiceRow,
  deployment: DeploymentRow,
): NonNullable<ServiceDeployment['deploymentCircuitBreaker']> {
  const isTriggered = isTripped(service, deployment) || deployment.cause?.isHopeless === true
  return describeBreaker(service, deployment.failedTasks, isTriggered ? 'TRIGGERED' : 'MONITORING_COMPLETE')
}
