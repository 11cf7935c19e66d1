/** How a service shows in answers: ECS's members alone, its deployments with their counts, its newest events. */
import { isArn, serviceArn } from '../../proto/arn.ts'
import { invalidParameter } from '../../proto/errors.ts'
import type { Deployment, Failure, Input, Output, Service, TaskSet } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { serviceEventsMax } from '../decide/service-events.ts'
import { computedDesiredCount, inOrder } from '../decide/task-set-scale.ts'
import type { DeploymentRow, ServiceRow, TaskSetRow } from '../state/service-tables.ts'
import { servicePhases } from '../state/service-phase.ts'
import type { Reader } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { findService } from './service-lookup.ts'
import { serviceRoleArn } from './service-role.ts'

const describedMax = 10

/** Named one by one, so that what Gantry keeps beside a service can't leak into an answer. */
const serviceMembers = [
  'serviceArn',
  'serviceName',
  'clusterArn',
  'loadBalancers',
  'serviceRegistries',
  'status',
  'desiredCount',
  'launchType',
  'capacityProviderStrategy',
  'platformVersion',
  'platformFamily',
  'taskDefinition',
  'deploymentConfiguration',
  'roleArn',
  'createdAt',
  'placementConstraints',
  'placementStrategy',
  'networkConfiguration',
  'healthCheckGracePeriodSeconds',
  'schedulingStrategy',
  'deploymentController',
  'createdBy',
  'enableECSManagedTags',
  'propagateTags',
  'enableExecuteCommand',
  'availabilityZoneRebalancing',
  'resourceManagementType',
] as const satisfies readonly (keyof Service & keyof ServiceRow)[]

const deploymentMembers = [
  'id',
  'status',
  'taskDefinition',
  'failedTasks',
  'createdAt',
  'updatedAt',
  'capacityProviderStrategy',
  'launchType',
  'platformVersion',
  'platformFamily',
  'networkConfiguration',
  'rolloutState',
  'rolloutStateReason',
] as const satisfies readonly (keyof Deployment & keyof DeploymentRow)[]

const taskSetMembers = [
  'id',
  'taskSetArn',
  'serviceArn',
  'clusterArn',
  'startedBy',
  'externalId',
  'status',
  'taskDefinition',
  'createdAt',
  'updatedAt',
  'launchType',
  'capacityProviderStrategy',
  'platformVersion',
  'platformFamily',
  'networkConfiguration',
  'loadBalancers',
  'serviceRegistries',
  'scale',
  'stabilityStatus',
  'stabilityStatusAt',
] as const satisfies readonly (keyof TaskSet & keyof TaskSetRow)[]

/** DescribeServices: at most 10; what isn't known is in `failures` as MISSING. */
export function describeServices(
  reader: Reader,
  input: Input<'DescribeServices'>,
  world: World,
): Output<'DescribeServices'> {
  const cluster = requireCluster(reader, input.cluster)
  const wanted = input.services ?? []
  if (wanted.length === 0) throw invalidParameter('Services cannot be empty.')
  if (wanted.length > describedMax) {
    throw invalidParameter(
      `At most ${describedMax} services can be described at once, and ${wanted.length} are named in services.`,
    )
  }
  const services: Service[] = []
  const failures: Failure[] = []
  for (const nameOrArn of new Set(wanted)) {
    const row = findService(reader, cluster, nameOrArn)
    if (row === undefined) {
      const arn = isArn(nameOrArn) ? nameOrArn : serviceArn(world, cluster.clusterName, nameOrArn)
      failures.push({ arn, reason: 'MISSING' })
    } else services.push(describeService(reader, row, input.include ?? []))
  }
  return { services, failures }
}

/** `row` as ECS describes it. Tags are there only with `include` TAGS, as in ECS. */
export function describeService(reader: Reader, row: ServiceRow, include: readonly string[] = []): Service {
  const deployments = liveDeployments(reader, row)
  const taskSets = inOrder(reader.find('taskSet', 'byService', row.serviceKey)).map((set) =>
    describeTaskSet(reader, set, row, include),
  )
  const shown = deployments.map((deployment) => describeDeployment(reader, deployment, row))
  const counted = row.deploymentController.type === 'EXTERNAL' ? taskSets : shown
  const primary = deployments.find(({ status }) => status === 'PRIMARY')
  const current = primary === undefined ? undefined : reader.get('serviceDeployment', primary.serviceDeploymentId)
  return {
    ...pick(row, serviceMembers),
    ...serviceRoleOf(row),
    runningCount: sum(counted.map(({ runningCount }) => runningCount)),
    pendingCount: sum(counted.map(({ pendingCount }) => pendingCount)),
    deployments: shown,
    ...(row.deploymentController.type === 'EXTERNAL' && { taskSets }),
    events: eventsOf(reader, row),
    ...(current !== undefined && { currentServiceDeployment: current.serviceDeploymentArn }),
    ...(shown.length > 0 && { currentServiceRevisions: revisionsOf(reader, deployments, row) }),
    ...(include.includes('TAGS') && { tags: row.tags }),
  }
}

function serviceRoleOf(row: ServiceRow): Pick<Service, 'roleArn'> {
  const roleArn = serviceRoleArn(row, { account: row.serviceArn.split(':')[4] ?? '' })
  return roleArn === undefined ? {} : { roleArn }
}

/** The newest first: the PRIMARY one, then those that it takes the place of. */
function liveDeployments(reader: Reader, { serviceKey }: ServiceRow): readonly DeploymentRow[] {
  return reader
    .find('deployment', 'liveByService', serviceKey)
    .toSorted((a, b) => rank(a) - rank(b) || b.createdAt - a.createdAt || (a.id < b.id ? -1 : 1))
}

function rank({ status }: DeploymentRow): number {
  return status === 'PRIMARY' ? 0 : 1
}

function describeDeployment(reader: Reader, row: DeploymentRow, service: ServiceRow): Deployment {
  return {
    ...pick(row, deploymentMembers),
    desiredCount: desiredCountOf(reader, row, service),
    ...countsOf(reader, row.id),
  }
}

/** What the service wants of the newest deployment, and of an older one what is not asked to stop yet, as ECS shows it. */
function desiredCountOf(reader: Reader, { id, status }: DeploymentRow, service: ServiceRow): number {
  if (status === 'PRIMARY') return service.desiredCount
  const wanted = servicePhases.filter((phase) => phase !== 'stopping' && phase !== 'lost')
  return sum(wanted.map((phase) => reader.count('task', 'byDeploymentPhase', `${id}/${phase}`)))
}

/** A task set as ECS shows it, with the counts of its tasks. */
export function describeTaskSet(
  reader: Reader,
  row: TaskSetRow,
  service: ServiceRow,
  include: readonly string[] = [],
): TaskSet {
  return {
    ...pick(row, taskSetMembers),
    computedDesiredCount: computedDesiredCount(service, row),
    ...countsOf(reader, row.id),
    ...(include.includes('TAGS') && { tags: row.tags }),
  }
}

/** Running and pending tasks of a deployment or a task set. Tasks of lost instances are neither. */
function countsOf(
  reader: Reader,
  deploymentId: string,
): { readonly runningCount: number; readonly pendingCount: number } {
  const count = (status: string): number => reader.count('task', 'byDeploymentStatus', `${deploymentId}/${status}`)
  return {
    runningCount: count('RUNNING'),
    pendingCount: count('PROVISIONING') + count('PENDING') + count('ACTIVATING'),
  }
}

function revisionsOf(
  reader: Reader,
  deployments: readonly DeploymentRow[],
  service: ServiceRow,
): NonNullable<Service['currentServiceRevisions']> {
  return deployments.flatMap((deployment) => {
    const revision = reader.get('serviceRevision', deployment.serviceRevisionId)
    if (revision === undefined) return []
    const { runningCount, pendingCount } = countsOf(reader, deployment.id)
    return [
      {
        arn: revision.serviceRevisionArn,
        requestedTaskCount: desiredCountOf(reader, deployment, service),
        runningTaskCount: runningCount,
        pendingTaskCount: pendingCount,
      },
    ]
  })
}

/** Newest first. An event that more tasks were added to is as new as the last of them. */
function eventsOf(reader: Reader, { serviceKey }: ServiceRow): NonNullable<Service['events']> {
  return reader
    .find('serviceEvent', 'byService', serviceKey)
    .slice(-serviceEventsMax)
    .toReversed()
    .toSorted((one, other) => other.createdAt - one.createdAt)
    .map(({ id, createdAt, message }) => ({ id, createdAt, message }))
}

function sum(counts: readonly (number | undefined)[]): number {
  return counts.reduce<number>((total, count) => total + (count ?? 0), 0)
}

function pick<T extends object, K extends keyof T>(from: T, members: readonly K[]): Pick<T, K> {
  const picked: Partial<Pick<T, K>> = {}
  for (const member of members) if (from[member] !== undefined) picked[member] = from[member]
  return picked as Pick<T, K>
}
