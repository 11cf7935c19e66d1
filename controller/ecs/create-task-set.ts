/** CreateTaskSet: a set of tasks of one task definition in a service with an external controller. */
import { taskSetArn } from '../../proto/arn.ts'
import { invalidParameter } from '../../proto/errors.ts'
import { stableHash } from '../../proto/hash.ts'
import type { Input } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { newDeploymentId } from '../decide/deployment-id.ts'
import type { ServiceRow, TaskSetRow } from '../state/service-tables.ts'
import type { ClusterRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import type { Call } from './handler.ts'
import { checkNetworkConfiguration } from './network-configuration.ts'
import { checkTaskRoles } from './passed-roles.ts'
import {
  checkCapacity,
  checkServiceConstraints,
  checkServiceDefinition,
  refuseWhatIsNotBuilt,
} from './service-rules.ts'
import { checkTags } from './tags.ts'
import { requireActiveExternalService } from './task-set-lookup.ts'

/** Those that are still DRAINING are counted, as in ECS. */
const taskSetsPerServiceMax = 5

const clientTokenPattern = /^[\x21-\x7e]{1,36}$/

/** The task set that was made, or the one that a call with the same token had made before. Its tasks are the scheduler's. */
export function createTaskSet(
  tx: Transaction,
  input: Input<'CreateTaskSet'>,
  call: Call,
  world: World,
): { readonly service: ServiceRow; readonly taskSet: TaskSetRow } {
  const cluster = requireCluster(tx, input.cluster)
  const service = requireActiveExternalService(tx, input)
  const inputHash = hashOf(service, input)
  const known = recall(tx, service, input, inputHash)
  if (known !== undefined) return { service, taskSet: known }
  const count = tx.count('taskSet', 'byService', service.serviceKey)
  if (count >= taskSetsPerServiceMax) {
    throw invalidParameter(
      `${count} deployments exist on the service. Unable to create new TaskSet since this exceeds the maximum limit. ` +
        'Delete those that are not needed; a deleted one counts until its last task has stopped.',
    )
  }
  const taskSet = newTaskSet(tx, cluster, service, input, inputHash, call, world)
  tx.put('taskSet', taskSet.id, taskSet)
  return { service, taskSet }
}

/** The cluster's and the service's names stand for however the caller wrote them. */
function hashOf({ serviceKey }: ServiceRow, input: Input<'CreateTaskSet'>): string {
  return stableHash({ ...input, cluster: undefined, service: serviceKey, clientToken: undefined })
}

function recall(
  reader: Reader,
  { serviceKey }: ServiceRow,
  { clientToken }: Input<'CreateTaskSet'>,
  inputHash: string,
): TaskSetRow | undefined {
  if (clientToken === undefined) return undefined
  if (!clientTokenPattern.test(clientToken)) {
    throw invalidParameter('clientToken must be 1 to 36 printable ASCII characters without spaces.')
  }
  const known = reader.find('taskSet', 'byService', serviceKey).find((row) => row.clientToken === clientToken)
  if (known === undefined || known.inputHash === inputHash) return known
  throw invalidParameter(
    `Creation of task set was not idempotent. ${known.id} was made with the same clientToken and other parameters.`,
  )
}

function newTaskSet(
  tx: Transaction,
  cluster: ClusterRow,
  service: ServiceRow,
  input: Input<'CreateTaskSet'>,
  inputHash: string,
  call: Call,
  world: World,
): TaskSetRow {
  const { now } = call
  refuseWhatIsNotBuilt(input)
  const launchType = checkCapacity(cluster, input, 'REPLICA')
  const definition = checkServiceDefinition(tx, input.taskDefinition, launchType)
  checkTaskRoles(tx, definition, undefined, call, world)
  const networkConfiguration = checkNetworkConfiguration(tx, cluster, definition, input.networkConfiguration)
  checkServiceConstraints(definition, service.placementConstraints, 'REPLICA')
  const id = newDeploymentId(world)
  const { clusterName, serviceKey, serviceName, serviceArn, clusterArn } = service
  return {
    id,
    serviceKey,
    clusterName,
    taskSetArn: taskSetArn(world, clusterName, serviceName, id),
    serviceArn,
    clusterArn,
    ...(input.externalId !== undefined && { externalId: input.externalId }),
    status: 'ACTIVE',
    taskDefinition: definition.taskDefinitionArn,
    createdAt: now,
    updatedAt: now,
    ...(launchType !== undefined && { launchType }),
    ...(networkConfiguration !== undefined && { networkConfiguration }),
    loadBalancers: [],
    serviceRegistries: [],
    scale: checkScale(input.scale, 0),
    stabilityStatus: 'STABILIZING',
    stabilityStatusAt: now,
    tags: checkTags(input.tags),
    ...(input.clientToken !== undefined && { clientToken: input.clientToken }),
    inputHash,
    failuresInRow: 0,
  }
}

/** A percentage of the service's desired count, fractions included; `initial` where none is given. */
export function checkScale(scale: Input<'CreateTaskSet'>['scale'], initial: number | undefined): TaskSetRow['scale'] {
  const value = scale?.value ?? initial
  if (value === undefined) throw invalidParameter('scale.value is required: a percentage from 0 to 100.')
  if (value >= 0 && value <= 100) return { value, unit: 'PERCENT' }
  throw invalidParameter(`scale.value must be a percentage from 0 to 100, and is ${value}.`)
}
