/**
 * A service that can't go on, though its deployment has not failed and there is room: its percentages allow neither a
 * start nor a stop, or what would have to stop is protected. Told once, with what to do.
 */
import type { World } from '../../proto/world.ts'
import type { DeploymentRow, ServiceRow } from '../state/service-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { type RollingStep, rollingBounds } from './rolling.ts'
import { addServiceEvent, subjectOf } from './service-events.ts'
import type { StopsDone } from './service-stops.ts'
import { protectionOf } from './task-protection.ts'

export type StuckBy = NonNullable<DeploymentRow['stuck']>['by']

/** What a decision was held up by, if it was. */
export function stuckBy({ protectedCount, stopped }: StopsDone, { isStuck }: RollingStep): StuckBy | undefined {
  if (protectedCount > 0 && stopped === 0) return 'protection'
  return isStuck ? 'percentages' : undefined
}

/** Writes on the PRIMARY deployment by what it is stuck, if it is. */
export function noteStuck(
  tx: Transaction,
  service: ServiceRow,
  deploymentId: string,
  by: StuckBy | undefined,
  now: number,
  world: World,
): void {
  const deployment = tx.get('deployment', deploymentId)
  if (deployment === undefined || deployment.stuck?.by === by) return
  const stuck = by === undefined ? undefined : { since: now, by }
  tx.put('deployment', deploymentId, { ...deployment, stuck })
  if (by === undefined) return
  tellStuck(
    tx,
    service,
    { id: deploymentId, subject: subjectOf(service), desired: service.desiredCount },
    by,
    now,
    world,
  )
}

/** Who is stuck: a deployment, or a task set with a desired count of its own. */
interface Stuck {
  readonly id: string
  readonly subject: string
  readonly desired: number
}

/** The event alone: the caller remembers that it was told. */
export function tellStuck(
  tx: Transaction,
  service: ServiceRow,
  { id, subject, desired }: Stuck,
  by: StuckBy,
  now: number,
  world: World,
): void {
  const message =
    by === 'percentages'
      ? percentagesMessage(subject, desired, service)
      : `${subject} ${protectionMessage(tx, service, now)}`
  addServiceEvent(tx, service.serviceKey, message, now, world, {
    eventType: 'ERROR',
    eventName: 'SERVICE_TASK_CONFIGURATION_FAILURE',
    reason: by === 'percentages' ? 'DEPLOYMENT_CONFIGURATION' : 'TASK_PROTECTION',
    deploymentId: id,
  })
}

/** Its first two sentences are ECS's. Source: AWS documentation, "Amazon ECS service event messages". */
function percentagesMessage(subject: string, desired: number, { deploymentConfiguration }: ServiceRow): string {
  const { minimumHealthyPercent = 100, maximumPercent = 200 } = deploymentConfiguration
  const { lower, upper } = rollingBounds(desired, minimumHealthyPercent, maximumPercent)
  return (
    `${subject} was unable to stop or start tasks during a deployment because of the service deployment ` +
    'configuration. Update the minimumHealthyPercent or maximumPercent value and try again. With desiredCount ' +
    `${desired}, minimumHealthyPercent ${minimumHealthyPercent} (rounded up) keeps ${lower} healthy and ` +
    `maximumPercent ${maximumPercent} (rounded down) allows ${upper} in all: a lower minimum lets a task stop before ` +
    'its replacement starts, a higher maximum lets the replacement start first.'
  )
}

function protectionMessage(reader: Reader, { serviceKey }: ServiceRow, now: number): string {
  const protection = protectionOf(reader, serviceKey, now)
  const until =
    protection === undefined
      ? ''
      : `, at the latest at ${new Date(protection.until).toISOString()} unless it is extended (protected tasks: ${protection.tasks})`
  return (
    'was unable to stop tasks because they have task scale-in protection. It goes on as their protection ends' +
    `${until}; to have it end now, use UpdateTaskProtection with protectionEnabled false.`
  )
}
