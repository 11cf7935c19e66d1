/**
 * Steers rollouts while they go on: stops them either way, changes percentages and the circuit breaker in the midst of
 * them, and reads service deployments and revisions. One service is its own, so that it knows what that was told.
 */
import type { Finding } from '../../../controller/decide/invariants.ts'
import type { Reader } from '../../../controller/state/transaction.ts'
import { idOf } from '../../../proto/arn.ts'
import type { DefinitionActor } from './definition-actor.ts'
import { type Actor, LastWord, type Operator } from './operator.ts'
import { createServiceSurely } from './service-life.ts'

export const tunedService = 'tuned'

const definitionsRolled = ['plain', 'checked', 'slow', 'crash', 'missing-image'] as const
const breakers = [
  { enable: false, rollback: false },
  { enable: true, rollback: false },
  { enable: true, rollback: true, resetOnHealthyTask: false },
  { enable: true, rollback: true, thresholdConfiguration: { type: 'COUNT', value: 2 } },
  { enable: true, rollback: false, thresholdConfiguration: { type: 'UNBOUNDED_PERCENT', value: 100 } },
] as const
const percentages = [
  { minimumHealthyPercent: 0, maximumPercent: 100 },
  { minimumHealthyPercent: 50, maximumPercent: 150 },
  { minimumHealthyPercent: 100, maximumPercent: 200 },
] as const

type Percentages = (typeof percentages)[number]
type Breaker = (typeof breakers)[number]

/** What a service deployment that was stopped may have become, by the way in which it was. */
const endsOf = {
  ABORT: ['STOPPED'],
  // The way back may itself fail, or be cut short by another deployment.
  ROLLBACK: ['ROLLBACK_SUCCESSFUL', 'ROLLBACK_FAILED', 'ROLLBACK_IN_PROGRESS', 'STOPPED'],
} as const

const endedStatuses: readonly string[] = ['SUCCESSFUL', 'STOPPED', 'ROLLBACK_SUCCESSFUL', 'ROLLBACK_FAILED']

export class DeploymentActor implements Actor {
  readonly acts = {
    stopRollout: { weight: 1.5, act: () => this.#stopRollout() },
    tune: { weight: 0.7, act: () => this.#tune() },
    readDeployments: { weight: 1, act: () => this.#read() },
  }
  readonly #operator: Operator
  readonly #definitions: DefinitionActor
  readonly #serviceNames: readonly string[]
  /** The configuration that the service of its own was last given, as JSON. */
  readonly #configurations = new LastWord()
  readonly #stopped = new Map<string, 'ABORT' | 'ROLLBACK'>()
  /** The end of each service deployment, as it was read first. */
  readonly #ends = new Map<string, string>()
  readonly #misread: string[] = []

  constructor(operator: Operator, definitions: DefinitionActor, serviceNames: readonly string[]) {
    this.#operator = operator
    this.#definitions = definitions
    this.#serviceNames = serviceNames
  }

  begin(): void {
    void this.#createSurely()
  }

  async mend(): Promise<void> {
    await this.#createSurely()
    const input = { service: tunedService, taskDefinition: 'plain', forceNewDeployment: true, desiredCount: 2 }
    await this.#configure(percentages[2], breakers[0], (configuration) =>
      this.#operator.callSurely('UpdateService', { ...input, deploymentConfiguration: configuration }),
    )
  }

  async deleteEverything(): Promise<void> {
    await this.#operator.callSurely('DeleteService', { service: tunedService, force: true })
  }

  findings(reader: Reader): readonly Finding[] {
    const row = reader.get('service', `default/${tunedService}`)
    const configured = row?.status === 'ACTIVE' ? this.#configurations.all() : []
    const others = configured
      .filter(([, said]) => shownOf(row?.deploymentConfiguration) !== said)
      .map(([, said]) => `${tunedService} was given ${said}, and has ${shownOf(row?.deploymentConfiguration)}`)
    const goingOn = [...this.#stopped].flatMap(([arn, way]) => {
      const status = reader.get('serviceDeployment', idOf(arn))?.status
      const allowed: readonly string[] = endsOf[way]
      return status === undefined || allowed.includes(status) ? [] : [`${arn} was stopped (${way}), and is ${status}`]
    })
    const changed = [...this.#ends].flatMap(([arn, end]) => {
      const status = reader.get('serviceDeployment', idOf(arn))?.status ?? end
      return status === end ? [] : [`${arn} was read as ${end}, and is ${status}`]
    })
    const all = [...others, ...goingOn, ...changed, ...this.#misread]
    return all.map((what) => ({ invariant: 'whatWasAcceptedIsThere', what }))
  }

  #createSurely(): Promise<void> {
    const plan = { serviceName: tunedService, taskDefinition: 'plain', desiredCount: 2 }
    return createServiceSurely(this.#operator, this.#definitions, plan, () =>
      this.#configure(percentages[1], breakers[2], (configuration) =>
        this.#operator.call('CreateService', { ...plan, deploymentConfiguration: configuration }),
      ),
    )
  }

  async #configure(
    percents: Percentages,
    breaker: Breaker,
    call: (configuration: object) => Promise<unknown>,
  ): Promise<boolean> {
    const configuration = { ...percents, deploymentCircuitBreaker: breaker }
    let isTaken = false
    await this.#configurations.say(tunedService, shownOf(configuration), async () => {
      isTaken = (await call(configuration)) !== undefined
      return isTaken
    })
    return isTaken
  }

  /** A deployment, and in the midst of it other percentages and another breaker. */
  async #tune(): Promise<void> {
    const { random, time } = this.#operator
    await this.#roll(tunedService)
    await time.sleep(random.between(500, 15_000))
    await this.#configure(random.pick(percentages), random.pick(breakers), (deploymentConfiguration) =>
      this.#operator.call('UpdateService', { service: tunedService, deploymentConfiguration }),
    )
  }

  async #stopRollout(): Promise<void> {
    const { random, time } = this.#operator
    const service = random.pick(this.#serviceNames)
    if (random.chance(0.7)) await this.#roll(service)
    await time.sleep(random.between(100, 15_000))
    const status = ['PENDING', 'IN_PROGRESS', 'ROLLBACK_REQUESTED', 'ROLLBACK_IN_PROGRESS']
    const listed = await this.#operator.call('ListServiceDeployments', { service, status })
    const serviceDeploymentArn = listed?.serviceDeployments?.[0]?.serviceDeploymentArn
    if (serviceDeploymentArn === undefined) return
    const stopType = random.pick(['ABORT', 'ROLLBACK'] as const)
    const answer = await this.#operator.call('StopServiceDeployment', { serviceDeploymentArn, stopType })
    // Whatever else is said of one that was told to go back, it never succeeds as it was.
    if (answer !== undefined && this.#stopped.get(serviceDeploymentArn) !== 'ABORT') {
      this.#stopped.set(serviceDeploymentArn, stopType)
    }
  }

  async #roll(service: string): Promise<void> {
    const { random } = this.#operator
    const isSame = random.chance(0.4)
    const change = isSame ? { forceNewDeployment: true } : { taskDefinition: random.pick(definitionsRolled) }
    await this.#operator.call('UpdateService', { service, ...change })
  }

  async #read(): Promise<void> {
    const service = this.#operator.random.pick(this.#serviceNames)
    const listed = await this.#operator.call('ListServiceDeployments', { service, maxResults: 10 })
    const { serviceDeployments = [] } = listed ?? {}
    if (serviceDeployments.length === 0) return
    const serviceDeploymentArns = serviceDeployments.map((one) => one.serviceDeploymentArn)
    const described = await this.#operator.call('DescribeServiceDeployments', { serviceDeploymentArns })
    for (const { serviceDeploymentArn: arn, status } of [
      ...serviceDeployments,
      ...(described?.serviceDeployments ?? []),
    ]) {
      const before = this.#ends.get(arn)
      if (before !== undefined && before !== status) this.#misread.push(`${arn} was ${before}, then ${status}`)
      if (endedStatuses.includes(status)) this.#ends.set(arn, status)
    }
    const revisions = serviceDeployments.flatMap((one) => one.targetServiceRevisionArn ?? [])
    const shown = await this.#operator.call('DescribeServiceRevisions', {
      serviceRevisionArns: [...new Set(revisions)],
    })
    const missing = [...(described?.failures ?? []), ...(shown?.failures ?? [])].flatMap(({ arn }) => arn ?? [])
    if (missing.length > 0) await this.#checkMissing(service, new Set(missing))
  }

  /** What has become too old goes from both; what is listed even after it was missed never was to be missed. */
  async #checkMissing(service: string, missing: ReadonlySet<string>): Promise<void> {
    const again = await this.#operator.call('ListServiceDeployments', { service, maxResults: 10 })
    for (const { serviceDeploymentArn, targetServiceRevisionArn = '' } of again?.serviceDeployments ?? []) {
      const missed = [serviceDeploymentArn, targetServiceRevisionArn].filter((arn) => missing.has(arn))
      this.#misread.push(...missed.map((arn) => `${arn} is listed, and was MISSING`))
    }
  }
}

interface Configured {
  readonly minimumHealthyPercent?: number | undefined
  readonly maximumPercent?: number | undefined
  readonly deploymentCircuitBreaker?: {
    readonly enable?: boolean | undefined
    readonly rollback?: boolean | undefined
    readonly resetOnHealthyTask?: boolean | undefined
    readonly thresholdConfiguration?: { readonly type?: string | undefined; readonly value?: number | undefined }
  }
}

/** The members that this actor gives, in one order. */
function shownOf(configuration: object | undefined): string {
  const { minimumHealthyPercent, maximumPercent, deploymentCircuitBreaker = {} }: Configured = configuration ?? {}
  const { enable, rollback, resetOnHealthyTask = true, thresholdConfiguration = {} } = deploymentCircuitBreaker
  const { type, value } = thresholdConfiguration
  return JSON.stringify([minimumHealthyPercent, maximumPercent, enable, rollback, resetOnHealthyTask, type, value])
}
