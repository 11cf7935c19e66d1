/** Resident memory of the controller and the agent at their work, beside a Node that does nothing. */
import { spawn } from 'node:child_process'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startAgentPeer } from '../test/support/agent-peer.ts'
import { type AgentProcess, startAgent } from '../test/support/agent.ts'
import { type RunningController, startController } from '../test/support/controller.ts'
import {
  busyboxImage,
  containersWithLabel,
  removeBusyboxImage,
  removeContainersWithLabel,
} from '../test/support/engine.ts'
import { labels } from '../agent/engine.ts'
import type { EventsResult } from './agent-events.ts'
import { startChild } from './child.ts'
import { ecsClient, type EcsClient } from './ecs-client.ts'
import { describeMachine } from './machine.ts'
import type { BenchOptions } from './options.ts'
import type { Place } from './place.ts'
import { cpuSecondsOf, memoryOf } from './process-memory.ts'
import type { BenchResult, Row } from './result.ts'
import { summarize } from './statistics.ts'

/** amazon-ecs-agent 1.105.1 in its own measured run, MB. */
const realAgent = { idleMb: 41, with31TasksMb: 56 }
const idleAgentAimMb = 95
const idleControllerAimMb = 110
const eventCount = 1_000_000
/** After work, until memory is read: what the work left behind has been collected, or stays. */
const settleMs = 15_000
const runningTimeoutMs = 240_000

interface Samples {
  readonly node: number[]
  readonly few: number[]
  readonly many: number[]
  readonly idle: number[]
  readonly thirty: number[]
  readonly fifty: number[]
  readonly fiftyCpu: number[]
  readonly events: EventsResult[]
}

export async function benchMemory(place: Place, { rounds, progress }: BenchOptions): Promise<BenchResult> {
  const dockerHost = await place.engine()
  const machine = await describeMachine(dockerHost)
  const image = await busyboxImage(dockerHost)
  const samples: Samples = { node: [], few: [], many: [], idle: [], thirty: [], fifty: [], fiftyCpu: [], events: [] }
  const dataDir = join(place.directory, 'agent')
  try {
    for (let round = 0; round < rounds; round += 1) {
      progress(`round ${round + 1} of ${rounds}: Node alone, and the controller with scripted agents ...`)
      samples.node.push(await measureNode())
      samples.few.push(await measureController(1, 20))
      samples.many.push(await measureController(100, 3000))
      progress(`round ${round + 1} of ${rounds}: the agent on ${dockerHost} ...`)
      await measureAgent(dockerHost, dataDir, image, samples)
      progress(`round ${round + 1} of ${rounds}: ${eventCount.toLocaleString('en-US')} events ...`)
      samples.events.push(await measureEvents(join(place.directory, `events-${round}`)))
    }
  } finally {
    await removeBusyboxImage(dockerHost)
  }
  return { bench: 'memory', machine, rows: rowsOf(samples), notes }
}

const notes = [
  `Resident memory as ps shows it, ${settleMs / 1000} s after the last work, of the real programs as they start themselves; a first start fills the compile cache and does not count.`,
  'The 100 agents and their tasks are scripted: they register, hold a control channel, acknowledge and report RUNNING.',
  "Events: the agent's real turn, journal and timers over the fake engine with 30 containers, events injected in chunks of 200; without dockerode, the link and the host's facts. Each makes the turn look at the container again.",
  'Real agent: its measured run of 2026-11 (41 MB idle, 55 to 57 MB with 31 tasks), not of this run.',
]

async function measureNode(): Promise<number> {
  const child = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1e6)'], { stdio: 'ignore' })
  await sleep(1000)
  const { residentMb } = memoryOf(child.pid ?? 0)
  child.kill('SIGKILL')
  return residentMb
}

async function measureController(peers: number, tasks: number): Promise<number> {
  // The first start fills the tests' compile cache where the source has changed.
  await (await startController()).stop()
  const controller = await startController()
  const ecs = ecsClient(controller.endpoint, controller.credentials, 4)
  try {
    const { endpoint, agentCredentials } = controller
    for (let peer = 0; peer < peers; peer += 1) {
      await startAgentPeer({ endpoint, key: agentCredentials, gantryProtocol: true, cpu: 100_000, memory: 400_000 })
    }
    await registerSleeper(ecs, 'busybox:1')
    await runAll(ecs, tasks)
    await sleep(settleMs)
    return memoryOf(controller.pid).residentMb
  } finally {
    ecs.close()
    await controller.stop()
  }
}

async function registerSleeper(ecs: EcsClient, image: string): Promise<void> {
  const command = ['sh', '-c', 'trap "exit 0" TERM; sleep 3600 & wait']
  const containerDefinitions = [{ name: 'app', image, cpu: 10, memory: 32, essential: true, command }]
  await ecs.call('RegisterTaskDefinition', { family: 'bench', networkMode: 'bridge', containerDefinitions })
}

/** Runs tasks and waits until the cluster counts them all as running. */
async function runAll(ecs: EcsClient, count: number): Promise<void> {
  for (let placed = 0; placed < count; ) {
    const wanted = Math.min(10, count - placed)
    const { tasks = [], failures } = await ecs.call('RunTask', { taskDefinition: 'bench', count: wanted })
    if (tasks.length !== wanted) throw new Error(`RunTask placed not all: ${JSON.stringify(failures)}`)
    placed += wanted
  }
  const until = Date.now() + runningTimeoutMs
  for (;;) {
    const { clusters = [] } = await ecs.call('DescribeClusters', { clusters: ['default'] })
    if (clusters[0]?.pendingTasksCount === 0) return
    if (Date.now() > until) throw new Error(`${clusters[0]?.pendingTasksCount} tasks are still PENDING`)
    await sleep(200)
  }
}

async function measureAgent(dockerHost: string, dataDirectory: string, image: string, into: Samples): Promise<void> {
  const controller = await startController()
  const ecs = ecsClient(controller.endpoint, controller.credentials, 4)
  let agent: AgentProcess | undefined
  try {
    await registerSleeper(ecs, image)
    // A fresh identity each round: its controller is a new one.
    const directory = `${dataDirectory}-${into.idle.length}`
    await (await launch(controller, dockerHost, directory)).stop()
    agent = await launch(controller, dockerHost, directory)
    await sleep(settleMs)
    into.idle.push(memoryOf(agent.pid).residentMb)
    await runAll(ecs, 30)
    await sleep(settleMs)
    into.thirty.push(memoryOf(agent.pid).residentMb)
    await runAll(ecs, 20)
    await sleep(settleMs)
    into.fifty.push(memoryOf(agent.pid).residentMb)
    into.fiftyCpu.push(await idleCpu(agent.pid))
    const ours = `${labels.instanceArn}=${agent.containerInstanceArn}`
    const running = await containersWithLabel(ours, dockerHost)
    if (running.length !== 50) throw new Error(`the engine has ${running.length} containers of 50`)
  } finally {
    await agent?.stop()
    await controller.stop()
    ecs.close()
    if (agent !== undefined) {
      await removeContainersWithLabel(`${labels.instanceArn}=${agent.containerInstanceArn}`, dockerHost)
    }
  }
}

function launch(controller: RunningController, dockerHost: string, dataDirectory: string): Promise<AgentProcess> {
  const credentialsFile = join(controller.dataDir, 'agent-credentials')
  const environment = { ECS_LOGLEVEL: 'info' }
  return startAgent({ endpoint: controller.endpoint, credentialsFile, dockerHost, dataDirectory, environment })
}

/** Milliseconds of a core a second that it takes while nothing happens, over a minute with its list of all containers. */
async function idleCpu(pid: number): Promise<number> {
  const before = cpuSecondsOf(pid)
  await sleep(60_000)
  return ((cpuSecondsOf(pid) - before) / 60) * 1000
}

async function measureEvents(directory: string): Promise<EventsResult> {
  mkdirSync(directory)
  const child = startChild('agent-events.ts', [], ['--max-semi-space-size=1'])
  try {
    return await child.ask<EventsResult>({ directory, containers: 30, events: eventCount })
  } finally {
    await child.end()
  }
}

function below(aimMb: number, values: readonly number[]): Row['aim'] {
  return { text: `at most ${aimMb} MB`, isMet: summarize(values).median <= aimMb }
}

function rowsOf({ node, few, many, idle, thirty, fifty, fiftyCpu, events }: Samples): readonly Row[] {
  const bare = summarize(node)
  const row = (figure: string, values: readonly number[], aim?: Row['aim']): Row => {
    const measured = summarize(values)
    const beside = { what: 'Node alone', measured: bare }
    return { figure, ratio: measured.median / bare.median, unit: 'MB', measured, beside, aim }
  }
  const after = summarize(events.map(({ afterMb }) => afterMb))
  const before = summarize(events.map(({ beforeMb }) => beforeMb))
  return [
    row('controller, 20 tasks', few, below(idleControllerAimMb, few)),
    row('controller, 100 agents and 3,000 tasks', many),
    row(`agent, idle (real agent: ${realAgent.idleMb} MB)`, idle, below(idleAgentAimMb, idle)),
    row(`agent, 30 containers (real agent, 31: ${realAgent.with31TasksMb} MB)`, thirty),
    row('agent, 50 containers', fifty),
    { figure: '  its CPU while nothing happens, ms a second', unit: 'ms', measured: summarize(fiftyCpu) },
    {
      figure: `agent's turn, after ${eventCount.toLocaleString('en-US')} events`,
      ratio: after.median / before.median,
      unit: 'MB',
      measured: after,
      beside: { what: 'before them', measured: before },
    },
    {
      figure: '  CPU for each event',
      unit: 'µs',
      measured: summarize(events.map(({ cpuMicrosecondsPerEvent }) => cpuMicrosecondsPerEvent)),
    },
  ]
}
