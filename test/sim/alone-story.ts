/**
 * Thirty days without a controller, on one seed: two hosts with the tasks of services, which go on, and standalone ones,
 * which end. Hosts reboot, engines restart, containers crash, disks are full, registries take no credentials any more.
 * Then the controller is back, and finds what it left; and at last one host is cut off while its tasks are replaced.
 */
import type { PayloadTask } from '../../proto/acs.ts'
import { operations } from '../../controller/ecs/operations.ts'
import type { TaskRow } from '../../controller/state/tables.ts'
import { labels } from '../../agent/engine.ts'
import type { FakeContainer } from '../support/fake-engine.ts'
import { AloneFaults } from './alone-faults.ts'
import { Chaos } from './chaos.ts'
import { Random } from './random.ts'
import { SimController } from './sim-controller.ts'
import { ControllerDisk } from './sim-disk.ts'
import { SimHost } from './sim-host.ts'
import { SimSecrets } from './sim-secrets.ts'
import { SimLog } from './sim-log.ts'
import { Route } from './sim-network.ts'
import { SimTime } from './sim-time.ts'
import { taskDefinitions } from './task-definitions.ts'
import { unsettled } from './union.ts'

export interface AloneResult {
  readonly seed: number
  /** What is not as it should be; empty where all is well. */
  readonly findings: readonly string[]
  readonly faults: ReadonlyMap<string, number>
  readonly checks: number
  /** Starts in place on both hosts while nobody was there. */
  readonly startsAlone: number
  /** From the controller's first word, or the network's mending, until everything had settled, milliseconds. */
  readonly convergedMs: number
  readonly rejoinedMs: number
  readonly eventsPerDay: number
  history(last: number, about?: string): readonly string[]
}

const dayMs = 86_400_000
const minuteMs = 60_000
/** Of one container within half an hour: the pauses of a crash loop leave room for about fifteen. */
const startsMax = 25
/** The longest pause of a crash loop, and then some. */
const quietMs = 8 * minuteMs

const services = {
  web: 'web-dynamic',
  chain: 'ordered',
  health: 'checked',
  policy: 'restarting',
  ports: 'web-static',
  out: 'opted-out',
} as const

const optedOut = {
  family: 'opted-out',
  networkMode: 'bridge',
  containerDefinitions: [
    { name: 'app', image: 'busybox:1', cpu: 64, memory: 64, dockerLabels: { 'gantry.restart-alone': 'false' } },
  ],
}

interface Kept {
  readonly task: TaskRow
  /** Containers that ran when the controller was last there. */
  readonly names: readonly string[]
  readonly isMarked: boolean
  readonly hostPorts: readonly number[]
}

export class AloneStory {
  readonly #seed: number
  readonly #days: number
  readonly #time = new SimTime()
  readonly #log = new SimLog(this.#time)
  readonly #routes: readonly Route[]
  readonly #hosts: readonly SimHost[]
  readonly #controller: SimController
  readonly #random: Random
  readonly #findings: string[] = []
  #checks = 0

  constructor(seed: number, days = 30) {
    this.#seed = seed
    this.#days = days
    this.#random = new Random(seed)
    const time = this.#time
    const log = this.#log
    // Nothing fails but what the story has fail.
    const chaos = new Chaos(this.#random.fork(), log)
    chaos.end()
    const server = () => this.#controller.server
    const names = ['host-1', 'host-2']
    const secrets = new SimSecrets()
    this.#routes = [...names, 'operator'].map((name) => new Route(name, time, chaos, server))
    this.#hosts = names.map((name, index) => {
      const route = this.#routes[index] as Route
      const size = { cpus: 2, memoryMiB: 3072, mayLoseJournal: false }
      return new SimHost({ name, time, chaos, log, random: this.#random.fork(), route, secrets, ...size })
    })
    const disk = new ControllerDisk(time, chaos, false)
    const random = this.#random.fork()
    const shared = { time, chaos, log, secrets }
    this.#controller = new SimController({ ...shared, disk, random, routes: this.#routes, operations })
  }

  async run(): Promise<AloneResult> {
    await this.#setUp()
    const kept = this.#look()
    const startsBefore = this.#starts()
    const eventsBefore = this.#time.events
    if (this.#findings.length === 0) await this.#passAlone(kept)
    const eventsPerDay = (this.#time.events - eventsBefore) / this.#days
    const startsAlone = this.#starts() - startsBefore
    const convergedMs = this.#findings.length === 0 ? await this.#return(kept) : -1
    const rejoinedMs = this.#findings.length === 0 ? await this.#rejoin() : -1
    const { violations, faults } = this.#log
    return {
      seed: this.#seed,
      findings: [...this.#findings, ...violations],
      faults,
      checks: this.#checks,
      startsAlone,
      convergedMs,
      rejoinedMs,
      eventsPerDay,
      history: (last, about) => this.#log.lines(last, about),
    }
  }

  async #setUp(): Promise<void> {
    this.#controller.powerOn()
    await this.#pass(2000)
    for (const host of this.#hosts) host.start()
    await this.#pass(3000)
    const families: Readonly<Record<string, object>> = { ...taskDefinitions, 'opted-out': optedOut }
    for (const family of ['plain', ...Object.values(services)])
      await this.#call('RegisterTaskDefinition', families[family])
    for (const [serviceName, taskDefinition] of Object.entries(services)) {
      await this.#call('CreateService', { serviceName, taskDefinition, desiredCount: 2 })
    }
    await this.#call('RunTask', { taskDefinition: 'plain', count: 3 })
    await this.#until('everything runs', 5 * minuteMs, () => this.#unsettled())
    await this.#pass(minuteMs)
  }

  /** What is there before the controller goes, and has to be there when it comes back. */
  #look(): readonly Kept[] {
    const { reader } = this.#controller
    const tasks = reader?.all('task').filter(({ lastStatus }) => lastStatus === 'RUNNING') ?? []
    if (tasks.length !== 15) this.#findings.push(`there are ${tasks.length} tasks, and not 15`)
    return tasks.map((task) => ({
      task,
      names: task.containers.filter(({ lastStatus }) => lastStatus === 'RUNNING').map(({ name }) => name),
      isMarked: task.serviceKey !== undefined && task.family !== 'opted-out',
      hostPorts: task.containers.flatMap(({ networkBindings = [] }) =>
        networkBindings.map(({ hostPort = 0 }) => hostPort),
      ),
    }))
  }

  async #passAlone(kept: readonly Kept[]): Promise<void> {
    for (const route of this.#routes) route.darken()
    this.#controller.powerOff()
    this.#log.event('story', 'the controller is gone')
    // A standalone task that ends by itself, in the first hour.
    await this.#pass(30 * minuteMs)
    this.#endOne(kept.find(({ task }) => task.serviceKey === undefined))
    const end = this.#time.now() + this.#days * dayMs
    const faults = this.#hosts.map(
      (host) => new AloneFaults({ host, random: this.#random.fork(), time: this.#time, log: this.#log }),
    )
    // The second host is without power for most of the time, and then has everything to start again by itself.
    await this.#pass(dayMs / 2)
    if (this.#days > 4) faults[1]?.switchOff((this.#days - 3) * dayMs)
    let starts = this.#startsByContainer()
    while (this.#time.now() < end && !this.#isBroken()) {
      await this.#pass(30 * minuteMs)
      starts = this.#checkPauses(starts)
      for (const fault of faults) {
        if (fault.isQuietFor(quietMs)) this.#check(kept, fault.host)
        if (!fault.isAfoot && this.#random.chance(0.15)) fault.strike()
      }
    }
    for (const fault of faults) fault.end()
    await this.#pass(quietMs)
    for (const { host } of faults) this.#check(kept, host)
  }

  /** The tasks that are to go on do, those that have ended don't, and what is to be told has not piled up. */
  #check(kept: readonly Kept[], host: SimHost): void {
    this.#checks += 1
    const mine = kept.filter(({ task }) => this.#hostOf(task) === host)
    for (const { task, names, isMarked } of mine) {
      for (const name of names) {
        const running = runningOf(host, task.taskArn, name).length
        if (isMarked && running !== 1)
          this.#found(host, `${name} of ${task.group} ${task.taskId} runs ${running} times`)
        const starts = host.engine.everStarted.get(`${task.taskArn} / ${name}`)?.length ?? 0
        if (!isMarked && starts !== 1) this.#found(host, `${name} of ${task.group} was started ${starts} times`)
      }
    }
    const told = host.unreported()
    if (told.length > 2 * mine.length) this.#found(host, `${told.length} reports wait for the controller`)
  }

  /** What ends again and again is not started again and again. */
  #checkPauses(before: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
    const starts = this.#startsByContainer()
    for (const [id, count] of starts) {
      const lately = count - (before.get(id) ?? 0)
      if (lately > startsMax) this.#findings.push(`${id} was started ${lately} times within half an hour`)
    }
    return starts
  }

  async #return(kept: readonly Kept[]): Promise<number> {
    const starts = this.#startsByContainer()
    const ended = kept.filter(({ task, names }) => {
      const host = this.#hostOf(task)
      return names.some((name) => host === undefined || runningOf(host, task.taskArn, name).length === 0)
    })
    this.#controller.powerOn()
    await this.#until('the controller is there', minuteMs, () =>
      this.#controller.server === undefined ? ['not yet'] : [],
    )
    for (const route of this.#routes) route.light()
    const convergedMs = await this.#until('everything has settled', minuteMs, () => this.#unsettled())
    await this.#pass(5 * minuteMs)
    for (const [id, count] of this.#startsByContainer()) {
      if (starts.has(id) && starts.get(id) !== count)
        this.#findings.push(`container ${id} was started once more for nothing`)
    }
    const { reader } = this.#controller
    for (const { task, isMarked, hostPorts } of kept) {
      const row = reader?.get('task', task.taskId)
      const hasEnded = ended.some((one) => one.task === task)
      if (isMarked && row?.lastStatus !== 'RUNNING')
        this.#findings.push(`${task.group} ${task.taskId} is ${row?.lastStatus}`)
      if (hasEnded && row !== undefined && row.lastStatus !== 'STOPPED')
        this.#findings.push(`${task.group} ended, and is ${row.lastStatus}`)
      const ports = row?.containers.flatMap(({ networkBindings = [] }) =>
        networkBindings.map(({ hostPort }) => hostPort),
      )
      if (isMarked && JSON.stringify(ports) !== JSON.stringify(hostPorts))
        this.#findings.push(`${task.group} had ${hostPorts.join()}, and has ${ports?.join()}`)
    }
    return convergedMs
  }

  /** One host is cut off, its tasks are replaced, and one of them is started again there: only one of each survives. */
  async #rejoin(): Promise<number> {
    const [, route] = this.#routes
    const [, host] = this.#hosts
    if (route === undefined || host === undefined) throw new Error('There is no second host.')
    route.darken()
    await this.#pass(90_000)
    const web = [...host.engine.raw.containers.values()].find(
      ({ status, name }) => status === 'running' && name.includes('web-dynamic'),
    )
    if (web !== undefined) void host.engine.raw.stopContainer(web.id, 0)
    await this.#pass(3 * minuteMs)
    if (web?.status !== 'running')
      this.#findings.push('what ended on the host that is cut off was not started again there')
    const both = this.#runningCount()
    route.light()
    const rejoinedMs = await this.#until('one of each survives', minuteMs, () => [
      ...this.#unsettled(),
      ...this.#surplus(),
    ])
    if (both <= this.#runningCount()) this.#findings.push('nothing was replaced while the host was cut off')
    return rejoinedMs
  }

  #surplus(): readonly string[] {
    const { reader } = this.#controller
    return Object.keys(services).flatMap((name) => {
      const tasks = reader
        ?.all('task')
        .filter(({ serviceKey, lastStatus }) => serviceKey === `default/${name}` && lastStatus !== 'STOPPED')
      const isRight =
        tasks?.length === 2 &&
        tasks.every(({ lastStatus, lostSince }) => lastStatus === 'RUNNING' && lostSince === undefined)
      return isRight ? [] : [`${name} has ${tasks?.length} tasks`]
    })
  }

  #endOne(kept: Kept | undefined): void {
    const host = kept === undefined ? undefined : this.#hostOf(kept.task)
    if (kept === undefined || host === undefined) throw new Error('There is no standalone task.')
    const [container] = runningOf(host, kept.task.taskArn, 'app')
    if (container !== undefined) void host.engine.raw.stopContainer(container.id, 0)
  }

  #hostOf({ instanceId }: TaskRow): SimHost | undefined {
    return this.#hosts.find(({ containerInstanceArn = '' }) => containerInstanceArn.endsWith(instanceId))
  }

  #unsettled(): readonly string[] {
    const { reader } = this.#controller
    return reader === undefined ? ['there is no controller'] : unsettled({ reader, hosts: this.#hosts })
  }

  #starts(): number {
    return [...this.#startsByContainer().values()].reduce((sum, starts) => sum + starts, 0)
  }

  #startsByContainer(): ReadonlyMap<string, number> {
    const all = this.#hosts.flatMap(({ name, engine }) =>
      [...engine.everStarted].map(([container, ids]): [string, number] => [`${name} ${container}`, ids.length]),
    )
    return new Map(all)
  }

  #runningCount(): number {
    return this.#hosts
      .flatMap(({ engine }) => [...engine.raw.containers.values()])
      .filter(({ status }) => status === 'running').length
  }

  #found(host: SimHost, what: string): void {
    this.#findings.push(`${host.name}: ${what}`)
    this.#log.event('story', `NOT SO: ${host.name}: ${what}`)
  }

  #isBroken(): boolean {
    return this.#findings.length > 0 || this.#log.violations.length > 0
  }

  async #call(operation: string, input: object | undefined): Promise<void> {
    const operator = this.#routes.at(-1)
    const answer = operator?.call(operation, input ?? {})
    let isOver = false
    void answer?.then(() => (isOver = true))
    await this.#until(`${operation} is answered`, minuteMs, () => (isOver ? [] : ['not yet']))
  }

  async #pass(durationMs: number): Promise<void> {
    await this.#time.run(this.#time.now() + durationMs, () => false)
  }

  /** Answers how long it took, in milliseconds; a finding where it was too long. */
  async #until(what: string, withinMs: number, find: () => readonly string[]): Promise<number> {
    const begun = this.#time.now()
    let left = find()
    while (left.length > 0 && this.#time.now() - begun < withinMs) {
      await this.#pass(100)
      left = find()
    }
    for (const one of left.slice(0, 5)) this.#findings.push(`${what}: ${one}`)
    return this.#time.now() - begun
  }
}

function runningOf(host: SimHost, taskArn: PayloadTask['arn'], name: string): readonly FakeContainer[] {
  return [...host.engine.raw.containers.values()].filter(
    (container) =>
      container.status === 'running' &&
      container.labels[labels.taskArn] === taskArn &&
      container.labels[labels.containerName] === name,
  )
}
