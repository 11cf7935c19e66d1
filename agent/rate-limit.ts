/**
 * How often something may be asked: a bucket for each key that fills at a steady rate up to a burst.
 * Source: amazon-ecs-agent 1.105 (tollbooth): 40 a second, bursts of 60, by client address and path.
 */
export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

/** Beyond as many keys the one that has been quiet for the longest is forgotten: who asks sets the keys. */
const keysKept = 2000

export function createRateLimit({ perSecond, burst }: Rate): (key: string, nowMs: number) => boolean {
  /** In the order in which they were last asked for. */
  const buckets = new Map<string, { readonly tokens: number; readonly at: number }>()
  return (key, nowMs) => {
    const bucket = buckets.get(key) ?? { tokens: burst, at: nowMs }
    const refilled = Math.min(burst, bucket.tokens + (Math.max(0, nowMs - bucket.at) / 1000) * perSecond)
    const isAllowed = refilled >= 1
    buckets.delete(key)
    buckets.set(key, { tokens: isAllowed ? refilled - 1 : refilled, at: nowMs })
    const [quietest] = buckets.keys()
    if (buckets.size > keysKept && quietest !== undefined) buckets.delete(quietest)
    return isAllowed
  }
}
