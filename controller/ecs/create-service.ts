/** CreateService: checks what is asked for, keeps it as a service, and starts its first deployment. */
import { serviceArn } from '../../proto/arn.ts'
import { invalidParameter } from '../../proto/errors.ts'
import { stableHash } from '../../proto/hash.ts'
import type { Input } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { startDeployment } from '../decide/deployment-start.ts'
import { eventKey } from '../decide/service-events.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import type { ClusterRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { effectiveSetting } from './account-settings.ts'
import { requireCluster } from './clusters.ts'
import {
  initialDeploymentConfiguration,
  mergeDeploymentConfiguration,
  type SchedulingStrategy,
} from './deployment-configuration.ts'
import type { Call } from './handler.ts'
import { unsupported } from './launch-rules.ts'
import { checkNetworkConfiguration } from './network-configuration.ts'
import { checkTaskRoles } from './passed-roles.ts'
import { serviceKeyOf } from './service-lookup.ts'
import { checkServiceRole } from './service-role.ts'
import {
  checkCapacity,
  checkDesiredCount,
  checkGracePeriod,
  checkServiceConstraints,
  checkServiceDefinition,
  checkServiceStrategies,
  refuseWhatIsNotBuilt,
  servicesPerClusterMax,
  whyNoRebalancing,
} from './service-rules.ts'
import { checkTags } from './tags.ts'

const namePattern = /^[A-Za-z0-9_-]{1,255}$/
const clientTokenPattern = /^[\x21-\x7e]{1,36}$/

/** The service that was made, or the one that a call with the same parameters had made before. */
export function createService(tx: Transaction, input: Input<'CreateService'>, call: Call, world: World): ServiceRow {
  const cluster = requireCluster(tx, input.cluster)
  const serviceName = checkName(input.serviceName)
  if (input.clientToken !== undefined && !clientTokenPattern.test(input.clientToken)) {
    throw invalidParameter('clientToken must be 1 to 36 printable ASCII characters without spaces.')
  }
  const serviceKey = serviceKeyOf(cluster.clusterName, serviceName)
  // The cluster's name stands for however the caller wrote it.
  const inputHash = stableHash({ ...input, cluster: cluster.clusterName, clientToken: undefined })
  const known = recall(tx, serviceKey, input.clientToken, inputHash)
  if (known !== undefined) return known
  if (tx.count('service', 'liveByCluster', cluster.clusterName) >= servicesPerClusterMax) {
    throw invalidParameter(
      `Cluster ${cluster.clusterName} has ${servicesPerClusterMax} services, the most that a cluster can have. Delete ` +
        'those that are not needed, or use another cluster.',
    )
  }
  const row = newService(tx, cluster, serviceKey, input, inputHash, call, world)
  forgetFormer(tx, serviceKey)
  tx.put('service', serviceKey, row)
  if (row.deploymentController.type === 'ECS') startDeployment(tx, row, {}, call.now, world)
  return tx.get('service', serviceKey) ?? row
}

function checkName(serviceName: string | undefined): string {
  if (serviceName === undefined || serviceName === '') throw invalidParameter('serviceName can not be blank.')
  if (namePattern.test(serviceName)) return serviceName
  throw invalidParameter(
    `Invalid serviceName '${serviceName.slice(0, 255)}'. It takes 1 to 255 letters, digits, hyphens and underscores.`,
  )
}

/**
 * ECS's rule on a name that is taken: the same request answers the service that it made, any other is refused. A service
 * that was changed since is not what a request without a token would make.
 */
function recall(
  reader: Reader,
  serviceKey: string,
  clientToken: string | undefined,
  inputHash: string,
): ServiceRow | undefined {
  const existing = reader.get('service', serviceKey)
  if (existing === undefined || existing.status === 'INACTIVE') return undefined
  if (existing.status === 'DRAINING') throw invalidParameter('Unable to Start a service that is still Draining.')
  if (existing.inputHash === inputHash && existing.clientToken === clientToken) return existing
  throw invalidParameter(
    `Creation of service was not idempotent. Service ${existing.serviceName} exists with other parameters: change it ` +
      'with UpdateService, or delete it first.',
  )
}

function newService(
  tx: Transaction,
  cluster: ClusterRow,
  serviceKey: string,
  input: Input<'CreateService'>,
  inputHash: string,
  call: Call,
  world: World,
): ServiceRow {
  const serviceName = checkName(input.serviceName)
  const members = checkMembers(tx, cluster, input, call, world)
  const logDriverMode = effectiveSetting(tx, call.principalArn, 'defaultLogDriverMode', world)
  return {
    ...members,
    serviceKey,
    clusterName: cluster.clusterName,
    serviceName,
    serviceArn: serviceArn(world, cluster.clusterName, serviceName),
    clusterArn: cluster.clusterArn,
    status: 'ACTIVE',
    availabilityZoneRebalancing: rebalancing(input, members),
    enableECSManagedTags: input.enableECSManagedTags ?? false,
    enableExecuteCommand: input.enableExecuteCommand ?? false,
    propagateTags: input.propagateTags ?? 'NONE',
    loadBalancers: [],
    serviceRegistries: [],
    resourceManagementType: 'CUSTOMER',
    createdAt: call.now,
    createdBy: call.principalArn,
    tags: checkTags(input.tags),
    ...(logDriverMode === 'non-blocking' && { logDriverMode: 'non-blocking' as const }),
    ...(input.clientToken !== undefined && { clientToken: input.clientToken }),
    inputHash,
    // The numbers of events go on where those of a former service of that name ended: none is given out twice.
    eventSeq: tx.get('service', serviceKey)?.eventSeq ?? 0,
  }
}

type CheckedMembers = Pick<
  ServiceRow,
  | 'taskDefinition'
  | 'launchType'
  | 'desiredCount'
  | 'deploymentConfiguration'
  | 'deploymentController'
  | 'schedulingStrategy'
  | 'placementConstraints'
  | 'placementStrategy'
  | 'healthCheckGracePeriodSeconds'
  | 'networkConfiguration'
>

/** What the service runs, how many, where and how it is deployed: the members that depend on each other. */
function checkMembers(
  reader: Reader,
  cluster: ClusterRow,
  input: Input<'CreateService'>,
  call: Call,
  world: World,
): CheckedMembers {
  const controller = checkController(input)
  const strategy: SchedulingStrategy = input.schedulingStrategy ?? 'REPLICA'
  if (strategy === 'DAEMON' && controller !== 'ECS') {
    throw invalidParameter(
      `The daemon scheduling strategy does not support the deployment controller ${controller}. Use ECS, or REPLICA.`,
    )
  }
  refuseWhatIsNotBuilt(input)
  checkServiceRole(reader, input, call, world)
  const launchType = checkCapacity(cluster, input, strategy)
  const definition =
    controller === 'EXTERNAL' ? undefined : checkServiceDefinition(reader, input.taskDefinition, launchType)
  if (definition !== undefined) checkTaskRoles(reader, definition, undefined, call, world)
  const networkConfiguration =
    definition === undefined
      ? undefined
      : checkNetworkConfiguration(reader, cluster, definition, input.networkConfiguration)
  return {
    ...(definition !== undefined && { taskDefinition: definition.taskDefinitionArn }),
    ...(launchType !== undefined && { launchType }),
    ...(networkConfiguration !== undefined && { networkConfiguration }),
    desiredCount: checkDesiredCount(input.desiredCount, strategy) ?? 0,
    deploymentConfiguration: mergeDeploymentConfiguration(
      initialDeploymentConfiguration(strategy),
      input.deploymentConfiguration,
      strategy,
      controller,
    ),
    deploymentController: { type: controller },
    schedulingStrategy: strategy,
    placementConstraints: checkServiceConstraints(definition, input.placementConstraints ?? [], strategy),
    placementStrategy: checkServiceStrategies(input.placementStrategy ?? [], strategy),
    healthCheckGracePeriodSeconds: checkGracePeriod(input.healthCheckGracePeriodSeconds) ?? 0,
  }
}

function checkController(input: Input<'CreateService'>): 'ECS' | 'EXTERNAL' {
  const controller = input.deploymentController?.type ?? 'ECS'
  if (controller === 'CODE_DEPLOY') {
    throw unsupported(
      'deploymentController CODE_DEPLOY needs AWS CodeDeploy, which is not available. Use ECS (rolling deployments) or ' +
        'EXTERNAL (task sets of your own).',
    )
  }
  if (controller === 'ECS') {
    if (input.desiredCount !== undefined || input.schedulingStrategy === 'DAEMON') return controller
    throw invalidParameter('desiredCount is required with the scheduling strategy REPLICA. Give 0 or more.')
  }
  for (const member of ['taskDefinition', 'networkConfiguration', 'platformVersion'] as const) {
    if (input[member] === undefined) continue
    throw invalidParameter(
      `${member} is not valid with the deployment controller EXTERNAL: each task set has its own. Leave it out here, and ` +
        'give it to CreateTaskSet.',
    )
  }
  return controller
}

/** ECS's default is ENABLED, wherever the rest of the service goes with it. */
function rebalancing(
  { availabilityZoneRebalancing }: Input<'CreateService'>,
  service: CheckedMembers,
): 'ENABLED' | 'DISABLED' {
  if (availabilityZoneRebalancing === 'DISABLED') return 'DISABLED'
  const why = whyNoRebalancing(service)
  if (why === undefined) return 'ENABLED'
  if (availabilityZoneRebalancing === undefined) return 'DISABLED'
  throw invalidParameter(`availabilityZoneRebalancing can't be ENABLED where ${why}. Give DISABLED, or change that.`)
}

/** Events and task sets of an INACTIVE service of that name are not the new one's. Its deployments are done with. */
function forgetFormer(tx: Transaction, serviceKey: string): void {
  for (const { seq } of tx.find('serviceEvent', 'byService', serviceKey))
    tx.delete('serviceEvent', eventKey(serviceKey, seq))
  for (const { id } of tx.find('taskSet', 'byService', serviceKey)) tx.delete('taskSet', id)
  for (const row of tx.find('deployment', 'liveByService', serviceKey)) {
    tx.put('deployment', row.id, { ...row, status: 'INACTIVE' })
  }
}
