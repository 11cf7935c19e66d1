/** The real controller with simulated agents in another process, for the parts of the scheduler bench that need both. */
import { existsSync, readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { SwarmAnswer, SwarmOrder, SwarmQuestion } from './agent-swarm.ts'
import { type Child, startChild } from './child.ts'
import { type ControllerProcess, startControllerProcess } from './controller-process.ts'
import { type EcsClient, ecsClient } from './ecs-client.ts'
import type { SchedulerOptions } from './options.ts'
import { cpuSecondsOf, memoryOf } from './process-memory.ts'

/** What each task of the bench reserves. */
const cpuUnits = 16
const memoryMiB = 32
/** ECS's quota, which Gantry keeps: tasks of one service. */
export const tasksPerServiceMax = 5000
const sampleMs = 500
const tellMs = 5000
/** What a task takes of the controller's heap, with its indexes, and what the program takes without any; MB. */
const heapMbPerThousandTasks = 8
const heapMbLeast = 2048
const youngMb = 64

export interface SchedulerWorkplace {
  readonly controller: ControllerProcess
  readonly ecs: EcsClient
  readonly swarm: Child
  /** The controller's flags. */
  readonly flags: readonly string[]
  ask(this: void, question: SwarmQuestion): Promise<SwarmAnswer>
  /** Ends the controller as a power cut would, and starts it on the same data and port. */
  restart(): Promise<void>
  close(): Promise<void>
}

/** Controller and agents, connected, by TLS where `isSecure`. Each host has room for its share of `tasks`, twice over. */
export async function openSchedulerWorkplace(
  directory: string,
  sizes: { readonly tasks: number; readonly instances: number },
  { heapMb, profile }: SchedulerOptions,
  isSecure = false,
): Promise<SchedulerWorkplace> {
  const heap = heapMb ?? Math.max(heapMbLeast, Math.ceil((sizes.tasks / 1000) * heapMbPerThousandTasks))
  const flags = [
    `--max-old-space-size=${heap}`,
    `--max-semi-space-size=${youngMb}`,
    ...(profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${profile}`]),
  ]
  let controller = await startControllerProcess(directory, { flags, securePort: isSecure ? 0 : undefined })
  let ecs = ecsClient(controller.endpoint, controller.rootKey, 16)
  const { secure } = controller
  const swarm = startChild(
    'agent-swarm.ts',
    [],
    ['--max-old-space-size=4096', `--max-semi-space-size=${youngMb}`],
    secure === undefined ? {} : { NODE_EXTRA_CA_CERTS: secure.authorityFile },
  )
  const ask = (question: SwarmQuestion): Promise<SwarmAnswer> => swarm.ask<SwarmAnswer>(question)
  const share = Math.ceil((2 * sizes.tasks) / sizes.instances) + 1
  const order: SwarmOrder = {
    endpoint: secure?.endpoint ?? controller.endpoint,
    key: controller.agentKey,
    agents: sizes.instances,
    cpuUnits: share * cpuUnits,
    memoryMiB: share * memoryMiB,
  }
  await ask({ kind: 'start', order })
  return {
    get controller() {
      return controller
    },
    get ecs() {
      return ecs
    },
    swarm,
    flags,
    ask,
    async restart() {
      const port = Number(new URL(controller.endpoint).port)
      await controller.end('SIGKILL')
      ecs.close()
      const securePort = secure === undefined ? undefined : Number(new URL(secure.endpoint).port)
      controller = await startControllerProcess(directory, { port, securePort, flags })
      ecs = ecsClient(controller.endpoint, controller.rootKey, 16)
    },
    async close() {
      ecs.close()
      await swarm.end()
      await controller.end('SIGTERM')
    },
  }
}

/** A revision of the bench's task definition; answers its ARN. */
export async function registerDefinition(ecs: EcsClient, image: string): Promise<string> {
  const container = { name: 'app', image, cpu: cpuUnits, memory: memoryMiB, essential: true }
  const { taskDefinition } = await ecs.call('RegisterTaskDefinition', {
    family: 'bench',
    networkMode: 'bridge',
    containerDefinitions: [container],
  })
  return taskDefinition?.taskDefinitionArn ?? ''
}

export interface Use {
  readonly cpuSeconds: number
  readonly swarmCpuSeconds: number
  readonly residentMb: number
}

export interface Watch {
  readonly peakMb: number
  end(): void
}

/** Follows the controller's memory until it is ended. */
export function watchMemory(pid: number): Watch {
  let peakMb = 0
  const timer = setInterval(() => {
    peakMb = Math.max(peakMb, existsSync(`/proc/${pid}`) ? memoryOf(pid).residentMb : 0)
  }, sampleMs)
  return {
    get peakMb() {
      return peakMb
    },
    end: () => clearInterval(timer),
  }
}

export function useOf({ controller, swarm }: SchedulerWorkplace): Use {
  return {
    cpuSeconds: cpuSecondsOf(controller.pid),
    swarmCpuSeconds: cpuSecondsOf(swarm.pid),
    residentMb: memoryOf(controller.pid).residentMb,
  }
}

/** Says now and then how far the cluster is, until the answer is called. */
export function tellCounts({ ecs }: SchedulerWorkplace, progress: (message: string) => void): () => void {
  const begun = performance.now()
  const tell = async (): Promise<void> => {
    const [cluster] = (await ecs.call('DescribeClusters', { clusters: ['default'] })).clusters ?? []
    const seconds = Math.round((performance.now() - begun) / 1000)
    progress(`  after ${seconds} s: ${cluster?.pendingTasksCount} PENDING, ${cluster?.runningTasksCount} RUNNING`)
  }
  // A controller that is busy, or being closed, is asked again the next time.
  const timer = setInterval(() => void tell().catch(() => undefined), tellMs)
  return () => clearInterval(timer)
}

/** What the controller's database takes on disk, its write-ahead log included, MB. */
export function storeMbOf({ dataDir }: ControllerProcess): number {
  const files = readdirSync(dataDir).filter((name) => name.startsWith('controller.db'))
  return files.reduce((sum, name) => sum + statSync(join(dataDir, name)).size, 0) / 1e6
}

/** Polls until `look` gives something. */
export async function awaited<T>(what: string, timeoutMs: number, look: () => Promise<T | undefined>): Promise<T> {
  const until = performance.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (performance.now() > until) throw new Error(`waited ${timeoutMs / 1000} s for ${what}`)
    await sleep(100)
  }
}

/** Fails the bench where the controller complained, or an agent was refused or cut off: then the figures mean nothing. */
export function refuseTrouble(controller: ControllerProcess, answer: SwarmAnswer, dropsExpected = 0): void {
  const complaints = controller.complaints()
  if (answer.refusals.length === 0 && answer.drops === dropsExpected && complaints.length === 0) return
  const facts = { drops: answer.drops, refusals: answer.refusals.slice(0, 3), complaints: complaints.slice(0, 5) }
  throw new Error(`not everything went well: ${JSON.stringify(facts)}`)
}
