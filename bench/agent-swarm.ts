/**
 * Thousands of simulated agents in a process of their own: each registers by a signed call and keeps the real agent's link
 * up, one signed WebSocket, with the real agent's way of coming back. Behind it is no engine: what shall run is reported
 * RUNNING at once, what shall stop STOPPED, in the members that the real agent sends.
 */
import { type Link, startLink } from '../agent/link.ts'
import { openLog } from '../agent/log.ts'
import { endpointDiscovery } from '../agent/register.ts'
import { realTimers } from '../agent/timers.ts'
import type { Frame, GantryTaskStateChange, PayloadTask } from '../proto/acs.ts'
import type { Attribute } from '../proto/model/types.ts'
import { type ClientKey, type EcsClient, ecsClient } from './ecs-client.ts'

export interface SwarmOrder {
  readonly endpoint: string
  readonly key: ClientKey
  readonly agents: number
  /** Of each host. */
  readonly cpuUnits: number
  readonly memoryMiB: number
}

export type SwarmQuestion =
  | { readonly kind: 'start'; readonly order: SwarmOrder }
  /** Answered once so many tasks in all have been acknowledged as RUNNING and as STOPPED. */
  | { readonly kind: 'await'; readonly running: number; readonly stopped: number }
  /** Answered at once: from now on, only what happens after this counts as back. */
  | { readonly kind: 'mark' }
  /** Answered once every agent has a channel that was opened, and a manifest that came, since the last mark. */
  | { readonly kind: 'awaitBack' }

export interface SwarmAnswer {
  readonly kind: 'swarm'
  readonly running: number
  readonly stopped: number
  /** When each hundredth of what was awaited was acknowledged, epoch milliseconds. */
  readonly marks: readonly number[]
  /** Of agents that came back: when their manifests came, epoch milliseconds, in order. */
  readonly backAt: readonly number[]
  /** Channels that have ended since the start. */
  readonly drops: number
  readonly refusals: readonly string[]
  readonly connected: number
}

const zones = ['a', 'b', 'c'] as const
const digest = `sha256:${'ab'.repeat(32)}`
const registrationsAtOnce = 32
const connectionsAtOnce = 128
const lookMs = 20
/** Longer than a million tasks may take; then something is stuck. */
const waitMostMs = 900_000

const attributes: readonly Attribute[] = [
  { name: 'ecs.os-type', value: 'linux' },
  { name: 'ecs.cpu-architecture', value: 'x86_64' },
  { name: 'gantry.protocol', value: '1' },
  { name: 'ecs.capability.external' },
  { name: 'ecs.capability.container-health-check' },
  { name: 'ecs.capability.container-ordering' },
  ...[17, 18, 19, 20, 21, 22, 23, 24, 25, 29, 30, 35, 44].map((minor) => ({
    name: `com.amazonaws.ecs.capability.docker-remote-api.1.${minor}`,
  })),
  ...['json-file', 'syslog', 'none'].map((driver) => ({
    name: `com.amazonaws.ecs.capability.logging-driver.${driver}`,
  })),
]

class Swarm {
  running = 0
  stopped = 0
  drops = 0
  backAt: number[] = []
  readonly refusals: string[] = []
  readonly #agents: SimulatedAgent[] = []
  #marks: number[] = []
  #markedAt: readonly number[] = []

  async start({ endpoint, key, agents, cpuUnits, memoryMiB }: SwarmOrder): Promise<void> {
    const ecs = ecsClient(endpoint, key, registrationsAtOnce)
    const arns: string[] = []
    await eachOf(agents, registrationsAtOnce, async (index) => {
      const zone = { name: 'ecs.availability-zone', value: `us-east-1${zones[index % zones.length] ?? ''}` }
      const { containerInstance } = await ecs.call('RegisterContainerInstance', {
        cluster: 'default',
        attributes: [...attributes, zone],
        totalResources: [
          { name: 'CPU', type: 'INTEGER', integerValue: cpuUnits },
          { name: 'MEMORY', type: 'INTEGER', integerValue: memoryMiB },
          { name: 'PORTS', type: 'STRINGSET', stringSetValue: ['22', '2375', '2376', '51678', '51679'] },
          { name: 'PORTS_UDP', type: 'STRINGSET', stringSetValue: [] },
        ],
      })
      arns.push(containerInstance?.containerInstanceArn ?? '')
    })
    await eachOf(arns.length, connectionsAtOnce, async (index) => {
      const agent = new SimulatedAgent(this, arns[index] ?? '', ecs, key)
      this.#agents.push(agent)
      await until(
        () => agent.hasManifest,
        () => `the manifest of ${arns[index]}`,
      )
    })
  }

  /** Notes when each hundredth of `total` more state changes was acknowledged. */
  expect(total: number): void {
    this.#marks = []
    const done = this.running + this.stopped
    this.#markedAt = Array.from({ length: 100 }, (_, index) => done + Math.ceil(((total - done) * (index + 1)) / 100))
  }

  acknowledged(status: string): void {
    if (status === 'RUNNING') this.running += 1
    else this.stopped += 1
    while (this.running + this.stopped >= (this.#markedAt[this.#marks.length] ?? Infinity)) this.#marks.push(Date.now())
  }

  mark(): void {
    this.backAt = []
    for (const agent of this.#agents) agent.hasManifest = false
  }

  get size(): number {
    return this.#agents.length
  }

  answer(): SwarmAnswer {
    const { running, stopped, drops, backAt, refusals } = this
    const connected = this.#agents.filter((agent) => agent.isConnected()).length
    return { kind: 'swarm', running, stopped, marks: this.#marks, backAt, drops, refusals, connected }
  }
}

class SimulatedAgent {
  hasManifest = false
  readonly #swarm: Swarm
  readonly #arn: string
  readonly #link: Link
  /** By message id: what is not acknowledged yet. Sent again after a reconnect, as by the real agent's outbox. */
  readonly #unanswered = new Map<string, GantryTaskStateChange>()
  /** Task ARN -> the status that was last reported: a payload that comes twice is reported once. */
  readonly #told = new Map<string, string>()
  #messages = 0

  constructor(swarm: Swarm, arn: string, ecs: EcsClient, key: ClientKey) {
    this.#swarm = swarm
    this.#arn = arn
    this.#link = startLink({
      discover: endpointDiscovery({
        callApi: async (_operation, input) => ({ ...(await ecs.call('DiscoverPollEndpoint', input)) }),
        containerInstanceArn: arn,
        cluster: 'default',
        now: () => Date.now(),
      }),
      cluster: 'default',
      containerInstanceArn: arn,
      agentVersion: '0.1.0',
      agentHash: 'bench',
      dockerVersion: '20.10.24',
      region: 'us-east-1',
      credentials: async () => key,
      now: () => Date.now(),
      random: Math.random,
      timers: realTimers,
      log: silent,
      onFrame: (frame) => this.#hear(frame),
      onConnected: () => {
        for (const change of this.#unanswered.values()) this.#link.send('GantryTaskStateChange', change)
      },
      onDisconnected: () => {
        swarm.drops += 1
      },
      registerAgain: () => Promise.reject(new Error(`${arn} is not known any more`)),
    })
  }

  isConnected(): boolean {
    return this.#link.isConnected()
  }

  #hear({ type, message }: Frame): void {
    const { messageId } = message
    switch (type) {
      case 'HeartbeatMessage':
        this.#link.send('HeartbeatAckRequest', { messageId })
        break
      case 'TaskManifestMessage':
        if (!this.hasManifest) this.#swarm.backAt.push(Date.now())
        this.hasManifest = true
        break
      case 'PayloadMessage':
        this.#link.send('AckRequest', { cluster: 'default', containerInstance: this.#arn, messageId })
        for (const task of message['tasks'] as readonly PayloadTask[]) this.#obey(task)
        break
      case 'GantryTaskStateAck':
        this.#acknowledged(String(messageId))
        break
      case 'GantryTaskStateRefusal':
        this.#swarm.refusals.push(String(message['reason']))
        break
      default:
        break
    }
  }

  #obey({ arn, desiredStatus, containers }: PayloadTask): void {
    const status = desiredStatus === 'STOPPED' ? 'STOPPED' : 'RUNNING'
    if (this.#told.get(arn) === status) return
    this.#told.set(arn, status)
    this.#messages += 1
    const now = Date.now()
    const change: GantryTaskStateChange = {
      messageId: `change-${this.#messages}`,
      task: arn,
      status,
      containers: containers.map(({ name }) => ({
        containerName: name,
        status,
        runtimeId: 'f'.repeat(64),
        imageDigest: digest,
        startedAt: now,
        ...(status === 'STOPPED' && { exitCode: 143, finishedAt: now }),
      })),
      pullStartedAt: now,
      pullStoppedAt: now,
      ...(status === 'STOPPED' && { executionStoppedAt: now }),
    }
    this.#unanswered.set(change.messageId, change)
    this.#link.send('GantryTaskStateChange', change)
  }

  #acknowledged(messageId: string): void {
    const change = this.#unanswered.get(messageId)
    if (change === undefined) return
    this.#unanswered.delete(messageId)
    if (change.status === 'STOPPED') this.#told.delete(change.task)
    this.#swarm.acknowledged(change.status)
  }
}

/** Calls `work` for every index below `count`, so many at once. */
async function eachOf(count: number, atOnce: number, work: (index: number) => Promise<void>): Promise<void> {
  let next = 0
  const one = async (): Promise<void> => {
    while (next < count) {
      next += 1
      await work(next - 1)
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, count) }, one))
}

function until(look: () => boolean, what: () => string): Promise<void> {
  const deadline = Date.now() + waitMostMs
  return new Promise((resolve, reject) => {
    const again = (): void => {
      if (look()) resolve()
      else if (Date.now() > deadline) reject(new Error(`waited ${waitMostMs / 1000} s for ${what()}`))
      else setTimeout(again, lookMs)
    }
    again()
  })
}

const silent = openLog('error', { write: () => undefined })

const swarm = new Swarm()

async function answer(question: SwarmQuestion): Promise<SwarmAnswer> {
  switch (question.kind) {
    case 'start':
      await swarm.start(question.order)
      break
    case 'await':
      swarm.expect(question.running + question.stopped)
      await until(
        () => swarm.running >= question.running && swarm.stopped >= question.stopped,
        () => `tasks: ${swarm.running} have been RUNNING and ${swarm.stopped} STOPPED`,
      )
      break
    case 'mark':
      swarm.mark()
      break
    default:
      await until(
        () => swarm.backAt.length === swarm.size,
        () => `agents: ${swarm.backAt.length} are back`,
      )
  }
  return swarm.answer()
}

process.on('message', (question: SwarmQuestion) => {
  answer(question).then(
    (result) => process.send?.(result),
    (error: unknown) => process.send?.({ failure: error instanceof Error ? error.stack : String(error) }),
  )
})
