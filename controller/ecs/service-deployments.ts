/**
 * Service deployments: each attempt to bring a service to a revision, while it goes on and once it is history. Source: the
 * ECS API reference, ListServiceDeployments and DescribeServiceDeployments.
 */
import { invalidParameter } from '../../proto/errors.ts'
import type { Input, Output, ServiceDeployment } from '../../proto/model/types.ts'
import { describeBreaker } from '../decide/circuit-breaker.ts'
import { isEnded } from '../decide/deployment-start.ts'
import { revisionCounts } from '../decide/service-revision-counts.ts'
import type { ServiceDeploymentRow } from '../state/service-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { page } from './paging.ts'
import { requireService } from './service-lookup.ts'

const describedMax = 20

/** The newest first, narrowed by every filter that is given. ClusterNotFoundException, ServiceNotFoundException. */
export function listServiceDeployments(
  reader: Reader,
  input: Input<'ListServiceDeployments'>,
): Output<'ListServiceDeployments'> {
  const service = requireService(reader, requireCluster(reader, input.cluster), input.service)
  const { before, after } = input.createdAt ?? {}
  const statuses = input.status ?? []
  const rows = reader
    .find('serviceDeployment', 'byService', service.serviceKey)
    .filter(
      ({ status, createdAt }) =>
        (statuses.length === 0 || statuses.includes(status)) &&
        (before === undefined || createdAt < before) &&
        (after === undefined || createdAt > after),
    )
    .toSorted((one, other) => (keyOf(one) < keyOf(other) ? 1 : -1))
  const limits = { defaultSize: 20, maxSize: 100, descending: true }
  const { items, nextToken } = page(rows, keyOf, input, limits)
  return { serviceDeployments: items.map(brief), ...(nextToken === undefined ? {} : { nextToken }) }
}

function keyOf({ createdAt, id }: ServiceDeploymentRow): string {
  return `${String(createdAt).padStart(15, '0')}/${id}`
}

function brief(row: ServiceDeploymentRow): NonNullable<Output<'ListServiceDeployments'>['serviceDeployments']>[number] {
  const { serviceDeploymentArn, serviceArn, clusterArn, startedAt, createdAt, finishedAt, status, statusReason } = row
  return {
    serviceDeploymentArn,
    serviceArn,
    clusterArn,
    startedAt,
    createdAt,
    finishedAt,
    status,
    statusReason,
    targetServiceRevisionArn: row.targetServiceRevision?.arn,
  }
}

/** At most 20; what isn't known is in `failures` as MISSING. */
export function describeServiceDeployments(
  reader: Reader,
  input: Input<'DescribeServiceDeployments'>,
): Output<'DescribeServiceDeployments'> {
  const arns = [...new Set(input.serviceDeploymentArns ?? [])]
  if (arns.length === 0) throw invalidParameter('serviceDeploymentArns cannot be empty.')
  if (arns.length > describedMax) {
    throw invalidParameter(
      `At most ${describedMax} service deployments can be described at once, and ${arns.length} are named.`,
    )
  }
  const found = arns.map((arn) => ({ arn, row: findServiceDeployment(reader, arn) }))
  return {
    serviceDeployments: found.flatMap(({ row }) => (row === undefined ? [] : [describe(reader, row)])),
    failures: found.flatMap(({ arn, row }) => (row === undefined ? [{ arn, reason: 'MISSING' }] : [])),
  }
}

export function findServiceDeployment(reader: Reader, arn: string): ServiceDeploymentRow | undefined {
  const row = reader.get('serviceDeployment', arn.slice(arn.lastIndexOf('/') + 1))
  return row?.serviceDeploymentArn === arn ? row : undefined
}

/** What goes on is counted now; what is over says how it was when it ended. */
function describe(reader: Reader, row: ServiceDeploymentRow): ServiceDeployment {
  const { id: _id, serviceKey: _key, deploymentId: _deployment, ...members } = row
  if (isEnded(row)) return members
  return { ...members, ...revisionCounts(reader, row), deploymentCircuitBreaker: breakerNow(reader, row) }
}

function breakerNow(reader: Reader, row: ServiceDeploymentRow): ServiceDeployment['deploymentCircuitBreaker'] {
  // Once it is rolled back, the count that tripped the breaker is what there is to say.
  if (row.rollback !== undefined) return row.deploymentCircuitBreaker
  const service = reader.get('service', row.serviceKey)
  if (service === undefined) return row.deploymentCircuitBreaker
  const failedTasks = reader.get('deployment', row.deploymentId)?.failedTasks ?? 0
  return describeBreaker(service, failedTasks, 'MONITORING')
}
