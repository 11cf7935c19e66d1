/**
 * Where paths of the host lead once every link is followed. To follow one is to look into file systems, and one whose
 * server is away answers never: so a program of its own looks, with a deadline, and no thread of the agent's hangs.
 */
import { execFile } from 'node:child_process'
import { realpath } from 'node:fs/promises'
import { posix } from 'node:path'
import { EngineError } from './engine.ts'

/** In the order of the paths. Fails with an EngineError of kind `deadline` where a file system does not answer. */
export type RealPaths = (paths: readonly string[]) => Promise<readonly string[]>

const deadlineMs = 5_000
const outputBytesMax = 4 * 1024 * 1024
const systemDirectories = '/usr/bin:/bin:/usr/sbin:/sbin'

/** By coreutils' `realpath`, which takes what is not there as it is written; by Node where there is no such program. */
export const realPaths: RealPaths = async (paths) => {
  if (paths.length === 0) return []
  try {
    return await within(deadlineMs, paths, byProgram(paths))
  } catch (error) {
    if (!isMissing(error)) throw error
    return within(deadlineMs, paths, Promise.all(paths.map(byNode)))
  }
}

async function byProgram(paths: readonly string[]): Promise<readonly string[]> {
  const { found, code } = await runProgram(paths)
  if (found.length === paths.length) return found
  // A loop of links, which Docker refuses itself.
  if (code === 1 && paths.length === 1) return paths.map(asWritten)
  // One of several leads nowhere, and is not named: each is asked for alone.
  if (code === 1) return (await Promise.all(paths.map(async (path) => byProgram([path])))).flat()
  throw new Error('realpath answered for other paths than it was asked for.')
}

/** Rejects where the program could not be run, or was killed. */
function runProgram(paths: readonly string[]): Promise<{ readonly found: readonly string[]; readonly code: number }> {
  const options = {
    timeout: deadlineMs,
    killSignal: 'SIGKILL' as const,
    maxBuffer: outputBytesMax,
    env: { PATH: systemDirectories },
  }
  return new Promise((resolve, reject) => {
    execFile('realpath', ['--canonicalize-missing', '--zero', '--', ...paths], options, (error, stdout) => {
      const found = stdout.split('\0').slice(0, -1)
      if (error === null) resolve({ found, code: 0 })
      else if (error.code === 1) resolve({ found, code: 1 })
      else reject(error)
    })
  })
}

async function byNode(path: string): Promise<string> {
  return realpath(path).catch(() => asWritten(path))
}

/** What is not there yet has no links either. */
export function asWritten(path: string): string {
  return posix.normalize(path).replace(/(.)\/$/, '$1')
}

/** A program that looks into a dead mount may not even be killed: whoever waits for it goes on all the same. */
async function within<T>(ms: number, paths: readonly string[], looking: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(silent(paths)), ms)
  })
  try {
    return await Promise.race([looking, late])
  } catch (error) {
    if (error instanceof Error && 'killed' in error && error.killed === true) throw silent(paths)
    throw error
  } finally {
    clearTimeout(timer)
    looking.catch(() => undefined)
  }
}

function silent(paths: readonly string[]): EngineError {
  return new EngineError(
    'deadline',
    `a file system of the host does not answer: ${paths.join(', ')} could not be looked at within ${deadlineMs / 1000} s. ` +
      'Look at its mounts, and at the server behind them',
  )
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
