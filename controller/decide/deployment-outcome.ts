/**
 * What becomes of a service's deployments: one that is done is COMPLETED, one that can't be is FAILED or rolled back, an
 * old one whose tasks have gone is INACTIVE. The scheduler asks each time before it acts.
 */
import type { World } from '../../proto/world.ts'
import type { DeploymentRow, ServiceDeploymentRow, ServiceRow } from '../state/service-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { breakerEnd, breakerOf, isTripped } from './circuit-breaker.ts'
import { longPauseMs, pauseAfter, provingMs } from './deployment-backoff.ts'
import { causeSentence } from './deployment-failure.ts'
import { portsHeldOutside, portsHeldMs } from './deployment-ports.ts'
import { rollBack, rollbackTarget, type RollbackTarget } from './deployment-rollback.ts'
import { countLive, isEnded } from './deployment-start.ts'
import { addServiceEvent, subjectOf } from './service-events.ts'
import { revisionCounts } from './service-revision-counts.ts'
import { afterProof } from './service-task.ts'

/** A daemon's desired count is only known once its scheduler has looked at the instances. */
const daemonCountedMs = 1000

/**
 * Writes what follows for the deployments of `serviceKey`. Answers the earliest instant (epoch milliseconds) at which it
 * wants to be asked again though nothing changes; undefined where there is none.
 */
export function judgeDeployment(tx: Transaction, serviceKey: string, now: number, world: World): number | undefined {
  const service = tx.get('service', serviceKey)
  if (service === undefined || service.status !== 'ACTIVE') return undefined
  for (const row of tx.find('deployment', 'liveByService', serviceKey)) {
    if (row.status === 'ACTIVE' && countLive(tx, row.id) === 0) {
      tx.put('deployment', row.id, { ...row, status: 'INACTIVE', updatedAt: now, waiting: undefined })
    }
  }
  const primary = primaryOf(tx, serviceKey)
  if (primary === undefined) return undefined
  const proven = withPortsJudged(
    tx,
    service,
    withPauseAnnounced(tx, service, withProofAwaited(tx, afterProof(tx, primary, now), now), now, world),
    now,
  )
  if (proven !== primary) tx.put('deployment', proven.id, proven)
  if (proven.rolloutState !== 'IN_PROGRESS') return nextProof(proven)
  if (proven.cause?.isHopeless === true || isTripped(service, proven)) {
    failDeployment(tx, service, proven, failureReason(proven), now, world)
    return undefined
  }
  const completesAt = completionAt(tx, service, proven)
  if (completesAt === undefined) return earliest(nextProof(proven), nextLookAtPorts(proven))
  if (completesAt > now) return earliest(completesAt, nextProof(proven))
  complete(tx, serviceKey, proven, now, world)
  return nextProof(proven)
}

export function primaryOf(reader: Reader, serviceKey: string): DeploymentRow | undefined {
  return reader.find('deployment', 'liveByService', serviceKey).find((row) => row.status === 'PRIMARY')
}

/**
 * A failure takes the time back at which the deployment would have proved itself. What is healthy beside it has its own
 * time to do so from then on: no other task may ever be wanted, and the older ones would wait for it for good.
 */
function withProofAwaited(reader: Reader, primary: DeploymentRow, now: number): DeploymentRow {
  if (primary.rolloutState !== 'IN_PROGRESS' || primary.provenAt !== undefined) return primary
  const healthy = reader.count('task', 'byDeploymentPhase', `${primary.id}/healthy`)
  return healthy === 0 ? primary : { ...primary, provenAt: now + provingMs }
}

function nextProof({ proving }: DeploymentRow): number | undefined {
  if (proving === undefined || proving.length === 0) return undefined
  return Math.min(...proving.map(({ healthyAt }) => healthyAt)) + provingMs
}

function earliest(...instants: readonly (number | undefined)[]): number | undefined {
  const known = instants.filter((instant) => instant !== undefined)
  return known.length === 0 ? undefined : Math.min(...known)
}

/** The deployment with its cause where its ports have been taken everywhere for long enough to call that lasting. */
function withPortsJudged(tx: Transaction, service: ServiceRow, primary: DeploymentRow, now: number): DeploymentRow {
  const at = nextLookAtPorts(primary)
  if (at === undefined || at > now || primary.cause?.isHopeless === true) return primary
  const reason = portsHeldOutside(tx, service, primary)
  return reason === undefined ? primary : { ...primary, cause: { at: now, reason, isHopeless: true } }
}

function nextLookAtPorts({ rolloutState, waiting }: DeploymentRow): number | undefined {
  const isForPorts = waiting?.counts.some(({ filter }) => filter === 'tcpPorts' || filter === 'udpPorts') === true
  return rolloutState === 'IN_PROGRESS' && isForPorts ? waiting.since + portsHeldMs : undefined
}

/** When the deployment is complete if nothing changes; undefined while it lacks tasks, or older ones have some left. */
function completionAt(reader: Reader, service: ServiceRow, primary: DeploymentRow): number | undefined {
  const healthy = reader.count('task', 'byDeploymentPhase', `${primary.id}/healthy`)
  if (healthy < service.desiredCount) return undefined
  const older = reader.find('deployment', 'liveByService', service.serviceKey).filter(({ id }) => id !== primary.id)
  if (older.some(({ id }) => countLive(reader, id) > 0)) return undefined
  const countedAt = service.schedulingStrategy === 'DAEMON' ? primary.createdAt + daemonCountedMs : primary.createdAt
  const provenAt = healthy === 0 || primary.provingSince === undefined ? 0 : primary.provingSince + provingMs
  return Math.max(countedAt, provenAt)
}

function complete(tx: Transaction, serviceKey: string, primary: DeploymentRow, now: number, world: World): void {
  const service = tx.get('service', serviceKey)
  if (service === undefined) return
  const isRollback = primary.rollbackOf !== undefined
  // A rollback's reason goes on saying that it is one: what was to be deployed has not been.
  const reason = isRollback ? primary.rolloutStateReason : `ECS deployment ${primary.id} completed.`
  tx.put('deployment', primary.id, {
    ...primary,
    rolloutState: 'COMPLETED',
    rolloutStateReason: reason,
    updatedAt: now,
    provingSince: undefined,
    waiting: undefined,
  })
  tx.put('service', serviceKey, { ...service, lastCompletedRevisionId: primary.serviceRevisionId })
  endServiceDeployment(tx, service, primary, isRollback ? 'ROLLBACK_SUCCESSFUL' : 'SUCCESSFUL', undefined, now)
  const done = isRollback ? 'rollback completed.' : 'deployment completed.'
  addServiceEvent(tx, serviceKey, `(service ${service.serviceName}) (deployment ${primary.id}) ${done}`, now, world, {
    eventType: 'INFO',
    eventName: 'SERVICE_DEPLOYMENT_COMPLETED',
    reason,
    deploymentId: primary.id,
  })
}

/** In ECS's words where they are the breaker's, with the cause behind them. */
function failureReason({ cause }: DeploymentRow): string {
  const why = cause === undefined ? '' : ` Last failure: ${causeSentence(cause)}.`
  if (cause?.isHopeless === true) return `ECS deployment failed: no retry can heal this.${why}`
  return `ECS deployment circuit breaker: tasks failed to start.${why}`
}

/**
 * Ends a PRIMARY deployment that is in progress as FAILED, and rolls back where the breaker is configured to, there is a
 * completed revision to go to, and the deployment is not a rollback itself.
 */
export function failDeployment(
  tx: Transaction,
  service: ServiceRow,
  primary: DeploymentRow,
  reason: string,
  now: number,
  world: World,
): void {
  const wantsRollback = breakerOf(service)?.rollback === true && primary.rollbackOf === undefined
  const target = wantsRollback ? rollbackTarget(tx, service, primary) : undefined
  if (target === undefined) {
    const nowhere = wantsRollback ? ' There is no completed revision to roll back to.' : ''
    const whole = `${reason}${nowhere} Nothing more is started until the service is updated.`
    putFailed(tx, service, primary, whole, now, world)
    const status = primary.rollbackOf === undefined ? 'STOPPED' : 'ROLLBACK_FAILED'
    endServiceDeployment(tx, service, primary, status, whole, now)
    return
  }
  putFailed(tx, service, primary, reason, now, world)
  rollBack(tx, service, primary, target, { reason, by: 'ECS deployment circuit breaker' }, now, world)
}

function putFailed(
  tx: Transaction,
  service: ServiceRow,
  primary: DeploymentRow,
  reason: string,
  now: number,
  world: World,
): void {
  tx.put('deployment', primary.id, {
    ...primary,
    rolloutState: 'FAILED',
    rolloutStateReason: reason,
    updatedAt: now,
    retryAt: undefined,
    waiting: undefined,
  })
  // As ECS words it: `(service web) (deployment ecs-svc/N) deployment failed: tasks failed to start.`
  const why = reason.replace(/^ECS deployment (?:circuit breaker|failed): /, '')
  const message = `(service ${service.serviceName}) (deployment ${primary.id}) deployment failed: ${why}`
  addServiceEvent(tx, service.serviceKey, message, now, world, {
    eventType: 'ERROR',
    eventName: 'SERVICE_DEPLOYMENT_FAILED',
    reason,
    deploymentId: primary.id,
  })
}

const stoppedByUser = 'Stopped by StopServiceDeployment.'

/** What StopServiceDeployment asks for: the PRIMARY deployment in progress has failed, and is taken back to `target`. */
export function rollBackDeployment(
  tx: Transaction,
  service: ServiceRow,
  primary: DeploymentRow,
  target: RollbackTarget,
  now: number,
  world: World,
): void {
  putFailed(tx, service, primary, stoppedByUser, now, world)
  rollBack(tx, service, primary, target, { reason: stoppedByUser, by: 'StopServiceDeployment' }, now, world)
}

/** The same without a way back: what runs goes on running, and nothing more is started. */
export function abortDeployment(
  tx: Transaction,
  service: ServiceRow,
  primary: DeploymentRow,
  now: number,
  world: World,
): void {
  putFailed(tx, service, primary, stoppedByUser, now, world)
  endServiceDeployment(tx, service, primary, 'STOPPED', stoppedByUser, now)
}

function endServiceDeployment(
  tx: Transaction,
  service: ServiceRow,
  primary: DeploymentRow,
  status: NonNullable<ServiceDeploymentRow['status']>,
  reason: string | undefined,
  now: number,
): void {
  const row = tx.get('serviceDeployment', primary.serviceDeploymentId)
  if (row === undefined || isEnded(row)) return
  const breaker = row.rollback === undefined ? breakerEnd(service, primary) : row.deploymentCircuitBreaker
  tx.put('serviceDeployment', row.id, {
    ...row,
    status,
    statusReason: reason ?? row.statusReason,
    deploymentCircuitBreaker: breaker,
    ...revisionCounts(tx, row),
    updatedAt: now,
    finishedAt: now,
    ...(status === 'STOPPED' && { stoppedAt: now }),
  })
}

/** ECS's event for a service that keeps failing, once in each row of failures, when pauses have grown long. */
function withPauseAnnounced(
  tx: Transaction,
  service: ServiceRow,
  primary: DeploymentRow,
  now: number,
  world: World,
): DeploymentRow {
  const { pause, retryAt } = primary
  if (pause === undefined || retryAt === undefined || pause.isAnnounced === true) return primary
  if (pauseAfter(pause.round) < longPauseMs) return primary
  tellImpaired(tx, service, { ...primary, retryAt, subject: subjectOf(service) }, now, world)
  return { ...primary, pause: { ...pause, isAnnounced: true } }
}

/** The event alone, of a deployment or a task set; `subject` is who it is, as events name it. */
export function tellImpaired(
  tx: Transaction,
  service: ServiceRow,
  impaired: Pick<DeploymentRow, 'id' | 'cause'> & { readonly subject: string; readonly retryAt: number },
  now: number,
  world: World,
): void {
  const { id, cause, subject, retryAt } = impaired
  const why = cause === undefined ? '' : ` Last failure: ${causeSentence(cause)}.`
  const next = ` The next try is in ${Math.ceil(Math.max(0, retryAt - now) / 1000)} seconds.`
  const message = `${subject} is unable to consistently start tasks successfully.${why}${next}`
  addServiceEvent(tx, service.serviceKey, message, now, world, {
    eventType: 'WARN',
    eventName: 'SERVICE_TASK_START_IMPAIRED',
    reason: cause?.reason,
    deploymentId: id,
  })
}
