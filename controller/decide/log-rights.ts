/**
 * Whose rights ship the logs of a container (log driver awslogs). On EC2 they are the host's own, which covers all of its
 * containers; on EXTERNAL they are those of the task's execution role, and without it nothing is shipped.
 * Source: the ECS developer guide, "Amazon ECS task execution IAM role" and "Amazon ECS clusters for external instances".
 */
import type { Access } from '../access/check.ts'
import { assumedRoleArn } from '../iam/arns.ts'
import { idOf } from '../../proto/arn.ts'
import { isApiError } from '../../proto/errors.ts'
import type { World } from '../../proto/world.ts'
import type { Principal } from '../access/principal.ts'
import type { RoleRow } from '../state/iam-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { assumableRole } from './assumable-role.ts'
import { rolesOf } from './task-roles.ts'

export interface LogRightsView {
  readonly reader: Reader
  readonly world: World
  readonly access: Pick<Access, 'require'>
  /** Epoch milliseconds. */
  readonly now: number
}

/** ECS's words before the cause. */
const unableToShip =
  'ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create ' +
  'Cloudwatch log stream: '

/** Why the task's containers may not ship their logs; undefined where they may, or ship none. */
export function logsProblem(task: TaskRow, view: LogRightsView): string | undefined {
  if (task.launchType !== 'EXTERNAL') return undefined
  const definition = view.reader.get('taskDefinition', idOf(task.taskDefinitionArn))
  for (const { name = '', logConfiguration } of definition?.containerDefinitions ?? []) {
    if (logConfiguration?.logDriver !== 'awslogs') continue
    const options = logConfiguration.options ?? {}
    const prefix = options['awslogs-stream-prefix']
    const stream = prefix === undefined ? '*' : `${prefix}/${name}/${task.taskId}`
    const logGroup = options['awslogs-group'] ?? ''
    const problem = logStreamProblem(task, { logGroup, stream, region: options['awslogs-region'] }, view)
    if (problem !== undefined) return problem
  }
  return undefined
}

export interface LogStreamPlace {
  readonly logGroup: string
  readonly stream: string
  /** Absent: the cluster's. */
  readonly region?: string | undefined
}

/** Why the task may not ship to this one log stream; undefined where it may. */
export function logStreamProblem(task: TaskRow, place: LogStreamPlace, view: LogRightsView): string | undefined {
  if (task.launchType !== 'EXTERNAL') return undefined
  const { reader, world, now } = view
  const definition = reader.get('taskDefinition', idOf(task.taskDefinitionArn))
  const named = definition === undefined ? undefined : rolesOf(definition, task.overrides).executionRoleArn
  if (named === undefined) {
    return (
      `${unableToShip}the task has no execution role, and on EXTERNAL instances logs are shipped by it. Name an ` +
      'executionRoleArn in the task definition, of a role that may call logs:CreateLogStream and logs:PutLogEvents.'
    )
  }
  const found = assumableRole(reader, named, world, now)
  if ('problem' in found) return `${unableToShip}${found.problem}`
  const principal = executionPrincipal(found.role, task, world)
  const region = place.region ?? world.region
  const resource = `arn:aws:logs:${region}:${world.account}:log-group:${place.logGroup}:log-stream:${place.stream}`
  for (const action of ['logs:CreateLogStream', 'logs:PutLogEvents']) {
    const denial = denialOf(view, principal, action, resource)
    if (denial !== undefined) return `${unableToShip}AccessDeniedException: ${denial}`
  }
  return undefined
}

function denialOf(
  { reader, access, now }: LogRightsView,
  principal: Principal,
  action: string,
  resource: string,
): string | undefined {
  try {
    // The controller itself asks on behalf of the role: there is no connection that this would come from.
    access.require(reader, principal, { action, resource }, { now, sourceAddress: '127.0.0.1', isSecure: true })
    return undefined
  } catch (error) {
    if (isApiError(error)) return error.message
    throw error
  }
}

/** As a call would show that is signed with the keys of the execution role. */
function executionPrincipal(role: RoleRow, { taskId, taskArn }: TaskRow, world: World): Principal {
  return {
    kind: 'role',
    arn: assumedRoleArn(world, role.RoleName, taskId),
    userId: `${role.RoleId}:${taskId}`,
    accessKeyId: '',
    signedFor: { service: 'logs', region: world.region },
    roleName: role.RoleName,
    sessionName: taskId,
    taskArn,
  }
}
