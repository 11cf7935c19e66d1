/**
 * One host: its engine, its disk, and the agent, wired as the agent's program wires it: the real turn, link, registration
 * and ports reporter. The agent can be killed at any instant and is started again by whoever keeps it.
 */
import { instanceAttributes } from '../../agent/attributes.ts'
import { readConfig } from '../../agent/config.ts'
import type { AgentConfig } from '../../agent/config.ts'
import type { CarriedRequest, ForwardedAnswer } from '../../agent/controller-api.ts'
import { systemTrust } from '../../agent/controller-trust.ts'
import { ApiCallError } from '../../agent/ecs-api.ts'
import type { CallApi } from '../../agent/ecs-api.ts'
import { EngineError, labels } from '../../agent/engine.ts'
import type { Engine, EngineInfo } from '../../agent/engine.ts'
import type { FetchedSecrets } from '../../agent/fetched-secrets.ts'
import type { HostFacts } from '../../agent/host-facts.ts'
import { startHostPortsReporter } from '../../agent/host-ports.ts'
import { startLink } from '../../agent/link.ts'
import type { Link } from '../../agent/link.ts'
import type { Log } from '../../agent/log.ts'
import { endpointDiscovery, registerInstance } from '../../agent/register.ts'
import type { IdentityStore } from '../../agent/register.ts'
import { openTaskSecrets, type TaskSecrets } from '../../agent/task-secrets.ts'
import type { Timers } from '../../agent/timers.ts'
import type { Frame, PayloadCredentials, PayloadTask } from '../../proto/acs.ts'
import { startAgentTurn } from '../../agent/turn.ts'
import type { AgentTurn } from '../../agent/turn.ts'
import { isApiError } from '../../proto/errors.ts'
import type { FakeContainer } from '../support/fake-engine.ts'
import type { Chaos } from './chaos.ts'
import type { Host } from './host.ts'
import type { Random } from './random.ts'
import { HostDisk, never } from './sim-disk.ts'
import type { Life } from './sim-disk.ts'
import { pauseImage, SimEngine } from './sim-engine.ts'
import type { SimLog } from './sim-log.ts'
import type { Route } from './sim-network.ts'
import type { SimSecrets } from './sim-secrets.ts'
import { type SimTime, timersOfLife } from './sim-time.ts'

export interface HostParts {
  readonly name: string
  readonly time: SimTime
  readonly chaos: Chaos
  readonly log: SimLog
  readonly random: Random
  readonly route: Route
  readonly secrets: SimSecrets
  readonly cpus: number
  readonly memoryMiB: number
  /** A host loses its journal or its containers, never both: then nobody could know what ran. */
  readonly mayLoseJournal: boolean
  readonly bug?: string | undefined
}

/** As the controller's simulated address has it. */
const origin = 'http://controller:51700'
const portRange = { first: 32768, last: 32799 }
/** Ended containers are kept for a moment only, so that their removal is part of every history. */
const cleanupWaitMs = 60_000

const aloneAfterMs = 60_000
/** Calls that hang may be done so much later; a task's other containers come after its first. */
const startIsLateMs = 300_000

interface Process extends Life {
  readonly timers: Timers
  readonly engine: Engine
  readonly callApi: CallApi
}

/** What the agent registers of what it serves to containers. */
const services = [{ name: 'ecs.capability.task-eni' }, { name: 'com.amazonaws.ecs.capability.task-iam-role' }]

export class SimHost implements Host {
  readonly name: string
  readonly mayLoseJournal: boolean
  readonly disk: HostDisk
  readonly engine: SimEngine
  clockOffsetMs = 0
  version = '0.1.0'
  #turn: AgentTurn | undefined
  #taskSecrets: TaskSecrets | undefined
  /** Ports that programs outside of Gantry hold. */
  readonly busyTcp = new Set<number>()
  /** False while the machine is without power. */
  powered = true
  readonly #parts: HostParts
  /** What the host was ever told of its tasks; and when it last heard of its controller, and last had none for long. */
  readonly #told = new Map<string, PayloadTask>()
  #heardAt = 0
  #aloneAt = Number.NEGATIVE_INFINITY
  readonly #world
  #life = 0
  #link: Link | undefined
  readonly #settings: { readonly config: AgentConfig; readonly host: HostFacts }

  constructor(parts: HostParts) {
    this.#parts = parts
    this.name = parts.name
    this.mayLoseJournal = parts.mayLoseJournal
    this.#world = parts.random.world()
    this.disk = new HostDisk(parts.name, parts.chaos)
    this.#settings = settingsOf(parts)
    this.engine = new SimEngine(parts.name, { now: () => this.now() }, parts.time, parts.chaos, {
      mayStartAgain: (arn, name) => this.#mayStartAgain(arn, name),
      lackOf: (container) => this.#lackOf(container),
    })
  }

  /** What this host's own clock shows. */
  now(): number {
    return this.#parts.time.now() + this.clockOffsetMs
  }

  get containerInstanceArn(): string | undefined {
    return this.disk.identity?.containerInstanceArn
  }

  get isRunning(): boolean {
    return this.#turn !== undefined
  }

  get isConnected(): boolean {
    return this.#turn !== undefined && this.#link?.isConnected() === true
  }

  setDiskFull(isFull: boolean): void {
    this.disk.full = isFull
  }

  loseJournal(): void {
    this.disk.loseJournal()
  }

  hasNoted({ labels: its }: FakeContainer): boolean {
    return this.disk.hasContainer(its[labels.taskArn] ?? '', its[labels.containerName] ?? '')
  }

  knownTaskArns(): readonly string[] {
    return this.#turn?.tasks().map(({ payload }) => payload.arn) ?? []
  }

  hasKeys(credentialsId: string): boolean {
    return this.#taskSecrets?.roleCredentials.ids.has(credentialsId) === true
  }

  keysLeftMs(credentialsId: string): number {
    const now = this.now()
    const keys = this.#taskSecrets?.roleCredentials.keysOf(credentialsId, now)
    return keys === undefined ? 0 : Date.parse(keys.expiration) - now
  }

  heldSecrets(): readonly string[] {
    const { fetched, roleCredentials } = this.#taskSecrets ?? {}
    return [...(fetched?.held ?? []), ...(roleCredentials?.ids ?? [])]
  }

  keptTaskArns(): readonly string[] {
    return this.disk.taskArns()
  }

  unreported(): readonly string[] {
    return this.disk.outbox().map(({ change }) => `${change.task} ${change.status}`)
  }

  start(): void {
    this.#life += 1
    const mine = this.#life
    const life: Life = { isAlive: () => mine === this.#life, kill: () => this.kill() }
    this.#parts.log.event(this.name, `agent ${this.version} starts`)
    void this.#run({
      ...life,
      timers: timersOfLife(this.#parts.time, life.isAlive),
      engine: this.engine.open(life),
      callApi: (operation, input) => this.#callApi(operation, input, life),
    })
  }

  /** As `kill -9`: the engine and its containers go on; the kernel closes the connection, unless the power is cut. */
  kill(silently = false): void {
    this.#life += 1
    this.#turn = undefined
    this.#taskSecrets = undefined
    this.#link = undefined
    const { log, route, time, chaos, random } = this.#parts
    log.event(this.name, 'agent is killed')
    for (const connection of route.connections) connection.agentGone(silently)
    const mine = this.#life
    time.after(chaos.isOver ? 1000 : random.between(200, 15_000), () => {
      if (mine === this.#life && this.powered) this.start()
    })
  }

  powerCut(): void {
    this.powered = false
    this.engine.stop('ended')
    this.kill(true)
  }

  powerOn(): void {
    this.powered = true
    this.engine.start()
    this.start()
  }

  async #run(process: Process): Promise<void> {
    const engineInfo = await this.#answeringEngine(process)
    const journal = this.disk.open(process)
    let instanceArn = this.containerInstanceArn
    let turn = instanceArn === undefined ? undefined : this.#startTurn(process, journal, instanceArn)
    const registered = await this.#register(process, engineInfo)
    if (turn === undefined || registered !== instanceArn) {
      instanceArn = registered
      await turn?.close()
      turn = this.#startTurn(process, journal, registered)
    }
    this.#openChannel(process, registered, turn, engineInfo)
  }

  async #answeringEngine({ engine, timers }: Process): Promise<EngineInfo> {
    for (;;) {
      const info = await engine.info().catch(() => undefined)
      if (info !== undefined) return info
      await new Promise<void>((resolve) => void timers.after(1000, resolve))
    }
  }

  #startTurn(process: Process, journal: ReturnType<HostDisk['open']>, containerInstanceArn: string): AgentTurn {
    const { config } = this.#settings
    const log = this.#parts.log.logger(this.name)
    const taskSecrets = openTaskSecrets({
      origin,
      region: config.region,
      trust: systemTrust,
      now: () => this.now(),
      log,
      carry: (target, request) => this.#carry(target, request, process),
    })
    this.#taskSecrets = taskSecrets
    const turn = startAgentTurn({
      engine: process.engine,
      journal,
      clock: this,
      timers: process.timers,
      world: this.#world,
      log,
      config: {
        cluster: config.cluster,
        containerInstanceArn,
        pullBehavior: config.imagePullBehavior,
        pullTimeoutMs: 60_000,
        pullInactivityMs: 30_000,
        stopTimeoutSeconds: 30,
        aloneAfterMs,
        cleanupWaitMs,
        cleanupJitterMs: 10_000,
        stoppedTasksMax: 20,
        dynamicHostPortRange: portRange,
        reservedTcpPorts: config.reservedTcpPorts,
        reservedUdpPorts: config.reservedUdpPorts,
        pauseImage,
        startsMax: 8,
      },
      registryAuth: () => undefined,
      roleCredentials: taskSecrets.roleCredentials,
      fetched: this.#withBug(taskSecrets.fetched),
      busyPorts: () => this.#listening(),
      send: (type, message) => process.isAlive() && (this.#link?.send(type, message) ?? false),
    })
    this.#turn = turn
    return turn
  }

  #register(process: Process, engineInfo: EngineInfo): Promise<string> {
    const { config, host } = this.#settings
    const { disk } = this
    const identity: IdentityStore = {
      read: () => disk.identity,
      write: (_directory, written) => {
        if (process.isAlive()) disk.identity = written
      },
    }
    return registerInstance({
      config,
      host,
      attributes: instanceAttributes(config, host, engineInfo, portRange, services),
      callApi: process.callApi,
      timers: process.timers,
      log: this.#parts.log.logger(this.name) as unknown as Log,
      uuid: () => this.#world.uuid(),
      now: () => this.now(),
      random: () => this.#world.random(),
      identity,
    })
  }

  #openChannel(process: Process, containerInstanceArn: string, turn: AgentTurn, engineInfo: EngineInfo): void {
    const { config } = this.#settings
    const { timers, callApi } = process
    const send = (type: string, message: object): boolean => this.#link?.send(type, message) ?? false
    const hostPorts = startHostPortsReporter({
      timers,
      uuid: () => this.#world.uuid(),
      ownPorts: () => turn.ownPorts(),
      send,
      look: () => this.#listening(),
    })
    this.#link = startLink({
      discover: endpointDiscovery({ callApi, containerInstanceArn, cluster: config.cluster, now: () => this.now() }),
      cluster: config.cluster,
      containerInstanceArn,
      agentVersion: this.version,
      agentHash: 'gantry',
      dockerVersion: engineInfo.engineVersion,
      region: config.region,
      credentials: async () => ({ accessKeyId: 'simulated', secretAccessKey: 'simulated', sessionToken: undefined }),
      now: () => this.now(),
      random: () => this.#world.random(),
      timers,
      log: this.#parts.log.logger(this.name) as unknown as Log,
      openSocket: (url) => this.#parts.route.dial(url, process) as unknown as ReturnType<SocketOpener>,
      onFrame: (frame) => {
        this.#hears(frame)
        turn.onFrame(frame)
      },
      onConnected: () => {
        turn.linkUp()
        hostPorts.report()
      },
      onDisconnected: () => turn.linkDown(),
      registerAgain: async () => {
        // Another instance now: the program ends and is started anew.
        if ((await this.#register(process, engineInfo)) !== containerInstanceArn) process.kill()
      },
    })
  }

  #hears({ type, message }: Frame): void {
    const now = this.#parts.time.now()
    if (now - this.#heardAt >= aloneAfterMs) this.#aloneAt = now
    this.#heardAt = now
    if (type === 'IAMRoleCredentialsMessage') this.#noteEnded(message['roleCredentials'])
    if (type !== 'PayloadMessage') return
    for (const task of message['tasks'] as readonly PayloadTask[]) this.#told.set(task.arn, task)
  }

  /** Told as work: it shows that keys do end here, and are replaced by others all the same. */
  #noteEnded(sent: unknown): void {
    const { credentialsId } = sent as PayloadCredentials
    const { roleCredentials } = this.#taskSecrets ?? {}
    if (roleCredentials?.ids.has(credentialsId) !== true) return
    const keys = roleCredentials.keysOf(credentialsId, this.now())
    if (keys === undefined) this.#parts.log.worked('keys of a role had ended before others came')
  }

  /** By its policy; or where nobody could have been asked when the start was decided, which may have been some time ago. */
  #mayStartAgain(taskArn: string, containerName: string): boolean {
    const task = this.#told.get(taskArn)
    const container = task?.containers.find(({ name }) => name === containerName)
    if (container?.restartPolicy?.enabled === true) return true
    if (task?.gantry?.restartAlone !== true) return false
    const now = this.#parts.time.now()
    return now - this.#heardAt >= aloneAfterMs || now - this.#aloneAt < startIsLateMs
  }

  /** An agent that loses, or tells, what it fetched: so it is seen that this is found. */
  #withBug(fetched: FetchedSecrets): FetchedSecrets {
    const { bug } = this.#parts
    const nothing = { environment: new Map(), logOptions: new Map(), fileVariables: new Map() }
    if (bug === 'secretsForgotten') return { ...fetched, valuesOf: () => nothing }
    if (bug !== 'secretsTold') return fetched
    return {
      ...fetched,
      async fetch(request) {
        await fetched.fetch(request)
        const { environment, fileVariables } = fetched.valuesOf(request.taskArn, request.container) ?? {}
        const told = [...(environment?.values() ?? []), ...(fileVariables?.values() ?? [])]
        throw new EngineError('refused', `ResourceInitializationError: these are not liked: ${told.join(', ')}`)
      },
    }
  }

  /** By what its payload asked for, whoever made the container. */
  #lackOf({ labels: its, body }: FakeContainer): string | undefined {
    const task = this.#told.get(its[labels.taskArn] ?? '')
    const wanted = task?.containers.find(({ name }) => name === its[labels.containerName])
    if (wanted?.secrets === undefined && wanted?.environmentFiles === undefined) return undefined
    this.#parts.log.worked('a container starts with its secrets')
    return this.#parts.secrets.lackOf(wanted, (body['Env'] ?? []) as readonly string[])
  }

  /** Ports that somebody listens on: other programs, and containers' own proxies. */
  #listening(): { readonly tcp: readonly number[]; readonly udp: readonly number[] } {
    const bound = [...this.engine.raw.containers.values()].flatMap(({ ports }) => ports)
    const of = (protocol: string): number[] =>
      bound.filter((port) => port.protocol === protocol).map(({ hostPort }) => hostPort)
    return { tcp: [...this.busyTcp, ...of('tcp')], udp: of('udp') }
  }

  /** A request in the name of a task's role. */
  async #carry(path: string, request: CarriedRequest, life: Life): Promise<ForwardedAnswer> {
    if (!life.isAlive()) return never()
    const { method, headers, body, timeoutMs } = request
    try {
      const answer = await this.#parts.route.request({ method, path, headers, body }, timeoutMs)
      return life.isAlive() ? answer : never()
    } catch (error) {
      if (life.isAlive()) throw error
      return never()
    }
  }

  async #callApi(operation: string, input: object, life: Life): Promise<Readonly<Record<string, unknown>>> {
    if (!life.isAlive()) return never()
    try {
      const answer = await this.#parts.route.call(operation, input)
      return life.isAlive() ? answer : never()
    } catch (error) {
      if (!life.isAlive()) return never()
      const message = error instanceof Error ? error.message : String(error)
      throw new ApiCallError(isApiError(error) ? error.code : undefined, message, { cause: error })
    }
  }
}

/** How an agent of this host is configured, and what it makes out about the machine. */
export function settingsOf({ name, cpus, memoryMiB }: Pick<HostParts, 'name' | 'cpus' | 'memoryMiB'>): {
  readonly config: AgentConfig
  readonly host: HostFacts
} {
  const { config } = readConfig({ ECS_DATADIR: `/${name}`, ECS_RESERVED_MEMORY: '0' }, '')
  const host: HostFacts = {
    cpus,
    cpuModel: 'simulated',
    cpuArchitecture: 'x86_64',
    memoryMiB,
    operatingSystem: 'Linux',
    kernel: '6.1',
    productName: '',
  }
  return { config, host }
}

type SocketOpener = NonNullable<Parameters<typeof startLink>[0]['openSocket']>
