/** What scheduling costs, part by part. */
import { describeMachine } from './machine.ts'
import { type BenchOptions, type SchedulerPart, schedulerParts } from './options.ts'
import type { Place } from './place.ts'
import type { BenchResult } from './result.ts'
import { benchPlacement, placementNotes } from './scheduler-placement.ts'
import { benchReturn } from './scheduler-return.ts'
import { benchService } from './scheduler-service.ts'
import { benchTasks, type PartResult } from './scheduler-tasks.ts'

const benchPart: { readonly [Part in SchedulerPart]: (place: Place, options: BenchOptions) => Promise<PartResult> } = {
  a: async (_place, { rounds, progress }) => ({ rows: benchPlacement(rounds, progress), notes: placementNotes }),
  b: benchTasks,
  c: benchService,
  d: benchReturn,
}

export async function benchScheduler(place: Place, options: BenchOptions): Promise<BenchResult> {
  const machine = await describeMachine(undefined)
  const wanted = options.scheduler?.part
  const parts: PartResult[] = []
  for (const part of schedulerParts) {
    if (wanted === undefined || wanted === part) parts.push(await benchPart[part](place, options))
  }
  return {
    bench: 'scheduler',
    machine,
    rows: parts.flatMap(({ rows }) => rows),
    notes: parts.flatMap(({ notes }) => notes),
  }
}
