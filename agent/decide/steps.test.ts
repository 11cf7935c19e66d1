import * as fc from 'fast-check'
import { test } from 'tap'
import { aPayloadContainer, aPayloadTask, instanceArn } from '../../test/support/payloads.ts'
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import type { ObservedContainer } from '../engine.ts'
import { admitTask, chooseDockerName, readmitTask } from './admission.ts'
import { factsOf, settle, shouldStop, withContainer } from './lifecycle.ts'
import { foldMissing, foldObservation } from './observation.ts'
import { afterStep } from './outcomes.ts'
import type { Outcome } from './outcomes.ts'
import { boundedLogLines } from './report.ts'
import { nextSteps } from './next-steps.ts'
import { needsJournal, startSlotCause, stepKey } from './steps.ts'
import type { EngineStep, EngineSteps, Step } from './steps.ts'
import { cgroupParent } from './task-cgroup.ts'
import { freshContainer } from './view.ts'
import type { ContainerFacts, HostView, TaskFacts, TaskView } from './view.ts'

const start = 1_800_000_000_000

const host: HostView = {
  cluster: 'default',
  containerInstanceArn: instanceArn,
  engineAnswers: true,
  engineSilentSince: start,
  startSlotsFree: 8,
  pullBehavior: 'default',
  stopTimeoutSeconds: 30,
  cleanupWaitMs: 1000,
  cleanupJitterMs: 0,
  cleanupDue: new Set(),
  unshippedLogs: new Set(),
}

function aView(payload: PayloadTask, over: Partial<TaskView> = {}): TaskView {
  const facts = admitTask(payload, undefined, start)
  return { payload, facts, observed: new Map(), underway: new Map(), look: new Map(), ...over }
}

function withFacts(view: TaskView, name: string, over: Partial<ContainerFacts>): TaskView {
  return { ...view, facts: withContainer(view.facts, name, { ...factsOf(view.facts, name), ...over }) }
}

function stepsOf(view: TaskView, now = start, over: Partial<HostView> = {}): readonly Step[] {
  const facts = settle(view, now, host.pullBehavior)
  return nextSteps({ ...view, facts }, now, { ...host, ...over })
}

/** The step that makes a container with these ports, the first of them published as 8080. */
function createOf(portMappings: PayloadContainer['portMappings']): EngineStep {
  const web = aPayloadContainer({ portMappings })
  const hostPorts = portMappings.map(({ protocol }) => ({ containerPort: 80, protocol, hostPort: 8080, picked: true }))
  const view = withFacts(aView(aPayloadTask({ containers: [web] })), 'web', {
    imageReady: true,
    dockerName: 'n',
    hostPorts,
  })
  const create = stepsOf(view).find(({ step }) => step === 'createContainer')
  if (create?.step !== 'createContainer') throw new Error('it is not to be made')
  return create
}

function namesOf(steps: readonly Step[]): readonly string[] {
  return steps.map(({ step }) => step)
}

await test('one container goes through image, name, create and start, one step at a time', (t) => {
  const view = aView(aPayloadTask())
  t.match(stepsOf(view), [{ step: 'pullImage', args: { container: 'web', image: 'busybox:1' } }])
  const pulled = withFacts(view, 'web', { imageReady: true })
  t.match(stepsOf(pulled), [{ step: 'prepareContainer', args: { container: 'web' } }])
  const named = withFacts(pulled, 'web', { dockerName: 'ecs-hello-3-web-1' })
  t.match(stepsOf(named), [{ step: 'createContainer', args: { dockerName: 'ecs-hello-3-web-1' } }])
  const created = withFacts(named, 'web', { dockerId: 'id' })
  t.match(stepsOf(created), [{ step: 'startContainer', args: { dockerId: 'id' } }])

  const underway = new Map([['startContainer:web', { since: start - 12_000 }]])
  const waiting = stepsOf({ ...created, underway })
  t.match(waiting[0], { step: 'wait', args: { cause: 'waits for container web to start', since: start - 12_000 } })
  t.notOk(namesOf(waiting).includes('startContainer'), 'a step under way is not taken again')
  t.match(stepsOf(created, start, { startSlotsFree: 0 }), [{ step: 'wait', args: { cause: /other containers/ } }])
  t.match(stepsOf(created, start, { engineAnswers: false }), [{ step: 'wait', args: { cause: /Docker Engine/ } }])
  t.end()
})

await test('what dependsOn asks for, condition by condition', (t) => {
  const cases: readonly (readonly [string, Partial<ContainerFacts>, 'starts' | 'waits' | 'fails'])[] = [
    ['START', {}, 'waits'],
    ['START', { knownStatus: 'RUNNING', started: true }, 'starts'],
    ['START', { knownStatus: 'STOPPED', started: true, exitCode: 1 }, 'starts'],
    ['START', { knownStatus: 'STOPPED', started: false }, 'fails'],
    ['COMPLETE', { knownStatus: 'RUNNING', started: true }, 'waits'],
    ['COMPLETE', { knownStatus: 'STOPPED', started: true, exitCode: 7 }, 'starts'],
    ['SUCCESS', { knownStatus: 'RUNNING', started: true }, 'waits'],
    ['SUCCESS', { knownStatus: 'STOPPED', started: true, exitCode: 0 }, 'starts'],
    ['SUCCESS', { knownStatus: 'STOPPED', started: true, exitCode: 7 }, 'fails'],
    ['HEALTHY', { knownStatus: 'RUNNING', started: true, healthStatus: 'UNKNOWN' }, 'waits'],
    ['HEALTHY', { knownStatus: 'RUNNING', started: true, healthStatus: 'HEALTHY' }, 'starts'],
    ['HEALTHY', { knownStatus: 'STOPPED', started: true, exitCode: 0 }, 'fails'],
    ['HEALTHY', { knownStatus: 'RUNNING', started: true, startedAt: start - 60_000 }, 'fails'],
  ]
  const healthCheck = { version: '', config: '{"Healthcheck":{"Test":["CMD","true"]}}', hostConfig: '{}' }
  const db = aPayloadContainer({ name: 'db', essential: false, dockerConfig: healthCheck, startTimeout: 60 })
  for (const [condition, facts, expected] of cases) {
    const web = aPayloadContainer({ dependsOn: [{ containerName: 'db', condition: condition as 'START' }] })
    const fresh = withFacts(aView(aPayloadTask({ containers: [web, db] })), 'web', { imageReady: true })
    t.ok(namesOf(stepsOf(fresh)).includes('prepareContainer'), 'it is made whatever it waits for')
    const ready = withFacts(fresh, 'web', { dockerName: 'web', dockerId: 'web' })
    const view = withFacts(ready, 'db', {
      imageReady: true,
      lastLogLines: [],
      dockerId: 'db',
      dockerName: 'db',
      ...facts,
    })
    const settled = factsOf(settle(view, start, 'default'), 'web')
    const starts = stepsOf(view).some((step) => step.step === 'startContainer' && step.args.container === 'web')
    const label = `${condition} with ${JSON.stringify(facts)} ${expected}`
    t.equal(starts, expected === 'starts', label)
    t.equal(settled.knownStatus, expected === 'fails' ? 'STOPPED' : 'PENDING', label)
    if (expected === 'fails') t.match(settled, { exitCode: 143, reason: /dependency graph/ }, label)
  }
  t.end()
})

await test('a pull that fails: whose end it is depends on the pull behaviour', (t) => {
  const side = aPayloadContainer({ name: 'side', essential: false })
  const view = aView(aPayloadTask({ containers: [aPayloadContainer(), side] }))
  const failed = afterStep(view.facts, {
    step: { step: 'pullImage', args: { container: 'side', image: 'x' } },
    outcome: { ok: false, failure: { kind: 'notFound', message: 'manifest unknown' } },
    startedAt: start,
    now: start + 5,
  }).facts
  t.match(failed, { pullStartedAt: start, pullStoppedAt: start + 5 })
  t.match(factsOf(failed, 'side'), { knownStatus: 'STOPPED', reason: /^CannotPullContainerError: / })
  t.equal(shouldStop(view.payload, failed, 'default'), false)
  t.equal(shouldStop(view.payload, failed, 'always'), true)
  t.end()
})

await test('desire only moves forward, and a task that ran is not started without a trace of it', (t) => {
  const payload = aPayloadTask()
  const stopped = readmitTask(admitTask(payload, undefined, start), { ...payload, desiredStatus: 'STOPPED' }, start)
  t.equal(stopped.desiredStatus, 'STOPPED')
  t.equal(readmitTask(stopped, payload, start).desiredStatus, 'STOPPED')
  const adopted = { ...admitTask(payload, undefined, start), adopted: true }
  t.equal(readmitTask(adopted, payload, start).desiredStatus, 'RUNNING')
  const told = { ...adopted, reported: { content: '', status: 'STOPPED', at: start, waitCause: undefined } } as const
  t.equal(readmitTask(told, payload, start).desiredStatus, 'STOPPED', 'an end that was told is final')
  const lost = admitTask({ ...payload, gantry: { knownStatus: 'RUNNING' } }, undefined, start)
  const view = aView(payload, { facts: lost })
  t.match(settle(view, start, 'default'), { knownStatus: 'PENDING' }, 'nothing is concluded before Docker showed all')
  t.match(stepsOf(view), [{ step: 'wait', args: { cause: /to show container web/ } }])
  const missing = withContainer(lost, 'web', foldMissing(factsOf(lost, 'web')))
  t.match(settle({ ...view, facts: missing }, start, 'default'), { knownStatus: 'STOPPED' })
  const fresh = admitTask({ ...payload, gantry: { knownStatus: 'PENDING' } }, undefined, start)
  t.match(settle(aView(payload, { facts: fresh }), start, 'default'), { knownStatus: 'PENDING' })
  t.equal(chooseDockerName(payload, 'web', 0), chooseDockerName(payload, 'web', 0))
  t.not(chooseDockerName(payload, 'web', 0), chooseDockerName(payload, 'web', 1))
  t.end()
})

await test("a task's cgroup comes before its containers, anew in each life of the agent, and goes after them", (t) => {
  const taskCgroups = { driver: 'cgroupfs', parent: '/ecs', cpuPeriodUs: 100_000, epoch: 'first' } as const
  const task = aPayloadTask({ cpu: 0.25 })
  const fresh = withFacts(aView(task), 'web', { imageReady: true })
  const make = stepsOf(fresh, start, { taskCgroups }).find(({ step }) => step === 'createCgroup')
  const parent = cgroupParent(task.arn, taskCgroups)
  t.match(make, { args: { cgroup: parent, limits: { cpuQuota: { quotaUs: 25_000 } }, epoch: 'first' } })
  if (make?.step !== 'createCgroup') throw new Error('no cgroup is to be made')
  t.notOk(namesOf(stepsOf(fresh, start, { taskCgroups })).includes('prepareContainer'), 'the container waits')
  const underway = new Map([[stepKey(make), { since: start }]])
  t.match(stepsOf({ ...fresh, underway }, start, { taskCgroups }), [
    { step: 'wait', args: { cause: "waits for the task's cgroup to be made" } },
  ])

  const times = { startedAt: start, now: start }
  const made = afterStep(fresh.facts, { step: make, outcome: { ok: true, answer: undefined }, ...times }).facts
  t.same(made.cgroup, { parent, epoch: 'first' })
  const ready = { ...fresh, facts: made }
  t.same(namesOf(stepsOf(ready, start, { taskCgroups })), ['prepareContainer'])
  const rebooted = { taskCgroups: { ...taskCgroups, epoch: 'second' } }
  t.ok(namesOf(stepsOf(ready, start, rebooted)).includes('createCgroup'), 'another life sees to it anew')

  const refused = { ok: false, failure: { kind: 'refused', message: 'cgroup /ecs/x: EACCES. Run as root.' } } as const
  let failing = fresh.facts
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    t.equal(failing.reason, undefined)
    failing = afterStep(failing, { step: make, outcome: refused, ...times }).facts
  }
  t.match(failing.reason, /^CgroupError: Agent could not create task's platform resources: cgroup .* Run as root\.$/)

  let upgraded = withFacts(ready, 'web', { knownStatus: 'RUNNING', started: true })
  for (let attempt = 1; attempt <= 3; attempt += 1) {
    const after = afterStep(upgraded.facts, { step: make, outcome: refused, ...times })
    upgraded = { ...upgraded, facts: after.facts }
  }
  t.equal(upgraded.facts.reason, undefined, 'what runs is not ended for it')
  t.same(
    stepsOf(upgraded, start, { taskCgroups }).filter(({ step }) => step !== 'report'),
    [],
    'nor asked for again',
  )

  const ended = {
    ...made,
    reported: { content: '', status: 'STOPPED', at: start },
    stoppedAcknowledgedAt: start,
  } as const
  const over = withFacts({ ...fresh, facts: ended }, 'web', { knownStatus: 'STOPPED', lastLogLines: [], removed: true })
  const steps = stepsOf(over, start + 2000, { taskCgroups })
  t.match(steps, [{ step: 'removeCgroup', args: { cgroup: parent } }])
  const [remove] = steps
  if (remove?.step !== 'removeCgroup') throw new Error('no cgroup is to be removed')
  const gone = afterStep(over.facts, { step: remove, outcome: { ok: true, answer: undefined }, ...times }).facts
  t.same(namesOf(stepsOf({ ...over, facts: gone }, start + 2000, { taskCgroups })), ['forget'])
  t.end()
})

await test('a wall clock that is set back by days makes nothing wait for as long', (t) => {
  const day = 24 * 3_600_000
  const retry = { attempts: 1, notBefore: start + 1000 }
  const pulling = withFacts(aView(aPayloadTask()), 'web', { retry })
  t.same(namesOf(stepsOf(pulling)), ['wait', 'wait'])
  t.same(namesOf(stepsOf(pulling, start - day)), ['pullImage'])
  const running = {
    knownStatus: 'RUNNING',
    started: true,
    imageReady: true,
    dockerName: 'web',
    dockerId: 'web',
  } as const
  const stopping = withFacts(aView(aPayloadTask({ desiredStatus: 'STOPPED' })), 'web', { ...running, retry })
  const told = { content: '', status: 'PENDING', at: start } as const
  const facts = { ...stopping.facts, desiredStatus: 'STOPPED', reported: told } as const
  t.ok(namesOf(stepsOf({ ...stopping, facts }, start - day)).includes('stopContainer'))
  const underway = new Map([['pullImage:web', { since: start }]])
  const waiting = { ...pulling, facts: { ...pulling.facts, reported: told }, underway }
  t.same(namesOf(stepsOf(waiting)), ['wait', 'wait'], 'a wait is told after a while')
  t.same(namesOf(stepsOf(waiting, start - day)), ['wait', 'report'])
  t.end()
})

await test('making and starting share the places that the host has, and wait for one with their cause', (t) => {
  const pulled = withFacts(aView(aPayloadTask()), 'web', { imageReady: true })
  const made = withFacts(pulled, 'web', { dockerName: 'ecs-hello-3-web-1', dockerId: 'id' })
  for (const view of [pulled, made]) {
    t.match(stepsOf(view, start, { startSlotsFree: 0 }), [{ step: 'wait', args: { cause: startSlotCause } }])
  }
  const two = aView(aPayloadTask({ containers: [aPayloadContainer(), aPayloadContainer({ name: 'second' })] }))
  const named = ['web', 'second'].reduce(
    (view, name) => withFacts(view, name, { imageReady: true, dockerName: name }),
    two,
  )
  t.same(namesOf(stepsOf(named, start, { startSlotsFree: 1 })), ['createContainer', 'wait'])
  t.same(namesOf(stepsOf(named, start, { startSlotsFree: 2 })), ['createContainer', 'createContainer'])
  t.end()
})

await test('while a start is under way its container is not looked at, unless the answer is long in coming', (t) => {
  const facts = { imageReady: true, dockerName: 'ecs-hello-3-web-1', dockerId: 'id' } as const
  const view = withFacts(aView(aPayloadTask()), 'web', facts)
  const hinted = (since: number): TaskView => {
    return { ...view, look: new Map([['web', 1]]), underway: new Map([['startContainer:web', { since }]]) }
  }
  t.notOk(namesOf(stepsOf(hinted(start - 9_000))).includes('inspectContainer'))
  t.ok(namesOf(stepsOf(hinted(start - 10_000))).includes('inspectContainer'))
  t.ok(namesOf(stepsOf({ ...view, look: new Map([['web', 1]]) })).includes('inspectContainer'))
  t.end()
})

await test('a step is held up by the journal only where a crash after it could not be mended without', (t) => {
  t.equal(
    needsJournal(createOf([{ containerPort: 80, protocol: 'tcp' }])),
    true,
    'the port that was picked is known here alone',
  )
  t.equal(needsJournal(createOf([])), false, 'its name follows from the task')
  t.equal(needsJournal({ step: 'startContainer', args: { container: 'web', dockerId: 'id' } }), false)
  const stop = { container: 'web', dockerId: 'id', stopTimeoutSeconds: 30 }
  t.equal(needsJournal({ step: 'stopContainer', args: stop }), true)
  t.end()
})

await test('output is bounded to the newest lines', (t) => {
  const lines = Array.from({ length: 50 }, (_, index) => `line ${index}`)
  t.same(boundedLogLines(lines), lines.slice(-20))
  const long = boundedLogLines(['é'.repeat(5000), 'end'])
  t.equal(long.at(-1), 'end')
  t.ok(Buffer.byteLength(long.join('\n')) <= 4096)
  t.ok(Buffer.byteLength(long.join('\n')) > 4000)
  t.end()
})

// ---- laws, on random tasks with random answers ----------------------------------------------------------------------

/** A container as a pure Docker has it. */
interface Held {
  readonly id: string
  status: 'created' | 'running' | 'exited'
  exitCode: number | undefined
}

interface Model {
  readonly payload: PayloadTask
  facts: TaskFacts
  readonly held: Map<string, Held>
  readonly underway: Map<string, { since: number }>
  readonly look: Map<string, number>
  readonly observed: Map<string, ObservedContainer>
  creates: number
  hints: number
  now: number
}

const tasks = fc
  .array(fc.record({ essential: fc.boolean(), after: fc.nat(3), condition: fc.nat(2) }), { minLength: 1, maxLength: 4 })
  .map((shapes) =>
    aPayloadTask({
      containers: shapes.map(({ essential, after, condition }, index) =>
        aPayloadContainer({
          name: `c${index}`,
          essential: essential || index === 0,
          // Only on earlier ones, so that there is no cycle.
          dependsOn:
            after < index
              ? [
                  {
                    containerName: `c${after}`,
                    condition: (['START', 'COMPLETE', 'SUCCESS'] as const)[condition] ?? 'START',
                  },
                ]
              : [],
        }),
      ),
    }),
  )

const laws = fc.record({
  payload: tasks,
  choices: fc.array(fc.nat(999), { minLength: 10, maxLength: 120 }),
  stopAt: fc.nat(60),
})

await test('laws: deciding is stable, nothing is made or started twice, and every task ends', (t) => {
  let stops = 0
  fc.assert(
    fc.property(laws, ({ payload, choices, stopAt }) => {
      const model = newModel(payload)
      for (const [index, choice] of choices.entries()) {
        if (index === stopAt) model.facts = { ...model.facts, desiredStatus: 'STOPPED' }
        turnOnce(model, choice)
      }
      model.facts = { ...model.facts, desiredStatus: 'STOPPED' }
      for (let index = 0; index < 200 && model.facts.knownStatus !== 'STOPPED'; index += 1) turnOnce(model, 0)
      if (model.facts.knownStatus !== 'STOPPED') throw new Error(`it never ends: ${JSON.stringify(model.facts)}`)
      for (let index = 0; index < 60; index += 1) turnOnce(model, 0)
      for (const held of model.held.values()) if (held.status === 'running') throw new Error('something runs on')
      stops += 1
    }),
    { numRuns: 300 },
  )
  t.equal(stops, 300)
  t.end()
})

function newModel(payload: PayloadTask): Model {
  return {
    payload,
    facts: admitTask(payload, undefined, start),
    held: new Map(),
    underway: new Map(),
    look: new Map(),
    observed: new Map(),
    creates: 0,
    hints: 0,
    now: start,
  }
}

/** Decides, checks the laws, lets one step be answered in one of the possible ways, and lets some time pass. */
function turnOnce(model: Model, choice: number): void {
  model.now += 1000 + (choice % 7) * 1000
  const before = model.facts
  model.facts = settle(model, model.now, 'default')
  if (settle(model, model.now, 'default') !== model.facts) throw new Error('settling twice changes something')
  checkForward(before, model.facts)
  const steps = nextSteps(model, model.now, host)
  const again = nextSteps(model, model.now, host)
  if (JSON.stringify(steps) !== JSON.stringify(again)) throw new Error('deciding twice differs')
  for (const step of steps) {
    if (step.step === 'startContainer' && shouldStop(model.payload, model.facts, 'default')) {
      throw new Error('a start after the stop was desired')
    }
  }
  const prepare = steps.find((step) => step.step === 'prepareContainer')
  if (prepare !== undefined) {
    const { container } = prepare.args
    const named = { ...factsOf(model.facts, container), dockerName: `name-${container}` }
    model.facts = withContainer(model.facts, container, named)
    return
  }
  const engineSteps = steps.filter((step): step is EngineStep => !['wait', 'report', 'forget'].includes(step.step))
  const chosen = engineSteps[choice % Math.max(1, engineSteps.length)]
  if (chosen !== undefined) answerStep(model, chosen, choice)
  else if (choice % 5 === 1) somethingExits(model, choice)
}

function checkForward(before: TaskFacts, after: TaskFacts): void {
  const order = ['PENDING', 'RUNNING', 'STOPPED']
  if (order.indexOf(after.knownStatus) < order.indexOf(before.knownStatus)) throw new Error('the task went backwards')
  for (const [name, facts] of Object.entries(after.containers)) {
    const earlier = before.containers[name] ?? freshContainer
    if (order.indexOf(facts.knownStatus) < order.indexOf(earlier.knownStatus)) throw new Error(`${name} went backwards`)
  }
}

function answerStep(model: Model, step: EngineStep, choice: number): void {
  const before = model.facts
  const outcome = outcomeOf(model, step, choice)
  const after = afterStep(model.facts, { step, outcome, startedAt: model.now - 10, now: model.now })
  model.facts = after.facts
  if (step.step === 'inspectContainer' && outcome.ok) model.look.delete(step.args.container)
  if (after.observed !== undefined) {
    const { container, shown } = after.observed
    if (shown === undefined) model.observed.delete(container)
    else model.observed.set(container, shown)
  }
  if (after.look !== undefined) model.look.set(after.look, ++model.hints)
  checkForward(before, model.facts)
  if (stepKey(step) === '') throw new Error('a step without a key')
}

/** 0: it works. 1: it works and the answer is lost. 2: no answer and no deed. 3: refused. */
function outcomeOf(model: Model, step: EngineStep, choice: number): Outcome<keyof EngineSteps> {
  const way = choice % 4
  if (way === 2) return fails('deadline')
  if (way === 3 && step.step !== 'inspectContainer' && step.step !== 'stopContainer') return fails('refused')
  const answer = doDeed(model, step)
  return way === 1 ? fails('deadline') : { ok: true, answer }
}

function fails(kind: 'deadline' | 'refused'): Outcome<keyof EngineSteps> {
  return { ok: false, failure: { kind, message: 'as planned' } }
}

function doDeed(model: Model, step: EngineStep): never {
  const held = 'container' in step.args ? model.held.get(step.args.container) : undefined
  switch (step.step) {
    case 'pullImage':
      return { digest: undefined, pulled: true } as never
    case 'createContainer': {
      // The executor answers with what has the name already; making a second one would be the crime.
      if (held !== undefined) return held.id as never
      model.creates += 1
      if (model.creates > model.payload.containers.length) throw new Error('more containers than the task has')
      const made: Held = { id: `id-${step.args.container}`, status: 'created', exitCode: undefined }
      model.held.set(step.args.container, made)
      return made.id as never
    }
    case 'startContainer':
      if (held === undefined) throw new Error('a start without a container')
      if (held.status === 'exited') throw new Error('a container that ended is started again')
      held.status = 'running'
      return undefined as never
    case 'stopContainer':
      if (held?.status === 'running') Object.assign(held, { status: 'exited', exitCode: 143 })
      return undefined as never
    case 'inspectContainer':
      return (held === undefined ? undefined : shownOf(model, step.args.container, held)) as never
    case 'collectLogs':
      return [] as never
    default:
      return undefined as never
  }
}

function somethingExits(model: Model, choice: number): void {
  for (const [name, held] of model.held) {
    if (held.status !== 'running') continue
    Object.assign(held, { status: 'exited', exitCode: choice % 2 })
    model.look.set(name, ++model.hints)
    const shown = shownOf(model, name, held)
    model.facts = withContainer(model.facts, name, foldObservation(factsOf(model.facts, name), shown))
    return
  }
}

function shownOf(model: Model, name: string, held: Held): ObservedContainer {
  return {
    id: held.id,
    name: `name-${name}`,
    image: 'busybox:1',
    imageId: 'sha256:1',
    labels: {},
    status: held.status,
    exitCode: held.exitCode,
    createdAt: model.now,
    startedAt: held.status === 'created' ? undefined : model.now,
    finishedAt: held.status === 'exited' ? model.now : undefined,
    oomKilled: false,
    error: '',
    health: undefined,
    ports: [],
    networkMode: 'bridge',
  }
}

await test('the report of an end wakes nobody before it can be whole', (t) => {
  const payload = aPayloadTask({ containers: [aPayloadContainer(), aPayloadContainer({ name: 'side' })] })
  const ended = { knownStatus: 'STOPPED', started: true, exitCode: 0 } as const
  const first = withFacts(aView(payload), 'web', { ...ended, dockerId: 'one' })
  const both = withFacts(first, 'side', { ...ended, dockerId: 'two' })
  // The output of one container was asked for later than that of the other, and neither answers.
  const underway = new Map([
    ['collectLogs:web', { since: start }],
    ['collectLogs:side', { since: start + 3000 }],
  ])
  const waiting = stepsOf({ ...both, underway }, start + 5500)
  t.match(waiting, [{ step: 'wait', args: { until: start + 8000 } }])
  t.same(namesOf(stepsOf({ ...both, underway }, start + 8000)).includes('report'), true)

  const adopted = { ...both, facts: { ...both.facts, adopted: true, knownStatus: 'STOPPED' as const } }
  const asked = new Map([['collectLogs:web', { since: start }]])
  const logged = withFacts(adopted, 'side', { lastLogLines: [] })
  t.match(stepsOf({ ...logged, underway: asked }, start + 5500), [{ step: 'wait', args: { until: start + 60_000 } }])
  t.end()
})

await test('a container whose output is still being shipped is kept for it, but not for ever', async (t) => {
  const ended = {
    knownStatus: 'STOPPED',
    dockerId: 'docker-web',
    started: true,
    exitCode: 0,
    lastLogLines: [],
  } as const
  const view = withFacts(aView(aPayloadTask()), 'web', ended)
  const facts: TaskFacts = {
    ...settle(view, start, host.pullBehavior),
    reported: { content: '', status: 'STOPPED', at: start },
    stoppedAcknowledgedAt: start,
  }
  const dueAt = start + host.cleanupWaitMs
  const kinds = (now: number, over: Partial<HostView> = {}): readonly string[] =>
    nextSteps({ ...view, facts }, now, { ...host, ...over }).map(({ step }) => step)
  const unshippedLogs = new Set(['docker-web'])
  t.strictSame(kinds(dueAt), ['removeContainer'])
  t.strictSame(kinds(dueAt, { unshippedLogs }), ['wait'])
  t.strictSame(kinds(dueAt + 25 * 3_600_000, { unshippedLogs }), ['removeContainer'], 'after a day nobody takes it')
  const cleanupDue = new Set([facts.taskArn])
  t.strictSame(kinds(dueAt, { unshippedLogs, cleanupDue }), ['removeContainer'], 'there are too many of them')
})
