/**
 * Roles that a call hands to tasks. The caller must be allowed to pass each (iam:PassRole), and where tasks are to be
 * started with it, ECS must be able to assume it. Source: the ECS developer guide, "Pass a role", and ECS's answers.
 */
import { clientError } from '../../proto/errors.ts'
import type { TaskDefinition, TaskOverride } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { assumableRole, roleArnOf, tasksPrincipal } from '../decide/assumable-role.ts'
import { tagRecord } from '../iam/tags.ts'
import { findRole } from '../iam/trust.ts'
import { rolesOf } from '../decide/task-roles.ts'
import type { Reader } from '../state/transaction.ts'
import type { Call } from './handler.ts'

type Roles = Pick<TaskDefinition, 'taskRoleArn' | 'executionRoleArn'>

/** For RegisterTaskDefinition: a role may be named before it is there. Throws AccessDenied. */
export function checkPassRole(reader: Reader, roles: Roles, call: Call, world: World): void {
  for (const named of namesIn(roles)) {
    call.authorize(reader, {
      action: 'iam:PassRole',
      resource: roleArnOf(reader, named, world),
      keys: { 'iam:PassedToService': tasksPrincipal },
      resourceTags: () => tagRecord(findRole(reader, named)?.Tags ?? []),
    })
  }
}

/** For calls that start tasks. Throws AccessDenied, or ClientException for a role that ECS can't assume. */
export function checkTaskRoles(
  reader: Reader,
  definition: Roles,
  overrides: TaskOverride | undefined,
  call: Call,
  world: World,
): void {
  const roles = rolesOf(definition, overrides)
  checkPassRole(reader, roles, call, world)
  for (const named of namesIn(roles)) {
    const found = assumableRole(reader, named, world, call.now)
    if ('problem' in found) throw clientError(found.problem)
  }
}

function namesIn({ taskRoleArn, executionRoleArn }: Roles): readonly string[] {
  return [...new Set([taskRoleArn, executionRoleArn].flatMap((named) => (named ? [named] : [])))]
}
