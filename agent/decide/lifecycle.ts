/**
 * Where a task and its containers stand, and what that means: who must stop, who may start. Pure: facts in, facts out;
 * within a run a known status never decreases.
 *
 * Source: the official agent's rules, amazon-ecs-agent 1.105.1 (`agent/engine/dependencygraph`, `agent/api/task`).
 */
import type { PayloadContainer, PayloadTask } from '../../proto/acs.ts'
import { withNetworkHeld } from './network-hold.ts'
import { namesBefore } from './payload.ts'
import { restartsByPolicy, startedAgain } from './restart.ts'
import { isHeldOpen, mayRestartAlone, startedAgainAlone } from './restart-alone.ts'
import type { ContainerFacts, ControllerSight, KnownTaskStatus, PullBehavior, TaskFacts, TaskView } from './view.ts'

/** The exit code that ECS gives a container which never started because one that it depends on failed. */
const dependencyFailedExitCode = 143

/** Whether a container may start now, must wait and for what, or never will. */
export type Gate =
  | { readonly gate: 'open' }
  | { readonly gate: 'waiting'; readonly cause: string; readonly until?: number | undefined }
  | { readonly gate: 'failed'; readonly reason: string }

/** True where nothing more of the task is to be started, and what runs is to be stopped. */
export function shouldStop(payload: PayloadTask, facts: TaskFacts, pullBehavior: PullBehavior): boolean {
  if (facts.knownStatus === 'STOPPED' || facts.desiredStatus === 'STOPPED' || facts.reason !== undefined) return true
  // The containers of an adopted task tell neither who is essential nor who is missing.
  if (facts.adopted) return false
  return payload.containers.some((container) => {
    const { knownStatus, pullFailed } = factsOf(facts, container.name)
    if (container.essential && knownStatus === 'STOPPED') return true
    return pullFailed === true && (pullBehavior === 'always' || pullBehavior === 'once')
  })
}

/**
 * What has to be there before a container can so much as be made: Docker looks for what it links to, takes volumes from
 * or shares namespaces with.
 */
export function createGate(view: TaskView, container: PayloadContainer): Gate {
  const linked = container.links.map((link) => link.split(':')[0] ?? '')
  const sources = container.volumesFrom.map(({ sourceContainer }) => sourceContainer)
  for (const name of [...linked, ...sources]) {
    if (factsOf(view.facts, name).dockerId !== undefined) continue
    return { gate: 'waiting', cause: `waits for container ${name} to be created` }
  }
  for (const { name } of view.payload.containers.filter(({ internal }) => internal !== undefined)) {
    const isNeeded = container.dependsOn?.some(({ containerName }) => containerName === name) === true
    if (!isNeeded || factsOf(view.facts, name).knownStatus !== 'PENDING') continue
    return { gate: 'waiting', cause: `waits for container ${name} to start` }
  }
  return open
}

/** What dependsOn, links and volumesFrom of a container allow right now; its restart policy asks none of them again. */
export function startGate(view: TaskView, container: PayloadContainer, now: number): Gate {
  if (factsOf(view.facts, container.name).started) return open
  for (const dependency of container.dependsOn ?? []) {
    const gate = dependencyGate(view, dependency.containerName, dependency.condition, now)
    if (gate.gate === 'failed') {
      return { gate: 'failed', reason: `CannotStartContainerError: dependency graph: ${gate.reason}` }
    }
    if (gate.gate === 'waiting') return gate
  }
  for (const link of container.links) {
    const name = link.split(':')[0] ?? ''
    const target = factsOf(view.facts, name)
    if (target.knownStatus === 'STOPPED') {
      return { gate: 'failed', reason: `CannotStartContainerError: dependency graph: linked container ${name} stopped` }
    }
    if (target.knownStatus === 'PENDING') return { gate: 'waiting', cause: `waits for container ${name} to run` }
  }
  for (const { sourceContainer } of container.volumesFrom) {
    const source = factsOf(view.facts, sourceContainer)
    if (source.dockerId !== undefined) continue
    if (source.knownStatus === 'STOPPED') {
      const reason = `CannotStartContainerError: dependency graph: container ${sourceContainer} was never created`
      return { gate: 'failed', reason }
    }
    return { gate: 'waiting', cause: `waits for container ${sourceContainer} to be created` }
  }
  return { gate: 'open' }
}

/** Containers that need this one and have not stopped, or may be coming up: they stop first. */
export function stopsBefore(view: TaskView, name: string): readonly string[] {
  return view.payload.containers
    .filter((other) => namesBefore(other).includes(name) && isUpOrMoving(view, other.name))
    .map((other) => other.name)
}

function isUpOrMoving(view: TaskView, name: string): boolean {
  const { knownStatus } = factsOf(view.facts, name)
  return knownStatus === 'RUNNING' || (knownStatus === 'PENDING' && mayBeMoving(view, name))
}

/**
 * Brings the facts up to what follows from them alone: containers that will never start are STOPPED, and the task's
 * status is that of its containers. What is to be started again in place begins its next run here. Settling twice
 * changes nothing.
 */
export function settle(
  view: TaskView,
  now: number,
  pullBehavior: PullBehavior,
  controller: ControllerSight = 'there',
): TaskFacts {
  let facts = view.facts
  for (let before: TaskFacts | undefined; before !== facts; ) {
    before = facts
    facts = settleOnce({ ...view, facts }, now, pullBehavior, controller)
  }
  return facts
}

function settleOnce(view: TaskView, now: number, pullBehavior: PullBehavior, controller: ControllerSight): TaskFacts {
  let facts = withRestarts({ ...view, facts: withNetworkHeld(view) }, now, pullBehavior, controller)
  const stopping = shouldStop(view.payload, facts, pullBehavior)
  for (const container of view.payload.containers) {
    const settled = settleContainer({ ...view, facts }, container, stopping, now)
    if (settled !== undefined) facts = withContainer(facts, container.name, settled)
  }
  const isOpen = isHeldOpen({ ...view, facts }, controller)
  const knownStatus = taskStatusOf(view.payload, facts, isOpen)
  if (knownStatus !== facts.knownStatus) facts = { ...facts, knownStatus }
  const ended = knownStatus === 'STOPPED' || (stopping && facts.knownStatus === 'RUNNING')
  if (ended && facts.executionStoppedAt === undefined) {
    facts = { ...facts, executionStoppedAt: endOf(view.payload, facts) ?? now }
  }
  return facts
}

/** What has ended and goes on in place: single containers by their policies, the whole task where nobody can be told. */
function withRestarts(view: TaskView, now: number, pullBehavior: PullBehavior, controller: ControllerSight): TaskFacts {
  const { payload } = view
  const facts = withPolicies(view, pullBehavior)
  if (controller === 'there' || !mayRestartAlone({ ...view, facts })) return facts
  const all = payload.containers.map(({ name }) => name)
  const hasEnded = all.every(
    (name) =>
      factsOf(facts, name).knownStatus === 'STOPPED' &&
      !mayBeMoving({ ...view, facts }, name) &&
      !view.underway.has(`stopContainer:${name}`),
  )
  return hasEnded ? startedAgainAlone({ ...view, facts }, now, controller) : facts
}

/** Stop always wins: where anything else ends the task, no policy starts a container of it again. */
function withPolicies(view: TaskView, pullBehavior: PullBehavior): TaskFacts {
  const { payload, facts } = view
  if (facts.knownStatus === 'STOPPED') return facts
  const ended = payload.containers.filter((container) => restartsByPolicy(container, factsOf(facts, container.name)))
  if (ended.length === 0) return facts
  let again = facts
  for (const { name } of ended) again = withContainer(again, name, startedAgain(factsOf(facts, name)))
  return shouldStop(payload, again, pullBehavior) ? facts : again
}

/** The container's new facts where it is PENDING and will never run; undefined where nothing changes. */
function settleContainer(
  view: TaskView,
  container: PayloadContainer,
  stopping: boolean,
  now: number,
): ContainerFacts | undefined {
  const facts = factsOf(view.facts, container.name)
  if (facts.knownStatus !== 'PENDING' || mayBeMoving(view, container.name)) return undefined
  if (stopping) return { ...facts, ...endOfLastRun(facts), knownStatus: 'STOPPED', lastLogLines: [] }
  if (view.facts.adopted) return undefined
  const gate = startGate(view, container, now)
  if (gate.gate !== 'failed') return undefined
  return {
    ...facts,
    knownStatus: 'STOPPED',
    exitCode: dependencyFailedExitCode,
    reason: gate.reason,
    lastLogLines: [],
  }
}

/** What was to be started again and is not has ended as it did before. */
export function endOfLastRun({ lastRun }: ContainerFacts): Pick<ContainerFacts, 'exitCode' | 'finishedAt' | 'reason'> {
  if (lastRun === undefined) return {}
  const { exitCode, finishedAt, reason } = lastRun
  return { exitCode, finishedAt, ...(reason === undefined ? {} : { reason }) }
}

/** True where Docker is to be asked about the container first; without a name there is nothing to ask about. */
export function awaitsLook(view: TaskView, name: string): boolean {
  const { dockerId, dockerName } = factsOf(view.facts, name)
  return view.look.has(name) && (dockerId ?? dockerName) !== undefined
}

/** True while the container might be coming up without us knowing: nothing may be concluded before that is clear. */
export function mayBeMoving(view: TaskView, name: string): boolean {
  const status = view.observed.get(name)?.status
  return (
    awaitsLook(view, name) ||
    factsOf(view.facts, name).expected === true ||
    view.underway.has(`createContainer:${name}`) ||
    view.underway.has(`startContainer:${name}`) ||
    view.underway.has(`removeContainer:${name}`) ||
    status === 'running' ||
    status === 'restarting' ||
    status === 'paused'
  )
}

function dependencyGate(view: TaskView, name: string, condition: string, now: number): Gate {
  const facts = factsOf(view.facts, name)
  const stopped = facts.knownStatus === 'STOPPED'
  if (stopped && !facts.started) return { gate: 'failed', reason: `container ${name} never started` }
  if (condition === 'START') {
    return facts.knownStatus === 'PENDING' ? { gate: 'waiting', cause: `waits for container ${name} to start` } : open
  }
  if (condition === 'COMPLETE' && stopped) return open
  if (condition === 'SUCCESS' && stopped) {
    if (facts.exitCode === 0) return open
    return { gate: 'failed', reason: `container ${name} exited with ${facts.exitCode ?? 'no exit code'}, not with 0` }
  }
  if (condition === 'HEALTHY') {
    if (stopped) return { gate: 'failed', reason: `container ${name} stopped before it was healthy` }
    if (facts.healthStatus === 'HEALTHY') return open
  }
  const until = startDeadline(view.payload, facts, name)
  if (until !== undefined && now >= until) {
    return { gate: 'failed', reason: `container ${name} did not get ${condition} within its startTimeout` }
  }
  return { gate: 'waiting', cause: waitingCause(name, condition), until }
}

const open: Gate = { gate: 'open' }

function waitingCause(name: string, condition: string): string {
  if (condition === 'SUCCESS') return `waits for container ${name} to exit with 0`
  if (condition === 'COMPLETE') return `waits for container ${name} to exit`
  return `waits for container ${name} to be healthy`
}

function startDeadline(payload: PayloadTask, facts: ContainerFacts, name: string): number | undefined {
  const seconds = payload.containers.find((container) => container.name === name)?.startTimeout
  if (seconds === undefined || facts.startedAt === undefined) return undefined
  return facts.startedAt + seconds * 1000
}

/**
 * STOPPED once all containers are, and nobody is to start them again. RUNNING once each has come that far; but an essential container that stopped holds
 * the task's status until the others have stopped too.
 */
function taskStatusOf(payload: PayloadTask, facts: TaskFacts, isOpen: boolean): KnownTaskStatus {
  const all = payload.containers.map((container) => ({ container, status: factsOf(facts, container.name).knownStatus }))
  // Nothing to wait for: a task refused as malformed has no containers.
  if (all.every(({ status }) => status === 'STOPPED')) {
    return isOpen || (facts.adopted && payload.containers.length === 0) ? facts.knownStatus : 'STOPPED'
  }
  if (facts.knownStatus !== 'PENDING') return facts.knownStatus
  const essentialStopped = all.some(({ container, status }) => container.essential && status === 'STOPPED')
  if (essentialStopped && !facts.adopted) return facts.knownStatus
  return all.every(({ status }) => status !== 'PENDING') ? 'RUNNING' : 'PENDING'
}

/** When the first essential container ended, by Docker's clock; else the last of all. */
function endOf(payload: PayloadTask, facts: TaskFacts): number | undefined {
  const ends = (essential: boolean): number[] =>
    payload.containers
      .filter((container) => !essential || container.essential)
      .flatMap((container) => factsOf(facts, container.name).finishedAt ?? [])
  const first = ends(true).toSorted((a, b) => a - b)[0]
  return first ?? ends(false).toSorted((a, b) => b - a)[0]
}

export function factsOf(facts: TaskFacts, name: string): ContainerFacts {
  const found = facts.containers[name]
  if (found === undefined) throw new Error(`Task ${facts.taskArn} has no container ${name}.`)
  return found
}

export function withContainer(facts: TaskFacts, name: string, container: ContainerFacts): TaskFacts {
  return { ...facts, containers: { ...facts.containers, [name]: container } }
}
