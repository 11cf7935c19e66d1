/** Managed policies by ARN, customers' and ready-made, and what they are attached to. */
import { readyMadePolicies } from '../access/ready-made-policies.ts'
import type { ManagedPolicyRow, PolicyHolder } from '../state/iam-tables.ts'
import type { Reader } from '../state/transaction.ts'

export function findPolicy(reader: Reader, arn: string): ManagedPolicyRow | undefined {
  return readyMadePolicies.get(arn) ?? reader.get('managedPolicy', arn)
}

/** How often each policy is attached, and how often it bounds, by its ARN: of all users and roles, read once. */
export interface PolicyUses {
  readonly attachments: ReadonlyMap<string, number>
  readonly boundaries: ReadonlyMap<string, number>
}

export function policyUses(reader: Reader): PolicyUses {
  const attachments = new Map<string, number>()
  const boundaries = new Map<string, number>()
  for (const { attachedPolicyArns, permissionsBoundaryArn } of holders(reader)) {
    for (const arn of attachedPolicyArns) attachments.set(arn, (attachments.get(arn) ?? 0) + 1)
    if (permissionsBoundaryArn !== undefined) {
      boundaries.set(permissionsBoundaryArn, (boundaries.get(permissionsBoundaryArn) ?? 0) + 1)
    }
  }
  return { attachments, boundaries }
}

/** Users, then roles. */
export function holders(reader: Reader): readonly PolicyHolder[] {
  return [...reader.all('user'), ...reader.all('role')]
}
