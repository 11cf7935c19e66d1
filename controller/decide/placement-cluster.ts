/**
 * The instances of a cluster as placement sees them, kept from one decision to the next: each decision looks again only
 * at the instances that changed since, or that its own transaction changed. Rows and lists of rows are never changed in
 * place, so what was read of the same ones still holds.
 */
import type { ChangeLog } from '../state/change-logs.ts'
import type { InstanceRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { type Candidate, placementCandidates, type WrittenCandidate } from './placement-candidates.ts'
import { resourcesSince } from './resources.ts'

/** A log of changes, and how much of it has been heeded, counted from its beginning. */
interface Followed {
  readonly log: ChangeLog
  readonly read: number
}

/** The positions at which candidates changed. Another object stands for other instances. */
export interface ChangedPositions {
  readonly positions: readonly number[]
  /** How many were dropped before the first of `positions`: who has not read them looks at every position. */
  readonly dropped: number
}

/** Beyond twice the instances it is cheaper to look at each of them than at what changed. */
const spare = 16

export class PlacementCluster {
  readonly #clusterName: string
  #candidates: WrittenCandidate[] = []
  #positionOf = new Map<string, number>()
  #instances: readonly InstanceRow[] = []
  #followed: readonly Followed[] = []
  #changed: { positions: number[]; dropped: number } = { positions: [], dropped: 0 }

  constructor(clusterName: string) {
    this.#clusterName = clusterName
  }

  /** Not deregistered, in the order in which they registered. */
  get candidates(): readonly Candidate[] {
    return this.#candidates
  }

  get changed(): ChangedPositions {
    return this.#changed
  }

  /** Sees the cluster as `reader` does. */
  follow(reader: Reader, logs: readonly ChangeLog[]): void {
    const touched = this.#touchedIn(logs)
    const instances = reader.find('instance', 'byCluster', this.#clusterName)
    const isKnown = touched !== undefined && this.#takeInstances(instances, touched)
    if (isKnown) for (const instanceId of touched) this.#reread(reader, instanceId)
    else this.#readAll(reader)
    this.#instances = instances
  }

  /** The instances of which tasks may differ between what was followed before and now; undefined: any. */
  #touchedIn(logs: readonly ChangeLog[]): Set<string> | undefined {
    const before = this.#followed
    this.#followed = logs.map((log) => ({ log, read: log.dropped + log.values.length }))
    const touched = new Set<string>()
    let same = 0
    while (same < logs.length && before[same]?.log === logs[same]) same += 1
    const seen: readonly (readonly [ChangeLog, number, number])[] = [
      ...before.slice(0, same).map(({ log, read }) => [log, read, Number.POSITIVE_INFINITY] as const),
      // A transaction that is gone left nothing behind: what it changed is as it was, or changed anew underneath.
      ...before.slice(same).map(({ log, read }) => [log, 0, read] as const),
      ...logs.slice(same).map((log) => [log, 0, Number.POSITIVE_INFINITY] as const),
    ]
    for (const [log, from, to] of seen) {
      if (from < log.dropped) return undefined
      const { values, dropped } = log
      const end = Math.min(values.length, to - dropped)
      for (let at = from - dropped; at < end; at += 1) touched.add(values[at] ?? '')
    }
    return touched
  }

  /** Adds the instances whose rows changed to `touched`; false where there are others than before. */
  #takeInstances(instances: readonly InstanceRow[], touched: Set<string>): boolean {
    if (instances === this.#instances) return true
    if (instances.length !== this.#instances.length) return false
    for (let index = 0; index < instances.length; index += 1) {
      const before = this.#instances[index]
      const after = instances[index]
      if (before === after || after === undefined) continue
      if (before === undefined || !isSamePlace(before, after)) return false
      touched.add(after.instanceId)
    }
    return true
  }

  #readAll(reader: Reader): void {
    this.#candidates = [...placementCandidates(reader, this.#clusterName)]
    this.#positionOf = new Map(this.#candidates.map(({ instance }, position) => [instance.instanceId, position]))
    this.#changed = { positions: [], dropped: 0 }
  }

  #reread(reader: Reader, instanceId: string): void {
    const position = this.#positionOf.get(instanceId)
    const before = position === undefined ? undefined : this.#candidates[position]
    if (position === undefined || before === undefined) return
    const instance = reader.get('instance', instanceId)
    if (instance === undefined) throw new Error(`instance ${instanceId} is in its cluster's list, and has no row`)
    const tasks = reader.find('task', 'liveByInstance', instanceId)
    if (instance === before.instance && tasks === before.tasks) return
    this.#candidates[position] = { instance, tasks, resources: resourcesSince(before, instance, tasks) }
    const { positions } = this.#changed
    positions.push(position)
    if (positions.length > 2 * this.#candidates.length + spare) {
      this.#changed.dropped += positions.splice(0, this.#candidates.length).length
    }
  }
}

/** Whether the row stands for the same instance at the same position. */
function isSamePlace(before: InstanceRow, after: InstanceRow): boolean {
  return (
    before.instanceId === after.instanceId &&
    before.registeredAt === after.registeredAt &&
    (before.status === 'INACTIVE') === (after.status === 'INACTIVE')
  )
}

/** By the log of the committed state, which lives as long as the state does; then by the cluster's name. */
const clusters = new WeakMap<ChangeLog, Map<string, PlacementCluster>>()

/** The cluster as `reader` sees it. What was kept of it for another reader is brought up to date. */
export function placementClusterOf(reader: Reader, clusterName: string): PlacementCluster {
  const logs = reader.changeLogs('task', 'liveByInstance')
  const [committed] = logs
  if (committed === undefined) throw new Error('the committed state has a log of its changes, and gave none')
  const known = clusters.get(committed) ?? new Map<string, PlacementCluster>()
  clusters.set(committed, known)
  const cluster = known.get(clusterName) ?? new PlacementCluster(clusterName)
  known.set(clusterName, cluster)
  cluster.follow(reader, logs)
  return cluster
}
