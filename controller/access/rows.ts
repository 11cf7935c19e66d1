/** Which row says what an operation takes. What has none is denied; a test walks all that are routed. */
import type { InputOf, OperationOf, ServiceName } from '../../proto/model/types.ts'
import type { AccessRow } from './authorization.ts'
import { builtEcsRows } from './rows/ecs.ts'
import { unbuiltEcsRows } from './rows/ecs-unbuilt.ts'
import { iamRows } from './rows/iam.ts'
import { type RestInput, restRows } from './rows/rest.ts'
import { secretsmanagerRows } from './rows/secretsmanager.ts'
import { ssmRows } from './rows/ssm.ts'
import { stsRows } from './rows/sts.ts'

/** The rows of one service: each takes the input of its own operation. */
export type ServiceRows<S extends ServiceName> = {
  readonly [Op in OperationOf<S>]?: AccessRow<InputOf<S, Op>>
}

const rows: Readonly<Partial<Record<ServiceName, object>>> = {
  ecs: { ...builtEcsRows, ...unbuiltEcsRows },
  iam: iamRows,
  secretsmanager: secretsmanagerRows,
  ssm: ssmRows,
  sts: stsRows,
}

export function rowOf(service: ServiceName, operation: string): AccessRow | undefined {
  const ofService = rows[service] as Readonly<Record<string, AccessRow | undefined>> | undefined
  return ofService !== undefined && Object.hasOwn(ofService, operation) ? ofService[operation] : undefined
}

/** `GET /v1/tasks/:task`. */
export function routeRowOf(route: string): AccessRow<RestInput> | undefined {
  return Object.hasOwn(restRows, route) ? restRows[route] : undefined
}
