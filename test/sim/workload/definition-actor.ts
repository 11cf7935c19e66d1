/** Registers task definitions, and takes them away again: also while tasks of them run or are still to start. */
import type { Finding } from '../../../controller/decide/invariants.ts'
import { isUsed } from '../../../controller/decide/task-definition.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import { idOf } from '../../../proto/arn.ts'
import { taskDefinitions } from '../task-definitions.ts'
import type { Actor, Operator } from './operator.ts'

export class DefinitionActor implements Actor {
  readonly acts = {
    define: { weight: 1.2, act: () => this.#register(this.#operator.random.pick(Object.keys(taskDefinitions))) },
    undefine: { weight: 0.7, act: () => this.#deregister() },
    delete: { weight: 0.7, act: () => this.#delete() },
  }
  readonly #operator: Operator
  /** `family:revision` of calls that were answered, and of those that a deletion was asked for, answered or not. */
  readonly #registered = new Set<string>()
  readonly #deregistered = new Set<string>()
  readonly #doomed = new Set<string>()
  readonly #deleted = new Set<string>()
  readonly #givenTwice: string[] = []

  constructor(operator: Operator) {
    this.#operator = operator
  }

  begin(): void {
    for (const family of Object.keys(taskDefinitions)) void this.#register(family)
  }

  /** What a call may name: a family, now and then one of its revisions; undefined while there is none. */
  pick(): string | undefined {
    const names = [...this.#registered]
    if (names.length === 0) return undefined
    const { random } = this.#operator
    const name = random.pick(names)
    return random.chance(0.15) ? name : familyOf(name)
  }

  /** The ARN of one that was registered. */
  pickName(): string | undefined {
    const names = [...this.#registered].filter((name) => !this.#doomed.has(name))
    return names.length === 0 ? undefined : this.#operator.random.pick(names)
  }

  findings(reader: Reader): readonly Finding[] {
    const rowOf = (name: string) => reader.get('taskDefinition', name)
    const found: Finding[] = this.#givenTwice.map((what) => ({ invariant: 'revisionsAreGivenOnce', what }))
    const broken = (what: string): void => void found.push({ invariant: 'whatWasAcceptedIsThere', what })
    for (const name of this.#registered) {
      if (!this.#doomed.has(name) && rowOf(name) === undefined) broken(`accepted task definition ${name} is gone`)
    }
    for (const name of this.#deregistered) {
      if (rowOf(name)?.status === 'ACTIVE') broken(`task definition ${name} was deregistered, and is ACTIVE`)
    }
    for (const name of this.#deleted) {
      const row = rowOf(name)
      if (row === undefined) continue
      if (!isUsed(reader, row.taskDefinitionArn)) {
        broken(`task definition ${name} was deleted, is ${row.status}, and nothing uses it`)
      }
    }
    return found
  }

  /** The newest revision of a family as one that is ACTIVE: a new one, where it has to be. */
  async renew(family: string): Promise<void> {
    await this.#register(family)
  }

  async #register(family: string): Promise<void> {
    const input = taskDefinitions[family]
    if (input === undefined) throw new Error(`There is no definition of ${family}.`)
    const answer = await this.#operator.call('RegisterTaskDefinition', input)
    if (answer?.taskDefinition === undefined) return
    const name = idOf(answer.taskDefinition.taskDefinitionArn)
    if (this.#registered.has(name)) this.#givenTwice.push(`${name} was given to two calls`)
    this.#registered.add(name)
  }

  async #deregister(): Promise<void> {
    const name = this.pickName()
    if (name === undefined) return
    const answer = await this.#operator.call('DeregisterTaskDefinition', { taskDefinition: name })
    if (answer !== undefined) this.#deregistered.add(name)
  }

  /** Mostly of those that were deregistered; an ACTIVE one among them is a failure in the answer. */
  async #delete(): Promise<void> {
    const { random } = this.#operator
    const ready = [...this.#deregistered].filter((name) => !this.#deleted.has(name)).slice(-3)
    const active = this.pickName()
    const names = [...ready, ...(active !== undefined && random.chance(0.2) ? [active] : [])]
    if (names.length === 0) return
    for (const name of names) this.#doomed.add(name)
    const answer = await this.#operator.call('DeleteTaskDefinitions', { taskDefinitions: [...new Set(names)] })
    for (const { taskDefinitionArn } of answer?.taskDefinitions ?? []) this.#deleted.add(idOf(taskDefinitionArn))
  }
}

function familyOf(name: string): string {
  return name.slice(0, name.lastIndexOf(':'))
}
