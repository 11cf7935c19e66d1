/**
 * The rows of hosts: who joined with which token, their keys, and what happened around them. A token is kept as its hash
 * and a key's secret sealed, so that the rows let nobody in.
 */
import { sealingKeyOf } from './vault.ts'

/** Key: the host's id, `host-` and 17 hex digits. Instants are epoch milliseconds. */
export interface HostRow {
  readonly hostId: string
  /** As the host calls itself, for people. */
  readonly name: string
  /** The only cluster in which it may register an instance. */
  readonly clusterName: string
  readonly joinedAt: number
  /** Of the token that let it in. */
  readonly tokenId: string
  /** The ARN of whoever made the token. */
  readonly invitedBy: string
  /** The only address from which its keys may be used; absent: any. */
  readonly bindAddress?: string | undefined
  /** Addresses that its keys were used from, the one it joined from first; the newest few. */
  readonly addresses: readonly string[]
  /** Written down some time after it happened: a call costs no write. */
  readonly lastSeenAt: number
  readonly lastAddress: string
  /** An instance of before that it may take over. */
  readonly adoptsInstanceId?: string | undefined
  /** When it did: from then on it can't once more. */
  readonly adoptedAt?: number | undefined
  readonly revokedAt?: number | undefined
  /** The ARN of whoever revoked it. */
  readonly revokedBy?: string | undefined
}

/** Key: the access key's id. */
export interface HostKeyRow {
  readonly accessKeyId: string
  readonly hostId: string
  /** The secret access key, sealed by the vault with `hostKeyContext` of its id. */
  readonly sealedSecret: string
  readonly createdAt: number
  /** When it was first used; one that never was may be forgotten for another. */
  readonly usedAt?: number | undefined
  /** Set once it was changed for another: from then on it is good for asking for new keys alone. */
  readonly endsAt?: number | undefined
}

/** Key: the token's id, 12 hex digits. Kept for a while after its end, so that a late use can be told why it is refused. */
export interface JoinTokenRow {
  readonly tokenId: string
  /** SHA-256 of the whole token. */
  readonly tokenHash: string
  readonly clusterName: string
  readonly createdAt: number
  readonly createdBy: string
  readonly expiresAt: number
  readonly bindAddress?: string | undefined
  readonly adoptsInstanceId?: string | undefined
  readonly usedAt?: number | undefined
  readonly usedByHostId?: string | undefined
  readonly usedFrom?: string | undefined
}

export const hostActionNames = [
  'HOST_JOINED',
  'JOIN_REFUSED',
  'HOST_REVOKED',
  'HOST_FORGOTTEN',
  'KEYS_CHANGED',
  'ADDRESS_CHANGED',
  'KEY_REFUSED',
  'FOREIGN_RESOURCE_REFUSED',
] as const
export type HostActionName = (typeof hostActionNames)[number]

/** Key: its instant in 14 digits and some hex, so that keys are in the order of time. The newest thousand are kept. */
export interface HostEventRow {
  readonly eventId: string
  readonly name: HostActionName
  readonly message: string
  readonly at: number
  /** How often it happened since the event before it of this kind, host and address. */
  readonly count: number
  readonly hostId?: string | undefined
  readonly clusterName?: string | undefined
  readonly tokenId?: string | undefined
  readonly sourceAddress?: string | undefined
}

export interface HostTables {
  host: HostRow
  hostKey: HostKeyRow
  joinToken: JoinTokenRow
  hostEvent: HostEventRow
}

export const hostIndexes = {
  host: {
    byCluster: (row: HostRow) => row.clusterName,
  },
  hostKey: {
    byHost: (row: HostKeyRow) => row.hostId,
    bySealingKey: (row: HostKeyRow) => sealingKeyOf(row.sealedSecret),
  },
  joinToken: {},
  hostEvent: {},
} as const

/** What a host's secret is sealed with. */
export function hostKeyContext(accessKeyId: string): string {
  return `host/access-key/${accessKeyId}`
}
