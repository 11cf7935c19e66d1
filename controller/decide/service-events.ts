/**
 * The events of a service, in ECS's words: the newest hundred are kept, and each may also be news for the change feed.
 */
import type { World } from '../../proto/world.ts'
import type { EventTally, ServiceEventRow } from '../state/service-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'

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
  tally?: EventTally,
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
    ...(tally !== undefined && { tally }),
  })
  if (seq > serviceEventsMax) tx.delete('serviceEvent', eventKey(serviceKey, seq - serviceEventsMax))
}

/** Tasks of which the same is told within this time of each other share an event, and for how long one grows at most. */
const tallyGapMs = 5000
const tallyMaxMs = 30_000
/** Starts and stops take turns in a rollout, so that the event to add to is seldom the newest. */
const talliesBack = 6
/** More would make an event unreadable; the rest is counted. */
const namedTasksMax = 10

/** What is told of tasks: `kind` says which of them share an event, `say` the message for all of those. */
export interface TaskNews {
  readonly kind: string
  readonly taskIds: readonly string[]
  /** `named` is `(task ID) (task ID)`, and of more than ten `and 3 more`. */
  readonly say: (count: number, named: string) => string
}

/**
 * Adds an event about tasks or, where one of the same kind is young, adds them to that: then it has a new id and a new
 * time, so that those who follow the events see it again. A big rollout would fill all that is kept otherwise.
 */
export function addTaskEvent(
  tx: Transaction,
  serviceKey: string,
  { kind, taskIds, say }: TaskNews,
  now: number,
  world: World,
  news: ServiceNews = {},
): void {
  if (taskIds.length === 0) return
  const young = youngEvent(tx, serviceKey, kind, now)
  const before = young?.tally
  const tally: EventTally = {
    kind,
    count: (before?.count ?? 0) + taskIds.length,
    taskIds: [...(before?.taskIds ?? []), ...taskIds].slice(0, namedTasksMax),
    since: before?.since ?? now,
  }
  const rest = tally.count - tally.taskIds.length
  const shown = tally.taskIds.map((taskId) => `(task ${taskId})`).join(' ')
  const message = say(tally.count, rest === 0 ? shown : `${shown} and ${rest} more`)
  if (young === undefined) addServiceEvent(tx, serviceKey, message, now, world, news, tally)
  else {
    const again: ServiceEventRow = { ...young, id: world.uuid(), createdAt: now, message, tally }
    tx.put('serviceEvent', eventKey(serviceKey, young.seq), again)
  }
}

/** Only events about tasks are passed over on the way back: what is told of a deployment keeps its place among them. */
function youngEvent(reader: Reader, serviceKey: string, kind: string, now: number): ServiceEventRow | undefined {
  const newest = reader.get('service', serviceKey)?.eventSeq ?? 0
  for (let seq = newest; seq > Math.max(0, newest - talliesBack); seq -= 1) {
    const event = reader.get('serviceEvent', eventKey(serviceKey, seq))
    if (event?.tally === undefined || now - event.createdAt > tallyGapMs) return undefined
    if (event.tally.kind === kind) return now - event.tally.since > tallyMaxMs ? undefined : event
  }
  return undefined
}

/** How an event begins, in ECS's words: `(service web)`, or `(service web, taskSet ecs-svc/N)`. */
export function subjectOf({ serviceName }: { readonly serviceName: string }, taskSetId?: string): string {
  return taskSetId === undefined ? `(service ${serviceName})` : `(service ${serviceName}, taskSet ${taskSetId})`
}

/** Where the event of that number is kept. */
export function eventKey(serviceKey: string, seq: number): string {
  return `${serviceKey}/${String(seq).padStart(9, '0')}`
}
