/**
 * A thread of `npm run fuzz`: runs one batch after the other and says what came of each. Which case it is at stands in memory
 * that its parent sees, because a case that never ends says nothing.
 */
import { parentPort, workerData } from 'node:worker_threads'
import type { BatchOrder, BatchReport, FuzzTarget } from '../test/fuzz/fuzz-target.ts'

export type FuzzOrder =
  | (BatchOrder & { readonly kind: 'run'; readonly target: string })
  /** The input of that case, which is not run. */
  | { readonly kind: 'show'; readonly target: string; readonly seed: number; readonly index: number }
  | { readonly kind: 'close' }

export type FuzzAnswer =
  | { readonly kind: 'report'; readonly report: BatchReport }
  | { readonly kind: 'input'; readonly input: string }
  | { readonly kind: 'closed' }

export function serveBatches(targetNamed: (name: string) => FuzzTarget): void {
  /** The number of the case that is under way, in its batch. */
  const underway = workerData as Int32Array
  const used = new Set<string>()

  async function answer(order: FuzzOrder): Promise<FuzzAnswer> {
    if (order.kind === 'close') {
      for (const name of used) await targetNamed(name).close()
      return { kind: 'closed' }
    }
    const target = targetNamed(order.target)
    if (order.kind === 'show') return { kind: 'input', input: target.show(order, order.index) }
    used.add(order.target)
    const report = await target.run(order, (index) => void Atomics.store(underway, 0, index))
    return { kind: 'report', report }
  }

  parentPort?.on('message', (order: FuzzOrder) => {
    void answer(order).then((answered) => parentPort?.postMessage(answered, []))
  })
}
