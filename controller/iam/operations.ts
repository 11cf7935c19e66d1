/** Every operation of IAM that is built. What is modelled and not here answers UnsupportedFeatureException. */
import type { ServiceHandlers } from '../ecs/handler.ts'
import { accessKeyHandlers } from './access-keys.ts'
import { accountHandlers } from './account.ts'
import { holderPolicyHandlers } from './holder-policies.ts'
import { instanceProfileHandlers } from './instance-profiles.ts'
import { managedPolicyHandlers } from './managed-policies.ts'
import { roleHandlers } from './roles.ts'
import { serviceLinkedRoleHandlers } from './service-linked-roles.ts'
import { simulateHandlers } from './simulate.ts'
import { userHandlers } from './users.ts'

export const iamOperations: ServiceHandlers<'iam'> = {
  ...userHandlers,
  ...accessKeyHandlers,
  ...roleHandlers,
  ...holderPolicyHandlers,
  ...managedPolicyHandlers,
  ...instanceProfileHandlers,
  ...serviceLinkedRoleHandlers,
  ...accountHandlers,
  ...simulateHandlers,
}
