/** How a bench is to be run. */
export interface BenchOptions {
  /** How often the batches are measured; quick figures are taken more often in proportion. */
  readonly rounds: number
  /** Told where the bench is; never part of its result. */
  readonly progress: (message: string) => void
}
