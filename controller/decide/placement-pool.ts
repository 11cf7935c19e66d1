/**
 * The instances of a cluster judged for one kind of task, with the able ones ranked: kept while the same kind is placed
 * again and again, and judged anew only where something changed.
 */
import type { World } from '../../proto/world.ts'
import type { PlacementCount, PlacementNote } from '../state/service-tables.ts'
import type { InstanceRow, ReservedResources } from '../state/tables.ts'
import { isEngineSilent } from './engine-health.ts'
import { type Candidate, type PlacementRequest, placeOf, tasksOfGroup, withTask } from './placement-candidates.ts'
import type { ChangedPositions, PlacementCluster } from './placement-cluster.ts'
import { givenGpuIds, type Placed } from './placed.ts'
import { type Criterion, criteriaOf } from './placement-criteria.ts'
import type { ArmedFilter } from './placement-filter.ts'
import { armFilters } from './placement-filters.ts'
import { createRanking, decidingCriteria, type Ranking } from './placement-ranking.ts'
import { type Failed, type Refused, refusalOf } from './placement-refusal.ts'
import { ScoreWords } from './placement-scores.ts'
import { taskDemand } from './resources.ts'

/** What stands at a position that no filter refuses. */
const able = -1

type Rank = PlacementNote['ranking'][number]

export class PlacementPool {
  readonly request: PlacementRequest
  readonly reserved: ReservedResources
  readonly #filters: readonly ArmedFilter[]
  readonly #criteria: readonly Criterion[]
  readonly #deciding: readonly Criterion[]
  readonly #attributes: readonly string[]
  /** By position. */
  #candidates: Candidate[] = []
  #failing = new Int16Array(0)
  #groupTasks = new Int32Array(0)
  #ranking: Ranking
  #ableCount = 0
  /** The positions that hold what was placed here and may not have been written. */
  readonly #own = new Set<number>()
  /** What was heeded of the cluster's changes. */
  #changed: ChangedPositions | undefined
  #read = 0
  #explained: (PlacementCount | undefined)[] = []
  #ranks: Rank[] = []
  readonly #words = new ScoreWords()
  #counts: readonly PlacementCount[] | undefined
  #refused: Refused | undefined

  constructor(request: PlacementRequest) {
    this.request = request
    this.reserved = taskDemand(request.definition, request.overrides)
    this.#filters = armFilters(request)
    this.#criteria = criteriaOf(request.strategies, request.default)
    this.#deciding = decidingCriteria(this.#criteria)
    this.#attributes = this.#deciding.flatMap((each) => (each.kind === 'place' ? [each.attribute] : []))
    this.#ranking = createRanking(this.#criteria, { count: 0, placeOf: () => '' })
  }

  get considered(): number {
    return this.#candidates.length
  }

  /** Sees the cluster as it is; what was placed here counts only as far as it was written. */
  follow(cluster: PlacementCluster): void {
    const { candidates, changed } = cluster
    const positions = changed === this.#changed ? this.#toLookAt(changed, candidates.length) : undefined
    this.#changed = changed
    this.#read = changed.dropped + changed.positions.length
    this.#own.clear()
    if (positions === undefined || positions.some((position) => this.#isMoved(position, candidates))) {
      this.#judgeAll(candidates)
      return
    }
    for (const position of positions) this.#judgeAsWritten(position, candidates[position])
  }

  /** Undefined where no instance is able: then `refused` says why. */
  place(now: number, world: World): Omit<Placed, 'kind' | 'reserved'> | undefined {
    const position = this.#ranking.best(world)
    const candidate = position === undefined ? undefined : this.#candidates[position]
    if (position === undefined || candidate === undefined) return undefined
    const ranking = [position, ...this.#ranking.runnersUp(2, position)].map((each) => this.#rankOf(each))
    const note = { at: now, considered: this.considered, able: this.#ableCount, counts: this.#countsNow(), ranking }
    this.#own.add(position)
    const { group } = this.request
    this.#judge(position, withTask(candidate, group, this.reserved), (this.#groupTasks[position] ?? 0) + 1)
    return { instance: candidate.instance, note, gpuIds: givenGpuIds(candidate, this.reserved) }
  }

  refused(): Refused {
    this.#refused ??= refusalOf(this.#failed(), this.#filters)
    return this.#refused
  }

  #toLookAt({ positions, dropped }: ChangedPositions, count: number): readonly number[] {
    if (this.#read < dropped) return Array.from({ length: count }, (_, position) => position)
    return [...new Set([...this.#own, ...positions.slice(this.#read - dropped)])]
  }

  /** An instance that stands in another place than before, to a criterion that counts by places. */
  #isMoved(position: number, candidates: readonly Candidate[]): boolean {
    const before = this.#candidates[position]?.instance
    const after = candidates[position]?.instance
    if (this.#attributes.length === 0 || before === undefined || after === undefined) return false
    if (before.attributes === after.attributes && before.attributeChanges === after.attributeChanges) return false
    return this.#attributes.some((attribute) => placeOf(before, attribute) !== placeOf(after, attribute))
  }

  #judgeAll(candidates: readonly Candidate[]): void {
    this.#candidates = []
    this.#failing = new Int16Array(candidates.length)
    this.#groupTasks = new Int32Array(candidates.length)
    this.#ableCount = candidates.length
    this.#explained = []
    this.#ranks = []
    this.#ranking = createRanking(this.#criteria, {
      count: candidates.length,
      placeOf: (item, nth) => {
        const instance = candidates[item]?.instance
        return instance === undefined ? '' : placeOf(instance, this.#attributes[nth] ?? '')
      },
    })
    this.#failing.fill(able)
    for (const [position, candidate] of candidates.entries()) this.#judgeAsWritten(position, candidate)
    this.#forget()
  }

  #judgeAsWritten(position: number, candidate: Candidate | undefined): void {
    if (candidate === undefined) throw new Error(`there is no candidate at position ${position} of the cluster`)
    this.#judge(position, candidate, tasksOfGroup(candidate, this.request.group))
  }

  #judge(position: number, candidate: Candidate, groupTasks: number): void {
    const before = this.#candidates[position]
    const failedBefore = this.#failing[position] ?? able
    const failing = this.#firstFailing(candidate, before, failedBefore)
    this.#candidates[position] = candidate
    this.#failing[position] = failing
    if (failing !== able || failedBefore !== able) this.#forget(failing, failedBefore)
    if ((failing === able) !== (failedBefore === able)) this.#ableCount += failing === able ? 1 : -1
    this.#ranking.addToPlaces(position, groupTasks - (this.#groupTasks[position] ?? 0))
    this.#groupTasks[position] = groupTasks
    if (failing === able) this.#ranking.set(position, this.#ownNumbers(position))
    else this.#ranking.remove(position)
  }

  /** What only the instance's row can change is not judged again while nothing of that is another. */
  #firstFailing(candidate: Candidate, before: Candidate | undefined, failedBefore: number): number {
    const isSameRow = before !== undefined && isAlike(before.instance, candidate.instance)
    return this.#filters.findIndex((filter, index) => {
      if (!isSameRow || !filter.isOfRow) return !filter.judge(candidate)
      if (failedBefore === able || index < failedBefore) return false
      return index === failedBefore || !filter.judge(candidate)
    })
  }

  #ownNumbers(position: number): readonly number[] {
    const numbers: number[] = []
    for (const criterion of this.#deciding) {
      if (criterion.kind !== 'place') numbers.push(this.#numberOf(criterion, position))
    }
    return numbers
  }

  /** The explanations on these filters no longer hold; without any, none do. */
  #forget(...filters: readonly number[]): void {
    if (filters.length === 0) this.#explained = []
    for (const filter of filters) if (filter !== able) this.#explained[filter] = undefined
    this.#counts = undefined
    this.#refused = undefined
  }

  #countsNow(): readonly PlacementCount[] {
    if (this.#counts !== undefined) return this.#counts
    if (this.#ableCount === this.considered) return []
    const failed = new Map<number, Candidate[]>()
    for (const [position, filter] of this.#failing.entries()) {
      const candidate = this.#candidates[position]
      if (filter === able || candidate === undefined) continue
      const same = failed.get(filter)
      if (same === undefined) failed.set(filter, [candidate])
      else same.push(candidate)
    }
    this.#counts = [...failed]
      .map(([filter, candidates]) => this.#explain(filter, candidates))
      .sort((left, right) => right.count - left.count)
    return this.#counts
  }

  #explain(index: number, failed: readonly Candidate[]): PlacementCount {
    const known = this.#explained[index]
    if (known !== undefined) return known
    const filter = this.#filters[index]
    if (filter === undefined) throw new Error(`there is no filter ${index}, and instances failed it`)
    const explanation = filter.explain(failed)
    const explained = { filter: filter.name, reason: filter.reason, count: failed.length, explanation }
    this.#explained[index] = explained
    return explained
  }

  #failed(): readonly Failed[] {
    return this.#candidates.flatMap((candidate, position) => {
      const filter = this.#filters[this.#failing[position] ?? able]
      return filter === undefined ? [] : [{ candidate, filter }]
    })
  }

  /** Who comes second for one task is often first for the next: the same words are kept once. */
  #rankOf(position: number): Rank {
    const candidate = this.#candidates[position]
    if (candidate === undefined) throw new Error(`there is no candidate at position ${position}, and it was ranked`)
    let nth = -1
    const scores = this.#deciding.map((criterion, index) => {
      if (criterion.kind !== 'place') return this.#words.of(index, criterion, this.#numberOf(criterion, position), '')
      nth += 1
      const place = placeOf(candidate.instance, criterion.attribute)
      return this.#words.of(index, criterion, this.#ranking.placeCount(position, nth), place)
    })
    const known = this.#ranks[position]
    if (known?.scores.every((score, index) => score === scores[index]) === true) return known
    const rank = { instanceId: candidate.instance.instanceId, scores }
    this.#ranks[position] = rank
    return rank
  }

  #numberOf(criterion: Criterion, position: number): number {
    const candidate = this.#candidates[position]
    if (criterion.kind === 'ownTasks') return this.#groupTasks[position] ?? 0
    if (candidate === undefined) return 0
    if (criterion.kind === 'liveTasks') return candidate.tasks.length
    if (criterion.kind !== 'binpack') return 0
    const { cpuUnits, memoryMiB } = candidate.resources.remaining
    return criterion.resource === 'cpu' ? cpuUnits : memoryMiB
  }
}

/** By all that filters of rows look at. The sequence number of an instance changes with each of its tasks. */
function isAlike(before: InstanceRow, after: InstanceRow): boolean {
  return (
    before === after ||
    (before.status === after.status &&
      before.agentConnected === after.agentConnected &&
      before.lostSince === after.lostSince &&
      isEngineSilent(before) === isEngineSilent(after) &&
      before.launchType === after.launchType &&
      before.attributes === after.attributes &&
      before.attributeChanges === after.attributeChanges &&
      before.registeredResources === after.registeredResources)
  )
}
