/** What happens to one host in thirty days: one thing after the other, each over after a while. */
import { EngineError } from '../../agent/engine.ts'
import type { FakeContainer } from '../support/fake-engine.ts'
import type { Random } from './random.ts'
import type { SimHost } from './sim-host.ts'
import type { SimLog } from './sim-log.ts'
import type { SimTime } from './sim-time.ts'

const minuteMs = 60_000

const weights = {
  reboot: 3,
  engineRestarted: 3,
  engineRestartedLive: 1,
  agentKilled: 2,
  containerDies: 5,
  containerRemoved: 1,
  crashLoop: 1,
  diskFull: 2,
  credentialsExpired: 1,
  clockJumps: 1,
  containerHangs: 1,
} as const

type Fault = keyof typeof weights

/** None of these may keep anything from being started again. */
const harmless: readonly string[] = ['diskFull', 'credentialsExpired'] satisfies readonly Fault[]

export interface AloneFaultsParts {
  readonly host: SimHost
  readonly random: Random
  readonly time: SimTime
  readonly log: SimLog
}

export class AloneFaults {
  readonly host: SimHost
  /** Something is the matter with the host now. */
  isAfoot = false
  /** When something ended there last. */
  quietSince: number
  #fault: Fault | undefined
  readonly #parts: AloneFaultsParts
  #count = 0
  #mend: () => void = () => undefined

  constructor(parts: AloneFaultsParts) {
    this.#parts = parts
    this.host = parts.host
    this.quietSince = parts.time.now()
  }

  /** True where everything that is to run has had this much time to do so. */
  isQuietFor(durationMs: number): boolean {
    const mayLook = !this.isAfoot || harmless.includes(this.#fault ?? '')
    return mayLook && this.quietSince + durationMs <= this.#parts.time.now()
  }

  strike(): void {
    const { random, log, host } = this.#parts
    const fault = random.weighted(weights)
    this.#fault = fault
    log.fault(host.name, fault)
    const { lastsMs, mend } = this.#begin(fault)
    this.#lasts(lastsMs, mend)
    // Something that comes with it: a full disk keeps no container from dying, nor an agent from being killed.
    if (random.chance(0.5)) this.#andThen(lastsMs)
  }

  /** The host is without power for that long. */
  switchOff(lastsMs: number): void {
    const { log, host } = this.#parts
    this.end()
    this.#fault = undefined
    log.fault(host.name, 'switchedOff')
    host.powerCut()
    this.#lasts(lastsMs, () => host.powerOn())
  }

  #lasts(lastsMs: number, mend: () => void): void {
    this.isAfoot = true
    this.#mend = mend
    this.#count += 1
    const mine = this.#count
    this.#parts.time.after(lastsMs, () => {
      if (mine === this.#count) this.end()
    })
  }

  end(): void {
    if (!this.isAfoot) return
    this.#mend()
    this.isAfoot = false
    this.quietSince = this.#parts.time.now()
  }

  #andThen(lastsMs: number): void {
    const { random, time, host, log } = this.#parts
    time.after(random.between(0, lastsMs), () => {
      if (!this.isAfoot || !host.powered) return
      this.quietSince = time.now()
      if (random.chance(0.5)) this.#dies()
      else {
        log.fault(host.name, 'agentKilledMeanwhile')
        host.kill()
      }
    })
  }

  #begin(fault: Fault): { readonly lastsMs: number; readonly mend: () => void } {
    const { random, host } = this.#parts
    const { raw } = host.engine
    const soon = random.between(5000, 5 * minuteMs)
    const long = random.between(30 * minuteMs, 8 * 60 * minuteMs)
    switch (fault) {
      case 'reboot':
        host.powerCut()
        return { lastsMs: soon, mend: () => host.powerOn() }
      case 'engineRestarted':
        host.engine.stop('ended')
        return { lastsMs: soon, mend: () => host.engine.start() }
      case 'engineRestartedLive':
        host.engine.stop('kept')
        return { lastsMs: soon, mend: () => host.engine.start() }
      case 'agentKilled':
        host.kill()
        return { lastsMs: soon, mend: nothing }
      case 'containerDies':
        this.#dies()
        return { lastsMs: soon, mend: nothing }
      case 'containerRemoved':
        for (const { id } of this.#running().slice(0, 2)) {
          void raw.stopContainer(id, 0).then(() => raw.removeContainer(id))
        }
        return { lastsMs: soon, mend: nothing }
      case 'crashLoop': {
        const image = random.pick(['busybox:1', 'web:1'])
        const sound = raw.local.get(image) ?? {}
        raw.local.set(image, { ...sound, exitsAfterMs: random.between(100, 20_000), exitCode: 1 })
        this.#dies()
        return { lastsMs: long, mend: () => void raw.local.set(image, sound) }
      }
      case 'diskFull':
        host.setDiskFull(true)
        this.#dies()
        return { lastsMs: long, mend: () => host.setDiskFull(false) }
      case 'credentialsExpired':
        return { lastsMs: long, mend: this.#expire() }
      case 'clockJumps':
        host.clockOffsetMs += random.between(-120, 120) * minuteMs
        this.#dies()
        return { lastsMs: soon, mend: nothing }
      case 'containerHangs': {
        const ids = this.#running()
          .slice(0, 1)
          .map(({ id }) => id)
        for (const id of ids) raw.hung.add(id)
        return { lastsMs: soon, mend: () => void ids.map((id) => raw.hung.delete(id)) }
      }
      default:
        return fault satisfies never
    }
  }

  /** Somebody cleans up the host's images, and no registry gives them back: what is there goes on, as it needs none. */
  #expire(): () => void {
    const { raw } = this.host.engine
    const local = [...raw.local]
    // As they are now; what these hold besides is the same maps and sets, but for whether the engine is there.
    const { down: _down, latencyMs: _latencyMs, ...sound } = raw
    Object.assign(raw, { resolveDigest: denied, pullImage: denied })
    this.#dies()
    return () => {
      Object.assign(raw, sound)
      for (const [name, image] of local) raw.local.set(name, image)
    }
  }

  #dies(): void {
    const { raw } = this.host.engine
    const containers = this.#running()
    if (containers.length === 0 || raw.down) return
    this.quietSince = this.#parts.time.now()
    const { id } = this.#parts.random.pick(containers)
    // The engine itself may end meanwhile.
    void raw.stopContainer(id, 0).catch(nothing)
  }

  #running(): readonly FakeContainer[] {
    return [...this.host.engine.raw.containers.values()].filter(({ status }) => status === 'running')
  }
}

async function denied(): Promise<never> {
  throw new EngineError('denied', 'unauthorized: authentication required')
}

function nothing(): void {}
