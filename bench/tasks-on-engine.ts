/** One real controller, one real agent and one engine, and what start-latency asks of them; beside it the raw engine. */
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import { labels } from '../agent/engine.ts'
import { startAgent } from '../test/support/agent.ts'
import { startController } from '../test/support/controller.ts'
import { busyboxImage, removeBusyboxImage } from '../test/support/engine.ts'
import { ecsClient, type EcsClient } from './ecs-client.ts'
import { inParallel, type RawEngine, rawEngine } from './raw-engine.ts'

/** What RunTask takes at most in one call. */
const tasksPerCallMax = 10
const tasksPerAskMax = 10
const waitMs = 120_000
const stopTimeoutSeconds = 30
const rawLabel = 'gantry.bench.raw'

/** Instants of one batch, milliseconds since it was asked for. */
export interface BatchTimes {
  /** The first answer that accepted tasks. */
  readonly accepted: number
  readonly first: number
  readonly last: number
}

export interface Workplace {
  /**
   * Runs `count` tasks and waits until DescribeTasks shows each of them RUNNING. It does not ask before `askAfterMs`,
   * which must be less than the quickest start that the engine is capable of.
   */
  runTasks(count: number, askAfterMs?: number): Promise<BatchTimes & { readonly arns: readonly string[] }>
  /** Stops them all and waits until DescribeTasks shows each of them STOPPED. */
  stopTasks(arns: readonly string[]): Promise<BatchTimes>
  /** Creates and starts the same container `count` times, `parallelism` at a time. */
  runRaw(count: number, parallelism: number): Promise<BatchTimes & { readonly ids: readonly string[] }>
  stopRaw(ids: readonly string[], parallelism: number): Promise<BatchTimes>
  /** Removes every container of either kind, so that all begin on an engine that holds nothing. */
  clear(): Promise<void>
  /** What the agent has logged. */
  agentLog(): string
  close(): Promise<void>
}

export async function openWorkplace(dockerHost: string): Promise<Workplace> {
  const image = await busyboxImage(dockerHost)
  const controller = await startController()
  const agent = await startAgent({
    endpoint: controller.endpoint,
    credentialsFile: join(controller.dataDir, 'agent-credentials'),
    dockerHost,
    // As the real agent was measured: with the image at hand no registry is asked.
    environment: { ECS_LOGLEVEL: 'info', ECS_IMAGE_PULL_BEHAVIOR: 'prefer-cached' },
  })
  const ecs = ecsClient(controller.endpoint, controller.credentials, 16)
  const engine = rawEngine(dockerHost)
  const ours = `${labels.instanceArn}=${agent.containerInstanceArn}`
  await registerBenchTask(ecs, image)
  const clear = async (): Promise<void> => {
    for (const label of [ours, rawLabel]) {
      await inParallel(await engine.withLabel(label), 4, async (id) => engine.remove(id))
    }
  }
  const body = await rawBody(ecs, engine, ours)
  await clear()
  let named = 0
  return {
    runTasks: async (count, askAfterMs) => runTasks(ecs, count, askAfterMs),
    stopTasks: async (arns) => stopTasks(ecs, arns),
    async runRaw(count, parallelism) {
      const names = Array.from({ length: count }, () => `gantry-bench-${process.pid}-${++named}`)
      return timeRaw(names, parallelism, async (name) => engine.run(name, body))
    },
    async stopRaw(ids, parallelism) {
      return timeRaw(ids, parallelism, async (id) => {
        await engine.stop(id, stopTimeoutSeconds)
        return id
      })
    },
    clear,
    agentLog: () => agent.log(),
    async close() {
      await clear()
      await agent.stop()
      await controller.stop()
      await removeBusyboxImage(dockerHost)
      ecs.close()
      engine.close()
    },
  }
}

/** It ends at once on SIGTERM, as the tasks did with which the real agent was measured. */
async function registerBenchTask(ecs: EcsClient, image: string): Promise<void> {
  const command = ['sh', '-c', 'trap "exit 0" TERM; sleep 3600 & wait']
  await ecs.call('RegisterTaskDefinition', {
    family: 'bench',
    networkMode: 'bridge',
    containerDefinitions: [{ name: 'app', image, cpu: 10, memory: 32, essential: true, command }],
  })
}

/**
 * The create body of the container that the agent makes, as the engine itself tells it; but its labels, by which the
 * agent would know it for one of its own, are renamed.
 */
async function rawBody(ecs: EcsClient, engine: RawEngine, ours: string): Promise<object> {
  await runTasks(ecs, 1)
  const id = (await engine.withLabel(ours))[0]
  if (id === undefined) throw new Error('the task is RUNNING and the engine has no container of it')
  const { Config, HostConfig } = await engine.inspect(id)
  const { Hostname: _ownName, Labels, ...config } = Config
  const renamed = Object.fromEntries(Object.entries(Labels).map(([name, value]) => [`gantry.bench.${name}`, value]))
  return { ...config, Labels: { ...renamed, [rawLabel]: '1' }, HostConfig }
}

async function runTasks(
  ecs: EcsClient,
  count: number,
  askAfterMs = 0,
): Promise<BatchTimes & { readonly arns: readonly string[] }> {
  const begun = performance.now()
  let accepted = Number.POSITIVE_INFINITY
  const calls = Array.from({ length: Math.ceil(count / tasksPerCallMax) }, (_, call) =>
    Math.min(tasksPerCallMax, count - call * tasksPerCallMax),
  )
  const answers = await Promise.all(
    calls.map(async (wanted) => {
      const { tasks = [], failures = [] } = await ecs.call('RunTask', { taskDefinition: 'bench', count: wanted })
      accepted = Math.min(accepted, performance.now() - begun)
      if (failures.length > 0) throw new Error(`RunTask placed not all: ${JSON.stringify(failures)}`)
      return tasks.flatMap(({ taskArn }) => taskArn ?? [])
    }),
  )
  const arns = answers.flat()
  await sleep(Math.max(0, begun + askAfterMs - performance.now()))
  return { ...(await seen(ecs, arns, 'RUNNING', begun)), accepted, arns }
}

async function stopTasks(ecs: EcsClient, arns: readonly string[]): Promise<BatchTimes> {
  const begun = performance.now()
  let accepted = Number.POSITIVE_INFINITY
  const stops = Promise.all(
    arns.map(async (task) => {
      await ecs.call('StopTask', { task })
      accepted = Math.min(accepted, performance.now() - begun)
    }),
  )
  const [times] = await Promise.all([seen(ecs, arns, 'STOPPED', begun), stops])
  return { ...times, accepted }
}

/**
 * Asks until every task has the status. Asking costs the machine too, and raw is asked nothing: so one task is asked for
 * every 10 ms, and of many ten at a time, those that were accepted first, every 60. What is seen late by that stands
 * against the tasks.
 */
async function seen(
  ecs: EcsClient,
  arns: readonly string[],
  status: 'RUNNING' | 'STOPPED',
  begun: number,
): Promise<{ readonly first: number; readonly last: number }> {
  const everyMs = arns.length === 1 ? 10 : 60
  let first = Number.POSITIVE_INFINITY
  let waiting = arns
  while (waiting.length > 0) {
    const asked = waiting.slice(0, tasksPerAskMax)
    const { tasks = [] } = await ecs.call('DescribeTasks', { tasks: asked })
    const now = performance.now() - begun
    const ended = tasks.find(({ lastStatus }) => lastStatus === 'STOPPED')
    if (status === 'RUNNING' && ended !== undefined) throw new Error(`a task ended by itself: ${ended.stoppedReason}`)
    const there = new Set(tasks.filter(({ lastStatus }) => lastStatus === status).map(({ taskArn }) => taskArn))
    if (there.size > 0) first = Math.min(first, now)
    waiting = waiting.filter((arn) => !there.has(arn))
    if (waiting.length === 0) return { first, last: now }
    if (now > waitMs) throw new Error(`${waiting.length} of ${arns.length} tasks are not ${status} after ${waitMs} ms`)
    if (asked.some((arn) => !there.has(arn))) await sleep(everyMs)
  }
  throw new Error('there are no tasks to wait for')
}

async function timeRaw(
  items: readonly string[],
  parallelism: number,
  work: (item: string) => Promise<string>,
): Promise<BatchTimes & { readonly ids: readonly string[] }> {
  const begun = performance.now()
  let first = Number.POSITIVE_INFINITY
  const ids = await inParallel(items, parallelism, async (item) => {
    const id = await work(item)
    first = Math.min(first, performance.now() - begun)
    return id
  })
  return { accepted: 0, first, last: performance.now() - begun, ids }
}
