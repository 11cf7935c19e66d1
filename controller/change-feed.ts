/**
 * The change feed: what each committed turn did, as events, for whoever follows. The newest stay at hand in a bounded
 * ring, so that a follower that was away for a moment goes on where it was; one that was away for longer is told so.
 */
import type { World } from '../proto/world.ts'
import { type ClusterEvent, type DetailType, type EventSource, eventsOf, wholeEvent } from './decide/event-shapes.ts'
import type { TurnLog } from './turn-deciders.ts'
import type { Turn } from './turn.ts'

/** Where a follower is: a turn's revision, and how many of that turn's events it has seen. */
export interface FeedCursor {
  readonly revision: number
  /** Absent: all of them. */
  readonly index?: number | undefined
}

export interface FeedEvent {
  readonly revision: number
  /** Its place among the events of its turn, from 1. */
  readonly index: number
  readonly event: ClusterEvent
}

export interface FeedFilter {
  readonly clusterName?: string | undefined
  readonly serviceName?: string | undefined
  readonly detailType?: DetailType | undefined
}

export interface FeedPage {
  /** Oldest first. */
  readonly events: readonly FeedEvent[]
  /** Where to go on. */
  readonly next: FeedCursor
  /** True where events after the cursor are no longer at hand: who follows must look at the state itself. */
  readonly isMissing: boolean
}

export interface ChangeFeed {
  /** Events after `after` that pass the filter, at most `limit`; without `after` the newest of them. */
  read(filter: FeedFilter, after: FeedCursor | undefined, limit: number): FeedPage
  /** `listener` gets the events of each turn after its commit, before the next turn. The answer ends it. */
  subscribe(listener: (events: readonly FeedEvent[]) => void): () => void
}

/** Events at hand: about 10 MB of rows where each is a task's. */
const eventsMaxDefault = 4096

interface Kept {
  readonly revision: number
  readonly index: number
  readonly at: number
  readonly id: string
  readonly source: EventSource
}

/** Follows `turn` from now on. */
export function startChangeFeed(
  services: {
    readonly turn: Turn
    readonly clock: { now(): number }
    readonly world: World
    readonly log: TurnLog
  },
  eventsMax: number = eventsMaxDefault,
): ChangeFeed {
  const { turn, clock, world, log } = services
  const listeners = new Set<(events: readonly FeedEvent[]) => void>()
  let kept: Kept[] = []
  /** The newest event that is no longer at hand. */
  let dropped: FeedCursor = { revision: turn.status().revision }
  let newest: FeedCursor = dropped
  const shown = ({ revision, index, source, id, at }: Kept): FeedEvent => ({
    revision,
    index,
    event: wholeEvent(source, id, at, world),
  })

  turn.onCommit((changes, revision) => {
    const at = clock.now()
    const fresh = eventsOf(changes, turn.reader, at).map(
      (source, place): Kept => ({ revision, index: place + 1, at, id: world.uuid(), source }),
    )
    newest = { revision }
    kept.push(...fresh)
    // Cut down rarely: each cut copies what stays.
    if (kept.length > 2 * eventsMax) {
      const last = kept.at(-eventsMax - 1)
      if (last !== undefined) dropped = last
      kept = kept.slice(-eventsMax)
    }
    if (fresh.length === 0 || listeners.size === 0) return
    const events = fresh.map(shown)
    for (const listener of listeners) {
      try {
        listener(events)
      } catch (error) {
        log.error({ err: error }, 'a follower of the change feed threw; the feed goes on')
      }
    }
  })

  return {
    read(filter, after, limit) {
      const matching = kept.filter(
        (each) => passes(each.source, filter) && (after === undefined || isAfter(each, after)),
      )
      const page = after === undefined ? matching.slice(-limit) : matching.slice(0, limit)
      const last = page.at(-1)
      const isWhole = page.length === matching.length || after === undefined
      return {
        events: page.map(shown),
        next: isWhole || last === undefined ? newest : { revision: last.revision, index: last.index },
        isMissing: after !== undefined && isAfter(dropped, after),
      }
    },
    subscribe(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
}

function passes(source: EventSource, { clusterName, serviceName, detailType }: FeedFilter): boolean {
  return (
    (clusterName === undefined || source.clusterName === clusterName) &&
    (serviceName === undefined || source.serviceName === serviceName) &&
    (detailType === undefined || source.detailType === detailType)
  )
}

/** Without an index a cursor stands behind the whole turn. */
function isAfter(one: FeedCursor, other: FeedCursor): boolean {
  if (one.revision !== other.revision) return one.revision > other.revision
  return (one.index ?? Infinity) > (other.index ?? Infinity)
}
