/**
 * What one task of a service does to its deployment: that it became healthy, that it failed, which images it runs. A row
 * decider, so that a deployment of thousands of tasks is never looked through; each fact is counted once.
 */
import { idOf } from '../../proto/arn.ts'
import type { World } from '../../proto/world.ts'
import type { DeploymentRow } from '../state/service-tables.ts'
import { isHealthy } from '../state/service-phase.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { breakerOf, resetsOnHealthyTask } from './circuit-breaker.ts'
import type { Decider } from './decider.ts'
import { afterFailure, isProven, provingMs } from './deployment-backoff.ts'
import { imagesAfter, withPinnedImages } from './deployment-images.ts'
import { failureOf, type TaskFailure } from './deployment-failure.ts'
import { tellEnded } from './end-events.ts'
import { countTaskSetFailure } from './task-set-failures.ts'

/** How many tasks at most are watched at a time for the proof that resets a count of failures. */
const provingMost = 8

export const serviceTaskDecider: Decider = {
  name: 'serviceTask',
  tables: ['task'],
  decide(tx, _table, key, _before, now, world) {
    const task = tx.get('task', key)
    if (task?.deploymentId === undefined) return
    const deployment = deploymentOf(tx, task)
    if (deployment !== undefined) {
      // Only a task that no agent has been told of: a repeated payload is to say what the first one said.
      if (task.numberedFor === undefined && task.lastStatus !== 'STOPPED') pinImages(tx, task, deployment)
      noteImages(tx, task, deployment)
    }
    noteHealth(tx, key, now)
    noteEnd(tx, key, now, world)
  },
}

function pinImages(tx: Transaction, task: TaskRow, deployment: DeploymentRow): void {
  if (task.containers.some(({ pinnedImage }) => pinnedImage !== undefined)) return
  const pinned = withPinnedImages(task, deployment)
  if (pinned !== task) tx.put('task', task.taskId, pinned)
}

/** The digests that a task runs are its deployment's, and its revision's: a rollback to that one asks for them again. */
function noteImages(tx: Transaction, task: TaskRow, deployment: DeploymentRow): void {
  if (task.containers.every(({ imageDigest }) => imageDigest === undefined)) return
  if (deployment.images.length === task.containers.length) return
  const definition = tx.get('taskDefinition', idOf(task.taskDefinitionArn))
  if (definition === undefined) return
  const images = imagesAfter(deployment.images, task, definition)
  if (images === deployment.images) return
  tx.put('deployment', deployment.id, { ...deployment, images })
  const serviceRevision = tx.get('serviceRevision', deployment.serviceRevisionId)
  if (serviceRevision !== undefined) {
    tx.put('serviceRevision', serviceRevision.id, { ...serviceRevision, containerImages: images })
  }
}

function noteHealth(tx: Transaction, taskId: string, now: number): void {
  const task = tx.get('task', taskId)
  if (task === undefined || task.healthyAt !== undefined || !isHealthy(task)) return
  tx.put('task', taskId, { ...task, healthyAt: now })
  const deployment = deploymentOf(tx, task)
  if (deployment !== undefined) tx.put('deployment', deployment.id, withHealthy(tx, deployment, task, now))
}

function withHealthy(reader: Reader, deployment: DeploymentRow, task: TaskRow, now: number): DeploymentRow {
  const provenAt = task.hasHealthCheck === true ? now : now + provingMs
  const counted: DeploymentRow = {
    ...deployment,
    healthyTasks: deployment.healthyTasks + 1,
    updatedAt: now,
    provenAt: Math.min(deployment.provenAt ?? provenAt, provenAt),
  }
  // A health check that passes is proof; without one, only time is.
  if (task.hasHealthCheck === true) return withoutFailures(reader, counted)
  const proving = deployment.proving ?? []
  const isWatched = deployment.failuresInRow > 0 && proving.length < provingMost
  return {
    ...counted,
    provingSince: now,
    ...(isWatched && { proving: [...proving, { taskId: task.taskId, healthyAt: now }] }),
  }
}

/** The deployment once a task of it has proved itself: pauses begin anew, and the breaker's count as it is configured. */
export function withoutFailures(reader: Reader, deployment: DeploymentRow): DeploymentRow {
  if (deployment.failuresInRow === 0 && deployment.failedTasks === 0) return deployment
  const service = reader.get('service', deployment.serviceKey)
  const resets = resetsOnHealthyTask(service === undefined ? undefined : breakerOf(service))
  return {
    ...deployment,
    failuresInRow: 0,
    failedTasks: resets ? 0 : deployment.failedTasks,
    retryAt: undefined,
    pause: undefined,
    proving: undefined,
  }
}

/** The deployment with those of its watched tasks taken into account that have run for long enough by `now`. */
export function afterProof(reader: Reader, deployment: DeploymentRow, now: number): DeploymentRow {
  const hasProved = deployment.proving?.some(({ healthyAt }) => healthyAt + provingMs <= now) === true
  return hasProved ? withoutFailures(reader, deployment) : deployment
}

function noteEnd(tx: Transaction, taskId: string, now: number, world: World): void {
  const task = tx.get('task', taskId)
  if (task === undefined || task.isEndCounted === true || task.desiredStatus !== 'STOPPED') return
  tx.put('task', taskId, { ...task, isEndCounted: true })
  tellEnded(tx, task, now, world)
  const deployment = deploymentOf(tx, task)
  if (deployment === undefined) {
    if (isFailure(task, now)) countTaskSetFailure(tx, task, now)
    return
  }
  const proven = afterProof(tx, deployment, now)
  const proving = proven.proving?.filter((one) => one.taskId !== taskId)
  const watched: DeploymentRow =
    proving?.length === proven.proving?.length
      ? proven
      : { ...proven, proving: proving?.length === 0 ? undefined : proving }
  const after = isFailure(task, now) ? withFailure(tx, watched, task, now) : watched
  if (after !== deployment) tx.put('deployment', deployment.id, after)
}

/**
 * ECS counts tasks that do not reach RUNNING and those that fail their health checks. Here a task also fails that ends by
 * itself before it has proved itself: a crash loop is no success, however short it was RUNNING each time.
 */
function isFailure(task: TaskRow, now: number): boolean {
  if (task.stopCode === 'TaskFailedToStart') return true
  if (task.stopCode === 'ServiceSchedulerInitiated') return isHealthFailure(task.stoppedReason)
  if (task.stopCode !== 'EssentialContainerExited') return false
  return task.healthyAt === undefined || ranForMs(task, now) < provingMs
}

/**
 * How long the task ran: of its essential containers the longest, by their host's clock alone, because one that is set
 * otherwise than ours would make a crash look like an hour's work. Ours only where the host didn't tell.
 */
function ranForMs({ containers, startedAt, executionStoppedAt }: TaskRow, now: number): number {
  const spans = containers
    .filter(({ essential }) => essential)
    .flatMap(({ startedAt: from, finishedAt: to }) => (from === undefined || to === undefined ? [] : [to - from]))
  if (spans.length > 0) return Math.max(...spans)
  const endedAt = Math.min(now, executionStoppedAt ?? now)
  return endedAt - (startedAt ?? endedAt)
}

/** Source: AWS documentation, "Stopped tasks error messages": failed container and load balancer health checks. */
function isHealthFailure(stoppedReason: string | undefined): boolean {
  return /^Task failed (?:container|ELB) health checks/.test(stoppedReason ?? '')
}

function withFailure(reader: Reader, deployment: DeploymentRow, task: TaskRow, now: number): DeploymentRow {
  const failure = failureOf(task, now)
  // The first hopeless failure stays the deployment's cause; what its other tasks say afterwards is no news.
  const cause =
    deployment.cause?.isHopeless === true
      ? deployment.cause
      : { ...failure.cause, isHopeless: isHopelessHere(reader, deployment, failure) }
  return {
    ...deployment,
    ...afterFailure(deployment, task.createdAt, now),
    failedTasks: deployment.failedTasks + 1,
    updatedAt: now,
    cause,
    provenAt: isProven(deployment, now) ? deployment.provenAt : undefined,
  }
}

/**
 * An image for another architecture is hopeless only where no host of the cluster has a different one. What another host
 * may have (an image that its registry hasn't, an agent that can do more) is hopeless only while no task has run on any.
 */
function isHopelessHere(reader: Reader, deployment: DeploymentRow, { kind }: TaskFailure): boolean {
  if (kind === 'missingImage' || kind === 'refusedTask') return deployment.healthyTasks === 0
  if (kind !== 'wrongArchitecture') return kind !== 'retry'
  const instances = reader
    .find('instance', 'byCluster', deployment.clusterName)
    .filter(({ status }) => status === 'ACTIVE')
  const [first] = instances
  return first === undefined || instances.every((instance) => architectureOf(instance) === architectureOf(first))
}

function architectureOf({ attributes }: InstanceRow): string | undefined {
  return attributes.find(({ name }) => name === 'ecs.cpu-architecture')?.value
}

function deploymentOf(reader: Reader, { deploymentId }: TaskRow): DeploymentRow | undefined {
  return deploymentId === undefined ? undefined : reader.get('deployment', deploymentId)
}
