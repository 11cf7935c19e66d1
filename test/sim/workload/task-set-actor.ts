/**
 * The external controller of one service: makes task sets, scales them, makes one of them primary, deletes them with and
 * without force, and deletes the service while it has some.
 */
import type { Finding } from '../../../controller/decide/invariants.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import type { DefinitionActor } from './definition-actor.ts'
import { type Actor, LastWord, type Operator } from './operator.ts'
import { createServiceSurely } from './service-life.ts'

export const outsideService = 'outside'
const serviceKey = `default/${outsideService}`
/** Of task sets ECS wants both named. */
const named = { cluster: 'default', service: outsideService }

const definitionsSet = ['plain', 'checked', 'slow', 'web-dynamic', 'crash', 'missing-image'] as const
const scales = [0, 25, 50, 100] as const

export class TaskSetActor implements Actor {
  readonly acts = {
    createTaskSet: {
      weight: 1.2,
      act: async () => void (await this.#createTaskSet(this.#operator.random.pick(definitionsSet))),
    },
    scaleTaskSet: { weight: 0.7, act: () => this.#scale() },
    makePrimary: { weight: 0.5, act: () => this.#makePrimary() },
    deleteTaskSet: { weight: 0.6, act: () => this.#deleteOne() },
    lookAtTaskSets: { weight: 0.3, act: () => this.#look() },
    scaleOutside: { weight: 0.4, act: () => this.#scaleService(this.#operator.random.between(0, 4)) },
    deleteOutside: {
      weight: 0.15,
      act: async () => void (await this.#deleteService(this.#operator.random.chance(0.7))),
    },
    createOutside: { weight: 0.4, act: async () => void (await this.#createService()) },
  }
  readonly #operator: Operator
  readonly #definitions: DefinitionActor
  /** `ACTIVE` or `deleted`, as it was last answered. */
  readonly #statuses = new LastWord()
  readonly #counts = new LastWord()
  /** Task set -> its scale; of one that was deleted, in whichever way, nothing is said. */
  readonly #scales = new LastWord()
  readonly #primaries = new LastWord()
  /** Task set -> how often its service had been deleted when it was asked for. */
  readonly #made = new Map<string, number>()
  /** Those of which a deletion was asked, answered or not, and those of which it was answered. */
  readonly #doomed = new Set<string>()
  readonly #deleted = new Set<string>()
  readonly #doubled: string[] = []

  constructor(operator: Operator, definitions: DefinitionActor) {
    this.#operator = operator
    this.#definitions = definitions
  }

  begin(): void {
    void this.#createServiceSurely()
  }

  /** At the end: one task set, which is primary and can run. */
  async mend(): Promise<void> {
    await this.#createServiceSurely()
    await this.#scaleService(2)
    await this.#definitions.renew('plain')
    for (const id of await this.#taskSets()) await this.#delete(id, true)
    const id = await this.#createTaskSet('plain', 100, 60)
    if (id !== undefined) await this.#makePrimary(id)
  }

  /** Sometimes as a careful person does it: task sets first, then the service. */
  async deleteEverything(): Promise<void> {
    if (this.#operator.random.chance(0.5)) {
      await this.#scaleService(0)
      for (const id of await this.#taskSets()) await this.#delete(id, this.#operator.random.chance(0.5))
      for (let attempts = 30; attempts > 0; attempts -= 1) {
        if (await this.#deleteService(false)) return
        await this.#operator.time.sleep(5000)
      }
    }
    await this.#deleteService(true)
  }

  findings(reader: Reader): readonly Finding[] {
    const service = reader.get('service', serviceKey)
    const rowOf = (id: string) => reader.get('taskSet', id)
    const isKept = (id: string): boolean => this.#isKept(id)
    const gone = [...this.#made.keys()]
      .filter((id) => isKept(id) && rowOf(id) === undefined)
      .map((id) => `accepted task set ${id} is gone`)
    const left = [...this.#deleted]
      .filter((id) => (rowOf(id)?.status ?? 'DRAINING') !== 'DRAINING')
      .map((id) => `task set ${id} was deleted, and is ${rowOf(id)?.status}`)
    const scaled = this.#scales.all().flatMap(([id, said]) => {
      const is = rowOf(id)?.scale.value
      return !isKept(id) || is === undefined || String(is) === said ? [] : [`${id} was scaled to ${said}, and is ${is}`]
    })
    const primary = this.#primaries.all().flatMap(([, id]) => {
      const status = rowOf(id)?.status
      return isKept(id) && status !== 'PRIMARY' ? [`${id} was made primary, and is ${status}`] : []
    })
    const all = [...gone, ...left, ...scaled, ...primary, ...this.#ofService(service)]
    return [
      ...all.map((what) => ({ invariant: 'whatWasAcceptedIsThere', what })),
      ...[...doubled(reader), ...this.#doubled].map((what) => ({ invariant: 'callsAreTakenOnce', what })),
    ]
  }

  #ofService(service: { readonly status: string; readonly desiredCount: number } | undefined): readonly string[] {
    const status = service?.status ?? 'INACTIVE'
    const said = this.#statuses.last(outsideService)
    const agrees = said === undefined || (said === 'ACTIVE') === (status === 'ACTIVE')
    const count = this.#counts.last(outsideService)
    const isOther = status === 'ACTIVE' && count !== undefined && count !== String(service?.desiredCount)
    return [
      ...(agrees ? [] : [`service ${outsideService} was answered ${said}, and is ${status}`]),
      ...(isOther ? [`${count} tasks were asked of ${outsideService}, and ${service?.desiredCount} are`] : []),
    ]
  }

  #createServiceSurely(): Promise<void> {
    const plan = { serviceName: outsideService }
    return createServiceSurely(this.#operator, this.#definitions, plan, () => this.#createService())
  }

  async #createService(): Promise<boolean> {
    const desiredCount = 2
    const input = { serviceName: outsideService, desiredCount, deploymentController: { type: 'EXTERNAL' } }
    let isTaken = false
    await this.#statuses.say(outsideService, 'ACTIVE', async () => {
      await this.#counts.say(outsideService, String(desiredCount), async () => {
        const answer = await this.#operator.call('CreateService', input)
        isTaken = answer !== undefined
        // A repeat is answered with the service as it is by now.
        return answer?.service?.desiredCount === desiredCount
      })
      return isTaken
    })
    return isTaken
  }

  async #scaleService(desiredCount: number): Promise<void> {
    await this.#counts.say(outsideService, String(desiredCount), async () => {
      const answer = await this.#operator.call('UpdateService', { service: outsideService, desiredCount })
      return answer !== undefined
    })
  }

  async #deleteService(force: boolean): Promise<boolean> {
    let isTaken = false
    await this.#statuses.say(outsideService, 'deleted', async () => {
      isTaken = (await this.#operator.call('DeleteService', { service: outsideService, force })) !== undefined
      return isTaken
    })
    return isTaken
  }

  /** With a token it is repeated until it is answered, as the SDKs do. */
  async #createTaskSet(taskDefinition: string, percent?: number, attemptsMax = 3): Promise<string | undefined> {
    const { random, time } = this.#operator
    const value = percent ?? random.pick(scales)
    const clientToken = this.#operator.newName('set')
    const input = { ...named, taskDefinition, scale: { value, unit: 'PERCENT' }, clientToken }
    for (let attempts = attemptsMax; attempts > 0; attempts -= 1) {
      const deletions = this.#operator.deletionsOf(outsideService)
      const id = (await this.#operator.call('CreateTaskSet', input))?.taskSet?.id
      if (id !== undefined) {
        this.#made.set(id, deletions)
        if (random.chance(0.3)) await this.#createAgain(id, input)
        return id
      }
      await time.sleep(random.between(500, 5000))
    }
    return undefined
  }

  /** A client that has not seen the answer asks once more, and is answered the same. */
  async #createAgain(id: string, input: object): Promise<void> {
    const again = (await this.#operator.call('CreateTaskSet', input))?.taskSet?.id
    if (again === undefined || again === id || !this.#isKept(id)) return
    this.#doubled.push(`task sets ${id} and ${again} were made by one call and its repeat`)
  }

  #isKept(id: string): boolean {
    return this.#made.get(id) === this.#operator.deletionsOf(outsideService) && !this.#doomed.has(id)
  }

  #pick(): string | undefined {
    const known = [...this.#made.keys()].filter((id) => this.#isKept(id))
    return known.length === 0 ? undefined : this.#operator.random.pick(known)
  }

  async #scale(): Promise<void> {
    const taskSet = this.#pick()
    if (taskSet === undefined) return
    const value = this.#operator.random.pick(scales)
    await this.#scales.say(taskSet, String(value), async () => {
      const scale = { value, unit: 'PERCENT' }
      return (await this.#operator.call('UpdateTaskSet', { ...named, taskSet, scale })) !== undefined
    })
  }

  async #makePrimary(primaryTaskSet = this.#pick()): Promise<void> {
    if (primaryTaskSet === undefined) return
    await this.#primaries.say(outsideService, primaryTaskSet, async () => {
      const input = { ...named, primaryTaskSet }
      return (await this.#operator.call('UpdateServicePrimaryTaskSet', input)) !== undefined
    })
  }

  async #deleteOne(): Promise<void> {
    const id = this.#pick()
    if (id !== undefined) await this.#delete(id, this.#operator.random.chance(0.6))
  }

  async #delete(taskSet: string, force: boolean): Promise<void> {
    this.#doomed.add(taskSet)
    const answer = await this.#operator.call('DeleteTaskSet', { ...named, taskSet, force })
    if (answer !== undefined) this.#deleted.add(taskSet)
  }

  async #look(): Promise<void> {
    const known = [...this.#made.keys()].slice(-5)
    if (known.length === 0) return
    await this.#operator.call('DescribeTaskSets', { ...named, taskSets: known, include: ['TAGS'] })
  }

  async #taskSets(): Promise<readonly string[]> {
    const answer = await this.#operator.callSurely('DescribeServices', { services: [outsideService] })
    const taskSets = answer?.services?.[0]?.taskSets ?? []
    return taskSets.filter(({ status }) => status !== 'DRAINING').map(({ id }) => id)
  }
}

/** A repeat with the same token that made a second task set. */
function doubled(reader: Reader): readonly string[] {
  const tokens = new Map<string, string>()
  return reader.find('taskSet', 'byService', serviceKey).flatMap(({ id, clientToken = id }) => {
    const other = tokens.get(clientToken)
    tokens.set(clientToken, id)
    return other === undefined ? [] : [`task sets ${other} and ${id} were made with ${clientToken}`]
  })
}
