/**
 * The way back: the deployment that last completed becomes PRIMARY again, with the tasks that it still has.
 *
 * Source: AWS documentation, "How the Amazon ECS deployment circuit breaker detects failures" ("When the rollback starts,
 * the deployment changes from a COMPLETED to IN_PROGRESS"); its reasons are those that ECS gives.
 */
import type { World } from '../../proto/world.ts'
import type { DeploymentRow, ServiceRevisionRow, ServiceRow } from '../state/service-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { breakerEnd } from './circuit-breaker.ts'
import { announceStart, countLive, revisedMembers, startDeployment, supersede } from './deployment-start.ts'

export interface RollbackTarget {
  readonly revision: ServiceRevisionRow
  /** The deployment that brought the revision; undefined where it is no longer kept. */
  readonly deployment: DeploymentRow | undefined
}

/** Where a rollback from `from` would go: the revision that last completed, unless that is the one that fails. */
export function rollbackTarget(
  reader: Reader,
  { serviceKey, lastCompletedRevisionId: id }: ServiceRow,
  from: DeploymentRow,
): RollbackTarget | undefined {
  if (id === undefined || id === from.serviceRevisionId) return undefined
  const revision = reader.get('serviceRevision', id)
  if (revision === undefined) return undefined
  const deployment = reader
    .find('deployment', 'byService', serviceKey)
    .filter((row) => row.serviceRevisionId === id && row.rolloutState !== 'FAILED')
    .toSorted((one, other) => other.createdAt - one.createdAt)[0]
  return { revision, deployment }
}

export interface RollbackFacts {
  /** Why, as a sentence. */
  readonly reason: string
  /** Who wants it, as the deployment's reason begins: `ECS deployment circuit breaker`. */
  readonly by: string
}

/** Takes the service back from `from` (FAILED by now) to `target`, within the same service deployment. */
export function rollBack(
  tx: Transaction,
  service: ServiceRow,
  from: DeploymentRow,
  target: RollbackTarget,
  { reason, by }: RollbackFacts,
  now: number,
  world: World,
): void {
  const { revision, deployment } = target
  const current = tx.get('service', service.serviceKey) ?? service
  const failed = tx.get('deployment', from.id) ?? from
  const to = deployment?.id ?? revision.id
  const rollback = { from: failed, to, reason: `${by}: rolling back to deploymentId ${to}.` }
  const primary =
    deployment === undefined
      ? startDeployment(tx, current, { rollback, revision }, now, world)
      : promote(tx, current, revision, deployment, rollback, now, world)
  const carried = tx.get('serviceDeployment', from.serviceDeploymentId)
  if (carried === undefined) return
  tx.put('serviceDeployment', carried.id, {
    ...carried,
    deploymentId: primary.id,
    status: 'ROLLBACK_IN_PROGRESS',
    statusReason: reason,
    updatedAt: now,
    rollback: { reason, startedAt: now, serviceRevisionArn: revision.serviceRevisionArn },
    deploymentCircuitBreaker: breakerEnd(current, from),
  })
}

function promote(
  tx: Transaction,
  service: ServiceRow,
  revision: ServiceRevisionRow,
  deployment: DeploymentRow,
  rollback: { readonly from: DeploymentRow; readonly to: string; readonly reason: string },
  now: number,
  world: World,
): DeploymentRow {
  const primary: DeploymentRow = {
    ...deployment,
    status: 'PRIMARY',
    rolloutState: 'IN_PROGRESS',
    rolloutStateReason: rollback.reason,
    updatedAt: now,
    failedTasks: 0,
    failuresInRow: 0,
    // With tasks of it still there, what fails now can heal; with none, it is judged as a new one.
    healthyTasks: countLive(tx, deployment.id) > 0 ? deployment.healthyTasks : 0,
    retryAt: undefined,
    pause: undefined,
    proving: undefined,
    provingSince: undefined,
    waiting: undefined,
    cause: undefined,
    rollbackOf: rollback.from.id,
    serviceDeploymentId: rollback.from.serviceDeploymentId,
  }
  supersede(tx, rollback.from, primary, now)
  tx.put('deployment', primary.id, primary)
  tx.put('service', service.serviceKey, { ...service, ...revisedMembers(revision), steadySince: undefined })
  announceStart(tx, service, primary, { rollback }, now, world)
  return primary
}
