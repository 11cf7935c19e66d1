/**
 * "What does this service wait for": what the state alone tells about it, in plain words, with ages, and what to do next.
 * What placement says is asked anew, of the very plan that the scheduler places by.
 */
import { idOf } from '../../proto/arn.ts'
import type { World } from '../../proto/world.ts'
import type { DeploymentRow, PlacementWait, ServiceRow, TaskSetRow } from '../state/service-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { count } from './placement-filter.ts'
import { planPlacement } from './placement-plan.ts'
import { waitOf } from './placement-refusal.ts'
import { type PhaseCounts, totalOf } from './rolling.ts'
import { waitForRole } from './role-wait.ts'
import { placementRequestOf, sourceOf } from './service-starts.ts'
import { countPhases } from './service-tasks.ts'
import { type Protection, protectionOf } from './task-protection.ts'
import { inOrder } from './task-set-scale.ts'
import { reasonsOf } from './why-service-reasons.ts'

export const whyServiceStates = [
  'steady',
  'deploying',
  'starting',
  'waiting',
  'stuck',
  'backoff',
  'paused',
  'failed',
  'draining',
  'inactive',
  'external',
] as const

export interface WhyService {
  readonly serviceArn: string
  readonly state: (typeof whyServiceStates)[number]
  /** One sentence: what it waits for first of all. */
  readonly summary: string
  /** What else it waits for, and what the summary rests on. */
  readonly facts: readonly string[]
  /** What to do, in order; empty where nothing needs doing. */
  readonly next: readonly string[]
  readonly desired: number
  /** Of all its deployments together. */
  readonly tasks: PhaseCounts
  readonly deployments: readonly WhyDeployment[]
  /** Why the next task has no place, as of now; absent where it has one, or none is to be started. */
  readonly waiting?: PlacementWait | undefined
  /** Seconds. */
  readonly ages: { readonly created: number; readonly deployment?: number | undefined }
}

export interface WhyDeployment {
  readonly id: string
  readonly status: string
  readonly rolloutState: string
  readonly rolloutStateReason?: string | undefined
  readonly taskDefinition: string
  readonly tasks: PhaseCounts
  readonly failedTasks: number
  /** Seconds until it may start tasks again; absent where it may. */
  readonly retryInSeconds?: number | undefined
  readonly lastFailure?: WhyFailure | undefined
}

export interface WhyFailure {
  readonly reason: string
  readonly containerName?: string | undefined
  readonly exitCode?: number | undefined
  readonly ageSeconds: number
  /** The failed task; its last log lines are in its own `why`. */
  readonly taskId?: string | undefined
  readonly why?: string | undefined
}

/** What is told of: the service, its PRIMARY deployment and the others that have not ended. */
export interface ServiceScene {
  readonly service: ServiceRow
  readonly primary: DeploymentRow | undefined
  readonly tasks: PhaseCounts
  readonly ofPrimary: PhaseCounts
  readonly ofOthers: PhaseCounts
  readonly waiting: PlacementWait | undefined
  readonly protection: Protection | undefined
  /** The PRIMARY one first. Only services with an external controller have any. */
  readonly taskSets: readonly TaskSetScene[]
  /** Since when lost tasks of the cluster are not replaced. */
  readonly pausedSince: number | undefined
  readonly now: number
}

export interface TaskSetScene {
  readonly row: TaskSetRow
  readonly tasks: PhaseCounts
}

/** Explains `service` as of `now` (epoch milliseconds). */
export function explainService(reader: Reader, service: ServiceRow, now: number, world: World): WhyService {
  const scene = sceneOf(reader, service, now, world)
  const reasons = reasonsOf(scene)
  const [first, ...others] = reasons
  if (first === undefined) throw new Error(`service ${service.serviceKey} is in a state that nobody explains`)
  const deployments = reader.find('deployment', 'liveByService', service.serviceKey)
  return {
    serviceArn: service.serviceArn,
    state: first.state,
    summary: first.summary,
    facts: [...others.map(({ summary }) => summary), ...reasons.flatMap(({ facts = [] }) => facts), tasksFact(scene)],
    next: [...new Set(reasons.flatMap(({ next = [] }) => next))],
    desired: service.desiredCount,
    tasks: scene.tasks,
    deployments: deployments.map((row) => showDeployment(reader, row, now)),
    waiting: scene.waiting,
    ages: {
      created: secondsSince(service.createdAt, now),
      ...(scene.primary === undefined ? {} : { deployment: secondsSince(scene.primary.createdAt, now) }),
    },
  }
}

function sceneOf(reader: Reader, service: ServiceRow, now: number, world: World): ServiceScene {
  const deployments = reader.find('deployment', 'liveByService', service.serviceKey)
  const taskSets = inOrder(reader.find('taskSet', 'byService', service.serviceKey))
  const owners = [...deployments, ...taskSets].map(({ id }) => id)
  const cluster = reader.get('cluster', service.clusterName)
  const primary = deployments.find(({ status }) => status === 'PRIMARY')
  return {
    service,
    primary,
    tasks: countPhases(reader, owners),
    ofPrimary: countPhases(reader, primary === undefined ? [] : [primary.id]),
    ofOthers: countPhases(
      reader,
      owners.filter((id) => id !== primary?.id),
    ),
    waiting: waitNow(reader, service, primary, now, world),
    taskSets: taskSets.map((row) => ({ row, tasks: countPhases(reader, [row.id]) })),
    protection: protectionOf(reader, service.serviceKey, now),
    pausedSince: cluster?.replacementPausedSince ?? cluster?.returnsAwaited?.since,
    now,
  }
}

/** What the deployment waits for by its own row, judged anew: hosts may have changed since it was last tried. */
function waitNow(
  reader: Reader,
  service: ServiceRow,
  primary: DeploymentRow | undefined,
  now: number,
  world: World,
): PlacementWait | undefined {
  if (primary?.waiting === undefined) return undefined
  if (service.schedulingStrategy === 'DAEMON') return primary.waiting
  const source = sourceOf(reader, service, primary)
  if (source === undefined) return primary.waiting
  const roleless = waitForRole(reader, source.definition, world, now)
  if (roleless !== undefined) return { ...roleless, since: primary.waiting.since }
  const placed = planPlacement(reader, service.clusterName, placementRequestOf(source), now, world).next()
  return placed.kind === 'placed' ? undefined : waitOf(placed, primary.waiting.since, now)
}

function tasksFact({ service, tasks }: ServiceScene): string {
  const words: readonly (readonly [number, string])[] = [
    [tasks.healthy, 'healthy'],
    [tasks.starting, 'starting'],
    [tasks.unhealthy, 'unhealthy'],
    [tasks.leaving + tasks.leavingUnready, 'leaving a draining instance'],
    [tasks.stopping, 'stopping'],
    [tasks.lost, 'on lost instances'],
  ]
  const parts = words.filter(([number]) => number > 0).map(([number, word]) => `${number} ${word}`)
  const all = totalOf(tasks) + tasks.lost
  const there = all === 1 ? 'there is 1' : `there are ${all}`
  const desired = count(service.desiredCount, 'task is', 'tasks are')
  return `${desired} desired, and ${there}${parts.length === 0 ? '' : `: ${parts.join(', ')}`}.`
}

function showDeployment(reader: Reader, row: DeploymentRow, now: number): WhyDeployment {
  const { id, status, rolloutState, rolloutStateReason, taskDefinition, failedTasks, retryAt } = row
  const isPausing = retryAt !== undefined && retryAt > now
  return {
    id,
    status,
    rolloutState,
    rolloutStateReason,
    taskDefinition: idOf(taskDefinition),
    tasks: countPhases(reader, [id]),
    failedTasks,
    ...(isPausing && { retryInSeconds: Math.ceil((retryAt - now) / 1000) }),
    lastFailure: failureOf(row, now),
  }
}

function failureOf({ cause }: DeploymentRow, now: number): WhyFailure | undefined {
  if (cause === undefined) return undefined
  const { at, taskArn, reason, containerName, exitCode } = cause
  const taskId = taskArn === undefined ? undefined : idOf(taskArn)
  return {
    reason,
    containerName,
    exitCode,
    ageSeconds: secondsSince(at, now),
    ...(taskId !== undefined && { taskId, why: `/v1/tasks/${taskId}/why` }),
  }
}

function secondsSince(at: number, now: number): number {
  return Math.max(0, Math.round((now - at) / 1000))
}
