/** How many requests are under way at once, in all and for each key: what waits for a place would wait with its body. */
export interface ConcurrencyLimit {
  readonly total: number
  readonly perKey: number
}

/** Answers how to give the place back; undefined where none is free. */
export function createConcurrencyLimit({ total, perKey }: ConcurrencyLimit): (key: string) => (() => void) | undefined {
  const underway = new Map<string, number>()
  let all = 0
  return (key) => {
    const own = underway.get(key) ?? 0
    if (all >= total || own >= perKey) return undefined
    all += 1
    underway.set(key, own + 1)
    let isGiven = true
    return () => {
      if (!isGiven) return
      isGiven = false
      all -= 1
      const left = (underway.get(key) ?? 1) - 1
      if (left === 0) underway.delete(key)
      else underway.set(key, left)
    }
  }
}
