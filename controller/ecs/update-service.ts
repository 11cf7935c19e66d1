/**
 * UpdateService: changes what the request names and keeps the rest. Which members start a deployment is ECS's rule: the
 * task definition or the network configuration where it is another one, and `forceNewDeployment`; everything else holds
 * for what runs, and for the tasks that are started from now on. Source: the ECS API reference, UpdateService ("triggers a
 * new service deployment").
 */
import { parseTaskDefinitionName } from '../../proto/arn.ts'
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import { stableHash } from '../../proto/hash.ts'
import type { Input } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { startDeployment } from '../decide/deployment-start.ts'
import { addServiceEvent } from '../decide/service-events.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import type { ClusterRow, TaskDefinitionRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { effectiveSetting } from './account-settings.ts'
import { requireCluster } from './clusters.ts'
import { mergeDeploymentConfiguration } from './deployment-configuration.ts'
import type { Call } from './handler.ts'
import { checkNetworkConfiguration } from './network-configuration.ts'
import { checkTaskRoles } from './passed-roles.ts'
import { requireService } from './service-lookup.ts'
import {
  checkCapacity,
  checkDesiredCount,
  checkGracePeriod,
  checkServiceConstraints,
  checkServiceDefinition,
  checkServiceStrategies,
  refuseWhatIsNotBuilt,
  whyNoRebalancing,
} from './service-rules.ts'

/** The service as it is now. ServiceNotFoundException; ServiceNotActiveException while it is deleted, and after. */
export function updateService(tx: Transaction, input: Input<'UpdateService'>, call: Call, world: World): ServiceRow {
  const cluster = requireCluster(tx, input.cluster)
  const before = requireService(tx, cluster, input.service)
  if (before.status !== 'ACTIVE') throw new ApiError('ServiceNotActiveException', 'Service was not ACTIVE.')
  checkController(before, input)
  refuseWhatIsNotBuilt(input)
  checkCapacityChange(cluster, before, input)
  const definition = definitionAfter(tx, before, input)
  const next = {
    ...changed(tx, before, definition, input, call, world),
    networkConfiguration: networkAfter(tx, cluster, before, definition, input),
  }
  tx.put('service', next.serviceKey, next)
  if (startsDeployment(before, next, input)) {
    const run = definition ?? currentDefinition(tx, next)
    if (run !== undefined) checkTaskRoles(tx, run, undefined, call, world)
    startDeployment(tx, next, {}, call.now, world)
  } else markUpdated(tx, next, call.now)
  tellRebalancing(tx, before, next, input, call.now, world)
  return tx.get('service', next.serviceKey) ?? next
}

/** With the controller EXTERNAL, what task sets run is theirs. */
function checkController({ deploymentController }: ServiceRow, input: Input<'UpdateService'>): void {
  const { type } = deploymentController
  const asked = input.deploymentController?.type
  if (asked !== undefined && asked !== type) {
    throw invalidParameter(
      `deploymentController can't be changed from ${type} to ${asked}. Make another service with the one that you want.`,
    )
  }
  if (type === 'ECS') return
  if (input.taskDefinition !== undefined) {
    throw invalidParameter(
      `Unable to update task definition on services with a ${type} deployment controller. Use CreateTaskSet to start a ` +
        'new deployment.',
    )
  }
  if (input.forceNewDeployment === true) {
    throw invalidParameter(
      `Cannot force a new deployment on services with a ${type} deployment controller. Use CreateTaskSet to start a new ` +
        'deployment.',
    )
  }
  if (input.networkConfiguration !== undefined || input.platformVersion !== undefined) {
    const member = input.networkConfiguration === undefined ? 'platformVersion' : 'networkConfiguration'
    throw invalidParameter(
      `Unable to update ${member} on services with a ${type} deployment controller. Each task set has its own.`,
    )
  }
}

/** A launch type stays for good; an empty strategy is what tools send for a service that has none. */
function checkCapacityChange(cluster: ClusterRow, before: ServiceRow, input: Input<'UpdateService'>): void {
  const { capacityProviderStrategy, platformVersion } = input
  if ((capacityProviderStrategy ?? []).length === 0 && platformVersion === undefined) return
  // A cluster's default strategy is asked for at the creation alone.
  const own = { ...cluster, defaultCapacityProviderStrategy: [] }
  checkCapacity(own, { capacityProviderStrategy, platformVersion }, strategyOf(before))
}

/** The definition that the service is to run from now on; undefined where the request leaves it as it is. */
function definitionAfter(
  tx: Transaction,
  before: ServiceRow,
  input: Input<'UpdateService'>,
): TaskDefinitionRow | undefined {
  const { taskDefinition } = input
  return taskDefinition === undefined ? undefined : checkServiceDefinition(tx, taskDefinition, before.launchType)
}

/** A definition of another network mode takes a network configuration that the service had away, or asks for one. */
function networkAfter(
  tx: Transaction,
  cluster: ClusterRow,
  before: ServiceRow,
  definition: TaskDefinitionRow | undefined,
  { networkConfiguration }: Input<'UpdateService'>,
): ServiceRow['networkConfiguration'] {
  if (definition === undefined && networkConfiguration === undefined) return before.networkConfiguration
  const current = definition ?? currentDefinition(tx, before)
  if (current === undefined) {
    throw invalidParameter(
      `Task definition ${before.taskDefinition ?? ''} of the service is gone, so that its network mode is not known. Give ` +
        'taskDefinition too.',
    )
  }
  const kept = current.networkMode === 'awsvpc' ? before.networkConfiguration : undefined
  return checkNetworkConfiguration(tx, cluster, current, networkConfiguration ?? kept)
}

function changed(
  tx: Transaction,
  before: ServiceRow,
  definition: TaskDefinitionRow | undefined,
  input: Input<'UpdateService'>,
  call: Call,
  world: World,
): ServiceRow {
  const strategy = strategyOf(before)
  const current = definition ?? currentDefinition(tx, before)
  const next = {
    ...before,
    ...(definition !== undefined && { taskDefinition: definition.taskDefinitionArn }),
    desiredCount: checkDesiredCount(input.desiredCount, strategy) ?? before.desiredCount,
    deploymentConfiguration: mergeDeploymentConfiguration(
      before.deploymentConfiguration,
      input.deploymentConfiguration,
      strategy,
      before.deploymentController.type ?? 'ECS',
    ),
    // Judged together with those of the definition, either of which may be new.
    placementConstraints: checkServiceConstraints(
      current,
      input.placementConstraints ?? before.placementConstraints,
      strategy,
    ),
    placementStrategy: checkServiceStrategies(withoutEmpty(input) ?? before.placementStrategy, strategy),
    healthCheckGracePeriodSeconds:
      checkGracePeriod(input.healthCheckGracePeriodSeconds) ?? before.healthCheckGracePeriodSeconds,
    enableECSManagedTags: input.enableECSManagedTags ?? before.enableECSManagedTags,
    propagateTags: input.propagateTags ?? before.propagateTags,
    enableExecuteCommand: input.enableExecuteCommand ?? before.enableExecuteCommand,
    logDriverMode:
      effectiveSetting(tx, call.principalArn, 'defaultLogDriverMode', world) === 'non-blocking'
        ? ('non-blocking' as const)
        : undefined,
    // Without a token, only a service that nobody changed is what a repeated CreateService asks for.
    inputHash: before.clientToken === undefined ? undefined : before.inputHash,
  }
  return { ...next, availabilityZoneRebalancing: rebalancing(next, input) }
}

/** "To remove an existing placement strategy, specify an empty object" (the API reference): tools send `[{}]` or `[]`. */
function withoutEmpty(input: Input<'UpdateService'>): ServiceRow['placementStrategy'] | undefined {
  return input.placementStrategy?.filter(({ type, field }) => type !== undefined || field !== undefined)
}

/**
 * ENABLED is most services' default, so a change that doesn't go with it turns it off, and `tellRebalancing` says so; only
 * a request that asks for both is refused.
 */
function rebalancing(next: ServiceRow, input: Input<'UpdateService'>): 'ENABLED' | 'DISABLED' {
  const asked = input.availabilityZoneRebalancing
  const wanted = asked ?? next.availabilityZoneRebalancing ?? 'DISABLED'
  if (wanted === 'DISABLED') return wanted
  const why = whyNoRebalancing(next)
  if (why === undefined) return wanted
  if (asked === undefined) return 'DISABLED'
  throw invalidParameter(
    `availabilityZoneRebalancing can't be ENABLED where ${why}. Give availabilityZoneRebalancing DISABLED, or change that.`,
  )
}

function tellRebalancing(
  tx: Transaction,
  before: ServiceRow,
  next: ServiceRow,
  input: Input<'UpdateService'>,
  now: number,
  world: World,
): void {
  if (input.availabilityZoneRebalancing !== undefined) return
  if (before.availabilityZoneRebalancing === next.availabilityZoneRebalancing) return
  const why = whyNoRebalancing(next) ?? 'it was changed'
  const message = `(service ${next.serviceName}) has availabilityZoneRebalancing DISABLED from now on, because ${why}.`
  addServiceEvent(tx, next.serviceKey, message, now, world)
}

/** The same task definition, or network configuration, again starts nothing, as in ECS. */
function startsDeployment(before: ServiceRow, next: ServiceRow, input: Input<'UpdateService'>): boolean {
  return (
    input.forceNewDeployment === true ||
    before.taskDefinition !== next.taskDefinition ||
    stableHash(before.networkConfiguration ?? {}) !== stableHash(next.networkConfiguration ?? {})
  )
}

/** As ECS shows it: what changes the service without a deployment changes its newest deployment's `updatedAt`. */
function markUpdated(tx: Transaction, service: ServiceRow, now: number): void {
  const primary = tx.find('deployment', 'liveByService', service.serviceKey).find(({ status }) => status === 'PRIMARY')
  if (primary !== undefined) tx.put('deployment', primary.id, { ...primary, updatedAt: now })
}

function currentDefinition(reader: Reader, { taskDefinition }: ServiceRow): TaskDefinitionRow | undefined {
  const name = parseTaskDefinitionName(taskDefinition ?? '')
  return name?.revision === undefined ? undefined : reader.get('taskDefinition', `${name.family}:${name.revision}`)
}

function strategyOf({ schedulingStrategy }: ServiceRow): 'REPLICA' | 'DAEMON' {
  return schedulingStrategy ?? 'REPLICA'
}
