/**
 * What CreateService and UpdateService share: ECS's rules on the members of a service, in ECS's words where they are
 * known. What is not built is refused by name, so that nothing that was asked for is dropped in silence.
 * Source: the ECS API reference, CreateService and UpdateService, and the service quotas.
 */
import { type ApiError, clientError, invalidParameter } from '../../proto/errors.ts'
import type { Input, PlacementConstraint, PlacementStrategy } from '../../proto/model/types.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import type { ClusterRow, TaskDefinitionRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import type { SchedulingStrategy } from './deployment-configuration.ts'
import { asksForProviders, checkCompatibility, checkLaunchType, unsupported } from './launch-rules.ts'
import { checkConstraints, checkStrategies } from './placement-rules.ts'
import { requireTaskDefinition } from './task-definitions.ts'

type SharedInput = Pick<Input<'CreateService'>, Extract<keyof Input<'CreateService'>, keyof Input<'UpdateService'>>>

/** ECS's default quotas. */
export const servicesPerClusterMax = 5000
const tasksPerServiceMax = 5000
const gracePeriodSecondsMax = 2_147_483_647

/** Members that wait for a part of Gantry that doesn't exist yet, each with what it waits for. */
export function refuseWhatIsNotBuilt(input: SharedInput): void {
  const lists = [
    ['loadBalancers', 'load balancing (target groups)'],
    ['serviceRegistries', 'service discovery'],
    ['volumeConfigurations', 'volumes that are configured at launch'],
    ['vpcLatticeConfigurations', 'VPC Lattice'],
    ['gatewayConnectors', 'gateways'],
  ] as const
  for (const [member, what] of lists) {
    if ((input[member] ?? []).length > 0) throw notBuilt(`${member} needs ${what}`, `Leave ${member} out.`)
  }
  if (input.serviceConnectConfiguration?.enabled === true) {
    throw notBuilt('serviceConnectConfiguration needs Service Connect', 'Leave it out, or give enabled false.')
  }
  if (input.monitoring !== undefined) {
    throw notBuilt('monitoring needs metrics of services', 'Leave monitoring out.')
  }
}

function notBuilt(what: string, then: string): ApiError {
  return unsupported(`${what}, which is not available yet. ${then}`)
}

/** Launch type, capacity providers and platform version: what of them can be run here. */
export function checkCapacity(
  cluster: ClusterRow,
  input: Pick<Input<'CreateService'>, 'launchType' | 'capacityProviderStrategy' | 'platformVersion'>,
  strategy: SchedulingStrategy,
): 'EC2' | 'EXTERNAL' | undefined {
  if (strategy === 'DAEMON' && asksForProviders(cluster, input)) {
    throw invalidParameter(
      'Specifying a capacity provider strategy is not supported when you create a service using the DAEMON scheduling ' +
        'strategy. Give launchType EC2 or EXTERNAL.',
    )
  }
  return checkLaunchType(cluster, input)
}

/**
 * The ACTIVE task definition that a service is to run, and that its launch type goes with. ClientException or
 * InvalidParameterException.
 */
export function checkServiceDefinition(
  reader: Reader,
  nameOrArn: string | undefined,
  launchType: 'EC2' | 'EXTERNAL' | undefined,
): TaskDefinitionRow {
  if (nameOrArn === undefined || nameOrArn === '') throw clientError('TaskDefinition can not be blank.')
  const definition = requireTaskDefinition(reader, nameOrArn)
  if (definition.status !== 'ACTIVE') throw clientError('TaskDefinition is inactive')
  checkCompatibility(definition, launchType)
  return definition
}

/** How many tasks the service shall run. A daemon's count is the scheduler's to find, and starts with 0. */
export function checkDesiredCount(desiredCount: number | undefined, strategy: SchedulingStrategy): number | undefined {
  if (desiredCount === undefined) return undefined
  if (strategy === 'DAEMON') {
    throw invalidParameter(
      'The daemon scheduling strategy does not support a desired count for services. Remove the desired count value ' +
        'and try again',
    )
  }
  if (!Number.isInteger(desiredCount)) {
    throw invalidParameter(`desiredCount must be a whole number, and is ${desiredCount}.`)
  }
  if (desiredCount < 0) {
    throw invalidParameter(`Task count can not be lesser than 0: desiredCount is ${desiredCount}.`)
  }
  if (desiredCount > tasksPerServiceMax) {
    throw invalidParameter(
      `desiredCount is ${desiredCount}, and a service can have at most ${tasksPerServiceMax} tasks. Make several services.`,
    )
  }
  return desiredCount
}

/** The constraints of the service itself; those of its task definition are checked with them and count towards the limit. */
export function checkServiceConstraints(
  definition: TaskDefinitionRow | undefined,
  constraints: readonly PlacementConstraint[],
  strategy: SchedulingStrategy,
): readonly PlacementConstraint[] {
  checkConstraints(definition?.placementConstraints, constraints)
  if (strategy === 'DAEMON' && constraints.some(({ type }) => type === 'distinctInstance')) {
    throw invalidParameter(
      'The daemon scheduling strategy does not support the placement constraint distinctInstance: a daemon runs one task ' +
        'on each instance as it is. Remove it from placementConstraints and try again.',
    )
  }
  return constraints
}

export function checkServiceStrategies(
  strategies: readonly PlacementStrategy[],
  strategy: SchedulingStrategy,
): readonly PlacementStrategy[] {
  if (strategy === 'DAEMON' && strategies.length > 0) {
    throw invalidParameter(
      'The daemon scheduling strategy does not support placement strategies. Remove the placement strategy and try again',
    )
  }
  return checkStrategies(strategies)
}

export function checkGracePeriod(seconds: number | undefined): number | undefined {
  if (seconds === undefined) return undefined
  if (Number.isInteger(seconds) && seconds >= 0 && seconds <= gracePeriodSecondsMax) return seconds
  throw invalidParameter(
    `healthCheckGracePeriodSeconds must be a whole number from 0 to ${gracePeriodSecondsMax}, and is ${seconds}.`,
  )
}

/**
 * What ECS does where rebalancing can't be: it refuses one that was asked for.
 * Source: ECS developer guide, "Balancing an Amazon ECS service across Availability Zones", considerations.
 */
export function whyNoRebalancing(
  service: Pick<
    ServiceRow,
    | 'schedulingStrategy'
    | 'deploymentController'
    | 'launchType'
    | 'deploymentConfiguration'
    | 'placementConstraints'
    | 'placementStrategy'
  >,
): string | undefined {
  const { placementConstraints, placementStrategy } = service
  const controller = service.deploymentController.type ?? 'ECS'
  if (service.schedulingStrategy === 'DAEMON') return 'the scheduling strategy is DAEMON'
  if (controller !== 'ECS') return `the deployment controller is ${controller}`
  if (service.launchType === 'EXTERNAL') return 'the launch type is EXTERNAL'
  if (service.deploymentConfiguration.maximumPercent === 100) return 'deploymentConfiguration.maximumPercent is 100'
  if (placementConstraints.some(({ expression }) => expression?.includes('attribute:ecs.availability-zone') === true)) {
    return 'a placement constraint names attribute:ecs.availability-zone'
  }
  const [first] = placementStrategy
  if (first !== undefined && (first.type !== 'spread' || first.field !== 'attribute:ecs.availability-zone')) {
    return 'the first placement strategy is not spread over attribute:ecs.availability-zone'
  }
  return undefined
}
