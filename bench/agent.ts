/**
 * What a task with more than one plain container costs: dependencies, volumes, an address of its own; beside the same
 * containers made by hand on the same engine in the same run. And how soon the truth is known after `kill -9` of the agent.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import type { ContainerDefinition } from '@aws-sdk/client-ecs'
import { labels } from '../agent/engine.ts'
import { startAgent, type AgentProcess } from '../test/support/agent.ts'
import { callRest, type RunningController, startController } from '../test/support/controller.ts'
import { busyboxImage, removeBusyboxImage } from '../test/support/engine.ts'
import { ecsClient, type EcsClient } from './ecs-client.ts'
import { describeMachine } from './machine.ts'
import type { BenchOptions } from './options.ts'
import type { Place } from './place.ts'
import { inParallel, type RawEngine, rawEngine } from './raw-engine.ts'
import { recordTwin, removeTwins, type RawTwin } from './raw-twin.ts'
import { type BenchResult, digits, figureOf, type Row } from './result.ts'
import { median, pairedDifference, pairedRatio, summarize } from './statistics.ts'

/** amazon-ecs-agent 1.105.1 in its own measured run, milliseconds. */
const realAgent = { oneHop: 5900, threeHops: 16_700, truth: 1200 }
const hopAimMs = 500
const burstCount = 16
/** The best parallelism of raw starts on two cores, by `bench start-latency`. */
const parallelism = 8
const truthTasks = 31
const waitMs = 120_000
const restMs = 700

interface Scenario {
  readonly name: string
  readonly networkMode: 'bridge' | 'awsvpc'
  readonly containers: readonly Omit<ContainerDefinition, 'image'>[]
  readonly volumes?: readonly { readonly name: string }[]
  readonly endsByItself?: readonly string[]
}

const stays = ['sh', '-c', 'trap "exit 0" TERM; sleep 3600 & wait']

function app(over: Partial<ContainerDefinition> = {}): Omit<ContainerDefinition, 'image'> {
  return { name: 'app', cpu: 10, memory: 32, essential: true, command: stays, ...over }
}

function step(name: string, after?: string): Omit<ContainerDefinition, 'image'> {
  const dependsOn = after === undefined ? [] : [{ containerName: after, condition: 'SUCCESS' as const }]
  return { name, cpu: 10, memory: 32, essential: false, command: ['true'], dependsOn }
}

const needs = (containerName: string): Partial<ContainerDefinition> => ({
  dependsOn: [{ containerName, condition: 'SUCCESS' }],
})

const oneHop: Scenario = {
  name: 'one-hop',
  networkMode: 'bridge',
  containers: [step('first'), app(needs('first'))],
  endsByItself: ['first'],
}
const threeHops: Scenario = {
  name: 'three-hops',
  networkMode: 'bridge',
  containers: [step('first'), step('second', 'first'), step('third', 'second'), app(needs('third'))],
  endsByItself: ['first', 'second', 'third'],
}
const bursts: readonly Scenario[] = [
  {
    name: 'with a sidecar that starts first',
    networkMode: 'bridge',
    containers: [app({ name: 'sidecar' }), app({ dependsOn: [{ containerName: 'sidecar', condition: 'START' }] })],
  },
  {
    name: 'with a volume of its own',
    networkMode: 'bridge',
    containers: [app({ mountPoints: [{ sourceVolume: 'data', containerPath: '/data' }] })],
    volumes: [{ name: 'data' }],
  },
  { name: 'with an address of its own (awsvpc)', networkMode: 'awsvpc', containers: [app()] },
]

export async function benchAgent(place: Place, { rounds, progress }: BenchOptions): Promise<BenchResult> {
  const dockerHost = await place.engine()
  const machine = await describeMachine(dockerHost)
  const scene = await openScene(dockerHost)
  try {
    progress('dependencies ...')
    const hops = [
      await dependencyRow(scene, oneHop, rounds, realAgent.oneHop),
      await dependencyRow(scene, threeHops, rounds, realAgent.threeHops),
    ]
    const rates: Row[] = []
    for (const scenario of bursts) {
      progress(`bursts ${scenario.name} ...`)
      rates.push(await burstRow(scene, scenario, rounds))
    }
    progress(`kill -9 of the agent with ${truthTasks} tasks ...`)
    return { bench: 'agent', machine, rows: [...hops, ...rates, await truthRow(scene, rounds)], notes }
  } finally {
    await scene.close()
  }
}

const notes = [
  'From RunTask accepted to the DescribeTasks answer that shows RUNNING (asked every 10 ms for one task, every 60 ms for many).',
  'By hand: the same containers, volumes and addresses by plain HTTP to the engine, one after the other within a task; tasks 8 at a time.',
  'Ratios and differences are medians of round by round pairs, taken turn about.',
  "Truth: a container is killed while the agent is away; from the agent's process start to the answer that shows STOPPED.",
  'Real agent: its measured run of 2026-11 on a 2-core machine, not of this run.',
]

interface Scene {
  readonly controller: RunningController
  agent: AgentProcess
  readonly ecs: EcsClient
  readonly engine: RawEngine
  readonly image: string
  readonly dockerHost: string
  readonly dataDirectory: string
  readonly subnetId: string
  freeAddress(): string
  close(): Promise<void>
}

async function openScene(dockerHost: string): Promise<Scene> {
  const image = await busyboxImage(dockerHost)
  const controller = await startController()
  const agent = await launch(controller, dockerHost)
  const ecs = ecsClient(controller.endpoint, controller.credentials, 16)
  const engine = rawEngine(dockerHost)
  const subnetId = await createSubnet(controller)
  let addresses = 0
  const scene: Scene = {
    controller,
    agent,
    ecs,
    engine,
    image,
    dockerHost,
    dataDirectory: agent.dataDirectory,
    subnetId,
    // Above those that the controller gives out.
    freeAddress() {
      addresses += 1
      return `10.97.${100 + Math.floor(addresses / 250)}.${1 + (addresses % 250)}`
    },
    async close() {
      await clear(scene)
      await scene.agent.stop()
      await controller.stop()
      await removeBusyboxImage(dockerHost)
      ecs.close()
      engine.close()
    },
  }
  return scene
}

async function launch(
  controller: RunningController,
  dockerHost: string,
  dataDirectory?: string,
): Promise<AgentProcess> {
  return startAgent({
    endpoint: controller.endpoint,
    credentialsFile: join(controller.dataDir, 'agent-credentials'),
    dockerHost,
    environment: { ECS_LOGLEVEL: 'info', ECS_IMAGE_PULL_BEHAVIOR: 'prefer-cached' },
    ...(dataDirectory === undefined ? {} : { dataDirectory }),
  })
}

async function createSubnet({ endpoint, credentials }: RunningController): Promise<string> {
  const subnet = {
    name: 'bench',
    cidr: '10.97.0.0/16',
    gateway: '10.97.0.1',
    ranges: ['10.97.1.1-10.97.9.250'],
    attachment: { kind: 'bridge' },
  }
  const { status, json, text } = await callRest(endpoint, credentials, 'POST', '/v1/subnets', JSON.stringify(subnet))
  const id = json['id'] ?? json['subnetId']
  if (status >= 300 || typeof id !== 'string') throw new Error(`the subnet was answered ${status}: ${text}`)
  return id
}

async function register({ ecs, image }: Scene, scenario: Scenario): Promise<string> {
  const { taskDefinition } = await ecs.call('RegisterTaskDefinition', {
    family: scenario.name.replaceAll(/[^a-z-]/g, ''),
    networkMode: scenario.networkMode,
    containerDefinitions: scenario.containers.map((container) => ({ ...container, image })),
    ...(scenario.volumes === undefined ? {} : { volumes: [...scenario.volumes] }),
  })
  return taskDefinition?.taskDefinitionArn ?? ''
}

async function runTasks(scene: Scene, scenario: Scenario, taskDefinition: string, count: number) {
  const awsvpcConfiguration = { subnets: [scene.subnetId] }
  const network = scenario.networkMode === 'awsvpc' ? { networkConfiguration: { awsvpcConfiguration } } : {}
  const begun = performance.now()
  let accepted = Number.POSITIVE_INFINITY
  const calls = Array.from({ length: Math.ceil(count / 10) }, (_, call) => Math.min(10, count - call * 10))
  const answers = await Promise.all(
    calls.map(async (wanted) => {
      const { tasks = [], failures = [] } = await scene.ecs.call('RunTask', {
        taskDefinition,
        count: wanted,
        ...network,
      })
      accepted = Math.min(accepted, performance.now() - begun)
      if (failures.length > 0) throw new Error(`RunTask placed not all: ${JSON.stringify(failures)}`)
      return tasks.flatMap(({ taskArn }) => taskArn ?? [])
    }),
  )
  const arns = answers.flat()
  return { arns, sinceAcceptedMs: (await seen(scene, arns, 'RUNNING', begun)) - accepted }
}

async function seen({ ecs }: Scene, arns: readonly string[], status: string, begun: number): Promise<number> {
  const everyMs = arns.length === 1 ? 10 : 60
  for (let waiting = arns; ; ) {
    const { tasks = [] } = await ecs.call('DescribeTasks', { tasks: waiting.slice(0, 100) })
    const now = performance.now() - begun
    const there = new Set(tasks.filter(({ lastStatus }) => lastStatus === status).map(({ taskArn }) => taskArn))
    waiting = waiting.filter((arn) => !there.has(arn))
    if (waiting.length === 0) return now
    const ended = tasks.find(({ lastStatus }) => lastStatus === 'STOPPED')
    if (ended !== undefined && status !== 'STOPPED') throw new Error(`a task ended by itself: ${ended.stoppedReason}`)
    if (now > waitMs) throw new Error(`${waiting.length} of ${arns.length} tasks are not ${status} after ${waitMs} ms`)
    await sleep(everyMs)
  }
}

/** The scenario as a task, and the same by hand. */
async function pairOf(
  scene: Scene,
  scenario: Scenario,
): Promise<{ readonly taskDefinition: string; readonly twin: RawTwin }> {
  const taskDefinition = await register(scene, scenario)
  const { arns } = await runTasks(scene, scenario, taskDefinition, 1)
  const twin = await recordTwin(scene.engine, arns[0] ?? '', {
    endsByItself: new Set(scenario.endsByItself),
    freeAddress: () => scene.freeAddress(),
  })
  await clear(scene)
  return { taskDefinition, twin }
}

interface Timed {
  readonly raw: readonly number[]
  readonly gantry: readonly number[]
}

async function turnAbout(rounds: number, raw: () => Promise<number>, gantry: () => Promise<number>): Promise<Timed> {
  const timed: { raw: number[]; gantry: number[] } = { raw: [], gantry: [] }
  for (let round = 0; round < rounds; round += 1) {
    for (const which of round % 2 === 0 ? (['raw', 'gantry'] as const) : (['gantry', 'raw'] as const)) {
      timed[which].push(await (which === 'raw' ? raw : gantry)())
    }
  }
  return timed
}

async function measure(scene: Scene, scenario: Scenario, rounds: number, count: number): Promise<Timed> {
  const { taskDefinition, twin } = await pairOf(scene, scenario)
  const raw = async (): Promise<number> => {
    const begun = performance.now()
    await inParallel(Array.from({ length: count }), parallelism, async () => twin.run())
    const tookMs = performance.now() - begun
    await clear(scene)
    return tookMs
  }
  const gantry = async (): Promise<number> => {
    const { sinceAcceptedMs } = await runTasks(scene, scenario, taskDefinition, count)
    await clear(scene)
    return sinceAcceptedMs
  }
  return turnAbout(rounds, raw, gantry)
}

async function dependencyRow(scene: Scene, scenario: Scenario, rounds: number, realAgentMs: number): Promise<Row> {
  const { raw, gantry } = await measure(scene, scenario, rounds * 2, 1)
  const hops = scenario.containers.length - 1
  const aboveMs = pairedDifference(gantry, raw)
  return {
    figure: `${hops} ${hops === 1 ? 'dependency' : 'dependencies'} in a row (SUCCESS): to RUNNING`,
    ratio: pairedRatio(gantry, raw),
    unit: 'ms',
    measured: summarize(gantry),
    beside: { what: 'by hand', measured: summarize(raw) },
    aim: {
      text: `at most ${hopAimMs} ms a hop above by hand, and ahead of the real agent's ${realAgentMs} ms`,
      seen: `${aboveMs >= 0 ? '+' : ''}${digits(aboveMs)} ms, ${digits(realAgentMs / median(gantry))} times`,
      isMet: aboveMs <= hopAimMs * hops && median(gantry) < realAgentMs,
    },
  }
}

async function burstRow(scene: Scene, scenario: Scenario, rounds: number): Promise<Row> {
  const { raw, gantry } = await measure(scene, scenario, rounds, burstCount)
  const rate = (ms: number): number => (burstCount * 1000) / ms
  return {
    figure: `burst of ${burstCount} tasks ${scenario.name}`,
    ratio: pairedRatio(gantry.map(rate), raw.map(rate)),
    unit: '/s',
    measured: summarize(gantry.map(rate)),
    beside: { what: `by hand, ${parallelism} at a time`, measured: summarize(raw.map(rate)) },
  }
}

async function truthRow(scene: Scene, rounds: number): Promise<Row> {
  const plain: Scenario = { name: 'plain', networkMode: 'bridge', containers: [app()] }
  const taskDefinition = await register(scene, plain)
  const measured: number[] = []
  for (let round = 0; round < rounds; round += 1) {
    const { arns } = await runTasks(scene, plain, taskDefinition, truthTasks)
    const [victim = ''] = arns
    await scene.agent.kill9()
    const [id = ''] = await scene.engine.withLabel(`${labels.taskArn}=${victim}`)
    await scene.engine.ask('POST', `/containers/${id}/kill`)
    const begun = performance.now()
    const starting = launch(scene.controller, scene.dockerHost, scene.dataDirectory)
    measured.push(await seen(scene, [victim], 'STOPPED', begun))
    scene.agent = await starting
    await clear(scene)
  }
  const seenMs = median(measured)
  return {
    ...figureOf(`truth after kill -9, ${truthTasks} tasks`, 'ms', seenMs),
    measured: summarize(measured),
    aim: {
      text: `ahead of the real agent's ${realAgent.truth} ms`,
      seen: `${digits(realAgent.truth / seenMs)} times`,
      isMet: seenMs < realAgent.truth,
    },
  }
}

/** Every task's container is removed behind the agent's back, which then reports its end; twins go too. */
async function clear({ engine, agent, ecs }: Scene): Promise<void> {
  const { taskArns = [] } = await ecs.call('ListTasks', { desiredStatus: 'RUNNING' })
  await Promise.all(taskArns.map(async (task) => ecs.call('StopTask', { task })))
  await removeTwins(engine)
  const ours = `${labels.instanceArn}=${agent.containerInstanceArn}`
  await sleep(restMs)
  await inParallel(await engine.withLabel(ours), 4, async (id) => engine.remove(id))
  await sleep(restMs)
}
