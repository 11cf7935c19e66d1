/**
 * The outside facts that decisions may depend on. Pure code takes them as values, so that one seed is one history;
 * only `main.ts` builds the real ones.
 */

/** Instants are epoch milliseconds everywhere in Gantry. */
export interface Clock {
  now(): number
}

export interface World {
  /** The region that stands in every ARN, for example `us-east-1`. */
  readonly region: string
  /** The twelve-digit account that stands in every ARN. */
  readonly account: string
  /** A number in [0, 1). */
  random(): number
  /** Lower-case hex digits, for ids such as a task's 32. */
  hex(digits: number): string
  /** A version 4 UUID. */
  uuid(): string
}
