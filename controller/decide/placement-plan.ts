/**
 * Places tasks of one kind one after the other, each seeing what the ones before it took. The plan keeps account of its
 * own placements; the caller writes the rows.
 */
import type { World } from '../../proto/world.ts'
import type { Reader } from '../state/transaction.ts'
import type { Placed } from './placed.ts'
import { type PlacementRequest, withOffer } from './placement-candidates.ts'
import { type PlacementCluster, placementClusterOf } from './placement-cluster.ts'
import { PlacementPool } from './placement-pool.ts'
import type { Refused } from './placement-refusal.ts'

export interface PlacementPlan {
  /** How many instances the cluster has that are not deregistered. */
  readonly considered: number
  /** The next task's place. Once refused, every further call is refused in the same words. */
  next(): Placed | Refused
}

/**
 * Plans for the cluster as `reader` shows it now. Once another plan is begun for the cluster, this one goes on from what
 * `reader` shows then: what it placed before must have been written by that time. Tasks with an address of their own are
 * to be written one by one: what the subnets have left is read for each.
 */
export function planPlacement(
  reader: Reader,
  clusterName: string,
  request: PlacementRequest,
  now: number,
  world: World,
): PlacementPlan {
  const open = (): Opened => openPool(reader, clusterName, withOffer(reader, request))
  let opened = open()

  function next(): Placed | Refused {
    if (!isNewest(opened) || isOfferedOtherwise()) opened = open()
    const { pool } = opened
    const placed = pool.place(now, world)
    if (placed === undefined) return pool.refused()
    return { kind: 'placed', ...placed, reserved: pool.reserved }
  }

  function isOfferedOtherwise(): boolean {
    return request.subnetIds !== undefined && keyOf(withOffer(reader, request)) !== opened.key
  }

  return { considered: opened.pool.considered, next }
}

/** What is kept for the plans of one cluster. */
interface Desk {
  /** The least recently used first. */
  readonly pools: Map<string, PlacementPool>
  /** How many plans were begun. */
  plans: number
}

interface Opened {
  readonly desk: Desk
  readonly pool: PlacementPool
  readonly key: string
  readonly plan: number
}

const desks = new WeakMap<PlacementCluster, Desk>()

/** Instances in all pools together: what bounds the memory that they take. */
const pooledMax = 1_500_000
const poolsMax = 1000

function openPool(reader: Reader, clusterName: string, request: PlacementRequest): Opened {
  const cluster = placementClusterOf(reader, clusterName)
  const desk = desks.get(cluster) ?? { pools: new Map<string, PlacementPool>(), plans: 0 }
  desks.set(cluster, desk)
  const key = keyOf(request)
  const known = desk.pools.get(key)
  const pool = known?.request.definition === request.definition ? known : new PlacementPool(request)
  pool.follow(cluster)
  desk.pools.delete(key)
  desk.pools.set(key, pool)
  const keptMax = Math.min(poolsMax, Math.ceil(pooledMax / Math.max(1, cluster.candidates.length)))
  for (const oldest of desk.pools.keys()) {
    if (desk.pools.size <= keptMax) break
    desk.pools.delete(oldest)
  }
  desk.plans += 1
  return { desk, pool, key, plan: desk.plans }
}

function isNewest({ desk, plan }: Opened): boolean {
  return desk.plans === plan
}

/** Requests that are alike to placement have the same key. All members are in it: one that is left out is not judged by. */
function keyOf({ definition, ...rest }: PlacementRequest): string {
  return `${definition.taskDefinitionArn} ${JSON.stringify(rest)}`
}
