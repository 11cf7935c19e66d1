/**
 * How a deployment begins: what the service asks for becomes its PRIMARY deployment, under a revision of the service and
 * as a service deployment; what was PRIMARY before stays ACTIVE until its last task has gone.
 */
import { serviceDeploymentArn, serviceRevisionArn } from '../../proto/arn.ts'
import type { Deployment } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import type { DeploymentRow, ServiceDeploymentRow, ServiceRevisionRow, ServiceRow } from '../state/service-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { describeBreaker } from './circuit-breaker.ts'
import { newDeploymentId, nineteenDigits } from './deployment-id.ts'
import { addServiceEvent } from './service-events.ts'

export interface StartFacts {
  /**
   * Set where the deployment takes `from` back to what the deployment `to` had brought: the service deployment of `from`
   * goes on, and ends as a rollback.
   */
  readonly rollback?: { readonly from: DeploymentRow; readonly to: string; readonly reason: string } | undefined
  /** A revision that is there already; the service becomes what it says. Absent: a new one, of what the service says. */
  readonly revision?: ServiceRevisionRow | undefined
  /** What a deployment has and a service has not. */
  readonly members?:
    | Pick<Deployment, 'serviceConnectConfiguration' | 'volumeConfigurations' | 'vpcLatticeConfigurations'>
    | undefined
}

/**
 * Puts `service` (as it is to be from now on), its new PRIMARY deployment, the revision and the service deployment, and
 * an event. Answers the new deployment.
 */
export function startDeployment(
  tx: Transaction,
  service: ServiceRow,
  facts: StartFacts,
  now: number,
  world: World,
): DeploymentRow {
  const { serviceKey } = service
  const before = tx.find('deployment', 'liveByService', serviceKey)
  const wanted: ServiceRow = {
    ...service,
    ...(facts.revision && revisedMembers(facts.revision)),
    steadySince: undefined,
  }
  tx.put('service', serviceKey, wanted)
  const revision = facts.revision ?? newRevision(tx, wanted, facts, now, world)
  const id = newDeploymentId(world)
  const serviceDeploymentId = facts.rollback?.from.serviceDeploymentId ?? world.hex(21)
  const deployment = newDeployment(wanted, { id, revision, serviceDeploymentId }, facts, now)
  for (const row of before) supersede(tx, row, deployment, now)
  tx.put('deployment', id, deployment)
  if (facts.rollback === undefined) {
    const sources = new Set(before.filter((row) => countLive(tx, row.id) > 0).map((row) => row.serviceRevisionId))
    putServiceDeployment(tx, wanted, deployment, { revision, sources: [...sources] }, now, world)
  }
  announceStart(tx, wanted, deployment, facts, now, world)
  return deployment
}

/** How many tasks of the deployment hold something on a host that is there: everything but the lost and the stopped. */
export function countLive(reader: Reader, deploymentId: string): number {
  return livePhases.reduce(
    (sum, phase) => sum + reader.count('task', 'byDeploymentPhase', `${deploymentId}/${phase}`),
    0,
  )
}

const livePhases = ['starting', 'healthy', 'unhealthy', 'leaving', 'leavingUnready', 'stopping'] as const

/** What a revision keeps of a service. Absent members are absent in the service too, whatever it has now. */
export function revisedMembers(
  revision: ServiceRevisionRow,
): Pick<
  ServiceRow,
  | 'taskDefinition'
  | 'launchType'
  | 'capacityProviderStrategy'
  | 'platformVersion'
  | 'platformFamily'
  | 'networkConfiguration'
  | 'loadBalancers'
  | 'serviceRegistries'
> {
  const { launchType } = revision
  return {
    taskDefinition: revision.taskDefinition,
    launchType: launchType === 'EC2' || launchType === 'EXTERNAL' ? launchType : undefined,
    capacityProviderStrategy: revision.capacityProviderStrategy,
    platformVersion: revision.platformVersion,
    platformFamily: revision.platformFamily,
    networkConfiguration: revision.networkConfiguration,
    loadBalancers: revision.loadBalancers,
    serviceRegistries: revision.serviceRegistries,
  }
}

function newRevision(
  tx: Transaction,
  service: ServiceRow,
  { members }: StartFacts,
  now: number,
  world: World,
): ServiceRevisionRow {
  const id = nineteenDigits(world)
  const row: ServiceRevisionRow = {
    id,
    serviceKey: service.serviceKey,
    serviceRevisionArn: serviceRevisionArn(world, service.clusterName, service.serviceName, id),
    serviceArn: service.serviceArn,
    clusterArn: service.clusterArn,
    taskDefinition: service.taskDefinition ?? '',
    launchType: service.launchType,
    capacityProviderStrategy: service.capacityProviderStrategy,
    platformVersion: service.platformVersion,
    platformFamily: service.platformFamily,
    networkConfiguration: service.networkConfiguration,
    loadBalancers: service.loadBalancers,
    serviceRegistries: service.serviceRegistries,
    guardDutyEnabled: false,
    createdAt: now,
    ...members,
  }
  tx.put('serviceRevision', id, row)
  return row
}

function newDeployment(
  service: ServiceRow,
  ids: { readonly id: string; readonly revision: ServiceRevisionRow; readonly serviceDeploymentId: string },
  { rollback, members }: StartFacts,
  now: number,
): DeploymentRow {
  const { id, revision, serviceDeploymentId } = ids
  return {
    id,
    serviceKey: service.serviceKey,
    clusterName: service.clusterName,
    status: 'PRIMARY',
    taskDefinition: revision.taskDefinition,
    createdAt: now,
    updatedAt: now,
    failedTasks: 0,
    launchType: service.launchType,
    capacityProviderStrategy: service.capacityProviderStrategy,
    platformVersion: service.platformVersion,
    platformFamily: service.platformFamily,
    networkConfiguration: service.networkConfiguration,
    serviceConnectConfiguration: members?.serviceConnectConfiguration ?? revision.serviceConnectConfiguration,
    volumeConfigurations: members?.volumeConfigurations ?? revision.volumeConfigurations,
    vpcLatticeConfigurations: members?.vpcLatticeConfigurations ?? revision.vpcLatticeConfigurations,
    rolloutState: 'IN_PROGRESS',
    rolloutStateReason: rollback?.reason ?? `ECS deployment ${id} in progress.`,
    serviceRevisionId: revision.id,
    serviceDeploymentId,
    healthyTasks: 0,
    failuresInRow: 0,
    // A rollback asks for the very images that ran, wherever their tags point by now.
    images: rollback === undefined ? [] : (revision.containerImages ?? []).filter((image) => image.imageDigest),
    ...(rollback !== undefined && { rollbackOf: rollback.from.id }),
  }
}

/** What was PRIMARY gives way; a service deployment that it had under way has stopped, unless this one carries it on. */
export function supersede(tx: Transaction, row: DeploymentRow, by: DeploymentRow, now: number): void {
  if (row.status !== 'PRIMARY') return
  const reason = row.rolloutState === 'IN_PROGRESS' ? `ECS deployment ${row.id} was replaced by ${by.id}.` : undefined
  tx.put('deployment', row.id, {
    ...row,
    status: 'ACTIVE',
    updatedAt: now,
    rolloutStateReason: reason ?? row.rolloutStateReason,
    waiting: undefined,
  })
  if (row.serviceDeploymentId === by.serviceDeploymentId) return
  const carried = tx.get('serviceDeployment', row.serviceDeploymentId)
  if (carried === undefined || isEnded(carried)) return
  tx.put('serviceDeployment', carried.id, {
    ...carried,
    status: 'STOPPED',
    statusReason: `Stopped: a newer deployment (${by.id}) began before this one was done.`,
    stoppedAt: now,
    finishedAt: now,
    updatedAt: now,
  })
}

/** True once the service deployment will not change any more. */
export function isEnded({ status }: ServiceDeploymentRow): boolean {
  return (
    status === 'SUCCESSFUL' || status === 'STOPPED' || status === 'ROLLBACK_SUCCESSFUL' || status === 'ROLLBACK_FAILED'
  )
}

function putServiceDeployment(
  tx: Transaction,
  service: ServiceRow,
  deployment: DeploymentRow,
  revisions: { readonly revision: ServiceRevisionRow; readonly sources: readonly string[] },
  now: number,
  world: World,
): void {
  const { clusterName, serviceName, deploymentConfiguration } = service
  const id = deployment.serviceDeploymentId
  const sourceArns = revisions.sources.map((source) => serviceRevisionArn(world, clusterName, serviceName, source))
  const alarms = deploymentConfiguration.alarms
  tx.put('serviceDeployment', id, {
    id,
    serviceKey: service.serviceKey,
    deploymentId: deployment.id,
    serviceDeploymentArn: serviceDeploymentArn(world, clusterName, serviceName, id),
    serviceArn: service.serviceArn,
    clusterArn: service.clusterArn,
    createdAt: now,
    startedAt: now,
    updatedAt: now,
    status: 'IN_PROGRESS',
    sourceServiceRevisions: sourceArns.map((arn) => ({ arn })),
    targetServiceRevision: { arn: revisions.revision.serviceRevisionArn },
    deploymentConfiguration,
    deploymentCircuitBreaker: describeBreaker(service, 0, 'MONITORING'),
    // Alarms act once there are alarms; until then they are named, and watched by nobody.
    alarms: { status: 'DISABLED', alarmNames: alarms?.alarmNames ?? [], triggeredAlarmNames: [] },
  })
}

/** The event that a deployment begins, or goes back. */
export function announceStart(
  tx: Transaction,
  service: ServiceRow,
  { id }: DeploymentRow,
  { rollback }: StartFacts,
  now: number,
  world: World,
): void {
  const message =
    rollback === undefined
      ? `(service ${service.serviceName}) (deployment ${id}) deployment in progress.`
      : `(service ${service.serviceName}) rolling back to deployment ${rollback.to}.`
  addServiceEvent(tx, service.serviceKey, message, now, world, {
    eventType: 'INFO',
    eventName: 'SERVICE_DEPLOYMENT_IN_PROGRESS',
    reason: rollback?.reason ?? `ECS deployment ${id} in progress.`,
    deploymentId: id,
  })
}
