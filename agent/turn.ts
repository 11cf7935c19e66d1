/**
 * The agent's loop: what comes in (frames, answers of steps, what Docker shows, time) changes what is known; the
 * journal has it; then steps are started and state changes sent. Nothing waits for anything else: a slow or stopping
 * task holds up no other.
 */
import type { Frame } from '../proto/acs.ts'
import { afterStep } from './decide/outcomes.ts'
import type { Outcome } from './decide/outcomes.ts'
import { afterStart, newStartLimit, startSlotsFree } from './decide/start-limit.ts'
import type { StartLimit } from './decide/start-limit.ts'
import { needsJournal, stepKey, takesStartSlot } from './decide/steps.ts'
import type { EngineStep, EngineSteps } from './decide/steps.ts'
import type { HostView } from './decide/view.ts'
import type { ContainerList, EngineError } from './engine.ts'
import { EngineReporter } from './engine-report.ts'
import { watchController } from './controller-watch.ts'
import type { ControllerWatch } from './controller-watch.ts'
import { createOutbox } from './outbox.ts'
import type { Outbox } from './outbox.ts'
import { perform } from './perform.ts'
import type { Executors } from './perform.ts'
import { advance } from './turn-advance.ts'
import type { AdvanceContext } from './turn-advance.ts'
import { executorsOf } from './turn-executors.ts'
import { handleFrame } from './turn-frames.ts'
import { keepShown, takeHint, takeList } from './turn-observe.ts'
import type { ObserveContext } from './turn-observe.ts'
import type { AgentTurn, AgentTurnOptions, TurnTask } from './turn-options.ts'
import {
  heldPorts,
  imagesPulled,
  isOfKnownRestart,
  isUnsaved,
  liveTask,
  lookAgain,
  mustSave,
  newTurnState,
  saveTurn,
  setFacts,
  surplusStopped,
} from './turn-state.ts'
import type { LiveTask, TurnState } from './turn-state.ts'
import { watchEngine } from './watch-engine.ts'
import type { EngineWatch } from './watch-engine.ts'

export type { AgentTurn, AgentTurnConfig, AgentTurnOptions, TurnLog, TurnTask } from './turn-options.ts'

/** A journal that cannot be written is tried again after this long, then after twice as long each time, up to the most. */
const journalRetryMs = 1000
const journalRetryMostMs = 10_000
/** What a crash may take, for Docker or the controller tells it again, shares a sync with what comes within this time. */
const journalLagMs = 250

const noLogs: ReadonlySet<string> = new Set()

/** Steps that may be taken although the journal could not be written: they make nothing that a crash would orphan. */
const harmlessUnsaved: ReadonlySet<keyof EngineSteps> = new Set([
  'inspectContainer',
  'stopContainer',
  'collectLogs',
  'fetchForContainer',
])

interface PlannedStep {
  readonly task: LiveTask
  readonly step: EngineStep
}

/**
 * Starts with what the journal holds; throws its JournalError where it cannot be read. Nothing is decided before Docker
 * Engine has shown its containers.
 */
export function startAgentTurn(options: AgentTurnOptions): AgentTurn {
  const turn = new Turn(options)
  turn.start()
  return {
    onFrame: (frame) => turn.onFrame(frame),
    linkUp: () => turn.setLinked(true),
    linkDown: () => turn.setLinked(false),
    tasks: () => turn.tasks(),
    ownPorts: () => turn.ownPorts(),
    beat: () => turn.beat(),
    async close() {
      turn.close()
    },
  }
}

class Turn {
  readonly #options: AgentTurnOptions
  readonly #state: TurnState = newTurnState()
  readonly #outbox: Outbox
  readonly #executors: Executors
  readonly #engineReporter: EngineReporter
  readonly #inbox: (() => void)[] = []
  readonly #ports: { searchFrom: number }
  readonly #controller: ControllerWatch
  #watch: EngineWatch | undefined
  #startLimit: StartLimit
  #engineAnswers = false
  #engineShown = false
  #engineSilentSince: number
  #linked = false
  #closed = false
  #cleanupDue: ReadonlySet<string> = new Set()
  #journalFails = false
  #journalRetryMs = journalRetryMs
  /** Since when something waits for the next sync that is due anyway. */
  #unsavedSince: number | undefined
  /** Of the loop, since the start. */
  #passes = 0
  #cancelPass: (() => void) | undefined
  #cancelWake: (() => void) | undefined

  constructor(options: AgentTurnOptions) {
    const { config, journal, clock, world, send } = options
    this.#options = options
    const contents = journal.load()
    this.#state.seqNum = contents.seqNum
    for (const { payload, facts } of contents.tasks) this.#state.tasks.set(payload.arn, liveTask(payload, facts))
    this.#outbox = createOutbox(contents.outbox)
    this.#executors = executorsOf(options, imagesPulled(this.#state))
    this.#ports = { searchFrom: config.dynamicHostPortRange.first }
    this.#startLimit = newStartLimit(config.startsMax)
    this.#engineSilentSince = clock.now()
    this.#controller = watchController({
      timers: options.timers,
      patienceMs: config.aloneAfterMs,
      wasGone: contents.isAlone === true,
      onChange: (isGone) => this.#submit(() => this.#controllerChanges(isGone)),
    })
    this.#engineReporter = new EngineReporter({ uuid: () => world.uuid(), send })
  }

  start(): void {
    const { engine, timers } = this.#options
    this.#watch = watchEngine({
      engine,
      timers,
      onListBegins: () => this.#nextLook(),
      onList: (list, begun) => this.#submit(() => this.#engineShows(list, begun)),
      onHint: (containerId) => this.#submit(() => this.#engineHints(containerId)),
      onSilence: (error) => this.#submit(() => this.#engineIsSilent(error)),
    })
    this.#submit(() => this.#dirtyAll())
  }

  onFrame(frame: Frame): void {
    this.#controller.heard()
    this.#submit(() => {
      const { clock } = this.#options
      handleFrame({ ...this.#options, state: this.#state, outbox: this.#outbox, now: clock.now() }, frame)
      if (frame.type === 'PayloadMessage' && this.#expectsContainers()) this.#watch?.lookNow()
    })
  }

  setLinked(linked: boolean): void {
    this.#controller.linked(linked)
    this.#submit(() => {
      this.#linked = linked
      // What ended is told now, or once nobody is awaited any more.
      this.#dirtyAll()
      if (linked) return
      this.#outbox.linkDown()
      this.#engineReporter.linkDown()
      // What was to be answered will be asked again on the next connection.
      this.#state.replies.length = 0
      this.#state.promptReplies.length = 0
    })
  }

  tasks(): readonly TurnTask[] {
    return [...this.#state.tasks.values()].map(({ payload, facts, observed }) => {
      return { payload, facts, observed, desiredStatus: facts.desiredStatus, knownStatus: facts.knownStatus }
    })
  }

  ownPorts(): ReturnType<AgentTurn['ownPorts']> {
    const { tcp, udp } = heldPorts(this.#state)
    return { tcp: [...tcp], udp: [...udp] }
  }

  beat(): number {
    this.#submit(() => undefined)
    return this.#passes
  }

  close(): void {
    this.#closed = true
    // Nothing needs it, as after a crash; it spares the next life some looks.
    this.#save()
    this.#cancelPass?.()
    this.#cancelWake?.()
    this.#watch?.close()
    this.#controller.close()
  }

  #submit(input: () => void): void {
    if (this.#closed) return
    this.#inbox.push(input)
    this.#cancelPass ??= this.#options.timers.after(0, () => this.#pass())
  }

  /** Inputs, decisions, commit; only then what the commit promises: steps, answers, state changes. */
  #pass(): void {
    this.#cancelPass = undefined
    if (this.#closed) return
    this.#passes += 1
    const { send, clock } = this.#options
    for (const input of this.#inbox.splice(0)) this.#take(input)
    const now = clock.now()
    const planned = this.#decide(now)
    const saved = this.#saveIfDue(planned, now)
    for (const { task, step } of planned) {
      const isHarmless = harmlessUnsaved.has(step.step) || isOfKnownRestart(this.#state, task, step)
      if (saved || isHarmless) this.#begin(task, step)
      else {
        task.underway.delete(stepKey(step))
        if (takesStartSlot(step)) this.#state.startsUnderway -= 1
        this.#state.dirty.add(task.payload.arn)
      }
    }
    this.#reply(saved)
    const resendAt = this.#linked
      ? this.#outbox.flush((change) => send('GantryTaskStateChange', change), now)
      : undefined
    const lagEnds = this.#unsavedSince === undefined ? undefined : this.#unsavedSince + journalLagMs
    this.#armWake(now, [resendAt, saved ? lagEnds : now + this.#journalRetryMs, this.#tellOfEngine(now)])
  }

  /** What cannot be taken in, such as a message of a shape that nobody thought of, fails alone, loudly. */
  #take(input: () => void): void {
    try {
      input()
    } catch (error) {
      this.#options.log.error({ err: error }, 'what came in could not be taken in; the rest goes on')
    }
  }

  #reply(saved: boolean): void {
    const { replies, promptReplies } = this.#state
    if (!this.#linked) return
    const due = [...promptReplies.splice(0), ...(saved ? replies.splice(0) : [])]
    for (const { type, message } of due) this.#options.send(type, message)
  }

  #decide(now: number): readonly PlannedStep[] {
    const { config, world, log, busyPorts } = this.#options
    const host = (): HostView => this.#hostView()
    const context: AdvanceContext = {
      state: this.#state,
      outbox: this.#outbox,
      config,
      world,
      log,
      busyPorts,
      secrets: this.#options,
      host,
      now,
      engineShown: this.#engineShown,
      ports: this.#ports,
    }
    this.#cleanupDue = surplusStopped(this.#state, config.stoppedTasksMax)
    const planned: PlannedStep[] = []
    for (const [arn, task] of this.#state.tasks) {
      const woken = task.wakeAt !== undefined && now >= task.wakeAt
      const due = woken || this.#cleanupDue.has(arn) || (task.awaitsStartSlot && this.#startSlotsFree() > 0)
      if (!due && !this.#state.dirty.has(arn)) continue
      const begun: EngineStep[] = []
      try {
        advance(context, task, begun)
      } catch (error) {
        // One bad task fails alone, loudly; the others go on. What it began is under way, and so is performed.
        this.#state.dirty.delete(arn)
        log.error({ task: arn, err: error }, 'a task could not be decided about')
      }
      planned.push(...begun.map((step) => ({ task, step })))
    }
    return planned
  }

  /** Saves at once what only the journal could bring back, or what a step relies on; the rest a little later. */
  #saveIfDue(planned: readonly PlannedStep[], now: number): boolean {
    const relied = mustSave(this.#state) || this.#journalFails || planned.some(({ step }) => needsJournal(step))
    if (!relied && isUnsaved(this.#state)) {
      this.#unsavedSince ??= now
      // A wall clock that was set back makes it due.
      if (now >= this.#unsavedSince && now < this.#unsavedSince + journalLagMs) return true
    }
    return this.#save()
  }

  /** False where the journal could not be written: what it must hold first is put off, and tried again. */
  #save(): boolean {
    const { journal, log } = this.#options
    try {
      saveTurn(this.#state, journal)
      if (this.#journalFails) log.info({}, 'the journal can be written again')
      this.#journalFails = false
      this.#journalRetryMs = journalRetryMs
      this.#unsavedSince = undefined
      return true
    } catch (error) {
      if (!this.#journalFails)
        log.error({ err: error }, 'the journal cannot be written; no new task is started until it can')
      else this.#journalRetryMs = Math.min(this.#journalRetryMs * 2, journalRetryMostMs)
      this.#journalFails = true
      return false
    }
  }

  #begin(task: LiveTask, step: EngineStep): void {
    const { clock, log } = this.#options
    const startedAt = clock.now()
    const look = this.#nextLook()
    log.debug({ task: task.payload.arn, step: stepKey(step) }, 'step begins')
    void perform(this.#executors, step)
      .catch((error: unknown): Outcome<keyof EngineSteps> => {
        log.error({ task: task.payload.arn, step: stepKey(step), err: error }, 'a step failed in an unforeseen way')
        const message = error instanceof Error ? error.message : String(error)
        return { ok: false, failure: { kind: 'refused', message } }
      })
      .then((outcome) => this.#submit(() => this.#finish(task, step, outcome, startedAt, look)))
  }

  #finish(
    task: LiveTask,
    step: EngineStep,
    outcome: Outcome<keyof EngineSteps>,
    startedAt: number,
    look: number,
  ): void {
    const { clock, log } = this.#options
    const now = clock.now()
    task.underway.delete(stepKey(step))
    if (takesStartSlot(step)) this.#startEnded(step, outcome, startedAt, now)
    // Forgotten while the step was on its way.
    if (this.#state.tasks.get(task.payload.arn) !== task) return
    this.#state.dirty.add(task.payload.arn)
    if (!outcome.ok) log.warn({ task: task.payload.arn, step: stepKey(step), ...outcome.failure }, 'step failed')
    if (step.step === 'inspectContainer') {
      if (outcome.ok && task.look.get(step.args.container) === step.args.hint) task.look.delete(step.args.container)
      if (look < (task.seen.get(step.args.container) ?? 0)) return
      if (outcome.ok) task.seen.set(step.args.container, look)
    }
    const after = afterStep(task.facts, { step, outcome, startedAt, now })
    setFacts(this.#state, task, after.facts)
    if (after.observed !== undefined) keepShown(this.#state, task, after.observed.container, after.observed.shown)
    if (after.look !== undefined && !(step.step === 'inspectContainer')) lookAgain(this.#state, task, after.look)
    if (after.engineDoubtful === true) this.#watch?.lookNow()
  }

  #expectsContainers(): boolean {
    return [...this.#state.tasks.values()].some(({ facts }) =>
      Object.values(facts.containers).some(({ expected }) => expected === true),
    )
  }

  #startEnded({ step }: EngineStep, outcome: Outcome<keyof EngineSteps>, startedAt: number, now: number): void {
    this.#state.startsUnderway -= 1
    if (step !== 'startContainer') return
    const timedOut = !outcome.ok && outcome.failure.kind === 'deadline'
    const othersWait = [...this.#state.tasks.values()].some(({ awaitsStartSlot }) => awaitsStartSlot)
    this.#startLimit = afterStart(this.#startLimit, { startedAt, now, timedOut, othersWait })
  }

  #startSlotsFree(): number {
    return startSlotsFree(this.#startLimit, this.#state.startsUnderway)
  }

  #engineShows(list: ContainerList, begun: number): void {
    const { log } = this.#options
    if (!this.#engineAnswers) {
      log.info({ containers: list.shown.length + list.unshown.length }, 'Docker Engine answers')
      this.#engineAnswers = true
      this.#engineShown = true
      this.#dirtyAll()
    }
    takeList(this.#observeContext(), list, begun)
  }

  #engineHints(containerId: string): void {
    // A container that nobody knows yet may be one whose create has not been answered: its own look follows.
    if (!takeHint(this.#state, containerId)) this.#options.log.debug({ containerId }, 'event of an unknown container')
  }

  #engineIsSilent(error: EngineError): void {
    if (!this.#engineAnswers) return
    this.#options.log.warn({ err: error }, 'Docker Engine does not answer; nothing is concluded about its containers')
    this.#engineAnswers = false
    this.#engineSilentSince = this.#options.clock.now()
    this.#dirtyAll()
  }

  /** Answers when there may be more to tell. */
  #tellOfEngine(now: number): number | undefined {
    if (!this.#linked) return undefined
    return this.#engineReporter.tell(this.#engineAnswers ? undefined : this.#engineSilentSince, now)
  }

  #observeContext(): ObserveContext {
    const { config, log, clock } = this.#options
    return { state: this.#state, containerInstanceArn: config.containerInstanceArn, log, now: clock.now() }
  }

  #hostView(): HostView {
    const { config } = this.#options
    return {
      ...config,
      engineAnswers: this.#engineAnswers,
      engineSilentSince: this.#engineSilentSince,
      controller: this.#controller.sight(),
      startSlotsFree: this.#startSlotsFree(),
      cleanupDue: this.#cleanupDue,
      unshippedLogs: this.#options.unshippedLogs ?? noLogs,
      endpoints: this.#options.endpoints?.(),
      roleKeys: this.#options.roleCredentials?.ids,
      fetched: this.#options.fetched?.held,
    }
  }

  #controllerChanges(isGone: boolean): void {
    const { log, config } = this.#options
    this.#state.unsaved.isAlone = isGone
    if (isGone) log.warn({ afterMs: config.aloneAfterMs }, 'no controller: tasks of services are kept going in place')
    this.#dirtyAll()
  }

  #dirtyAll(): void {
    for (const arn of this.#state.tasks.keys()) this.#state.dirty.add(arn)
  }

  #nextLook(): number {
    this.#state.lookCount += 1
    return this.#state.lookCount
  }

  #armWake(now: number, others: readonly (number | undefined)[]): void {
    this.#cancelWake?.()
    this.#cancelWake = undefined
    let next = Number.POSITIVE_INFINITY
    for (const wake of others) next = Math.min(next, wake ?? next)
    for (const { wakeAt } of this.#state.tasks.values()) next = Math.min(next, wakeAt ?? next)
    if (next === Number.POSITIVE_INFINITY) return
    this.#cancelWake = this.#options.timers.after(Math.max(0, next - now), () => this.#submit(() => undefined))
  }
}
