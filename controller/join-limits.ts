/**
 * How often somebody may try to join with a token that is not good: `POST /v1/join` is the one route that takes calls of
 * strangers. Good tokens are not counted, so that a rack of hosts joins as fast as it can, and nobody who fails on purpose,
 * from however many addresses, keeps them out.
 */
import { clientNetworkOf } from './access/ip-range.ts'

export interface JoinLimits {
  /** Counts a try. False where the address, or all of them together, failed too often lately. */
  tryFrom(address: string, now: number): boolean
}

/** Tries that may fail at once, and how long until one of them is forgotten, milliseconds. */
const limitsDefault = {
  perAddress: { most: 10, forgetMs: 6000 },
  overall: { most: 120, forgetMs: 500 },
}
const addressesMax = 4096

interface Bucket {
  used: number
  at: number
}

export function createJoinLimits(limits = limitsDefault): JoinLimits {
  const overall: Bucket = { used: 0, at: 0 }
  const byAddress = new Map<string, Bucket>()
  const settled = (bucket: Bucket, forgetMs: number, now: number): Bucket => {
    // A clock that was set back must not lock anybody out.
    const elapsedMs = Math.max(0, now - bucket.at)
    bucket.used = Math.max(0, bucket.used - elapsedMs / forgetMs)
    bucket.at = now
    return bucket
  }
  const bucketOf = (address: string): Bucket => {
    const known = byAddress.get(address)
    if (known !== undefined) return known
    const [oldest] = byAddress.keys()
    if (byAddress.size >= addressesMax && oldest !== undefined) byAddress.delete(oldest)
    const made: Bucket = { used: 0, at: 0 }
    byAddress.set(address, made)
    return made
  }
  return {
    tryFrom(address, now) {
      const own = settled(bucketOf(clientNetworkOf(address)), limits.perAddress.forgetMs, now)
      const all = settled(overall, limits.overall.forgetMs, now)
      if (own.used > limits.perAddress.most - 1 || all.used > limits.overall.most - 1) return false
      own.used += 1
      all.used += 1
      return true
    },
  }
}
