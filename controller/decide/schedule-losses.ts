/**
 * The tick's part in lost instances: it says which instances count as lost, before any service is decided in the same
 * turn, and pauses replacement in a cluster where too many vanish at once.
 */
import type { World } from '../../proto/world.ts'
import type { ClusterRow, InstanceRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import {
  type InstanceSight,
  lostAfterMsDefault,
  type MassLoss,
  massLossOf,
  returnPatienceMs,
  returnSettleMs,
} from './instance-loss.ts'
import { announcePause } from './pause-events.ts'
import { startGraceMs } from './session.ts'

/** What the tick is told by the channels of the agents. */
export interface AgentSilence {
  /** When this controller was ready for agents, epoch milliseconds. */
  readonly readyAt: number
  /** Connected instances that said nothing for `suspectAfterMs` or longer: since when. */
  readonly silences: ReadonlyMap<string, number>
}

/** Answers how many rows it wrote. `rowsMax` bounds the losses and the events of one tick. */
export function scheduleLosses(
  tx: Transaction,
  { readyAt, silences }: AgentSilence,
  rowsMax: number,
  now: number,
  world: World,
): number {
  // First, so that no pause ends while tasks that are back still count as lost, and would be replaced.
  let written = takeBack(tx, now) + endPatience(tx, now)
  const due = tx.find('instance', 'away', 'away').filter((row) => isDue(tx, row, readyAt, now))
  const names = new Set([
    ...due.map(({ clusterName }) => clusterName),
    ...tx.find('cluster', 'paused', 'paused').map(({ clusterName }) => clusterName),
  ])
  for (const name of names) {
    const cluster = tx.get('cluster', name)
    if (cluster === undefined) continue
    const mine = due.filter(({ clusterName }) => clusterName === name)
    const mass = massLossOf(sightsOf(tx, name, new Set(mine), silences), cluster)
    if (mass !== undefined || !isComingBack(tx, cluster)) written += pauseFor(tx, cluster, mass, now)
    // All at once, however many: those that are left for later would be replaced in between.
    for (const row of mine) tx.put('instance', row.instanceId, { ...row, lostSince: now })
    written += mine.length
    if (mass !== undefined) written += announcePause(tx, name, mass, rowsMax - written, now, world)
  }
  return written
}

/** Instances that came back have told by now what became of their tasks: what runs there counts again. */
function takeBack(tx: Transaction, now: number): number {
  const settled = tx
    .find('instance', 'returned', 'returned')
    .filter(({ returnedAt = now }) => returnedAt + returnSettleMs <= now)
  for (const row of settled) {
    tx.put('instance', row.instanceId, { ...row, lostSince: undefined, silentSince: undefined, returnedAt: undefined })
  }
  return settled.length
}

/** Whoever is away when the patience with them ends is replaced. It ends as well once nobody is away any more. */
function endPatience(tx: Transaction, now: number): number {
  const over = tx
    .find('cluster', 'awaiting', 'awaiting')
    .filter(({ clusterName, returnsAwaited: { until } = { until: now } }) => until <= now || !hasAway(tx, clusterName))
  for (const cluster of over) tx.put('cluster', cluster.clusterName, { ...cluster, returnsAwaited: undefined })
  return over.length
}

/** Instances that were there once and are not, or that are back and have yet to tell. */
function hasAway(tx: Transaction, clusterName: string): boolean {
  const isOurs = (row: InstanceRow): boolean => row.clusterName === clusterName && row.connectivityAt !== undefined
  return tx.find('instance', 'away', 'away').some(isOurs) || tx.find('instance', 'returned', 'returned').some(isOurs)
}

/** Lost is who was there once and has been silent for longer than the cluster bears; a restart gives everyone a minute. */
function isDue(tx: Transaction, row: InstanceRow, readyAt: number, now: number): boolean {
  if (row.lostSince !== undefined || row.connectivityAt === undefined) return false
  const { lostAfterMs = lostAfterMsDefault } = tx.get('cluster', row.clusterName) ?? {}
  return now >= Math.max((row.silentSince ?? row.connectivityAt) + lostAfterMs, readyAt + startGraceMs)
}

/**
 * The instances by which the loss of many is judged: not those that never had an agent, and not those that drain, since an
 * operator who drains hosts may well switch them off together.
 */
function sightsOf(
  tx: Transaction,
  clusterName: string,
  due: ReadonlySet<InstanceRow>,
  silences: ReadonlyMap<string, number>,
): readonly InstanceSight[] {
  return tx
    .find('instance', 'byCluster', clusterName)
    .filter(({ status, connectivityAt }) => status === 'ACTIVE' && connectivityAt !== undefined)
    .map((row) => ({
      silentSince:
        row.agentConnected && row.returnedAt === undefined
          ? silences.get(row.instanceId)
          : (row.silentSince ?? row.connectivityAt),
      isDue: due.has(row),
    }))
}

/**
 * True while instances of a paused cluster are back and have yet to tell: they come one after the other, and what runs on
 * the later ones would be started again when the first of them count.
 */
function isComingBack(tx: Transaction, { clusterName, replacementPausedSince }: ClusterRow): boolean {
  if (replacementPausedSince === undefined) return false
  return tx.find('instance', 'returned', 'returned').some((row) => row.clusterName === clusterName)
}

/** Writes the pause, or its end. Then those that are still away get their time: outages heal for one host after the other. */
function pauseFor(tx: Transaction, cluster: ClusterRow, mass: MassLoss | undefined, now: number): number {
  const { clusterName, replacementPausedSince, lossWindowSince, returnsAwaited } = cluster
  if (mass?.windowSince === lossWindowSince) return 0
  const isEnd = mass === undefined && lossWindowSince !== undefined && hasAway(tx, clusterName)
  tx.put('cluster', clusterName, {
    ...cluster,
    replacementPausedSince: mass === undefined ? undefined : (replacementPausedSince ?? now),
    lossWindowSince: mass?.windowSince,
    returnsAwaited: isEnd
      ? { since: lossWindowSince, pausedUntil: now, until: now + returnPatienceMs }
      : returnsAwaited,
  })
  return 1
}
