/**
 * How often something may be asked: a bucket for each key that fills at a steady rate up to a burst.
 * Source: amazon-ecs-agent 1.105 (tollbooth): 40 a second, bursts of 60, by client address and path.
 */
export interface Rate {
  readonly perSecond: number
  readonly burst: number
}

/** Beyond as many keys those whose buckets are full again are forgotten. */
const keysKept = 2000

export function createRateLimit({ perSecond, burst }: Rate): (key: string, nowMs: number) => boolean {
  const buckets = new Map<string, { tokens: number; at: number }>()
  const fullAfterMs = (burst / perSecond) * 1000
  let prunedAt = 0
  return (key, nowMs) => {
    const bucket = buckets.get(key) ?? { tokens: burst, at: nowMs }
    const refilled = Math.min(burst, bucket.tokens + (Math.max(0, nowMs - bucket.at) / 1000) * perSecond)
    const isAllowed = refilled >= 1
    buckets.set(key, { tokens: isAllowed ? refilled - 1 : refilled, at: nowMs })
    if (buckets.size > keysKept && nowMs - prunedAt >= fullAfterMs) {
      prunedAt = nowMs
      for (const [other, { at }] of buckets) if (nowMs - at >= fullAfterMs) buckets.delete(other)
    }
    return isAllowed
  }
}
