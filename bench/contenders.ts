/** Gantry and Swarm on one engine, with the few things that the bench asks of both. */
import { setTimeout as sleep } from 'node:timers/promises'
import { join } from 'node:path'
import { labels } from '../agent/engine.ts'
import { startAgent } from '../test/support/agent.ts'
import { startController } from '../test/support/controller.ts'
import { busyboxImage } from '../test/support/engine.ts'
import { ecsClient } from './ecs-client.ts'
import type { OwnEngine } from './place.ts'
import { inParallel, type RawEngine, rawEngine } from './raw-engine.ts'
import { createSwarmService, initSwarm, pushToOwnRegistry, runningOfSwarm } from './swarm.ts'

export interface Contender {
  readonly name: string
  /** Asks for the service; resolves with the answer to that. */
  readonly create: (count: number) => Promise<void>
  /** How many tasks of the service run, as it says itself. */
  readonly running: () => Promise<number>
  /** The containers that run now, with their processes as the engine's host sees them. */
  readonly containers: () => Promise<readonly { readonly id: string; readonly pid: number }[]>
  /** Ends the service; resolves once the engine holds no container of it. */
  readonly remove: () => Promise<void>
}

export interface Contenders {
  readonly gantry: Contender
  /** Told to replace at once. */
  readonly swarm: Contender
  /** As it comes, with a pause of 5 s before each replacement. */
  readonly unhurriedSwarm: Contender
  close(): Promise<void>
}

const service = 'bench'
const memoryMiB = 32
/** It ends at once on SIGTERM. */
const command = ['sh', '-c', 'trap "exit 0" TERM; sleep 3600 & wait']
const removalTimeoutMs = 120_000
const swarmLabel = `com.docker.swarm.service.name=${service}`

export async function openContenders(own: OwnEngine, directory: string): Promise<Contenders> {
  const engine = rawEngine(own.dockerHost)
  const image = await pushToOwnRegistry(engine, await busyboxImage(own.dockerHost), { directory, pid: own.pid })
  await initSwarm(engine)
  const gantry = await openGantry(own.dockerHost, engine, image)
  return {
    gantry: gantry.contender,
    swarm: swarmContender('Swarm', engine, image, 0),
    unhurriedSwarm: swarmContender('Swarm, as it comes', engine, image),
    async close() {
      await gantry.close()
      engine.close()
    },
  }
}

async function openGantry(
  dockerHost: string,
  engine: RawEngine,
  image: string,
): Promise<{ readonly contender: Contender; close(): Promise<void> }> {
  const controller = await startController()
  const agent = await startAgent({
    endpoint: controller.endpoint,
    credentialsFile: join(controller.dataDir, 'agent-credentials'),
    dockerHost,
    environment: { ECS_LOGLEVEL: 'info' },
  })
  const ecs = ecsClient(controller.endpoint, controller.credentials, 4)
  await ecs.call('RegisterTaskDefinition', {
    family: service,
    networkMode: 'bridge',
    containerDefinitions: [{ name: 'app', image, cpu: 10, memory: memoryMiB, essential: true, command }],
  })
  const label = `${labels.instanceArn}=${agent.containerInstanceArn}`
  return {
    contender: {
      name: 'Gantry',
      async create(count) {
        await ecs.call('CreateService', { serviceName: service, taskDefinition: service, desiredCount: count })
      },
      async running() {
        const { services = [] } = await ecs.call('DescribeServices', { services: [service] })
        return services[0]?.runningCount ?? 0
      },
      containers: async () => runningContainers(engine, label),
      async remove() {
        await ecs.call('DeleteService', { service, force: true })
        await untilGone(async () => (await runningContainers(engine, label)).length)
        // Its agent keeps stopped containers for their logs; each round begins on an engine that holds nothing.
        await inParallel(await engine.withLabel(label), 4, async (id) => engine.remove(id))
        await untilGone(async () => {
          const { services = [] } = await ecs.call('DescribeServices', { services: [service] })
          return services[0]?.status === 'INACTIVE' ? 0 : 1
        })
      },
    },
    async close() {
      await agent.stop()
      await controller.stop()
      ecs.close()
    },
  }
}

function swarmContender(name: string, engine: RawEngine, image: string, restartDelayMs?: number): Contender {
  return {
    name,
    create: async (replicas) =>
      createSwarmService(engine, { name: service, image, command, replicas, memoryMiB, restartDelayMs }),
    running: async () => runningOfSwarm(engine, service),
    containers: async () => runningContainers(engine, swarmLabel),
    async remove() {
      await engine.ask('DELETE', `/services/${service}`)
      await untilGone(async () => (await engine.withLabel(swarmLabel)).length)
    },
  }
}

async function runningContainers(engine: RawEngine, label: string) {
  const filters = encodeURIComponent(JSON.stringify({ label: [label] }))
  const listed = JSON.parse(await engine.ask('GET', `/containers/json?filters=${filters}`)) as { Id: string }[]
  return inParallel(listed, 4, async ({ Id: id }) => ({ id, pid: (await engine.inspect(id)).State.Pid }))
}

async function untilGone(left: () => Promise<number>): Promise<void> {
  for (const until = performance.now() + removalTimeoutMs; performance.now() < until; await sleep(200)) {
    if ((await left()) === 0) return
  }
  throw new Error(`after ${removalTimeoutMs / 1000} s the service still has ${await left()} containers`)
}
