/**
 * A host with the official agent instead of Gantry's: a small model of amazon-ecs-agent that speaks its wire. It has no
 * `gantry.protocol`; payloads and manifests come over ACS and are acknowledged, reports go by calls, metrics and health by
 * TCS. Its disk never fails, since what the real one does then is its own affair.
 */
import { instanceAttributes } from '../../../agent/attributes.ts'
import type { EngineInfo } from '../../../agent/engine.ts'
import type { Timers } from '../../../agent/timers.ts'
import { idOf } from '../../../proto/arn.ts'
import { isApiError } from '../../../proto/errors.ts'
import type { Host } from '../host.ts'
import { type Life, never } from '../sim-disk.ts'
import { SimEngine } from '../sim-engine.ts'
import { type HostParts, settingsOf } from '../sim-host.ts'
import { timersOfLife } from '../sim-time.ts'
import { OfficialAgent } from './official-agent.ts'
import type { OfficialTask } from './official-task.ts'

const cluster = 'default'
const firstDynamicPort = 49153
const dynamicPorts = 300

/** What outlives the agent's process, tasks as text. */
export interface OfficialDisk {
  containerInstanceArn: string | undefined
  seqNum: number
  readonly tasks: Map<string, string>
}

/** One life of the agent's program. */
export interface OfficialProcess extends Life {
  readonly timers: Timers
  readonly call: (operation: string, input: object) => Promise<Readonly<Record<string, unknown>>>
}

const services = [{ name: 'com.amazonaws.ecs.capability.task-iam-role' }]

export class OfficialHost implements Host {
  readonly name: string
  readonly engine: SimEngine
  readonly busyTcp = new Set<number>()
  /** Without it the real agent registers as another instance, and knows nothing of what runs. */
  readonly mayLoseJournal = false
  clockOffsetMs = 0
  version = '1.105.1'
  powered = true
  readonly #parts: HostParts
  readonly #disk: OfficialDisk = { containerInstanceArn: undefined, seqNum: -1, tasks: new Map() }
  #life = 0
  #agent: OfficialAgent | undefined
  #ports = 0

  constructor(parts: HostParts) {
    this.#parts = parts
    this.name = parts.name
    this.engine = new SimEngine(parts.name, { now: () => this.now() }, parts.time, parts.chaos)
  }

  now(): number {
    return this.#parts.time.now() + this.clockOffsetMs
  }

  get containerInstanceArn(): string | undefined {
    return this.#disk.containerInstanceArn
  }

  get isRunning(): boolean {
    return this.#agent !== undefined
  }

  get isConnected(): boolean {
    return this.#agent?.isConnected === true
  }

  setDiskFull(): void {
    this.#parts.log.event(this.name, 'the official agent goes on in memory')
  }

  loseJournal(): void {
    throw new Error('The official agent keeps its journal here.')
  }

  hasNoted(): boolean {
    return true
  }

  knownTaskArns(): readonly string[] {
    return this.#agent === undefined ? [] : [...this.#disk.tasks.keys()]
  }

  hasKeys(credentialsId: string): boolean {
    return this.#agent?.keys.has(credentialsId) === true
  }

  keysLeftMs(credentialsId: string): number {
    return Math.max(0, (this.#agent?.keys.get(credentialsId) ?? 0) - this.now())
  }

  heldSecrets(): readonly string[] {
    return []
  }

  keptTaskArns(): readonly string[] {
    return [...this.#disk.tasks.keys()]
  }

  unreported(): readonly string[] {
    return [...this.#disk.tasks.values()]
      .map((text) => JSON.parse(text) as OfficialTask)
      .filter(({ known, sent }) => known !== 'NONE' && known !== sent)
      .map(({ payload, known }) => `${payload.arn} ${known}`)
  }

  start(): void {
    this.#life += 1
    const mine = this.#life
    const isAlive = (): boolean => mine === this.#life
    this.#parts.log.event(this.name, `official agent ${this.version} starts`)
    const process: OfficialProcess = {
      isAlive,
      kill: () => this.kill(),
      timers: timersOfLife(this.#parts.time, isAlive),
      call: (operation, input) => this.#call(operation, input, isAlive),
    }
    void this.#run(process)
  }

  kill(silently = false): void {
    this.#life += 1
    this.#agent = undefined
    const { log, route, time, chaos, random } = this.#parts
    log.event(this.name, 'official agent is killed')
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

  async #run(process: OfficialProcess): Promise<void> {
    const engine = this.engine.open(process)
    let info: EngineInfo | undefined
    while (info === undefined) {
      info = await engine.info().catch(() => undefined)
      if (info === undefined) await new Promise<void>((resolve) => void process.timers.after(1000, resolve))
    }
    const containerInstanceArn = await this.#register(process, info)
    const { log, chaos, route, random } = this.#parts
    this.#agent = new OfficialAgent({
      name: this.name,
      version: this.version,
      dockerVersion: info.engineVersion,
      cluster,
      containerInstanceArn,
      process,
      engine,
      disk: this.#disk,
      log,
      chaos,
      route,
      random,
      now: () => this.now(),
      nextPort: () => this.#nextPort(),
    })
  }

  /** Until it is registered. An instance that is INACTIVE ends the real agent, and a person removes its directory. */
  async #register(process: OfficialProcess, info: EngineInfo): Promise<string> {
    const { log, random } = this.#parts
    const { config, host } = settingsOf(this.#parts)
    const range = { first: firstDynamicPort, last: firstDynamicPort + dynamicPorts - 1 }
    const attributes = instanceAttributes(config, host, info, range, services).filter(
      // It is a model, and fetches nothing.
      ({ name }) => !name.startsWith('gantry.') && !/capability\.(?:secrets|env-files)/.test(name),
    )
    const clientToken = random.uuid()
    for (;;) {
      const known = this.#disk.containerInstanceArn
      const input = {
        cluster,
        clientToken,
        attributes,
        instanceIdentityDocument: '',
        instanceIdentityDocumentSignature: '',
        ...(known === undefined ? {} : { containerInstanceArn: known }),
        totalResources: [
          { name: 'CPU', type: 'INTEGER', integerValue: host.cpus * 1024 },
          { name: 'MEMORY', type: 'INTEGER', integerValue: host.memoryMiB },
          { name: 'PORTS', type: 'STRINGSET', stringSetValue: ['22', '2375', '2376', '51678', '51679'] },
          { name: 'PORTS_UDP', type: 'STRINGSET', stringSetValue: [] },
        ],
      }
      try {
        const answer = await process.call('RegisterContainerInstance', input)
        return this.#registered(answer, attributes)
      } catch (error) {
        if (isApiError(error) && error.message.includes('INACTIVE')) this.#forget()
        log.event(this.name, `could not register: ${String(error).slice(0, 160)}`)
        await new Promise<void>((resolve) => void process.timers.after(random.between(2000, 8000), resolve))
      }
    }
  }

  #registered(
    answer: Readonly<Record<string, unknown>>,
    sent: readonly { readonly name: string; readonly value?: string | undefined }[],
  ): string {
    const { containerInstanceArn = '', attributes = [] } = (answer['containerInstance'] ?? {}) as RegisteredInstance
    // The real agent exits for good where one attribute that it sent does not come back with its value.
    for (const { name, value } of sent) {
      const echoed = attributes.some((attribute) => attribute.name === name && attribute.value === value)
      if (!echoed) this.#parts.log.violated('attributesAreEchoed', `${this.name}: ${name} = ${value}`)
    }
    this.#disk.containerInstanceArn = containerInstanceArn
    this.#parts.log.event(this.name, `is ${idOf(containerInstanceArn)}`)
    return containerInstanceArn
  }

  #forget(): void {
    this.#disk.containerInstanceArn = undefined
    this.#disk.seqNum = -1
    this.#disk.tasks.clear()
  }

  /** One that no container of this host was given before, by far: the engine would pick one that is free. */
  #nextPort(): number {
    this.#ports += 1
    return firstDynamicPort + (this.#ports % dynamicPorts)
  }

  async #call(operation: string, input: object, isAlive: () => boolean): Promise<Readonly<Record<string, unknown>>> {
    if (!isAlive()) return never()
    const answer = this.#parts.route.call(operation, input)
    const outcome = await answer.then(
      (value) => ({ value }),
      (error: unknown) => ({ error }),
    )
    if (!isAlive()) return never()
    if ('error' in outcome) throw outcome.error
    this.#parts.log.worked(`${operation} of an official agent`)
    return outcome.value
  }
}

interface RegisteredInstance {
  readonly containerInstanceArn?: string
  readonly attributes?: readonly { readonly name: string; readonly value?: string }[]
}
