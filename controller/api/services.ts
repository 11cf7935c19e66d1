/** What the parts of the one port are given: the turn and its surroundings, the address, the agents' side. */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Agents } from '../agents.ts'
import type { ChangeFeed } from '../change-feed.ts'
import type { ListenAddress } from '../config.ts'
import type { LogChannels } from '../log-channels.ts'
import type { LogStore } from '../log-store.ts'
import type { Streams } from '../streams.ts'
import type { RpcServices } from './rpc.ts'

export interface ServerServices extends RpcServices {
  readonly listen: ListenAddress
  /** Takes over a connection that asks to become a WebSocket. */
  readonly upgrade: (request: IncomingMessage, socket: Duplex, head: Buffer) => void
  /** Live agents, by instance id: when each last said anything. */
  readonly lastHeardAt: (instanceId: string) => number | undefined
  readonly feed: ChangeFeed
  readonly logStore: LogStore
  readonly logChannels: Pick<LogChannels, 'watch'>
  readonly streams: Streams
  readonly telemetry: Agents['telemetry']
}
