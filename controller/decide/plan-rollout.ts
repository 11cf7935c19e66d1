/**
 * What a service's scheduler would do, step by step, if everything that it starts became healthy and everything that it
 * stops ended: by the scheduler itself, in a transaction that is dropped.
 */
import type { World } from '../../proto/world.ts'
import type { PlacementNote } from '../state/service-tables.ts'
import { isHealthy } from '../state/service-phase.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { addressDecider } from './address.ts'
import { provingMs } from './deployment-backoff.ts'
import { serviceTaskDecider } from './service-task.ts'
import { serviceDecider } from './service.ts'
import { explainService, type WhyService } from './why-service.ts'

export interface PlannedRollout {
  readonly steps: readonly PlannedStep[]
  /** True where there would be more steps than are told. */
  readonly isCutShort: boolean
  /** How the service stands after the last step. */
  readonly end: WhyService
}

export interface PlannedStep {
  readonly started: readonly PlannedTasks[]
  readonly stopped: readonly PlannedTasks[]
  /** What placement weighed for the first task that the step starts. */
  readonly placement?: PlacementNote | undefined
}

/** Tasks of one revision on one instance. */
export interface PlannedTasks {
  readonly instanceId: string
  /** ARN. */
  readonly taskDefinition: string
  readonly count: number
}

/** Bounds what is decided while everything else waits. */
const decisionsMax = 40
const tasksMax = 5000
/** A wait for time alone is skipped so often in a row: the service may only want to look again. */
const skipsMax = 2

export function planRollout(tx: Transaction, serviceKey: string, now: number, world: World): PlannedRollout {
  const steps: PlannedStep[] = []
  let time = now
  let skips = 0
  let moved = 0
  let isCutShort = true
  for (let decisions = 0; decisions < decisionsMax && moved <= tasksMax; decisions += 1) {
    const before = tasksOf(tx, serviceKey)
    const outcome = serviceDecider.decide(tx, serviceKey, time, world)
    const step = stepBetween(before, tasksOf(tx, serviceKey))
    moved += sizeOf(step)
    if (sizeOf(step) > 0) steps.push(step)
    const isUnderWay = outcome === 'done' && settle(tx, serviceKey, time, world)
    if (sizeOf(step) > 0 || isUnderWay) {
      skips = 0
      // A deployment is only done once its tasks have had the time to prove themselves.
      if (outcome === 'done') time += provingMs
      continue
    }
    const { wakeAt, steadySince } = tx.get('service', serviceKey) ?? {}
    // A steady service wakes only to say so again, hours later: the plan's end is now.
    if (wakeAt === undefined || steadySince !== undefined || skips === skipsMax) {
      isCutShort = false
      break
    }
    skips += 1
    time = Math.max(time, wakeAt)
  }
  const service = tx.get('service', serviceKey)
  if (service === undefined) throw new Error(`service ${serviceKey} was planned, and is not there`)
  return { steps, isCutShort, end: explainService(tx, service, time, world) }
}

function tasksOf(tx: Transaction, serviceKey: string): ReadonlyMap<string, TaskRow> {
  return new Map(tx.find('task', 'liveByService', serviceKey).map((task) => [task.taskId, task]))
}

function stepBetween(before: ReadonlyMap<string, TaskRow>, after: ReadonlyMap<string, TaskRow>): PlannedStep {
  const started: TaskRow[] = []
  const stopped: TaskRow[] = []
  for (const task of after.values()) {
    const earlier = before.get(task.taskId)
    if (earlier === undefined) started.push(task)
    else if (task.desiredStatus === 'STOPPED' && earlier.desiredStatus !== 'STOPPED') stopped.push(task)
  }
  return { started: grouped(started), stopped: grouped(stopped), placement: started[0]?.placement }
}

function grouped(tasks: readonly TaskRow[]): readonly PlannedTasks[] {
  const groups = new Map<string, PlannedTasks>()
  for (const { instanceId, taskDefinitionArn } of tasks) {
    const key = `${instanceId} ${taskDefinitionArn}`
    const known = groups.get(key)?.count ?? 0
    groups.set(key, { instanceId, taskDefinition: taskDefinitionArn, count: known + 1 })
  }
  return [...groups.values()]
}

function sizeOf({ started, stopped }: PlannedStep): number {
  return [...started, ...stopped].reduce((sum, { count }) => sum + count, 0)
}

/** Everything that is under way comes to its end. False where nothing was. */
function settle(tx: Transaction, serviceKey: string, now: number, world: World): boolean {
  let settled = 0
  for (const task of tasksOf(tx, serviceKey).values()) {
    const after = task.lostSince === undefined ? settledTask(task, now) : task
    if (after === task) continue
    settled += 1
    tx.put('task', task.taskId, after)
    serviceTaskDecider.decide(tx, 'task', task.taskId, task, now, world)
    addressDecider.decide(tx, 'task', task.taskId, task, now, world)
  }
  return settled > 0
}

function settledTask(task: TaskRow, now: number): TaskRow {
  if (task.desiredStatus === 'STOPPED') return { ...task, lastStatus: 'STOPPED', stoppedAt: now }
  if (isHealthy(task)) return task
  const healthStatus = task.hasHealthCheck === true ? 'HEALTHY' : task.healthStatus
  const reserved = { ...task.reserved, dynamicPortsAwaited: 0 }
  return { ...task, lastStatus: 'RUNNING', startedAt: task.startedAt ?? now, healthStatus, reserved }
}
