/**
 * Stands between the signature and everything else, for hosts: whose keys they are and from where they are used, that a host
 * asks for its own alone, and when it was last seen. What it refuses is written down.
 */
import { hostKeysPath } from '../proto/joining.ts'
import { ApiError } from '../proto/errors.ts'
import { previousKeyError } from './access/host-caller.ts'
import { hostEvent } from './access/host-events.ts'
import { OwnershipError, requireInstanceOf, requireOwn } from './access/host-ownership.ts'
import { hostKeyUsed, hostSeen, localHostId } from './access/hosts.ts'
import type { Principal } from './access/principal.ts'
import type { Authenticator, SignedRequest } from './api/auth.ts'
import { isLoopback } from './config.ts'
import type { HostNotes } from './host-notes.ts'
import type { HostRow } from './state/host-tables.ts'
import type { InstanceRow } from './state/tables.ts'
import type { Turn } from './turn.ts'
import type { Log } from './log.ts'

export interface HostGuard {
  /** The authenticator, with what is asked of hosts beyond their signature. */
  readonly authenticator: Authenticator
  /** Throws OwnershipError for a call of a host that names what is another's; nothing for other callers. */
  requireOwn(principal: Principal, operation: string, input: unknown): void
  /** The same for an instance whose channel a host wants to open. */
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

export function guardHosts({ turn, clock, log, notes, authenticator }: HostGuardServices): HostGuard {
  const { reader } = turn
  const seenAt = new Map<string, number>()
  /** Writings that are on their way, so that each is asked for once. */
  const writing = new Set<string>()
  const write = (key: string, input: Parameters<Turn['submit']>[0]): void => {
    if (writing.has(key)) return
    writing.add(key)
    turn
      .submit(input)
      .catch((error: unknown) => log.warn({ err: error, key }, 'what is known of a host could not be written down'))
      .finally(() => writing.delete(key))
  }
  const refuse = (
    host: Pick<HostRow, 'hostId'> & Partial<HostRow>,
    from: string,
    message: string,
    now: number,
  ): never => {
    const { hostId, clusterName } = host
    notes.note(hostEvent('KEY_REFUSED', message, { hostId, clusterName, sourceAddress: from }), now)
    throw new ApiError('AccessDeniedException', message)
  }
  const admit = (principal: Principal, request: SignedRequest, now: number): void => {
    const { hostId = '', accessKeyId } = principal
    const from = request.sourceAddress
    if (hostId === localHostId) {
      if (isLoopback(from)) return
      refuse(
        { hostId },
        from,
        `The key of the file agent-credentials was used from ${from}, and is good on the controller's own machine alone. ` +
          'Let other hosts join: npx gantry join-token prints the line for each. If nobody meant to use it there, delete ' +
          'the file and start the controller again: it makes another key.',
        now,
      )
    }
    const host = reader.get('host', hostId)
    const key = reader.get('hostKey', accessKeyId)
    if (host === undefined || key === undefined) return
    if (host.bindAddress !== undefined && host.bindAddress !== from) {
      const said = `The keys of host ${hostId} are good from ${host.bindAddress} alone, and were used from ${from}.`
      refuse(host, from, said, now)
    }
    const isForKeys = request.path.split('?')[0] === hostKeysPath
    if (key.endsAt !== undefined && now >= key.endsAt && !isForKeys) throw previousKeyError(key.endsAt)
    if (key.usedAt === undefined) {
      write(accessKeyId, { name: 'hostKeyUsed', run: (tx, at, world) => hostKeyUsed(tx, accessKeyId, at, world) })
    }
    if (now - (seenAt.get(hostId) ?? host.lastSeenAt) >= 0) seenAt.set(hostId, now)
    if (!host.addresses.includes(from) || now - host.lastSeenAt >= seenWriteMs) {
      write(`${hostId} ${from}`, { name: 'hostSeen', run: (tx, at, world) => hostSeen(tx, hostId, from, at, world) })
    }
  }
  const noting = (principal: Principal, what: string, check: () => void): void => {
    try {
      check()
    } catch (error) {
      if (error instanceof OwnershipError) {
        const { hostId } = principal
        const message = `host ${hostId ?? ''} was refused ${what} of ${error.foreign}: ${error.message}`
        notes.note(hostEvent('FOREIGN_RESOURCE_REFUSED', message, { hostId }), clock.now())
      }
      throw error
    }
  }
  return {
    authenticator: {
      authenticate(request, now) {
        const principal = authenticator.authenticate(request, now)
        if (principal.kind === 'host') admit(principal, request, now)
        return principal
      },
    },
    requireOwn(principal, operation, input) {
      const { kind, hostId = '' } = principal
      if (kind === 'host') noting(principal, operation, () => requireOwn(reader, hostId, operation, input))
    },
    requireOwnInstance(principal, instance) {
      const { kind, hostId = '' } = principal
      if (kind === 'host') noting(principal, 'a channel', () => requireInstanceOf(instance, hostId))
    },
    refusedOnChannel(instanceId, channel, foreign) {
      const instance = reader.get('instance', instanceId)
      const hostId = instance?.hostId ?? localHostId
      const named = foreign.slice(0, 300)
      const message = `the agent of container instance ${instanceId} (host ${hostId}) spoke on its ${channel} channel of ${named}, which is not its own: refused`
      const facts = { hostId, clusterName: instance?.clusterName }
      notes.note(hostEvent('FOREIGN_RESOURCE_REFUSED', message, facts), clock.now())
    },
    lastSeenAt: ({ hostId, lastSeenAt }) => Math.max(seenAt.get(hostId) ?? 0, lastSeenAt),
  }
}
