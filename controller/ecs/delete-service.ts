/**
 * DeleteService: says that a service shall go. Its tasks are the scheduler's to stop; until the last one has, the service
 * is DRAINING, then INACTIVE. Source: the ECS API reference, DeleteService.
 */
import { invalidParameter } from '../../proto/errors.ts'
import type { Input } from '../../proto/model/types.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { requireService } from './service-lookup.ts'

/** A repeat changes nothing, and answers the service as it is. */
export function deleteService(tx: Transaction, input: Input<'DeleteService'>): ServiceRow {
  const cluster = requireCluster(tx, input.cluster)
  const service = requireService(tx, cluster, input.service)
  if (service.status !== 'ACTIVE') return service
  if (input.force !== true) checkScaledDown(tx, service)
  const draining: ServiceRow = { ...service, status: 'DRAINING', desiredCount: 0, steadySince: undefined }
  tx.put('service', service.serviceKey, draining)
  return draining
}

/** A daemon's count isn't the caller's to lower, so `force` is not asked for there. */
function checkScaledDown(reader: Reader, service: ServiceRow): void {
  if (service.schedulingStrategy === 'DAEMON') return
  if (service.desiredCount > 0) {
    throw invalidParameter(
      'The service cannot be stopped while it is scaled above 0. Update its desiredCount to 0 first, or delete it with ' +
        'force.',
    )
  }
  const sets = reader.find('taskSet', 'byService', service.serviceKey).length
  if (sets > 0) {
    throw invalidParameter(
      `The service cannot be stopped while it has task sets: there are ${sets}. Delete them first, or delete the service ` +
        'with force.',
    )
  }
  // Terraform knows this sentence, and tries again.
  if (reader.count('deployment', 'liveByService', service.serviceKey) > 1) {
    throw invalidParameter(
      'The service cannot be stopped while deployments are active. Wait until the tasks of the former deployments have ' +
        'stopped, or delete the service with force.',
    )
  }
}
