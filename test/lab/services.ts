/** What a story asks of services: docs/lab.md. */
import {
  type CreateServiceCommandInput,
  type ECSClient,
  type Service,
  type ServiceDeploymentBrief,
  type Task,
  CreateServiceCommand,
  DescribeServicesCommand,
  ListServiceDeploymentsCommand,
  ListTasksCommand,
  PutAttributesCommand,
  UpdateServiceCommand,
  type UpdateServiceCommandInput,
} from '@aws-sdk/client-ecs'
import { eventually } from '../support/lab.ts'
import type { Host } from './host.ts'
import { type Lab, patienceMs } from './lab.ts'

const hostAttribute = 'lab-host'

export class LabServices {
  readonly #lab: Lab
  readonly #client: ECSClient

  constructor(lab: Lab) {
    this.#lab = lab
    this.#client = lab.client
  }

  /** Writes each host's name on it, so that `onHosts` can name them. */
  async nameHosts(): Promise<void> {
    const attributes = this.#lab.hosts.map(({ instanceArn, name }) => {
      return { name: hostAttribute, value: name, targetType: 'container-instance' as const, targetId: instanceArn }
    })
    await this.#client.send(new PutAttributesCommand({ attributes }))
  }

  async create(serviceName: string, family: string, input: Partial<CreateServiceCommandInput> = {}): Promise<void> {
    await this.#client.send(new CreateServiceCommand({ serviceName, taskDefinition: family, ...input }))
  }

  /** Gives the service as the call's own answer has it: a moment later what it began may be over. */
  async update(service: string, changes: Omit<UpdateServiceCommandInput, 'service'>): Promise<Service | undefined> {
    const answer = await this.#client.send(new UpdateServiceCommand({ service, ...changes }))
    return answer.service
  }

  async describe(service: string): Promise<Service> {
    const { services = [] } = await this.#client.send(new DescribeServicesCommand({ services: [service] }))
    const [found] = services
    if (found === undefined) throw new Error(`There is no service ${service}.`)
    return found
  }

  /** The tasks that are to run, as far as is known, those on hosts that are gone too. */
  async tasks(serviceName: string): Promise<readonly Task[]> {
    const { taskArns = [] } = await this.#client.send(new ListTasksCommand({ serviceName }))
    return this.#lab.describe(...taskArns)
  }

  /** The tasks that run on hosts that are there, whether the controller knows already which are or not. */
  async running(serviceName: string): Promise<readonly Task[]> {
    const tasks = await this.tasks(serviceName)
    return tasks.filter((task) => task.lastStatus === 'RUNNING' && this.#lab.hostOf(task).machine.isReachable)
  }

  /** What became of the service's releases, the newest first. */
  async releases(service: string): Promise<readonly ServiceDeploymentBrief[]> {
    const answer = await this.#client.send(new ListServiceDeploymentsCommand({ service }))
    return answer.serviceDeployments ?? []
  }

  /** Waits until the service looks like that, and gives it; where it does not, tells how it looked and why. */
  async until(service: string, what: string, isSo: (service: Service) => boolean): Promise<Service> {
    let seen: Service | undefined
    return eventually(
      async () => {
        seen = await this.describe(service)
        return isSo(seen) ? seen : undefined
      },
      `${service} is ${what}`,
      patienceMs,
    ).catch((error: unknown) => {
      const { runningCount, pendingCount, deployments, events = [] } = seen ?? {}
      const said = events.slice(0, 5).map(({ message }) => message)
      throw new Error(`${String(error)}: ${JSON.stringify({ runningCount, pendingCount, deployments, said })}`, {
        cause: error,
      })
    })
  }

  /** Waits until the one deployment that is left has completed, and gives the service. */
  async untilStable(service: string): Promise<Service> {
    return this.until(service, 'stable', ({ deployments = [], runningCount, desiredCount }) => {
      const [only] = deployments
      return deployments.length === 1 && only?.rolloutState === 'COMPLETED' && runningCount === desiredCount
    })
  }

  /** Waits until exactly these many tasks run on hosts that are there, none more, and gives them. */
  async untilRunning(service: string, count: number): Promise<readonly Task[]> {
    return eventually(
      async () => {
        const running = await this.running(service)
        return running.length === count ? running : undefined
      },
      `${count} tasks of ${service} run`,
      patienceMs,
    ).catch(async (error: unknown) => {
      const tasks = (await this.tasks(service)).map((task) => {
        return [this.#lab.hostOf(task).name, task.lastStatus, task.desiredStatus, task.connectivity].join(' ')
      })
      throw new Error(`${String(error)}: ${tasks.join(', ')}`, { cause: error })
    })
  }
}

/** The constraint that keeps a service on these hosts. */
export function onHosts(...hosts: readonly Host[]): Pick<CreateServiceCommandInput, 'placementConstraints'> {
  const names = hosts.map(({ name }) => name).join(', ')
  return { placementConstraints: [{ type: 'memberOf', expression: `attribute:${hostAttribute} in [${names}]` }] }
}
