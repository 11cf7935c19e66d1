/** Drains container instances, makes them ACTIVE again, takes them out. */
import type { Finding } from '../../../controller/decide/invariants.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import { idOf } from '../../../proto/arn.ts'
import { type Actor, LastWord, type Operator } from './operator.ts'

export class InstanceActor implements Actor {
  readonly acts = {
    drain: { weight: 1, act: () => this.#setStatus('DRAINING') },
    activate: { weight: 2, act: () => this.#setStatus('ACTIVE') },
    deregister: { weight: 0.3, act: () => this.#deregister() },
  }
  readonly #operator: Operator
  readonly #deregistered = new Set<string>()
  /** Instance id -> the status that was last asked for. */
  readonly #statuses = new LastWord()

  constructor(operator: Operator) {
    this.#operator = operator
  }

  findings(reader: Reader): readonly Finding[] {
    const statusOf = (instanceId: string) => reader.get('instance', instanceId)?.status
    const back = [...this.#deregistered]
      .filter((instanceId) => (statusOf(instanceId) ?? 'INACTIVE') !== 'INACTIVE')
      .map((instanceId) => `${instanceId} was deregistered, and is ${statusOf(instanceId)}`)
    const other = this.#statuses.all().flatMap(([instanceId, said]) => {
      const status = statusOf(instanceId) ?? 'INACTIVE'
      return status === said || status === 'INACTIVE' ? [] : [`${instanceId} was made ${said}, and is ${status}`]
    })
    return [...back, ...other].map((what) => ({ invariant: 'whatWasAcceptedIsThere', what }))
  }

  /** At the end: every host takes tasks again. */
  async mend(): Promise<void> {
    for (const { containerInstanceArn: arn } of this.#operator.hosts) {
      if (arn === undefined) continue
      for (let attempts = 20; attempts > 0; attempts -= 1) {
        const input = { containerInstances: [arn], status: 'ACTIVE' }
        const answer = await this.#operator.call('UpdateContainerInstancesState', input)
        if (answer !== undefined) break
        await this.#operator.time.sleep(1000)
      }
      await this.#statuses.say(idOf(arn), 'ACTIVE', async () => true)
    }
  }

  async #setStatus(status: 'ACTIVE' | 'DRAINING'): Promise<void> {
    const arn = this.#operator.instanceArn()
    await this.#statuses.say(idOf(arn), status, async () => {
      const answer = await this.#operator.call('UpdateContainerInstancesState', { containerInstances: [arn], status })
      return (answer?.containerInstances ?? []).length === 1
    })
  }

  /** Takes a host out, and has its agent started anew, so that it comes back as another instance. */
  async #deregister(): Promise<void> {
    const { random, hosts, time } = this.#operator
    const host = random.pick(hosts)
    const containerInstance = host.containerInstanceArn
    if (containerInstance === undefined) return
    const force = random.chance(0.7)
    const answer = await this.#operator.call('DeregisterContainerInstance', { containerInstance, force })
    if (answer === undefined) return
    this.#deregistered.add(idOf(containerInstance))
    time.after(random.between(1000, 30_000), () => {
      if (host.powered && host.containerInstanceArn === containerInstance) host.kill()
    })
  }
}
