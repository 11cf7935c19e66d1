/**
 * The laws of services, over histories of everything that may happen to one: tasks that start, crash and fall ill, hosts
 * that vanish, come back and drain, scaling, deployments in the middle of others, protection, time.
 */
import { test } from 'tap'
import * as fc from 'fast-check'
import { aService, aState, aWorld, testNow } from '../../test/support/builders.ts'
import { hostsOf, revisions } from '../../test/support/service-course.ts'
import type { World } from '../../proto/world.ts'
import type { Overlay, State } from '../state/state.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import { isHealthy, phaseOf } from '../state/service-phase.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { decideUntilQuiet, markDirty, nothingUndecided } from '../turn-deciders.ts'
import { abortDeployment, primaryOf } from './deployment-outcome.ts'
import { startDeployment } from './deployment-start.ts'
import { instanceDecider } from './instance.ts'
import { instanceTasksDecider } from './instance-tasks.ts'
import { taskAfterReport } from './report.ts'
import { rollingBounds } from './rolling.ts'
import { serviceDecider } from './service.ts'
import { serviceTaskDecider } from './service-task.ts'
import { taskDecider } from './task.ts'

const serviceKey = 'default/web'

type Step =
  | { readonly do: 'agents'; readonly share: number }
  | { readonly do: 'crash' | 'sicken' | 'protect' | 'lose' | 'back' | 'drain' | 'undrain'; readonly nth: number }
  | { readonly do: 'scale'; readonly desired: number }
  | { readonly do: 'deploy'; readonly revision: number }
  | { readonly do: 'abort' }
  | { readonly do: 'pass'; readonly seconds: number }

interface Setting {
  readonly strategy: 'REPLICA' | 'DAEMON'
  readonly desired: number
  readonly minimum: number
  readonly maximum: number
  readonly graceSeconds: number
  /** Hosts that hold hardly more than the nine tasks that may be desired. */
  readonly isTight: boolean
  /** The definition has health checks; without, tasks prove themselves by staying up. */
  readonly isChecked: boolean
}

const nth = fc.nat({ max: 20 })
const aStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant('agents' as const), share: fc.integer({ min: 1, max: 100 }) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('crash' as const, 'sicken' as const), nth }) },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constantFrom('protect', 'lose', 'back', 'drain', 'undrain' as const), nth }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('scale' as const), desired: fc.integer({ min: 0, max: 9 }) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('deploy' as const), revision: fc.integer({ min: 1, max: 3 }) }) },
  { weight: 1, arbitrary: fc.constant({ do: 'abort' as const }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('pass' as const), seconds: fc.constantFrom(1, 10, 60) }) },
)

const aSetting: fc.Arbitrary<Setting> = fc.record({
  strategy: fc.constantFrom('REPLICA', 'REPLICA', 'DAEMON'),
  desired: fc.integer({ min: 1, max: 9 }),
  minimum: fc.oneof(fc.constantFrom(0, 50, 100), fc.integer({ min: 0, max: 100 })),
  maximum: fc.oneof(fc.constantFrom(100, 150, 200), fc.integer({ min: 100, max: 300 })),
  graceSeconds: fc.constantFrom(0, 0, 30),
  isTight: fc.boolean(),
  isChecked: fc.boolean(),
})

/** How often each thing was met: laws about nothing would hold as well. */
const met = { turns: 0, starts: 0, healthyStops: 0, settled: 0, stuck: 0, protectedKept: 0, failed: 0 }

class Cluster {
  readonly state: State
  readonly #world: World
  now = testNow

  constructor(setting: Setting, seed: number) {
    const { strategy, desired, minimum, maximum, graceSeconds, isTight, isChecked } = setting
    const definitions = revisions(3).map((definition) => ({
      ...definition,
      containerDefinitions: definition.containerDefinitions.map((container) => ({
        ...container,
        ...(isChecked && { healthCheck: { command: ['CMD-SHELL', 'true'] } }),
      })),
    }))
    this.#world = aWorld(seed)
    this.state = aState({ instance: isTight ? tightHosts() : hostsOf(4), taskDefinition: definitions })
    this.turn((tx) => {
      const service = aService({
        desiredCount: strategy === 'DAEMON' ? 0 : desired,
        schedulingStrategy: strategy,
        deploymentConfiguration: {
          minimumHealthyPercent: minimum,
          maximumPercent: strategy === 'DAEMON' ? 100 : maximum,
        },
        healthCheckGracePeriodSeconds: graceSeconds,
      })
      tx.put('service', serviceKey, service)
      startDeployment(tx, service, {}, this.now, this.#world)
    })
  }

  get service(): ServiceRow {
    const service = this.state.get('service', serviceKey)
    if (service === undefined) throw new Error('the service has gone')
    return service
  }

  get tasks(): readonly TaskRow[] {
    return this.state.find('task', 'liveByService', serviceKey)
  }

  /** One turn: the input, then all deciders; every law is held against what they did. */
  turn(input: (tx: Transaction) => void): void {
    const overlay = this.state.begin()
    const inner = overlay.begin()
    input(inner)
    const undecided = nothingUndecided()
    markDirty(undecided, inner.changes())
    overlay.merge(inner)
    const given = new Map(overlay.find('task', 'liveByService', serviceKey).map((task) => [task.taskId, task]))
    this.#decide(overlay, undecided)
    this.state.apply(overlay.changes())
    met.turns += 1
    this.#judge(given)
    this.#judgeTwice()
  }

  #decide(overlay: Overlay, undecided: ReturnType<typeof nothingUndecided>): void {
    const log = { debug: ignore, info: ignore, warn: ignore, error: fail }
    const deciding = {
      overlay,
      undecided,
      deciders: [serviceTaskDecider, taskDecider, instanceDecider],
      keyedDeciders: [instanceTasksDecider, serviceDecider],
      now: this.now,
      world: this.#world,
      log,
    }
    const left = decideUntilQuiet(deciding, { decisionsMax: 5000, decidedRowsMax: 4000 })
    if (left > 0) throw new Error('the deciders did not come to rest')
  }

  #judge(given: ReadonlyMap<string, TaskRow>): void {
    const { desiredCount, deploymentConfiguration, schedulingStrategy } = this.service
    const { minimumHealthyPercent = 100, maximumPercent = 200 } = deploymentConfiguration
    const { lower, upper } = rollingBounds(desiredCount, minimumHealthyPercent, maximumPercent)
    const here = this.tasks.filter(({ lostSince }) => lostSince === undefined)
    const stopped = here.filter(
      (task) => given.get(task.taskId)?.desiredStatus === 'RUNNING' && task.stopCode === 'ServiceSchedulerInitiated',
    )
    const isDaemon = schedulingStrategy === 'DAEMON'
    if (!isDaemon) this.#judgeFailed(here, lower)
    for (const task of stopped) {
      if ((task.protectedUntil ?? 0) > this.now) throw new Error('a protected task was stopped')
    }
    met.protectedKept += here.filter(({ protectedUntil = 0 }) => protectedUntil > this.now).length
    // A daemon that leaves a draining host, or one that it no longer belongs to, is not counted among those desired.
    const healthyStops = stopped.filter((task) => isHealthy(task) && !(isDaemon && !this.#isActive(task)))
    const healthy = here.filter((task) => isServing(task) && !(isDaemon && !this.#isActive(task))).length
    met.healthyStops += healthyStops.length
    if (healthyStops.length > 0 && healthy < lower) {
      throw new Error(`${healthyStops.length} healthy tasks were stopped, and ${healthy} of ${lower} are left`)
    }
    const started = here.filter(({ taskId }) => !given.has(taskId))
    met.starts += started.length
    if (!isDaemon && started.length > 0 && here.length > upper) {
      throw new Error(`${started.length} tasks were started, and with them there are ${here.length} of ${upper}`)
    }
    if (!isDaemon) return
    const places = this.tasks.map(({ instanceId }) => instanceId)
    if (new Set(places).size < places.length) throw new Error('an instance has two tasks of a daemon')
  }

  /** A deployment that has failed leaves no task running that nobody needs. */
  #judgeFailed(here: readonly TaskRow[], lower: number): void {
    const [failed] = this.state
      .find('deployment', 'liveByService', serviceKey)
      .filter(({ status, rolloutState }) => status === 'PRIMARY' && rolloutState === 'FAILED')
    if (failed === undefined || here.filter(isServing).length < Math.max(1, lower)) return
    met.failed += 1
    const useless = here.filter(
      (task) =>
        task.deploymentId === failed.id &&
        task.desiredStatus === 'RUNNING' &&
        !isServing(task) &&
        (task.protectedUntil ?? 0) <= this.now,
    )
    if (useless.length > 0) throw new Error(`${useless.length} tasks of a failed deployment go on`)
  }

  #isActive({ instanceId }: TaskRow): boolean {
    return this.state.get('instance', instanceId)?.status === 'ACTIVE'
  }

  #judgeTwice(): void {
    const again = this.state.begin()
    const outcome = serviceDecider.decide(again, serviceKey, this.now, this.#world)
    const changes = again.changes()
    if (outcome !== 'done' || changes.length > 0) {
      throw new Error(`deciding twice wrote ${JSON.stringify(changes.map(({ table, row }) => [table, row]))}`)
    }
  }

  do(step: Step): void {
    if (step.do === 'pass') return this.pass(step.seconds * 1000)
    if (step.do === 'agents') return this.agents((index) => (index * 37) % 100 < step.share)
    this.turn((tx) => this.#perform(tx, step))
  }

  #perform(tx: Transaction, step: Exclude<Step, { readonly do: 'pass' | 'agents' }>): void {
    const service = tx.get('service', serviceKey) ?? this.service
    if (step.do === 'scale') {
      if (service.schedulingStrategy === 'REPLICA')
        tx.put('service', serviceKey, { ...service, desiredCount: step.desired })
      return
    }
    if (step.do === 'deploy') {
      const taskDefinition = service.taskDefinition?.replace(/:\d+$/, `:${step.revision}`)
      startDeployment(tx, { ...service, taskDefinition }, {}, this.now, this.#world)
      return
    }
    if (step.do === 'abort') {
      const primary = primaryOf(tx, serviceKey)
      if (primary?.rolloutState === 'IN_PROGRESS') abortDeployment(tx, service, primary, this.now, this.#world)
      return
    }
    const hosts = tx.find('instance', 'byCluster', 'default')
    const host = hosts[step.nth % hosts.length]
    const running = this.tasks.filter(({ lastStatus }) => lastStatus === 'RUNNING')
    const task = running[step.nth % Math.max(1, running.length)]
    if (step.do === 'crash' && task !== undefined) tx.put('task', task.taskId, ended(task, 1, this.now))
    if (step.do === 'sicken' && task !== undefined) tx.put('task', task.taskId, { ...task, healthStatus: 'UNHEALTHY' })
    const wanted = this.tasks.filter(({ desiredStatus }) => desiredStatus !== 'STOPPED')
    const kept = wanted[step.nth % Math.max(1, wanted.length)]
    if (step.do === 'protect' && kept !== undefined) {
      tx.put('task', kept.taskId, { ...kept, protectedUntil: this.now + 30_000 })
    }
    if (host === undefined) return
    if (step.do === 'lose') {
      tx.put('instance', host.instanceId, { ...host, agentConnected: false, lostSince: host.lostSince ?? this.now })
    }
    if (step.do === 'back') tx.put('instance', host.instanceId, { ...host, agentConnected: true, lostSince: undefined })
    if (step.do === 'drain') tx.put('instance', host.instanceId, { ...host, status: 'DRAINING' })
    if (step.do === 'undrain') tx.put('instance', host.instanceId, { ...host, status: 'ACTIVE' })
  }

  /** Agents that are there do what they are told, for the tasks that `acts` picks. Answers how many acted. */
  agents(acts: (index: number) => boolean): void {
    this.turn((tx) => {
      for (const [index, task] of this.tasks.entries()) {
        if (!acts(index) || tx.get('instance', task.instanceId)?.agentConnected !== true) continue
        const next = obeyed(task, this.now)
        if (next !== task) tx.put('task', task.taskId, next)
      }
    })
  }

  pass(durationMs: number): void {
    this.now += durationMs
    this.turn((tx) => {
      const { wakeAt } = this.service
      if (wakeAt !== undefined && wakeAt <= this.now)
        tx.put('service', serviceKey, { ...this.service, wakeAt: undefined })
      for (const task of this.tasks) {
        if (task.protectedUntil !== undefined && task.protectedUntil <= this.now) {
          tx.put('task', task.taskId, { ...task, protectedUntil: undefined })
        }
      }
    })
  }

  /** Faults end: hosts are back, and everyone does what he is told. Time goes on to whenever the scheduler waits for. */
  settle(): void {
    this.turn((tx) => {
      for (const host of tx.find('instance', 'byCluster', 'default')) {
        tx.put('instance', host.instanceId, { ...host, agentConnected: true, status: 'ACTIVE', lostSince: undefined })
      }
    })
    this.pass(60_000)
    this.turn((tx) => {
      // What has failed stays as it is until the service is updated.
      if (primaryOf(tx, serviceKey)?.rolloutState !== 'FAILED') return
      startDeployment(tx, this.service, {}, this.now, this.#world)
    })
    for (let round = 0; round < 80; round += 1) {
      this.agents(() => true)
      if (this.service.steadySince !== undefined) break
      this.pass(Math.max(1000, (this.service.wakeAt ?? 0) - this.now))
    }
    const { desiredCount, deploymentConfiguration } = this.service
    const [primary, ...old] = this.state.find('deployment', 'liveByService', serviceKey)
    if (primary?.stuck !== undefined || old.some(({ stuck }) => stuck !== undefined)) {
      const { minimumHealthyPercent = 100, maximumPercent = 200 } = deploymentConfiguration
      const { lower, upper } = rollingBounds(desiredCount, minimumHealthyPercent, maximumPercent)
      if (lower !== desiredCount || upper !== desiredCount) throw new Error(`stuck with ${lower} to ${upper}`)
      met.stuck += 1
      return
    }
    const healthy = this.tasks.filter(isHealthy).length
    if (this.service.steadySince === undefined || healthy !== desiredCount || this.tasks.length !== desiredCount) {
      const phases = this.tasks.map((task) => `${task.deploymentId} ${phaseOf(task)}`)
      throw new Error(`not steady: ${desiredCount} desired, ${phases.join(', ')}; ${JSON.stringify(primary)}`)
    }
    met.settled += 1
  }
}

/** Four hosts with room for three tasks each. */
function tightHosts(): readonly InstanceRow[] {
  return hostsOf(4).map((host) => ({
    ...host,
    registeredResources: [
      { name: 'CPU', type: 'INTEGER', integerValue: 4096 },
      { name: 'MEMORY', type: 'INTEGER', integerValue: 1536 },
    ],
  }))
}

function isServing(task: TaskRow): boolean {
  const phase = phaseOf(task)
  return phase === 'healthy' || phase === 'leaving'
}

function obeyed(task: TaskRow, now: number): TaskRow {
  if (task.desiredStatus === 'STOPPED') return ended(task, 0, now)
  if (task.lastStatus === 'PENDING') {
    return taskAfterReport(
      task,
      { status: 'RUNNING', containers: [{ containerName: 'app', status: 'RUNNING' }] },
      undefined,
      now,
    )
  }
  return task.healthStatus === 'UNKNOWN' ? { ...task, healthStatus: 'HEALTHY' } : task
}

function ended(task: TaskRow, exitCode: number, now: number): TaskRow {
  const containers = [{ containerName: 'app', status: 'STOPPED', exitCode }]
  return taskAfterReport(task, { status: 'STOPPED', containers }, undefined, now)
}

function ignore(): void {}

function fail(facts: object, message: string): never {
  throw new Error(message, { cause: facts })
}

/** `npm run laws -- HISTORIES [SEED]`; a history that breaks a law prints its seed and path, and is repeated by them. */
const [histories = '200', lawSeed] = process.argv.slice(2)

await test('the laws of services hold in every history', async (t) => {
  fc.assert(
    fc.property(
      aSetting,
      fc.array(aStep, { minLength: 5, maxLength: 60, size: 'max' }),
      fc.nat(),
      (setting, steps, seed) => {
        const cluster = new Cluster(setting, seed)
        for (const step of steps) cluster.do(step)
        cluster.settle()
      },
    ),
    { numRuns: Number(histories), ...(lawSeed !== undefined && { seed: Number(lawSeed) }) },
  )
  t.ok(met.turns > 1000 && met.starts > 500 && met.healthyStops > 50 && met.protectedKept > 50, JSON.stringify(met))
  t.ok(met.settled > 100 && met.stuck > 0 && met.failed > 50, JSON.stringify(met))
  t.comment(JSON.stringify(met))
})
