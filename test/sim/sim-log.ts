/** What happened, at which simulated time, to whom: hashed as a whole, its end kept to be read, its faults counted. */
import { createHash } from 'node:crypto'
import type { Clock } from '../../proto/world.ts'
import { isSecret } from './sim-secrets.ts'
import { beginning } from './sim-time.ts'

const linesKept = 4000
/** Characters that are hashed at once: a call for each line would cost more than the hashing. */
const hashedAtOnce = 64 * 1024

/** Messages of a log that no fault explains: where one appears, the program has a bug. */
const bugs: readonly string[] = [
  'an input threw unexpectedly',
  'a decider threw',
  'deciders did not come to rest',
  'a listener to commits threw',
  'a task cannot be sent to its agent',
  'what came in could not be taken in',
  'a task could not be decided about',
  'a step failed in an unforeseen way',
]

export class SimLog {
  /** Fault -> how often it was injected. */
  readonly faults = new Map<string, number>()
  /** What was done -> how often. */
  readonly work = new Map<string, number>()
  /** Sentences, each about something that must never be. The first ends the run. */
  readonly violations: string[] = []
  readonly #clock: Clock
  readonly #hash = createHash('sha256')
  readonly #lines: string[] = []
  #unhashed = ''

  constructor(clock: Clock) {
    this.#clock = clock
  }

  event(who: string, what: string): void {
    const line = `${stamp(this.#clock.now() - beginning)} ${who.padEnd(10)} ${what}`
    if (isSecret(what)) this.violations.push(`secretsStayWhereTheyBelong: a line of ${who}'s: ${what.slice(0, 300)}`)
    this.#unhashed += line
    if (this.#unhashed.length > hashedAtOnce) this.#takeIntoHash()
    this.#lines.push(line)
    if (this.#lines.length > 2 * linesKept) this.#lines.splice(0, linesKept)
  }

  fault(who: string, name: string, details = ''): void {
    this.faults.set(name, (this.faults.get(name) ?? 0) + 1)
    this.event(who, `FAULT ${name}${details === '' ? '' : ` ${details}`}`)
  }

  worked(what: string): void {
    this.work.set(what, (this.work.get(what) ?? 0) + 1)
  }

  violated(invariant: string, what: string): void {
    this.violations.push(`${invariant}: ${what}`)
    this.event('invariant', `BROKEN ${invariant}: ${what}`)
  }

  hash(): string {
    this.#takeIntoHash()
    return this.#hash.copy().digest('hex').slice(0, 16)
  }

  lines(last: number, about = ''): readonly string[] {
    return this.#lines.filter((line) => line.includes(about)).slice(-last)
  }

  #takeIntoHash(): void {
    this.#hash.update(this.#unhashed)
    this.#unhashed = ''
  }

  /** A logger for a program under test, in the form of pino's. */
  logger(who: string, bound: object = {}): SimLogger {
    const write =
      (level: string) =>
      (facts: object, message = ''): void => {
        this.event(who, `${level} ${message} ${JSON.stringify(plain({ ...facts, ...bound }))}`)
        const bug = level === 'error' ? bugs.find((text) => message.startsWith(text)) : undefined
        if (bug !== undefined) this.violated('nothingFailsInAnUnforeseenWay', `${who}: ${message} ${errorOf(facts)}`)
      }
    const logger: SimLogger = {
      trace: () => undefined,
      debug: () => undefined,
      info: write('info'),
      warn: write('warn'),
      error: write('error'),
      fatal: write('fatal'),
      child: (facts) => this.logger(who, { ...bound, ...facts }),
    }
    return logger
  }
}

type Write = (facts: object, message?: string) => void

export interface SimLogger {
  readonly trace: Write
  readonly debug: Write
  readonly info: Write
  readonly warn: Write
  readonly error: Write
  readonly fatal: Write
  readonly child: (facts: object) => SimLogger
}

/** Short enough for one line: an error is its message, an ARN its last part. */
function plain(facts: object): object {
  return Object.fromEntries(
    Object.entries(facts).map(([name, value]) => {
      if (value instanceof Error) return [name, value.message]
      if (typeof value === 'string' && value.startsWith('arn:')) return [name, value.slice(value.lastIndexOf('/') + 1)]
      return [name, value]
    }),
  )
}

function errorOf(facts: object): string {
  const { err } = facts as { err?: unknown }
  return err instanceof Error ? (err.stack ?? err.message) : ''
}

function stamp(ms: number): string {
  const minutes = Math.floor(ms / 60_000)
  const seconds = ((ms % 60_000) / 1000).toFixed(3).padStart(6, '0')
  return `${String(minutes).padStart(3, '0')}:${seconds}`
}
