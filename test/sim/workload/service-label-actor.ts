/** Tags services. A service that is deleted and made anew has none of the former's. */
import type { Finding } from '../../../controller/decide/invariants.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import { type Actor, LastWord, type Operator } from './operator.ts'

/** What stands for "it was taken away". */
const nothing = ''

interface Sight {
  readonly serviceArn: string
  readonly createdAt: number
}

export class ServiceLabelActor implements Actor {
  readonly acts = {
    tagService: { weight: 0.4, act: () => this.#set(this.#operator.random.pick(['red', 'black'])) },
    untagService: { weight: 0.2, act: () => this.#set(nothing) },
  }
  readonly #operator: Operator
  readonly #serviceNames: readonly string[]
  /** Name and time of creation -> the value of its tag `owner`. */
  readonly #owners = new LastWord()

  constructor(operator: Operator, serviceNames: readonly string[]) {
    this.#operator = operator
    this.#serviceNames = serviceNames
  }

  findings(reader: Reader): readonly Finding[] {
    return this.#owners.all().flatMap(([thing, said]) => {
      const [serviceName = '', createdAt] = thing.split('@')
      const row = reader.get('service', `default/${serviceName}`)
      if (row === undefined || String(row.createdAt) !== createdAt) return []
      const is = row.tags.find(({ key }) => key === 'owner')?.value ?? nothing
      if (is === said) return []
      return [
        {
          invariant: 'whatWasAcceptedIsThere',
          what: `the owner of ${serviceName} was said to be '${said}', and is '${is}'`,
        },
      ]
    })
  }

  async #set(owner: string): Promise<void> {
    const serviceName = this.#operator.random.pick(this.#serviceNames)
    const before = await this.#see(serviceName)
    if (before === undefined) return
    const { serviceArn: resourceArn, createdAt } = before
    await this.#owners.say(`${serviceName}@${createdAt}`, owner, async () => {
      const answer =
        owner === nothing
          ? await this.#operator.call('UntagResource', { resourceArn, tagKeys: ['owner'] })
          : await this.#operator.call('TagResource', { resourceArn, tags: [{ key: 'owner', value: owner }] })
      // Its name may stand for another one by now: then nobody knows which of them it was.
      return answer !== undefined && (await this.#see(serviceName))?.createdAt === createdAt
    })
  }

  async #see(serviceName: string): Promise<Sight | undefined> {
    const answer = await this.#operator.call('DescribeServices', { services: [serviceName], include: ['TAGS'] })
    const { serviceArn, createdAt } = answer?.services?.[0] ?? {}
    if (serviceArn === undefined || createdAt === undefined) return undefined
    return { serviceArn, createdAt: Math.round(createdAt * 1000) }
  }
}
