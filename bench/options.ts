/** How a bench is to be run. */
export interface BenchOptions {
  /** How often the batches are measured; quick figures are taken more often in proportion. */
  readonly rounds: number
  /** Told where the bench is; never part of its result. */
  readonly progress: (message: string) => void
  readonly scheduler?: SchedulerOptions | undefined
}

export const schedulerParts = ['a', 'b', 'c', 'd'] as const
export type SchedulerPart = (typeof schedulerParts)[number]

/** Of the bench `scheduler` alone; what is absent has the default of its part. */
export interface SchedulerOptions {
  /** Absent: all of them, one after the other. */
  readonly part?: SchedulerPart | undefined
  readonly tasks?: number | undefined
  readonly instances?: number | undefined
  readonly services?: number | undefined
  /** The controller's heap, MB. */
  readonly heapMb?: number | undefined
  /** Where the controller's CPU profile goes; absent: none is taken. */
  readonly profile?: string | undefined
}
