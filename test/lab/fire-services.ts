/** The calls on services that a controller under fire gets, and what must be true of them after each restart. */
import {
  CreateServiceCommand,
  type CreateServiceCommandInput,
  DeleteServiceCommand,
  DescribeServicesCommand,
  type ECSClient,
  ListServiceDeploymentsCommand,
  type Service,
  UpdateServiceCommand,
} from '@aws-sdk/client-ecs'
import { eventually } from '../support/controller.ts'
import type { SeededRandom } from './seeded-random.ts'
import { type KnownState, Violation, count, hold } from './fire-violation.ts'

/** What one call writes all of, or nothing: `mark` is its number, kept as the grace period. */
export interface ServiceWish {
  readonly desiredCount: number
  readonly family: string
  readonly mark: number
}

export interface CreateServiceCall {
  readonly kind: 'createService'
  /** The service's name, and the clientToken. */
  readonly id: string
  readonly wish: ServiceWish
  isAnswered?: boolean
}

export interface UpdateServiceCall {
  readonly kind: 'updateService'
  readonly id: string
  readonly service: string
  readonly wish: ServiceWish
  isAnswered?: boolean
}

export type ServiceCall = CreateServiceCall | UpdateServiceCall

/** A service that is there for sure, with what is known of it. */
export interface KnownService {
  wish: ServiceWish
  /** Deployments that were started for it. */
  deployments: number
}

/** So many that each is updated often. */
const servicesMax = 12

export class FireServices {
  readonly known = new Map<string, KnownService>()
  /** Those that no call is about: of two at once nobody could say which was the later. */
  readonly #idle: string[] = []
  #begun = 0

  /** A call on services, at random. */
  choose(random: SeededRandom, number: number, families: readonly string[]): ServiceCall {
    const id = `service-${number}`
    const wish = { desiredCount: random.between(1, 3), family: random.pick(families), mark: number }
    if (this.#idle.length === 0 || (this.#begun < servicesMax && random.next() < 0.5)) {
      this.#begun += 1
      return { kind: 'createService', id, wish }
    }
    const [service = ''] = this.#idle.splice(random.between(0, this.#idle.length - 1), 1)
    return { kind: 'updateService', id, service, wish }
  }

  async make(client: ECSClient, call: ServiceCall): Promise<void> {
    if (call.kind === 'createService') {
      await client.send(new CreateServiceCommand(inputOf(call)))
      this.#idle.push(call.id)
      this.known.set(call.id, { wish: call.wish, deployments: 1 })
    } else {
      const { desiredCount, family, mark } = call.wish
      const changes = { desiredCount, taskDefinition: family, healthCheckGracePeriodSeconds: mark }
      await client.send(new UpdateServiceCommand({ service: call.service, forceNewDeployment: true, ...changes }))
      this.#idle.push(call.service)
      this.#took(call)
    }
    call.isAnswered = true
  }

  /** Checks the calls of the last round, and that what was known before is still so. Throws the first Violation. */
  async check(client: ECSClient, calls: readonly ServiceCall[], known: KnownState): Promise<void> {
    // In their order: a service that was created and then updated is looked at as it was left.
    for (const call of calls.filter(({ isAnswered }) => isAnswered !== true)) {
      if (call.kind === 'createService') await this.#checkUnansweredCreate(client, call, known)
      else await this.#checkUnansweredUpdate(client, call, known)
    }
    known.counts.answered += calls.filter(({ isAnswered }) => isAnswered === true).length
    await Promise.all([...this.known].map(async ([name, service]) => checkWhole(client, name, service, known)))
  }

  /** It is there whole or not at all, and the same call again makes it where it is not, and no second one where it is. */
  async #checkUnansweredCreate(client: ECSClient, call: CreateServiceCall, known: KnownState): Promise<void> {
    const before = await describe(client, call.id)
    count(known, before !== undefined)
    const service = { wish: call.wish, deployments: 1 }
    if (before !== undefined) await checkWhole(client, call.id, service, known)
    const { service: again } = await client.send(new CreateServiceCommand(inputOf(call)))
    const isSame = before === undefined || again?.createdAt?.getTime() === before.createdAt?.getTime()
    hold(known, isSame, () => `CreateService ${call.id}, repeated with its token, made another service`)
    this.known.set(call.id, service)
    this.#idle.push(call.id)
  }

  async #checkUnansweredUpdate(client: ECSClient, call: UpdateServiceCall, known: KnownState): Promise<void> {
    const found = await describe(client, call.service)
    const isDone = found?.healthCheckGracePeriodSeconds === call.wish.mark
    count(known, isDone)
    if (isDone) this.#took(call)
    this.#idle.push(call.service)
  }

  #took({ service, wish }: UpdateServiceCall): void {
    const { deployments = 0 } = this.known.get(service) ?? {}
    this.known.set(service, { wish, deployments: deployments + 1 })
  }

  /** Deletes them all and waits until they have no tasks any more. */
  async end(client: ECSClient): Promise<void> {
    const names = [...this.known.keys()]
    await Promise.all(names.map(async (service) => client.send(new DeleteServiceCommand({ service, force: true }))))
    await eventually('all services to end', async () => {
      const found = await Promise.all(names.map(async (name) => describe(client, name)))
      return found.every((service) => service?.status === 'INACTIVE') ? true : undefined
    })
  }
}

function inputOf({ id, wish }: CreateServiceCall): CreateServiceCommandInput {
  const { desiredCount, family, mark } = wish
  return {
    serviceName: id,
    clientToken: id,
    taskDefinition: family,
    desiredCount,
    healthCheckGracePeriodSeconds: mark,
  }
}

async function describe(client: ECSClient, service: string): Promise<Service | undefined> {
  const { services = [] } = await client.send(new DescribeServicesCommand({ services: [service] }))
  return services[0]
}

/** All that its last call wrote, and each of its deployments. */
async function checkWhole(
  client: ECSClient,
  name: string,
  { wish, deployments }: KnownService,
  known: KnownState,
): Promise<void> {
  const found = await describe(client, name)
  if (found === undefined) throw new Violation(`the service ${name} is lost`)
  const primary = found.deployments?.find(({ status }) => status === 'PRIMARY')
  const isWhole =
    found.status === 'ACTIVE' &&
    found.desiredCount === wish.desiredCount &&
    found.healthCheckGracePeriodSeconds === wish.mark &&
    found.taskDefinition?.includes(`/${wish.family}:`) === true &&
    primary?.taskDefinition === found.taskDefinition
  hold(known, isWhole, () => `the service ${name} is not whole: ${JSON.stringify({ wish, found })}`)
  const { serviceDeployments = [] } = await client.send(
    new ListServiceDeploymentsCommand({ service: name, maxResults: 100 }),
  )
  const revisions = new Set(serviceDeployments.map(({ targetServiceRevisionArn }) => targetServiceRevisionArn))
  hold(known, serviceDeployments.length === deployments && revisions.size === deployments, () => {
    return `the service ${name} has ${serviceDeployments.length} service deployments, ${deployments} were started`
  })
}
