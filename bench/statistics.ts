/** What several rounds come to: the middle one and the spread, since a single round on a shared machine says little. */

export interface Summary {
  readonly median: number
  readonly lowest: number
  readonly highest: number
  readonly rounds: number
}

export function summarize(values: readonly number[]): Summary {
  if (values.length === 0) throw new Error('there is nothing to summarize: no round was measured')
  return {
    median: quantile(values, 0.5),
    lowest: Math.min(...values),
    highest: Math.max(...values),
    rounds: values.length,
  }
}

/** The value below which this share of the values lies; between two of them, the nearer one. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = (sorted.length - 1) / 2
  if (share === 0.5 && !Number.isInteger(middle)) {
    return ((sorted[Math.floor(middle)] ?? Number.NaN) + (sorted[Math.ceil(middle)] ?? Number.NaN)) / 2
  }
  return sorted[Math.round((sorted.length - 1) * share)] ?? Number.NaN
}

export function median(values: readonly number[]): number {
  return summarize(values).median
}

/** The median over the rounds of one's figure by the other's: what a slow round does to both cancels out. */
export function pairedRatio(ones: readonly number[], others: readonly number[]): number {
  return median(ones.map((one, round) => one / (others[round] ?? Number.NaN)))
}

export function pairedDifference(ones: readonly number[], others: readonly number[]): number {
  return median(ones.map((one, round) => one - (others[round] ?? Number.NaN)))
}
