/** The policies of users and roles: those that are part of them, and managed ones that are attached to them. */
import { ApiError } from '../../proto/errors.ts'
import type { OutputOf } from '../../proto/model/types.ts'
import { type ServiceHandlers, readOf, writeOf } from '../ecs/handler.ts'
import type { PolicyHolder, RoleRow, UserRow } from '../state/iam-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { encodeDocument, readInlineDocument } from './documents.ts'
import { accountQuotas, noSuchEntity, quotaExceeded, readName, readPathPrefix, required } from './names.ts'
import { type MarkedPage, markedPage } from './paging.ts'
import { findPolicy } from './policy-lookup.ts'
import { requireOwnRole, requireRole } from './roles.ts'
import { requireUser } from './users.ts'

/** Which holder it is, for what differs between users and roles. */
interface Named {
  readonly kind: 'user' | 'role'
  readonly name: string
}

const putUser = (tx: Transaction, row: UserRow): void => tx.put('user', row.UserName, row)
const putRole = (tx: Transaction, row: RoleRow): void => tx.put('role', row.RoleName, row)
const asUser = ({ UserName }: UserRow): Named => ({ kind: 'user', name: UserName })
const asRole = ({ RoleName }: RoleRow): Named => ({ kind: 'role', name: RoleName })

export const holderPolicyHandlers = {
  PutUserPolicy: writeOf<'iam', 'PutUserPolicy'>((tx, input) => {
    const user = requireUser(tx, input.UserName)
    putUser(tx, { ...user, ...withInline(user, asUser(user), input) })
    return {}
  }),
  PutRolePolicy: writeOf<'iam', 'PutRolePolicy'>((tx, input) => {
    const role = requireOwnRole(tx, input.RoleName)
    putRole(tx, { ...role, ...withInline(role, asRole(role), input) })
    return {}
  }),
  GetUserPolicy: readOf<'iam', 'GetUserPolicy'>((reader, input) => {
    const user = requireUser(reader, input.UserName)
    return { UserName: user.UserName, ...shownInline(user, asUser(user), input.PolicyName) }
  }),
  GetRolePolicy: readOf<'iam', 'GetRolePolicy'>((reader, input) => {
    const role = requireRole(reader, input.RoleName)
    return { RoleName: role.RoleName, ...shownInline(role, asRole(role), input.PolicyName) }
  }),
  DeleteUserPolicy: writeOf<'iam', 'DeleteUserPolicy'>((tx, input) => {
    const user = requireUser(tx, input.UserName)
    putUser(tx, { ...user, ...withoutInline(user, asUser(user), input.PolicyName) })
    return {}
  }),
  DeleteRolePolicy: writeOf<'iam', 'DeleteRolePolicy'>((tx, input) => {
    const role = requireOwnRole(tx, input.RoleName)
    putRole(tx, { ...role, ...withoutInline(role, asRole(role), input.PolicyName) })
    return {}
  }),
  ListUserPolicies: readOf<'iam', 'ListUserPolicies'>((reader, input) => {
    return inlineNames(requireUser(reader, input.UserName), input)
  }),
  ListRolePolicies: readOf<'iam', 'ListRolePolicies'>((reader, input) => {
    return inlineNames(requireRole(reader, input.RoleName), input)
  }),
  AttachUserPolicy: writeOf<'iam', 'AttachUserPolicy'>((tx, input) => {
    const user = requireUser(tx, input.UserName)
    putUser(tx, { ...user, ...withAttached(tx, user, asUser(user), input.PolicyArn) })
    return {}
  }),
  AttachRolePolicy: writeOf<'iam', 'AttachRolePolicy'>((tx, input) => {
    const role = requireOwnRole(tx, input.RoleName)
    putRole(tx, { ...role, ...withAttached(tx, role, asRole(role), input.PolicyArn) })
    return {}
  }),
  DetachUserPolicy: writeOf<'iam', 'DetachUserPolicy'>((tx, input) => {
    const user = requireUser(tx, input.UserName)
    putUser(tx, { ...user, ...withoutAttached(user, input.PolicyArn) })
    return {}
  }),
  DetachRolePolicy: writeOf<'iam', 'DetachRolePolicy'>((tx, input) => {
    const role = requireOwnRole(tx, input.RoleName)
    putRole(tx, { ...role, ...withoutAttached(role, input.PolicyArn) })
    return {}
  }),
  ListAttachedUserPolicies: readOf<'iam', 'ListAttachedUserPolicies'>((reader, input) => {
    return attachedPolicies(reader, requireUser(reader, input.UserName), input)
  }),
  ListAttachedRolePolicies: readOf<'iam', 'ListAttachedRolePolicies'>((reader, input) => {
    return attachedPolicies(reader, requireRole(reader, input.RoleName), input)
  }),
} satisfies ServiceHandlers<'iam'>

interface ListInput {
  readonly PathPrefix?: string | undefined
  readonly Marker?: string | undefined
  readonly MaxItems?: number | undefined
}

function withInline(
  holder: PolicyHolder,
  named: Named,
  input: { readonly PolicyName: string | undefined; readonly PolicyDocument: string | undefined },
): Pick<PolicyHolder, 'inlinePolicies'> {
  const PolicyName = readName('policyName', input.PolicyName)
  const others = holder.inlinePolicies.filter((policy) => policy.PolicyName !== PolicyName)
  const PolicyDocument = readInlineDocument(input.PolicyDocument, named, others)
  const inlinePolicies = [...others, { PolicyName, PolicyDocument }]
  return { inlinePolicies: inlinePolicies.toSorted((a, b) => (a.PolicyName < b.PolicyName ? -1 : 1)) }
}

function shownInline(
  holder: PolicyHolder,
  { kind }: Named,
  policyName: string | undefined,
): { PolicyName: string; PolicyDocument: string } {
  const found = holder.inlinePolicies.find(({ PolicyName }) => PolicyName === policyName)
  if (found === undefined) throw noSuchInline(kind, policyName)
  return { PolicyName: found.PolicyName, PolicyDocument: encodeDocument(found.PolicyDocument) }
}

function withoutInline(
  holder: PolicyHolder,
  { kind }: Named,
  policyName: string | undefined,
): Pick<PolicyHolder, 'inlinePolicies'> {
  const inlinePolicies = holder.inlinePolicies.filter(({ PolicyName }) => PolicyName !== policyName)
  if (inlinePolicies.length === holder.inlinePolicies.length) throw noSuchInline(kind, policyName)
  return { inlinePolicies }
}

function inlineNames(
  { inlinePolicies }: PolicyHolder,
  input: ListInput,
): Omit<MarkedPage<string>, 'items'> & {
  PolicyNames: string[]
} {
  const names = inlinePolicies.map(({ PolicyName }) => PolicyName)
  const { items, ...rest } = markedPage(names, (name) => name, input)
  return { PolicyNames: items, ...rest }
}

/** Attaching what is attached changes nothing. */
function withAttached(
  reader: Reader,
  holder: PolicyHolder,
  { kind }: Named,
  policyArn: string | undefined,
): Pick<PolicyHolder, 'attachedPolicyArns'> {
  const arn = required('policyArn', policyArn)
  const policy = findPolicy(reader, arn)
  if (policy === undefined) throw noSuchEntity(`Policy ${arn.slice(0, 256)} does not exist or is not attachable.`)
  if (policy.Path.startsWith('/aws-service-role/')) {
    throw new ApiError('PolicyNotAttachable', 'Cannot attach a Service Role Policy to a Customer Role.')
  }
  const { attachedPolicyArns } = holder
  if (attachedPolicyArns.includes(arn)) return { attachedPolicyArns }
  const limit =
    kind === 'user' ? accountQuotas.AttachedPoliciesPerUserQuota : accountQuotas.AttachedPoliciesPerRoleQuota
  if (attachedPolicyArns.length >= limit) {
    throw quotaExceeded(kind === 'user' ? 'PoliciesPerUser' : 'PoliciesPerRole', limit)
  }
  return { attachedPolicyArns: [...attachedPolicyArns, arn] }
}

function withoutAttached(
  { attachedPolicyArns }: PolicyHolder,
  policyArn: string | undefined,
): Pick<PolicyHolder, 'attachedPolicyArns'> {
  const arn = required('policyArn', policyArn)
  if (!attachedPolicyArns.includes(arn)) throw noSuchEntity(`Policy ${arn.slice(0, 256)} was not found.`)
  return { attachedPolicyArns: attachedPolicyArns.filter((attached) => attached !== arn) }
}

function attachedPolicies(
  reader: Reader,
  { attachedPolicyArns }: PolicyHolder,
  input: ListInput,
): OutputOf<'iam', 'ListAttachedRolePolicies'> {
  const prefix = readPathPrefix(input.PathPrefix)
  const policies = attachedPolicyArns.flatMap((arn) => findPolicy(reader, arn) ?? [])
  const asked = policies.filter(({ Path }) => Path.startsWith(prefix))
  const { items, ...rest } = markedPage(asked, ({ Arn }) => Arn, input)
  return { AttachedPolicies: items.map(({ PolicyName, Arn }) => ({ PolicyName, PolicyArn: Arn })), ...rest }
}

function noSuchInline(kind: Named['kind'], policyName: string | undefined): ApiError {
  return noSuchEntity(`The ${kind} policy with name ${(policyName ?? '').slice(0, 128)} cannot be found.`)
}
