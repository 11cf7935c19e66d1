/**
 * The real controller as a child process: `main.ts` alone, with an environment of its own, on a free port. What a test
 * starts it also ends, by pid.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseSharedCredentials } from '../../controller/credentials.ts'
import { signRequest } from '../../proto/sigv4.ts'

export const region = 'us-east-1'

export interface Key {
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

export interface ControllerOptions {
  /** An existing directory, to start again on it; else a fresh one that `stop` removes. */
  readonly dataDir?: string | undefined
  /** 0, the default, takes any free port. */
  readonly port?: number | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
  /** Another version's `controller/main.ts`; else this one's. */
  readonly program?: string | undefined
}

export interface RunningController {
  /** `http://127.0.0.1:port`. */
  readonly endpoint: string
  readonly port: number
  readonly dataDir: string
  readonly pid: number
  readonly credentials: Key
  readonly agentCredentials: Key
  /** Everything that it logged so far. */
  output(): string
  /** Resolves once the process is gone; the data directory stays. */
  kill9(): Promise<void>
  /** SIGTERM, and its exit code; the data directory stays. */
  terminate(): Promise<number | null>
  /** Ends the process and removes the data directory. */
  stop(): Promise<void>
}

/** Generous: the machine may be busy with something else. What is fast is so by itself. */
const startTimeoutMs = 120_000
/** How long a port that was a controller's may be somebody's connection before that is called a failure. */
const portTimeoutMs = 60_000
/** One for all controllers of all tests, outside of their data directories: starts are many, and some disks are small. */
const compileCache = resolve(import.meta.dirname, '../../node_modules/.cache/gantry-tests')
const mainFile = resolve(import.meta.dirname, '../../controller/main.ts')

/** Rejects with the program's own output where it does not get ready. */
export async function startController(options: ControllerOptions = {}): Promise<RunningController> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'gantry-controller-'))
  const { started, endpoint } = await launchUntilReady(dataDir, options)
  const { child } = started
  const keyIn = (file: string): Key => parseSharedCredentials(readFileSync(join(dataDir, file), 'utf8'), file)
  const end = async (signal: NodeJS.Signals): Promise<number | null> => {
    if (child.exitCode !== null || child.signalCode !== null) return child.exitCode
    child.kill(signal)
    return started.exited
  }
  return {
    endpoint,
    port: Number(new URL(endpoint).port),
    dataDir,
    pid: child.pid ?? 0,
    credentials: keyIn('root-credentials'),
    agentCredentials: keyIn('agent-credentials'),
    output: started.output,
    kill9: async () => void (await end('SIGKILL')),
    terminate: () => end('SIGTERM'),
    stop: async () => {
      await end('SIGTERM')
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

/** Runs the program to its end, for starts that are meant to fail. */
export async function runController(
  dataDir: string,
  options: ControllerOptions = {},
): Promise<{ code: number | null; output: string }> {
  const started = launchController(dataDir, options)
  started.ready.catch(() => undefined)
  const code = await started.exited
  return { code, output: started.output() }
}

/**
 * A port that was given to an earlier controller may be some connection's of this machine by now, since the kernel took it
 * from those that are for connections too. That is over soon.
 */
async function launchUntilReady(
  dataDir: string,
  options: ControllerOptions,
): Promise<{ started: LaunchedController; endpoint: string }> {
  const giveUpAt = Date.now() + portTimeoutMs
  for (;;) {
    const started = launchController(dataDir, options)
    try {
      return { started, endpoint: await started.ready }
    } catch (error) {
      const isPortTaken = options.port !== undefined && started.output().includes('EADDRINUSE')
      if (!isPortTaken || Date.now() > giveUpAt) throw error
      await started.exited
    }
  }
}

interface LaunchedController {
  readonly child: ChildProcess
  readonly ready: Promise<string>
  readonly exited: Promise<number | null>
  readonly output: () => string
}

function launchController(dataDir: string, options: ControllerOptions): LaunchedController {
  const child = spawn(process.execPath, [options.program ?? mainFile], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      PATH: process.env['PATH'],
      NODE_COMPILE_CACHE: compileCache,
      GANTRY_DATA_DIR: dataDir,
      GANTRY_LISTEN: `127.0.0.1:${options.port ?? 0}`,
      // Tests of TLS say that they want it, on a free port.
      GANTRY_TLS_LISTEN: 'off',
      ...options.env,
    },
  })
  let output = ''
  const exited = new Promise<number | null>((done) => child.once('close', (code) => done(code)))
  const ready = new Promise<string>((done, fail) => {
    const late = (): void => fail(new Error(`the controller was not ready in time:\n${output}`))
    const timer = setTimeout(late, startTimeoutMs)
    void exited.finally(() => clearTimeout(timer))
    const hear = (chunk: Buffer): void => {
      output += chunk.toString('utf8')
      const address = /"address":"([^"]+)"[^\n]*"msg":"ready/.exec(output)?.[1]
      if (address === undefined) return
      clearTimeout(timer)
      done(address)
    }
    child.stdout?.on('data', hear)
    child.stderr?.on('data', hear)
    void exited.then((code) => fail(new Error(`the controller ended with ${code}:\n${output}`)))
  })
  return { child, ready, exited, output: () => output }
}

export interface RawAnswer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  /** The body as a JSON object; empty where it is none. */
  readonly json: Readonly<Record<string, unknown>>
}

/** One signed ECS call by hand, for what no client would send. `body` goes out as it is. */
export async function callEcs(
  endpoint: string,
  key: Key,
  operation: string,
  body: string | object = {},
  extra: { readonly headers?: Readonly<Record<string, string>>; readonly now?: number; readonly service?: string } = {},
): Promise<RawAnswer> {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  const headers = signRequest({
    method: 'POST',
    url: `${endpoint}/`,
    headers: {
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': `AmazonEC2ContainerServiceV20141113.${operation}`,
      ...extra.headers,
    },
    body: text,
    credentials: key,
    region,
    service: extra.service ?? 'ecs',
    now: extra.now ?? Date.now(),
  })
  return send(`${endpoint}/`, { method: 'POST', headers, body: text })
}

/** One signed GET of the operators' API. */
export async function getRest(endpoint: string, key: Key, path: string): Promise<RawAnswer> {
  return callRest(endpoint, key, 'GET', path)
}

/** A signed call of the operators' REST API; `body` is sent as it is. */
export async function callRest(
  endpoint: string,
  key: Key,
  method: 'GET' | 'POST' | 'PATCH' | 'DELETE',
  path: string,
  body?: string,
): Promise<RawAnswer> {
  const url = `${endpoint}${path}`
  const headers = signRequest({
    method,
    url,
    headers: {},
    ...(body !== undefined && { body }),
    credentials: key,
    region,
    service: 'ecs',
    now: Date.now(),
  })
  return send(url, { method, headers, ...(body !== undefined && { body }) })
}

export async function send(url: string, init: RequestInit): Promise<RawAnswer> {
  const answer = await fetch(url, init)
  const text = await answer.text()
  let json: RawAnswer['json'] = {}
  try {
    json = JSON.parse(text) as RawAnswer['json']
  } catch {
    // What is no JSON is judged by its text.
  }
  return { status: answer.status, headers: answer.headers, text, json }
}

/** Polls until `look` gives something; rejects with what it waited for. */
export async function eventually<T>(
  what: string,
  look: () => T | undefined | Promise<T | undefined>,
  timeoutMs = 120_000,
): Promise<T> {
  const until = Date.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (Date.now() > until) throw new Error(`waited ${timeoutMs} ms for ${what}`)
    await new Promise((done) => setTimeout(done, 25))
  }
}
