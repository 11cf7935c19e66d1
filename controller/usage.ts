/**
 * What the containers of live tasks use, as their agents last published it: one picture for each task, in memory alone.
 * It is no state: an agent tells it again within 20 s.
 */
import type { Frame } from '../proto/acs.ts'
import { idOf } from '../proto/arn.ts'
import type { StatsSet } from '../proto/tcs.ts'

export interface ContainerUsage {
  readonly name: string
  /** Percent of all CPUs of the host together. */
  readonly cpuPercent?: number | undefined
  readonly memoryMiB?: number | undefined
  readonly rxBytesPerSecond?: number | undefined
  readonly txBytesPerSecond?: number | undefined
  readonly readBytes?: number | undefined
  readonly writeBytes?: number | undefined
}

export interface TaskUsage {
  readonly instanceId: string
  /** When the agent said it, by the controller's clock; epoch milliseconds. */
  readonly at: number
  readonly containers: readonly ContainerUsage[]
}

/** A message has ten tasks at most, and a task ten containers; what is beyond is not an agent's. */
const tasksMax = 10
const containersMax = 20

export class UsageBoard {
  readonly #byTask = new Map<string, TaskUsage>()
  readonly #tasksOf = new Map<string, Map<string, number>>()
  readonly #ownerOf: (taskId: string) => string | undefined

  /** `ownerOf` names the instance that a live task is on: an agent speaks for its own tasks alone. */
  constructor(ownerOf: (taskId: string) => string | undefined) {
    this.#ownerOf = ownerOf
  }

  of(taskId: string): TaskUsage | undefined {
    return this.#byTask.get(taskId)
  }

  /** Takes a PublishMetricsRequest of this instance. With its last part the tasks that it no longer names are forgotten. */
  take(instanceId: string, { type, message }: Frame, now: number): void {
    if (type !== 'PublishMetricsRequest') return
    const tasks = this.#tasksOf.get(instanceId) ?? new Map<string, number>()
    this.#tasksOf.set(instanceId, tasks)
    for (const metric of listOf(message['taskMetrics']).slice(0, tasksMax)) {
      const taskId = typeof metric['taskArn'] === 'string' ? idOf(metric['taskArn']) : ''
      if (this.#ownerOf(taskId) !== instanceId) continue
      const containers = listOf(metric['containerMetrics']).slice(0, containersMax).flatMap(usageOf)
      this.#byTask.set(taskId, { instanceId, at: now, containers })
      tasks.set(taskId, now)
    }
    const { fin } = (message['metadata'] ?? {}) as { readonly fin?: unknown }
    if (fin !== true) return
    for (const [taskId, at] of tasks)
      if (at < now - stalenessMs || this.#ownerOf(taskId) === undefined) this.#drop(tasks, taskId)
  }

  /** The channel of the instance is gone: what it said is old. */
  forget(instanceId: string): void {
    const tasks = this.#tasksOf.get(instanceId)
    for (const taskId of tasks?.keys() ?? []) this.#byTask.delete(taskId)
    this.#tasksOf.delete(instanceId)
  }

  #drop(tasks: Map<string, number>, taskId: string): void {
    tasks.delete(taskId)
    this.#byTask.delete(taskId)
  }
}

/** Two publications and some. */
const stalenessMs = 60_000

type Members = Readonly<Record<string, unknown>>

function usageOf(metric: Members): ContainerUsage[] {
  const name = metric['containerName']
  if (typeof name !== 'string') return []
  const network = membersOf(metric['networkStatsSet'])
  const storage = membersOf(metric['storageStatsSet'])
  return [
    {
      name,
      cpuPercent: meanOf(metric['cpuStatsSet']),
      memoryMiB: meanOf(metric['memoryStatsSet']),
      rxBytesPerSecond: meanOf(network['rxBytesPerSecond']),
      txBytesPerSecond: meanOf(network['txBytesPerSecond']),
      readBytes: mostOf(storage['readSizeBytes']),
      writeBytes: mostOf(storage['writeSizeBytes']),
    },
  ]
}

function meanOf(value: unknown): number | undefined {
  const set = setOf(value)
  return set === undefined || set.sampleCount <= 0 ? undefined : Math.round((set.sum / set.sampleCount) * 100) / 100
}

/** The newest of a counter that only grows. */
function mostOf(value: unknown): number | undefined {
  return setOf(value)?.max
}

function setOf(value: unknown): StatsSet | undefined {
  const { min, max, sampleCount, sum } = membersOf(value)
  const isSet = [min, max, sampleCount, sum].every((member) => typeof member === 'number' && Number.isFinite(member))
  return isSet ? ({ min, max, sampleCount, sum } as StatsSet) : undefined
}

function membersOf(value: unknown): Members {
  return typeof value === 'object' && value !== null ? (value as Members) : {}
}

function listOf(value: unknown): readonly Members[] {
  return Array.isArray(value) ? value.map(membersOf) : []
}
