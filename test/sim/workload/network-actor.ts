/** Makes the subnet of the tasks with addresses of their own, and looks that it stays what it was said to be. */
import type { Finding } from '../../../controller/decide/invariants.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import type { Actor, Operator } from './operator.ts'

const cluster = 'default'
const subnetId = 'subnet-sim'
const attempts = 40

export class NetworkActor implements Actor {
  readonly acts = {}
  readonly #operator: Operator
  #isDefault = false

  constructor(operator: Operator) {
    this.#operator = operator
  }

  begin(): void {
    void this.#makeSubnet()
  }

  findings(reader: Reader): readonly Finding[] {
    if (!this.#isDefault || reader.get('cluster', cluster)?.defaultSubnetId === subnetId) return []
    return [{ invariant: 'whatWasAcceptedIsThere', what: `${subnetId} was made the default subnet, and is not` }]
  }

  /** Until it is answered: a repeat of what was taken, and not answered, is refused. */
  async #makeSubnet(): Promise<void> {
    const { time, random } = this.#operator
    for (let left = attempts; left > 0 && !this.#isDefault; left -= 1) {
      await this.#operator.call('createSubnet', { subnetId })
      this.#isDefault = (await this.#operator.call('setDefaultSubnet', { cluster, subnetId })) !== undefined
      await time.sleep(random.between(500, 5000))
    }
  }
}
