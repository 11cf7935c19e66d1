/**
 * The steady state: every desired task is healthy, and there is no other. ECS announces it when it is reached, and again
 * while it lasts.
 *
 * Source: AWS documentation, "Amazon ECS service action events", SERVICE_STEADY_STATE ("the service scheduler reports the
 * status periodically").
 */
import type { World } from '../../proto/world.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { totalOf } from './rolling.ts'
import { addServiceEvent } from './service-events.ts'
import { countPhases } from './service-tasks.ts'

const repeatMs = 6 * 60 * 60 * 1000

/** Announces the steady state, or notes that the service is away from it. Answers when it is to be announced again. */
export function noteSteady(tx: Transaction, serviceKey: string, now: number, world: World): readonly number[] {
  const service = tx.get('service', serviceKey)
  if (service === undefined) return []
  if (!isSteady(tx, serviceKey)) {
    if (service.steadySince !== undefined) tx.put('service', serviceKey, { ...service, steadySince: undefined })
    return []
  }
  if (service.steadySince !== undefined && now - service.steadySince < repeatMs) return [service.steadySince + repeatMs]
  tx.put('service', serviceKey, { ...service, steadySince: now })
  const message = `(service ${service.serviceName}) has reached a steady state.`
  addServiceEvent(tx, serviceKey, message, now, world, { eventType: 'INFO', eventName: 'SERVICE_STEADY_STATE' })
  return [now + repeatMs]
}

function isSteady(reader: Reader, serviceKey: string): boolean {
  const service = reader.get('service', serviceKey)
  const deployments = reader.find('deployment', 'liveByService', serviceKey)
  const [primary] = deployments
  if (service === undefined || primary === undefined || deployments.length > 1) return false
  if (primary.status !== 'PRIMARY' || primary.rolloutState !== 'COMPLETED') return false
  const counts = countPhases(reader, [primary.id])
  return counts.healthy === service.desiredCount && totalOf(counts) === service.desiredCount
}
