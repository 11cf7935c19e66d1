/**
 * State changes on their way to the controller: in order for each task, one of each task in flight, again after every
 * reconnect until acknowledged. Tasks don't wait for each other.
 */
import type { GantryTaskStateChange } from '../proto/acs.ts'
import type { OutboxEntry } from './decide/journal-records.ts'

export interface Outbox {
  /** Queues a change. One of the same status that is not in flight yet is replaced: each is a whole picture. */
  put(change: GantryTaskStateChange): OutboxEntry
  /** Takes the answered change out; undefined where it is not known (any more). */
  delivered(messageId: string): OutboxEntry | undefined
  /** Changes of this task that are not answered yet. */
  waiting(taskArn: string): number
  /** Takes out all changes of a task and gives their numbers. */
  drop(taskArn: string): readonly number[]
  /** Sends what may be sent now. Gives the instant at which to try again; undefined where only an answer can help. */
  flush(send: (change: GantryTaskStateChange) => boolean, now: number): number | undefined
  linkDown(): void
}

/** After this long without an answer on a link that stands, the change is sent again. */
const answerMs = 30_000
/** After this long a send that the link refused is tried again. */
const refusedMs = 1000

interface Flight {
  readonly messageId: string
  readonly resendAt: number
}

export function createOutbox(kept: readonly OutboxEntry[]): Outbox {
  const queues = new Map<string, OutboxEntry[]>()
  const flights = new Map<string, Flight>()
  let sequence = 0
  for (const entry of kept) {
    queueOf(queues, entry.change.task).push(entry)
    sequence = Math.max(sequence, entry.sequence)
  }
  return {
    put(change) {
      const queue = queueOf(queues, change.task)
      const last = queue.at(-1)
      const replaces =
        last?.change.status === change.status && flights.get(change.task)?.messageId !== last.change.messageId
      sequence += replaces ? 0 : 1
      const entry = { sequence: replaces ? last.sequence : sequence, change }
      if (replaces) queue.pop()
      queue.push(entry)
      return entry
    },
    delivered(messageId) {
      for (const [taskArn, queue] of queues) {
        const head = queue[0]
        if (head?.change.messageId !== messageId) continue
        queue.shift()
        flights.delete(taskArn)
        if (queue.length === 0) queues.delete(taskArn)
        return head
      }
      return undefined
    },
    waiting: (taskArn) => queues.get(taskArn)?.length ?? 0,
    drop(taskArn) {
      const sequences = (queues.get(taskArn) ?? []).map((entry) => entry.sequence)
      queues.delete(taskArn)
      flights.delete(taskArn)
      return sequences
    },
    flush(send, now) {
      let again: number | undefined
      for (const [taskArn, [head]] of queues) {
        if (head === undefined) continue
        const flight = flights.get(taskArn)
        let resendAt = flight?.resendAt
        if (resendAt === undefined || now >= resendAt) {
          const sent = send(head.change)
          resendAt = now + (sent ? answerMs : refusedMs)
          if (sent) flights.set(taskArn, { messageId: head.change.messageId, resendAt })
          else flights.delete(taskArn)
        }
        again = Math.min(again ?? resendAt, resendAt)
      }
      return again
    },
    linkDown: () => flights.clear(),
  }
}

function queueOf(queues: Map<string, OutboxEntry[]>, taskArn: string): OutboxEntry[] {
  const queue = queues.get(taskArn) ?? []
  queues.set(taskArn, queue)
  return queue
}
