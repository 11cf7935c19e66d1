/** A thread that runs batches within bounds: of memory, and of time for each case. What breaks them is named. */
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import type { BatchOrder, BatchReport } from '../test/fuzz/fuzz-target.ts'
import type { FuzzAnswer, FuzzOrder } from './fuzz-batches.ts'

export interface FuzzBounds {
  /** A case that takes longer hangs, as long as it takes a busy machine to come to it. */
  readonly caseMs: number
  readonly memoryMiB: number
}

export const fuzzBounds: FuzzBounds = { caseMs: 60_000, memoryMiB: 256 }

const lookEveryMs = 250
/** What a thread may take until its first case: programs are loaded, shapes are compiled, a controller starts. */
const prepareMs = 240_000

type Ended = { readonly answer: FuzzAnswer } | { readonly ended: string; readonly index: number }

export class FuzzThread {
  readonly #bounds: FuzzBounds
  readonly #file: string
  readonly #underway = new Int32Array(new SharedArrayBuffer(4))
  #worker: Worker | undefined
  #settle: ((ended: Ended) => void) | undefined

  constructor(bounds: FuzzBounds = fuzzBounds, file: string = join(import.meta.dirname, 'fuzz-worker.ts')) {
    this.#bounds = bounds
    this.#file = file
  }

  /** What came of the batch. A case that hangs or ends the thread is a failure with its input, and the thread a new one. */
  async run(target: string, order: BatchOrder): Promise<BatchReport> {
    const ended = await this.#ask({ kind: 'run', target, ...order })
    if ('answer' in ended) {
      if (ended.answer.kind === 'report') return ended.answer.report
      throw new Error(`A batch was answered by ${ended.answer.kind}.`)
    }
    const { index, ended: error } = ended
    if (index === -1) throw new Error(`${target} did not come to its first case: ${error}`)
    const shown = await this.#ask({ kind: 'show', target, seed: order.seed, index })
    const input = 'answer' in shown && shown.answer.kind === 'input' ? shown.answer.input : 'that can not even be shown'
    return { cases: index + 1, taken: 0, slowestMs: 0, failure: { error, input, path: String(index) } }
  }

  async close(): Promise<void> {
    if (this.#worker !== undefined) await this.#ask({ kind: 'close' })
    const worker = this.#worker
    this.#worker = undefined
    await worker?.terminate()
  }

  #ask(order: FuzzOrder): Promise<Ended> {
    const worker = (this.#worker ??= this.#start())
    Atomics.store(this.#underway, 0, -1)
    return new Promise((resolve) => {
      let seen = { index: -1, at: performance.now() }
      const timer = setInterval(() => {
        const index = Atomics.load(this.#underway, 0)
        if (index !== seen.index) seen = { index, at: performance.now() }
        const maxMs = index === -1 ? prepareMs : this.#bounds.caseMs
        if (performance.now() - seen.at < maxMs) return
        this.#lost(worker, `It hangs: it was not done after ${maxMs} ms.`)
        void worker.terminate()
      }, lookEveryMs)
      this.#settle = (ended) => {
        clearInterval(timer)
        this.#settle = undefined
        resolve(ended)
      }
      worker.postMessage(order, [])
    })
  }

  #start(): Worker {
    const worker = new Worker(this.#file, {
      workerData: this.#underway,
      resourceLimits: { maxOldGenerationSizeMb: this.#bounds.memoryMiB, maxYoungGenerationSizeMb: 64 },
    })
    worker.on('message', (answer: FuzzAnswer) => this.#settle?.({ answer }))
    worker.on('error', (error: Error) => this.#lost(worker, `It ended the thread: ${error.message}`))
    worker.on('exit', (code) => this.#lost(worker, `It ended the thread with exit code ${code}.`))
    return worker
  }

  /** What comes late from a thread that is given up already is nobody's. */
  #lost(worker: Worker, ended: string): void {
    if (worker !== this.#worker) return
    this.#worker = undefined
    this.#settle?.({ ended, index: Atomics.load(this.#underway, 0) })
  }
}
