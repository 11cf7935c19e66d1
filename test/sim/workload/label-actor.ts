/** Tags what carries tags, and says of instances what placement may go by. */
import type { Finding } from '../../../controller/decide/invariants.ts'
import { attributesOf, tagsOf } from '../../../controller/decide/operator-changes.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import { idOf } from '../../../proto/arn.ts'
import type { DefinitionActor } from './definition-actor.ts'
import { type Actor, LastWord, type Operator } from './operator.ts'
import type { TaskActor } from './task-actor.ts'

/** What stands for "it was taken away". */
const nothing = ''

export class LabelActor implements Actor {
  readonly acts = {
    putAttribute: { weight: 0.4, act: () => this.#setRack(this.#operator.random.pick(['r1', 'r2'])) },
    deleteAttribute: { weight: 0.2, act: () => this.#setRack(nothing) },
    tag: { weight: 0.4, act: () => this.#setTag(this.#operator.random.pick(['blue', 'green'])) },
    untag: { weight: 0.2, act: () => this.#setTag(nothing) },
  }
  readonly #operator: Operator
  readonly #tasks: TaskActor
  readonly #definitions: DefinitionActor
  /** Instance id -> its rack. */
  readonly #racks = new LastWord()
  /** ARN -> the value of its tag `team`. */
  readonly #teams = new LastWord()

  constructor(operator: Operator, tasks: TaskActor, definitions: DefinitionActor) {
    this.#operator = operator
    this.#tasks = tasks
    this.#definitions = definitions
  }

  findings(reader: Reader): readonly Finding[] {
    const racks = this.#racks.all().flatMap(([instanceId, said]) => {
      const instance = reader.get('instance', instanceId)
      if (instance === undefined || instance.status === 'INACTIVE') return []
      const is = attributesOf(instance).find(({ name }) => name === 'rack')?.value ?? nothing
      return is === said ? [] : [`the rack of ${instanceId} was said to be '${said}', and is '${is}'`]
    })
    const teams = this.#teams.all().flatMap(([arn, said]) => {
      const is = teamOf(reader, arn)
      return is === undefined || is === said ? [] : [`the team of ${arn} was said to be '${said}', and is '${is}'`]
    })
    return [...racks, ...teams].map((what) => ({ invariant: 'whatWasAcceptedIsThere', what }))
  }

  async #setRack(rack: string): Promise<void> {
    const targetId = this.#operator.instanceArn()
    const attribute = { name: 'rack', targetId, targetType: 'container-instance' }
    await this.#racks.say(idOf(targetId), rack, async () => {
      const answer =
        rack === nothing
          ? await this.#operator.call('DeleteAttributes', { attributes: [attribute] })
          : await this.#operator.call('PutAttributes', { attributes: [{ ...attribute, value: rack }] })
      return answer !== undefined
    })
  }

  async #setTag(team: string): Promise<void> {
    const resourceArn = this.#resourceArn()
    if (resourceArn === undefined) return
    await this.#teams.say(resourceArn, team, async () => {
      const answer =
        team === nothing
          ? await this.#operator.call('UntagResource', { resourceArn, tagKeys: ['team'] })
          : await this.#operator.call('TagResource', { resourceArn, tags: [{ key: 'team', value: team }] })
      return answer !== undefined
    })
  }

  #resourceArn(): string | undefined {
    const prefix = 'arn:aws:ecs:us-east-1:123456789012:'
    const kind = this.#operator.random.pick(['instance', 'task', 'definition', 'cluster'] as const)
    if (kind === 'cluster') return `${prefix}cluster/default`
    if (kind === 'instance') return this.#operator.instanceArn()
    const id = kind === 'task' ? this.#tasks.pick() : this.#definitions.pickName()
    if (id === undefined) return undefined
    return kind === 'task' ? `${prefix}task/default/${id}` : `${prefix}task-definition/${id}`
  }
}

/** Undefined for what is no more. */
function teamOf(reader: Reader, arn: string): string | undefined {
  const id = idOf(arn)
  const instance = reader.get('instance', id)
  const row = reader.get('task', id) ?? reader.get('taskDefinition', id) ?? reader.get('cluster', id)
  const tags = instance === undefined ? row?.tags : tagsOf(instance)
  return tags === undefined ? undefined : (tags.find(({ key }) => key === 'team')?.value ?? nothing)
}
