/** The controller that live targets talk to: a process of its own, looked after closely, and a new one where it died. */
import { readFileSync } from 'node:fs'
import { callEcs, getRest, type RunningController, startController } from '../support/controller.ts'

/** All that input may make a controller hold. It starts with about 150 MiB. */
const residentMiBMax = 600
const healthMs = 30_000
/** How often it is asked how it is, in cases; that it lives is looked at after each. */
const healthEvery = 50

export interface LiveController {
  readonly running: RunningController
  /** Of the listener with TLS. */
  readonly tlsPort: number
  /** A registered instance, in the name of the host that this machine is. */
  readonly instanceArn: string
  /** Paths of the operators' API, with their methods. */
  readonly routes: readonly { readonly method: string; readonly path: string }[]
}

let current: LiveController | undefined
let heardCharacters = 0
let cases = 0

export async function liveController(): Promise<LiveController> {
  current ??= await start()
  return current
}

export async function startLiveController(): Promise<void> {
  await liveController()
}

export async function stopLiveController(): Promise<void> {
  const stopped = current
  current = undefined
  await stopped?.running.stop()
}

/** Throws where the controller died, doesn't answer, holds too much, or met an error that it didn't expect. */
export async function requireWell({ running }: LiveController): Promise<void> {
  cases += 1
  const output = running.output()
  const news = output.slice(heardCharacters)
  heardCharacters = output.length
  if (!isAlive(running.pid)) {
    await stopLiveController()
    throw new Error(`The controller died:\n${output.slice(-2000)}`)
  }
  const error = news.split('\n').find((line) => /"level":"(error|fatal)"/.test(line))
  if (error !== undefined) throw new Error(`The controller met an error: ${error.slice(0, 2000)}`)
  if (cases % healthEvery !== 0) return
  const health = await fetch(`${running.endpoint}/healthz`, { signal: AbortSignal.timeout(healthMs) })
  if (health.status !== 200) throw new Error(`Its health is ${health.status}.`)
  const resident = residentMiB(running.pid)
  if (resident > residentMiBMax) throw new Error(`It holds ${resident} MiB; at most ${residentMiBMax} are allowed.`)
}

async function start(): Promise<LiveController> {
  const running = await startController({ env: { GANTRY_TLS_LISTEN: '127.0.0.1:0' } })
  heardCharacters = 0
  const described = await getRest(running.endpoint, running.credentials, '/v1/openapi.json')
  const paths = described.json['paths'] as Readonly<Record<string, object>>
  const registered = await callEcs(running.endpoint, running.agentCredentials, 'RegisterContainerInstance', {
    cluster: 'default',
    totalResources: [
      { name: 'CPU', type: 'INTEGER', integerValue: 2048 },
      { name: 'MEMORY', type: 'INTEGER', integerValue: 4096 },
      { name: 'PORTS', type: 'STRINGSET', stringSetValue: ['22'] },
      { name: 'PORTS_UDP', type: 'STRINGSET', stringSetValue: [] },
    ],
    attributes: [{ name: 'gantry.protocol', value: '1' }],
  })
  const instance = registered.json['containerInstance'] as { readonly containerInstanceArn: string } | undefined
  const tlsAddress = /https:\/\/127\.0\.0\.1:(\d+)/.exec(running.output())?.[1]
  if (instance === undefined || tlsAddress === undefined) {
    throw new Error(`The controller is not as it should be: ${registered.text}\n${running.output()}`)
  }
  return {
    running,
    tlsPort: Number(tlsAddress),
    instanceArn: instance.containerInstanceArn,
    routes: Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => ({ method: method.toUpperCase(), path })),
    ),
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}

function residentMiB(pid: number): number {
  const kiB = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
  return Math.round(Number(kiB) / 1024)
}
