/**
 * What each operation of IAM takes. Resources are found by the names in the input, with the paths that they have.
 *
 * Source: AWS Service Authorization Reference, "Actions, resources, and condition keys for AWS Identity and Access
 * Management (IAM)".
 */
import type { InputOf, OperationOf } from '../../../proto/model/types.ts'
import { instanceProfileArn, policyArn, roleArn, userArn } from '../../iam/arns.ts'
import { findPolicy } from '../../iam/policy-lookup.ts'
import { linkedRoleArn } from '../../iam/service-linked-roles.ts'
import { tagRecord } from '../../iam/tags.ts'
import type { PolicyHolder } from '../../state/iam-tables.ts'
import type { Reader } from '../../state/transaction.ts'
import type { AccessCheck, AccessRow, ConditionKeys, Place } from '../authorization.ts'
import { requestTagKeys } from '../request-keys.ts'
import type { ServiceRows } from '../rows.ts'

type Action = OperationOf<'iam'>
type Tagging = InputOf<'iam', 'TagUser'>['Tags']

interface UserInput {
  readonly UserName?: string | undefined
}
interface RoleInput {
  readonly RoleName?: string | undefined
}
interface PolicyInput {
  readonly PolicyArn?: string | undefined
}
interface ProfileInput {
  readonly InstanceProfileName?: string | undefined
}

/** On the user that is named, or the caller where none is. */
const onUser =
  (action: Action, keysOf: (input: object) => ConditionKeys = () => ({})): AccessRow<UserInput> =>
  (input, reader, place, principal) =>
    userCheck(action, { reader, place }, input.UserName ?? principal?.userName, keysOf(input))

const onRole =
  (action: Action): AccessRow<RoleInput> =>
  (input, reader, place) =>
    roleCheck(action, { reader, place }, input.RoleName)

const onPolicy =
  (action: Action): AccessRow<PolicyInput> =>
  (input, reader) => [policyCheck(action, reader, input.PolicyArn)]

const onProfile =
  (action: Action): AccessRow<ProfileInput> =>
  (input, reader, place) => [profileCheck(action, { reader, place }, input.InstanceProfileName)]

const onPath =
  (action: Action, kind: string): AccessRow<{ readonly PathPrefix?: string | undefined }> =>
  ({ PathPrefix }, _reader, { account }) => [
    { action: `iam:${action}`, resource: `arn:aws:iam::${account}:${kind}${PathPrefix ?? '/'}` },
  ]

const onAccount =
  (action: Action): AccessRow<object> =>
  () => [{ action: `iam:${action}`, resource: '*' }]

export const iamRows: ServiceRows<'iam'> = {
  AddRoleToInstanceProfile: (input, reader, place) => [
    profileCheck('AddRoleToInstanceProfile', { reader, place }, input.InstanceProfileName),
    ...roleCheck('PassRole', { reader, place }, input.RoleName, { 'iam:PassedToService': 'ec2.amazonaws.com' }),
  ],
  AttachRolePolicy: (input, reader, place) =>
    roleCheck('AttachRolePolicy', { reader, place }, input.RoleName, boundPolicy(input)),
  AttachUserPolicy: (input, reader, place) =>
    userCheck('AttachUserPolicy', { reader, place }, input.UserName, boundPolicy(input)),
  CreateAccessKey: onUser('CreateAccessKey'),
  CreateInstanceProfile(input, _reader, place) {
    const arn = instanceProfileArn(place, input.Path ?? '/', input.InstanceProfileName ?? '')
    return created('CreateInstanceProfile', 'TagInstanceProfile', arn, input.Tags)
  },
  CreatePolicy(input, _reader, place) {
    const arn = policyArn(place, input.Path ?? '/', input.PolicyName ?? '')
    return created('CreatePolicy', 'TagPolicy', arn, input.Tags)
  },
  CreatePolicyVersion: onPolicy('CreatePolicyVersion'),
  CreateRole(input, _reader, place) {
    const arn = roleArn(place, input.Path ?? '/', input.RoleName ?? '')
    return created('CreateRole', 'TagRole', arn, input.Tags, boundary(input.PermissionsBoundary))
  },
  CreateServiceLinkedRole: ({ AWSServiceName = '' }, _reader, place) => [
    {
      action: 'iam:CreateServiceLinkedRole',
      resource: linkedRoleArn(place, AWSServiceName),
      keys: { 'iam:AWSServiceName': AWSServiceName },
    },
  ],
  CreateUser(input, _reader, place) {
    const arn = userArn(place, input.Path ?? '/', input.UserName ?? '')
    return created('CreateUser', 'TagUser', arn, input.Tags, boundary(input.PermissionsBoundary))
  },
  DeleteAccessKey: onUser('DeleteAccessKey'),
  DeleteInstanceProfile: onProfile('DeleteInstanceProfile'),
  DeleteLoginProfile: onUser('DeleteLoginProfile'),
  DeletePolicy: onPolicy('DeletePolicy'),
  DeletePolicyVersion: onPolicy('DeletePolicyVersion'),
  DeleteRole: onRole('DeleteRole'),
  DeleteRolePermissionsBoundary: onRole('DeleteRolePermissionsBoundary'),
  DeleteRolePolicy: onRole('DeleteRolePolicy'),
  DeleteServiceLinkedRole: onRole('DeleteServiceLinkedRole'),
  DeleteUser: onUser('DeleteUser'),
  DeleteUserPermissionsBoundary: onUser('DeleteUserPermissionsBoundary'),
  DeleteUserPolicy: onUser('DeleteUserPolicy'),
  DetachRolePolicy: (input, reader, place) =>
    roleCheck('DetachRolePolicy', { reader, place }, input.RoleName, boundPolicy(input)),
  DetachUserPolicy: (input, reader, place) =>
    userCheck('DetachUserPolicy', { reader, place }, input.UserName, boundPolicy(input)),
  GetAccessKeyLastUsed: ({ AccessKeyId = '' }, reader, place) =>
    userCheck('GetAccessKeyLastUsed', { reader, place }, reader.get('accessKey', AccessKeyId)?.UserName),
  GetAccountSummary: onAccount('GetAccountSummary'),
  GetInstanceProfile: onProfile('GetInstanceProfile'),
  GetLoginProfile: onUser('GetLoginProfile'),
  GetPolicy: onPolicy('GetPolicy'),
  GetPolicyVersion: onPolicy('GetPolicyVersion'),
  GetRole: onRole('GetRole'),
  GetRolePolicy: onRole('GetRolePolicy'),
  GetServiceLinkedRoleDeletionStatus: ({ DeletionTaskId = '' }, _reader, { account }) => [
    {
      action: 'iam:GetServiceLinkedRoleDeletionStatus',
      resource: `arn:aws:iam::${account}:role/${DeletionTaskId.split('/').slice(1, -1).join('/')}`,
    },
  ],
  GetUser: onUser('GetUser'),
  GetUserPolicy: onUser('GetUserPolicy'),
  ListAccessKeys: onUser('ListAccessKeys'),
  ListAccountAliases: onAccount('ListAccountAliases'),
  ListAttachedRolePolicies: onRole('ListAttachedRolePolicies'),
  ListAttachedUserPolicies: onUser('ListAttachedUserPolicies'),
  ListEntitiesForPolicy: onPolicy('ListEntitiesForPolicy'),
  ListGroupsForUser: onUser('ListGroupsForUser'),
  ListInstanceProfileTags: onProfile('ListInstanceProfileTags'),
  ListInstanceProfiles: onPath('ListInstanceProfiles', 'instance-profile'),
  ListInstanceProfilesForRole: onRole('ListInstanceProfilesForRole'),
  ListMFADevices: onUser('ListMFADevices'),
  ListPolicies: onPath('ListPolicies', 'policy'),
  ListPolicyTags: onPolicy('ListPolicyTags'),
  ListPolicyVersions: onPolicy('ListPolicyVersions'),
  ListRolePolicies: onRole('ListRolePolicies'),
  ListRoleTags: onRole('ListRoleTags'),
  ListRoles: onPath('ListRoles', 'role'),
  ListSSHPublicKeys: onUser('ListSSHPublicKeys'),
  ListServiceSpecificCredentials: onUser('ListServiceSpecificCredentials'),
  ListSigningCertificates: onUser('ListSigningCertificates'),
  ListUserPolicies: onUser('ListUserPolicies'),
  ListUserTags: onUser('ListUserTags'),
  ListUsers: onPath('ListUsers', 'user'),
  ListVirtualMFADevices: onAccount('ListVirtualMFADevices'),
  PutRolePermissionsBoundary: (input, reader, place) =>
    roleCheck('PutRolePermissionsBoundary', { reader, place }, input.RoleName, boundary(input.PermissionsBoundary)),
  PutRolePolicy: onRole('PutRolePolicy'),
  PutUserPermissionsBoundary: (input, reader, place) =>
    userCheck('PutUserPermissionsBoundary', { reader, place }, input.UserName, boundary(input.PermissionsBoundary)),
  PutUserPolicy: onUser('PutUserPolicy'),
  RemoveRoleFromInstanceProfile: onProfile('RemoveRoleFromInstanceProfile'),
  SetDefaultPolicyVersion: onPolicy('SetDefaultPolicyVersion'),
  SimulatePrincipalPolicy: ({ PolicySourceArn = '*' }) => [
    { action: 'iam:SimulatePrincipalPolicy', resource: PolicySourceArn },
  ],
  TagInstanceProfile: (input, reader, place) => [
    profileCheck('TagInstanceProfile', { reader, place }, input.InstanceProfileName, tagging(input.Tags)),
  ],
  TagPolicy: (input, reader) => [policyCheck('TagPolicy', reader, input.PolicyArn, tagging(input.Tags))],
  TagRole: (input, reader, place) => roleCheck('TagRole', { reader, place }, input.RoleName, tagging(input.Tags)),
  TagUser: (input, reader, place) => userCheck('TagUser', { reader, place }, input.UserName, tagging(input.Tags)),
  UntagInstanceProfile: (input, reader, place) => [
    profileCheck('UntagInstanceProfile', { reader, place }, input.InstanceProfileName, untagging(input)),
  ],
  UntagPolicy: (input, reader) => [policyCheck('UntagPolicy', reader, input.PolicyArn, untagging(input))],
  UntagRole: (input, reader, place) => roleCheck('UntagRole', { reader, place }, input.RoleName, untagging(input)),
  UntagUser: (input, reader, place) => userCheck('UntagUser', { reader, place }, input.UserName, untagging(input)),
  UpdateAccessKey: onUser('UpdateAccessKey'),
  UpdateAssumeRolePolicy: onRole('UpdateAssumeRolePolicy'),
  UpdateRole: onRole('UpdateRole'),
  UpdateRoleDescription: onRole('UpdateRoleDescription'),
  /** On the user as it is and as it will be: a new name must not lead out of what the caller may change. */
  UpdateUser(input, reader, place) {
    const row = reader.get('user', input.UserName ?? '')
    const next = userArn(place, input.NewPath ?? row?.Path ?? '/', input.NewUserName ?? input.UserName ?? '')
    const checks = userCheck('UpdateUser', { reader, place }, input.UserName)
    return [...checks, { action: 'iam:UpdateUser', resource: next }]
  },
}

interface Scope {
  readonly reader: Reader
  readonly place: Place
}

/**
 * What knows `iam:PermissionsBoundary`. For others it is not there, as in AWS: who may make what is bounded may not therefore
 * make keys of it.
 */
const boundedActions: ReadonlySet<Action | 'PassRole'> = new Set<Action>([
  'AttachRolePolicy',
  'AttachUserPolicy',
  'DeleteRolePermissionsBoundary',
  'DeleteRolePolicy',
  'DeleteUserPermissionsBoundary',
  'DeleteUserPolicy',
  'DetachRolePolicy',
  'DetachUserPolicy',
  'PutRolePermissionsBoundary',
  'PutRolePolicy',
  'PutUserPermissionsBoundary',
  'PutUserPolicy',
])

/** The boundary that a user or role has; that of the input stands over it. */
function ownBoundary(action: Action | 'PassRole', row: PolicyHolder | undefined): ConditionKeys {
  return boundedActions.has(action) ? boundary(row?.permissionsBoundaryArn) : {}
}

function userCheck(
  action: Action,
  { reader, place }: Scope,
  userName: string | undefined,
  keys: ConditionKeys = {},
): readonly AccessCheck[] {
  const row = userName === undefined ? undefined : reader.get('user', userName)
  return [
    {
      action: `iam:${action}`,
      resource: row?.Arn ?? (userName === undefined ? '*' : userArn(place, '/', userName)),
      keys: { ...ownBoundary(action, row), ...keys },
      resourceTags: () => tagRecord(row?.Tags ?? []),
    },
  ]
}

function roleCheck(
  action: Action | 'PassRole',
  { reader, place }: Scope,
  roleName = '',
  keys: ConditionKeys = {},
): readonly AccessCheck[] {
  const row = reader.get('role', roleName)
  return [
    {
      action: `iam:${action}`,
      resource: row?.Arn ?? roleArn(place, '/', roleName),
      keys: { ...ownBoundary(action, row), ...keys },
      resourceTags: () => tagRecord(row?.Tags ?? []),
    },
  ]
}

function policyCheck(action: Action, reader: Reader, arn = '*', keys: ConditionKeys = {}): AccessCheck {
  return {
    action: `iam:${action}`,
    resource: arn,
    keys,
    resourceTags: () => tagRecord(findPolicy(reader, arn)?.Tags ?? []),
  }
}

function profileCheck(action: Action, { reader, place }: Scope, name = '', keys: ConditionKeys = {}): AccessCheck {
  const row = reader.get('instanceProfile', name)
  return {
    action: `iam:${action}`,
    resource: row?.Arn ?? instanceProfileArn(place, '/', name),
    keys,
    resourceTags: () => tagRecord(row?.Tags ?? []),
  }
}

/** What is made with tags takes the right to tag it, too. */
function created(
  action: Action,
  tagAction: Action,
  resource: string,
  tags: Tagging,
  keys: ConditionKeys = {},
): readonly AccessCheck[] {
  const all = { ...keys, ...tagging(tags) }
  const check = { action: `iam:${action}`, resource, keys: all }
  return (tags?.length ?? 0) === 0 ? [check] : [check, { action: `iam:${tagAction}`, resource, keys: all }]
}

function boundary(arn: string | undefined): ConditionKeys {
  return arn === undefined ? {} : { 'iam:PermissionsBoundary': arn }
}

function boundPolicy({ PolicyArn }: PolicyInput): ConditionKeys {
  return PolicyArn === undefined ? {} : { 'iam:PolicyARN': PolicyArn }
}

function tagging(tags: Tagging): ConditionKeys {
  return requestTagKeys(tagRecord(tags ?? []))
}

function untagging({ TagKeys }: { readonly TagKeys: readonly string[] | undefined }): ConditionKeys {
  return { 'aws:TagKeys': TagKeys ?? [] }
}
