/** Join tokens: each lets one host into one cluster, within its time. */
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import { hashJoinToken, isJoinToken, joinTokenId, writeJoinToken } from '../../proto/joining.ts'
import type { World } from '../../proto/world.ts'
import type { JoinTokenRow } from '../state/host-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { isSameAddress, parseIpAddress } from './ip-range.ts'

export interface JoinTokenWish {
  readonly clusterName: string
  /** Milliseconds; absent: an hour. */
  readonly lifeMs?: number | undefined
  /** The only address that the token and the host's keys are good from. */
  readonly bindAddress?: string | undefined
  /** An instance that the host may take over, such as the one that it was before it joined. */
  readonly adoptsInstanceId?: string | undefined
}

export const tokenLifeMs = { least: 60_000, usual: 3_600_000, most: 7 * 86_400_000 } as const
/** How long an ended token is remembered, so that a late use is told what happened. */
const endedKeptMs = 7 * 86_400_000
/** Tokens that are remembered; far beyond a person's need. */
const tokensMax = 1000

/** The token itself is in the answer alone. Throws ApiError for a wish that can't be. */
export function createJoinToken(
  tx: Transaction,
  wish: JoinTokenWish,
  by: string,
  now: number,
  world: World,
): { readonly row: JoinTokenRow; readonly token: string } {
  const { clusterName, lifeMs = tokenLifeMs.usual, bindAddress, adoptsInstanceId } = wish
  checkWish(tx, wish, lifeMs)
  forgetEnded(tx, now)
  if (tx.all('joinToken').length >= tokensMax) {
    throw new ApiError(
      'LimitExceededException',
      `There are ${tokensMax} join tokens already: delete those that are not needed (npx gantry join-token --list).`,
    )
  }
  const tokenId = world.hex(12)
  const token = writeJoinToken(tokenId, world.hex(40))
  const row: JoinTokenRow = {
    tokenId,
    tokenHash: hashJoinToken(token),
    clusterName,
    createdAt: now,
    createdBy: by,
    expiresAt: now + lifeMs,
    ...(bindAddress !== undefined && { bindAddress }),
    ...(adoptsInstanceId !== undefined && { adoptsInstanceId }),
  }
  tx.put('joinToken', tokenId, row)
  return { row, token }
}

/** Throws ResourceNotFoundException. */
export function deleteJoinToken(tx: Transaction, tokenId: string): void {
  if (tx.get('joinToken', tokenId) === undefined) {
    throw new ApiError('ResourceNotFoundException', `There is no join token ${JSON.stringify(tokenId.slice(0, 100))}.`)
  }
  tx.delete('joinToken', tokenId)
}

/** What is compared with where there is no such token, so that both take the same time. */
const noToken = '0'.repeat(64)

/**
 * The token as it may be used, or the refusal that is told to its bearer. Whoever does not hold the whole token learns
 * nothing but that it is not known.
 */
export function judgeJoinToken(
  reader: Reader,
  token: string,
  from: { readonly cluster: string | undefined; readonly sourceAddress: string },
  now: number,
): JoinTokenRow | ApiError {
  const row = reader.get('joinToken', joinTokenId(token) ?? '')
  const isRight = isJoinToken(token, row?.tokenHash ?? noToken)
  if (row === undefined || !isRight) {
    return new ApiError(
      'AccessDeniedException',
      'The join token is not known here: it was made by another controller, was deleted, or is not whole. Make a new one ' +
        'on the controller: npx gantry join-token',
    )
  }
  const again = 'Make a new one on the controller: npx gantry join-token'
  if (row.usedAt !== undefined) {
    return new ApiError(
      'AccessDeniedException',
      `The join token was used already, at ${isoOf(row.usedAt)} from ${row.usedFrom ?? 'an unknown address'} by host ` +
        `${row.usedByHostId ?? 'unknown'}: a token lets one host in. If that was not meant to be, revoke that host ` +
        `(npx gantry hosts revoke ${row.usedByHostId ?? 'ID'}). ${again}`,
    )
  }
  if (now >= row.expiresAt) {
    return new ApiError('ExpiredTokenException', `The join token expired at ${isoOf(row.expiresAt)}. ${again}`)
  }
  if (row.bindAddress !== undefined && !isSameAddress(row.bindAddress, from.sourceAddress)) {
    return new ApiError(
      'AccessDeniedException',
      `The join token is good from ${row.bindAddress} alone, and this call comes from ${from.sourceAddress}.`,
    )
  }
  if (from.cluster !== undefined && from.cluster !== row.clusterName) {
    return new ApiError(
      'InvalidClusterException',
      `The join token is for the cluster ${row.clusterName}, and this host means to join ${from.cluster}: set its ` +
        'ECS_CLUSTER, or make a token for that cluster (npx gantry join-token --cluster).',
    )
  }
  return row
}

function checkWish(
  tx: Transaction,
  { clusterName, bindAddress, adoptsInstanceId }: JoinTokenWish,
  lifeMs: number,
): void {
  const cluster = tx.get('cluster', clusterName)
  if (cluster === undefined || cluster.status === 'INACTIVE') {
    throw new ApiError('ClusterNotFoundException', `Cluster not found: ${clusterName.slice(0, 255)}.`)
  }
  if (!Number.isInteger(lifeMs) || lifeMs < tokenLifeMs.least || lifeMs > tokenLifeMs.most) {
    throw invalidParameter('expiresInSeconds takes a whole number of seconds from 60 to 604800 (7 days).')
  }
  if (bindAddress !== undefined && parseIpAddress(bindAddress) === undefined) {
    throw invalidParameter(`bindAddress takes an IP address, and is ${JSON.stringify(bindAddress.slice(0, 100))}.`)
  }
  if (adoptsInstanceId === undefined) return
  const instance = tx.get('instance', adoptsInstanceId)
  if (instance?.clusterName === clusterName && instance.status !== 'INACTIVE') return
  throw invalidParameter(
    `containerInstance: ${JSON.stringify(adoptsInstanceId.slice(0, 100))} is not a container instance of ${clusterName}.`,
  )
}

function forgetEnded(tx: Transaction, now: number): void {
  for (const { tokenId, expiresAt } of tx.all('joinToken')) {
    if (now >= expiresAt + endedKeptMs) tx.delete('joinToken', tokenId)
  }
}

function isoOf(epochMs: number): string {
  return new Date(epochMs).toISOString()
}
