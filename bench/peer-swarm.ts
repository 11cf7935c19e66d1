/**
 * Docker Swarm beside Gantry: the same engine, the same image, one run. How long a service of 64 takes to its first
 * RUNNING task and to all, and how long until a killed container has been replaced.
 */
import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { enginePackages, engineTestPackages, installPackages } from '../scripts/packages.ts'
import { type Contender, openContenders, type Contenders } from './contenders.ts'
import { describeMachine } from './machine.ts'
import type { BenchOptions } from './options.ts'
import type { Place } from './place.ts'
import type { BenchResult, Row } from './result.ts'
import { digits } from './result.ts'
import { pairedRatio, summarize } from './statistics.ts'

const replicas = 64
const killsOfOneRound = 5
/** Of the service with Swarm's own pause of 5 s before a replacement, which its killed container then takes. */
const unhurriedReplicas = 4
/** What ends sooner after its start is a crash, to Gantry, and is not replaced at once. */
const settleMs = 11_000
const restMs = 1000
const waitMs = 120_000
/** Asking costs the machine too; both are asked alike, for a count. */
const askEveryMs = { first: 25, all: 100, replaced: 10 }

export async function benchPeerSwarm(place: Place, { rounds, progress }: BenchOptions): Promise<BenchResult> {
  await installPackages([...enginePackages, ...engineTestPackages])
  const engine = await place.swarmEngine()
  const machine = await describeMachine(engine.dockerHost)
  const contenders = await openContenders(engine, place.directory)
  const seen: Round[] = []
  try {
    // The first of each warms up, and does not count.
    progress('both, with a few tasks, to warm up ...')
    for (const one of [contenders.gantry, contenders.swarm]) await runOnce(one, 4, 0)
    for (let round = 0; round < rounds; round += 1) {
      progress(`round ${round + 1} of ${rounds} ...`)
      seen.push(await measureRound(contenders, round % 2 === 0))
    }
    return { bench: 'peer-swarm', machine, rows: rowsOf(seen), notes }
  } finally {
    await contenders.close()
  }
}

const notes = [
  `From the create call to the answer that counts the tasks as RUNNING: DescribeServices runningCount, and ServiceStatus of Swarm's GET /services; asked every ${askEveryMs.first} ms until the first, then every ${askEveryMs.all} ms.`,
  `Replaced: from SIGKILL to a container's process until all of ${replicas} run again, asked every ${askEveryMs.replaced} ms; ${killsOfOneRound} kills a round, of containers that had run for ${settleMs / 1000} s.`,
  'Swarm waits 5 s before it replaces, unless told `--restart-delay 0s`: it stands beside Gantry both ways.',
  'Both: the same image by digest, from a registry of the bench and on the engine already; a memory limit of 32 MiB; the bridge network; json-file logs. Which goes first alternates.',
  'The engine is of this bench, in a network namespace of its own, without --live-restore, which Swarm refuses. The swarm is one node, idle while Gantry is measured, and so is Gantry while Swarm is.',
]

interface Course {
  readonly first: number
  readonly all: number
  readonly replaced: readonly number[]
}

interface Round {
  readonly gantry: Course
  readonly swarm: Course
  /** Swarm's replacement with its own pause. */
  readonly unhurried: Course
}

async function measureRound({ gantry, swarm, unhurriedSwarm }: Contenders, isSwarmFirst: boolean): Promise<Round> {
  const early = isSwarmFirst ? await runOnce(swarm, replicas, killsOfOneRound) : undefined
  const ours = await runOnce(gantry, replicas, killsOfOneRound)
  const theirs = early ?? (await runOnce(swarm, replicas, killsOfOneRound))
  return { gantry: ours, swarm: theirs, unhurried: await runOnce(unhurriedSwarm, unhurriedReplicas, 1) }
}

/** One service from its creation to its removal. */
async function runOnce(contender: Contender, count: number, kills: number): Promise<Course> {
  const begun = performance.now()
  await contender.create(count)
  const first = (await until(contender, begun, askEveryMs.first, (running) => running >= 1)) - begun
  const all = (await until(contender, begun, askEveryMs.all, (running) => running >= count)) - begun
  const replaced: number[] = []
  if (kills > 0) {
    await sleep(settleMs)
    const containers = await contender.containers()
    // From all over the list, each once.
    const chosen = Array.from(
      { length: kills },
      (_, kill) => containers[Math.floor((kill * containers.length) / kills)],
    )
    for (const container of chosen) {
      replaced.push(await timeReplacement(contender, container?.pid ?? 0, count))
      await sleep(restMs)
    }
  }
  await contender.remove()
  await sleep(restMs)
  return { first, all, replaced }
}

async function timeReplacement(contender: Contender, pid: number, count: number): Promise<number> {
  if (pid <= 1) throw new Error(`${contender.name} has no container to kill`)
  const killedAt = performance.now()
  process.kill(pid, 'SIGKILL')
  await until(contender, killedAt, askEveryMs.replaced, (running) => running < count)
  return (await until(contender, killedAt, askEveryMs.replaced, (running) => running >= count)) - killedAt
}

/** The instant at which the answer that says so arrived. */
async function until(
  { name, running }: Contender,
  since: number,
  everyMs: number,
  isSo: (running: number) => boolean,
): Promise<number> {
  for (;;) {
    const count = await running()
    const now = performance.now()
    if (isSo(count)) return now
    if (now - since > waitMs) throw new Error(`${name} still counts ${count} running tasks after ${waitMs / 1000} s`)
    await sleep(everyMs)
  }
}

function rowsOf(rounds: readonly Round[]): readonly Row[] {
  const replacedWith = (which: keyof Round): readonly number[] => rounds.flatMap((round) => round[which].replaced)
  const ofEach = (which: keyof Round): readonly number[] =>
    rounds.map((round) => summarize(round[which].replaced).median)
  const gantry = { all: replacedWith('gantry'), ofEach: ofEach('gantry') }
  const replaced = (what: string, which: 'swarm' | 'unhurried'): Row =>
    rowOf(`a killed container replaced${which === 'unhurried' ? ', as Swarm comes' : ''}`, {
      ours: gantry.all,
      theirs: replacedWith(which),
      ratio: pairedRatio(gantry.ofEach, ofEach(which)),
      what,
    })
  const started = (figure: string, which: 'first' | 'all'): Row => {
    const ours = rounds.map((round) => round.gantry[which])
    const theirs = rounds.map((round) => round.swarm[which])
    return rowOf(figure, { ours, theirs, ratio: pairedRatio(ours, theirs), what: 'Swarm' })
  }
  return [
    started(`service of ${replicas}: first RUNNING`, 'first'),
    started(`service of ${replicas}: all RUNNING`, 'all'),
    replaced('Swarm, --restart-delay 0s', 'swarm'),
    replaced('Swarm, its own pause of 5 s', 'unhurried'),
  ]
}

interface Compared {
  readonly ours: readonly number[]
  readonly theirs: readonly number[]
  readonly ratio: number
  readonly what: string
}

function rowOf(figure: string, { ours, theirs, ratio, what }: Compared): Row {
  return {
    figure,
    ratio,
    unit: 'ms',
    measured: summarize(ours),
    beside: { what, measured: summarize(theirs) },
    aim: { text: 'ahead of Swarm', seen: `${digits(1 / ratio)} times`, isMet: ratio < 1 },
  }
}
