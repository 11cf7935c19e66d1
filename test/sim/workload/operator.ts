/** What every actor of the workload shares: a way to call over an unreliable network, and what it is told about. */
import type { Finding } from '../../../controller/decide/invariants.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import { idOf } from '../../../proto/arn.ts'
import { isApiError } from '../../../proto/errors.ts'
import type { Host } from '../host.ts'
import type { Random } from '../random.ts'
import type { SimLog } from '../sim-log.ts'
import { NoAnswer, type Route } from '../sim-network.ts'
import type { SimTime } from '../sim-time.ts'

/** One kind of operator: what it does now and then, and what must have become of that in the end. */
export interface Actor {
  /** What it may do, by a name of its own in the whole workload: how often beside all others, and the deed. */
  readonly acts: Readonly<Record<string, { readonly weight: number; act(): Promise<void> }>>
  /** Done once at the beginning. */
  begin?(): void
  /** What was answered, and is not so in this state. */
  findings(reader: Reader): readonly Finding[]
}

/** As much of an answer as the workload looks at. */
export interface Answer {
  readonly tasks?: readonly { readonly taskArn: string }[]
  readonly taskArns?: readonly string[]
  readonly failures?: readonly { readonly arn?: string; readonly reason?: string }[]
  readonly taskDefinition?: { readonly taskDefinitionArn: string }
  readonly taskDefinitions?: readonly { readonly taskDefinitionArn: string }[]
  readonly containerInstances?: readonly { readonly containerInstanceArn: string }[]
  readonly service?: { readonly status?: string; readonly desiredCount?: number }
  readonly services?: readonly {
    readonly serviceArn?: string
    readonly status?: string
    readonly createdAt?: number
    readonly taskSets?: readonly { readonly id: string; readonly status: string }[]
  }[]
  readonly protectedTasks?: readonly {
    readonly taskArn: string
    readonly protectionEnabled: boolean
    readonly expirationDate?: number
  }[]
  readonly serviceDeployments?: readonly {
    readonly serviceDeploymentArn: string
    readonly status: string
    readonly targetServiceRevisionArn?: string
  }[]
  readonly serviceRevisions?: readonly { readonly serviceRevisionArn: string }[]
  readonly taskSet?: { readonly id: string; readonly status: string }
}

export interface OperatorParts {
  readonly time: SimTime
  readonly random: Random
  readonly log: SimLog
  readonly route: Route
  readonly hosts: readonly Host[]
}

export class Operator {
  readonly time: SimTime
  readonly random: Random
  readonly hosts: readonly Host[]
  readonly #log: SimLog
  readonly #route: Route
  readonly #deletions = new Map<string, number>()
  #names = 0

  constructor({ time, random, log, route, hosts }: OperatorParts) {
    this.time = time
    this.random = random
    this.hosts = hosts
    this.#log = log
    this.#route = route
  }

  /** Undefined where it was refused or not answered. */
  async call(operation: string, input: object): Promise<Answer | undefined> {
    if (operation !== 'DeleteService' || !('service' in input)) return this.#call(operation, input)
    // Counted before and after it: a call beside it is before the deletion or after, and nobody knows which.
    this.#countDeletion(String(input.service))
    const answer = await this.#call(operation, input)
    this.#countDeletion(String(input.service))
    return answer
  }

  /** Something that tasks need was taken away. */
  harmed(fault: string, details = ''): void {
    this.#log.fault('operator', fault, details)
  }

  /** While this stays the same, nothing has deleted the service, nor is about to. */
  deletionsOf(serviceName: string): number {
    return this.#deletions.get(serviceName) ?? 0
  }

  /** Until it is answered or refused too often: for the end of a history, when nothing fails any more. */
  async callSurely(operation: string, input: object): Promise<Answer | undefined> {
    for (let attempts = 20; attempts > 0; attempts -= 1) {
      const answer = await this.call(operation, input)
      if (answer !== undefined) return answer
      await this.time.sleep(1000)
    }
    return undefined
  }

  #countDeletion(serviceName: string): void {
    this.#deletions.set(serviceName, this.deletionsOf(serviceName) + 1)
  }

  async #call(operation: string, input: object): Promise<Answer | undefined> {
    const log = this.#log
    try {
      const answer: Answer = await this.#route.call(operation, input)
      log.worked(operation)
      log.event('operator', `${operation} is answered ${summaryOf(answer)}`)
      return answer
    } catch (error) {
      if (!(error instanceof NoAnswer) && !isApiError(error)) throw error
      log.worked(`${operation} ${isApiError(error) ? 'refused' : 'unanswered'}`)
      log.event('operator', `${operation}: ${error.message.slice(0, 160)}`)
      return undefined
    }
  }

  /** A name that no other call has. */
  newName(kind: string): string {
    this.#names += 1
    return `${kind}-${this.#names}`
  }

  /** One host as its agent is registered, now and then one that is none. */
  instanceArn(): string {
    const known = this.hosts.flatMap(({ containerInstanceArn }) => containerInstanceArn ?? [])
    return known.length === 0 ? '0'.repeat(32) : this.random.pick(known)
  }
}

/**
 * What was last said of each thing, where that is certain: of calls that overlap, or that nobody answered, it is not known
 * which came last.
 */
export class LastWord {
  readonly #said = new Map<string, string>()
  readonly #underway = new Map<string, number>()
  readonly #overlapped = new Set<string>()

  /** `call` answers whether it was taken. */
  async say(thing: string, word: string, call: () => Promise<boolean>): Promise<void> {
    const others = this.#underway.get(thing) ?? 0
    if (others > 0) this.#overlapped.add(thing)
    this.#underway.set(thing, others + 1)
    this.#said.delete(thing)
    const isTaken = await call()
    const left = (this.#underway.get(thing) ?? 0) - 1
    this.#underway.set(thing, left)
    if (left > 0) return
    if (isTaken && !this.#overlapped.has(thing)) this.#said.set(thing, word)
    this.#overlapped.delete(thing)
  }

  /** Undefined where it is not certain. */
  last(thing: string): string | undefined {
    return this.#said.get(thing)
  }

  all(): readonly (readonly [thing: string, word: string])[] {
    return [...this.#said]
  }
}

function summaryOf({ tasks = [], failures = [], taskDefinition, taskDefinitions = [], taskSet }: Answer): string {
  const ids = tasks.map(({ taskArn }) => idOf(taskArn).slice(0, 8))
  const refused = failures.map(({ reason }) => reason)
  const definitions = [...(taskDefinition === undefined ? [] : [taskDefinition]), ...taskDefinitions]
  const sets = taskSet === undefined ? [] : [`${taskSet.id} ${taskSet.status}`]
  return [...ids, ...refused, ...definitions.map((each) => idOf(each.taskDefinitionArn)), ...sets].join(' ')
}
