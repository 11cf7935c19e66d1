/**
 * Starts the agent. Nothing imports this file; here alone the environment is read and the process ended.
 *
 * The process first replaces itself, once and under its own pid, to be lighter: a cache of compiled code spares it the
 * TypeScript stripper and the compiler's memory, and a small young generation fits a program that is mostly idle
 * (docs/decisions/0003-lighter-processes.md).
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { join } from 'node:path'

const lightly = '--max-semi-space-size=1'
const program = new URL('./program.ts', import.meta.url).href

if (!process.execArgv.includes(lightly) && process.execve !== undefined) {
  const args = [lightly, ...process.execArgv, ...process.argv.slice(1)]
  process.execve(process.execPath, [process.execPath, ...args], withCompileCache(process.env))
}

const { runAgent } = await import('./program.ts')
await runAgent(process.env, (code) => process.exit(code))
flushCompileCache()

/** The cache is beside the data, and so as private as they are: who could write there could run code. */
function withCompileCache(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const directory = env['ECS_DATADIR']
  if (directory === undefined || env['NODE_COMPILE_CACHE'] !== undefined) return env
  const cache = join(directory, 'compile-cache')
  const cached = { ...env, NODE_COMPILE_CACHE: cache }
  if (existsSync(cache)) return cached
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
  } catch {
    // The program itself meets the same error, and explains it.
    return env
  }
  // The first start fills the cache in a child, so that what the compiler takes goes with the child.
  spawnSync(process.execPath, [lightly, '--input-type=module', '-e', `await import('${program}')`], { env: cached })
  return cached
}
