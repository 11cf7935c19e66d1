/**
 * What of services leaves memory with time. ECS says of INACTIVE services only that they may be purged, and keeps the
 * history of deployments for 90 days; here each has a bound in age and in count.
 */
import { servicePhases } from '../state/service-phase.ts'
import type { DeploymentRow, ServiceDeploymentRow, ServiceRow } from '../state/service-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { eventKey } from './service-events.ts'

export interface ServiceRetentionLimits {
  /** How long an INACTIVE service stays describable, milliseconds. */
  readonly inactiveKeepMs: number
  /** How many INACTIVE services stay; beyond, those that ended first go before their time. */
  readonly inactiveServicesMax: number
  /** How many INACTIVE deployments of a service stay, for what their tasks came from. */
  readonly deploymentsMax: number
  /** How long service deployments and revisions stay, milliseconds. */
  readonly serviceHistoryKeepMs: number
  /** How many service deployments, and how many revisions, of one service stay. */
  readonly serviceHistoryMax: number
}

export const serviceRetentionDefaults: ServiceRetentionLimits = {
  inactiveKeepMs: 86_400_000,
  inactiveServicesMax: 1000,
  deploymentsMax: 10,
  serviceHistoryKeepMs: 90 * 86_400_000,
  serviceHistoryMax: 100,
}

type Drop = () => void

/** Drops at most `rowsMax` rows. Answers how many it dropped. */
export function retainServices(tx: Transaction, limits: ServiceRetentionLimits, now: number, rowsMax: number): number {
  let left = rowsMax
  const take = (drops: readonly Drop[]): void => {
    for (const drop of drops.slice(0, Math.max(0, left))) drop()
    left -= Math.min(Math.max(0, left), drops.length)
  }
  for (const service of forgottenServices(tx, limits, now)) {
    if (left <= 0) break
    // The service itself goes last, so that what a bound leaves over is found again.
    take(dropsOfService(tx, service))
  }
  for (const { serviceKey } of tx.all('service')) {
    if (left <= 0) break
    take(dropsOfHistory(tx, serviceKey, limits, now))
  }
  return rowsMax - left
}

/** Those whose time is up and, oldest first, those beyond the bound. One whose lost tasks may come back is kept. */
function forgottenServices(reader: Reader, limits: ServiceRetentionLimits, now: number): readonly ServiceRow[] {
  const inactive = reader
    .find('service', 'inactive', 'INACTIVE')
    .toSorted((one, other) => endOf(one) - endOf(other))
    .filter(({ serviceKey }) => reader.count('task', 'liveByService', serviceKey) === 0)
  const excess = inactive.length - limits.inactiveServicesMax
  return inactive.filter((service, at) => at < excess || endOf(service) <= now - limits.inactiveKeepMs)
}

function endOf({ inactiveSince, createdAt }: ServiceRow): number {
  return inactiveSince ?? createdAt
}

function dropsOfService(tx: Transaction, { serviceKey }: ServiceRow): readonly Drop[] {
  return [
    ...tx.find('serviceEvent', 'byService', serviceKey).map(
      ({ seq }) =>
        () =>
          tx.delete('serviceEvent', eventKey(serviceKey, seq)),
    ),
    ...(['deployment', 'serviceDeployment', 'serviceRevision', 'taskSet'] as const).flatMap((table) =>
      tx.find(table, 'byService', serviceKey).map(
        ({ id }) =>
          () =>
            tx.delete(table, id),
      ),
    ),
    () => tx.delete('service', serviceKey),
  ]
}

/** What a service that stays no longer needs: nothing that a task, a deployment or a rollback could still ask for. */
function dropsOfHistory(
  tx: Transaction,
  serviceKey: string,
  limits: ServiceRetentionLimits,
  now: number,
): readonly Drop[] {
  const deployments = tx.find('deployment', 'byService', serviceKey)
  const ended = deployments.filter((row) => row.status === 'INACTIVE' && !hasTasks(tx, row))
  const oldDeployments = newestFirst(ended).slice(limits.deploymentsMax)
  const gone = new Set(oldDeployments.map(({ id }) => id))
  const kept = deployments.filter(({ id }) => !gone.has(id))

  const expired = <Row extends { readonly createdAt: number }>(rows: readonly Row[]): readonly Row[] =>
    newestFirst(rows).filter(
      ({ createdAt }, at) => at >= limits.serviceHistoryMax || createdAt <= now - limits.serviceHistoryKeepMs,
    )
  const neededDeployments = new Set(kept.map(({ serviceDeploymentId }) => serviceDeploymentId))
  const serviceDeployments = tx.find('serviceDeployment', 'byService', serviceKey)
  const oldServiceDeployments = expired(serviceDeployments).filter(({ id }) => !neededDeployments.has(id))
  const neededRevisions = new Set(kept.map(({ serviceRevisionId }) => serviceRevisionId))
  const gonePast = new Set(oldServiceDeployments.map(({ id }) => id))
  const named = new Set(serviceDeployments.filter(({ id }) => !gonePast.has(id)).flatMap(revisionsNamedBy))
  const lastCompleted = tx.get('service', serviceKey)?.lastCompletedRevisionId
  const oldRevisions = expired(tx.find('serviceRevision', 'byService', serviceKey)).filter(
    ({ id, serviceRevisionArn }) => id !== lastCompleted && !neededRevisions.has(id) && !named.has(serviceRevisionArn),
  )
  return [
    ...oldDeployments.map(
      ({ id }) =>
        () =>
          tx.delete('deployment', id),
    ),
    ...oldServiceDeployments.map(
      ({ id }) =>
        () =>
          tx.delete('serviceDeployment', id),
    ),
    ...oldRevisions.map(
      ({ id }) =>
        () =>
          tx.delete('serviceRevision', id),
    ),
  ]
}

/** What a service deployment that can be described leads to, so that it can be described as well. */
function revisionsNamedBy(row: ServiceDeploymentRow): readonly string[] {
  const { targetServiceRevision, sourceServiceRevisions = [], rollback } = row
  const arns = [
    targetServiceRevision?.arn,
    ...sourceServiceRevisions.map(({ arn }) => arn),
    rollback?.serviceRevisionArn,
  ]
  return arns.filter((arn) => arn !== undefined)
}

function hasTasks(reader: Reader, { id }: DeploymentRow): boolean {
  return servicePhases.some((phase) => reader.count('task', 'byDeploymentPhase', `${id}/${phase}`) > 0)
}

function newestFirst<Row extends { readonly createdAt: number }>(rows: readonly Row[]): readonly Row[] {
  return rows.toSorted((one, other) => other.createdAt - one.createdAt)
}
