/** The real agent as a process of its own, for tests. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { engineHost } from './engine.ts'
import { cgroupOfTests } from './task-cgroups.ts'

const program = fileURLToPath(new URL('../../agent/main.ts', import.meta.url))
/** Generous: the machine may be busy with something else. */
const readyTimeoutMs = 120_000

export interface AgentOptions {
  /** The controller's origin. */
  readonly endpoint: string
  /** Path of the credentials file that the controller made for agents. */
  readonly credentialsFile: string
  readonly dataDirectory?: string
  readonly dockerHost?: string
  /** Further variables, over the ones made from the above. */
  readonly environment?: Readonly<Record<string, string>>
  /** Another version's `agent/main.ts`; else this one's. */
  readonly program?: string
}

export interface AgentProcess {
  readonly pid: number
  readonly dataDirectory: string
  readonly containerInstanceArn: string
  /** Origin of its introspection API. */
  readonly introspection: string
  /** What it logged so far. */
  log(): string
  kill9(): Promise<void>
  /** SIGTERM; answers the exit code. */
  stop(): Promise<number | null>
}

interface Start {
  readonly child: ChildProcess
  readonly dataDirectory: string
  readonly log: () => string
  readonly ended: Promise<number | null>
}

/** Starts the program and gives it back at once, ready or not. */
export function launchAgent(options: AgentOptions): Start {
  const dataDirectory = options.dataDirectory ?? mkdtempSync(join(tmpdir(), 'gantry-agent-'))
  const child = spawn(process.execPath, [options.program ?? program], {
    env: {
      PATH: process.env['PATH'],
      TMPDIR: tmpdir(),
      ECS_BACKEND_HOST: options.endpoint,
      ECS_DATADIR: dataDirectory,
      ECS_LOGLEVEL: 'debug',
      // None of those that the kernel gives to connections (from 32768 on): one of these may be anybody's at any time.
      ECS_DYNAMIC_HOST_PORT_RANGE: '31000-31199',
      AWS_SHARED_CREDENTIALS_FILE: options.credentialsFile,
      DOCKER_HOST: options.dockerHost ?? engineHost(),
      GANTRY_INTROSPECTION_PORT: '0',
      GANTRY_CGROUP_PARENT: cgroupOfTests,
      // One agent of a host can have it; tests of it turn it on.
      GANTRY_TASK_ENDPOINT: 'false',
      GANTRY_AGENT_CONFIG_FILE: '/dev/null',
      ...options.environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (text += chunk.toString()))
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve))
  return { child, dataDirectory, log: () => text, ended }
}

/** Starts the agent and waits until it says that it is ready. */
export async function startAgent(options: AgentOptions): Promise<AgentProcess> {
  const { child, dataDirectory, log, ended } = launchAgent(options)
  const ready = await readyLine(child, log)
  return {
    pid: child.pid ?? 0,
    dataDirectory,
    containerInstanceArn: ready.containerInstanceArn,
    introspection: `http://127.0.0.1:${ready.introspection}`,
    log,
    async kill9() {
      child.kill('SIGKILL')
      await ended
    },
    async stop() {
      child.kill('SIGTERM')
      return ended
    },
  }
}

interface ReadyLine {
  readonly containerInstanceArn: string
  readonly introspection: number
}

async function readyLine(child: ChildProcess, log: () => string): Promise<ReadyLine> {
  const deadline = Date.now() + readyTimeoutMs
  while (Date.now() < deadline && child.exitCode === null) {
    const line = log()
      .split('\n')
      .find((one) => one.includes('Gantry agent ready') && one.endsWith('}'))
    if (line !== undefined) return JSON.parse(line) as ReadyLine
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  child.kill('SIGKILL')
  throw new Error(`The agent did not become ready:\n${log().slice(-4000)}`)
}
