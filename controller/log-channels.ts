/**
 * The log channels of all agents: what their containers write goes into the log store, and is acknowledged once it is on
 * disk. Nothing of it goes through the turn, and none of it is ever logged here.
 */
import { parseFrame, writeFrame } from '../proto/acs.ts'
import { idOf } from '../proto/arn.ts'
import { readLogBatch } from '../proto/logs.ts'
import type { GantryLogStreamOpen } from '../proto/logs.ts'
import type { Clock, World } from '../proto/world.ts'
import type { Access } from './access/check.ts'
import type { Handshake } from './decide/handshake.ts'
import { logStreamProblem } from './decide/log-rights.ts'
import { closeCodes } from './decide/session.ts'
import { foreignTaskAmong } from './foreign-tasks.ts'
import type { HostGuard } from './host-guard.ts'
import type { Log } from './log.ts'
import type { LogStore } from './log-store.ts'
import type { Peer } from './peer.ts'
import type { OpenedLogStream } from './state/sqlite-logs.ts'
import type { Turn } from './turn.ts'

export interface LogServices {
  readonly hosts: Pick<HostGuard, 'refusedOnChannel'>
  readonly turn: Turn
  readonly log: Log
  readonly logStore: LogStore
  readonly clock: Clock
  readonly world: World
  readonly access: Pick<Access, 'require'>
}

type Stream = OpenedLogStream & { readonly taskId: string }
type ReadBatch = NonNullable<ReturnType<typeof readLogBatch>>

interface Channel {
  readonly peer: Peer
  /** By the agent's number of it. */
  readonly streams: Map<number, Stream>
  paused: boolean
}

/** Of all agents together, not on disk yet; beyond it their sockets are not read. */
const waitingBytesMax = 16 * 1024 * 1024
/** Streams of one agent: far beyond the containers that a host can have. */
const streamsMax = 10_000
const textMax = 1024
/** An agent comes back at once; a store that can't write gets this pause. */
const failurePauseMs = 2000

export class LogChannels {
  readonly #services: LogServices
  readonly #channels = new Map<string, Channel>()
  readonly #followers = new Map<string, Set<() => void>>()

  constructor(services: LogServices) {
    this.#services = services
  }

  /** Calls back after each append to a stream of the task; the answer ends that. */
  watch(taskId: string, onAppend: () => void): () => void {
    const followers = this.#followers.get(taskId) ?? new Set()
    this.#followers.set(taskId, followers.add(onAppend))
    return () => {
      followers.delete(onAppend)
      if (followers.size === 0) this.#followers.delete(taskId)
    }
  }

  open({ instanceId }: Handshake, peer: Peer): void {
    const older = this.#channels.get(instanceId)
    this.#channels.set(instanceId, { peer, streams: new Map(), paused: false })
    older?.peer.close(closeCodes.policy, 'Replaced by a newer channel of the same container instance')
  }

  closed(instanceId: string, peer: Peer): void {
    if (this.#channels.get(instanceId)?.peer === peer) this.#channels.delete(instanceId)
  }

  frame(instanceId: string, peer: Peer, text: string): void {
    const channel = this.#channels.get(instanceId)
    if (channel?.peer !== peer) return
    const frame = parseFrame(text)
    if (frame?.type !== 'GantryLogStreamOpen') return
    const open: unknown = frame.message
    if (!isOpen(open) || channel.streams.size >= streamsMax) {
      this.#services.log.warn({ instance: instanceId }, 'ignored a log stream that cannot be read')
      return
    }
    const taskId = idOf(open.taskArn)
    if (!this.#isOfInstance(taskId, open.container, instanceId)) {
      const reason = 'The task is not known here, or is not one of this container instance.'
      peer.send(writeFrame('GantryLogStreamRefusal', { stream: open.stream, reason }))
      const foreign = foreignTaskAmong(this.#services.turn.reader, instanceId, [open.taskArn])
      if (foreign !== undefined) this.#services.hosts.refusedOnChannel(instanceId, 'log', foreign)
      return
    }
    const unallowed = this.#unallowed(taskId, open)
    if (unallowed !== undefined) {
      peer.send(writeFrame('GantryLogStreamRefusal', { stream: open.stream, reason: unallowed }))
      return
    }
    this.#open(channel, open).catch((error: unknown) => this.#fail(instanceId, peer, error))
  }

  bytes(instanceId: string, peer: Peer, bytes: Uint8Array): void {
    const channel = this.#channels.get(instanceId)
    if (channel?.peer !== peer) return
    const batch = readLogBatch(bytes)
    const stream = batch === undefined ? undefined : channel.streams.get(batch.header.stream)
    if (batch === undefined || stream === undefined) {
      peer.close(closeCodes.policy, 'A batch that can not be read, or of a stream that was not opened')
      return
    }
    this.#pauseWhileBusy(channel)
    this.#append(peer, stream, batch).catch((error: unknown) => this.#fail(instanceId, peer, error))
  }

  async #open({ peer, streams }: Channel, open: GantryLogStreamOpen): Promise<void> {
    const { logStore, clock } = this.#services
    const { stream, container, dockerId, logGroup, logStream } = open
    const taskId = idOf(open.taskArn)
    const key = { taskId, container, dockerId, logGroup, logStream }
    const opened = await logStore.ask('open', { key, now: clock.now() })
    streams.set(stream, { ...opened, taskId })
    const { sequence, position } = opened
    peer.send(writeFrame('GantryLogStreamReady', { stream, sequence, position }))
  }

  async #append(peer: Peer, stream: Stream, { header, body }: ReadBatch): Promise<void> {
    const taken = await this.#services.logStore.append({ ...header, stream: stream.id, body })
    this.#resumeAll()
    if (!taken) {
      peer.close(closeCodes.policy, 'A batch that does not follow on the one before; open the stream again')
      return
    }
    peer.send(writeFrame('GantryLogAck', { stream: header.stream, sequence: header.sequence + header.count }))
    for (const onAppend of this.#followers.get(stream.taskId) ?? []) onAppend()
  }

  /** On EXTERNAL: why the task's execution role may not ship there. A task that is in the history has told its last. */
  #unallowed(taskId: string, { logGroup, logStream }: GantryLogStreamOpen): string | undefined {
    const { turn, clock, world, access } = this.#services
    const task = turn.reader.get('task', taskId)
    if (task === undefined) return undefined
    return logStreamProblem(
      task,
      { logGroup, stream: logStream },
      { reader: turn.reader, world, access, now: clock.now() },
    )
  }

  #isOfInstance(taskId: string, container: string, instanceId: string): boolean {
    const { reader } = this.#services.turn
    const task = reader.get('task', taskId) ?? reader.history.task(taskId)
    return task?.instanceId === instanceId && task.containers.some(({ name }) => name === container)
  }

  #pauseWhileBusy(channel: Channel): void {
    if (channel.paused || this.#services.logStore.waitingBytes < waitingBytesMax) return
    channel.paused = true
    channel.peer.pause()
  }

  #resumeAll(): void {
    if (this.#services.logStore.waitingBytes > waitingBytesMax / 2) return
    for (const channel of this.#channels.values()) {
      if (!channel.paused) continue
      channel.paused = false
      channel.peer.resume()
    }
  }

  #fail(instanceId: string, peer: Peer, error: unknown): void {
    this.#resumeAll()
    if (this.#channels.get(instanceId)?.peer !== peer) return
    this.#channels.delete(instanceId)
    this.#services.log.error(
      { instance: instanceId, err: error },
      'container logs could not be stored; the agent keeps them',
    )
    setTimeout(() => peer.close(closeCodes.serverError, 'The log store does not work'), failurePauseMs).unref()
  }
}

function isOpen(value: unknown): value is GantryLogStreamOpen {
  if (typeof value !== 'object' || value === null) return false
  const { stream, taskArn, container, dockerId, logGroup, logStream } = value as Partial<GantryLogStreamOpen>
  const texts = [taskArn, container, dockerId, logGroup, logStream]
  return Number.isSafeInteger(stream) && texts.every((text) => typeof text === 'string' && text.length <= textMax)
}
