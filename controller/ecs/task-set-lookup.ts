/** How the operations on task sets find what a request names, and what they refuse first. */
import { isArn } from '../../proto/arn.ts'
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import type { ServiceRow, TaskSetRow } from '../state/service-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { requireService } from './service-lookup.ts'

interface Named {
  readonly cluster: string | undefined
  readonly service: string | undefined
}

/**
 * The service, whose task sets are its caller's to make. ServiceNotFoundException; ServiceNotActiveException;
 * InvalidParameterException with another controller than EXTERNAL.
 */
export function requireExternalService(reader: Reader, { cluster, service }: Named): ServiceRow {
  const row = requireService(reader, requireCluster(reader, cluster), service)
  if (row.status === 'INACTIVE') throw notActive()
  if (row.deploymentController.type === 'EXTERNAL') return row
  throw invalidParameter(
    'Amazon ECS only supports task set management on services configured to use external deployment controllers.',
  )
}

/** The same, where task sets are to change. */
export function requireActiveExternalService(reader: Reader, named: Named): ServiceRow {
  const row = requireExternalService(reader, named)
  if (row.status !== 'ACTIVE') throw notActive()
  return row
}

function notActive(): ApiError {
  return new ApiError('ServiceNotActiveException', 'Service was not ACTIVE.')
}

const idPattern = /(?:^|\/)(ecs-svc\/[0-9]{1,19})$/

/** By id, `ecs-svc/` and digits, or by ARN. InvalidParameterException where it is neither. */
export function findTaskSet(reader: Reader, service: ServiceRow, idOrArn: string): TaskSetRow | undefined {
  const id = idPattern.exec(idOrArn)?.[1]
  if (id === undefined || (idOrArn !== id && !isArn(idOrArn))) {
    throw invalidParameter(
      `Task Set Identifier is invalid: '${idOrArn.slice(0, 256)}'. Give its id (ecs-svc/ and digits) or its ARN.`,
    )
  }
  const row = reader.get('taskSet', id)
  if (row?.serviceKey !== service.serviceKey) return undefined
  return isArn(idOrArn) && row.taskSetArn !== idOrArn ? undefined : row
}

/** As `findTaskSet`; none of that id is TaskSetNotFoundException. */
export function requireTaskSet(reader: Reader, service: ServiceRow, idOrArn: string | undefined): TaskSetRow {
  if (idOrArn === undefined || idOrArn === '') throw invalidParameter('TaskSet can not be blank.')
  const row = findTaskSet(reader, service, idOrArn)
  if (row !== undefined) return row
  throw new ApiError('TaskSetNotFoundException', 'The specified task set was not found.')
}
