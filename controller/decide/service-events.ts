/**
 * The events of a service, in ECS's words: the newest hundred are kept, and each may also be news for the change feed.
 */
import type { World } from '../../proto/world.ts'
import type { ServiceEventRow } from '../state/service-tables.ts'
import type { Transaction } from '../state/transaction.ts'

/** Source: ECS API reference, Service, `events`: up to 100 of the latest. */
export const serviceEventsMax = 100

/** What the change feed is told beside the message. */
export type ServiceNews = Pick<ServiceEventRow, 'eventType' | 'eventName' | 'reason' | 'deploymentId'>

/** Adds an event to a service that is there; `message` is the whole of it, `(service web) has ...`. */
export function addServiceEvent(
  tx: Transaction,
  serviceKey: string,
  message: string,
  now: number,
  world: World,
  news: ServiceNews = {},
): void {
  const service = tx.get('service', serviceKey)
  if (service === undefined) throw new Error(`service ${serviceKey} is not there, and an event was to be added to it`)
  const seq = service.eventSeq + 1
  tx.put('service', serviceKey, { ...service, eventSeq: seq })
  tx.put('serviceEvent', eventKey(serviceKey, seq), {
    serviceKey,
    seq,
    id: world.uuid(),
    createdAt: now,
    message,
    ...news,
  })
  if (seq > serviceEventsMax) tx.delete('serviceEvent', eventKey(serviceKey, seq - serviceEventsMax))
}

/** How an event begins, in ECS's words: `(service web)`, or `(service web, taskSet ecs-svc/N)`. */
export function subjectOf({ serviceName }: { readonly serviceName: string }, taskSetId?: string): string {
  return taskSetId === undefined ? `(service ${serviceName})` : `(service ${serviceName}, taskSet ${taskSetId})`
}

/** Where the event of that number is kept. */
export function eventKey(serviceKey: string, seq: number): string {
  return `${serviceKey}/${String(seq).padStart(9, '0')}`
}
