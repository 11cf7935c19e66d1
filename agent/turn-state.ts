/** What the turn holds in memory, and what of it the journal doesn't have yet. Everything here is changed by the turn alone. */
import type { PayloadTask } from '../proto/acs.ts'
import type { Journal, OutboxEntry } from './decide/journal-records.ts'
import { isSame } from './decide/same.ts'
import type { EngineStep } from './decide/steps.ts'
import type { HostPort, TaskFacts, TaskView } from './decide/view.ts'
import type { ObservedContainer } from './engine.ts'
import { staticHostPorts } from './decide/network.ts'

export interface LiveTask {
  payload: PayloadTask
  facts: TaskFacts
  readonly observed: Map<string, ObservedContainer>
  readonly underway: Map<string, { readonly since: number }>
  readonly look: Map<string, number>
  /** Per container the number of the newest look at it; the answer to an older one is out of date. */
  readonly seen: Map<string, number>
  /** The number of looks before it was accepted: only a later list can say what is missing of it. */
  readonly acceptedLook: number
  /** When it is to be decided again even if nothing happens. */
  wakeAt: number | undefined
  /** Nothing holds it back but that too many containers of this host are starting. */
  awaitsStartSlot: boolean
}

export interface TurnState {
  /** In the order in which they were accepted. */
  readonly tasks: Map<string, LiveTask>
  /** Tasks to decide about, because something happened to them. */
  readonly dirty: Set<string>
  /** The highest payload sequence number or manifest timeline seen. */
  seqNum: number
  /** What the controller listed last; a task that turns up later is held against it too. */
  lastManifest: LastManifest | undefined
  /** Frames that promise something, and so go out only after the next commit. */
  readonly replies: { readonly type: string; readonly message: object }[]
  /** Frames that promise nothing: a full disk must not make the host look lost. */
  readonly promptReplies: { readonly type: string; readonly message: object }[]
  /** Creates and starts that Docker Engine has been asked for and has not answered. */
  startsUnderway: number
  /** Counts looks at the engine, so that their answers can be put in order. */
  lookCount: number
  readonly unsaved: Unsaved
}

export interface LastManifest {
  readonly messageId: string
  /** Without those that were cleaned up since: the controller knows that they are STOPPED. */
  readonly listed: Set<string>
  /** Tasks that the controller was asked about and has not answered on: an answer counts once for each. */
  readonly asked: Set<string>
}

export interface Unsaved {
  readonly payloads: Set<string>
  readonly facts: Set<string>
  readonly forgotten: Set<string>
  readonly outbox: Map<number, OutboxEntry>
  readonly delivered: Set<number>
  seqNum: boolean
  isAlone: boolean | undefined
}

export function newTurnState(): TurnState {
  return {
    tasks: new Map(),
    dirty: new Set(),
    seqNum: -1,
    lastManifest: undefined,
    replies: [],
    promptReplies: [],
    startsUnderway: 0,
    lookCount: 0,
    unsaved: {
      payloads: new Set(),
      facts: new Set(),
      forgotten: new Set(),
      outbox: new Map(),
      delivered: new Set(),
      seqNum: false,
      isAlone: undefined,
    },
  }
}

export function liveTask(payload: PayloadTask, facts: TaskFacts, acceptedLook = 0): LiveTask {
  return {
    payload,
    facts,
    observed: new Map(),
    underway: new Map(),
    look: new Map(),
    seen: new Map(),
    acceptedLook,
    wakeAt: undefined,
    awaitsStartSlot: false,
  }
}

export function addTask(state: TurnState, payload: PayloadTask, facts: TaskFacts): LiveTask {
  const task = liveTask(payload, facts, state.lookCount)
  state.tasks.set(payload.arn, task)
  state.unsaved.forgotten.delete(payload.arn)
  state.unsaved.payloads.add(payload.arn)
  state.unsaved.facts.add(payload.arn)
  state.dirty.add(payload.arn)
  return task
}

export function setPayload(state: TurnState, task: LiveTask, payload: PayloadTask): void {
  task.payload = payload
  state.unsaved.payloads.add(payload.arn)
  state.dirty.add(payload.arn)
}

/** Takes new facts; equal ones cost neither a write nor a decision. */
export function setFacts(state: TurnState, task: LiveTask, facts: TaskFacts): boolean {
  if (isSame(facts, task.facts)) return false
  task.facts = facts
  state.unsaved.facts.add(facts.taskArn)
  state.dirty.add(facts.taskArn)
  return true
}

export function forgetTask(state: TurnState, taskArn: string): void {
  state.tasks.delete(taskArn)
  state.dirty.delete(taskArn)
  state.unsaved.payloads.delete(taskArn)
  state.unsaved.facts.delete(taskArn)
  state.unsaved.forgotten.add(taskArn)
}

/** Marks a container to be looked at again; each mark has its own number, so that an older look doesn't clear it. */
export function lookAgain(state: TurnState, task: LiveTask, container: string): void {
  state.lookCount += 1
  task.look.set(container, state.lookCount)
  state.dirty.add(task.payload.arn)
}

export function viewOf(task: LiveTask): TaskView {
  return task
}

/** True where the journal does not have everything. */
export function isUnsaved({ unsaved }: TurnState): boolean {
  const { facts, delivered, isAlone } = unsaved
  return facts.size > 0 || delivered.size > 0 || isAlone !== undefined || isPromised(unsaved)
}

/**
 * True where something is unsaved that only the journal could bring back after a crash. The rest is shown by Docker
 * again (ids, what runs), said by the controller again (an answer to a report) or found out anew (an image is ready).
 */
export function mustSave({ unsaved, replies }: TurnState): boolean {
  return replies.length > 0 || isPromised(unsaved)
}

function isPromised({ payloads, forgotten, outbox, seqNum }: Unsaved): boolean {
  return seqNum || payloads.size + forgotten.size + outbox.size > 0
}

/** Writes what is unsaved, all of it or nothing. Throws the journal's error, and then all of it is still unsaved. */
export function saveTurn(state: TurnState, journal: Journal): void {
  const { unsaved } = state
  if (!isUnsaved(state)) return
  const taskOf = (arn: string): LiveTask | [] => state.tasks.get(arn) ?? []
  journal.commit({
    payloads: [...unsaved.payloads].flatMap(taskOf).map(({ payload }) => payload),
    facts: [...unsaved.facts].flatMap(taskOf).map(({ facts }) => facts),
    forgottenTaskArns: [...unsaved.forgotten],
    outbox: [...unsaved.outbox.values()],
    deliveredSequences: [...unsaved.delivered],
    seqNum: unsaved.seqNum ? state.seqNum : undefined,
    isAlone: unsaved.isAlone,
  })
  unsaved.payloads.clear()
  unsaved.facts.clear()
  unsaved.forgotten.clear()
  unsaved.outbox.clear()
  unsaved.delivered.clear()
  unsaved.seqNum = false
  unsaved.isAlone = undefined
}

/** What they make has its name from the task, and is found, made again or removed by that in any life of the agent. */
const resourceSteps: ReadonlySet<EngineStep['step']> = new Set([
  'createCgroup',
  'prepareNetwork',
  'createVolume',
  'mountFileSystem',
])

/**
 * True where the step goes on with a task that the journal has, as its container, or any of it, has run before: a crash
 * after it is mended by what Docker shows, so that a full disk keeps nothing from being started again.
 */
export function isOfKnownRestart({ unsaved }: TurnState, { payload, facts }: LiveTask, step: EngineStep): boolean {
  if (unsaved.payloads.has(payload.arn)) return false
  if (!('container' in step.args)) {
    const hasRun = Object.values(facts.containers).some(({ restartCount }) => restartCount !== undefined)
    return hasRun && resourceSteps.has(step.step)
  }
  const isUpward = ['fetchForContainer', 'pullImage', 'createContainer', 'startContainer'].includes(step.step)
  const known = facts.containers[step.args.container]
  const isRemade = step.step === 'removeContainer' && known?.remake === true
  return (isUpward || isRemade) && known?.restartCount !== undefined
}

/** Host ports that live tasks hold or will hold: the chosen ones, and the static ones of containers still to come. */
export function heldPorts(state: TurnState): { readonly tcp: Set<number>; readonly udp: Set<number> } {
  const held = { tcp: new Set<number>(), udp: new Set<number>() }
  for (const { payload, facts } of state.tasks.values()) {
    for (const container of payload.containers) {
      const known = facts.containers[container.name]
      // One that may be started again in place keeps its ports until the task has ended.
      const mayGoOn = payload.gantry?.restartAlone === true && facts.knownStatus !== 'STOPPED'
      if (known === undefined || (known.knownStatus === 'STOPPED' && !mayGoOn)) continue
      const ports: readonly HostPort[] = [...known.hostPorts, ...staticHostPorts(container, payload.networkMode)]
      for (const { hostPort, protocol } of ports) held[protocol].add(hostPort)
    }
  }
  return held
}

/** Of the stopped tasks that the controller knows about, those that are too many: the ones that ended first. */
export function surplusStopped(state: TurnState, stoppedTasksMax: number): ReadonlySet<string> {
  if (state.tasks.size <= stoppedTasksMax) return none
  const stopped = [...state.tasks.values()]
    .flatMap(({ facts }) => (facts.stoppedAcknowledgedAt === undefined ? [] : [facts]))
    .toSorted((a, b) => (b.stoppedAcknowledgedAt ?? 0) - (a.stoppedAcknowledgedAt ?? 0))
  return new Set(stopped.slice(stoppedTasksMax).map(({ taskArn }) => taskArn))
}

const none: ReadonlySet<string> = new Set()

/** Images that this agent pulled for tasks that it still knows. */
export function imagesPulled(state: TurnState): readonly string[] {
  return [...state.tasks.values()].flatMap(({ payload, facts }) => {
    if (facts.pullStoppedAt === undefined) return []
    return payload.containers.filter(({ name }) => facts.containers[name]?.imageReady).map(({ image }) => image)
  })
}
