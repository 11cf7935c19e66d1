/**
 * The best of many by a sequence of criteria, found again after each change in the logarithm of their number. Items that
 * share all their places stand in one winner tree, ordered by what is the item's own; what is counted over a place is the
 * same for all of a tree, so the best of all is among the winners of the trees.
 *
 * Less is better, of every number. Equal items go by their order, or by a draw where the criteria ask for one.
 */
import type { World } from '../../proto/world.ts'
import type { Criterion } from './placement-criteria.ts'
import { compareKeys } from '../state/index-buckets.ts'

/** What is ranked: how many items, and where each stands. */
export interface RankedItems {
  readonly count: number
  /** The item's place for the n-th criterion of kind `place`. */
  placeOf(item: number, nth: number): string
}

export interface Ranking {
  /** The item's own numbers, one for each criterion that is not of kind `place` or `random`, in their sequence. */
  set(item: number, own: readonly number[]): void
  /** Takes an item out until it is set again. Does nothing where it is out. */
  remove(item: number): void
  /** Adds to what is counted in all the places of an item, whether it is in or out. */
  addToPlaces(item: number, change: number): void
  /** What is counted in the item's place, for the n-th criterion of kind `place`. */
  placeCount(item: number, nth: number): number
  /** Undefined where every item is out. Draws once from `world` where the criteria ask for a draw among several. */
  best(world: World): number | undefined
  /** The best by numbers and order alone, at most `count` of them, these left aside. */
  runnersUp(count: number, aside: number): readonly number[]
}

export function createRanking(criteria: readonly Criterion[], items: RankedItems): Ranking {
  return new WinnerTrees(criteria, items)
}

/** The criteria that decide anything: those behind a draw don't. */
export function decidingCriteria(criteria: readonly Criterion[]): readonly Criterion[] {
  const draw = criteria.findIndex(({ kind }) => kind === 'random')
  return draw === -1 ? criteria : criteria.slice(0, draw)
}

/** Where a criterion reads its number: a column of the items' own, or the counts of the n-th kind of place. */
type Column = { readonly kind: 'own'; readonly values: Float64Array } | { readonly kind: 'place'; readonly nth: number }

interface Tree {
  /** The items of the tree, in their order. */
  readonly items: readonly number[]
  /** A power of two, at least the number of items: leaf i is node `leaves + i`, the root is node 1. */
  readonly leaves: number
  /** By node: the winner among the items below it, -1 for none, and how many of them are equal to it. */
  readonly winners: Int32Array
  readonly equals: Int32Array
  /** By the n-th kind of place: which place it is, an index into `placeCounts[nth]`. */
  readonly places: readonly number[]
}

class WinnerTrees implements Ranking {
  readonly #isDrawn: boolean
  readonly #columns: readonly Column[]
  readonly #own: readonly Float64Array[]
  readonly #trees: readonly Tree[]
  readonly #treeOf: Int32Array
  readonly #leafOf: Int32Array
  readonly #placeCounts: readonly number[][]

  constructor(criteria: readonly Criterion[], items: RankedItems) {
    const deciding = decidingCriteria(criteria)
    this.#isDrawn = deciding.length < criteria.length
    let nth = -1
    this.#columns = deciding.map(({ kind }) => {
      if (kind !== 'place') return { kind: 'own', values: new Float64Array(items.count) }
      nth += 1
      return { kind: 'place', nth }
    })
    this.#own = this.#columns.flatMap((column) => (column.kind === 'own' ? [column.values] : []))
    this.#treeOf = new Int32Array(items.count)
    this.#leafOf = new Int32Array(items.count)
    this.#placeCounts = Array.from({ length: nth + 1 }, () => [])
    this.#trees = this.#plant(items, nth + 1)
  }

  set(item: number, own: readonly number[]): void {
    for (const [column, values] of this.#own.entries()) values[item] = own[column] ?? 0
    this.#place(item, item)
  }

  remove(item: number): void {
    this.#place(item, -1)
  }

  addToPlaces(item: number, change: number): void {
    const { places } = this.#tree(item)
    for (const [nth, counts] of this.#placeCounts.entries()) {
      const place = places[nth] ?? 0
      counts[place] = (counts[place] ?? 0) + change
    }
  }

  placeCount(item: number, nth: number): number {
    return this.#placeCounts[nth]?.[this.#tree(item).places[nth] ?? 0] ?? 0
  }

  best(world: World): number | undefined {
    let best: Tree | undefined
    for (const tree of this.#trees) {
      if (tree.winners[1] === -1) continue
      if (best === undefined || this.#compareWinners(tree, best) < 0) best = tree
    }
    if (best === undefined) return undefined
    return this.#isDrawn ? this.#draw(best, world) : best.winners[1]
  }

  runnersUp(count: number, aside: number): readonly number[] {
    const taken: number[] = []
    const out = this.#isIn(aside) ? [aside] : []
    this.remove(aside)
    while (taken.length < count) {
      let best: Tree | undefined
      for (const tree of this.#trees) {
        if (tree.winners[1] === -1) continue
        if (best === undefined || this.#compareWinners(tree, best) < 0) best = tree
      }
      const item = best?.winners[1]
      if (item === undefined) break
      taken.push(item)
      this.remove(item)
      out.push(item)
    }
    for (const item of out) this.#place(item, item)
    return taken
  }

  /** One tree for each combination of places, in the order of their names, so that no history shows in the order. */
  #plant(items: RankedItems, kinds: number): readonly Tree[] {
    const indexOf = Array.from({ length: kinds }, () => new Map<string, number>())
    const members = new Map<string, { readonly places: readonly number[]; readonly items: number[] }>()
    for (let item = 0; item < items.count; item += 1) {
      const names = indexOf.map((_, nth) => items.placeOf(item, nth))
      const name = names.length === 1 ? (names[0] ?? '') : JSON.stringify(names)
      let group = members.get(name)
      if (group === undefined) {
        group = { places: names.map((place, nth) => this.#placeIndex(indexOf, nth, place)), items: [] }
        members.set(name, group)
      }
      group.items.push(item)
    }
    const sorted = [...members].sort(([left], [right]) => compareKeys(left, right))
    return sorted.map(([, { places, items: own }], index) => {
      for (const [leaf, item] of own.entries()) {
        this.#treeOf[item] = index
        this.#leafOf[item] = leaf
      }
      const leaves = 2 ** Math.ceil(Math.log2(own.length))
      const equals = new Int32Array(this.#isDrawn ? 2 * leaves : 0)
      return { items: own, leaves, places, equals, winners: new Int32Array(2 * leaves).fill(-1) }
    })
  }

  #placeIndex(indexOf: readonly Map<string, number>[], nth: number, place: string): number {
    const known = indexOf[nth]?.get(place)
    if (known !== undefined) return known
    const index = indexOf[nth]?.size ?? 0
    indexOf[nth]?.set(place, index)
    this.#placeCounts[nth]?.push(0)
    return index
  }

  #tree(item: number): Tree {
    const tree = this.#trees[this.#treeOf[item] ?? -1]
    if (tree === undefined) throw new Error(`item ${item} is not among those that are ranked`)
    return tree
  }

  #isIn(item: number): boolean {
    const { leaves, winners } = this.#tree(item)
    return winners[leaves + (this.#leafOf[item] ?? 0)] !== -1
  }

  /** Puts an item or nothing (-1) into the item's leaf and plays the matches above it again. */
  #place(item: number, winner: number): void {
    const { leaves, winners, equals } = this.#tree(item)
    let node = leaves + (this.#leafOf[item] ?? 0)
    winners[node] = winner
    if (this.#isDrawn) equals[node] = winner === -1 ? 0 : 1
    for (node >>= 1; node >= 1; node >>= 1) {
      const left = winners[2 * node] ?? -1
      const right = winners[2 * node + 1] ?? -1
      const order = left === -1 ? (right === -1 ? 0 : 1) : right === -1 ? -1 : this.#compareOwn(left, right)
      winners[node] = order <= 0 ? left : right
      if (!this.#isDrawn) continue
      const ofLeft = order <= 0 ? (equals[2 * node] ?? 0) : 0
      equals[node] = ofLeft + (order >= 0 ? (equals[2 * node + 1] ?? 0) : 0)
    }
  }

  #compareOwn(left: number, right: number): number {
    for (const values of this.#own) {
      const difference = (values[left] ?? 0) - (values[right] ?? 0)
      if (difference !== 0) return difference
    }
    return 0
  }

  /** By all criteria in their sequence; without a draw also by the items' order. */
  #compareWinners(left: Tree, right: Tree): number {
    const one = left.winners[1] ?? -1
    const other = right.winners[1] ?? -1
    const difference = this.#compareNumbers(left, one, right, other)
    return difference === 0 ? one - other : difference
  }

  #compareNumbers(left: Tree, one: number, right: Tree, other: number): number {
    for (const column of this.#columns) {
      const difference =
        column.kind === 'own'
          ? (column.values[one] ?? 0) - (column.values[other] ?? 0)
          : this.#countIn(left, column.nth) - this.#countIn(right, column.nth)
      if (difference !== 0) return difference
    }
    return 0
  }

  #countIn(tree: Tree, nth: number): number {
    return this.#placeCounts[nth]?.[tree.places[nth] ?? 0] ?? 0
  }

  /** Any of the items that are equal to the winner of `best`, by their trees and then in their order. */
  #draw(best: Tree, world: World): number {
    const winner = best.winners[1] ?? -1
    const equal = this.#trees.filter(
      (tree) => tree.winners[1] !== -1 && this.#compareNumbers(tree, tree.winners[1] ?? -1, best, winner) === 0,
    )
    const number = equal.reduce((sum, tree) => sum + (tree.equals[1] ?? 0), 0)
    if (number === 1) return winner
    let left = Math.floor(world.random() * number)
    for (const tree of equal) {
      const own = tree.equals[1] ?? 0
      if (left < own) return this.#equalAt(tree, left)
      left -= own
    }
    return winner
  }

  /** The n-th of a tree's items that are equal to its winner. */
  #equalAt({ leaves, winners, equals }: Tree, nth: number): number {
    let node = 1
    let left = nth
    while (node < leaves) {
      const winner = winners[node] ?? -1
      node *= 2
      const child = winners[node] ?? -1
      const own = child !== -1 && this.#compareOwn(child, winner) === 0 ? (equals[node] ?? 0) : 0
      if (left < own) continue
      left -= own
      node += 1
    }
    return winners[node] ?? -1
  }
}
