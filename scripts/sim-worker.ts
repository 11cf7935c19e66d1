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

process.on('message', (order: SeedOrder) => {
  report(order).then(
    (done) => process.send?.(done),
    (error: unknown) => {
      const told = error instanceof Error ? (error.stack ?? error.message) : String(error)
      const nothing = { hash: '', events: 0, hosts: 0, simulatedMs: 0, faults: [], work: [], history: [] }
      process.send?.({ seed: order.seed, ...nothing, violations: [`the simulation itself failed: ${told}`] })
    },
  )
})
