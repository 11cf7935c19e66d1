/**
 * Laws of order on random tasks: nothing starts before what it depends on, stops come in the reverse order, a stop always
 * wins, and everything comes to rest, whatever Docker answers, loses or takes long over, and whoever is there.
 */
import * as fc from 'fast-check'
import { test } from 'tap'
import { aPayloadContainer, aPayloadTask, instanceArn } from '../../test/support/payloads.ts'
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import type { ObservedContainer } from '../engine.ts'
import { admitTask } from './admission.ts'
import { factsOf, settle, shouldStop, withContainer } from './lifecycle.ts'
import { nextSteps } from './next-steps.ts'
import { afterStep } from './outcomes.ts'
import type { Outcome } from './outcomes.ts'
import { namesBefore } from './payload.ts'
import { stepKey } from './steps.ts'
import type { EngineStep, EngineSteps, Step } from './steps.ts'
import type { ControllerSight, HostView, TaskFacts, TaskView } from './view.ts'

const begin = 1_800_000_000_000

const host: HostView = {
  cluster: 'default',
  containerInstanceArn: instanceArn,
  engineAnswers: true,
  engineSilentSince: begin,
  startSlotsFree: 8,
  pullBehavior: 'default',
  stopTimeoutSeconds: 30,
  cleanupWaitMs: 1000,
  cleanupJitterMs: 0,
  cleanupDue: new Set(),
  unshippedLogs: new Set(),
}

/** A container as Docker has it, and what became of it since the task began (anew). */
interface Held {
  readonly id: string
  status: 'created' | 'running' | 'exited'
  health: 'HEALTHY' | 'UNHEALTHY' | 'UNKNOWN'
  startedAt: number | undefined
  finishedAt: number | undefined
  exitCode: number | undefined
  readonly past: { readonly what: 'started' | 'healthy' | 'exited 0' | 'exited'; readonly at: number }[]
}

class World {
  readonly payload: PayloadTask
  readonly held = new Map<string, Held>()
  readonly underway = new Map<string, { since: number }>()
  readonly begun = new Map<string, EngineStep>()
  readonly observed = new Map<string, ObservedContainer>()
  readonly look = new Map<string, number>()
  facts: TaskFacts
  now = begin
  controller: ControllerSight = 'there'
  hints = 0
  made = 0
  restarts = 0

  constructor(payload: PayloadTask) {
    this.payload = payload
    this.facts = admitTask(payload, undefined, begin)
  }

  get view(): TaskView {
    const { payload, facts, observed, underway, look } = this
    return { payload, facts, observed, underway, look }
  }

  /** Settles and decides, and holds each step against the laws. */
  decide(): readonly Step[] {
    const before = this.facts
    const { controller } = this
    this.facts = settle(this.view, this.now, 'default', controller)
    if (settle(this.view, this.now, 'default', controller) !== this.facts) throw new Error('settling twice changes it')
    if (before.restart?.begunAt !== this.facts.restart?.begunAt) this.restarts += 1
    checkForward(before, this.facts)
    const steps = nextSteps(this.view, this.now, { ...host, controller })
    for (const step of steps) this.#check(step)
    return steps
  }

  begin(step: EngineStep): void {
    this.underway.set(stepKey(step), { since: this.now })
    this.begun.set(stepKey(step), step)
    if (step.step === 'stopContainer') {
      const known = factsOf(this.facts, step.args.container)
      const asked = { ...known, stopAskedAt: known.stopAskedAt ?? this.now }
      this.facts = withContainer(this.facts, step.args.container, asked)
    }
  }

  /** 0: done. 1: done, and the answer is lost. 2: neither. 3: refused. */
  finish(key: string, way: number): void {
    const step = this.begun.get(key)
    if (step === undefined) throw new Error(`${key} is not under way`)
    this.begun.delete(key)
    const since = this.underway.get(key)?.since ?? this.now
    this.underway.delete(key)
    const refusable = !['inspectContainer', 'stopContainer', 'collectLogs'].includes(step.step)
    const outcome: Outcome<keyof EngineSteps> =
      way === 3 && refusable ? failed('refused') : way === 2 ? failed('deadline') : this.#done(step, way === 1)
    if (step.step === 'inspectContainer' && outcome.ok && this.look.get(step.args.container) === step.args.hint)
      this.look.delete(step.args.container)
    const after = afterStep(this.facts, { step, outcome, startedAt: since, now: this.now })
    this.facts = after.facts
    if (after.observed?.shown !== undefined) this.observed.set(after.observed.container, after.observed.shown)
    else if (after.observed !== undefined) this.observed.delete(after.observed.container)
    if (after.look !== undefined) this.hint(after.look)
  }

  hint(name: string): void {
    this.hints += 1
    this.look.set(name, this.hints)
  }

  exit(name: string, exitCode: number): void {
    const held = this.held.get(name)
    if (held?.status !== 'running') return
    Object.assign(held, { status: 'exited', exitCode, finishedAt: this.now, health: 'UNKNOWN' })
    held.past.push({ what: 'exited', at: this.now })
    if (exitCode === 0) held.past.push({ what: 'exited 0', at: this.now })
    this.hint(name)
  }

  becomes(name: string, health: Held['health']): void {
    const held = this.held.get(name)
    if (held?.status !== 'running') return
    held.health = health
    if (health === 'HEALTHY') held.past.push({ what: 'healthy', at: this.now })
    this.hint(name)
  }

  #check(step: Step): void {
    if (step.step === 'startContainer') this.#checkStart(step.args.container)
    if (step.step !== 'stopContainer') return
    const { container } = step.args
    const dependents = this.payload.containers.filter((other) => namesBefore(other).includes(container))
    const up = dependents.filter(({ name }) => this.held.get(name)?.status === 'running')
    // One that counts as STOPPED and runs all the same is a stray, and is stopped at once.
    const isStray = ({ name }: PayloadContainer): boolean => factsOf(this.facts, name).knownStatus === 'STOPPED'
    const late = up.filter((other) => !isStray(other) && !isStray(aContainerOf(this.payload, container)))
    if (late.length > 0) throw new Error(`${container} stops before ${late.map(({ name }) => name).join()}`)
  }

  #checkStart(name: string): void {
    if (shouldStop(this.payload, this.facts, 'default')) throw new Error(`${name} starts although its task is to stop`)
    const container = aContainerOf(this.payload, name)
    // What its policy starts again has passed its gates before.
    if (factsOf(this.facts, name).started) return
    for (const { containerName, condition } of container.dependsOn ?? [])
      this.#checkGate(name, containerName, condition)
    for (const link of container.links) this.#checkGate(name, link, 'START')
    for (const { sourceContainer } of container.volumesFrom) {
      if (!this.held.has(sourceContainer)) throw new Error(`${name} starts before ${sourceContainer} is there`)
    }
  }

  #checkGate(name: string, of: string, condition: string): void {
    const what = { START: 'started', COMPLETE: 'exited', SUCCESS: 'exited 0', HEALTHY: 'healthy' }[condition]
    const since = this.facts.restart?.begunAt ?? begin
    const isOpen = this.held.get(of)?.past.some((event) => event.what === what && event.at >= since)
    if (isOpen !== true) throw new Error(`${name} starts before ${of} has come to ${condition}`)
  }

  #done(step: EngineStep, answerLost: boolean): Outcome<keyof EngineSteps> {
    const answer = this.#deed(step)
    return answerLost ? failed('deadline') : { ok: true, answer: answer as never }
  }

  #deed(step: EngineStep): unknown {
    const name = 'container' in step.args ? step.args.container : ''
    const held = this.held.get(name)
    switch (step.step) {
      case 'pullImage':
        return { digest: undefined, pulled: true }
      case 'createContainer': {
        if (held !== undefined) return held.id
        this.made += 1
        const id = `id-${this.made}`
        const fresh = { startedAt: undefined, finishedAt: undefined, exitCode: undefined, past: [] }
        this.held.set(name, { id, status: 'created', health: 'UNKNOWN', ...fresh })
        return id
      }
      case 'startContainer':
        // Already running is success, for Docker.
        if (held === undefined || held.status === 'running') return undefined
        Object.assign(held, { status: 'running', startedAt: this.now, health: 'UNKNOWN', exitCode: undefined })
        held.past.push({ what: 'started', at: this.now })
        return undefined
      case 'stopContainer':
        this.exit(name, 143)
        return undefined
      case 'removeContainer':
        if (held?.status === 'running') throw new Error(`${name} is removed while it runs`)
        this.held.delete(name)
        return undefined
      case 'inspectContainer':
        return held === undefined ? undefined : shownOf(name, held)
      case 'collectLogs':
        return []
      default:
        return undefined
    }
  }
}

function aContainerOf(payload: PayloadTask, name: string): PayloadContainer {
  const found = payload.containers.find((container) => container.name === name)
  if (found === undefined) throw new Error(`There is no ${name}.`)
  return found
}

function failed(kind: 'deadline' | 'refused'): Outcome<keyof EngineSteps> {
  return { ok: false, failure: { kind, message: 'as planned' } }
}

function shownOf(name: string, held: Held): ObservedContainer {
  const { id, status, exitCode, startedAt, health } = held
  return {
    id,
    name: `name-${name}`,
    image: 'busybox:1',
    imageId: 'sha256:1',
    labels: {},
    status,
    exitCode: status === 'exited' ? exitCode : undefined,
    createdAt: begin,
    startedAt,
    finishedAt: status === 'exited' ? held.finishedAt : undefined,
    oomKilled: false,
    error: '',
    health: { status: health, output: '' },
    ports: [],
    networkMode: 'bridge',
  }
}

/** A known status moves forward within a run, and runs are counted up. */
function checkForward(before: TaskFacts, after: TaskFacts): void {
  const order = ['PENDING', 'RUNNING', 'STOPPED']
  for (const [name, facts] of Object.entries(after.containers)) {
    const earlier = factsOf(before, name)
    const runs = (facts.restartCount ?? 0) - (earlier.restartCount ?? 0)
    const isBack = order.indexOf(facts.knownStatus) < order.indexOf(earlier.knownStatus)
    if (runs < 0 || (runs === 0 && isBack)) throw new Error(`${name} went backwards`)
  }
}

const conditions = ['START', 'COMPLETE', 'SUCCESS', 'HEALTHY'] as const

const containers = fc.array(
  fc.record({
    essential: fc.boolean(),
    wants: fc.array(fc.record({ on: fc.nat(5), kind: fc.nat(5) }), { maxLength: 2 }),
    restarts: fc.boolean(),
    timesOut: fc.boolean(),
  }),
  { minLength: 1, maxLength: 5 },
)

const tasks = fc.record({ shapes: containers, isMarked: fc.boolean() }).map(({ shapes, isMarked }) =>
  aPayloadTask({
    ...(isMarked ? { gantry: { knownStatus: 'PENDING', restartAlone: true as const } } : {}),
    containers: shapes.map(({ essential, wants, restarts, timesOut }, index) => {
      // Only on earlier ones, so that there is no cycle.
      const earlier = wants.filter(({ on }) => on < index)
      return aPayloadContainer({
        name: `c${index}`,
        essential: essential || index === 0,
        dockerConfig: { version: '', config: '{"Healthcheck":{"Test":["CMD","true"]}}', hostConfig: '{}' },
        dependsOn: earlier
          .filter(({ kind }) => kind < 4)
          .map(({ on, kind }) => ({ containerName: `c${on}`, condition: conditions[kind] ?? 'START' })),
        links: earlier.filter(({ kind }) => kind === 4).map(({ on }) => `c${on}`),
        volumesFrom: earlier
          .filter(({ kind }) => kind === 5)
          .map(({ on }) => ({ sourceContainer: `c${on}`, readOnly: false })),
        ...(restarts ? { restartPolicy: { enabled: true, restartAttemptPeriod: 60 } } : {}),
        ...(timesOut ? { startTimeout: 120 } : {}),
      })
    }),
  }),
)

const histories = fc.record({
  payload: tasks,
  choices: fc.array(fc.nat(9999), { minLength: 10, maxLength: 160 }),
  stopAt: fc.nat(60),
})

/** One thing happens: a step begins or is answered, a container ends or gets well, a controller goes, time passes. */
function turnOnce(world: World, choice: number, isCalm = false): void {
  world.now += 1 + (choice % 11 === 0 && !isCalm ? 90_000 : (choice % 5) * 700)
  const steps = world.decide()
  const prepare = steps.find((step) => step.step === 'prepareContainer')
  if (prepare !== undefined) {
    const { container } = prepare.args
    const named = { ...factsOf(world.facts, container), dockerName: `name-${container}` }
    world.facts = withContainer(world.facts, container, named)
    return
  }
  const kind = choice % 10
  const names = world.payload.containers.map(({ name }) => name)
  const name = names[choice % names.length] ?? 'c0'
  if (!isCalm && kind === 7) return world.exit(name, choice % 3 === 0 ? 0 : 1)
  if (!isCalm && kind === 8) return world.becomes(name, choice % 4 === 0 ? 'UNHEALTHY' : 'HEALTHY')
  if (!isCalm && kind === 9) {
    world.controller = (['there', 'away', 'gone'] as const)[choice % 3] ?? 'there'
    return
  }
  const underway = [...world.begun.keys()]
  const key = underway[choice % Math.max(1, underway.length)]
  const fresh = engineStepsOf(world, steps)
  const step = fresh[choice % Math.max(1, fresh.length)]
  if (key !== undefined && (kind < 4 || step === undefined)) {
    return world.finish(key, isCalm ? 0 : Math.max(0, (choice % 7) - 3))
  }
  if (step !== undefined) world.begin(step)
}

function engineStepsOf(world: World, steps: readonly Step[]): readonly EngineStep[] {
  const local = new Set(['wait', 'report', 'forget', 'prepareContainer'])
  return steps
    .filter((step): step is EngineStep => !local.has(step.step))
    .filter((step) => !world.underway.has(stepKey(step)))
}

/** Everything that was begun is answered, and nothing is left to begin but what time brings. */
function comesToRest(world: World): boolean {
  for (let index = 0; index < 400; index += 1) {
    turnOnce(world, index, true)
    const steps = world.decide()
    const isQuiet = engineStepsOf(world, steps).length === 0 && world.begun.size === 0
    const acts = steps.some(({ step }) => step === 'prepareContainer')
    if (isQuiet && !acts && world.look.size === 0) {
      const wakes = steps.flatMap((step) => (step.step === 'wait' ? [step.args.until ?? Number.POSITIVE_INFINITY] : []))
      if (wakes.some((until) => until <= world.now)) throw new Error('it wakes up over and over')
      return true
    }
  }
  return false
}

await test('laws of order, on random tasks', (t) => {
  let restarts = 0
  let policies = 0
  fc.assert(
    fc.property(histories, ({ payload, choices, stopAt }) => {
      const world = new World(payload)
      for (const [index, choice] of choices.entries()) {
        if (index === stopAt) world.facts = { ...world.facts, desiredStatus: 'STOPPED' }
        turnOnce(world, choice)
      }
      if (!comesToRest(world)) throw new Error(`it does not come to rest: ${JSON.stringify(world.facts)}`)
      restarts += world.restarts
      policies += Object.values(world.facts.containers).filter(({ restartCount = 0 }) => restartCount > 0).length
      world.facts = { ...world.facts, desiredStatus: 'STOPPED' }
      for (let round = 0; round < 3; round += 1) {
        if (!comesToRest(world)) throw new Error('it does not come to rest when it is to stop')
        world.now += 60_000
      }
      if (world.facts.knownStatus !== 'STOPPED') throw new Error(`it never ends: ${JSON.stringify(world.facts)}`)
      for (const [name, held] of world.held) if (held.status === 'running') throw new Error(`${name} runs on`)
    }),
    { numRuns: 500 },
  )
  t.ok(restarts > 2, `${restarts} tasks began anew`)
  t.ok(policies > 2, `${policies} containers were restarted`)
  t.end()
})

function needs(name: string, on: string): PayloadContainer {
  return aPayloadContainer({ name, dependsOn: [{ containerName: on, condition: 'START' }] })
}

await test('what may be coming up is waited for before that which it needs is stopped', (t) => {
  const world = new World(aPayloadTask({ containers: [aPayloadContainer({ name: 'db' }), needs('web', 'db')] }))
  const take = (name: string, way: number): void => {
    const step = engineStepsOf(world, world.decide()).find((one) => stepKey(one) === name)
    if (step === undefined) throw new Error(`${name} is not to be done`)
    world.begin(step)
    world.finish(name, way)
  }
  for (const name of ['db', 'web']) {
    take(`pullImage:${name}`, 0)
    world.facts = withContainer(world.facts, name, { ...factsOf(world.facts, name), dockerName: `name-${name}` })
    take(`createContainer:${name}`, 0)
    take(`startContainer:${name}`, name === 'db' ? 0 : 1)
    if (name === 'db') take('inspectContainer:db', 0)
  }
  world.facts = { ...world.facts, desiredStatus: 'STOPPED' }
  t.same(engineStepsOf(world, world.decide()).map(stepKey), ['inspectContainer:web'], 'nobody knows whether it started')
  take('inspectContainer:web', 0)
  take('stopContainer:web', 0)
  t.same(engineStepsOf(world, world.decide()).map(stepKey), ['inspectContainer:web'])
  take('inspectContainer:web', 0)
  t.ok(engineStepsOf(world, world.decide()).some((step) => stepKey(step) === 'stopContainer:db'))
  t.ok(comesToRest(world))
  t.equal(world.facts.knownStatus, 'STOPPED')
  t.end()
})
