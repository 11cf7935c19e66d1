/** ListServices: the ARNs of a cluster's services that are not INACTIVE, narrowed by every filter that is given. */
import type { Input, Output } from '../../proto/model/types.ts'
import type { Reader } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { page } from './paging.ts'

export function listServices(reader: Reader, input: Input<'ListServices'>): Output<'ListServices'> {
  const cluster = requireCluster(reader, input.cluster)
  const { launchType, schedulingStrategy, resourceManagementType } = input
  const rows = reader
    .find('service', 'liveByCluster', cluster.clusterName)
    .filter(
      (row) =>
        (launchType === undefined || row.launchType === launchType) &&
        (schedulingStrategy === undefined || row.schedulingStrategy === schedulingStrategy) &&
        (resourceManagementType === undefined || row.resourceManagementType === resourceManagementType),
    )
  const { items, nextToken } = page(rows, (row) => row.serviceName, input, { defaultSize: 10, maxSize: 100 })
  return { serviceArns: items.map((row) => row.serviceArn), ...(nextToken === undefined ? {} : { nextToken }) }
}
