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

/** A log of changes, and how much of it has been heeded. */
interface Followed {
  readonly log: ChangeLog
  read: number
}

/** From here on it is cheaper to look at every instance again than to keep naming those that changed. */
const changedMax = 100_000

export class PlacementCluster {
  readonly #clusterName: string
  #candidates: WrittenCandidate[] = []
  #positionOf = new Map<string, number>()
  #instances: readonly InstanceRow[] = []
  #followed: readonly Followed[] = []
  /** Another object after each change of which instances there are: positions mean something else then. */
  #changed: number[] = []

  constructor(clusterName: string) {
    this.#clusterName = clusterName
  }

  /** Not deregistered, in the order in which they registered. */
  get candidates(): readonly Candidate[] {
    return this.#candidates
  }

  /** The positions at which candidates changed, in order; another list where every position is to be looked at. */
  get changed(): readonly number[] {
    return this.#changed
  }

  /** Sees the cluster as `reader` does. */
  follow(reader: Reader, logs: readonly ChangeLog[]): void {
    const touched = this.#touchedIn(logs)
    const instances = reader.find('instance', 'byCluster', this.#clusterName)
    if (!this.#takeInstances(instances, touched)) this.#readAll(reader)
    else for (const instanceId of touched) this.#reread(reader, instanceId)
    this.#instances = instances
    if (this.#changed.length > changedMax) this.#changed = []
  }

  /** The instances of which tasks may differ between what was followed before and what is followed now. */
  #touchedIn(logs: readonly ChangeLog[]): Set<string> {
    const touched = new Set<string>()
    let same = 0
    while (same < logs.length && this.#followed[same]?.log === logs[same]) same += 1
    const add = (log: ChangeLog | undefined, from: number, to: number): void => {
      for (let at = from; at < to; at += 1) touched.add(log?.values[at] ?? '')
    }
    // A transaction that is gone left nothing behind: what it changed is as it was, or changed anew underneath.
    for (const { log, read } of this.#followed.slice(same)) add(log, 0, read)
    this.#followed = logs.map((log, index) => {
      add(log, index < same ? (this.#followed[index]?.read ?? 0) : 0, log.values.length)
      return { log, read: log.values.length }
    })
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
    this.#changed = []
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
    this.#changed.push(position)
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
