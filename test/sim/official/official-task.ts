/** What the official agent knows of one task, what follows from that, and what its reports say. */
import type { PayloadContainer, PayloadTask } from '../../../proto/acs.ts'

/** NONE is everything before RUNNING: nobody is told more. */
export type KnownStatus = 'NONE' | 'RUNNING' | 'STOPPED'

export interface OfficialContainer {
  status: KnownStatus
  /** What of it was reported. */
  sent: KnownStatus
  dockerId?: string | undefined
  /** It may run from here on: without it the container can be made anew, with it what is gone has ended. */
  startAsked: boolean
  pulled: boolean
  exitCode?: number | undefined
  reason?: string | undefined
  bindings: readonly Binding[]
}

interface Binding {
  readonly bindIP: string
  readonly containerPort: number
  readonly hostPort: number
  readonly protocol: 'tcp' | 'udp'
}

/** Held by the agent's process, and written to its disk as text. */
export interface OfficialTask {
  readonly payload: PayloadTask
  desired: 'RUNNING' | 'STOPPED'
  known: KnownStatus
  sent: KnownStatus
  readonly containers: Record<string, OfficialContainer>
  /** Epoch seconds by the host's clock, as on the wire. */
  executionStoppedAt?: number | undefined
}

/** `nextPort` gives the host port of a mapping that names none. */
export function newTask(payload: PayloadTask, nextPort: () => number): OfficialTask {
  const isOver = payload.desiredStatus === 'STOPPED'
  const containers = payload.containers.map((container): [string, OfficialContainer] => [
    container.name,
    {
      status: isOver ? 'STOPPED' : 'NONE',
      sent: 'NONE',
      startAsked: false,
      pulled: false,
      bindings: container.portMappings.map(({ containerPort = 0, hostPort = 0, protocol }) => ({
        bindIP: '0.0.0.0',
        containerPort,
        hostPort: hostPort === 0 ? nextPort() : hostPort,
        protocol,
      })),
    },
  ])
  const known = isOver ? 'STOPPED' : 'NONE'
  return {
    payload,
    desired: isOver ? 'STOPPED' : 'RUNNING',
    known,
    sent: 'NONE',
    containers: Object.fromEntries(containers),
  }
}

/** Takes the statuses of the containers up into those of the task; answers whether anything changed. */
export function settle(task: OfficialTask, nowMs: number): boolean {
  const { desired, known } = task
  const all = task.payload.containers.map((container) => ({ container, state: stateOf(task, container.name) }))
  const isEssentialOver = all.some(({ container, state }) => container.essential && state.status === 'STOPPED')
  const isBlocked = all.some(
    ({ container, state }) => state.status === 'NONE' && readiness(task, container) === 'never',
  )
  if (isEssentialOver || isBlocked) task.desired = 'STOPPED'
  if (task.desired === 'STOPPED') task.executionStoppedAt ??= nowMs / 1000
  if (all.every(({ state }) => state.status === 'STOPPED')) task.known = 'STOPPED'
  else if (task.known === 'NONE' && all.every(({ state }) => state.status !== 'NONE')) task.known = 'RUNNING'
  return task.desired !== desired || task.known !== known
}

/** Whether a container may start by what it depends on: now, not yet, or never. */
export function readiness(task: OfficialTask, container: PayloadContainer): 'now' | 'later' | 'never' {
  const answers = (container.dependsOn ?? []).map(({ containerName, condition }) => {
    const { status, exitCode } = stateOf(task, containerName)
    if (status === 'NONE') return 'later'
    if (condition === 'START') return 'now'
    if (status === 'RUNNING') return 'later'
    return condition === 'COMPLETE' || exitCode === 0 ? 'now' : 'never'
  })
  if (answers.includes('never')) return 'never'
  return answers.includes('later') ? 'later' : 'now'
}

export function stateOf(task: OfficialTask, containerName: string): OfficialContainer {
  const state = task.containers[containerName]
  if (state === undefined) throw new Error(`Task ${task.payload.arn} has no container ${containerName}.`)
  return state
}

/** As much of an entry as is read here; the rest is for the wire. */
export interface ContainerChange {
  readonly containerName: string
  readonly status: 'RUNNING' | 'STOPPED'
}

/** What was not reported yet of its containers: of one that ended unreported both entries, as the real agent has it. */
export function containerChanges(task: OfficialTask): readonly ContainerChange[] {
  return Object.entries(task.containers).flatMap(([containerName, state]) => {
    const { dockerId: runtimeId, exitCode, reason, bindings } = state
    const hasRun = state.status === 'RUNNING' || exitCode !== undefined
    const entry = {
      containerName,
      ...(runtimeId !== undefined && { runtimeId }),
      // It repeats the exit code on the RUNNING entry of a container that has ended since.
      ...(exitCode !== undefined && { exitCode }),
      ...(hasRun && bindings.length > 0 && { networkBindings: bindings }),
    }
    const running = hasRun && state.sent === 'NONE' ? [{ ...entry, status: 'RUNNING' as const }] : []
    const isEnd = state.status === 'STOPPED' && state.sent !== 'STOPPED'
    const end = isEnd ? [{ ...entry, ...(reason !== undefined && { reason }), status: 'STOPPED' as const }] : []
    return [...running, ...end]
  })
}
