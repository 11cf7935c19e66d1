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
import { type Decided, decideReplica, tasksPerDecisionMax } from './replica.ts'
import { concernedServices } from './service-concerns.ts'
import { stopServiceTask, tasksInPhase, tellStopped } from './service-tasks.ts'

export const serviceDecider: KeyedDecider = {
  name: 'service',
  tables: ['service', 'deployment', 'task', 'instance', 'cluster'],
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
  if (service.deploymentController.type !== 'ECS') return nothing
  const deployments = tx.find('deployment', 'liveByService', service.serviceKey)
  const primary = deployments.find(({ status }) => status === 'PRIMARY')
  if (primary === undefined) return nothing
  const old = deployments.filter(({ status }) => status !== 'PRIMARY')
  for (const { id } of old) releaseLost(tx, id, now)
  return decideReplica(tx, service, primary, old, now, world)
}

/** Lost tasks that nobody wants any more end when their host is back. */
function releaseLost(tx: Transaction, deploymentId: string, now: number): void {
  for (const { taskId } of tasksInPhase(tx, deploymentId, 'lost')) stopServiceTask(tx, taskId, now)
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
  if (live.some(({ lostSince }) => lostSince === undefined)) {
    return { more: wanted.length > stopped.length, wakeAt: [] }
  }
  for (const deployment of tx.find('deployment', 'liveByService', service.serviceKey)) {
    tx.put('deployment', deployment.id, { ...deployment, status: 'INACTIVE', waiting: undefined, updatedAt: now })
  }
  const last = tx.get('service', service.serviceKey) ?? service
  tx.put('service', service.serviceKey, { ...last, status: 'INACTIVE', desiredCount: 0, inactiveSince: now })
  return nothing
}

function wakeLater(tx: Transaction, serviceKey: string, times: readonly number[], now: number): void {
  const service = tx.get('service', serviceKey)
  if (service === undefined) return
  const coming = times.filter((time) => time > now)
  const next = { ...service, wakeAt: coming.length === 0 ? undefined : Math.min(...coming) }
  if (!sameRow(service, next)) tx.put('service', serviceKey, next)
}
