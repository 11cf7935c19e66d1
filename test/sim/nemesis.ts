/** The faults that come on their own time: cuts, kills, power, engines, disks, clocks. Each ends after a while. */
import type { FakeContainer } from '../support/fake-engine.ts'
import type { Chaos } from './chaos.ts'
import type { SimController } from './sim-controller.ts'
import type { ControllerDisk } from './sim-disk.ts'
import type { Host } from './host.ts'
import type { Route } from './sim-network.ts'
import type { SimTime } from './sim-time.ts'

export interface NemesisParts {
  readonly time: SimTime
  readonly chaos: Chaos
  readonly controller: SimController
  readonly controllerDisk: ControllerDisk
  readonly hosts: readonly { readonly host: Host; readonly route: Route }[]
}

const weights = {
  cutUp: 3,
  cutDown: 3,
  cutBoth: 4,
  networkSplit: 0.7,
  connectionBroken: 4,
  connectionHalfOpen: 3,
  agentKilled: 5,
  agentUpgraded: 2,
  powerCut: 1.5,
  controllerKilled: 4,
  controllerEnded: 1.5,
  engineRestarted: 3,
  containerDies: 3,
  containerRemoved: 1,
  containerHangs: 1.5,
  hostDiskFull: 2,
  controllerDiskFull: 1.5,
  journalLost: 1,
  clockJumps: 2,
  portTaken: 1.5,
} as const

type Fault = keyof typeof weights

export class Nemesis {
  readonly #parts: NemesisParts
  readonly #frequency: number

  constructor(parts: NemesisParts) {
    this.#parts = parts
    this.#frequency = parts.chaos.random.between(2000, 30_000)
  }

  begin(): void {
    const { time, chaos } = this.#parts
    time.after(chaos.random.between(0, this.#frequency), () => {
      if (chaos.isOver) return
      this.#strike(chaos.random.weighted(weights))
      this.begin()
    })
  }

  /** Everything that is broken is mended. */
  end(): void {
    const { hosts, controller, controllerDisk } = this.#parts
    controllerDisk.full = false
    // People set the clocks, and none back: further apart than this no signature of the one is taken by the other.
    const clocks = [controller, ...hosts.map(({ host }) => host)]
    const latestMs = Math.max(...clocks.map(({ clockOffsetMs }) => clockOffsetMs))
    for (const clock of clocks) clock.clockOffsetMs = latestMs
    for (const { host, route } of hosts) {
      route.heal()
      host.setDiskFull(false)
      host.engine.raw.hung.clear()
      host.engine.raw.busyPorts.clear()
      host.busyTcp.clear()
      if (!host.powered) host.powerOn()
      host.engine.start()
    }
  }

  #strike(fault: Fault): void {
    const { chaos, hosts } = this.#parts
    const { host, route } = chaos.random.pick(hosts)
    const details = faults[fault](this.#parts, host, route)
    if (details === undefined) return
    const who = fault.startsWith('controller') ? 'controller' : host.name
    chaos.log.fault(who, fault, details)
  }
}

/** Strikes, and answers with details; undefined where there was nothing to strike. */
type Strike = (parts: NemesisParts, host: Host, route: Route) => string | undefined

const later = ({ time, chaos }: NemesisParts, mostMs: number, work: () => void): string => {
  const afterMs = chaos.random.between(500, mostMs)
  time.after(afterMs, work)
  return `for ${afterMs} ms`
}

function mayLose(host: Host, container: FakeContainer): boolean {
  return !host.mayLoseJournal && (container.status === 'created' || host.hasNoted(container))
}

const faults: Readonly<Record<Fault, Strike>> = {
  cutUp(parts, _host, route) {
    route.upCut = true
    return later(parts, 90_000, () => route.heal())
  },
  cutDown(parts, _host, route) {
    route.downCut = true
    return later(parts, 90_000, () => route.heal())
  },
  cutBoth(parts, _host, route) {
    route.upCut = true
    route.downCut = true
    return later(parts, 120_000, () => route.heal())
  },
  /** The switch between the controller and most hosts: nothing there has ended, and nothing is to be started twice. */
  networkSplit(parts) {
    const cut = parts.hosts.slice(0, Math.max(3, parts.hosts.length - 1))
    for (const { route } of cut) Object.assign(route, { upCut: true, downCut: true })
    const lasts = later(parts, 60_000, () => {
      for (const { route } of cut) route.heal()
    })
    return `from ${cut.length} hosts ${lasts}`
  },
  connectionBroken(_parts, _host, route) {
    for (const connection of route.connections) connection.breaks({ agent: true, controller: true })
    return ''
  },
  connectionHalfOpen({ chaos }, _host, route) {
    const agent = chaos.random.chance(0.5)
    for (const connection of route.connections) connection.breaks({ agent, controller: !agent })
    return agent ? 'only the agent knows' : 'only the controller knows'
  },
  agentKilled(_parts, host) {
    host.kill()
    return ''
  },
  agentUpgraded(_parts, host) {
    host.version = host.version.replace(/\d+$/, (patch) => String(Number(patch) + 1))
    host.kill()
    return `to ${host.version}`
  },
  powerCut(parts, host) {
    if (!host.powered) return undefined
    host.powerCut()
    return later(parts, 60_000, () => {
      if (!host.powered) host.powerOn()
    })
  },
  controllerKilled({ controller }) {
    controller.kill()
    return ''
  },
  controllerEnded({ controller }) {
    return controller.end() ? '' : undefined
  },
  engineRestarted(parts, host) {
    if (!host.powered) return undefined
    const mayGo = [...host.engine.raw.containers.values()].every((container) => mayLose(host, container))
    const containers = parts.chaos.random.weighted({ kept: 3, ended: 3, gone: mayGo ? 0.5 : 0 })
    host.engine.stop(containers)
    const lasts = later(parts, 60_000, () => {
      if (host.powered) host.engine.start()
    })
    return `${lasts}, containers are ${containers}`
  },
  containerDies({ chaos }, host) {
    const running = [...host.engine.raw.containers.values()].filter(({ status }) => status === 'running')
    if (running.length === 0 || host.engine.raw.down) return undefined
    const container = chaos.random.pick(running)
    // The engine itself may end meanwhile.
    void host.engine.raw.stopContainer(container.id, 0).catch(() => undefined)
    return container.name
  },
  containerRemoved({ chaos }, host) {
    const running = [...host.engine.raw.containers.values()].filter(({ status }) => status === 'running')
    const containers = running.filter((container) => mayLose(host, container))
    if (containers.length === 0 || host.engine.raw.down) return undefined
    const { id, name } = chaos.random.pick(containers)
    void host.engine.raw
      .stopContainer(id, 0)
      .then(() => host.engine.raw.removeContainer(id))
      .catch(() => undefined)
    return name
  },
  containerHangs(parts, host) {
    const containers = [...host.engine.raw.containers.keys()]
    if (containers.length === 0) return undefined
    const id = parts.chaos.random.pick(containers)
    host.engine.raw.hung.add(id)
    return `${id.slice(-6)} ${later(parts, 60_000, () => host.engine.raw.hung.delete(id))}`
  },
  hostDiskFull(parts, host) {
    host.setDiskFull(true)
    return later(parts, 60_000, () => host.setDiskFull(false))
  },
  controllerDiskFull(parts) {
    parts.controllerDisk.full = true
    return later(parts, 40_000, () => {
      parts.controllerDisk.full = false
    })
  },
  journalLost(_parts, host) {
    if (!host.mayLoseJournal) return undefined
    host.kill()
    host.loseJournal()
    return ''
  },
  clockJumps({ chaos, controller }, host) {
    const jumpMs = chaos.random.chance(0.5) ? -chaos.random.between(10, 60_000) : chaos.random.between(10, 1_800_000)
    const target = chaos.random.chance(0.3) ? controller : host
    target.clockOffsetMs += jumpMs
    return `${target === host ? '' : 'of the controller '}by ${jumpMs} ms`
  },
  portTaken(parts, host) {
    const port = parts.chaos.random.pick([8080, 32768, 32770, 32775])
    const held = [...host.engine.raw.containers.values()].some(({ ports }) =>
      ports.some((one) => one.hostPort === port),
    )
    if (held) return undefined
    host.busyTcp.add(port)
    host.engine.raw.busyPorts.add(port)
    const lasts = later(parts, 90_000, () => {
      host.busyTcp.delete(port)
      host.engine.raw.busyPorts.delete(port)
    })
    return `${port} ${lasts}`
  },
}
