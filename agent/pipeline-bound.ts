/**
 * How many requests of one connection are in hand. HTTP lets a client send the next before it has read the answer to the
 * last: a container that sends thousands and reads nothing would have all the answers pile up in the agent's memory.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

/**
 * SDKs send one at a time. A script that sends what the rate lets through in one go is answered as well, by the official
 * agent too; what Node reads of a connection at once are more than a thousand.
 */
const inHandMax = 128

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
