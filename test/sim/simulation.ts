/**
 * One history from one seed: a controller, three to five hosts and their operators, first shaken for ten minutes, then left
 * in peace until everything has settled, then mended by the operators, then told to stop every task and every service.
 */
import { operations } from '../../controller/ecs/operations.ts'
import { Chaos } from './chaos.ts'
import type { Host } from './host.ts'
import { Nemesis } from './nemesis.ts'
import { OfficialHost } from './official/official-host.ts'
import { Random } from './random.ts'
import { SimController } from './sim-controller.ts'
import { ControllerDisk } from './sim-disk.ts'
import { SimHost } from './sim-host.ts'
import { SimLog } from './sim-log.ts'
import { Route } from './sim-network.ts'
import { SimSecrets } from './sim-secrets.ts'
import { beginning, SimTime } from './sim-time.ts'
import { addressesOnTheWire, leftOver, oldKeys, unmended, unsettled } from './union.ts'
import { Workload } from './workload/workload.ts'

/**
 * A bug to be switched on, to see that an invariant finds it: a disk that forgets what it was given, an agent that makes
 * containers without the secrets that it fetched for them, one that reports them.
 */
export type Bug = 'forgetfulDisk' | 'secretsForgotten' | 'secretsTold'

export interface SimulationOptions {
  readonly seed: number
  readonly bug?: Bug | undefined
}

export interface SimulationResult {
  readonly seed: number
  /** Digest of everything that happened, in order. */
  readonly hash: string
  readonly events: number
  readonly hosts: number
  readonly simulatedMs: number
  readonly faults: ReadonlyMap<string, number>
  readonly work: ReadonlyMap<string, number>
  /** What must never be, or did not settle; empty where all is well. */
  readonly violations: readonly string[]
  /** The end of the history, a line for each event; those that name `about`, where it is given. */
  history(last: number, about?: string): readonly string[]
}

const shakenMs = 10 * 60_000
/** How long after the last fault everything must have settled. */
const settleMs = 15 * 60_000
const lookEveryMs = 5000
/** Many times what a history has: more means that somebody goes round in circles. */
const eventsMax = 300_000

export async function simulate(options: SimulationOptions): Promise<SimulationResult> {
  const simulation = new Simulation(options)
  await simulation.run()
  return simulation.result()
}

class Simulation {
  readonly #options: SimulationOptions
  readonly #time = new SimTime()
  readonly #log = new SimLog(this.#time)
  readonly #chaos: Chaos
  readonly #disk: ControllerDisk
  readonly #controller: SimController
  readonly #hosts: readonly { readonly host: Host; readonly route: Route }[]
  readonly #workload: Workload
  readonly #nemesis: Nemesis
  /** Those that were ever on the wire. */
  readonly #addresses = new Set<string>()

  constructor(options: SimulationOptions) {
    this.#options = options
    const random = new Random(options.seed)
    const time = this.#time
    const log = this.#log
    const chaos = new Chaos(random.fork(), log)
    this.#chaos = chaos
    this.#disk = new ControllerDisk(time, chaos, options.bug === 'forgetfulDisk')
    const server = () => this.#controller.server
    const secrets = new SimSecrets()
    // In every third history or so the last of three hosts runs the official agent.
    const official = random.chance(0.35) ? 2 : -1
    this.#hosts = Array.from({ length: random.between(3, 5) }, (_, index) => {
      const name = `host-${index + 1}`
      const route = new Route(name, time, chaos, server)
      const size = { cpus: random.between(1, 2), memoryMiB: random.between(1024, 3072) }
      const mayLoseJournal = random.chance(0.5)
      const parts = {
        name,
        time,
        chaos,
        log,
        random: random.fork(),
        route,
        secrets,
        bug: options.bug,
        mayLoseJournal,
        ...size,
      }
      return { route, host: index === official ? new OfficialHost(parts) : new SimHost(parts) }
    })
    const operator = new Route('operator', time, chaos, server)
    const routes = [operator, ...this.#hosts.map(({ route }) => route)]
    const disk = this.#disk
    const shared = { time, chaos, log, secrets }
    this.#controller = new SimController({ ...shared, disk, random: random.fork(), routes, operations })
    const hosts = this.#hosts.map(({ host }) => host)
    this.#workload = new Workload({ time, random: random.fork(), log, route: operator, hosts, secrets })
    this.#nemesis = new Nemesis({ time, chaos, controller: this.#controller, controllerDisk: disk, hosts: this.#hosts })
  }

  async run(): Promise<void> {
    const { host: first } = this.#hosts[0] ?? {}
    this.#log.event('simulation', `seed ${this.#options.seed}, ${this.#hosts.length} hosts from ${first?.name}`)
    void this.#controller.start()
    for (const { host } of this.#hosts) this.#time.after(this.#chaos.random.between(0, 5000), () => host.start())
    this.#time.after(1000, () => this.#workload.begin())
    this.#nemesis.begin()
    this.#watchAddresses()
    await this.#pass(shakenMs)
    this.#workload.end()
    this.#chaos.end()
    this.#nemesis.end()
    this.#log.event('simulation', 'nothing fails any more')
    await this.#settle('after the last fault', (reader) => {
      const union = { reader, hosts: this.#allHosts() }
      return [...unsettled(union), ...oldKeys(union)]
    })
    if (this.#isBroken()) return
    void this.#workload.mend()
    await this.#settle('after operators have mended what time does not', (reader) => {
      const union = { reader, hosts: this.#allHosts() }
      return [...unsettled(union), ...unmended(union), ...oldKeys(union)]
    })
    if (this.#isBroken()) return
    void this.#workload.stopEverything()
    await this.#settle('after everything was stopped', (reader) => {
      const union = { reader, hosts: this.#allHosts() }
      return [...unsettled(union), ...leftOver(union)]
    })
  }

  result(): SimulationResult {
    return {
      seed: this.#options.seed,
      hash: this.#log.hash(),
      events: this.#time.events,
      hosts: this.#hosts.length,
      simulatedMs: this.#time.now() - beginning,
      faults: this.#log.faults,
      work: this.#log.work,
      violations: this.#log.violations,
      history: (last, about) => this.#log.lines(last, about),
    }
  }

  /** As a wire would show it: each address is one task's. */
  #watchAddresses(): void {
    for (const [address, holders] of addressesOnTheWire(this.#allHosts())) {
      if (holders.length > 1) this.#log.violated('addressesAreOnTheWireOnce', `${address}: ${holders.join(', ')}`)
      if (this.#addresses.has(address)) continue
      this.#addresses.add(address)
      this.#log.worked('a task with an address')
    }
    this.#time.after(1000, () => this.#watchAddresses())
  }

  #allHosts(): readonly Host[] {
    return this.#hosts.map(({ host }) => host)
  }

  #isBroken(): boolean {
    if (this.#time.events > eventsMax) this.#log.violated('nothingGoesRoundInCircles', `${eventsMax} events`)
    return this.#log.violations.length > 0
  }

  async #pass(durationMs: number): Promise<void> {
    await this.#time.run(this.#time.now() + durationMs, () => this.#isBroken())
  }

  /** Until nothing is found any more, or until it has taken too long, which is a finding in itself. */
  async #settle(
    when: string,
    find: (reader: NonNullable<SimController['reader']>) => readonly string[],
  ): Promise<void> {
    const latest = this.#time.now() + settleMs
    let found: readonly string[] = ['the controller is not there']
    while (found.length > 0 && this.#time.now() < latest && !this.#isBroken()) {
      await this.#pass(lookEveryMs)
      this.#restartDeregistered()
      const { reader } = this.#controller
      if (reader === undefined) continue
      found = this.#workload.underway > 0 ? ['calls are under way'] : find(reader)
    }
    const { reader } = this.#controller
    if (this.#isBroken() || reader === undefined) return
    for (const what of found) this.#log.violated('everythingSettles', `${when}: ${what}`)
    for (const { invariant, what } of this.#workload.findings(reader)) this.#log.violated(invariant, what)
  }

  /** A person restarts the agent of a host that was deregistered: by itself it asks again after an hour. */
  #restartDeregistered(): void {
    for (const host of this.#allHosts()) {
      const { containerInstanceArn } = host
      if (containerInstanceArn === undefined || !host.isRunning || host.isConnected) continue
      const instanceId = containerInstanceArn.slice(containerInstanceArn.lastIndexOf('/') + 1)
      if (this.#controller.reader?.get('instance', instanceId)?.status === 'INACTIVE') host.kill()
    }
  }
}
