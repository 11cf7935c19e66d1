/**
 * `npm run sim`: simulated clusters, one for each seed.
 *
 *   npm run sim -- --seeds 1000            seeds 1 to 1000
 *   npm run sim -- --seed 4711             that one, with the end of its history where it fails
 *   npm run sim -- --seed 4711 --seeds 50  fifty from there on
 *   npm run sim -- --seed 4711 --about ID  the lines of its history that name something
 */
import { parseArgs } from 'node:util'
import { simulate } from '../test/sim/simulation.ts'
import type { SimulationResult } from '../test/sim/simulation.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    lines: { type: 'string', default: '80' },
    about: { type: 'string' },
  },
})
const first = wholeNumber('seed', values.seed)
const count = wholeNumber('seeds', values.seeds)
const lines = wholeNumber('lines', values.lines)

function wholeNumber(name: string, text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 0) throw new Error(`--${name} takes a whole number, and got ${text}.`)
  return value
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

function table(counts: ReadonlyMap<string, number>): string {
  const entries = [...counts].toSorted(([one], [other]) => (one < other ? -1 : 1))
  return entries.map(([name, times]) => `${name} ${times}`).join(', ')
}

function add(sums: Map<string, number>, counts: ReadonlyMap<string, number>): void {
  for (const [name, times] of counts) sums.set(name, (sums.get(name) ?? 0) + times)
}

function tellFailure(result: SimulationResult): void {
  say(`\nFAILED seed ${result.seed} (history ${result.hash})`)
  for (const line of result.history(lines)) say(`  ${line}`)
  for (const violation of result.violations.slice(0, 10)) say(`  BROKEN ${violation}`)
  say(`  repeat with: npm run sim -- --seed ${result.seed}`)
}

const faults = new Map<string, number>()
const work = new Map<string, number>()
const failed: number[] = []
let events = 0
let simulatedMs = 0
const startedAt = Date.now()
for (let seed = first; seed < first + count; seed += 1) {
  const result = await simulate({ seed })
  add(faults, result.faults)
  add(work, result.work)
  events += result.events
  simulatedMs += result.simulatedMs
  if (values.about !== undefined) for (const line of result.history(lines, values.about)) say(line)
  if (result.violations.length > 0) {
    failed.push(seed)
    tellFailure(result)
  }
  if (count === 1) say(`seed ${seed}: history ${result.hash}, ${result.events} events, ${result.hosts} hosts`)
}
const seconds = (Date.now() - startedAt) / 1000
say(`\nwork:   ${table(work)}`)
say(`faults: ${table(faults)}`)
say(
  `${count} seeds, ${events} events, ${Math.round(simulatedMs / 60_000)} simulated minutes in ${seconds.toFixed(1)} s`,
)
say(failed.length === 0 ? 'no invariant was broken' : `${failed.length} seeds failed: ${failed.join(' ')}`)
process.exitCode = failed.length === 0 ? 0 : 1
