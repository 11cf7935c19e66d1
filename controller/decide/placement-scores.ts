/** What a criterion counted, in words, each kept once: they stand on every task that is placed. */
import type { Criterion } from './placement-criteria.ts'
import { count } from './placement-filter.ts'

/** Numbers of one criterion in one place that are kept in words. */
const numbersMax = 1000
const placesMax = 1000

export class ScoreWords {
  readonly #words = new Map<number, Map<string, Map<number, string>>>()

  /** `index` is the criterion's own; `place` is empty where it has none, or counts instances without the attribute. */
  of(index: number, criterion: Criterion, number: number, place: string): string {
    const places = this.#words.get(index) ?? new Map<string, Map<number, string>>()
    this.#words.set(index, places)
    const words = places.get(place) ?? new Map<number, string>()
    if (!places.has(place)) {
      if (places.size === placesMax) places.clear()
      places.set(place, words)
    }
    const known = words.get(number)
    if (known !== undefined) return known
    if (words.size === numbersMax) words.clear()
    const text = scoreText(criterion, number, place)
    words.set(number, text)
    return text
  }
}

function scoreText(criterion: Criterion, number: number, place: string): string {
  switch (criterion.kind) {
    case 'liveTasks':
      return count(number, 'live task', 'live tasks')
    case 'ownTasks':
      return `${number} of its group`
    case 'binpack':
      return criterion.resource === 'cpu' ? `${number} CPU units free` : `${number} MiB free`
    case 'place':
      return `${number} of its group ${place === '' ? `where ${criterion.attribute} isn't set` : `in ${place}`}`
    default:
      throw new Error(`criterion ${criterion.kind} counts nothing`)
  }
}
