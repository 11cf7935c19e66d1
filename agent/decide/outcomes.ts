/**
 * What follows from the answer to a step: new facts, or a retry with back-off, or the container's end with a reason in
 * the official agent's words. A call that got no answer may have happened: then it is looked at again.
 */
import { withPullAdvice, withStartAdvice } from './advice.ts'
import type { ObservedContainer } from '../engine.ts'
import type { EngineErrorKind } from '../engine.ts'
import { internalNames } from './internal-containers.ts'
import { endOfLastRun, factsOf, withContainer } from './lifecycle.ts'
import { foldAbsence, foldObservation } from './observation.ts'
import { boundedLogLines } from './report.ts'
import { isToBeRemade, remadeAsItWas } from './restart.ts'
import { retryMostMs } from './step-forms.ts'
import type { EngineAnswers, EngineStep, EngineSteps } from './steps.ts'
import type { ContainerFacts, TaskFacts } from './view.ts'
import { mountFailure } from './mount-failure.ts'
import { afterFetch } from './fetch-outcome.ts'

export interface StepFailure {
  readonly kind: EngineErrorKind
  readonly message: string
}

export type Outcome<Name extends keyof EngineSteps> =
  | { readonly ok: true; readonly answer: EngineAnswers[Name] }
  | { readonly ok: false; readonly failure: StepFailure }

export interface AfterStep {
  readonly facts: TaskFacts
  /** Look at this container again before concluding anything. */
  readonly look?: string | undefined
  /** What Docker showed, for the view. */
  readonly observed?: { readonly container: string; readonly shown: ObservedContainer | undefined } | undefined
  /** The engine gave no answer: see whether it is there at all. */
  readonly engineDoubtful?: boolean | undefined
}

export interface FinishedStep {
  readonly step: EngineStep
  readonly outcome: Outcome<keyof EngineSteps>
  readonly startedAt: number
  readonly now: number
}

const pullAttemptsMax = 3
const callAttemptsMax = 3
const engineAttemptsMax = 10
const retryFirstMs = 1000
const portsRefusedMax = 20

type Folds = {
  readonly [Name in keyof EngineSteps]: (
    facts: TaskFacts,
    args: EngineSteps[Name],
    outcome: Outcome<Name>,
    time: { readonly startedAt: number; readonly now: number },
  ) => AfterStep
}

/** A step that comes back after its task went on without it changes nothing that is already final. */
export function afterStep(facts: TaskFacts, finished: FinishedStep): AfterStep {
  const { step, outcome, startedAt, now } = finished
  // The pairing of a step's name with its arguments and outcome is lost to the compiler in a union.
  const fold = folds[step.step] as (
    facts: TaskFacts,
    args: EngineStep['args'],
    outcome: Outcome<keyof EngineSteps>,
    time: { readonly startedAt: number; readonly now: number },
  ) => AfterStep
  const after = fold(facts, step.args, outcome, { startedAt, now })
  // What is fetched comes from the controller: its silence says nothing of the engine.
  const silent =
    step.step !== 'fetchForContainer' &&
    !outcome.ok &&
    (outcome.failure.kind === 'unreachable' || outcome.failure.kind === 'deadline')
  return silent ? { ...after, engineDoubtful: true } : after
}

const folds: Folds = {
  pullImage(facts, { container, image, loginOf }, outcome, { startedAt, now }) {
    const before = factsOf(facts, container)
    const pulled = !outcome.ok || outcome.answer.pulled
    const timed: TaskFacts = pulled
      ? { ...facts, pullStartedAt: facts.pullStartedAt ?? startedAt, pullStoppedAt: now }
      : facts
    if (before.knownStatus !== 'PENDING') return { facts }
    if (outcome.ok) {
      const imageDigest = outcome.answer.digest
      return { facts: withContainer(timed, container, { ...before, imageReady: true, imageDigest, retry: undefined }) }
    }
    const { kind, message } = outcome.failure
    const definite = kind === 'notFound' || kind === 'denied'
    const attempts = (before.retry?.attempts ?? 0) + 1
    // `unreachable` is the engine's absence, not the registry's.
    const attemptsMax = kind === 'unreachable' ? engineAttemptsMax : pullAttemptsMax
    if (!definite && attempts < attemptsMax) return { facts: withContainer(timed, container, later(before, now)) }
    const failed = { ...ended(before, pullReason(image, kind, message, loginOf !== undefined)), pullFailed: true }
    return { facts: withContainer(timed, container, failed) }
  },

  fetchForContainer: afterFetch,

  createCgroup(facts, { cgroup, epoch }, outcome, { now }) {
    if (outcome.ok) return { facts: { ...facts, cgroup: { parent: cgroup, epoch } } }
    const attempts = (facts.cgroup?.retry?.attempts ?? 0) + 1
    if (attempts < callAttemptsMax) {
      return { facts: { ...facts, cgroup: { parent: cgroup, retry: retryAfter(attempts, now) } } }
    }
    // What runs is in its cgroup already: the next life of the agent sees to it again.
    if (isUp(facts)) return { facts: { ...facts, cgroup: { parent: cgroup, epoch } } }
    const reason = `CgroupError: Agent could not create task's platform resources: ${outcome.failure.message}`
    return { facts: { ...facts, cgroup: { parent: cgroup }, reason: facts.reason ?? reason } }
  },

  removeCgroup(facts, { cgroup }, outcome, { now }) {
    const attempts = (facts.cgroup?.retry?.attempts ?? 0) + 1
    // What is left empty of a cgroup costs nothing; the task is not kept for it for ever.
    if (outcome.ok || attempts >= engineAttemptsMax)
      return { facts: { ...facts, cgroup: { parent: cgroup, removed: true } } }
    return { facts: { ...facts, cgroup: { parent: cgroup, retry: retryAfter(attempts, now) } } }
  },

  prepareNetwork(facts, _args, outcome, { now }) {
    if (outcome.ok) return { facts: { ...facts, network: { isReady: true } } }
    const { kind, message } = outcome.failure
    // An engine that is not there is no failure of the network's.
    const attempts = (facts.network?.retry?.attempts ?? 0) + (kind === 'unreachable' ? 0 : 1)
    if (kind !== 'unreachable' && (kind !== 'deadline' || attempts >= callAttemptsMax)) {
      return { facts: { ...facts, reason: facts.reason ?? `ContainerNetworkingError: ${message}` } }
    }
    return { facts: { ...facts, network: { retry: retryAfter(attempts, now) } } }
  },

  createVolume(facts, { volume, dockerName }, outcome, { now }) {
    const before = facts.volumes[volume] ?? { dockerName, created: false, ours: false }
    if (outcome.ok) return { facts: withVolume(facts, volume, { ...before, created: true, retry: undefined }) }
    const { kind, message } = outcome.failure
    const attempts = (before.retry?.attempts ?? 0) + 1
    if (kind !== 'unreachable' && (kind !== 'deadline' || attempts >= callAttemptsMax)) {
      return { facts: { ...facts, reason: facts.reason ?? `CannotCreateVolumeError: ${message}` } }
    }
    return { facts: withVolume(facts, volume, { ...before, retry: retryAfter(attempts, now) }) }
  },

  mountFileSystem(facts, { volume, dockerName, fileSystem }, outcome, { now }) {
    const before = facts.volumes[volume] ?? { dockerName, created: false, ours: false, isFileSystem: true }
    if (outcome.ok) {
      return { facts: withVolume(facts, volume, { ...before, created: true, checkedAt: now, retry: undefined }) }
    }
    const { kind, message } = outcome.failure
    const attempts = (before.retry?.attempts ?? 0) + 1
    // After a reboot a host may have its tasks back before its mounts; and one that was found running had it mounted.
    const attemptsMax = before.created || isUp(facts) ? engineAttemptsMax : 1
    if (kind === 'unreachable' || attempts < attemptsMax) {
      return { facts: withVolume(facts, volume, { ...before, retry: retryAfter(attempts, now) }) }
    }
    return { facts: { ...facts, reason: facts.reason ?? mountFailure(fileSystem, volume, message) } }
  },

  createContainer(facts, { container }, outcome, { now }) {
    const before = factsOf(facts, container)
    if (outcome.ok) {
      const created = { ...before, dockerId: outcome.answer, retry: undefined }
      return { facts: withContainer(facts, container, created) }
    }
    return afterFailedCall(facts, container, outcome.failure, now, 'created', 'CannotCreateContainerError')
  },

  startContainer(facts, { container }, outcome, { startedAt, now }) {
    const before = factsOf(facts, container)
    if (outcome.ok) {
      if (before.knownStatus !== 'PENDING') return { facts, look: container }
      // Docker's own instant follows with the look; it lies between the asking and the answer.
      const running: ContainerFacts = { ...before, knownStatus: 'RUNNING', started: true, startedAt, retry: undefined }
      // Its next start is into a network that is looked at anew.
      const network = container === internalNames.CNI_PAUSE ? undefined : facts.network
      return { facts: withContainer({ ...facts, network }, container, running), look: container }
    }
    const port = refusedPort(outcome.failure.message, before)
    const refusedPorts = [...(before.refusedPorts ?? []), ...(port ?? [])]
    if (port !== undefined && before.knownStatus === 'PENDING' && refusedPorts.length <= portsRefusedMax) {
      return {
        facts: withContainer(facts, container, { ...before, refusedPorts, remake: true, remadeInRun: undefined }),
      }
    }
    const { kind } = outcome.failure
    if (kind !== 'unreachable' && kind !== 'deadline' && isToBeRemade(before)) {
      return { facts: withContainer(facts, container, remadeAsItWas(before)) }
    }
    return afterFailedCall(facts, container, outcome.failure, now, 'started', 'CannotStartContainerError')
  },

  inspectContainer(facts, { container }, outcome, { now }) {
    const before = factsOf(facts, container)
    if (!outcome.ok) {
      const lookRetry = retryAfter((before.lookRetry?.attempts ?? 0) + 1, now)
      return { facts: withContainer(facts, container, { ...before, lookRetry }), look: container }
    }
    const shown = outcome.answer
    const seen = { ...before, lookRetry: undefined }
    if (shown === undefined && before.remake === true && before.knownStatus === 'PENDING') {
      return { facts: withContainer(facts, container, unmade(seen)), observed: { container, shown } }
    }
    const after = shown === undefined ? foldAbsence(seen) : foldObservation(seen, shown)
    return { facts: withContainer(facts, container, after), observed: { container, shown } }
  },

  stopContainer(facts, { container }, _outcome, { now }) {
    const before = factsOf(facts, container)
    // Only what Docker shows ends a container, whatever a stop answered.
    return { facts: withContainer(facts, container, later(before, now)), look: container }
  },

  collectLogs(facts, { container }, outcome) {
    const before = factsOf(facts, container)
    // It was started again meanwhile: its last lines are still to come.
    if (before.knownStatus !== 'STOPPED') return { facts }
    const lastLogLines = outcome.ok ? boundedLogLines(outcome.answer) : []
    return { facts: withContainer(facts, container, { ...before, lastLogLines }) }
  },

  removeContainer(facts, { container, dockerId }, outcome, { now }) {
    const before = factsOf(facts, container)
    if (!outcome.ok) return { facts: withContainer(facts, container, later(before, now)), look: container }
    // A look may have found it gone already, and it may be on its way to being made anew.
    if (before.dockerId !== dockerId) return { facts }
    const anew = before.remake === true && before.knownStatus === 'PENDING'
    const after = anew ? unmade(before) : { ...before, removed: true }
    return { facts: withContainer(facts, container, after), observed: { container, shown: undefined } }
  },

  removeVolume(facts, { volume, dockerName }, outcome, { now }) {
    const before = facts.volumes[volume] ?? { dockerName, created: true, ours: true }
    if (outcome.ok) return { facts: withVolume(facts, volume, { ...before, removed: true }) }
    const attempts = (before.retry?.attempts ?? 0) + 1
    // A volume that another container of the host took into use is not this task's to insist on.
    if (outcome.failure.kind === 'conflict' && attempts >= callAttemptsMax) {
      return { facts: withVolume(facts, volume, { ...before, removed: true }) }
    }
    return { facts: withVolume(facts, volume, { ...before, retry: retryAfter(attempts, now) }) }
  },

  releaseFileSystem(facts, { volume, dockerName }, outcome, { now }) {
    const before = facts.volumes[volume] ?? { dockerName, created: true, ours: false, isFileSystem: true }
    const attempts = (before.retry?.attempts ?? 0) + 1
    // A mount that a dead server holds may never go; what is left of it is looked for again, and the task is done.
    const isGivenUp = !outcome.ok && outcome.failure.kind !== 'unreachable' && attempts >= engineAttemptsMax
    if (outcome.ok || isGivenUp) return { facts: withVolume(facts, volume, { ...before, removed: true }) }
    return { facts: withVolume(facts, volume, { ...before, retry: retryAfter(attempts, now) }) }
  },
}

function afterFailedCall(
  facts: TaskFacts,
  container: string,
  failure: StepFailure,
  now: number,
  state: 'created' | 'started',
  errorName: string,
): AfterStep {
  const before = factsOf(facts, container)
  if (before.knownStatus !== 'PENDING') return { facts, look: container }
  if (failure.kind === 'unreachable') {
    // An engine that is not there is no failure of the container's; it is asked again once it answers.
    return { facts: withContainer(facts, container, later(before, now, before.retry?.attempts ?? 0)), look: container }
  }
  const attempts = (before.retry?.attempts ?? 0) + 1
  const mayHaveHappened = failure.kind === 'deadline' || failure.kind === 'conflict'
  if (mayHaveHappened && attempts < callAttemptsMax) {
    return { facts: withContainer(facts, container, later(before, now)), look: container }
  }
  const reason =
    failure.kind === 'deadline'
      ? `DockerTimeoutError: Could not transition to ${state}; ${failure.message}`
      : `${errorName}: ${withStartAdvice(failure.message)}`
  return { facts: withContainer(facts, container, ended(before, reason)), look: container }
}

function pullReason(image: string, kind: EngineErrorKind, message: string, hasLogin: boolean): string {
  const advised = withPullAdvice(message, kind, hasLogin)
  if (kind === 'deadline') return `DockerTimeoutError: Could not transition to pulled; ${advised}`
  if (kind === 'denied') {
    return `CannotPullContainerError: The registry refused access to the image ${image}: ${advised}`
  }
  if (kind === 'notFound') return `CannotPullContainerError: The image ${image} does not exist: ${advised}`
  return `CannotPullContainerError: ${advised}`
}

/** The host ports to avoid where a start failed because another program holds one that was picked. */
function refusedPort(message: string, facts: ContainerFacts): readonly number[] | undefined {
  if (!/port is already allocated|address already in use/i.test(message)) return undefined
  const named = facts.hostPorts.filter(({ hostPort }) => new RegExp(`\\b${hostPort}\\b`).test(message))
  const dynamic = (named.length > 0 ? named : facts.hostPorts).filter(({ picked }) => picked)
  return dynamic.length === 0 ? undefined : dynamic.map(({ hostPort }) => hostPort)
}

/** Back to before it was made; where its ports are the trouble, to before it had a name and ports, so that both are chosen anew. */
function unmade(facts: ContainerFacts): ContainerFacts {
  const { dockerId: _id, dockerName, retry: _retry, remake: _remake, ...kept } = facts
  if (facts.remadeInRun !== undefined && facts.remadeInRun === facts.restartCount) return { ...kept, dockerName }
  return { ...kept, hostPorts: [] }
}

function ended(facts: ContainerFacts, reason: string): ContainerFacts {
  const { exitCode, finishedAt } = endOfLastRun(facts)
  return {
    ...facts,
    knownStatus: 'STOPPED',
    reason: facts.reason ?? reason,
    exitCode: facts.exitCode ?? exitCode,
    finishedAt: facts.finishedAt ?? finishedAt,
    lastLogLines: [],
    retry: undefined,
  }
}

function later(
  facts: ContainerFacts,
  now: number,
  attempts: number = (facts.retry?.attempts ?? 0) + 1,
): ContainerFacts {
  return { ...facts, retry: retryAfter(attempts, now) }
}

function isUp(facts: TaskFacts): boolean {
  return Object.values(facts.containers).some(({ knownStatus }) => knownStatus === 'RUNNING')
}

function retryAfter(attempts: number, now: number) {
  return { attempts, notBefore: now + Math.min(retryMostMs, retryFirstMs * 2 ** Math.max(0, attempts - 1)) }
}

function withVolume(facts: TaskFacts, name: string, volume: TaskFacts['volumes'][string]): TaskFacts {
  return { ...facts, volumes: { ...facts.volumes, [name]: volume } }
}
