/**
 * What it costs to ask whether a caller may: ListTasks of a user with five policies and twenty statements, and of root,
 * beside the same calls to the same build of which nobody asks, turn about in the same run.
 */
import {
  AttachUserPolicyCommand,
  CreateAccessKeyCommand,
  CreatePolicyCommand,
  CreateUserCommand,
  IAMClient,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { startAgentPeer } from '../test/support/agent-peer.ts'
import { type RunningController, startController } from '../test/support/controller.ts'
import type { LoadPlan, LoadResult } from './api-load.ts'
import { type Child, startChild } from './child.ts'
import { type ClientKey, ecsClient } from './ecs-client.ts'
import { describeMachine } from './machine.ts'
import type { BenchOptions } from './options.ts'
import type { Place } from './place.ts'
import type { BenchResult, Row } from './result.ts'
import { pairedRatio, quantile, summarize } from './statistics.ts'

const listedTasks = 200
const ratioAim = 0.8
const bounds = { concurrency: 8, countMax: 800, timeMaxMs: 3000 }
/** Pairs in a round: short ones in turn, so that what else the machine does falls on both. */
const pairsInRound = 6

type Caller = 'user' | 'root'

interface Contender {
  readonly controller: RunningController
  readonly keys: Readonly<Record<Caller, ClientKey>>
}

interface Measured extends LoadResult {
  /** Of the controller's process, by call. */
  readonly cpuMicros: number
}

interface Round {
  readonly asked: Measured
  readonly open: Measured
}

export async function benchAuthorised(_place: Place, { rounds, progress }: BenchOptions): Promise<BenchResult> {
  const machine = await describeMachine(undefined)
  const env = { GANTRY_LOG_LEVEL: 'info' }
  const controllers: RunningController[] = []
  const load = startChild('api-load.ts')
  try {
    controllers.push(await startController({ env }))
    controllers.push(await startController({ env, program: resolve(import.meta.dirname, 'open-controller.ts') }))
    progress(`${listedTasks} tasks and a user with 5 policies on each of two controllers ...`)
    const [asked, open] = await Promise.all(controllers.map(prepare))
    if (asked === undefined || open === undefined) throw new Error('there are two controllers')
    await requireDifference(asked, open)
    const seen: Record<Caller, Round[]> = { user: [], root: [] }
    // The first round warms both up, and does not count.
    for (let round = 0; round <= rounds; round += 1) {
      progress(round === 0 ? 'warming up ...' : `round ${round} of ${rounds} ...`)
      for (let pair = 0; pair < pairsInRound; pair += 1) {
        for (const caller of ['user', 'root'] as const) {
          const one = await measure(load, { asked, open }, caller, pair % 2 === 0)
          if (round > 0) seen[caller].push(one)
        }
      }
    }
    const rows = [...rowsOf('a user with 5 policies', seen.user), ...rowsOf('root', seen.root)]
    return { bench: 'authorised', machine, rows, notes }
  } finally {
    await load.end()
    for (const controller of controllers) await controller.stop()
  }
}

const notes = [
  `ListTasks in pages of 100 over ${listedTasks} tasks, 8 at once; one load process with signed requests.`,
  'The user has 1 policy of its own and 4 attached ones, 20 statements with conditions; which one allows comes last.',
  'Beside: the same build, in which the module that decides (controller/access/check.ts) says yes to everything.',
  `Both controllers run at once and are asked in turn, ${pairsInRound} pairs a round; load and controllers share the cores.`,
]

async function prepare(controller: RunningController): Promise<Contender> {
  const { endpoint, credentials, agentCredentials } = controller
  await startAgentPeer({ endpoint, key: agentCredentials, gantryProtocol: true, cpu: 1_000_000, memory: 4_000_000 })
  const ecs = ecsClient(endpoint, credentials, 1)
  const containerDefinitions = [{ name: 'app', image: 'busybox:1', cpu: 10, memory: 32, essential: true }]
  await ecs.call('RegisterTaskDefinition', { family: 'bench', containerDefinitions })
  for (let started = 0; started < listedTasks; started += 10) {
    await ecs.call('RunTask', { taskDefinition: 'bench', count: 10 })
  }
  ecs.close()
  return { controller, keys: { root: credentials, user: await createUser(endpoint, credentials) } }
}

/** Five policies of four statements each, as an operator's user has them after a while. */
async function createUser(endpoint: string, credentials: ClientKey): Promise<ClientKey> {
  const iam = new IAMClient({ endpoint, region: 'us-east-1', credentials })
  const UserName = 'bench'
  await iam.send(new CreateUserCommand({ UserName, Tags: [{ Key: 'team', Value: 'bench' }] }))
  for (const number of [1, 2, 3, 4]) {
    const PolicyDocument = documentOf([0, 1, 2, 3].map((statement) => aStatement(number * 4 + statement)))
    const { Policy: made } = await iam.send(new CreatePolicyCommand({ PolicyName: `bench-${number}`, PolicyDocument }))
    await iam.send(new AttachUserPolicyCommand({ UserName, PolicyArn: made?.Arn ?? '' }))
  }
  const allowing = {
    Effect: 'Allow',
    Action: ['ecs:List*', 'ecs:Describe*'],
    Resource: 'arn:aws:ecs:*:*:*/default/*',
    Condition: { ArnLike: { 'ecs:cluster': 'arn:aws:ecs:*:*:cluster/default' } },
  }
  const PolicyDocument = documentOf([...[0, 1, 2].map(aStatement), allowing])
  await iam.send(new PutUserPolicyCommand({ UserName, PolicyName: 'own', PolicyDocument }))
  const { AccessKey: key } = await iam.send(new CreateAccessKeyCommand({ UserName }))
  iam.destroy()
  return { accessKeyId: key?.AccessKeyId ?? '', secretAccessKey: key?.SecretAccessKey ?? '' }
}

function documentOf(Statement: readonly object[]): string {
  return JSON.stringify({ Version: '2012-10-17', Statement })
}

/** Every fourth is a deny that is about this action and does not hold; the others allow something else. */
function aStatement(number: number): object {
  if (number % 4 === 0) {
    return {
      Effect: 'Deny',
      Action: 'ecs:*',
      Resource: '*',
      Condition: { StringEquals: { 'aws:ResourceTag/stage': `stage-${number}` } },
    }
  }
  return {
    Effect: 'Allow',
    Action: ['ecs:RunTask', 'ecs:StopTask', 'ecs:List*'],
    Resource: [`arn:aws:ecs:*:*:task-definition/app-${number}:*`, `arn:aws:ecs:*:*:*/cluster-${number}/*`],
    Condition: { StringLike: { 'aws:PrincipalTag/team': `team-${number}*` } },
  }
}

/** That the one build asks and the other does not is seen, not believed. */
async function requireDifference(asked: Contender, open: Contender): Promise<void> {
  const statuses = await Promise.all([asked, open].map(({ controller, keys }) => answerToAll(controller, keys.user)))
  if (statuses.join() !== 'denied,allowed') throw new Error(`a user who may not was ${statuses.join(' and ')}`)
}

async function answerToAll({ endpoint }: RunningController, key: ClientKey): Promise<string> {
  const ecs = ecsClient(endpoint, key, 1)
  try {
    await ecs.call('PutAccountSetting', { name: 'containerInsights', value: 'disabled' })
    return 'allowed'
  } catch {
    return 'denied'
  } finally {
    ecs.close()
  }
}

async function measure(
  load: Child,
  { asked, open }: { readonly asked: Contender; readonly open: Contender },
  caller: Caller,
  isOpenFirst: boolean,
): Promise<Round> {
  const ask = async ({ controller, keys }: Contender): Promise<Measured> => {
    const plan: LoadPlan = { endpoint: controller.endpoint, key: keys[caller], work: { kind: 'list' }, ...bounds }
    const before = cpuMs(controller.pid)
    const result = await load.ask<LoadResult>(plan)
    return { ...result, cpuMicros: ((cpuMs(controller.pid) - before) * 1000) / result.count }
  }
  const early = isOpenFirst ? await ask(open) : undefined
  const ours = await ask(asked)
  return { asked: ours, open: early ?? (await ask(open)) }
}

/** What a process has had of the processors, whatever else the machine does. Ticks are of 10 ms. */
function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1)?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) * 10
}

function rateOf({ count, durationMs }: LoadResult): number {
  return (count * 1000) / durationMs
}

function rowsOf(caller: string, rounds: readonly Round[]): readonly Row[] {
  const rates = rounds.map(({ asked }) => rateOf(asked))
  const openRates = rounds.map(({ open }) => rateOf(open))
  const ratio = pairedRatio(rates, openRates)
  const cpu = (which: keyof Round) => rounds.map((round) => round[which].cpuMicros)
  const p99 = (which: keyof Round) => summarize(rounds.map((round) => quantile(round[which].latenciesMs, 0.99)))
  return [
    {
      figure: `ListTasks by ${caller}`,
      ratio,
      unit: '/s',
      measured: summarize(rates),
      beside: { what: 'nobody asks', measured: summarize(openRates) },
      aim: { text: `at least ${ratioAim} of it`, seen: ratio.toFixed(2), isMet: ratio >= ratioAim },
    },
    {
      figure: '  processor time a call',
      ratio: pairedRatio(cpu('asked'), cpu('open')),
      unit: 'µs',
      measured: summarize(cpu('asked')),
      beside: { what: 'nobody asks', measured: summarize(cpu('open')) },
    },
    { figure: '  p99', unit: 'ms', measured: p99('asked'), beside: { what: 'nobody asks', measured: p99('open') } },
  ]
}
