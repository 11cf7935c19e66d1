/**
 * Keeps services: creates at least five, scales them, rolls out good and broken task definitions, forces deployments, changes
 * percentages, stops single tasks of theirs, deletes them and makes them anew.
 */
import type { Finding } from '../../../controller/decide/invariants.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import type { DefinitionActor } from './definition-actor.ts'
import { type Actor, LastWord, type Operator } from './operator.ts'

interface Plan {
  readonly serviceName: string
  readonly taskDefinition: string
  readonly desiredCount?: number
  readonly schedulingStrategy?: 'DAEMON'
  readonly deploymentConfiguration?: object
  readonly placementStrategy?: readonly object[]
  readonly placementConstraints?: readonly object[]
}

const breaker = (rollback: boolean): object => ({ deploymentCircuitBreaker: { enable: true, rollback } })

/**
 * What every history has: replicas with different percentages, addresses of their own, a daemon, health checks, slow starts,
 * static ports.
 */
const plans: readonly Plan[] = [
  {
    serviceName: 'front',
    taskDefinition: 'web-dynamic',
    desiredCount: 3,
    deploymentConfiguration: { minimumHealthyPercent: 100, maximumPercent: 200, ...breaker(true) },
  },
  {
    serviceName: 'back',
    taskDefinition: 'addressed',
    desiredCount: 4,
    deploymentConfiguration: { minimumHealthyPercent: 50, maximumPercent: 100 },
    placementStrategy: [{ type: 'binpack', field: 'memory' }],
  },
  {
    serviceName: 'careful',
    taskDefinition: 'slow',
    desiredCount: 2,
    deploymentConfiguration: { minimumHealthyPercent: 100, maximumPercent: 150, ...breaker(true) },
  },
  {
    serviceName: 'fixed',
    taskDefinition: 'web-static',
    desiredCount: 2,
    deploymentConfiguration: { minimumHealthyPercent: 0, maximumPercent: 100 },
  },
  { serviceName: 'guard', taskDefinition: 'plain', schedulingStrategy: 'DAEMON' },
  {
    serviceName: 'fragile',
    taskDefinition: 'secretive',
    desiredCount: 2,
    deploymentConfiguration: { minimumHealthyPercent: 50, maximumPercent: 200, ...breaker(false) },
    placementConstraints: [{ type: 'distinctInstance' }],
  },
]

export const serviceNames: readonly string[] = plans.map(({ serviceName }) => serviceName)

const good = [
  'plain',
  'checked',
  'slow',
  'web-dynamic',
  'pair',
  'stubborn',
  'restarting',
  'addressed',
  'secretive',
] as const
const broken = [
  'crash',
  'missing-image',
  'bad-entry',
  'sick',
  'busy-registry',
  'fragile-pair',
  'job',
  'secretless',
] as const
const percentages = [
  { minimumHealthyPercent: 0, maximumPercent: 100 },
  { minimumHealthyPercent: 50, maximumPercent: 100 },
  { minimumHealthyPercent: 100, maximumPercent: 150 },
  { minimumHealthyPercent: 100, maximumPercent: 200 },
  { minimumHealthyPercent: 67, maximumPercent: 133 },
]

export class ServiceActor implements Actor {
  readonly acts = {
    scale: { weight: 2, act: () => this.#scale() },
    roll: { weight: 2, act: () => this.#update({ taskDefinition: this.#operator.random.pick(good) }) },
    rollBroken: { weight: 1, act: () => this.#update({ taskDefinition: this.#operator.random.pick(broken) }) },
    force: { weight: 0.7, act: () => this.#update({ forceNewDeployment: true }) },
    setPercentages: {
      weight: 0.5,
      act: () => this.#update({ deploymentConfiguration: this.#operator.random.pick(percentages) }),
    },
    stopOne: { weight: 1, act: () => this.#stopOne() },
    deleteService: { weight: 0.4, act: () => this.#delete(this.#plan()) },
    createService: { weight: 1.5, act: async () => void (await this.#create(this.#plan())) },
    lookAtServices: { weight: 1, act: () => this.#look() },
  }
  readonly #operator: Operator
  readonly #definitions: DefinitionActor
  /** Service -> `ACTIVE` or `deleted`, as it was last answered. */
  readonly #statuses = new LastWord()
  /** Service -> the count that was last asked for. */
  readonly #counts = new LastWord()

  constructor(operator: Operator, definitions: DefinitionActor) {
    this.#operator = operator
    this.#definitions = definitions
  }

  begin(): void {
    for (const plan of plans) void this.#createSurely(plan)
  }

  /** At the end: what a person does about rollouts that no time heals, so that each service has something to reach. */
  async mend(): Promise<void> {
    // One without host ports: an orphan of an instance that was deregistered by force may hold them for good.
    for (const family of ['plain', 'secretive']) await this.#definitions.renew(family)
    for (const plan of plans) {
      const taskDefinition = plan.taskDefinition === 'secretive' ? 'secretive' : 'plain'
      const isDaemon = plan.schedulingStrategy !== undefined
      await this.#createSurely({ ...plan, taskDefinition })
      const deploymentConfiguration = { minimumHealthyPercent: 0, maximumPercent: isDaemon ? 100 : 200 }
      const input = { service: plan.serviceName, taskDefinition, forceNewDeployment: true, deploymentConfiguration }
      if (isDaemon) await this.#answered('UpdateService', input)
      else
        await this.#counts.say(plan.serviceName, '2', () =>
          this.#answered('UpdateService', { ...input, desiredCount: 2 }),
        )
    }
  }

  async deleteEverything(): Promise<void> {
    for (const plan of plans) await this.#delete(plan)
  }

  findings(reader: Reader): readonly Finding[] {
    const rowOf = (name: string) => reader.get('service', `default/${name}`)
    const statuses = this.#statuses.all().flatMap(([name, said]) => {
      const status = rowOf(name)?.status ?? 'INACTIVE'
      const agrees = said === 'ACTIVE' ? status === 'ACTIVE' : status !== 'ACTIVE'
      return agrees ? [] : [`service ${name} was answered ${said}, and is ${status}`]
    })
    const counts = this.#counts.all().flatMap(([name, said]) => {
      const row = rowOf(name)
      if (row?.status !== 'ACTIVE' || row.schedulingStrategy === 'DAEMON') return []
      return String(row.desiredCount) === said
        ? []
        : [`${said} tasks were asked of ${name}, and ${row.desiredCount} are`]
    })
    return [...statuses, ...counts].map((what) => ({ invariant: 'whatWasAcceptedIsThere', what }))
  }

  #plan(): Plan {
    return this.#operator.random.pick(plans)
  }

  async #create(plan: Plan): Promise<boolean> {
    let isTaken = false
    await this.#statuses.say(plan.serviceName, 'ACTIVE', async () => {
      await this.#counts.say(plan.serviceName, String(plan.desiredCount), async () => {
        const answer = await this.#operator.call('CreateService', plan)
        isTaken = answer !== undefined
        // A repeat is answered with the service as it is by now.
        return answer?.service?.desiredCount === plan.desiredCount
      })
      return isTaken
    })
    return isTaken
  }

  async #scale(): Promise<void> {
    const { random } = this.#operator
    const plan = random.pick(plans.filter(({ schedulingStrategy }) => schedulingStrategy === undefined))
    const desiredCount = random.between(0, 5)
    await this.#counts.say(plan.serviceName, String(desiredCount), async () => {
      const answer = await this.#operator.call('UpdateService', { service: plan.serviceName, desiredCount })
      return answer !== undefined
    })
  }

  async #update(changes: object): Promise<void> {
    await this.#operator.call('UpdateService', { service: this.#plan().serviceName, ...changes })
  }

  async #delete({ serviceName }: Plan): Promise<void> {
    await this.#statuses.say(serviceName, 'deleted', async () => {
      const answer = await this.#operator.call('DeleteService', { service: serviceName, force: true })
      return answer !== undefined
    })
  }

  async #stopOne(): Promise<void> {
    const { random } = this.#operator
    const { taskArns = [] } = (await this.#operator.call('ListTasks', { serviceName: this.#plan().serviceName })) ?? {}
    if (taskArns.length > 0) await this.#operator.call('StopTask', { task: random.pick(taskArns) })
  }

  async #look(): Promise<void> {
    const { random } = this.#operator
    const { serviceName } = this.#plan()
    const [operation, input] = random.pick<readonly [string, object]>([
      ['DescribeServices', { services: plans.map((plan) => plan.serviceName), include: ['TAGS'] }],
      ['ListServices', {}],
      ['ListServiceDeployments', { service: serviceName }],
      ['ListTasks', { serviceName, desiredStatus: 'STOPPED' }],
    ])
    await this.#operator.call(operation, input)
  }

  /** Asks again until it is there: definitions come at about the same time, and a deleted one has to end first. */
  async #createSurely(plan: Plan): Promise<void> {
    for (let attempts = 30; attempts > 0; attempts -= 1) {
      if (await this.#isActive(plan.serviceName)) return
      if (await this.#create(plan)) return
      await this.#definitions.renew(plan.taskDefinition)
      await this.#operator.time.sleep(this.#operator.random.between(500, 5000))
    }
  }

  async #isActive(serviceName: string): Promise<boolean> {
    const answer = await this.#operator.call('DescribeServices', { services: [serviceName] })
    return answer?.services?.[0]?.status === 'ACTIVE'
  }

  async #answered(operation: string, input: object): Promise<boolean> {
    for (let attempts = 20; attempts > 0; attempts -= 1) {
      if ((await this.#operator.call(operation, input)) !== undefined) return true
      await this.#operator.time.sleep(1000)
    }
    return false
  }
}
