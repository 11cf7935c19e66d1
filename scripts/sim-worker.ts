/**
 * One of the processes behind `npm run sim`: takes one seed after the other from its parent and answers with what came of
 * each.
 */
import { simulate } from '../test/sim/simulation.ts'

export interface SeedOrder {
  readonly seed: number
  /** Lines of its history to send back: always those that name `about`, else only where it fails. */
  readonly lines: number
  readonly about?: string | undefined
}

export interface SeedReport {
  readonly seed: number
  readonly hash: string
  readonly events: number
  readonly hosts: number
  readonly simulatedMs: number
  readonly faults: readonly (readonly [string, number])[]
  readonly work: readonly (readonly [string, number])[]
  readonly violations: readonly string[]
  readonly history: readonly string[]
}

async function report({ seed, lines, about }: SeedOrder): Promise<SeedReport> {
  const result = await simulate({ seed })
  const { hash, events, hosts, simulatedMs, violations } = result
  const isTold = violations.length > 0 || about !== undefined
  return {
    seed,
    hash,
    events,
    hosts,
    simulatedMs,
    faults: [...result.faults],
    work: [...result.work],
    violations,
    history: isTold ? result.history(lines, about) : [],
  }
}

/** Of a history that could not even be told. */
export function failedReport(seed: number, violation: string): SeedReport {
  const nothing = { hash: '', events: 0, hosts: 0, simulatedMs: 0, faults: [], work: [], history: [] }
  return { seed, ...nothing, violations: [violation] }
}

process.on('message', (order: SeedOrder) => {
  void answer(order)
})

async function answer(order: SeedOrder): Promise<void> {
  const reported = await report(order).catch((error: unknown): SeedReport => {
    const told = error instanceof Error ? (error.stack ?? error.message) : String(error)
    return failedReport(order.seed, `the simulation itself failed: ${told}`)
  })
  process.send?.(reported)
}
