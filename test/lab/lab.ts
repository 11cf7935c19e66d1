/**
 * Several hosts on one machine, each with its own Docker Engine, agent, address and disk, and a controller; all real, all
 * in namespaces of the lab's own. docs/lab.md tells how to write a story with it.
 */
import {
  DescribeContainerInstancesCommand,
  DescribeTasksCommand,
  ECSClient,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  StartTaskCommand,
} from '@aws-sdk/client-ecs'
import type {
  ContainerDefinition,
  ContainerInstance,
  RegisterTaskDefinitionCommandInput,
  RunTaskCommandInput,
  StartTaskCommandInput,
  Task,
} from '@aws-sdk/client-ecs'
import { mkdtempSync } from 'node:fs'
import { region } from '../support/controller.ts'
import { eventually } from '../support/lab.ts'
import { LabController } from './controller.ts'
import { Host } from './host.ts'
import { claimDirectory, labDirectoryPrefix, removeAbandonedLabs, removeLeftovers } from './leftovers.ts'
import { bridge, bridgeAddress } from './machine.ts'
import { ip } from './own-network.ts'

/** Generous: the machine may be busy with something else. What is fast is so by itself. */
export const patienceMs = 120_000

export type AnyTaskDefinition = Omit<Partial<RegisterTaskDefinitionCommandInput>, 'containerDefinitions'> & {
  readonly containers: readonly ContainerDefinition[]
}

export interface LabOptions {
  /** From `enter.ts`, the program's first import. */
  readonly network: string
  readonly hosts: number
  /** How many of them have joined at first, with an agent that runs: all, unless it is said. */
  readonly joined?: number | undefined
  /** Further variables of all agents. */
  readonly agentEnvironment?: Readonly<Record<string, string>> | undefined
  /** Further variables of the controller. */
  readonly controllerEnvironment?: Readonly<Record<string, string>> | undefined
}

export class Lab {
  readonly controller: LabController
  readonly client: ECSClient
  readonly hosts: readonly Host[]
  /** The name under which every engine has a busybox. */
  readonly image: string
  readonly #directory: string
  #families = 0

  constructor(directory: string, parts: { controller: LabController; hosts: readonly Host[]; image: string }) {
    this.#directory = directory
    this.controller = parts.controller
    this.hosts = parts.hosts
    this.image = parts.image
    const { endpoint, credentials } = parts.controller
    this.client = new ECSClient({ endpoint, region, credentials })
  }

  /** By its number, from 1. */
  host(number: number): Host {
    const host = this.hosts[number - 1]
    if (host === undefined) throw new Error(`The lab has ${this.hosts.length} hosts; there is no host ${number}.`)
    return host
  }

  /** The host that a task was placed on. */
  hostOf(task: Task): Host {
    const host = this.hosts.find(({ instanceArn }) => instanceArn === task.containerInstanceArn)
    if (host === undefined) throw new Error(`No host is ${task.containerInstanceArn}.`)
    return host
  }

  /** Registers a definition, and gives its family. */
  async define(definition: AnyTaskDefinition): Promise<string> {
    const { containers, ...rest } = definition
    const family = `lab-${++this.#families}`
    const containerDefinitions = containers.map((one) => ({ image: this.image, memory: 32, ...one }))
    await this.client.send(new RegisterTaskDefinitionCommand({ family, ...rest, containerDefinitions }))
    return family
  }

  /** Runs tasks of a family, and gives their ARNs; throws where one was not placed. */
  async run(family: string, input: Partial<RunTaskCommandInput> = {}): Promise<readonly string[]> {
    const { tasks = [], failures = [] } = await this.client.send(
      new RunTaskCommand({ taskDefinition: family, ...input }),
    )
    if (failures.length > 0) throw new Error(`RunTask did not place all: ${JSON.stringify(failures)}`)
    return tasks.map(({ taskArn = '' }) => taskArn)
  }

  /** Runs one task on one host. */
  async runOn(host: Host, family: string, input: Partial<StartTaskCommandInput> = {}): Promise<string> {
    return eventually(
      async () => {
        const { tasks = [], failures = [] } = await this.client.send(
          new StartTaskCommand({ taskDefinition: family, containerInstances: [host.instanceArn], ...input }),
        )
        const arn = tasks[0]?.taskArn
        // Its agent has yet to say that an engine that was away is back.
        if (arn === undefined && failures.every(({ reason }) => reason === 'AGENT')) return undefined
        if (arn === undefined) throw new Error(`StartTask started nothing: ${JSON.stringify(failures)}`)
        return arn
      },
      `${host.name} takes tasks`,
      patienceMs,
    )
  }

  async describe(...arns: readonly string[]): Promise<readonly Task[]> {
    const chunks = Array.from({ length: Math.ceil(arns.length / 100) }, (_, at) => arns.slice(at * 100, at * 100 + 100))
    const answers = await Promise.all(
      chunks.map(async (chunk) => this.client.send(new DescribeTasksCommand({ tasks: [...chunk] }))),
    )
    const missing = answers.flatMap(({ failures = [] }) => failures)
    if (missing.length > 0) throw new Error(`Tasks are missing: ${JSON.stringify(missing)}`)
    return answers.flatMap(({ tasks = [] }) => tasks)
  }

  async instance(host: Host): Promise<ContainerInstance> {
    const { containerInstances } = await this.client.send(
      new DescribeContainerInstancesCommand({ containerInstances: [host.instanceArn] }),
    )
    const [instance] = containerInstances ?? []
    if (instance === undefined) throw new Error(`The controller does not know ${host.name}.`)
    return instance
  }

  /** Waits until all these tasks look like that, and gives them. */
  async until(arns: readonly string[], what: string, isSo: (task: Task) => boolean): Promise<readonly Task[]> {
    let tasks: readonly Task[] = []
    return eventually(
      async () => {
        tasks = await this.describe(...arns)
        return tasks.every(isSo) ? tasks : undefined
      },
      `tasks are ${what}`,
      patienceMs,
    ).catch((error: unknown) => {
      const unlike = tasks
        .filter((task) => !isSo(task))
        .map(({ taskArn, lastStatus, connectivity, stoppedReason }) => {
          return { taskArn, lastStatus, connectivity, stoppedReason }
        })
      throw new Error(`${String(error)}: ${JSON.stringify(unlike)}`, { cause: error })
    })
  }

  async reach(arns: readonly string[], status: 'RUNNING' | 'STOPPED'): Promise<readonly Task[]> {
    return this.until(arns, status, (task) => {
      if (status === 'RUNNING' && task.lastStatus === 'STOPPED') {
        throw new Error(`A task stopped: ${task.stoppedReason} ${JSON.stringify(task.containers)}`)
      }
      return task.lastStatus === status
    })
  }

  /** Ends everything of the lab and removes what it left. */
  async close(): Promise<void> {
    this.client.destroy()
    await Promise.all(this.hosts.map(async (host) => host.powerOff()))
    await this.controller.powerOff()
    ip('link', 'delete', bridge)
    removeLeftovers(this.#directory)
  }
}

/** The lab's directory, and the bridge that its machines are to be joined by. */
export function layFoundation(): string {
  const directory = mkdtempSync(labDirectoryPrefix)
  claimDirectory(directory)
  ip('link', 'add', bridge, 'type', 'bridge')
  ip('address', 'add', `${bridgeAddress}/24`, 'dev', bridge)
  ip('link', 'set', bridge, 'up')
  return directory
}

/** Starts the controller and the hosts. */
export async function startLab(options: LabOptions): Promise<Lab> {
  await removeAbandonedLabs()
  const directory = layFoundation()
  const controller = new LabController(directory, options.controllerEnvironment)
  const hosts = Array.from({ length: options.hosts }, (_, index) => {
    const number = index + 1
    return new Host({
      directory,
      number,
      environment: options.agentEnvironment,
    })
  })
  try {
    const [image] = await Promise.all([
      ...hosts.map(async (host) => {
        await host.boot()
        return host.engine.importBusybox()
      }),
      controller.powerOn().then(() => ''),
    ])
    await Promise.all(
      hosts.slice(0, options.joined ?? hosts.length).map(async (host) => {
        await host.join(await controller.invite())
        await host.startAgent()
      }),
    )
    return new Lab(directory, { controller, hosts, image })
  } catch (error) {
    await Promise.all([controller, ...hosts].map(async (one) => one.powerOff()))
    ip('link', 'delete', bridge)
    removeLeftovers(directory)
    throw error
  }
}
