/** One controller, one agent and one Docker Engine, all real, and what a test asks of them. */
import { DescribeTasksCommand, ECSClient, RegisterTaskDefinitionCommand, RunTaskCommand } from '@aws-sdk/client-ecs'
import type {
  ContainerDefinition,
  RegisterTaskDefinitionCommandInput,
  RunTaskCommandInput,
  Task,
} from '@aws-sdk/client-ecs'
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { labels } from '../../agent/engine.ts'
import { signRequest } from '../../proto/sigv4.ts'
import { startAgent } from './agent.ts'
import type { AgentOptions, AgentProcess } from './agent.ts'
import { startController } from './controller.ts'
import { askEngine, containersWithLabel, engineHost, inspectRaw } from './engine.ts'

const region = 'us-east-1'
/** Generous: the machine may be busy with something else. What is fast is so by itself. */
const patienceMs = 120_000

export type Controller = Awaited<ReturnType<typeof startController>>

/** A definition of one task with the members that a test cares about; the rest is filled in. */
export type AnyTask = Omit<Partial<RegisterTaskDefinitionCommandInput>, 'containerDefinitions'> & {
  readonly containers: readonly ContainerDefinition[]
  readonly run?: Partial<RunTaskCommandInput>
}

export class Lab {
  controller: Controller
  agent: AgentProcess
  readonly client: ECSClient
  readonly dockerHost: string
  #families = 0

  constructor(controller: Controller, agent: AgentProcess, dockerHost: string) {
    this.controller = controller
    this.agent = agent
    this.dockerHost = dockerHost
    this.client = new ECSClient({ endpoint: controller.endpoint, region, credentials: controller.credentials })
  }

  /** Registers the definition and runs one task of it; answers its ARN. */
  async run(task: AnyTask): Promise<string> {
    const { containers, run, ...definition } = task
    const family = `engine-${process.pid}-${++this.#families}`
    await this.client.send(
      new RegisterTaskDefinitionCommand({
        family,
        ...definition,
        containerDefinitions: containers.map((one) => ({ memory: 32, ...one })),
      }),
    )
    const { tasks, failures } = await this.client.send(new RunTaskCommand({ taskDefinition: family, ...run }))
    const arn = tasks?.[0]?.taskArn
    if (arn === undefined) throw new Error(`RunTask placed nothing: ${JSON.stringify(failures)}`)
    return arn
  }

  async describe(arn: string): Promise<Task> {
    const { tasks } = await this.client.send(new DescribeTasksCommand({ tasks: [arn] }))
    const task = tasks?.[0]
    if (task === undefined) throw new Error(`There is no task ${arn}.`)
    return task
  }

  /** Waits until the task is in this status, or further. */
  async reaches(arn: string, status: 'RUNNING' | 'STOPPED', timeoutMs = patienceMs): Promise<Task> {
    let task = await this.describe(arn)
    const deadline = Date.now() + timeoutMs
    while (task.lastStatus !== status && task.lastStatus !== 'STOPPED' && Date.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 50))
      task = await this.describe(arn)
    }
    if (task.lastStatus === status) return task
    throw new Error(
      `The task is ${task.lastStatus}, not ${status}: ${JSON.stringify(task.containers)} ${task.stoppedReason}\n` +
        this.agent.log().slice(-6000),
    )
  }

  /** A signed call of the operators' REST API. */
  async rest(path: string): Promise<Readonly<Record<string, unknown>>> {
    const url = `${this.controller.endpoint}${path}`
    const { credentials } = this.controller
    const headers = signRequest({
      method: 'GET',
      url,
      headers: {},
      credentials,
      region,
      service: 'ecs',
      now: Date.now(),
    })
    const response = await fetch(url, { headers })
    return (await response.json()) as Readonly<Record<string, unknown>>
  }

  /** Ids of the Docker containers of a task. */
  async containersOf(taskArn: string): Promise<readonly string[]> {
    return containersWithLabel(`${labels.taskArn}=${taskArn}`, this.dockerHost)
  }

  /** Waits until a container of the task has printed that, by which it says how far its program is. */
  async says(taskArn: string, containerName: string, text: string): Promise<void> {
    const { Id } = await this.inspect(taskArn, containerName)
    await eventually(async () => {
      const printed = await askEngine('GET', `/containers/${Id}/logs?stdout=1`, undefined, this.dockerHost)
      return printed.text.includes(text) ? true : undefined
    }, `${containerName} says ${text}`)
  }

  /** Docker's own view of a container of the task. */
  async inspect(taskArn: string, containerName: string): Promise<RawContainer> {
    for (const id of await this.containersOf(taskArn)) {
      const raw = (await inspectRaw(id, this.dockerHost)) as RawContainer | undefined
      if (raw?.Config.Labels[labels.containerName] === containerName) return raw
    }
    throw new Error(`The task ${taskArn} has no Docker container for ${containerName}.`)
  }

  /** Ends the agent as `kill -9` does, and starts another in the same directory. */
  async restartAgent(change: { readonly before?: () => Promise<void>; readonly options?: Partial<AgentOptions> } = {}) {
    await this.agent.kill9()
    await change.before?.()
    this.agent = await startAgent({ ...agentOptions(this.controller), ...this.#same(), ...change.options })
  }

  #same(): Partial<AgentOptions> {
    return { dataDirectory: this.agent.dataDirectory, dockerHost: this.dockerHost }
  }

  /** Ends both, and removes every container of this lab's tasks. */
  async close(): Promise<void> {
    await this.agent.kill9()
    await this.controller.stop()
    const ids = await containersWithLabel(`${labels.instanceArn}=${this.agent.containerInstanceArn}`, this.dockerHost)
    await Promise.all(
      ids.map(async (id) => askEngine('DELETE', `/containers/${id}?force=1&v=1`, undefined, this.dockerHost)),
    )
    this.client.destroy()
    rmSync(this.agent.dataDirectory, { recursive: true, force: true })
  }
}

export interface RawContainer {
  readonly Id: string
  readonly Name: string
  readonly Created: string
  readonly Config: {
    readonly Labels: Readonly<Record<string, string>>
    readonly Env: readonly string[]
    readonly Cmd: readonly string[]
  }
  readonly HostConfig: {
    readonly Memory: number
    readonly MemoryReservation: number
    readonly CpuShares: number
    readonly NetworkMode: string
    readonly LogConfig: { readonly Type: string; readonly Config: Readonly<Record<string, string>> }
  }
  readonly State: { readonly Status: string; readonly Pid: number; readonly StartedAt: string }
}

export function agentOptions(controller: Controller): AgentOptions {
  return { endpoint: controller.endpoint, credentialsFile: join(controller.dataDir, 'agent-credentials') }
}

export async function startLab(
  options: Partial<AgentOptions> = {},
  controllerEnvironment: Readonly<Record<string, string>> = {},
): Promise<Lab> {
  const controller = await startController({ env: controllerEnvironment })
  try {
    const agent = await startAgent({ ...agentOptions(controller), ...options })
    return new Lab(controller, agent, options.dockerHost ?? engineHost())
  } catch (error) {
    await controller.stop()
    throw error
  }
}

/** Asks until the answer is there. */
export async function eventually<T>(
  ask: () => Promise<T | undefined>,
  what: string,
  timeoutMs = patienceMs,
): Promise<T> {
  const deadline = Date.now() + timeoutMs
  for (;;) {
    const answer = await ask()
    if (answer !== undefined) return answer
    if (Date.now() > deadline) throw new Error(`It did not happen within ${timeoutMs / 1000} s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
