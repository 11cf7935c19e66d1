/**
 * What the subnets of this host's tasks need is compared with what is there: at once where the tasks have changed, and as a
 * whole once a minute, whatever happened to it meanwhile. What no task needs any more is removed.
 */
import { internalNames } from './decide/internal-containers.ts'
import { taskNetworkOf } from './decide/task-network.ts'
import type { TaskNetwork } from './decide/task-network.ts'
import type { Engine } from './engine.ts'
import { createHostInterfaces } from './host-interface.ts'
import type { HostInterfaces } from './host-interface.ts'
import type { RunIp } from './ip-command.ts'
import type { Log } from './log.ts'
import { createTaskNetworks } from './task-networks.ts'
import type { KeptTaskNetworks, TaskNetworks } from './task-networks.ts'
import type { Timers } from './timers.ts'
import type { TurnTask } from './turn-options.ts'

/** A look at what the tasks are; it costs nothing where they are as they were. */
const glanceMs = 5_000
const wholeMs = 60_000
/** Docker has shown its containers by then, or has not answered: then the tasks are those of the journal. */
const settlingMs = 20_000

export interface NetworkUpkeepOptions {
  readonly engine: Engine
  readonly ip: RunIp
  readonly containerInstanceArn: string
  readonly tasks: () => readonly TurnTask[]
  readonly timers: Timers
  readonly now: () => number
  readonly log: Log
}

/** Begins with a look at the whole: who was killed may have left something undone. */
export function startTaskNetworks(options: NetworkUpkeepOptions): { networks: TaskNetworks; close(): void } {
  const { engine, ip, containerInstanceArn, log } = options
  const host = createHostInterfaces({ ip, containerInstanceArn, log })
  const networks = createTaskNetworks(engine, host, containerInstanceArn)
  const upkeep = new NetworkUpkeep(options, host, networks)
  upkeep.start()
  return { networks, close: () => upkeep.close() }
}

interface LiveNetwork {
  readonly network: TaskNetwork
  /** Its pause container runs. */
  readonly isUp: boolean
  readonly pauseId: string | undefined
}

class NetworkUpkeep {
  readonly #options: NetworkUpkeepOptions
  readonly #host: HostInterfaces
  readonly #networks: KeptTaskNetworks
  #cancel: (() => void) | undefined
  #cancelSettling: () => void = () => undefined
  #kept: string | undefined
  #wholeAt = 0
  #mayRemove = false
  #closed = false
  #lastProblem: string | undefined

  constructor(options: NetworkUpkeepOptions, host: HostInterfaces, networks: KeptTaskNetworks) {
    this.#options = options
    this.#host = host
    this.#networks = networks
  }

  start(): void {
    this.#cancelSettling = this.#options.timers.after(settlingMs, () => (this.#mayRemove = true))
    this.#arm(0)
  }

  close(): void {
    this.#closed = true
    this.#cancel?.()
    this.#cancelSettling()
  }

  #arm(delayMs: number): void {
    this.#cancel = this.#options.timers.after(delayMs, () => {
      void this.#glance().finally(() => {
        if (!this.#closed) this.#arm(glanceMs)
      })
    })
  }

  async #glance(): Promise<void> {
    const { now, log } = this.#options
    try {
      const needed = JSON.stringify(this.#live().map(({ network }) => network))
      const isWhole = now() - this.#wholeAt >= wholeMs || now() < this.#wholeAt
      if (!isWhole && needed === this.#kept) return
      const isAllDone = await this.#keep(isWhole)
      this.#kept = isAllDone ? needed : undefined
      if (isWhole) this.#wholeAt = now()
      this.#lastProblem = undefined
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      if (message !== this.#lastProblem)
        log.warn({ err: error }, 'what the tasks with addresses of their own need on this host is not all there')
      this.#lastProblem = message
    }
  }

  /** False where what is not needed any more may still be there. */
  async #keep(isWhole: boolean): Promise<boolean> {
    const running = this.#live().filter(({ isUp }) => isUp)
    const subnets = new Map(running.map(({ network }) => [network.subnet.subnetId, network.subnet]))
    const problems: unknown[] = []
    if (isWhole) {
      // Between a container's start and its second network an agent may have been killed.
      const pauseIds = running.flatMap(({ pauseId }) => pauseId ?? [])
      if (pauseIds.length > 0) await this.#networks.joinMissing(pauseIds).catch((error) => problems.push(error))
    }
    for (const [subnetId, subnet] of subnets) {
      const addresses = (): readonly string[] =>
        this.#live().flatMap(({ network }) => (network.subnet.subnetId === subnetId ? [network.address] : []))
      await this.#host.keep(subnet, addresses).catch((error: unknown) => problems.push(error))
    }
    // An agent that has just started may not have met all of its tasks; and of one that was found without its description
    // nobody knows what it needs.
    const mayRemove = this.#mayRemove && !this.#hasStrangers()
    if (mayRemove) {
      const needed = (): ReadonlySet<string> => new Set(this.#live().map(({ network }) => network.subnet.subnetId))
      await this.#host.retain(needed)
      if (isWhole) await this.#networks.removeIdle(needed)
    }
    if (problems.length > 0) throw problems[0]
    return mayRemove
  }

  #live(): readonly LiveNetwork[] {
    return this.#options.tasks().flatMap(({ payload, facts, knownStatus }) => {
      const network = taskNetworkOf(payload)
      if (network === undefined || knownStatus === 'STOPPED') return []
      const pause = facts.containers[internalNames.CNI_PAUSE]
      return [{ network, isUp: pause?.knownStatus === 'RUNNING', pauseId: pause?.dockerId }]
    })
  }

  #hasStrangers(): boolean {
    return this.#options
      .tasks()
      .some(
        ({ payload, knownStatus }) =>
          payload.networkMode === 'awsvpc' && knownStatus !== 'STOPPED' && taskNetworkOf(payload) === undefined,
      )
  }
}
