/**
 * Whether a role can be given to tasks right now: it is there, and its trust policy allows ECS's tasks to assume it. Asked
 * where a task is wanted and again whenever keys are made, so that what is withdrawn takes effect.
 */
import { isArn, type Place } from '../../proto/arn.ts'
import type { RoleRow } from '../state/iam-tables.ts'
import type { Reader } from '../state/transaction.ts'

/** The service that a task's role has to trust. */
export const tasksPrincipal = 'ecs-tasks.amazonaws.com'

export type AssumableRole = { readonly role: RoleRow } | { readonly problem: string }

/** `named`: a role's ARN, or its bare name. A problem is ECS's own sentence, and after it what is missing here. */
export function assumableRole(reader: Reader, named: string, _now: number): AssumableRole {
  const role = findRole(reader, named)
  if (role === undefined)
    return { problem: unableToAssume(named, 'There is no such role: create it (iam create-role)') }
  if (!trustsTasks(role)) {
    const why = `Its trust policy does not allow ${tasksPrincipal} to call sts:AssumeRole`
    return { problem: unableToAssume(named, why) }
  }
  return { role }
}

/** By ARN or name; a role of another path or account is another role. */
export function findRole(reader: Reader, named: string): RoleRow | undefined {
  const role = reader.get('role', named.slice(named.lastIndexOf('/') + 1))
  return role !== undefined && (!isArn(named) || role.Arn === named) ? role : undefined
}

/** What a policy on the role is matched against: its ARN; of a name without a role, the ARN that it would have. */
export function roleArnOf(reader: Reader, named: string, { account }: Place): string {
  return isArn(named) ? named : (findRole(reader, named)?.Arn ?? `arn:aws:iam::${account}:role/${named}`)
}

/** Source: the ECS service's own answer, as it stands in many reports. */
function unableToAssume(named: string, why: string): string {
  return (
    `ECS was unable to assume the role '${named}' that was provided for this task. Please verify that the role being ` +
    'passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this ' +
    `role. ${why}.`
  )
}

interface TrustStatement {
  readonly Effect?: unknown
  readonly Action?: unknown
  readonly Principal?: unknown
}

function trustsTasks({ AssumeRolePolicyDocument }: RoleRow): boolean {
  const document = JSON.parse(AssumeRolePolicyDocument) as { readonly Statement?: unknown }
  const statements = listOf(document.Statement) as readonly TrustStatement[]
  const onTasks = statements.filter(({ Principal, Action }) => {
    const services =
      typeof Principal === 'object' && Principal !== null && 'Service' in Principal ? Principal.Service : ''
    const isOfTasks = listOf(services).includes(tasksPrincipal)
    return isOfTasks && listOf(Action).some((action) => action === 'sts:AssumeRole' || action === 'sts:*')
  })
  return onTasks.some(({ Effect }) => Effect === 'Allow') && !onTasks.some(({ Effect }) => Effect === 'Deny')
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value]
}
