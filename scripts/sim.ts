/**
 * `npm run sim`: simulated clusters, one for each seed, as many at a time as there are cores.
 *
 *   npm run sim -- --seeds 1000            seeds 1 to 1000
 *   npm run sim -- --seed 4711             that one, with the end of its history where it fails
 *   npm run sim -- --seed 4711 --seeds 50  fifty from there on
 *   npm run sim -- --seed 4711 --about ID  the lines of its history that name something
 *   npm run sim -- --seeds 1000 --jobs 1   in one process
 *   npm run sim -- --alone --seeds 20      thirty days without a controller, twenty times
 */
import { type ChildProcess, fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { AloneStory } from '../test/sim/alone-story.ts'
import type { SeedOrder, SeedReport } from './sim-worker.ts'

const progressEveryMs = 10_000
/** A history has some hundred megabytes of short-lived garbage: a larger nursery saves a tenth of the time. */
const workerFlags = ['--max-semi-space-size=32', '--single-threaded-gc']

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    lines: { type: 'string', default: '80' },
    about: { type: 'string' },
    alone: { type: 'boolean', default: false },
  },
})
const first = wholeNumber('seed', values.seed)
const count = wholeNumber('seeds', values.seeds)
const jobs = Math.max(1, Math.min(wholeNumber('jobs', values.jobs), count))
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

/** What all histories so far came to. */
class Summary {
  readonly #faults = new Map<string, number>()
  readonly #work = new Map<string, number>()
  readonly #failed: number[] = []
  readonly #startedAt = Date.now()
  #done = 0
  #events = 0
  #simulatedMs = 0

  get failedCount(): number {
    return this.#failed.length
  }

  take(report: SeedReport): void {
    const { seed, hash, events, hosts, violations } = report
    this.#done += 1
    this.#events += events
    this.#simulatedMs += report.simulatedMs
    for (const [name, times] of report.faults) this.#faults.set(name, (this.#faults.get(name) ?? 0) + times)
    for (const [name, times] of report.work) this.#work.set(name, (this.#work.get(name) ?? 0) + times)
    if (violations.length > 0) {
      this.#failed.push(seed)
      say(`\nFAILED seed ${seed} (history ${hash})`)
    }
    for (const line of report.history) say(violations.length > 0 ? `  ${line}` : line)
    for (const violation of violations.slice(0, 10)) say(`  BROKEN ${violation}`)
    if (violations.length > 0) say(`  repeat with: npm run sim -- --seed ${seed}`)
    if (count === 1) say(`seed ${seed}: history ${hash}, ${events} events, ${hosts} hosts`)
  }

  progress(): string {
    const rate = this.#done / this.#seconds()
    const leftSeconds = Math.round((count - this.#done) / Math.max(rate, 0.001))
    return `${this.#done} of ${count} seeds, ${rate.toFixed(2)} a second, ${this.failedCount} failed, ${leftSeconds} s left`
  }

  tell(): void {
    const simulated = `${this.#events} events, ${Math.round(this.#simulatedMs / 60_000)} simulated minutes`
    const seconds = this.#seconds()
    const rate = (this.#done / seconds).toFixed(2)
    say(`\nwork:   ${table(this.#work)}`)
    say(`faults: ${table(this.#faults)}`)
    say(`${this.#done} seeds, ${simulated} in ${seconds.toFixed(1)} s, ${rate} seeds a second with ${jobs} at a time`)
    const failed = this.#failed.toSorted((one, other) => one - other)
    if (failed.length === 0) return say('no invariant was broken')
    say(`${failed.length} seeds failed; repeat one with:`)
    for (const seed of failed) say(`  npm run sim -- --seed ${seed}`)
  }

  #seconds(): number {
    return (Date.now() - this.#startedAt) / 1000
  }
}

const summary = new Summary()
let next = first

/** Gives one process seeds until there are none left; one that dies over its seed has failed it, and is replaced. */
function work(): Promise<void> {
  return new Promise((resolve) => {
    let underway: number | undefined
    const child = fork(join(import.meta.dirname, 'sim-worker.ts'), { execArgv: workerFlags })
    const feed = (): void => {
      underway = next < first + count ? next : undefined
      if (underway === undefined) return child.disconnect()
      next += 1
      order(child, { seed: underway, lines, about: values.about })
    }
    child.on('message', (report) => {
      summary.take(report as SeedReport)
      feed()
    })
    child.on('exit', (code, signal) => {
      if (underway === undefined) return resolve()
      const nothing = { hash: '', events: 0, hosts: 0, simulatedMs: 0, faults: [], work: [], history: [] }
      const died = `the process of the simulation ended with ${signal ?? code}`
      summary.take({ seed: underway, ...nothing, violations: [died] })
      resolve(next < first + count ? work() : undefined)
    })
    feed()
  })
}

function order(child: ChildProcess, seedOrder: SeedOrder): void {
  child.send(seedOrder)
}

/** One after the other; each says how it went. */
async function alone(): Promise<boolean> {
  let isWell = true
  for (let seed = first; seed < first + count; seed += 1) {
    const result = await new AloneStory(seed).run()
    const { findings, convergedMs, rejoinedMs, startsAlone, checks } = result
    isWell &&= findings.length === 0
    say(`seed ${seed}: ${startsAlone} starts, ${checks} looks, settled in ${convergedMs} and ${rejoinedMs} ms`)
    if (findings.length > 0) for (const line of result.history(lines, values.about)) say(`  ${line}`)
    for (const finding of findings) say(`  BROKEN ${finding}`)
  }
  return isWell
}

if (values.alone) process.exit((await alone()) ? 0 : 1)
const progress = count === 1 ? undefined : setInterval(() => say(summary.progress()), progressEveryMs)
await Promise.all(Array.from({ length: jobs }, work))
clearInterval(progress)
summary.tell()
process.exitCode = summary.failedCount === 0 ? 0 : 1
