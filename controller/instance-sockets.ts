/**
 * Which sockets speak for which instance, so that all of them end at once where their host was revoked, or another host
 * took the instance over. From then on nothing that comes on them is heard.
 */
import type { WebSocket } from 'ws'
import { ownerOf } from './access/host-lookup.ts'
import { closeCodes } from './decide/session.ts'
import type { Log } from './log.ts'
import type { HostRow } from './state/host-tables.ts'
import type { InstanceRow } from './state/tables.ts'
import type { Change } from './state/transaction.ts'
import type { Turn } from './turn.ts'

/** How long a peer may take to answer the close before it is cut off. */
const closeTimeoutMs = 1000

export class InstanceSockets {
  readonly #byInstance = new Map<string, Set<WebSocket>>()
  readonly #turn: Turn
  readonly #log: Log

  constructor(turn: Turn, log: Log) {
    this.#turn = turn
    this.#log = log
    turn.onCommit((changes) => this.#committed(changes))
  }

  add(instanceId: string, webSocket: WebSocket): void {
    const sockets = this.#byInstance.get(instanceId) ?? new Set()
    this.#byInstance.set(instanceId, sockets.add(webSocket))
    webSocket.on('close', () => {
      sockets.delete(webSocket)
      if (sockets.size === 0 && this.#byInstance.get(instanceId) === sockets) this.#byInstance.delete(instanceId)
    })
  }

  #committed(changes: readonly Change[]): void {
    for (const { table, before, row } of changes) {
      if (table === 'host') this.#hostChanged(before as HostRow | undefined, row as HostRow | undefined)
      if (table === 'instance' && before !== undefined && row !== undefined) {
        const [was, is] = [before as InstanceRow, row as InstanceRow]
        if (ownerOf(was) !== ownerOf(is))
          this.#end(is.instanceId, 'Another host has taken this container instance over')
      }
    }
  }

  #hostChanged(before: HostRow | undefined, row: HostRow | undefined): void {
    const hostId = row?.hostId ?? before?.hostId
    const isOver = row === undefined || (row.revokedAt !== undefined && before?.revokedAt === undefined)
    if (hostId === undefined || !isOver) return
    for (const { instanceId } of this.#turn.reader.find('instance', 'byHost', hostId)) {
      this.#end(instanceId, 'The host was revoked: join it anew to use it again')
    }
  }

  #end(instanceId: string, reason: string): void {
    const sockets = [...(this.#byInstance.get(instanceId) ?? [])]
    if (sockets.length > 0)
      this.#log.warn({ instance: instanceId, sockets: sockets.length, reason }, 'channels are closed')
    for (const webSocket of sockets) {
      webSocket.removeAllListeners('message')
      webSocket.close(closeCodes.policy, reason)
      setTimeout(() => webSocket.terminate(), closeTimeoutMs).unref()
    }
  }
}
