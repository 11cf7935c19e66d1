/** Finding hosts, and what they are called. */
import { ApiError } from '../../proto/errors.ts'
import type { HostRow } from '../state/host-tables.ts'
import type { InstanceRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import type { Principal } from './principal.ts'

/** The name that hosts go by in ARNs: as if each had assumed this role. */
export const hostRoleName = 'gantry-host'
/** The host whose key is the file of the first start. */
export const localHostId = 'local'
export function hostArn(account: string, hostId: string): string {
  return `arn:aws:sts::${account}:assumed-role/${hostRoleName}/${hostId}`
}

export function liveInstancesOf(reader: Reader, hostId: string): readonly InstanceRow[] {
  return reader.find('instance', 'byHost', hostId).filter(({ status }) => status !== 'INACTIVE')
}

/**
 * Who speaks for an instance: the joined host, or the user or role that registered it, by IAM's unique id; `local` where the
 * key of the first start or root did.
 */
export function ownerOf({ hostId, registeredBy }: Pick<InstanceRow, 'hostId' | 'registeredBy'>): string {
  return hostId ?? registeredBy ?? localHostId
}

/** As what a caller owns instances; undefined for root, who is asked for nothing. */
export function ownerIdOf({ kind, hostId, userId }: Principal): string | undefined {
  if (kind === 'root') return undefined
  return kind === 'host' ? hostId : userId.split(':')[0]
}

export function isJoinedHost(ownerId: string): boolean {
  return ownerId.startsWith('host-')
}

/** For sentences. */
export function shownOwner(ownerId: string): string {
  return ownerId === localHostId || isJoinedHost(ownerId) ? `host ${ownerId}` : `the user or role ${ownerId}`
}

/** Throws ResourceNotFoundException. */
export function requireHost(reader: Reader, hostId: string): HostRow {
  const host = reader.get('host', hostId)
  if (host !== undefined) return host
  throw new ApiError('ResourceNotFoundException', `There is no host ${JSON.stringify(hostId.slice(0, 100))}.`)
}

/** Said only to whoever holds the host's secret. */
export function revokedError(host: HostRow): ApiError {
  return new ApiError(
    'UnrecognizedClientException',
    `The security token included in the request is invalid: host ${host.hostId} was revoked at ` +
      `${isoOf(host.revokedAt ?? 0)}. To use the machine again, join it with a new token (npx gantry join-token on the ` +
      'controller).',
  )
}

function isoOf(epochMs: number): string {
  return new Date(epochMs).toISOString()
}
