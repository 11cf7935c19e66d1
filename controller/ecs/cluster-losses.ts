/** What an operator says of lost container instances: how long one may be silent, and that a pause shall end. */
import { invalidParameter } from '../../proto/errors.ts'
import { lostAfterMsMax, lostAfterMsMin } from '../decide/instance-loss.ts'
import type { ClusterRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'

/**
 * How long an instance of the cluster may be silent before its tasks are replaced, milliseconds; `null` takes the default
 * back. InvalidParameterException outside of the bounds, ClusterNotFoundException.
 */
export function setLostAfter(tx: Transaction, nameOrArn: string, lostAfterMs: number | null): ClusterRow {
  const cluster = requireCluster(tx, nameOrArn)
  const isInBounds =
    lostAfterMs === null ||
    (Number.isInteger(lostAfterMs) && lostAfterMs >= lostAfterMsMin && lostAfterMs <= lostAfterMsMax)
  if (!isInBounds) {
    throw invalidParameter(
      `lostAfterMs is ${lostAfterMs}, and has to be a whole number of milliseconds from ${lostAfterMsMin} (three missed ` +
        `heartbeats; sooner no silence can be told from a slow network) to ${lostAfterMsMax} (a day), or null for the default.`,
    )
  }
  const next: ClusterRow = { ...cluster, lostAfterMs: lostAfterMs ?? undefined }
  tx.put('cluster', cluster.clusterName, next)
  return next
}

/**
 * The instances that are silent now are gone, an operator says: their tasks are replaced however many they are. One that
 * comes back keeps the tasks that were not replaced yet. Said while nothing is held back it changes nothing.
 */
export function resumeReplacement(tx: Transaction, nameOrArn: string, now: number): ClusterRow {
  const cluster = requireCluster(tx, nameOrArn)
  if (cluster.replacementPausedSince === undefined && cluster.returnsAwaited === undefined) return cluster
  const next: ClusterRow = {
    ...cluster,
    replacementPausedSince: undefined,
    lossWindowSince: undefined,
    returnsAwaited: undefined,
    lossesAcceptedAt: now,
  }
  tx.put('cluster', cluster.clusterName, next)
  return next
}
