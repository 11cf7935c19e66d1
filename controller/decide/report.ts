/**
 * What an agent's report does to a task. Reports come at least once, late and out of order over two ways (the Submit
 * calls of the official agent, the channel of ours); statuses only move forward, so that taking one twice changes
 * nothing.
 */
import type { GantryContainerStateChange } from '../../proto/acs.ts'
import { lastLogBytesMax, lastLogLinesMax } from '../../proto/acs.ts'
import type { ContainerStatus } from '../../proto/status.ts'
import { containerStatuses, isLaterContainerStatus, isLaterTaskStatus } from '../../proto/status.ts'
import { sameRow } from '../state/equal.ts'
import type { TaskContainer, TaskDefinitionRow, TaskRow } from '../state/tables.ts'
import { isNeverStarted } from './exit-code.ts'
import { type AttachmentReport, attachmentsAfter } from './task-attachments.ts'

/** A report on one task, in the members that SubmitTaskStateChange and Gantry's own message share. */
export interface TaskReport {
  /** PENDING, RUNNING or STOPPED; absent where only containers changed. */
  readonly status?: string | undefined
  readonly reason?: string | undefined
  readonly containers?: readonly ContainerReport[] | undefined
  /** Epoch milliseconds, as are the next two. */
  readonly pullStartedAt?: number | undefined
  readonly pullStoppedAt?: number | undefined
  readonly executionStoppedAt?: number | undefined
  readonly waitingFor?: string | undefined
  readonly attachments?: readonly AttachmentReport[] | undefined
}

export type ContainerReport = Omit<GantryContainerStateChange, 'status'> & { readonly status?: string | undefined }

/**
 * The task after `report`, or `task` itself where the report says nothing new. A task that is STOPPED stays as it is.
 * `definition` tells which containers have health checks; undefined where it is gone.
 */
export function taskAfterReport(
  task: TaskRow,
  report: TaskReport,
  definition: TaskDefinitionRow | undefined,
  now: number,
): TaskRow {
  if (task.lastStatus === 'STOPPED') return task
  const containers = containersAfter(task.containers, report.containers ?? [])
  const base: TaskRow = {
    ...task,
    containers,
    attachments: attachmentsAfter(task, report.status, report.attachments ?? []),
    healthStatus: healthOfTask(containers, definition),
    pullStartedAt: task.pullStartedAt ?? report.pullStartedAt,
    pullStoppedAt: task.pullStoppedAt ?? report.pullStoppedAt,
    executionStoppedAt: task.executionStoppedAt ?? report.executionStoppedAt,
    waitingFor: report.waitingFor,
  }
  const next = withStatus(base, report, now)
  if (sameRow(task, next)) return task
  return { ...next, version: task.version + 1, reportedAt: now }
}

/** Health statuses as telemetry brings them (PublishHealthRequest), by container name. */
export function taskAfterHealth(
  task: TaskRow,
  statuses: ReadonlyMap<string, 'HEALTHY' | 'UNHEALTHY' | 'UNKNOWN'>,
  definition: TaskDefinitionRow | undefined,
): TaskRow {
  if (task.lastStatus === 'STOPPED') return task
  const containers = task.containers.map((container) => {
    const healthStatus = statuses.get(container.name)
    return healthStatus === undefined ? container : { ...container, healthStatus }
  })
  const next: TaskRow = { ...task, containers, healthStatus: healthOfTask(containers, definition) }
  return sameRow(task, next) ? task : { ...next, version: task.version + 1 }
}

function withStatus(task: TaskRow, report: TaskReport, now: number): TaskRow {
  if (report.status === 'STOPPED') return stopped(task, report, now)
  if (report.status !== 'RUNNING') return task
  // One that runs waits for nothing, unless it is to stop.
  const waitingFor = task.desiredStatus === 'STOPPED' ? task.waitingFor : undefined
  const released: TaskRow = { ...task, reserved: { ...task.reserved, dynamicPortsAwaited: 0 }, waitingFor }
  if (!isLaterTaskStatus(task.lastStatus, 'RUNNING')) return released
  return { ...released, lastStatus: 'RUNNING', startedAt: task.startedAt ?? lastStart(task.containers, now) ?? now }
}

/**
 * Whether the task's end is that of a task that ran. One that was never heard to be RUNNING may have run all the same:
 * it was short, or its agent was killed before it could say so. An essential container that could not be started has
 * a reason and no exit code, and then the others ran in vain.
 */
export function hasRun(task: TaskRow): boolean {
  if (task.startedAt !== undefined) return true
  const essential = task.containers.filter((container) => container.essential)
  const started = essential.filter(
    (container) =>
      container.startedAt !== undefined || (container.exitCode !== undefined && !isNeverStarted(container)),
  )
  const isFailedStart = essential.some((container) => container.reason !== undefined && !started.includes(container))
  return started.length > 0 && !isFailedStart
}

function stopped(task: TaskRow, report: TaskReport, now: number): TaskRow {
  const ran = hasRun(task)
  return {
    ...task,
    lastStatus: 'STOPPED',
    desiredStatus: 'STOPPED',
    startedAt: task.startedAt ?? (ran ? lastStart(task.containers, now) : undefined),
    containers: task.containers.map((container) => ({ ...container, lastStatus: 'STOPPED' as const })),
    stopCode: task.stopCode ?? (ran ? 'EssentialContainerExited' : 'TaskFailedToStart'),
    stoppedReason: stoppedReasonOf(task, report, ran),
    stoppingAt: task.stoppingAt ?? task.executionStoppedAt ?? now,
    executionStoppedAt: task.executionStoppedAt ?? now,
    stoppedAt: now,
    reserved: { ...task.reserved, dynamicPortsAwaited: 0 },
    waitingFor: undefined,
    // A report of the end answers whatever the agent was told about the task, a payload that it could not read too.
    acknowledgedSeqNum: task.seqNum,
  }
}

/** What the task itself says goes before the sentence that stood for its end while its other containers were stopping. */
function stoppedReasonOf(task: TaskRow, report: TaskReport, ran: boolean): string {
  if (task.stoppedReason === essentialExited) return exitReason(report)
  return task.stoppedReason ?? (ran ? exitReason(report) : startFailure(task, report))
}

const essentialExited = 'Essential container in task exited'

function exitReason(report: TaskReport): string {
  return filled(report.reason) ?? essentialExited
}

/** ECS says only "Task failed to start" on EC2; the text that explains it stands with a container. */
function startFailure(task: TaskRow, report: TaskReport): string {
  return filled(report.reason) ?? startFailureOf(task.containers)
}

/** What those containers say that waited for another one is only where the search for the cause begins. */
export function startFailureOf(containers: readonly TaskContainer[]): string {
  const withReason = containers.filter((container) => filled(container.reason) !== undefined)
  const cause = withReason.find((container) => !isNeverStarted(container)) ?? withReason[0]
  return cause?.reason ?? 'Task failed to start'
}

function containersAfter(
  containers: readonly TaskContainer[],
  reports: readonly ContainerReport[],
): readonly TaskContainer[] {
  // One call may carry several entries for a container (RUNNING, then STOPPED); they are taken in their order.
  return containers.map((container) =>
    reports.filter((report) => report.containerName === container.name).reduce(containerAfter, container),
  )
}

/**
 * A container that was started again in place has a life of its own from then on: what was said of the one before it is
 * over, and what is said of it later, by a report that was held up, is no news.
 */
function containerAfter(known: TaskContainer, report: ContainerReport): TaskContainer {
  const restarts = report.restartCount ?? 0
  const knownRestarts = known.restartCount ?? 0
  if (report.restartCount !== undefined && restarts < knownRestarts) return known
  const container = restarts > knownRestarts ? startedAgain(known, restarts) : known
  const status = containerStatusOf(report.status)
  const later = status !== undefined && isLaterContainerStatus(container.lastStatus, status)
  const lastStatus = later ? status : container.lastStatus
  return {
    ...container,
    lastStatus,
    // The official agent repeats an exit code on a RUNNING entry of a container that has since ended: it counts with
    // STOPPED alone.
    exitCode: lastStatus === 'STOPPED' ? (container.exitCode ?? report.exitCode) : undefined,
    reason: container.reason ?? filled(report.reason),
    runtimeId: report.runtimeId ?? container.runtimeId,
    imageDigest: report.imageDigest ?? container.imageDigest,
    networkBindings: report.networkBindings ?? container.networkBindings,
    healthStatus: report.healthStatus ?? container.healthStatus,
    startedAt: report.startedAt ?? container.startedAt,
    finishedAt: report.finishedAt ?? container.finishedAt,
    lastLogLines: container.lastLogLines ?? boundedLog(report.lastLogLines),
  }
}

function startedAgain(container: TaskContainer, restartCount: number): TaskContainer {
  const { exitCode: _code, reason: _reason, finishedAt: _end, lastLogLines: _lines, ...kept } = container
  const healthStatus = container.healthStatus === undefined ? undefined : ('UNKNOWN' as const)
  return { ...kept, restartCount, lastStatus: 'PENDING', healthStatus }
}

function containerStatusOf(text: string | undefined): ContainerStatus | undefined {
  return containerStatuses.find((status) => status === text)
}

const utf8 = new TextEncoder()

/** The newest lines that fit, whatever an agent sends. */
function boundedLog(lines: readonly string[] | undefined): readonly string[] | undefined {
  if (lines === undefined) return undefined
  const kept: string[] = []
  let room = lastLogBytesMax
  for (const line of lines.slice(-lastLogLinesMax).reverse()) {
    const size = utf8.encode(line).length
    if (size > room) break
    room -= size
    kept.unshift(line)
  }
  return kept
}

/** ECS's rule: of the essential containers with a health check, one UNHEALTHY is enough; HEALTHY takes them all. */
function healthOfTask(
  containers: readonly TaskContainer[],
  definition: TaskDefinitionRow | undefined,
): 'HEALTHY' | 'UNHEALTHY' | 'UNKNOWN' {
  const checked = new Set(
    (definition?.containerDefinitions ?? []).filter((c) => c.healthCheck !== undefined).map((c) => c.name),
  )
  const statuses = containers.filter((c) => c.essential && checked.has(c.name)).map((c) => c.healthStatus)
  if (statuses.includes('UNHEALTHY')) return 'UNHEALTHY'
  return statuses.length > 0 && statuses.every((status) => status === 'HEALTHY') ? 'HEALTHY' : 'UNKNOWN'
}

/** When the last container started by Docker's clock, which tells more than when the report arrived; never later. */
function lastStart(containers: readonly TaskContainer[], now: number): number | undefined {
  const starts = containers.map((container) => container.startedAt).filter((at) => at !== undefined)
  return starts.length === 0 ? undefined : Math.min(now, Math.max(...starts))
}

/** Source: the ECS API reference, SubmitTaskStateChange, `reason`. */
const reasonLengthMax = 1024

function filled(text: string | undefined): string | undefined {
  return text === undefined || text === '' ? undefined : text.slice(0, reasonLengthMax)
}
