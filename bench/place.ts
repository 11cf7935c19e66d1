/** What a bench runs on: a directory of its own, and an engine that nobody else uses unless DOCKER_HOST names one. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { askVersion } from '../scripts/engine-api.ts'
import { engineProcess, removeEngine, socketOf, startEngine } from '../scripts/engine.ts'
import { commandLineOf, endProcess, processesUsing } from '../scripts/processes.ts'
import { ScriptError } from '../scripts/report.ts'
import { leaveSwarm } from './swarm.ts'

const removalTriesMax = 10
const removalRetryMs = 2000

export interface Place {
  /** Empty at first, on the disk of /tmp; gone afterwards. */
  readonly directory: string
  engine(): Promise<string>
  /** One that may become a swarm, whatever DOCKER_HOST says: nobody else's engine is made one. */
  swarmEngine(): Promise<OwnEngine>
}

export interface OwnEngine {
  readonly dockerHost: string
  /** The process whose network namespace it is in. */
  readonly pid: number
}

/** Calls `work` with a place of its own, and removes it whatever happens. */
export async function withPlace<T>(work: (place: Place) => Promise<T>): Promise<T> {
  const directory = mkdtempSync('/tmp/gantry-bench-')
  const temporary = join(directory, 'tmp')
  mkdirSync(temporary)
  // Children put what they make below it too.
  process.env['TMPDIR'] = temporary
  const own = join(directory, 'engine')
  const interrupted = Promise.withResolvers<never>()
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () =>
      interrupted.reject(new ScriptError(`${signal}: what the bench started is removed again.`)),
    )
  }
  try {
    return await Promise.race([
      work({ directory, engine: () => engineAt(own), swarmEngine: () => swarmEngineAt(own) }),
      interrupted.promise,
    ])
  } finally {
    await endProcessesOf(directory)
    // A swarm starts again what is removed under it.
    await leaveSwarm(socketOf(own))
    await removeEngineAtLast(own)
    rmSync(directory, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 })
  }
}

/** A removal of a container that an interrupted bench had asked for may be under way for a while yet. */
async function removeEngineAtLast(directory: string): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      await removeEngine(directory)
      return
    } catch (error) {
      if (tries === removalTriesMax) throw error
      await sleep(removalRetryMs)
    }
  }
}

/** Programs that an interrupted bench left running have a directory below the place's own in their environment. */
async function endProcessesOf(directory: string): Promise<void> {
  const left = processesUsing(directory)
  await Promise.all(left.filter((pid) => !isEngine(pid)).map(async (pid) => endProcess(pid, 5_000)))
}

/** dockerd and its containerd and shims are removed in their own order, with their containers. */
function isEngine(pid: number): boolean {
  return /dockerd|containerd/.test(commandLineOf(pid))
}

async function swarmEngineAt(directory: string): Promise<OwnEngine> {
  const { dockerHost } = await startEngine(directory, { isolated: true, liveRestore: false })
  const pid = engineProcess(directory)
  if (pid === undefined) throw new Error(`the engine in ${directory} answers and has no record`)
  return { dockerHost, pid }
}

async function engineAt(directory: string): Promise<string> {
  const wanted = process.env['DOCKER_HOST']
  if (wanted === undefined || wanted === '') return (await startEngine(directory, { isolated: true })).dockerHost
  if ((await askVersion(wanted)) === undefined) {
    throw new ScriptError(
      `no engine answers at DOCKER_HOST=${wanted}. Unset it to have the bench bring one of its own.`,
    )
  }
  return wanted
}
