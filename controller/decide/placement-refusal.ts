/**
 * Why no instance could take a task: how many failed each filter first, and the three that came nearest, each with
 * everything that it misses.
 */
import type { PlacementCount, PlacementWait } from '../state/service-tables.ts'
import type { InstanceRow } from '../state/tables.ts'
import type { Candidate } from './placement-candidates.ts'
import type { ArmedFilter } from './placement-filter.ts'

/** A value, not an error: RunTask answers 200 with it in `failures[]`, a service waits with it. */
export interface Refused {
  readonly kind: 'refused'
  /** For each filter that refused any: how many instances failed it first. They add up to the instances. */
  readonly counts: readonly PlacementCount[]
  /** For each instance, in the order in which they registered, what it failed first. */
  readonly instances: readonly { readonly instance: InstanceRow; readonly filter: string; readonly reason: string }[]
  /** `no instance matched: 3 lack memory (want 2048 MiB, most free 1024), 1 is draining`. */
  readonly sentence: string
  readonly nearest: readonly NearMiss[]
}

/** An instance that could not take the task: the filter that it failed first, and all that it misses, in figures. */
export type NearMiss = PlacementWait['nearest'][number]

export interface Failed {
  readonly candidate: Candidate
  readonly filter: ArmedFilter
}

const nearestMax = 3

export function refusalOf(failed: readonly Failed[], filters: readonly ArmedFilter[]): Refused {
  const counts = countsOf(failed)
  const explanations = counts.map(({ explanation }) => explanation)
  return {
    kind: 'refused',
    counts,
    instances: failed.map(({ candidate, filter }) => ({
      instance: candidate.instance,
      filter: filter.name,
      reason: filter.reason,
    })),
    sentence: `no instance matched: ${explanations.length === 0 ? 'there is none' : explanations.join(', ')}`,
    nearest: nearestOf(failed, filters),
  }
}

/** The most frequent first. */
export function countsOf(failed: readonly Failed[]): readonly PlacementCount[] {
  const byFilter = new Map<ArmedFilter, Candidate[]>()
  for (const { candidate, filter } of failed) {
    const same = byFilter.get(filter)
    if (same === undefined) byFilter.set(filter, [candidate])
    else same.push(candidate)
  }
  return [...byFilter]
    .map(([filter, candidates]) => ({
      filter: filter.name,
      reason: filter.reason,
      count: candidates.length,
      explanation: filter.explain(candidates),
    }))
    .sort((left, right) => right.count - left.count)
}

/** The sentence, and where there are several instances the nearest of them: `...; nearest: instance 1 (is draining)`. */
export function sentenceWithNearest({ sentence, instances, nearest }: Refused): string {
  if (instances.length < 2) return sentence
  const named = nearest.map(({ instanceId, miss }) => `instance ${instanceId} (${miss})`)
  return `${sentence}; nearest: ${named.join(', ')}`
}

/** As a deployment keeps it; `since` is when the first task was left without a place. */
export function waitOf({ sentence, counts, nearest }: Refused, since: number, now: number): PlacementWait {
  return { since, at: now, sentence, counts, nearest }
}

/**
 * Nearest is the instance that fails the fewest filters; of two alike, the one that lacks the smaller share of what is
 * wanted, summed over the filters that it fails; then the one that registered first.
 */
function nearestOf(failed: readonly Failed[], filters: readonly ArmedFilter[]): readonly NearMiss[] {
  const nearest: Missing[] = []
  for (const one of failed) {
    const missing = missingOf(one, filters)
    const last = nearest[nearestMax - 1]
    if (last !== undefined && !isNearer(missing, last)) continue
    const place = nearest.findIndex((other) => isNearer(missing, other))
    nearest.splice(place === -1 ? nearest.length : place, 0, missing)
    nearest.length = Math.min(nearest.length, nearestMax)
  }
  return nearest.map(({ candidate, first, misses }) => ({
    instanceId: candidate.instance.instanceId,
    filter: first.name,
    miss: misses.map((filter) => missText(filter, candidate)).join(', '),
  }))
}

interface Missing {
  readonly candidate: Candidate
  readonly first: ArmedFilter
  readonly misses: readonly ArmedFilter[]
  readonly shortfall: number
}

function missingOf({ candidate, filter }: Failed, filters: readonly ArmedFilter[]): Missing {
  const misses = filters.filter((each) => !each.judge(candidate))
  let shortfall = 0
  for (const each of misses) shortfall += each.shortfall(candidate)
  return { candidate, first: filter, misses, shortfall }
}

function isNearer(one: Missing, other: Missing): boolean {
  const byCount = one.misses.length - other.misses.length
  return byCount === 0 ? one.shortfall < other.shortfall : byCount < 0
}

/** The filter's own words on this instance alone, without the number at their start. */
function missText(filter: ArmedFilter, candidate: Candidate): string {
  return filter.explain([candidate]).replace(/^1 /, '')
}
