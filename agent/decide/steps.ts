/**
 * What can be done next for a task, and only what can be done now: desired and observed in, steps out. It is asked
 * again after each answer and each event, so nothing here depends on having seen one.
 */
import type { PayloadContainer, PayloadVolume } from '../../proto/acs.ts'
import { labels } from '../engine.ts'
import type { CreateBody, ObservedContainer } from '../engine.ts'
import { createBody } from './container.ts'
import { awaitsLook, factsOf, shouldStop, startGate, stopsBefore } from './lifecycle.ts'
import { reportContent } from './report.ts'
import type { HostView, Retry, TaskView, Wait } from './view.ts'

/** Steps that ask something of Docker Engine: name -> arguments. `perform.ts` has an executor for each. */
export interface EngineSteps {
  pullImage: { readonly container: string; readonly image: string }
  createVolume: {
    readonly volume: string
    readonly dockerName: string
    readonly driver: string
    readonly options: Readonly<Record<string, string>>
    readonly labels: Readonly<Record<string, string>>
    /** A shared volume without autoprovision is only looked for. */
    readonly mustExist: boolean
  }
  createContainer: { readonly container: string; readonly dockerName: string; readonly body: CreateBody }
  startContainer: { readonly container: string; readonly dockerId: string }
  inspectContainer: { readonly container: string; readonly idOrName: string; readonly hint: number }
  stopContainer: { readonly container: string; readonly dockerId: string; readonly stopTimeoutSeconds: number }
  collectLogs: { readonly container: string; readonly dockerId: string }
  removeContainer: { readonly container: string; readonly dockerId: string }
  removeVolume: { readonly volume: string; readonly dockerName: string }
}

/** What each of them answers. */
export interface EngineAnswers {
  pullImage: { readonly digest: string | undefined; readonly pulled: boolean }
  createVolume: undefined
  createContainer: string
  startContainer: undefined
  inspectContainer: ObservedContainer | undefined
  stopContainer: undefined
  collectLogs: readonly string[]
  removeContainer: undefined
  removeVolume: undefined
}

/** Steps that the turn takes itself, at once: name -> arguments. */
export interface LocalSteps {
  /** Chooses the container's name and host ports, and journals them before anything is created. */
  prepareContainer: { readonly container: string }
  /** Queues a state change for the controller; `wait` is what the task waits for meanwhile. */
  report: { readonly content: string; readonly wait: Wait | undefined }
  /** Nothing can be done before something happens, or before `until`. */
  wait: Wait
  /** Nothing is left of the task. */
  forget: { readonly taskArn: string }
}

type StepsOf<Steps> = { [Name in keyof Steps]: { readonly step: Name; readonly args: Steps[Name] } }[keyof Steps]
export type EngineStep = StepsOf<EngineSteps>
export type LocalStep = StepsOf<LocalSteps>
export type Step = EngineStep | LocalStep

/** What a step is known by while it is under way: one of each kind for each object. */
export function stepKey(step: EngineStep): string {
  return `${step.step}:${'container' in step.args ? step.args.container : step.args.volume}`
}

/** Why a container waits that could be made or started but for the others of its host. */
export const startSlotCause = 'waits for other containers of this host to finish starting'

/** Each takes one of the places that the host's start limit gives: making a container is a part of starting it. */
export function takesStartSlot({ step }: Step): boolean {
  return step === 'createContainer' || step === 'startContainer'
}

/** True where a crash after it could not be mended unless the journal had what was decided before it. */
export function needsJournal(step: EngineStep): boolean {
  switch (step.step) {
    case 'createContainer': {
      // Its name follows from the task, and its labels say whose it is; but the ports that were picked are known here alone.
      const { HostConfig } = step.args.body as { HostConfig?: { PortBindings?: object } }
      return Object.keys(HostConfig?.PortBindings ?? {}).length > 0
    }
    case 'stopContainer':
    case 'removeContainer':
    case 'removeVolume':
      return true
    default:
      return false
  }
}

/** How long the last lines of output may hold up the report of STOPPED. */
const collectLogsMs = 5000
/** How long an adopted task that ended waits for its payload before it is reported as it is. */
const adoptedGraceMs = 60_000

/** A start that takes longer may have happened without its answer having come. */
const lookDuringStartMs = 10_000

/** A wait is told only when it lasts, then when its cause changes, and its age now and then. */
const firstWaitMs = 2000
const changedWaitMs = 5000
const sameWaitMs = 15_000

/** The view's facts must be settled (`lifecycle.settle`). */
export function nextSteps(view: TaskView, now: number, host: HostView): readonly Step[] {
  const steps = host.engineAnswers ? engineSteps(view, now, host) : [engineWait(host)]
  if (view.facts.reported?.status === 'STOPPED') return steps
  return [...steps, ...reportSteps(view, now, host, steps)]
}

function reportSteps(view: TaskView, now: number, host: HostView, steps: readonly Step[]): Step[] {
  const { facts } = view
  const content = reportContent(view)
  const stopped = facts.knownStatus === 'STOPPED'
  if (stopped && !stoppedIsWhole(view, now, host)) return []
  const waiting = stopped ? undefined : steps.find((step) => step.step === 'wait')?.args
  if (content !== (facts.reported?.content ?? '')) return [{ step: 'report', args: { content, wait: waiting } }]
  // What is begun now is waited for in a moment.
  if (stopped || steps.some(({ step }) => step !== 'wait')) return []
  const due = waitReportDue(view, waiting?.cause)
  if (due === undefined) return []
  if (now < due) return [{ step: 'wait', args: { cause: 'waits to report', since: now, until: due } }]
  return [{ step: 'report', args: { content, wait: waiting } }]
}

/** When what the task waits for is to be told (again); undefined where there is nothing to tell. */
function waitReportDue(view: TaskView, cause: string | undefined): number | undefined {
  const { reported, acceptedAt } = view.facts
  if (cause === undefined && reported?.waitCause === undefined) return undefined
  if (reported === undefined) return acceptedAt + firstWaitMs
  return reported.at + (reported.waitCause === cause ? sameWaitMs : changedWaitMs)
}

function engineWait(host: HostView): Step {
  return { step: 'wait', args: { cause: 'waits for Docker Engine to answer', since: host.engineSilentSince } }
}

function engineSteps(view: TaskView, now: number, host: HostView): Step[] {
  const { payload, facts } = view
  if (facts.knownStatus === 'STOPPED')
    return [...looks(view, now), ...strays(view, now, host), ...endSteps(view, now, host)]
  const stopping = shouldStop(payload, facts, host.pullBehavior)
  const steps = [...looks(view, now), ...strays(view, now, host), ...logSteps(view)]
  if (stopping) return [...steps, ...stopSteps(view, now, host)]
  if (facts.adopted) return [...steps, wait('waits for its payload from the controller', facts.acceptedAt)]
  return [...steps, ...startSteps(view, now, host)]
}

/** Containers about which something must be found out before anything else is concluded. */
function looks(view: TaskView, now: number): Step[] {
  return view.payload.containers.flatMap(({ name }) => {
    const hint = view.look.get(name)
    const { dockerId, dockerName, lookRetry } = factsOf(view.facts, name)
    const idOrName = dockerId ?? dockerName
    if (hint === undefined || idOrName === undefined) return []
    const again = retryWait(lookRetry, now, `container ${name} to be shown by Docker Engine`)
    if (again !== undefined) return [again]
    // The answer to a start brings a look with it; Docker's event of the same start need not bring another.
    const starting = view.underway.get(`startContainer:${name}`)
    const until = (starting?.since ?? 0) + lookDuringStartMs
    if (starting !== undefined && now < until)
      return [wait(`waits for container ${name} to start`, starting.since, until)]
    return unlessUnderway(view, { step: 'inspectContainer', args: { container: name, idOrName, hint } })
  })
}

/** A container that counts as STOPPED and is seen running (a start that went through late) is stopped again. */
function strays(view: TaskView, now: number, host: HostView): Step[] {
  return view.payload.containers.flatMap((container) => {
    const running = ['running', 'paused', 'restarting'].includes(view.observed.get(container.name)?.status ?? '')
    if (!running || factsOf(view.facts, container.name).knownStatus !== 'STOPPED') return []
    return stopStep(view, container, now, host)
  })
}

function logSteps(view: TaskView): Step[] {
  return view.payload.containers.flatMap(({ name }) => {
    const { knownStatus, started, dockerId, lastLogLines } = factsOf(view.facts, name)
    if (knownStatus !== 'STOPPED' || !started || dockerId === undefined || lastLogLines !== undefined) return []
    return unlessUnderway(view, { step: 'collectLogs', args: { container: name, dockerId } })
  })
}

function startSteps(view: TaskView, now: number, host: HostView): Step[] {
  const volumes = view.payload.volumes.flatMap((volume) => volumeSteps(view, volume, now))
  let slots = host.startSlotsFree
  const containers = view.payload.containers.flatMap((container) => {
    const steps = containerSteps(view, container, now, host, slots)
    slots -= steps.filter(takesStartSlot).length
    return steps
  })
  return [...volumes, ...containers]
}

function volumeSteps(view: TaskView, volume: PayloadVolume, now: number): Step[] {
  const facts = view.facts.volumes[volume.name]
  if (facts === undefined || facts.created) return []
  const retry = retryWait(facts.retry, now, `volume ${volume.name} to be created`)
  if (retry !== undefined) return [retry]
  const docker = volume.dockerVolumeConfiguration
  const args = {
    volume: volume.name,
    dockerName: facts.dockerName,
    driver: docker?.driver ?? 'local',
    options: docker?.driverOpts ?? {},
    labels: { ...docker?.labels, ...(facts.ours ? { [labels.taskArn]: view.payload.arn } : {}) },
    mustExist: docker?.scope === 'shared' && docker.autoprovision !== true,
  }
  return orWait(view, { step: 'createVolume', args }, `waits for volume ${volume.name} to be created`)
}

function containerSteps(
  view: TaskView,
  container: PayloadContainer,
  now: number,
  host: HostView,
  startSlotsFree: number,
): Step[] {
  const { name, image } = container
  const facts = factsOf(view.facts, name)
  if (facts.knownStatus !== 'PENDING') return []
  if (awaitsLook(view, name) || facts.expected === true)
    return [wait(`waits for Docker Engine to show container ${name}`, now)]
  const retry = retryWait(facts.retry, now, facts.imageReady ? `container ${name} to start` : `image ${image}`)
  if (retry !== undefined) return [retry]
  if (!facts.imageReady) {
    return orWait(
      view,
      { step: 'pullImage', args: { container: name, image } },
      `waits for image ${image} to be pulled`,
    )
  }
  if (facts.remake === true && facts.dockerId !== undefined) {
    const remove = { step: 'removeContainer', args: { container: name, dockerId: facts.dockerId } } as const
    return orWait(view, remove, `waits for container ${name} to be made anew with another host port`)
  }
  const gate = startGate(view, container, now)
  if (gate.gate !== 'open') return gate.gate === 'waiting' ? [wait(gate.cause, view.facts.acceptedAt, gate.until)] : []
  if (!mountsReady(view, container)) return []
  const isMoving = view.underway.has(`createContainer:${name}`) || view.underway.has(`startContainer:${name}`)
  if (startSlotsFree <= 0 && !isMoving) return [wait(startSlotCause, view.facts.acceptedAt)]
  if (facts.dockerName === undefined) return [{ step: 'prepareContainer', args: { container: name } }]
  if (facts.dockerId === undefined) {
    const body = createBody(view.payload, container, view.facts, host)
    const create = { step: 'createContainer', args: { container: name, dockerName: facts.dockerName, body } } as const
    return orWait(view, create, `waits for container ${name} to be created`)
  }
  const start = { step: 'startContainer', args: { container: name, dockerId: facts.dockerId } } as const
  return orWait(view, start, `waits for container ${name} to start`)
}

function mountsReady(view: TaskView, container: PayloadContainer): boolean {
  return container.mountPoints.every(({ sourceVolume }) => view.facts.volumes[sourceVolume]?.created ?? true)
}

function stopSteps(view: TaskView, now: number, host: HostView): Step[] {
  return view.payload.containers.flatMap((container) => {
    const { name } = container
    if (factsOf(view.facts, name).knownStatus !== 'RUNNING') {
      const starting = view.underway.get(`startContainer:${name}`) ?? view.underway.get(`createContainer:${name}`)
      return starting === undefined
        ? []
        : [wait(`waits for container ${name} to come up before it can stop`, starting.since)]
    }
    const before = stopsBefore(view.payload, view.facts, name)
    if (before.length > 0) return [wait(`waits for container ${before.join(' and ')} to stop before ${name}`, now)]
    return stopStep(view, container, now, host)
  })
}

function stopStep(view: TaskView, container: PayloadContainer, now: number, host: HostView): Step[] {
  const { name } = container
  const { dockerId, retry } = factsOf(view.facts, name)
  if (dockerId === undefined || view.underway.has(`startContainer:${name}`)) return []
  const again = retryWait(retry, now, `container ${name} to stop`)
  if (again !== undefined) return [again]
  const stopTimeoutSeconds = container.stopTimeout ?? host.stopTimeoutSeconds
  const stop = { step: 'stopContainer', args: { container: name, dockerId, stopTimeoutSeconds } } as const
  return orWait(view, stop, `waits for container ${name} to stop`)
}

/** True once the last report can be written: the output of what ran has been asked for, and had its time to come. */
function stoppedIsWhole(view: TaskView, now: number, host: HostView): boolean {
  if (view.facts.adopted && now < view.facts.acceptedAt + adoptedGraceMs) return false
  if (!host.engineAnswers) return true
  return view.payload.containers.every(({ name }) => {
    const { started, lastLogLines, dockerId } = factsOf(view.facts, name)
    if (!started || lastLogLines !== undefined || dockerId === undefined) return true
    const asked = view.underway.get(`collectLogs:${name}`)
    return asked !== undefined && now >= asked.since + collectLogsMs
  })
}

function endSteps(view: TaskView, now: number, host: HostView): Step[] {
  const { facts } = view
  if (facts.reported?.status !== 'STOPPED') {
    const until = wholeAt(view)
    const pending = [...logSteps(view)]
    return until === undefined ? pending : [...pending, wait('waits for the last lines of its output', now, until)]
  }
  if (facts.stoppedAcknowledgedAt === undefined) return []
  const cleanupAt = facts.stoppedAcknowledgedAt + host.cleanupWaitMs
  if (now < cleanupAt) return [wait('is kept until its cleanup', facts.stoppedAcknowledgedAt, cleanupAt)]
  return cleanupSteps(view, now)
}

/** When the last of what its report waits for has had its time; an earlier instant would wake the turn over and over. */
function wholeAt(view: TaskView): number | undefined {
  const adopted = view.facts.adopted ? [view.facts.acceptedAt + adoptedGraceMs] : []
  const asked = [...view.underway].filter(([key]) => key.startsWith('collectLogs:'))
  const ends = [...adopted, ...asked.map(([, { since }]) => since + collectLogsMs)]
  return ends.length === 0 ? undefined : Math.max(...ends)
}

function cleanupSteps(view: TaskView, now: number): Step[] {
  const { payload } = view
  const removals = payload.containers.flatMap(({ name }): Step[] => {
    const { dockerId, removed, retry } = factsOf(view.facts, name)
    if (dockerId === undefined || removed === true) return []
    const again = retryWait(retry, now, `container ${name} to be removed`)
    return again === undefined
      ? orWait(
          view,
          { step: 'removeContainer', args: { container: name, dockerId } },
          `waits for ${name} to be removed`,
        )
      : [again]
  })
  if (removals.length > 0) return removals
  const volumes = Object.entries(view.facts.volumes).flatMap(([volume, facts]): Step[] => {
    if (!facts.ours || !facts.created || facts.removed === true) return []
    const again = retryWait(facts.retry, now, `volume ${volume} to be removed`)
    const remove = { step: 'removeVolume', args: { volume, dockerName: facts.dockerName } } as const
    return again === undefined ? orWait(view, remove, `waits for volume ${volume} to be removed`) : [again]
  })
  return volumes.length > 0 ? volumes : [{ step: 'forget', args: { taskArn: payload.arn } }]
}

function wait(cause: string, since: number, until?: number): Step {
  return { step: 'wait', args: { cause, since, until } }
}

function retryWait(retry: Retry | undefined, now: number, what: string): Step | undefined {
  if (retry === undefined || now >= retry.notBefore) return undefined
  return wait(`waits to try again after ${retry.attempts} failures: ${what}`, now, retry.notBefore)
}

function unlessUnderway(view: TaskView, step: EngineStep): Step[] {
  return view.underway.has(stepKey(step)) ? [] : [step]
}

/** The step; or, while it is under way, the wait for it. */
function orWait(view: TaskView, step: EngineStep, cause: string): Step[] {
  const underway = view.underway.get(stepKey(step))
  return underway === undefined ? [step] : [wait(cause, underway.since)]
}
