/** Hosts that joined: how they come to keys of their own, change them, and lose them. */
import { ApiError, isApiError } from '../../proto/errors.ts'
import { previousKeysLifeMs } from '../../proto/joining.ts'
import type { World } from '../../proto/world.ts'
import { agentDisconnected } from '../ecs/submit.ts'
import { type HostKeyRow, hostKeyContext, type HostRow } from '../state/host-tables.ts'
import type { InstanceRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import type { Vault } from '../state/vault.ts'
import { addHostEvent, hostEvent } from './host-events.ts'
import { liveInstancesOf, requireHost, revokedError } from './host-lookup.ts'
import { judgeJoinToken } from './join-tokens.ts'
import { newAccessKeyId, newSecretAccessKey } from './key-ids.ts'

/** Addresses that are remembered of a host. */
const addressesMax = 10

export interface KeyPair {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

export interface Surroundings {
  readonly now: number
  readonly world: World
  readonly vault: Vault
}

export interface JoiningHost {
  readonly token: string
  readonly name: string
  readonly cluster: string | undefined
  readonly sourceAddress: string
}

/** Throws the refusal that the bearer of the token is told. */
export function joinHost(
  tx: Transaction,
  joining: JoiningHost,
  { now, world, vault }: Surroundings,
): { readonly host: HostRow; readonly keys: KeyPair } {
  const { token, name, cluster, sourceAddress } = joining
  const judged = judgeJoinToken(tx, token, { cluster, sourceAddress }, now)
  if (isApiError(judged)) throw judged
  const hostId = `host-${world.hex(17)}`
  const host: HostRow = {
    hostId,
    name,
    clusterName: judged.clusterName,
    joinedAt: now,
    tokenId: judged.tokenId,
    invitedBy: judged.createdBy,
    bindAddress: judged.bindAddress,
    addresses: [sourceAddress],
    lastSeenAt: now,
    lastAddress: sourceAddress,
    adoptsInstanceId: judged.adoptsInstanceId,
  }
  tx.put('host', hostId, host)
  tx.put('joinToken', judged.tokenId, { ...judged, usedAt: now, usedByHostId: hostId, usedFrom: sourceAddress })
  const keys = addKeys(tx, hostId, { now, world, vault })
  const message = `host ${hostId} (${name}) joined cluster ${host.clusterName} from ${sourceAddress}`
  addHostEvent(tx, hostEvent('HOST_JOINED', message, factsOf(host, sourceAddress)), now)
  return { host, keys }
}

/**
 * A new pair beside the one that signed, which from then on lives for an hour, and after that is good for asking for new
 * keys alone: so an answer that was lost never locks a host out. A new pair that was never used is forgotten for another.
 */
export function changeHostKeys(
  tx: Transaction,
  hostId: string,
  signedWith: string,
  { now, world, vault }: Surroundings,
): { readonly host: HostRow; readonly keys: KeyPair; readonly previousEndsAt: number } {
  const host = requireHost(tx, hostId)
  if (host.revokedAt !== undefined) throw revokedError(host)
  const previousEndsAt = now + previousKeysLifeMs
  const signing = tx.get('hostKey', signedWith)
  if (signing?.hostId !== hostId) throw unknownKey()
  for (const key of tx.find('hostKey', 'byHost', hostId)) {
    if (key.accessKeyId !== signedWith) tx.delete('hostKey', key.accessKeyId)
  }
  tx.put('hostKey', signedWith, { ...signing, usedAt: signing.usedAt ?? now, endsAt: previousEndsAt })
  return { host, keys: addKeys(tx, hostId, { now, world, vault }), previousEndsAt }
}

/** The pair was used for the first time: the one before it is over. */
export function hostKeyUsed(tx: Transaction, accessKeyId: string, now: number): void {
  const key = tx.get('hostKey', accessKeyId)
  if (key === undefined || key.usedAt !== undefined) return
  tx.put('hostKey', accessKeyId, { ...key, usedAt: now })
  const others = tx.find('hostKey', 'byHost', key.hostId).filter((each) => each.accessKeyId !== accessKeyId)
  for (const other of others) tx.delete('hostKey', other.accessKeyId)
  const host = tx.get('host', key.hostId)
  if (others.length === 0 || host === undefined) return
  const message = `host ${host.hostId} (${host.name}) changed its keys; the old ones are over`
  addHostEvent(tx, hostEvent('KEYS_CHANGED', message, factsOf(host)), now)
}

/** When and from where the host was last seen; a new address is told. */
export function hostSeen(tx: Transaction, hostId: string, from: string, now: number): void {
  const host = tx.get('host', hostId)
  if (host === undefined) return
  const isNew = !host.addresses.includes(from)
  const addresses = isNew ? [...host.addresses, from].slice(-addressesMax) : host.addresses
  tx.put('host', hostId, { ...host, addresses, lastAddress: from, lastSeenAt: now })
  if (!isNew) return
  const message =
    `the keys of host ${hostId} (${host.name}) are used from ${from}, before from ${host.addresses.join(', ')}. If the ` +
    `host has not moved, someone else has its keys: npx gantry hosts revoke ${hostId}`
  addHostEvent(tx, hostEvent('ADDRESS_CHANGED', message, factsOf(host, from)), now)
}

/** The host that has the instance from now on has used what its token allowed. */
export function instanceTakenOver(tx: Transaction, { instanceId, hostId }: InstanceRow, now: number): void {
  const host = hostId === undefined ? undefined : tx.get('host', hostId)
  if (host?.adoptsInstanceId === instanceId) tx.put('host', host.hostId, { ...host, adoptedAt: now })
}

/** Ends a host's keys for good; a repeat changes nothing. Throws ResourceNotFoundException. */
export function revokeHost(tx: Transaction, hostId: string, by: string, now: number): HostRow {
  const host = requireHost(tx, hostId)
  if (host.revokedAt !== undefined) return host
  const revoked: HostRow = { ...host, revokedAt: now, revokedBy: by }
  tx.put('host', hostId, revoked)
  for (const { instanceId } of liveInstancesOf(tx, hostId)) {
    agentDisconnected(tx, instanceId, now)
    const instance = tx.get('instance', instanceId)
    const statusReason = `Host ${hostId} was revoked at ${isoOf(now)}: its keys are over, and its agent can't come back.`
    if (instance !== undefined) {
      tx.put('instance', instanceId, { ...instance, statusReason, version: instance.version + 1 })
    }
  }
  const message = `host ${hostId} (${host.name}) was revoked by ${by}`
  addHostEvent(tx, hostEvent('HOST_REVOKED', message, factsOf(host)), now)
  return revoked
}

/** Forgets a revoked host whose instance is gone. Throws ResourceNotFoundException and ResourceInUseException. */
export function forgetHost(tx: Transaction, hostId: string, by: string, now: number): void {
  const host = requireHost(tx, hostId)
  if (host.revokedAt === undefined) {
    throw new ApiError(
      'ResourceInUseException',
      `Host ${hostId} (${host.name}) can still use its keys: revoke it first (npx gantry hosts revoke ${hostId}).`,
    )
  }
  const [instance] = liveInstancesOf(tx, hostId)
  if (instance !== undefined) {
    throw new ApiError(
      'ResourceInUseException',
      `Host ${hostId} (${host.name}) holds the container instance ${instance.instanceId}: deregister that first (aws ecs ` +
        `deregister-container-instance --cluster ${instance.clusterName} --container-instance ${instance.instanceId} --force).`,
    )
  }
  for (const { accessKeyId } of tx.find('hostKey', 'byHost', hostId)) tx.delete('hostKey', accessKeyId)
  tx.delete('host', hostId)
  const message = `host ${hostId} (${host.name}) was forgotten by ${by}`
  addHostEvent(tx, hostEvent('HOST_FORGOTTEN', message, factsOf(host)), now)
}

function unknownKey(): ApiError {
  return new ApiError('UnrecognizedClientException', 'The security token included in the request is invalid.')
}

function addKeys(tx: Transaction, hostId: string, { now, world, vault }: Surroundings): KeyPair {
  const keys: KeyPair = { accessKeyId: newAccessKeyId(world), secretAccessKey: newSecretAccessKey(world) }
  const row: HostKeyRow = {
    accessKeyId: keys.accessKeyId,
    hostId,
    sealedSecret: vault.seal(keys.secretAccessKey, hostKeyContext(keys.accessKeyId)),
    createdAt: now,
  }
  tx.put('hostKey', keys.accessKeyId, row)
  return keys
}

function factsOf({ hostId, clusterName, tokenId }: HostRow, sourceAddress?: string) {
  return { hostId, clusterName, tokenId, ...(sourceAddress !== undefined && { sourceAddress }) }
}

function isoOf(epochMs: number): string {
  return new Date(epochMs).toISOString()
}
