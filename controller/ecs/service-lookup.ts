/** How every other handler finds the service that a request names, by name or ARN. */
import { clusterNameInArn, idOf, isArn } from '../../proto/arn.ts'
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import type { ClusterRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { checkClusterOf } from './describe-task.ts'

export function serviceKeyOf(clusterName: string, serviceName: string): string {
  return `${clusterName}/${serviceName}`
}

/**
 * The service of that name or ARN in `cluster`, whatever its status. InvalidParameterException where an ARN names another
 * cluster, in ECS's words.
 */
export function findService(reader: Reader, cluster: ClusterRow, nameOrArn: string): ServiceRow | undefined {
  checkClusterOf(nameOrArn, cluster)
  const row = reader.get('service', serviceKeyOf(cluster.clusterName, idOf(nameOrArn)))
  // The old ARN format has no cluster in it; a whole one must be this service's own, region and account included.
  if (isArn(nameOrArn) && clusterNameInArn(nameOrArn) !== undefined && row?.serviceArn !== nameOrArn) return undefined
  return row
}

/** As `findService`; none of that name is ServiceNotFoundException, in ECS's words. */
export function requireService(reader: Reader, cluster: ClusterRow, nameOrArn: string | undefined): ServiceRow {
  if (nameOrArn === undefined || nameOrArn === '') throw invalidParameter('Service can not be blank.')
  const row = findService(reader, cluster, nameOrArn)
  if (row === undefined) throw new ApiError('ServiceNotFoundException', 'Service not found.')
  return row
}
