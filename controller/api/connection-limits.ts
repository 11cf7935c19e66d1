/**
 * Bounds of one connection, the same for both listeners: its time, and how many of its requests are in hand. HTTP lets a
 * client send the next before it has read the answer to the last; one that sends thousands and reads nothing would have
 * all the answers pile up in memory, signed or not.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'

/** Clients send one, and the next as soon as they have read the answer, which can be before its end is noticed here. */
const inHandMax = 4

/** A connection on which nothing moves in either direction for so long is ended, milliseconds: nobody reads there. */
export const idleConnectionMs = 120_000

/** The whole header of a request has to be there within this time, and how often that is looked at, milliseconds. */
export const headersTimeoutMs = 15_000
export const timeoutCheckMs = 1000

/** Whether a request may go on; where it may not, its connection is at its end. */
export function createPipelineBound(): (request: IncomingMessage, response: ServerResponse) => boolean {
  const inHand = new WeakMap<Socket, number>()
  return ({ socket }, response) => {
    if (socket.destroyed) return false
    const count = (inHand.get(socket) ?? 0) + 1
    if (count > inHandMax) {
      socket.destroy()
      return false
    }
    inHand.set(socket, count)
    response.once('close', () => inHand.set(socket, (inHand.get(socket) ?? 1) - 1))
    return true
  }
}

/** How long a client that was given its last answer may take to read it, milliseconds. */
const lastAnswerMs = 2000

/** Who has been told why, and neither reads it nor closes, is cut off: nothing else would ever end that connection. */
export function endForGood(socket: Duplex): void {
  setTimeout(() => socket.destroy(), lastAnswerMs).unref()
}
