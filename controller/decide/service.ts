/**
 * The scheduler of services: what each service's next steps are, decided once a turn for all rows that concern it.
 * docs/deployments.md has the picture.
 */
import type { World } from '../../proto/world.ts'
import { sameRow } from '../state/equal.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import type { KeyedDecider } from './decider.ts'
import { daemonScene, decideDaemon } from './daemon.ts'
import { judgeDeployment, primaryOf } from './deployment-outcome.ts'
import { isEnded } from './deployment-start.ts'
import { decideReplica } from './replica.ts'
import { totalOf } from './rolling.ts'
import { concernedServices } from './service-concerns.ts'
import { type Decided, tasksPerDecisionMax } from './service-decision.ts'
import { noteSteady } from './service-steady.ts'
import { countPhases, doneWithTasks, stopServiceTask, tellStopped } from './service-tasks.ts'
import { decideTaskSets, drainTaskSets, dropTaskSets } from './task-sets.ts'

export const serviceDecider: KeyedDecider = {
  name: 'service',
  tables: ['service', 'deployment', 'taskSet', 'task', 'instance', 'cluster', 'subnet', 'address'],
  concerns: concernedServices,
  decide(tx, serviceKey, now, world) {
    const service = tx.get('service', serviceKey)
    if (service === undefined || service.status === 'INACTIVE') return 'done'
    const { more, wakeAt } =
      service.status === 'DRAINING' ? drain(tx, service, now, world) : decideActive(tx, service, now, world)
    wakeLater(tx, serviceKey, wakeAt, now)
    return more ? 'more' : 'done'
  },
}

const nothing: Decided = { more: false, wakeAt: [] }

function decideActive(tx: Transaction, service: ServiceRow, now: number, world: World): Decided {
  // Services with an external controller are run by whoever makes their task sets.
  if (service.deploymentController.type !== 'ECS') return decideTaskSets(tx, service, now, world)
  const { serviceKey } = service
  reviveReturned(tx, serviceKey, now)
  if (service.schedulingStrategy === 'DAEMON') countDaemon(tx, serviceKey)
  const judgeAt = judgeDeployment(tx, serviceKey, now, world)
  const { more, wakeAt } = act(tx, serviceKey, now, world)
  const steadyAt = noteSteady(tx, serviceKey, now, world)
  return { more, wakeAt: [...wakeAt, ...steadyAt, ...(judgeAt === undefined ? [] : [judgeAt])] }
}

function act(tx: Transaction, serviceKey: string, now: number, world: World): Decided {
  const service = tx.get('service', serviceKey)
  const primary = primaryOf(tx, serviceKey)
  if (service === undefined || primary === undefined) return nothing
  if (service.schedulingStrategy === 'DAEMON') {
    return decideDaemon(tx, service, primary, daemonScene(tx, service, primary), now, world)
  }
  return decideReplica(tx, service, primary, now, world)
}

/** A deployment whose lost tasks are back is ACTIVE once more, until they are gone: nothing is done before that. */
function reviveReturned(tx: Transaction, serviceKey: string, now: number): void {
  for (const deployment of doneWithTasks(tx, serviceKey)) {
    if (totalOf(countPhases(tx, [deployment.id])) === 0) continue
    tx.put('deployment', deployment.id, { ...deployment, status: 'ACTIVE', updatedAt: now })
  }
}

/** A daemon's desired count is not the caller's: it is the number of instances where it belongs. */
function countDaemon(tx: Transaction, serviceKey: string): void {
  const service = tx.get('service', serviceKey)
  const primary = primaryOf(tx, serviceKey)
  const scene = service === undefined || primary === undefined ? undefined : daemonScene(tx, service, primary)
  if (service === undefined || scene === undefined || service.desiredCount === scene.eligible.length) return
  tx.put('service', serviceKey, { ...service, desiredCount: scene.eligible.length })
}

/** A service that was deleted: all of its tasks end, and once they have, so does it. Lost ones are not waited for. */
function drain(tx: Transaction, service: ServiceRow, now: number, world: World): Decided {
  const live = tx.find('task', 'liveByService', service.serviceKey)
  const wanted = live.filter(({ desiredStatus }) => desiredStatus !== 'STOPPED')
  const stopped = wanted
    .slice(0, tasksPerDecisionMax)
    .map(({ taskId }) => stopServiceTask(tx, taskId, now))
    .filter((task): task is TaskRow => task !== undefined)
  tellStopped(tx, service, stopped, now, world)
  const deployments = tx.find('deployment', 'liveByService', service.serviceKey)
  for (const deployment of deployments) {
    if (deployment.waiting === undefined && deployment.stuck === undefined) continue
    tx.put('deployment', deployment.id, { ...deployment, waiting: undefined, stuck: undefined })
  }
  drainTaskSets(tx, service, now)
  const isCutShort = wanted.length > stopped.length
  if (isCutShort || live.some(({ lostSince }) => lostSince === undefined)) return { more: isCutShort, wakeAt: [] }
  for (const { id } of deployments) endDeployment(tx, id, now)
  dropTaskSets(tx, service)
  const last = tx.get('service', service.serviceKey) ?? service
  tx.put('service', service.serviceKey, { ...last, status: 'INACTIVE', desiredCount: 0, inactiveSince: now })
  return nothing
}

function endDeployment(tx: Transaction, deploymentId: string, now: number): void {
  const deployment = tx.get('deployment', deploymentId)
  if (deployment === undefined) return
  tx.put('deployment', deploymentId, { ...deployment, status: 'INACTIVE', updatedAt: now })
  const carried = tx.get('serviceDeployment', deployment.serviceDeploymentId)
  if (carried === undefined || isEnded(carried)) return
  tx.put('serviceDeployment', carried.id, {
    ...carried,
    status: 'STOPPED',
    statusReason: 'Stopped: the service was deleted.',
    stoppedAt: now,
    finishedAt: now,
    updatedAt: now,
  })
}

function wakeLater(tx: Transaction, serviceKey: string, times: readonly number[], now: number): void {
  const service = tx.get('service', serviceKey)
  if (service === undefined) return
  const coming = times.filter((time) => time > now)
  const next = { ...service, wakeAt: coming.length === 0 ? undefined : Math.min(...coming) }
  if (!sameRow(service, next)) tx.put('service', serviceKey, next)
}
