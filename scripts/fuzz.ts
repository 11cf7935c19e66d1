/**
 * `npm run fuzz`: hostile input for everything that reads what others send, as many threads at a time as there are cores.
 *
 *   npm run fuzz -- --cases 1000000                    a million cases, of all targets by their shares
 *   npm run fuzz -- --cases 1000000 --seed 4711        those of that seed
 *   npm run fuzz -- --cases 50000 --target policies    one target alone
 *   npm run fuzz -- --target json --seed 8 --path 3:1  one case again, as a failure names it
 *   npm run fuzz -- --cases 1000 --json                the outcome as JSON, with nothing else on stdout
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import type { BatchFailure } from '../test/fuzz/fuzz-target.ts'
import { targetNamed, targets } from '../test/fuzz/targets.ts'
import { FuzzThread } from './fuzz-thread.ts'

const progressEveryMs = 10_000
/** Pure cases are some ten thousand a second, those against a running controller some hundred. */
const batchCases = { pure: 2000, live: 250 } as const

const { values } = parseArgs({
  options: {
    cases: { type: 'string', default: '100000' },
    seed: { type: 'string' },
    jobs: { type: 'string', default: String(availableParallelism()) },
    target: { type: 'string' },
    path: { type: 'string' },
    json: { type: 'boolean', default: false },
  },
})

function wholeNumber(name: string, text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value)) throw new Error(`--${name} takes a whole number, and got ${text}.`)
  return value
}

const cases = wholeNumber('cases', values.cases)
const seed = wholeNumber('seed', values.seed ?? String(Date.now() % 2 ** 31)) | 0
const chosen = values.target === undefined ? targets : [targetNamed(values.target)]
if (values.path !== undefined && values.target === undefined) throw new Error('--path takes --target beside it.')

interface Batch {
  readonly target: string
  readonly isLive: boolean
  readonly seed: number
  readonly count: number
}

interface Failure extends BatchFailure {
  readonly target: string
  readonly repeat: string
}

/** The batches of all targets in turn, each with a seed of its own. */
function planBatches(): Batch[] {
  const shares = chosen.reduce((sum, { share }) => sum + share, 0)
  const plans = chosen.map(({ name, share, isLive }) => {
    const size = isLive ? batchCases.live : batchCases.pure
    const wanted = Math.ceil((cases * share) / shares)
    return Array.from({ length: Math.ceil(wanted / size) }, (_, at) => ({
      target: name,
      isLive,
      seed: (seed + Math.imul(at, 0x9e3779b1)) | 0,
      count: Math.min(size, wanted - at * size),
    }))
  })
  const rounds = Math.max(...plans.map(({ length }) => length))
  return Array.from({ length: rounds }, (_, round) => plans.flatMap((plan) => plan.slice(round, round + 1))).flat()
}

interface Tally {
  cases: number
  taken: number
  seconds: number
  slowestMs: number
}

/** What all batches so far came to. */
class Summary {
  readonly failures: Failure[] = []
  readonly #tallies = new Map<string, Tally>()
  readonly #startedAt = Date.now()
  readonly #wanted: number

  constructor(wanted: number) {
    this.#wanted = wanted
  }

  take(batch: Batch, report: Awaited<ReturnType<FuzzThread['run']>>, tookMs: number): void {
    const tally = this.#tallies.get(batch.target) ?? { cases: 0, taken: 0, seconds: 0, slowestMs: 0 }
    tally.cases += report.cases
    tally.taken += report.taken
    tally.seconds += tookMs / 1000
    tally.slowestMs = Math.max(tally.slowestMs, report.slowestMs)
    this.#tallies.set(batch.target, tally)
    if (report.failure === undefined) return
    const repeat = `npm run fuzz -- --target ${batch.target} --seed ${batch.seed} --path ${report.failure.path}`
    const failure = { ...report.failure, target: batch.target, repeat }
    this.failures.push(failure)
    say(`\nFAILED ${failure.target}: ${failure.error}\n  input: ${failure.input}\n  repeat with: ${repeat}\n`)
  }

  progress(): string {
    const rate = this.#done / this.#seconds()
    const left = Math.round((this.#wanted - this.#done) / Math.max(rate, 0.001))
    return `${this.#done} of ${this.#wanted} cases, ${Math.round(rate)} a second, ${this.failures.length} failed, ${left} s left`
  }

  tell(): void {
    for (const [name, { cases: count, taken, seconds, slowestMs }] of this.#tallies) {
      const each = count === 0 ? 0 : Math.round((seconds * 1e6) / count)
      say(
        `${name.padEnd(20)} ${String(count).padStart(8)} cases, ${taken} taken, ${each} µs each, slowest ${slowestMs.toFixed(1)} ms`,
      )
    }
    const peakMiB = Math.round(process.resourceUsage().maxRSS / 1024)
    say(`${this.#done} cases of seed ${seed} in ${this.#seconds().toFixed(1)} s, ${peakMiB} MiB at most`)
    say(this.failures.length === 0 ? 'nothing failed' : `${this.failures.length} failed; repeat with:`)
    for (const { repeat } of this.failures) say(`  ${repeat}`)
    if (!values.json) return
    const { failures } = this
    const outcome = {
      seed,
      cases: this.#done,
      seconds: this.#seconds(),
      targets: Object.fromEntries(this.#tallies),
      failures,
    }
    process.stdout.write(`${JSON.stringify(outcome)}\n`)
  }

  get #done(): number {
    return [...this.#tallies.values()].reduce((sum, tally) => sum + tally.cases, 0)
  }

  #seconds(): number {
    return (Date.now() - this.#startedAt) / 1000
  }
}

function say(line: string): void {
  ;(values.json ? process.stderr : process.stdout).write(`${line}\n`)
}

const batches =
  values.path === undefined
    ? planBatches()
    : chosen.map(({ name, isLive }) => ({ target: name, isLive, seed, count: 1_000_000 }))
const summary = new Summary(batches.reduce((sum, { count }) => sum + count, 0))

/** Takes batches until there are none left. Live ones are the first thread's alone: it has the controller. */
async function work(isFirst: boolean): Promise<void> {
  const thread = new FuzzThread()
  for (;;) {
    const at = batches.findIndex(({ isLive }) => isFirst || !isLive)
    const [batch] = at === -1 ? [] : batches.splice(at, 1)
    if (batch === undefined) break
    const startedMs = performance.now()
    const report = await thread.run(batch.target, { seed: batch.seed, count: batch.count, path: values.path })
    summary.take(batch, report, performance.now() - startedMs)
  }
  await thread.close()
}

const jobs = Math.max(1, wholeNumber('jobs', values.jobs))
const progress = setInterval(() => say(summary.progress()), progressEveryMs)
await Promise.all(Array.from({ length: jobs }, (_, at) => work(at === 0)))
clearInterval(progress)
summary.tell()
process.exitCode = summary.failures.length === 0 ? 0 : 1
