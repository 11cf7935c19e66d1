/** What a placement filter is made of. The filters themselves are in placement-filters.ts and placement-port-filters.ts. */
import type { Candidate, PlacementRequest } from './placement-candidates.ts'

/** The three methods of a filter; `Want` is what it read from the task. */
export interface FilterMethods<Want> {
  /** For counts and for tests. */
  readonly name: string
  /** The reason that ECS gives in `failures[]`. */
  readonly reason: string
  /**
   * True where only the instance's status, connection, launch type or attributes decide, and none of its tasks: then it is
   * judged less often.
   */
  readonly isOfRow?: true
  /** What the task asks for, or undefined where this filter has nothing to judge. */
  take(request: PlacementRequest): Want | undefined
  /** True where the instance passes. */
  judge(want: Want, candidate: Candidate): boolean
  /** One phrase on the instances that failed, at least one, that starts with their number. */
  explain(want: Want, failed: readonly Candidate[]): string
  /** What share of what it wants an instance that failed lacks, above 0 and at most 1; absent: all of it. */
  shortfall?(want: Want, candidate: Candidate): number
}

/** A filter that has taken a task. */
export interface ArmedFilter {
  readonly name: string
  readonly reason: string
  readonly isOfRow: boolean
  judge(candidate: Candidate): boolean
  explain(failed: readonly Candidate[]): string
  shortfall(candidate: Candidate): number
}

export type PlacementFilter = (request: PlacementRequest) => ArmedFilter | undefined

export function definePlacementFilter<Want>(methods: FilterMethods<Want>): PlacementFilter {
  return (request) => {
    const want = methods.take(request)
    if (want === undefined) return undefined
    return {
      name: methods.name,
      reason: methods.reason,
      isOfRow: methods.isOfRow === true,
      judge: (candidate) => methods.judge(want, candidate),
      explain: (failed) => methods.explain(want, failed),
      shortfall: (candidate) => methods.shortfall?.(want, candidate) ?? 1,
    }
  }
}

/** `1 is draining`, `2 are draining`. */
export function count(number: number, singular: string, plural: string): string {
  return `${number} ${number === 1 ? singular : plural}`
}

/** What share of `want` is lacking where only `free` is left; nothing is lacked more than whole. */
export function shareOf(want: number, free: number): number {
  return Math.min(1, (want - free) / want)
}

const listedMax = 5

/** `a, b, c`, cut after five. */
export function listed(items: readonly (string | number)[]): string {
  const shown = items.slice(0, listedMax).join(', ')
  return items.length <= listedMax ? shown : `${shown} and ${items.length - listedMax} more`
}
