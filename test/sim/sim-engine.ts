/**
 * A host's container engine: the fake engine of the tests, which fails, hangs, answers late, loses answers, restarts, and
 * keeps a ledger of what ever ran on it. It goes on while agents come and go.
 */
import { EngineError, labels } from '../../agent/engine.ts'
import type { Engine, EngineEvent } from '../../agent/engine.ts'
import type { Timers } from '../../agent/timers.ts'
import type { Clock } from '../../proto/world.ts'
import { fakeEngine } from '../support/fake-engine.ts'
import type { FakeContainer, FakeEngine } from '../support/fake-engine.ts'
import type { Chaos } from './chaos.ts'
import { never } from './sim-disk.ts'
import type { Life } from './sim-disk.ts'

/** How long a call may take until its caller gives up; shorter than in production, so that more fits into a history. */
const deadlines: Readonly<Record<string, number>> = {
  ping: 5000,
  info: 10_000,
  listContainers: 15_000,
  inspectContainer: 10_000,
  createContainer: 40_000,
  startContainer: 30_000,
  removeContainer: 40_000,
  pullImage: 60_000,
}
const deadlineMs = 20_000
const latencyMostMs = 40

/** Images that exist: on every host from the start, or in the registry. */
export const pauseImage = 'pause:1'
const localImages = { [pauseImage]: {}, 'busybox:1': {}, 'stubborn:1': { ignoresTerm: true } }
const registryImages = {
  'web:1': { digest: `sha256:${'1'.repeat(64)}`, health: 'HEALTHY' },
  'sick:1': { digest: `sha256:${'5'.repeat(64)}`, health: 'UNHEALTHY' },
  'slow:1': { digest: `sha256:${'6'.repeat(64)}`, health: 'HEALTHY', healthKnownAfterMs: 20_000 },
  'busy:1': { digest: `sha256:${'7'.repeat(64)}` },
  'job:1': { digest: `sha256:${'2'.repeat(64)}`, exitsAfterMs: 1500, output: ['done'] },
  'crash:1': { digest: `sha256:${'3'.repeat(64)}`, exitsAfterMs: 4000, exitCode: 1, output: ['panic'] },
  'flaky:1': { digest: `sha256:${'8'.repeat(64)}`, exitsAfterMs: 70_000, exitCode: 1 },
  'noentry:1': { digest: `sha256:${'4'.repeat(64)}`, startError: 'exec: "serve": executable file not found in $PATH' },
} as const

/** Whether a container that has run may be started again now. */
export type MayStartAgain = (taskArn: string, containerName: string) => boolean

export interface StartRules {
  readonly mayStartAgain: MayStartAgain
  /** What a container that starts lacks of what its task was promised; undefined where it has all. */
  readonly lackOf: (container: FakeContainer) => string | undefined
}

const noRules: StartRules = { mayStartAgain: () => false, lackOf: () => undefined }

export class SimEngine {
  readonly raw: FakeEngine
  /** `task ARN / container name` -> ids of its containers, one for each start. */
  readonly everStarted = new Map<string, string[]>()
  readonly #chaos: Chaos
  readonly #timers: Timers
  readonly #host: string
  /** The host's wall clock, which may jump; and time as it passes. */
  readonly #clock: Clock
  readonly #elapsed: Clock
  readonly #watches = new Set<AbortController>()
  /** Container -> when the last change of it that was asked for is done: Docker takes them one after the other. */
  readonly #busyUntil = new Map<string, number>()
  /** Container id -> when it was last started, by time as it passes. */
  readonly #startedAt = new Map<string, number>()
  readonly #rules: StartRules
  #epoch = 0

  constructor(host: string, clock: Clock, time: Timers & Clock, chaos: Chaos, rules: StartRules = noRules) {
    this.#host = host
    this.#rules = rules
    this.#elapsed = time
    this.#clock = clock
    this.#chaos = chaos
    this.#timers = time
    this.raw = fakeEngine({ now: () => clock.now(), after: (delayMs, callback) => time.after(delayMs, callback) })
    for (const [name, image] of Object.entries(localImages)) this.raw.local.set(name, image)
    for (const [name, image] of Object.entries(registryImages)) this.raw.registry.set(name, image)
    void this.raw.watch((event) => this.#remember(event), new AbortController().signal)
  }

  /** The engine as one agent process reaches it. */
  open(life: Life): Engine {
    const call =
      <Name extends Exclude<keyof Engine, 'watch'>>(name: Name) =>
      (...args: Parameters<Engine[Name]>): ReturnType<Engine[Name]> =>
        this.#call(name, args, life) as ReturnType<Engine[Name]>
    return {
      info: call('info'),
      ping: call('ping'),
      listContainers: call('listContainers'),
      inspectContainer: call('inspectContainer'),
      createContainer: call('createContainer'),
      startContainer: call('startContainer'),
      stopContainer: call('stopContainer'),
      removeContainer: call('removeContainer'),
      lastLogLines: call('lastLogLines'),
      inspectImage: call('inspectImage'),
      listImages: call('listImages'),
      imagesInUse: call('imagesInUse'),
      loadImage: call('loadImage'),
      removeImage: call('removeImage'),
      resolveDigest: call('resolveDigest'),
      pullImage: call('pullImage'),
      createVolume: call('createVolume'),
      inspectVolume: call('inspectVolume'),
      removeVolume: call('removeVolume'),
      listVolumes: call('listVolumes'),
      pathInContainer: call('pathInContainer'),
      unpackInContainer: call('unpackInContainer'),
      createNetwork: call('createNetwork'),
      inspectNetwork: call('inspectNetwork'),
      listNetworks: call('listNetworks'),
      removeNetwork: call('removeNetwork'),
      connectNetwork: call('connectNetwork'),
      disconnectNetwork: call('disconnectNetwork'),
      watch: (onEvent, signal) => this.#watch(onEvent, signal, life),
    }
  }

  /** The engine ends; its containers go on, end, or are gone once it is back. */
  stop(containers: 'kept' | 'ended' | 'gone'): void {
    this.raw.down = true
    this.#epoch += 1
    for (const watch of this.#watches) watch.abort()
    this.#watches.clear()
    if (containers === 'kept') return
    for (const container of this.raw.containers.values()) {
      if (container.status !== 'running') continue
      Object.assign(container, { status: 'exited', exitCode: 137, finishedAt: this.#clock.now(), ports: [] })
    }
    if (containers === 'gone') this.raw.containers.clear()
  }

  start(): void {
    this.raw.down = false
  }

  async #call(name: Exclude<keyof Engine, 'watch'>, args: readonly unknown[], life: Life): Promise<unknown> {
    const chaos = this.#chaos
    if (!life.isAlive()) return never()
    const changes = /^(create|start|stop|remove)/.test(name)
    if (changes && chaos.strikes(this.#host, 'agentKilledAtStep', `before ${name}`)) {
      life.kill()
      // The request may have left already.
      if (chaos.random.chance(0.5)) return never()
    }
    const answer = this.#perform(name, args)
    const outcome = await answer
    if (changes && outcome.error === undefined && chaos.strikes(this.#host, 'agentKilledAtStep', `after ${name}`)) {
      life.kill()
    }
    if (!life.isAlive()) return never()
    if (outcome.error !== undefined) throw outcome.error
    return outcome.value
  }

  /** The deed, and what its caller hears of it: these are two things. */
  #perform(name: Exclude<keyof Engine, 'watch'>, args: readonly unknown[]): Promise<Outcome> {
    const chaos = this.#chaos
    const host = this.#host
    const limitMs = name === 'stopContainer' ? Number(args[1]) * 1000 + deadlineMs : (deadlines[name] ?? deadlineMs)
    const epoch = this.#epoch
    const { promise, resolve } = Promise.withResolvers<Outcome>()
    const settle = (outcome: Outcome): void => {
      cancelDeadline()
      resolve(outcome)
    }
    const cancelDeadline = this.#timers.after(limitMs, () =>
      settle({ error: new EngineError('deadline', `${name} was not answered in time`) }),
    )
    const fails = chaos.strikes(host, 'engineFails', name)
    const failsBefore = fails && chaos.random.chance(0.5)
    // One image is in a registry that answers no pull before everything is mended.
    const isBusy = name === 'pullImage' && String(args[0]).startsWith('busy') && !chaos.isOver
    if (isBusy) return promise
    const hangs = !fails && chaos.strikes(host, 'engineHangs', name)
    const slow = !fails && !hangs && chaos.strikes(host, 'engineSlow', name)
    if (failsBefore) {
      this.#timers.after(5, () => settle({ error: new EngineError('unreachable', `${name} was cut off`) }))
      return promise
    }
    // What hangs may happen late, after its caller has given up, or not at all.
    if (hangs && chaos.random.chance(0.5)) return promise
    const ownMs = hangs ? limitMs + chaos.random.between(1, 60_000) : slow ? chaos.random.between(300, 15_000) : 0
    const waitMs = name.endsWith('Container') ? this.#queue(String(args[0]), ownMs) : 0
    const askedAt = this.#elapsed.now()
    this.#after(waitMs, () => {
      // Docker takes a container's lock in the order of asking: a start behind another start finds it running.
      const isDone = name === 'startContainer' && (this.#startedAt.get(String(args[0])) ?? -1) >= askedAt
      if (isDone) settle({ value: undefined })
      else this.#after(ownMs, () => void this.#deed(name, args, epoch, fails).then(settle))
    })
    return promise
  }

  #after(delayMs: number, callback: () => void): void {
    if (delayMs === 0) callback()
    else this.#timers.after(delayMs, callback)
  }

  /** How long a call that takes `ownMs` has to wait for those about the same container. */
  #queue(idOrName: string, ownMs: number): number {
    const container = this.raw.containers.get(idOrName)?.name ?? idOrName
    const now = this.#elapsed.now()
    const beginsAt = Math.max(now, this.#busyUntil.get(container) ?? 0)
    this.#busyUntil.set(container, beginsAt + ownMs + latencyMostMs)
    return beginsAt - now
  }

  async #deed(
    name: Exclude<keyof Engine, 'watch'>,
    args: readonly unknown[],
    epoch: number,
    answerLost: boolean,
  ): Promise<Outcome> {
    if (this.#epoch !== epoch) return cut()
    this.raw.latencyMs = this.#chaos.random.between(1, latencyMostMs)
    // The fake engine types each call; here all pass through one door.
    const deed = this.raw[name] as (...given: readonly unknown[]) => Promise<unknown>
    try {
      const value = await deed(...args)
      return answerLost || this.#epoch !== epoch ? cut() : { value }
    } catch (error) {
      return error instanceof EngineError ? { error } : { error: new EngineError('refused', String(error)) }
    }
  }

  /** Events are hints: late, and sometimes never. */
  async #watch(onEvent: (event: EngineEvent) => void, signal: AbortSignal, life: Life): Promise<void> {
    const chaos = this.#chaos
    await new Promise<void>((resolve) => void this.#timers.after(3, resolve))
    if (!life.isAlive()) return never()
    const ours = new AbortController()
    if (!this.raw.down) this.#watches.add(ours)
    signal.addEventListener('abort', () => ours.abort())
    if (signal.aborted) ours.abort()
    await this.raw.watch((event) => {
      if (!life.isAlive() || ours.signal.aborted || chaos.strikes(this.#host, 'eventLost')) return
      this.#timers.after(chaos.random.between(1, 50), () => {
        if (life.isAlive() && !ours.signal.aborted) onEvent(event)
      })
    }, ours.signal)
    if (!life.isAlive()) return never()
  }

  #remember({ containerId, action }: EngineEvent): void {
    const container = this.raw.containers.get(containerId)
    const task = container?.labels[labels.taskArn]?.slice(-32)
    this.#chaos.log.event(this.#host, `engine: ${action} ${containerId.slice(-4)} ${container?.name} of ${task}`)
    if (action !== 'start' || container === undefined) return
    this.#startedAt.set(containerId, this.#elapsed.now())
    const name = `${container.labels[labels.taskArn]} / ${container.labels[labels.containerName]}`
    const ids = [...(this.everStarted.get(name) ?? []), containerId]
    this.everStarted.set(name, ids)
    const { log } = this.#chaos
    const told = `${this.#host}: ${name}: ${ids.map((id) => id.slice(-4)).join(', ')}`
    const lacking = this.#rules.lackOf(container)
    if (lacking !== undefined) log.violated('nothingRunsWithoutItsSecrets', `${told}: ${lacking}`)
    const isThereAlready = ids.some((id) => id !== containerId && this.raw.containers.get(id)?.status === 'running')
    if (isThereAlready) log.violated('nothingRunsTwice', told)
    if (ids.length === 1) return
    const { [labels.taskArn]: taskArn = '', [labels.containerName]: containerName = '' } = container.labels
    if (this.#rules.mayStartAgain(taskArn, containerName)) log.worked('a container is started again in place')
    else log.violated('nothingIsStartedTwice', told)
  }
}

function cut(): Outcome {
  return { error: new EngineError('unreachable', 'Cannot connect to the Docker daemon') }
}

interface Outcome {
  readonly value?: unknown
  readonly error?: EngineError
}
