/** What Docker shows, brought to the tasks it belongs to; and tasks of ours that only Docker knows, adopted. */
import { adoptTask } from './decide/admission.ts'
import { factsOf, withContainer } from './decide/lifecycle.ts'
import { foldMissing, foldObservation } from './decide/observation.ts'
import { labels } from './engine.ts'
import type { ContainerList, ListedContainer, ObservedContainer } from './engine.ts'
import { askToStop } from './turn-frames.ts'
import type { TurnLog } from './turn-options.ts'
import { addTask, lookAgain, setFacts } from './turn-state.ts'
import type { LiveTask, TurnState } from './turn-state.ts'

export interface ObserveContext {
  readonly state: TurnState
  readonly containerInstanceArn: string
  readonly log: TurnLog
  readonly now: number
}

/** Takes in a full list that was begun as look number `begun`. */
export function takeList(context: ObserveContext, { shown, unshown }: ContainerList, begun: number): void {
  const { state } = context
  takeAllShown(context, shown, begun)
  const hidden = new Set(unshown.map(({ labels: its }) => hiddenKey(its[labels.taskArn], its[labels.containerName])))
  for (const one of unshown) lookAtUnshown(context, one)
  const listed = new Set([...shown, ...unshown].map(({ id }) => id))
  for (const task of state.tasks.values()) {
    for (const [name, facts] of Object.entries(task.facts.containers)) {
      const couldBeHidden = hidden.has(hiddenKey(task.payload.arn, name))
      if (facts.expected === true && begun > task.acceptedLook && !couldBeHidden) {
        setFacts(state, task, withContainer(task.facts, name, foldMissing(facts)))
      }
      // A list may be older than the container: only its own look can say that it is gone.
      const missing = facts.dockerId !== undefined && facts.removed !== true && !listed.has(facts.dockerId)
      if (missing) lookAgain(state, task, name)
    }
  }
}

function takeAllShown(context: ObserveContext, containers: readonly ObservedContainer[], begun: number): void {
  const { state } = context
  const strangers = new Map<string, ObservedContainer[]>()
  for (const shown of containers) {
    const taskArn = shown.labels[labels.taskArn] ?? ''
    const task = state.tasks.get(taskArn)
    if (task === undefined) strangers.set(taskArn, [...(strangers.get(taskArn) ?? []), shown])
    else takeShown(context, task, shown, begun)
  }
  for (const [taskArn, shown] of strangers) adopt(context, taskArn, shown)
}

/** Its task waits for what it is; an unknown task's is met again with the next list. */
function lookAtUnshown({ state, log }: ObserveContext, one: ListedContainer): void {
  const task = state.tasks.get(one.labels[labels.taskArn] ?? '')
  log.warn(
    { task: task?.payload.arn, container: one.name },
    'Docker Engine lists a container and does not show it, perhaps stuck in a start or a stop; its task waits for it',
  )
  const name = task === undefined ? undefined : containerNameOf(task, one)
  if (task !== undefined && name !== undefined) lookAgain(state, task, name)
}

function hiddenKey(taskArn: string | undefined, containerName: string | undefined): string {
  return `${taskArn} ${containerName}`
}

/** Takes in one container's state; an answer older than what is known already is passed over. */
export function takeShown(context: ObserveContext, task: LiveTask, shown: ObservedContainer, begun: number): void {
  const { state, log } = context
  const name = containerNameOf(task, shown)
  if (name === undefined) {
    log.debug(
      { task: task.payload.arn, container: shown.name },
      'a container that its task does not know is left alone',
    )
    return
  }
  if (begun < (task.seen.get(name) ?? 0)) return
  task.seen.set(name, begun)
  keepShown(state, task, name, shown)
  setFacts(state, task, withContainer(task.facts, name, foldObservation(factsOf(task.facts, name), shown)))
}

/** Keeps what Docker showed for the view; it makes the task dirty where something that decisions read has changed. */
export function keepShown(state: TurnState, task: LiveTask, name: string, shown: ObservedContainer | undefined): void {
  const before = task.observed.get(name)
  if (shown === undefined) task.observed.delete(name)
  else task.observed.set(name, shown)
  if (before?.status !== shown?.status || before?.ports.length !== shown?.ports.length)
    state.dirty.add(task.payload.arn)
}

/** An event named this container: whoever it belongs to is looked at again. False where nobody here knows it. */
export function takeHint(state: TurnState, containerId: string): boolean {
  for (const task of state.tasks.values()) {
    for (const [name, facts] of Object.entries(task.facts.containers)) {
      if (facts.dockerId !== containerId) continue
      lookAgain(state, task, name)
      return true
    }
  }
  return false
}

/** By id, else by the name written down before it was created, else by label where nothing of it is known. */
function containerNameOf(task: LiveTask, shown: ListedContainer): string | undefined {
  const containers = Object.entries(task.facts.containers)
  const byId = containers.find(([, facts]) => facts.dockerId === shown.id)
  if (byId !== undefined) return byId[0]
  const byName = containers.find(([, facts]) => facts.dockerId === undefined && facts.dockerName === shown.name)
  if (byName !== undefined) return byName[0]
  const labelled = shown.labels[labels.containerName] ?? ''
  const facts = task.facts.containers[labelled]
  if (facts === undefined || facts.dockerId !== undefined) return undefined
  return labelled
}

function adopt(context: ObserveContext, taskArn: string, containers: readonly ObservedContainer[]): void {
  const { state, log, now } = context
  const ours = containers.filter((shown) => shown.labels[labels.instanceArn] === context.containerInstanceArn)
  if (ours.length === 0 || taskArn === '') return
  const { payload, facts } = adoptTask(ours, now)
  const task = addTask(state, payload, facts)
  for (const shown of ours) {
    task.observed.set(shown.labels[labels.containerName] ?? shown.name, shown)
  }
  log.warn(
    { task: taskArn, containers: ours.length },
    'containers of a task that the journal does not know are adopted',
  )
  askToStop(context, [task])
}
