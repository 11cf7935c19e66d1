/**
 * What is fuzzed: values to try, and what must hold for each. A target is run in batches; a batch's seed and count are all
 * that it takes to run it again, and a path leads to one case of it.
 */
import * as fc from 'fast-check'

export interface BatchOrder {
  /** A whole number of 32 bits. */
  readonly seed: number
  readonly count: number
  /** fast-check's path to one case, and to what it was shrunk to. */
  readonly path?: string | undefined
}

export interface BatchReport {
  readonly cases: number
  /** Cases whose input was good for something: where all is refused, nothing behind the refusal was tried. */
  readonly taken: number
  /** The longest that a case had the processor for, in milliseconds. */
  readonly slowestMs: number
  readonly failure?: BatchFailure | undefined
}

export interface BatchFailure {
  readonly error: string
  /** The smallest input that still fails, cut where it is long. */
  readonly input: string
  readonly path: string
}

/** Told before each case of a batch, with its number; not for what a failure is shrunk by. */
export type NoteCase = (index: number) => void

export interface FuzzTarget {
  readonly name: string
  /** Its part of all cases, beside the others' parts. */
  readonly share: number
  /** Whether its cases go to a running controller. */
  readonly isLive: boolean
  run(order: BatchOrder, noteCase?: NoteCase): Promise<BatchReport>
  /** The input of one case of a batch, which is not run. */
  show(order: Pick<BatchOrder, 'seed'>, index: number): string
  close(): Promise<void>
}

export interface TargetDefinition<T> {
  readonly name: string
  readonly share: number
  /** Built at the first batch. */
  readonly values: () => fc.Arbitrary<T>
  /**
   * Throws where something is wrong with what the code makes of the value. Says whether it was taken, which many inputs are
   * not and should not be.
   */
  readonly judge: (value: T) => boolean | Promise<boolean>
  /** For live ones: done before the first case of a batch. */
  readonly prepare?: (() => Promise<void>) | undefined
  /** For live ones: done at the end of all. */
  readonly close?: (() => Promise<void>) | undefined
  /** The longest that a case may have the processor for, in milliseconds. */
  readonly slowMs?: number | undefined
}

/** What any input may take of a slow processor: a request's time limit is 60 seconds. */
const slowDefaultMs = 2000
const shownCharactersMax = 4000
/** Shrinking ends here, with the smallest input so far. */
const shrinkMs = 30_000

export function fuzzTarget<T>(definition: TargetDefinition<T>): FuzzTarget {
  const { name, share, judge, prepare, close, slowMs = slowDefaultMs } = definition
  let built: fc.Arbitrary<T> | undefined
  const values = (): fc.Arbitrary<T> => (built ??= definition.values())
  return {
    name,
    share,
    isLive: close !== undefined,
    async run({ seed, count, path }, noteCase = () => undefined) {
      await prepare?.()
      const watch = new CaseWatch(slowMs, noteCase)
      const property = fc.asyncProperty(values(), async (value) => {
        if (!watch.begins()) return
        try {
          const judged = judge(value)
          watch.taken += Number(typeof judged === 'boolean' ? judged : await judged)
          // What a live case takes is mostly waiting for the other side, which bounds it itself.
          if (close === undefined) watch.requireQuick()
        } catch (error) {
          watch.failed()
          throw error
        }
      })
      const details = await fc.check(property, { seed, numRuns: count, ...(path !== undefined && { path }) })
      return { cases: watch.cases, taken: watch.taken, slowestMs: watch.slowestMs, failure: failureOf(details) }
    },
    show({ seed }, index) {
      const [value] = fc.sample(values(), { seed, numRuns: index + 1 }).slice(index)
      return shorten(fc.stringify(value))
    },
    close: close ?? (() => Promise.resolve()),
  }
}

/** Counts and times the cases of one batch; after a failure, what is run is only that failure made smaller. */
class CaseWatch {
  cases = 0
  taken = 0
  slowestMs = 0
  readonly #slowMs: number
  readonly #noteCase: NoteCase
  #failedAt: number | undefined
  #startedCpu = 0

  constructor(slowMs: number, noteCase: NoteCase) {
    this.#slowMs = slowMs
    this.#noteCase = noteCase
  }

  /** False: it has been made small for long enough. */
  begins(): boolean {
    this.#startedCpu = cpuMs()
    if (this.#failedAt !== undefined) return performance.now() - this.#failedAt < shrinkMs
    this.#noteCase(this.cases)
    this.cases += 1
    return true
  }

  requireQuick(): void {
    // Time of the processor: how long a busy machine takes over it says nothing about the case.
    const tookMs = cpuMs() - this.#startedCpu
    this.slowestMs = Math.max(this.slowestMs, tookMs)
    if (tookMs > this.#slowMs)
      throw new Error(`It took ${Math.round(tookMs)} ms, and at most ${this.#slowMs} are allowed.`)
  }

  failed(): void {
    this.#failedAt ??= performance.now()
  }
}

/** What this thread has had of the processor. */
function cpuMs(): number {
  const { user, system } = process.threadCpuUsage()
  return (user + system) / 1000
}

function failureOf<T>(details: fc.RunDetails<T>): BatchFailure | undefined {
  if (!details.failed) return undefined
  const { errorInstance, counterexample, counterexamplePath } = details
  const error = errorInstance instanceof Error ? (errorInstance.stack ?? errorInstance.message) : String(errorInstance)
  return { error: shorten(error), input: shorten(fc.stringify(counterexample)), path: counterexamplePath ?? '' }
}

function shorten(text: string): string {
  return text.length > shownCharactersMax
    ? `${text.slice(0, shownCharactersMax)} ... (${text.length} characters)`
    : text
}
