/**
 * Calls per second on loopback, with p50 and p99: what an operator's or a deploy tool's calls cost. Beside each stands a
 * bare HTTP server that is sent and answers the same number of bytes, turn about in the same run.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { startAgentPeer } from '../test/support/agent-peer.ts'
import { startController } from '../test/support/controller.ts'
import type { LoadPlan, LoadResult, LoadWork } from './api-load.ts'
import { type Child, startChild } from './child.ts'
import { ecsClient } from './ecs-client.ts'
import { describeMachine } from './machine.ts'
import type { BenchOptions } from './options.ts'
import type { Place } from './place.ts'
import type { BenchResult, Row } from './result.ts'
import { pairedRatio, quantile, summarize } from './statistics.ts'

const peerCount = 20
const listedTasks = 1000

interface Measured {
  readonly figure: string
  readonly work: LoadWork
  readonly concurrency: number
  readonly countMax: number
  /** What the bare server beside is sent and answers, and whether it syncs. */
  readonly bare: { readonly sendBytes: number; readonly answerBytes: number; readonly sync: boolean }
}

interface Round {
  readonly rate: number
  readonly p50: number
  readonly p99: number
  readonly bareRate: number
  readonly bareP50: number
}

export async function benchApi(place: Place, { rounds, progress }: BenchOptions): Promise<BenchResult> {
  const machine = await describeMachine(undefined)
  const dataDir = join(place.directory, 'bare')
  mkdirSync(dataDir)
  const controller = await startController({ env: { GANTRY_LOG_LEVEL: 'info' } })
  const load = startChild('api-load.ts')
  const bare = startChild('bare-server.ts', [dataDir])
  try {
    const bareEndpoint = `http://127.0.0.1:${await bare.next<number>()}`
    progress(`${peerCount} scripted agents, ${listedTasks} tasks ...`)
    const sizes = await prepare(controller)
    const figures = new Map<Measured, Round[]>(measuredOf(sizes).map((measured) => [measured, []]))
    // The first round warms both up, and does not count.
    for (let round = 0; round <= rounds; round += 1) {
      progress(round === 0 ? 'warming up ...' : `round ${round} of ${rounds} ...`)
      for (const [measured, seen] of figures) {
        const one = await measure(load, controller, bareEndpoint, measured, round % 2 === 0)
        if (round > 0) seen.push(one)
      }
    }
    return { bench: 'api', machine, rows: [...figures].flatMap(([what, seen]) => rowsOf(what, seen)), notes }
  } finally {
    await load.end()
    await bare.end()
    await controller.stop()
  }
}

const notes = [
  'One load process with signed requests on kept-alive connections; the controller is the real program at its defaults.',
  `RunTask: count 1, on ${peerCount} scripted agents, which acknowledge and report RUNNING meanwhile (no engine is in the way).`,
  'Beside: a bare node:http server without signatures, sent and answering as many bytes; for RegisterTaskDefinition and',
  '  RunTask it commits each body to SQLite with synchronous=FULL, one commit a request. Load, peers, controller and bare',
  '  server share the same cores.',
]

interface Sizes {
  readonly tasks: readonly string[]
  readonly describeBytes: number
  readonly listBytes: number
}

async function prepare(controller: Awaited<ReturnType<typeof startController>>): Promise<Sizes> {
  const { endpoint, credentials, agentCredentials } = controller
  for (let peer = 0; peer < peerCount; peer += 1) {
    await startAgentPeer({ endpoint, key: agentCredentials, gantryProtocol: true, cpu: 1_000_000, memory: 4_000_000 })
  }
  const ecs = ecsClient(endpoint, credentials, 4)
  try {
    const containerDefinitions = [{ name: 'app', image: 'busybox:1', cpu: 10, memory: 32, essential: true }]
    await ecs.call('RegisterTaskDefinition', { family: 'bench', containerDefinitions })
    const tasks: string[] = []
    while (tasks.length < listedTasks) {
      const { tasks: placed = [] } = await ecs.call('RunTask', { taskDefinition: 'bench', count: 10 })
      if (placed.length === 0) throw new Error('RunTask placed nothing')
      tasks.push(...placed.flatMap(({ taskArn }) => taskArn ?? []))
    }
    const described = tasks.slice(0, 100)
    const describeBytes = JSON.stringify(await ecs.call('DescribeTasks', { tasks: described })).length
    const listBytes = JSON.stringify(await ecs.call('ListTasks', { maxResults: 100 })).length
    return { tasks: described, describeBytes, listBytes }
  } finally {
    ecs.close()
  }
}

function measuredOf({ tasks, describeBytes, listBytes }: Sizes): readonly Measured[] {
  const read = { sendBytes: 300, sync: false }
  const run = { work: { kind: 'run' }, bare: { sendBytes: 40, answerBytes: 1500, sync: true } } as const
  return [
    {
      figure: 'RegisterTaskDefinition, 16 at once',
      work: { kind: 'register' },
      concurrency: 16,
      countMax: 2000,
      bare: { sendBytes: 150, answerBytes: 900, sync: true },
    },
    {
      figure: 'DescribeTasks of 100, 8 at once',
      work: { kind: 'describe', tasks },
      concurrency: 8,
      countMax: 1000,
      bare: { ...read, sendBytes: 10_000, answerBytes: describeBytes },
    },
    {
      figure: 'ListTasks, pages of 100, 8 at once',
      work: { kind: 'list' },
      concurrency: 8,
      countMax: 3000,
      bare: { ...read, answerBytes: listBytes },
    },
    { figure: 'RunTask, one at a time', concurrency: 1, countMax: 200, ...run },
    { figure: 'RunTask, 16 at once', concurrency: 16, countMax: 600, ...run },
    { figure: 'RunTask, 64 at once', concurrency: 64, countMax: 800, ...run },
  ]
}

const timeMaxMs = 6000

async function measure(
  load: Child,
  controller: Awaited<ReturnType<typeof startController>>,
  bareEndpoint: string,
  { work, concurrency, countMax, bare }: Measured,
  isBareFirst: boolean,
): Promise<Round> {
  const bounds = { concurrency, countMax, timeMaxMs }
  const ask = async (plan: Omit<LoadPlan, 'key'>): Promise<LoadResult> => {
    const result = await load.ask<LoadResult>({ key: controller.credentials, ...plan })
    // What it set off comes to rest before the next is measured.
    await new Promise((resolve) => setTimeout(resolve, 500))
    return result
  }
  const askBare = async (): Promise<LoadResult> =>
    ask({ endpoint: bareEndpoint, work: { kind: 'bare', ...bare }, ...bounds })
  const early = isBareFirst ? await askBare() : undefined
  const ours = await ask({ endpoint: controller.endpoint, work, ...bounds })
  const theirs = early ?? (await askBare())
  return {
    rate: (ours.count * 1000) / ours.durationMs,
    p50: quantile(ours.latenciesMs, 0.5),
    p99: quantile(ours.latenciesMs, 0.99),
    bareRate: (theirs.count * 1000) / theirs.durationMs,
    bareP50: quantile(theirs.latenciesMs, 0.5),
  }
}

function rowsOf({ figure, bare }: Measured, rounds: readonly Round[]): readonly Row[] {
  const rates = rounds.map(({ rate }) => rate)
  const bareRates = rounds.map(({ bareRate }) => bareRate)
  const what = bare.sync ? 'bare HTTP with a commit each' : 'bare HTTP'
  const p50s = rounds.map(({ p50 }) => p50)
  const bareP50s = rounds.map(({ bareP50 }) => bareP50)
  return [
    {
      figure,
      ratio: pairedRatio(rates, bareRates),
      unit: '/s',
      measured: summarize(rates),
      beside: { what, measured: summarize(bareRates) },
    },
    {
      figure: '  p50',
      ratio: pairedRatio(p50s, bareP50s),
      unit: 'ms',
      measured: summarize(p50s),
      beside: { what, measured: summarize(bareP50s) },
    },
    { figure: '  p99', unit: 'ms', measured: summarize(rounds.map(({ p99 }) => p99)) },
  ]
}
