/**
 * Stands between the signature and everything else, for hosts: whose keys they are and from where they are used, that a host
 * asks for its own alone, and when it was last seen. What it refuses is written down.
 */
import { hostKeysPath } from '../proto/joining.ts'
import { ApiError } from '../proto/errors.ts'
import { previousKeyError } from './access/host-caller.ts'
import { hostEvent } from './access/host-events.ts'
import { OwnershipError, reportOperations, requireChannelOf, requireOwn } from './access/host-ownership.ts'
import { isSameAddress } from './access/ip-range.ts'
import { localHostId, ownerIdOf, ownerOf, shownOwner } from './access/host-lookup.ts'
import { hostKeyUsed, hostSeen } from './access/hosts.ts'
import type { Principal } from './access/principal.ts'
import type { Authenticator, SignedRequest } from './api/auth.ts'
import { isLoopback } from './config.ts'
import type { HostNotes } from './host-notes.ts'
import type { Log } from './log.ts'
import type { HostKeyRow, HostRow } from './state/host-tables.ts'
import type { InstanceRow } from './state/tables.ts'
import type { Turn, TurnInput } from './turn.ts'

export interface HostGuard {
  /** The authenticator, with what is asked of hosts beyond their signature. */
  readonly authenticator: Authenticator
  /**
   * Throws OwnershipError for a call of a host that names what is another's, and for a report on another's task whoever
   * makes it; all else of other callers is for their policies to say.
   */
  requireOwn(principal: Principal, operation: string, input: unknown): void
  /** The same for an instance whose channel somebody wants to open: its owner alone may, whatever rights others have. */
  requireOwnInstance(principal: Principal, instance: InstanceRow): void
  /** An agent spoke of what is not its own on its channel, and was refused. */
  refusedOnChannel(instanceId: string, channel: string, foreign: string): void
  /** When the host's keys were last used, epoch milliseconds. */
  lastSeenAt(host: HostRow): number
}

export interface HostGuardServices {
  readonly turn: Turn
  readonly clock: { now(): number }
  readonly log: Log
  readonly notes: HostNotes
  readonly authenticator: Authenticator
}

/** That a host was seen is written down so seldom; in between it is in memory. */
const seenWriteMs = 10 * 60_000
/** So seldom a new address of a host is written down and told: one with an IPv6 network has a new one for each call. */
const newAddressMs = 60_000

export function guardHosts(services: HostGuardServices): HostGuard {
  return new Guard(services)
}

class Guard implements HostGuard {
  readonly #services: HostGuardServices
  readonly #seenAt = new Map<string, number>()
  /** When a new address of the host was last written down. */
  readonly #movedAt = new Map<string, number>()
  /** Writings that are on their way, so that each is asked for once. */
  readonly #writing = new Set<string>()
  readonly authenticator: Authenticator

  constructor(services: HostGuardServices) {
    this.#services = services
    this.authenticator = {
      authenticate: (request, now) => {
        const principal = services.authenticator.authenticate(request, now)
        if (principal.kind === 'host') this.#admit(principal, request, now)
        return principal
      },
      recheck: (principal) => services.authenticator.recheck(principal),
    }
  }

  requireOwn(principal: Principal, operation: string, input: unknown): void {
    const ownerId = ownerIdOf(principal)
    if (ownerId === undefined || (principal.kind !== 'host' && !reportOperations.has(operation))) return
    const { reader } = this.#services.turn
    this.#noting(principal.hostId ?? principal.arn, operation, () => requireOwn(reader, ownerId, operation, input))
  }

  requireOwnInstance(principal: Principal, instance: InstanceRow): void {
    this.#noting(principal.hostId ?? principal.arn, 'a channel', () => requireChannelOf(instance, principal))
  }

  refusedOnChannel(instanceId: string, channel: string, foreign: string): void {
    const { turn, notes, clock } = this.#services
    const instance = turn.reader.get('instance', instanceId)
    const hostId = instance === undefined ? localHostId : ownerOf(instance)
    const message =
      `the agent of container instance ${instanceId} (${shownOwner(hostId)}) spoke on its ${channel} channel of ` +
      `${foreign.slice(0, 300)}, which is not its own: refused`
    const facts = { hostId, clusterName: instance?.clusterName }
    notes.note(hostEvent('FOREIGN_RESOURCE_REFUSED', message, facts), clock.now())
  }

  lastSeenAt({ hostId, lastSeenAt }: HostRow): number {
    return Math.max(this.#seenAt.get(hostId) ?? 0, lastSeenAt)
  }

  /** Throws ApiError for a key that is used from where, or when, it must not be. */
  #admit({ hostId = '', accessKeyId }: Principal, { sourceAddress: from, path }: SignedRequest, now: number): void {
    if (hostId === localHostId) return this.#admitLocal(from, now)
    const { reader } = this.#services.turn
    const host = reader.get('host', hostId)
    const key = reader.get('hostKey', accessKeyId)
    if (host === undefined || key === undefined) return
    const { bindAddress, clusterName } = host
    if (bindAddress !== undefined && !isSameAddress(bindAddress, from)) {
      const message = `The keys of host ${hostId} are good from ${bindAddress} alone, and were used from ${from}.`
      this.#refuse(message, { hostId, clusterName, sourceAddress: from }, now)
    }
    const isForKeys = path.split('?')[0] === hostKeysPath
    if (key.endsAt !== undefined && now >= key.endsAt && !isForKeys) throw previousKeyError(key.endsAt)
    this.#see(host, key, from, now)
  }

  #admitLocal(from: string, now: number): void {
    if (isLoopback(from)) return
    this.#refuse(
      `The key of the file agent-credentials was used from ${from}, and is good on the controller's own machine alone. ` +
        'Let other hosts join: npx gantry join-token prints the line for each. If nobody meant to use it there, delete ' +
        'the file and start the controller again: it makes another key.',
      { hostId: localHostId, sourceAddress: from },
      now,
    )
  }

  #refuse(message: string, facts: Parameters<typeof hostEvent>[2], now: number): never {
    this.#services.notes.note(hostEvent('KEY_REFUSED', message, facts), now)
    throw new ApiError('AccessDeniedException', message)
  }

  #see(host: HostRow, { accessKeyId, usedAt }: HostKeyRow, from: string, now: number): void {
    const { hostId } = host
    this.#seenAt.set(hostId, now)
    if (usedAt === undefined) {
      this.#write(accessKeyId, { name: 'hostKeyUsed', run: (tx, at) => hostKeyUsed(tx, accessKeyId, at) })
    }
    if (host.addresses.includes(from)) {
      if (now - host.lastSeenAt < seenWriteMs) return
    } else {
      const sinceMs = now - (this.#movedAt.get(hostId) ?? Number.NEGATIVE_INFINITY)
      if (sinceMs >= 0 && sinceMs < newAddressMs) return
      this.#movedAt.set(hostId, now)
    }
    const key = `${hostId} ${from}`
    this.#write(key, { name: 'hostSeen', run: (tx, at) => hostSeen(tx, hostId, from, at) })
  }

  #write(key: string, input: TurnInput<void>): void {
    const { turn, log } = this.#services
    if (this.#writing.has(key)) return
    this.#writing.add(key)
    turn
      .submit(input)
      .catch((error: unknown) => log.warn({ err: error, key }, 'what is known of a host could not be written down'))
      .finally(() => this.#writing.delete(key))
  }

  /** `hostId`: or the ARN of a caller that is no host. */
  #noting(hostId: string, what: string, check: () => void): void {
    try {
      check()
    } catch (error) {
      if (error instanceof OwnershipError) {
        const who = hostId.startsWith('arn:') ? hostId : `host ${hostId}`
        const message = `${who} was refused ${what}: ${error.message}`
        this.#services.notes.note(
          hostEvent('FOREIGN_RESOURCE_REFUSED', message, { hostId }),
          this.#services.clock.now(),
        )
      }
      throw error
    }
  }
}
