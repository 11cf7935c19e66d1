/** Docker Swarm by the engine's own HTTP API, and a registry beside it, for the bench that compares with it. */
import { spawn } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { askVersion } from '../scripts/engine-api.ts'
import { rawEngine, type RawEngine } from './raw-engine.ts'

/** In the engine's network namespace, so that any port will do. */
const registryPort = 5000
const swarmPort = 2377
const registryTimeoutMs = 30_000

export interface SwarmServiceOptions {
  readonly name: string
  readonly image: string
  readonly command: readonly string[]
  readonly replicas: number
  readonly memoryMiB: number
  /** Between the end of a task and its replacement; absent: Swarm's own 5 seconds. */
  readonly restartDelayMs?: number | undefined
}

/** Makes the engine a swarm of one node: `docker swarm init --advertise-addr 127.0.0.1`. */
export async function initSwarm(engine: RawEngine): Promise<void> {
  await engine.ask('POST', '/swarm/init', { ListenAddr: `127.0.0.1:${swarmPort}`, AdvertiseAddr: '127.0.0.1' })
}

/** An engine that is none, or that does not answer, is let be. */
export async function leaveSwarm(dockerHost: string): Promise<void> {
  if ((await askVersion(dockerHost)) === undefined) return
  const engine = rawEngine(dockerHost)
  await engine.ask('POST', '/swarm/leave?force=1').catch(() => undefined)
  engine.close()
}

/** `docker service create`, with the image's digest in its name as the docker command puts it there. */
export async function createSwarmService(engine: RawEngine, options: SwarmServiceOptions): Promise<void> {
  const { name, image, command, replicas, memoryMiB, restartDelayMs } = options
  await engine.ask('POST', '/services/create', {
    Name: name,
    TaskTemplate: {
      ContainerSpec: { Image: image, Command: command },
      Resources: { Limits: { MemoryBytes: memoryMiB * 1024 * 1024 } },
      ...(restartDelayMs !== undefined && { RestartPolicy: { Condition: 'any', Delay: restartDelayMs * 1_000_000 } }),
    },
    Mode: { Replicated: { Replicas: replicas } },
  })
}

/** How many tasks of the service Swarm says are running. */
export async function runningOfSwarm(engine: RawEngine, name: string): Promise<number> {
  const filters = encodeURIComponent(JSON.stringify({ name: [name] }))
  const answer = await engine.ask('GET', `/services?status=true&filters=${filters}`)
  const [service] = JSON.parse(answer) as { ServiceStatus?: { RunningTasks: number } }[]
  return service?.ServiceStatus?.RunningTasks ?? 0
}

/**
 * A registry in the engine's network namespace, which engines trust on a loopback address; it ends with the bench's other
 * programs. Gives the name by digest under which the engine has the image and the registry too.
 */
export async function pushToOwnRegistry(
  engine: RawEngine,
  image: string,
  place: { readonly directory: string; readonly pid: number },
): Promise<string> {
  const directory = join(place.directory, 'registry')
  mkdirSync(directory)
  const config = { version: 0.1, storage: { filesystem: { rootdirectory: join(directory, 'images') } } }
  const file = join(directory, 'config.yml')
  writeFileSync(file, JSON.stringify({ ...config, http: { addr: `127.0.0.1:${registryPort}` } }))
  const inside = ['--target', String(place.pid), '--net', '--']
  const child = spawn('nsenter', [...inside, 'docker-registry', 'serve', file], { stdio: 'ignore' })
  child.on('error', () => undefined)
  child.unref()
  const repository = `127.0.0.1:${registryPort}/bench/app`
  await engine.ask('POST', `/images/${image}/tag?repo=${encodeURIComponent(repository)}&tag=1`)
  return push(engine, repository)
}

async function push(engine: RawEngine, repository: string): Promise<string> {
  // The API wants the header even where there are no credentials.
  const nobody = { 'x-registry-auth': Buffer.from('{}').toString('base64') }
  let said = ''
  for (const until = performance.now() + registryTimeoutMs; performance.now() < until; await sleep(200)) {
    said = await engine.ask('POST', `/images/${repository}/push?tag=1`, undefined, nobody)
    const digest = /"Digest":"(sha256:[0-9a-f]{64})"/.exec(said)?.[1]
    if (digest !== undefined) return `${repository}:1@${digest}`
  }
  throw new Error(`the registry took no image: ${said.slice(-500)}`)
}
