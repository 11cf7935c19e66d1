/**
 * Starts the agent. Nothing imports this file; here alone the environment is read and the process ended.
 *
 * The process first replaces itself, once and under its own pid, to be lighter: a cache of compiled code spares it the
 * TypeScript stripper and the compiler's memory, and a small young generation fits a program that is mostly idle
 * (docs/decisions/0003-lighter-processes.md).
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { flushCompileCache } from 'node:module'
import { join } from 'node:path'

const lightly = '--max-semi-space-size=1'
/** The stripper is WebAssembly: compiled once and simply, it takes less (docs/decisions/0003-lighter-processes.md). */
const simply = '--liftoff-only'
/** node:ffi, which sd-notify.ts needs under systemd, is marked so; nobody who reads the journal can do anything about it. */
const quietly = '--disable-warning=ExperimentalWarning'
const program = new URL('./program.ts', import.meta.url).href

if (!process.execArgv.includes(lightly) && process.execve !== undefined) {
  const args = [lightly, simply, quietly, ...process.execArgv, ...process.argv.slice(1)]
  process.execve(process.execPath, [process.execPath, ...args], withCompileCache(process.env))
}

const given = { ...process.env }
// A DEBUG that was meant for another program would have packages print whole requests, with the logins of registries.
delete process.env['DEBUG']
const { runAgent } = await import('./program.ts')
// What the agent starts is not to speak to systemd in its place: a busctl that fails would, and systemd logs that.
delete process.env['NOTIFY_SOCKET']
await runAgent(given, (code) => process.exit(code))
flushCompileCache()

/** The cache is beside the data, and so as private as they are: who could write there could run code. */
function withCompileCache(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const directory = env['ECS_DATADIR']
  if (directory === undefined || env['NODE_COMPILE_CACHE'] !== undefined) return env
  const caches = join(directory, 'compile-cache')
  const cache = join(caches, sourceStamp())
  const cached = { ...env, NODE_COMPILE_CACHE: cache }
  if (existsSync(cache)) return cached
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    rmSync(caches, { recursive: true, force: true })
  } catch {
    // The program itself meets the same error, and explains it.
    return env
  }
  // The first start, of this source, fills the cache in a child, so that what the compiler takes goes with the child.
  spawnSync(process.execPath, [lightly, simply, '--input-type=module', '-e', `await import('${program}')`], {
    env: cached,
  })
  return cached
}

/** When the newest source file was written: after an upgrade the cache of the older source is of no use. */
function sourceStamp(): string {
  const rooms = [import.meta.dirname, join(import.meta.dirname, '../proto')]
  const files = rooms.flatMap((room) => readdirSync(room, { recursive: true }).map((name) => join(room, String(name))))
  return Math.max(...files.map((file) => Math.trunc(statSync(file).mtimeMs))).toString(36)
}
