/**
 * ECS's rules on `deploymentConfiguration`, and the form in which a service keeps it: a member that a request leaves out
 * keeps its value. Source: the ECS API reference, DeploymentConfiguration, DeploymentCircuitBreaker and
 * ThresholdConfiguration.
 */
import { invalidParameter } from '../../proto/errors.ts'
import type { DeploymentConfiguration } from '../../proto/model/types.ts'
import { unsupported } from './launch-rules.ts'

export type SchedulingStrategy = 'REPLICA' | 'DAEMON'

/** Given to a service that names none: 100 and 200 percent, for daemons 0 and 100. */
export function initialDeploymentConfiguration(strategy: SchedulingStrategy): DeploymentConfiguration {
  return {
    deploymentCircuitBreaker: { enable: false, rollback: false },
    maximumPercent: strategy === 'DAEMON' ? 100 : 200,
    minimumHealthyPercent: strategy === 'DAEMON' ? 0 : 100,
    strategy: 'ROLLING',
    bakeTimeInMinutes: 0,
  }
}

/** `given` over `current`. InvalidParameterException or UnsupportedFeatureException, each naming the member. */
export function mergeDeploymentConfiguration(
  current: DeploymentConfiguration,
  given: DeploymentConfiguration | undefined,
  strategy: SchedulingStrategy,
  controller: string,
): DeploymentConfiguration {
  if (given === undefined) return current
  refuseWhatIsNotBuilt(given)
  checkCircuitBreaker(given, controller)
  checkAlarms(given, controller)
  const next = { ...current, ...present(given) }
  checkPercentages(next, strategy)
  return next
}

function refuseWhatIsNotBuilt(given: DeploymentConfiguration): void {
  const { strategy, bakeTimeInMinutes, lifecycleHooks, linearConfiguration, canaryConfiguration } = given
  if (strategy !== undefined && strategy !== 'ROLLING') {
    throw unsupported(
      `deploymentConfiguration.strategy ${strategy} shifts traffic between two sets of tasks, and needs load balancing, ` +
        'which is not available yet. Use strategy ROLLING, or leave it out.',
    )
  }
  if (linearConfiguration !== undefined || canaryConfiguration !== undefined) {
    const member = linearConfiguration === undefined ? 'canaryConfiguration' : 'linearConfiguration'
    throw invalidParameter(`deploymentConfiguration.${member} is not valid for strategy ROLLING. Leave it out.`)
  }
  if (bakeTimeInMinutes !== undefined && bakeTimeInMinutes !== 0) {
    throw unsupported(
      'deploymentConfiguration.bakeTimeInMinutes belongs to the strategies that shift traffic, and those need load ' +
        `balancing, which is not available yet. It is ${bakeTimeInMinutes}: leave it out, or give 0.`,
    )
  }
  if ((lifecycleHooks ?? []).length > 0) {
    throw unsupported(
      'deploymentConfiguration.lifecycleHooks are not available yet: they come with the deployment strategies that shift ' +
        'traffic. Leave them out.',
    )
  }
  if (given.earlySuccessCriteria?.enable === true) {
    throw unsupported(
      'deploymentConfiguration.earlySuccessCriteria is not available: a deployment is complete when all of its tasks are ' +
        'healthy and those before it are gone. Leave it out, or give enable false.',
    )
  }
}

function checkCircuitBreaker({ deploymentCircuitBreaker }: DeploymentConfiguration, controller: string): void {
  if (deploymentCircuitBreaker === undefined) return
  const { enable, thresholdConfiguration } = deploymentCircuitBreaker
  const where = 'deploymentConfiguration.deploymentCircuitBreaker'
  if (controller !== 'ECS' && enable === true) {
    throw invalidParameter(
      `${where} can only be used with the deployment controller ECS, and this one is ${controller}.`,
    )
  }
  if (thresholdConfiguration === undefined) return
  const { type, value } = thresholdConfiguration
  if (value === undefined || !Number.isInteger(value) || value < 1) {
    throw invalidParameter(
      `${where}.thresholdConfiguration.value must be a whole number of at least 1, and is ${value}.`,
    )
  }
  if (type !== 'COUNT' && value > 100) {
    throw invalidParameter(
      `${where}.thresholdConfiguration.value is in percent for ${type}: 1 to 100, and is ${value}.`,
    )
  }
}

function checkAlarms({ alarms }: DeploymentConfiguration, controller: string): void {
  if (alarms === undefined) return
  const where = 'deploymentConfiguration.alarms'
  if (controller !== 'ECS' && alarms.enable === true) {
    throw invalidParameter(
      `${where} can only be used with the deployment controller ECS, and this one is ${controller}.`,
    )
  }
  if (alarms.enable === true && (alarms.alarmNames ?? []).length === 0) {
    throw invalidParameter(`${where}.alarmNames must name at least one alarm where alarms are enabled.`)
  }
}

function checkPercentages(
  { minimumHealthyPercent = 0, maximumPercent = 0 }: DeploymentConfiguration,
  strategy: SchedulingStrategy,
): void {
  const where = 'deploymentConfiguration.'
  if (!Number.isInteger(minimumHealthyPercent) || minimumHealthyPercent < 0 || minimumHealthyPercent > 100) {
    throw invalidParameter(
      `${where}minimumHealthyPercent must be a whole number from 0 to 100, and is ${minimumHealthyPercent}.`,
    )
  }
  if (strategy === 'DAEMON' && maximumPercent !== 100) {
    throw invalidParameter(
      `${where}maximumPercent must be 100 with the scheduling strategy DAEMON, since an instance runs one of its tasks ` +
        `at a time, and is ${maximumPercent}. Leave it out.`,
    )
  }
  if (!Number.isInteger(maximumPercent) || maximumPercent < 100) {
    throw invalidParameter(
      `${where}maximumPercent must be a whole number of at least 100, and is ${maximumPercent}: with less, the service ` +
        'could never run its desired count.',
    )
  }
  if (minimumHealthyPercent === 100 && maximumPercent === 100) {
    throw invalidParameter(
      'Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments. ' +
        `Lower ${where}minimumHealthyPercent to stop a task before another starts` +
        (strategy === 'DAEMON' ? '.' : ', or raise maximumPercent to start one before another stops.'),
    )
  }
}

/** Without the members that are undefined, so that they don't hide what is kept. */
function present(given: DeploymentConfiguration): DeploymentConfiguration {
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}
