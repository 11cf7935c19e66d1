/** What the parts of the one port are given: the turn and its surroundings, the address, the agents' side. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Agents } from '../agents.ts'
import type { ChangeFeed } from '../change-feed.ts'
import type { ListenAddress } from '../config.ts'
import type { HostNotes } from '../host-notes.ts'
import type { JoinEnds } from '../join-ends.ts'
import type { JoinLimits } from '../join-limits.ts'
import type { SealingKeys } from '../decide/reseal.ts'
import type { LogChannels } from '../log-channels.ts'
import type { LogStore } from '../log-store.ts'
import type { ObjectStore } from '../object-store.ts'
import type { Streams } from '../streams.ts'
import type { Tls } from '../tls.ts'
import type { RpcServices } from './rpc.ts'

export interface ServerServices extends RpcServices {
  /** With the ids of its keys. */
  readonly vault: SealingKeys
  readonly listen: ListenAddress
  /** Undefined: no TLS is served. */
  readonly tls: { readonly listen: ListenAddress; readonly certificates: Tls } | undefined
  readonly hostNotes: HostNotes
  readonly joinLimits: JoinLimits
  /** Where a host that joins is sent, and what it is to trust there. */
  readonly joinEnds: () => JoinEnds
  /** Takes over a connection that asks to become a WebSocket. */
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
  /** Live agents, by instance id: when each last said anything. */
  readonly lastHeardAt: (instanceId: string) => number | undefined
  readonly feed: ChangeFeed
  readonly logStore: LogStore
  readonly logChannels: Pick<LogChannels, 'watch'>
  readonly streams: Streams
  readonly objectStore: Pick<ObjectStore, 'fetch'>
  readonly telemetry: Agents['telemetry']
}
