/** What scheduling costs, part by part. */
import { describeMachine } from './machine.ts'
import type { BenchOptions } from './options.ts'
import type { Place } from './place.ts'
import type { BenchResult } from './result.ts'
import { benchPlacement, placementNotes } from './scheduler-placement.ts'

export async function benchScheduler(_place: Place, { rounds, progress }: BenchOptions): Promise<BenchResult> {
  const machine = await describeMachine(undefined)
  const rows = [...benchPlacement(rounds, progress)]
  return { bench: 'scheduler', machine, rows, notes: [...placementNotes] }
}
