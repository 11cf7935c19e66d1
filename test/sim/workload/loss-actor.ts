/** Says of lost instances how long a silence may be, and that those which are silent are gone. */
import type { Finding } from '../../../controller/decide/invariants.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import { type Actor, LastWord, type Operator } from './operator.ts'

const cluster = 'default'

export class LossActor implements Actor {
  readonly acts = {
    setLostAfter: { weight: 0.3, act: () => this.#setLostAfter(this.#operator.random.pick([15_000, 30_000, 90_000])) },
    setNoLostAfter: { weight: 0.2, act: () => this.#setLostAfter(null) },
    resumeReplacement: {
      weight: 0.3,
      act: async () => void (await this.#operator.call('resumeReplacement', { cluster })),
    },
  }
  readonly #operator: Operator
  readonly #patience = new LastWord()

  constructor(operator: Operator) {
    this.#operator = operator
  }

  /** At the end: the usual patience. */
  mend(): Promise<void> {
    return this.#setLostAfter(null)
  }

  findings(reader: Reader): readonly Finding[] {
    const is = String(reader.get('cluster', cluster)?.lostAfterMs ?? null)
    return this.#patience.all().flatMap(([, said]) => {
      if (is === said) return []
      return [{ invariant: 'whatWasAcceptedIsThere', what: `lostAfterMs was said to be ${said}, and is ${is}` }]
    })
  }

  async #setLostAfter(lostAfterMs: number | null): Promise<void> {
    await this.#patience.say(cluster, String(lostAfterMs), async () => {
      return (await this.#operator.call('setLostAfter', { cluster, lostAfterMs })) !== undefined
    })
  }
}
