/** What services say when replacement of their lost tasks is paused, and when it goes on. Each service says it once. */
import type { World } from '../../proto/world.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { type MassLoss, returnPatienceMs } from './instance-loss.ts'
import { addServiceEvent } from './service-events.ts'

/** Each event writes the service and the event, and may drop the oldest event. */
const rowsPerEvent = 3

/** Tells each service that has tasks on lost instances and was not told yet. Answers how many rows it wrote. */
export function announcePause(
  tx: Transaction,
  clusterName: string,
  { vanished, of }: MassLoss,
  rowsMax: number,
  now: number,
  world: World,
): number {
  const pausedSince = tx.get('cluster', clusterName)?.replacementPausedSince
  const untold = tx
    .find('service', 'liveByCluster', clusterName)
    .filter((service) => service.status === 'ACTIVE' && service.pauseAnnouncedAt !== pausedSince)
    .filter((service) => hasLostTasks(tx, service.serviceKey))
    .slice(0, Math.max(0, Math.floor(rowsMax / rowsPerEvent)))
  for (const service of untold) {
    tx.put('service', service.serviceKey, { ...service, pauseAnnouncedAt: pausedSince })
    const message =
      `(service ${service.serviceName}) does not replace its tasks on lost container instances: ${vanished} of the ` +
      `${of} container instances of cluster ${clusterName} fell silent within a minute, so the network between them ` +
      'and the controller is the likelier cause, and their tasks may still run. Replacement goes on by itself once ' +
      'enough of them are back. Where they are truly gone, deregister them, or POST ' +
      `/v1/clusters/${clusterName}/resume-replacement.`
    const news = { eventType: 'WARN', eventName: 'SERVICE_REPLACEMENT_PAUSED' } as const
    addServiceEvent(tx, service.serviceKey, message, now, world, news)
  }
  return untold.length * rowsPerEvent
}

/** Tells each service that was told of a pause which is over. Answers how many rows it wrote. */
export function announcePauseEnds(tx: Transaction, rowsMax: number, now: number, world: World): number {
  const told = tx
    .find('service', 'pauseAnnounced', 'announced')
    .filter((row) => row.pauseAnnouncedAt !== tx.get('cluster', row.clusterName)?.replacementPausedSince)
    .slice(0, Math.max(0, Math.floor(rowsMax / rowsPerEvent)))
  for (const service of told) {
    tx.put('service', service.serviceKey, { ...service, pauseAnnouncedAt: undefined })
    if (service.status !== 'ACTIVE') continue
    const news = { eventType: 'INFO', eventName: 'SERVICE_REPLACEMENT_RESUMED' } as const
    addServiceEvent(tx, service.serviceKey, endMessage(tx, service), now, world, news)
  }
  return told.length * rowsPerEvent
}

function endMessage(reader: Reader, { serviceName, clusterName, pauseAnnouncedAt = 0 }: ServiceRow): string {
  const { lossesAcceptedAt = -1, returnsAwaited } = reader.get('cluster', clusterName) ?? {}
  const cause =
    lossesAcceptedAt >= pauseAnnouncedAt
      ? 'an operator said that it shall'
      : 'enough of those that fell silent are back or deregistered'
  const patience =
    returnsAwaited === undefined
      ? ''
      : ` The others are waited for ${returnPatienceMs / 1000} seconds more before their tasks are replaced.`
  return `(service ${serviceName}) replaces its tasks on lost container instances again: ${cause}.${patience}`
}

function hasLostTasks(reader: Reader, serviceKey: string): boolean {
  const owners = [
    ...reader.find('deployment', 'liveByService', serviceKey),
    ...reader.find('taskSet', 'byService', serviceKey),
  ]
  return owners.some(({ id }) => reader.count('task', 'byDeploymentPhase', `${id}/lost`) > 0)
}
