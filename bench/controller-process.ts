/**
 * The real controller as a bench runs it: `main.ts` in a process of its own, with a heap that the bench names, its log in a
 * file as a service manager would keep it, and the same data directory again after it was killed.
 */
import { spawn } from 'node:child_process'
import { closeSync, existsSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseSharedCredentials } from '../controller/credentials.ts'
import type { ClientKey } from './ecs-client.ts'

export interface ControllerProcess {
  readonly pid: number
  readonly endpoint: string
  /** Where it listens by TLS, and whom to trust there. */
  readonly secure: { readonly endpoint: string; readonly authorityFile: string } | undefined
  readonly dataDir: string
  readonly rootKey: ClientKey
  readonly agentKey: ClientKey
  /** From its start until it said that it is ready, milliseconds. */
  readonly readyMs: number
  /** Warnings and errors of its log since it started. */
  complaints(): readonly string[]
  /** Resolves once the process is gone. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>
}

const mainFile = new URL('../controller/main.ts', import.meta.url).pathname
const readyTimeoutMs = 180_000

interface ControllerOptions {
  readonly port?: number | undefined
  /** Of the TLS listener; absent: there is none. */
  readonly securePort?: number | undefined
  readonly flags: readonly string[]
}

/** `flags` are V8's and Node's own, such as the heap's size. `port` 0 takes any free port. */
export async function startControllerProcess(
  directory: string,
  { port = 0, securePort, flags }: ControllerOptions,
): Promise<ControllerProcess> {
  const dataDir = join(directory, 'data')
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const logFile = join(directory, `controller-${Date.now()}.log`)
  const output = openSync(logFile, 'a')
  const begun = performance.now()
  const child = spawn(process.execPath, [...flags, mainFile], {
    stdio: ['ignore', output, output],
    env: {
      PATH: process.env['PATH'],
      GANTRY_DATA_DIR: dataDir,
      GANTRY_LISTEN: `127.0.0.1:${port}`,
      GANTRY_TLS_LISTEN: securePort === undefined ? 'off' : `127.0.0.1:${securePort}`,
    },
  })
  closeSync(output)
  const exited = new Promise<void>((done) => child.once('exit', () => done()))
  const isGone = (): boolean => child.exitCode !== null || child.signalCode !== null
  const endpoint = await untilReady(logFile, isGone, () => `exit code ${child.exitCode}, signal ${child.signalCode}`)
  const readyMs = performance.now() - begun
  const keyIn = (file: string): ClientKey => parseSharedCredentials(readFileSync(join(dataDir, file), 'utf8'), file)
  return {
    pid: child.pid ?? 0,
    endpoint,
    secure: secureIn(logFile),
    dataDir,
    rootKey: keyIn('root-credentials'),
    agentKey: keyIn('agent-credentials'),
    readyMs,
    complaints: () => linesOf(logFile).filter((line) => /"level":"(?:warn|error|fatal)"/.test(line)),
    async end(signal) {
      if (!isGone()) child.kill(signal)
      await exited
    },
  }
}

function secureIn(logFile: string): ControllerProcess['secure'] {
  const told = linesOf(logFile).findLast((line) => line.includes('"msg":"ready'))
  const { tls } = JSON.parse(told ?? '{}') as { tls?: { address: string; authority: string } }
  return tls === undefined ? undefined : { endpoint: tls.address, authorityFile: tls.authority }
}

async function untilReady(logFile: string, isGone: () => boolean, told: () => string): Promise<string> {
  const until = performance.now() + readyTimeoutMs
  while (performance.now() < until && !isGone()) {
    const address = linesOf(logFile)
      .map((line) => /"address":"([^"]+)"[^\n]*"msg":"ready/.exec(line)?.[1])
      .find((found) => found !== undefined)
    if (address !== undefined) return address
    await sleep(20)
  }
  throw new Error(`the controller (${told()}) did not get ready:\n${linesOf(logFile).slice(-20).join('\n')}`)
}

function linesOf(logFile: string): readonly string[] {
  return existsSync(logFile) ? readFileSync(logFile, 'utf8').split('\n') : []
}
