/**
 * The control channels (ACS) of all agents: drives the pure sessions with frames, commits and ticks, and does what they
 * say. One session for each instance: the newest wins.
 */
import { parseFrame, writeFrame } from '../proto/acs.ts'
import { isApiError } from '../proto/errors.ts'
import type { Clock, World } from '../proto/world.ts'
import type { Access } from './access/check.ts'
import { AgentInputs } from './agent-inputs.ts'
import type { Handshake } from './decide/handshake.ts'
import { OwnershipError } from './access/host-ownership.ts'
import type { HostGuard } from './host-guard.ts'
import { type MintCredentials, noCredentialsSent, type SentCredentials } from './decide/session-credentials.ts'
import {
  closeCodes,
  connectInput,
  disconnectInput,
  disconnectDueAt,
  openSession,
  type Session,
  type SessionEffect,
  type SessionEvent,
  stepSession,
} from './decide/session.ts'
import type { Log } from './log.ts'
import type { Peer } from './peer.ts'
import type { Change } from './state/transaction.ts'
import type { Turn } from './turn.ts'

export interface ChannelServices {
  readonly hosts: Pick<HostGuard, 'refusedOnChannel'>
  readonly turn: Turn
  readonly clock: Clock
  readonly world: World
  readonly log: Log
}

export interface ControlServices extends ChannelServices {
  readonly mintCredentials: MintCredentials
  /** How long keys of tasks' roles are good for, milliseconds; replaced after half of it. Absent: six hours. */
  readonly keysLifeMs?: number | undefined
  readonly access: Access
}

/** Inputs of one agent that may wait for their turn before its socket is paused... */
const inputsWaitingMax = 128
/** ...and while those of all agents together are more than the turn takes at once. */
const inputsWaitingMaxBusy = 8

interface Channel {
  readonly peer: Peer
  readonly log: Log
  session: Session
  heardAt: number
  inputsWaiting: number
  paused: boolean
  /** Set once it was replaced, or declared lost: its end is no news. */
  settled: boolean
}

/** `away`: it has no open channel. `foreign`: it is an official agent, which is told nothing of Gantry's own. */
export type Sent = 'sent' | 'away' | 'foreign'

interface Awaited {
  /** When its channel closed, or when the controller was ready. */
  readonly since: number
  /** When it counts as disconnected. */
  readonly until: number
}

export class ControlChannels {
  readonly #services: ControlServices
  readonly #channels = new Map<string, Channel>()
  /** Instances that are connected as far as the state knows and have no channel. */
  readonly #awaited = new Map<string, Awaited>()
  /** What agents whose channel closed have of their tasks' keys. */
  readonly #credentials = new Map<string, SentCredentials>()
  readonly #inputs: AgentInputs
  /** When this process was ready for agents, epoch milliseconds. */
  readonly readyAt: number

  constructor(services: ControlServices) {
    this.#services = services
    this.#inputs = new AgentInputs(services.turn)
    this.readyAt = services.clock.now()
    for (const row of services.turn.reader.all('instance')) {
      if (row.agentConnected) this.#await(row.instanceId, this.readyAt)
    }
    services.turn.onCommit((changes) => this.#committed(changes))
  }

  open({ instanceId, facts, fullSync }: Handshake, peer: Peer): void {
    const { clock } = this.#services
    const log = this.#services.log.child({ instance: instanceId, channel: 'acs', peer: peer.id })
    const older = this.#channels.get(instanceId)
    if (older !== undefined) {
      older.settled = true
      log.warn(
        { older: older.peer.id },
        'a newer channel of this container instance replaces the older one. If this repeats, two agents use one ' +
          'identity (a copied ECS_DATADIR): stop the copy and remove its directory, and it registers as a host of its own',
      )
      older.peer.close(closeCodes.policy, 'Replaced by a newer channel of the same container instance')
    }
    const now = clock.now()
    const known = older?.session.credentials ?? this.#credentials.get(instanceId)
    this.#credentials.delete(instanceId)
    const session = openSession(instanceId, now, fullSync ? noCredentialsSent : known)
    const channel: Channel = { peer, log, session, heardAt: now, inputsWaiting: 0, paused: false, settled: false }
    this.#channels.set(instanceId, channel)
    this.#awaited.delete(instanceId)
    this.#inputs.submit(connectInput(instanceId, facts, fullSync)).then(
      () => this.#step(channel, { kind: 'connected' }),
      (error: unknown) => this.#step(channel, { kind: 'failed', reason: messageOf(error) }),
    )
  }

  frame(instanceId: string, peer: Peer, text: string): void {
    const channel = this.#channelOf(instanceId, peer)
    if (channel === undefined) return
    channel.heardAt = this.#services.clock.now()
    const frame = parseFrame(text)
    if (frame === undefined) {
      channel.log.warn({ bytes: text.length }, 'ignored a frame that is not {"type", "message"} in JSON')
      return
    }
    this.#step(channel, { kind: 'frame', frame })
  }

  closed(instanceId: string, peer: Peer, code: number): void {
    const channel = this.#channelOf(instanceId, peer)
    if (channel === undefined) return
    this.#channels.delete(instanceId)
    const isInactive = this.#services.turn.reader.get('instance', instanceId)?.status === 'INACTIVE'
    if (!isInactive) this.#credentials.set(instanceId, channel.session.credentials)
    channel.log.info({ code }, 'control channel closed')
    if (!channel.settled) this.#await(instanceId, this.#services.clock.now())
  }

  /** To be called about once a second. */
  tick(): void {
    for (const channel of this.#channels.values()) this.#step(channel, { kind: 'tick' })
    const now = this.#services.clock.now()
    for (const [instanceId, { since, until }] of this.#awaited) {
      if (now < until) continue
      this.#awaited.delete(instanceId)
      this.#credentials.delete(instanceId)
      this.#lose(instanceId, since)
    }
  }

  /**
   * Instances that ought to have been heard at least `silenceMs` ago and were not, though they still count as connected:
   * when each was last heard, or when its channel closed.
   */
  silences(silenceMs: number): ReadonlyMap<string, number> {
    const until = this.#services.clock.now() - silenceMs
    const silences = new Map<string, number>()
    for (const [instanceId, { heardAt }] of this.#channels) if (heardAt <= until) silences.set(instanceId, heardAt)
    for (const [instanceId, { since }] of this.#awaited) if (since <= until) silences.set(instanceId, since)
    return silences
  }

  /** Sends an agent a message of Gantry's own, beside its session. */
  send(instanceId: string, type: string, message: object): Sent {
    const channel = this.#channels.get(instanceId)
    if (channel?.session.open !== true) return 'away'
    if (this.#services.turn.reader.get('instance', instanceId)?.gantryProtocol !== true) return 'foreign'
    channel.peer.send(writeFrame(type, message))
    return 'sent'
  }

  heardAt(instanceId: string): number | undefined {
    return this.#channels.get(instanceId)?.heardAt
  }

  #channelOf(instanceId: string, peer: Peer): Channel | undefined {
    const channel = this.#channels.get(instanceId)
    return channel?.peer === peer ? channel : undefined
  }

  #await(instanceId: string, since: number): void {
    this.#awaited.set(instanceId, { since, until: disconnectDueAt(since, this.readyAt) })
  }

  #lose(instanceId: string, since: number): void {
    const { turn, clock, log } = this.#services
    if (!turn.reader.get('instance', instanceId)?.agentConnected) return
    log.warn({ instance: instanceId }, 'the agent has not come back: it is disconnected')
    turn.submit(disconnectInput(instanceId, since)).catch((error: unknown) => {
      log.warn({ instance: instanceId, err: error }, 'could not write down that the agent is disconnected')
      // Level-triggered: while it is neither back nor written down, it stays awaited.
      const until = disconnectDueAt(clock.now(), this.readyAt)
      if (!this.#channels.has(instanceId)) this.#awaited.set(instanceId, { since, until })
    })
  }

  #committed(changes: readonly Change[]): void {
    const instanceIds = new Set<string>()
    if (changes.some(isLifeOfRole)) {
      for (const channel of this.#channels.values()) this.#step(channel, { kind: 'rolesChanged' })
    }
    for (const change of changes) {
      if (change.table === 'instance') instanceIds.add(change.key)
      if (change.table === 'task') {
        const row = (change.row ?? change.before) as Change<'task'>['row']
        if (row !== undefined) instanceIds.add(row.instanceId)
      }
    }
    for (const instanceId of instanceIds) {
      const channel = this.#channels.get(instanceId)
      if (channel !== undefined) this.#step(channel, { kind: 'committed' })
    }
  }

  #step(channel: Channel, event: SessionEvent): void {
    if (channel.settled) return
    const { turn, world, clock, mintCredentials, keysLifeMs, access } = this.#services
    const view = { reader: turn.reader, world, now: clock.now(), mintCredentials, keysLifeMs, access }
    const { session, effects } = stepSession(channel.session, event, view)
    channel.session = session
    for (const effect of effects) this.#perform(channel, effect)
  }

  #perform(channel: Channel, effect: SessionEffect): void {
    switch (effect.kind) {
      case 'send':
        channel.peer.send(writeFrame(effect.type, effect.message))
        break
      case 'log':
        channel.log[effect.level](effect.facts ?? {}, effect.message)
        break
      case 'submit':
        this.#submit(channel, effect)
        break
      case 'close':
        // The session said itself what its end means, or the closing leads back to the wait for a reconnect.
        channel.peer.close(effect.code, effect.reason)
        break
    }
  }

  #submit(channel: Channel, { input, change }: SessionEffect & { readonly kind: 'submit' }): void {
    channel.inputsWaiting += 1
    if (channel.inputsWaiting >= this.#waitingMax() && !channel.paused) {
      channel.paused = true
      channel.peer.pause()
    }
    const settle = (event: SessionEvent | undefined): void => {
      channel.inputsWaiting -= 1
      if (channel.paused && channel.inputsWaiting < this.#waitingMax() / 2) {
        channel.paused = false
        channel.peer.resume()
      }
      if (event !== undefined) this.#step(channel, event)
    }
    this.#inputs.submit(input).then(
      () => settle(change === undefined ? undefined : { kind: 'submitted', change }),
      (error: unknown) => {
        if (error instanceof OwnershipError) {
          this.#services.hosts.refusedOnChannel(channel.session.instanceId, 'control', error.foreign)
        }
        settle(eventOfFailure(error, change))
      },
    )
  }

  #waitingMax(): number {
    return this.#inputs.waiting === 0 ? inputsWaitingMax : inputsWaitingMaxBusy
  }
}

/** A role came or went, or its sessions were revoked; not that it was used. */
function isLifeOfRole({ table, before, row }: Change): boolean {
  if (table !== 'role') return false
  const [was, is] = [before as Change<'role'>['row'], row as Change<'role'>['row']]
  return was?.RoleId !== is?.RoleId || was?.revocationEpoch !== is?.revocationEpoch
}

/** A refusal is for good; trouble of ours is not, and the agent shall come again with what it has. */
function eventOfFailure(error: unknown, change: string | undefined): SessionEvent {
  const reason = messageOf(error)
  const isRefusal = isApiError(error) && error.httpStatus < 500 && error.code !== 'ThrottlingException'
  if (isRefusal && change !== undefined) return { kind: 'refused', change, reason }
  return { kind: 'failed', reason }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
