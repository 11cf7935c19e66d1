/**
 * The role of a service: in it ECS registers tasks with load balancers. Services whose tasks have addresses of their own
 * use the service-linked role, and take no other.
 *
 * Source: ECS API reference, CreateService, `role`; Amazon ECS, "Using service-linked roles".
 */
import { invalidParameter } from '../../proto/errors.ts'
import type { Input } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { roleArnOf } from '../decide/assumable-role.ts'
import { linkedRoleArn } from '../iam/service-linked-roles.ts'
import { findTrustingRole } from '../iam/trust.ts'
import type { Reader } from '../state/transaction.ts'
import type { Call } from './handler.ts'

const ecsService = 'ecs.amazonaws.com'

/** Throws AccessDenied where the caller may not pass the role, and InvalidParameterException in ECS's words. */
export function checkServiceRole(reader: Reader, input: Input<'CreateService'>, call: Call, world: World): void {
  const { role, networkConfiguration } = input
  if (role === undefined || role === '') return
  if (networkConfiguration !== undefined) {
    throw invalidParameter('You cannot specify an IAM role for services that require a service linked role.')
  }
  call.authorize(reader, {
    action: 'iam:PassRole',
    resource: roleArnOf(reader, role, world),
    keys: { 'iam:PassedToService': ecsService },
  })
  const found = findTrustingRole(reader, role, { service: ecsService, place: world, now: call.now })
  if ('problem' in found) {
    throw invalidParameter(
      'Unable to assume role and validate the listeners configured on your load balancer. Please verify that the ECS ' +
        `service role being passed has the proper permissions: ${found.problem}.`,
    )
  }
  throw invalidParameter(
    'role is only for a service with load balancers, whose targets ECS registers in that role. Leave it out.',
  )
}

/** As DescribeServices shows it. */
export function serviceRoleArn(
  { networkConfiguration }: { readonly networkConfiguration?: object | undefined },
  world: Pick<World, 'account'>,
): string | undefined {
  return networkConfiguration === undefined ? undefined : linkedRoleArn(world, ecsService)
}
