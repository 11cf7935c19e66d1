/**
 * Which services a role trusts. Services have no policies of their own, so a role's trust policy alone says whether one may
 * take it: `ecs-tasks.amazonaws.com` for tasks, `ecs.amazonaws.com` for services, `ec2.amazonaws.com` for instances,
 * `application-autoscaling.amazonaws.com` for scaling.
 */
import { isArn, type Place } from '../../proto/arn.ts'
import { evaluateTrust } from '../access/evaluate.ts'
import type { Policy } from '../access/policy.ts'
import { readPolicy } from '../access/policy-document.ts'
import type { RoleRow } from '../state/iam-tables.ts'
import type { Reader } from '../state/transaction.ts'

export interface ServiceCaller {
  /** `ecs-tasks.amazonaws.com` */
  readonly service: string
  readonly place: Place
  /** Epoch milliseconds. */
  readonly now: number
}

export type TrustedRole =
  | { readonly role: RoleRow }
  /** Why the service can't take it: it isn't there, or its trust policy doesn't name the service. */
  | { readonly problem: string }

/** `named`: a role's ARN or bare name. A problem is one clause, for a sentence of the caller's own. */
export function findTrustingRole(reader: Reader, named: string, caller: ServiceCaller): TrustedRole {
  const role = findRole(reader, named)
  if (role === undefined) return { problem: `there is no role ${named}: create it first (iam create-role)` }
  if (trustsService(role, caller)) return { role }
  return { problem: `the trust policy of ${role.Arn} does not allow ${caller.service} to call sts:AssumeRole` }
}

/** By ARN or bare name; a role of another path or account is another role. */
export function findRole(reader: Reader, named: string): RoleRow | undefined {
  const role = reader.get('role', named.slice(named.lastIndexOf('/') + 1))
  return role !== undefined && (!isArn(named) || role.Arn === named) ? role : undefined
}

/**
 * Rows don't change, so what was read of one stays: keys of thousands of tasks are made of few roles. A document that can't
 * be read, as another version of Gantry may have put it, trusts nobody.
 */
const compiled = new WeakMap<RoleRow, Policy | 'unreadable'>()

export function trustsService(role: RoleRow, { service, place, now }: ServiceCaller): boolean {
  const policy = compiled.get(role) ?? compile(role)
  if (policy === 'unreadable') return false
  const keys: Readonly<Record<string, string>> = {
    'aws:currenttime': new Date(now).toISOString(),
    'aws:epochtime': String(Math.floor(now / 1000)),
    'aws:principalisawsservice': 'true',
    'aws:principalservicename': service,
    'aws:requestedregion': place.region,
    'aws:sourceaccount': place.account,
    // As ECS says it of its tasks: a trust policy can't ask for one of them.
    'aws:sourcearn': `arn:aws:ecs:${place.region}:${place.account}:*`,
  }
  const request = {
    action: 'sts:assumerole',
    resource: role.Arn,
    read: (key: string): string | undefined => keys[key],
    caller: { kind: 'service', service } as const,
  }
  return evaluateTrust(policy, request).isAllowed
}

function compile(role: RoleRow): Policy | 'unreadable' {
  const read = readPolicy(role.AssumeRolePolicyDocument, 'trust')
  const policy = 'problem' in read ? 'unreadable' : read
  compiled.set(role, policy)
  return policy
}
