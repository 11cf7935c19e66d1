/** How requests name container instances: by id or by ARN, within a cluster. */
import { clusterNameInArn, containerInstanceArn, idOf, isArn, type Place } from '../../proto/arn.ts'
import { invalidParameter } from '../../proto/errors.ts'
import type { Failure } from '../../proto/model/types.ts'
import type { ClusterRow, InstanceRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'

/** The instance of `cluster` that a request names, INACTIVE ones included; undefined where there is none. */
export function findInstance(reader: Reader, cluster: ClusterRow, idOrArn: string): InstanceRow | undefined {
  const instance = reader.get('instance', idOf(idOrArn))
  if (instance === undefined || instance.clusterName !== cluster.clusterName) return undefined
  // The old ARN format has no cluster in it; a whole one must be this instance's own.
  if (clusterNameInArn(idOrArn) !== undefined && instance.containerInstanceArn !== idOrArn) return undefined
  return instance
}

/** The same, where a request can't go on without it. */
export function requireInstance(reader: Reader, cluster: ClusterRow, idOrArn: string): InstanceRow {
  const instance = findInstance(reader, cluster, idOrArn)
  if (instance !== undefined) return instance
  throw invalidParameter(`Referenced container instance ${idOf(idOrArn)} not found in cluster ${cluster.clusterName}.`)
}

/** What a Describe answers for an instance that it does not know. */
export function missingInstance(place: Place, cluster: ClusterRow, idOrArn: string): Failure {
  const arn = isArn(idOrArn) ? idOrArn : containerInstanceArn(place, cluster.clusterName, idOrArn)
  return { arn, reason: 'MISSING' }
}
