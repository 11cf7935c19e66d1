/**
 * GetTaskProtection and UpdateTaskProtection: which tasks of services scale-in, deployments and drains leave alone, and
 * until when. Sources: the ECS API reference of both; AWS documentation, "Amazon ECS API failure reasons" (MISSING,
 * TASK_NOT_VALID, DEPLOYMENT_BLOCKED) and "Protect your Amazon ECS tasks from being terminated by scale-in events".
 */
import { isArn, taskArn } from '../../proto/arn.ts'
import { invalidParameter } from '../../proto/errors.ts'
import type { Failure, Input, Output, ProtectedTask } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { isProtected, protectedMax, protectionOf } from '../decide/task-protection.ts'
import type { ClusterRow, TaskRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { findTask } from './describe-task.ts'
import { type Handlers, read, write } from './handler.ts'

const readMost = 100
const updatedMost = 10
const minutesDefault = 120
const minutesMax = 2880
const msPerMinute = 60_000

export const taskProtectionHandlers = {
  GetTaskProtection: read<'GetTaskProtection'>((reader, input, { now }, world) =>
    getTaskProtection(reader, input, now, world),
  ),
  UpdateTaskProtection: write<'UpdateTaskProtection'>((tx, input, { now }, world) =>
    updateTaskProtection(tx, input, now, world),
  ),
} satisfies Handlers

function getTaskProtection(
  reader: Reader,
  input: Input<'GetTaskProtection'>,
  now: number,
  world: World,
): Output<'GetTaskProtection'> {
  const cluster = requireCluster(reader, input.cluster)
  return forEachTask(reader, cluster, checkNamed(input.tasks, readMost), world, (task) => describe(task, now))
}

/** All that can be done is done: a task that can't be protected is told of in `failures`, and holds up no other. */
function updateTaskProtection(
  tx: Transaction,
  input: Input<'UpdateTaskProtection'>,
  now: number,
  world: World,
): Output<'UpdateTaskProtection'> {
  const cluster = requireCluster(tx, input.cluster)
  const named = checkNamed(input.tasks, updatedMost)
  const minutes = checkMinutes(input.expiresInMinutes)
  const until = input.protectionEnabled === true ? now + minutes * msPerMinute : undefined
  return forEachTask(tx, cluster, named, world, (task) => {
    const refusal = until === undefined ? undefined : whyNotProtected(tx, task, now)
    if (refusal !== undefined) return refusal
    // What stopped long ago is known from the history alone, and is not to come back from it.
    if (task.lastStatus === 'STOPPED') return describe(task, now)
    const next: TaskRow = { ...task, protectedUntil: until }
    if (task.protectedUntil !== until) tx.put('task', task.taskId, next)
    return describe(next, now)
  })
}

function checkNamed(tasks: readonly string[] | undefined, most: number): readonly string[] {
  const named = [...new Set(tasks)]
  if (named.length === 0) throw invalidParameter('Tasks cannot be empty.')
  if (named.length > most) {
    throw invalidParameter(`At most ${most} tasks can be named at once, and ${named.length} are named in tasks.`)
  }
  return named
}

function checkMinutes(minutes: number | undefined): number {
  if (minutes === undefined) return minutesDefault
  if (Number.isInteger(minutes) && minutes >= 1 && minutes <= minutesMax) return minutes
  throw invalidParameter(
    `expiresInMinutes must be a whole number from 1 to ${minutesMax} (48 hours), and is ${minutes}. Protection can be ` +
      'extended again and again.',
  )
}

type Answer = { readonly protectedTask: ProtectedTask } | { readonly failure: Failure }

function forEachTask(
  reader: Reader,
  cluster: ClusterRow,
  named: readonly string[],
  world: World,
  answer: (task: TaskRow) => Answer,
): Output<'UpdateTaskProtection'> {
  const protectedTasks: ProtectedTask[] = []
  const failures: Failure[] = []
  for (const idOrArn of named) {
    const task = findTask(reader, cluster, idOrArn)
    const answered = task === undefined ? missing(idOrArn, cluster, world) : (whyNotValid(task) ?? answer(task))
    if ('failure' in answered) failures.push(answered.failure)
    else protectedTasks.push(answered.protectedTask)
  }
  return { protectedTasks, failures }
}

function describe(task: TaskRow, now: number): Answer {
  const { taskArn: arn, protectedUntil } = task
  if (task.lastStatus === 'STOPPED' || !isProtected(task, now))
    return { protectedTask: { taskArn: arn, protectionEnabled: false } }
  return { protectedTask: { taskArn: arn, protectionEnabled: true, expirationDate: protectedUntil } }
}

function missing(idOrArn: string, { clusterName }: ClusterRow, world: World): Answer {
  const arn = isArn(idOrArn) ? idOrArn : taskArn(world, clusterName, idOrArn)
  return { failure: { arn, reason: 'MISSING' } }
}

function whyNotValid({ serviceKey, taskArn: arn }: TaskRow): Answer | undefined {
  if (serviceKey !== undefined) return undefined
  const detail =
    'The task is not part of a service: no scale-in and no deployment ever stops it, so there is nothing to protect it from.'
  return { failure: { arn, reason: 'TASK_NOT_VALID', detail } }
}

function whyNotProtected(reader: Reader, task: TaskRow, now: number): Answer | undefined {
  const { taskArn: arn, serviceKey = '', lastStatus, desiredStatus } = task
  if (lastStatus === 'STOPPED' || desiredStatus === 'STOPPED') {
    const state = lastStatus === 'STOPPED' ? 'has stopped' : 'is being stopped'
    return {
      failure: { arn, reason: 'TASK_NOT_VALID', detail: `The task ${state}, and protection would not take that back.` },
    }
  }
  const service = reader.get('service', serviceKey)
  // One that is protected already doesn't make them more: its protection can always be extended.
  if (service === undefined || isProtected(task, now)) return undefined
  const tasks = protectionOf(reader, serviceKey, now)?.tasks ?? 0
  const most = protectedMax(reader, service)
  if (tasks < most) return undefined
  const detail =
    `Of service ${service.serviceName}, ${tasks} tasks are protected already, and ${most} are desired: more would hold ` +
    'up its deployments. Wait for protection to expire, end it with protectionEnabled false for tasks that may stop, or ' +
    'raise the desiredCount.'
  return { failure: { arn, reason: 'DEPLOYMENT_BLOCKED', detail } }
}
