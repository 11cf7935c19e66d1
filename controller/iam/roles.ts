/** Roles: who may take them is said by their trust policy, what they allow by their other policies. */
import { ApiError } from '../../proto/errors.ts'
import type { Role } from '../../proto/model/iam-types.ts'
import type { InputOf } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { hostRoleName } from '../access/host-lookup.ts'
import { newUniqueId } from '../access/key-ids.ts'
import { readOf, type ServiceHandlers, writeOf } from '../ecs/handler.ts'
import { foldedName, type RoleRow } from '../state/iam-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { roleArn } from './arns.ts'
import { describeBoundary, readBoundary } from './boundaries.ts'
import { encodeDocument, readTrustDocument } from './documents.ts'
import {
  accountQuotas,
  noSuchEntity,
  quotaExceeded,
  readDescription,
  readMaxSessionDuration,
  readName,
  readPath,
  readPathPrefix,
  wholeSeconds,
} from './names.ts'
import { markedPage } from './paging.ts'
import { readTags, withoutTags, withTags } from './tags.ts'

export const roleHandlers = {
  CreateRole: writeOf<'iam', 'CreateRole'>((tx, input, call, world) => {
    return { Role: describeRole(createRole(tx, input, call.now, world), 'just made') }
  }),
  GetRole: readOf<'iam', 'GetRole'>((reader, input) => ({ Role: describeRole(requireRole(reader, input.RoleName)) })),
  UpdateRole: writeOf<'iam', 'UpdateRole'>((tx, input) => {
    // Of a service-linked role the description and the tags are the account's own.
    const isDescribed = input.MaxSessionDuration === undefined
    const role = isDescribed ? requireRole(tx, input.RoleName) : requireOwnRole(tx, input.RoleName)
    tx.put('role', role.RoleName, {
      ...role,
      ...(input.Description !== undefined && { Description: readDescription(input.Description) }),
      ...(input.MaxSessionDuration !== undefined && {
        MaxSessionDuration: readMaxSessionDuration(input.MaxSessionDuration),
      }),
    })
    return {}
  }),
  UpdateRoleDescription: writeOf<'iam', 'UpdateRoleDescription'>((tx, input) => {
    const Description = readDescription(input.Description)
    const role = { ...requireRole(tx, input.RoleName), Description }
    tx.put('role', role.RoleName, role)
    return { Role: describeRole(role) }
  }),
  UpdateAssumeRolePolicy: writeOf<'iam', 'UpdateAssumeRolePolicy'>((tx, input, _call, world) => {
    const role = requireOwnRole(tx, input.RoleName)
    tx.put('role', role.RoleName, { ...role, ...readTrustDocument(tx, input.PolicyDocument, world.account) })
    return {}
  }),
  DeleteRole: writeOf<'iam', 'DeleteRole'>((tx, input) => {
    deleteRole(tx, requireOwnRole(tx, input.RoleName))
    return {}
  }),
  ListRoles: readOf<'iam', 'ListRoles'>((reader, input) => {
    const prefix = readPathPrefix(input.PathPrefix)
    const roles = reader.all('role').filter(({ Path }) => Path.startsWith(prefix))
    const { items, ...rest } = markedPage(roles, ({ RoleName }) => RoleName, input)
    return { Roles: items.map((row) => describeRole(row, 'in a list')), ...rest }
  }),
  TagRole: writeOf<'iam', 'TagRole'>((tx, input) => {
    const role = requireRole(tx, input.RoleName)
    tx.put('role', role.RoleName, { ...role, Tags: withTags(role.Tags, input.Tags) })
    return {}
  }),
  UntagRole: writeOf<'iam', 'UntagRole'>((tx, input) => {
    const role = requireRole(tx, input.RoleName)
    tx.put('role', role.RoleName, { ...role, Tags: withoutTags(role.Tags, input.TagKeys) })
    return {}
  }),
  ListRoleTags: readOf<'iam', 'ListRoleTags'>((reader, input) => {
    const { items, ...rest } = markedPage(requireRole(reader, input.RoleName).Tags, ({ Key }) => Key ?? '', input)
    return { Tags: items, ...rest }
  }),
  PutRolePermissionsBoundary: writeOf<'iam', 'PutRolePermissionsBoundary'>((tx, input) => {
    const role = requireOwnRole(tx, input.RoleName)
    const permissionsBoundaryArn = readBoundary(tx, input.PermissionsBoundary)
    tx.put('role', role.RoleName, { ...role, permissionsBoundaryArn })
    return {}
  }),
  DeleteRolePermissionsBoundary: writeOf<'iam', 'DeleteRolePermissionsBoundary'>((tx, input) => {
    const { permissionsBoundaryArn, ...role } = requireOwnRole(tx, input.RoleName)
    if (permissionsBoundaryArn === undefined) {
      throw noSuchEntity(`The permissions boundary of the role with name ${role.RoleName} cannot be found.`)
    }
    tx.put('role', role.RoleName, role)
    return {}
  }),
} satisfies ServiceHandlers<'iam'>

/** Throws NoSuchEntity. Names are found in their own case alone. */
export function requireRole(reader: Reader, roleName: string | undefined): RoleRow {
  const name = roleName ?? ''
  const row = reader.get('role', name)
  if (row === undefined) throw noSuchEntity(`The role with name ${name.slice(0, 64)} cannot be found.`)
  return row
}

/** A role that may be changed: a service-linked one is its service's. */
export function requireOwnRole(reader: Reader, roleName: string | undefined): RoleRow {
  const row = requireRole(reader, roleName)
  if (isServiceLinked(row)) {
    throw new ApiError(
      'UnmodifiableEntity',
      `Cannot perform the operation on the protected role '${row.RoleName}' - this role is only modifiable by AWS`,
    )
  }
  return row
}

export function isServiceLinked({ Path }: Pick<RoleRow, 'Path'>): boolean {
  return Path.startsWith('/aws-service-role/')
}

/** Lists leave out the description's company: tags, boundary and last use, as IAM documents. */
export function describeRole(row: RoleRow, where: 'alone' | 'in a list' | 'just made' = 'alone'): Role {
  const { Path, RoleName, RoleId, Arn, CreateDate, Description, MaxSessionDuration, Tags, lastUsed } = row
  const role: Role = {
    Path,
    RoleName,
    RoleId,
    Arn,
    CreateDate,
    AssumeRolePolicyDocument: encodeDocument(row.AssumeRolePolicyDocument),
    ...(Description !== undefined && { Description }),
    MaxSessionDuration,
  }
  if (where === 'in a list') return role
  const shown = { ...role, ...describeBoundary(row), ...(Tags.length > 0 && { Tags }) }
  if (where === 'just made') return shown
  const RoleLastUsed =
    lastUsed === undefined ? {} : { LastUsedDate: wholeSeconds(lastUsed.at), Region: lastUsed.region }
  return { ...shown, RoleLastUsed }
}

/** Throws EntityAlreadyExists for a name that differs in case alone, and LimitExceeded. */
export function putNewRole(
  tx: Transaction,
  given: Pick<RoleRow, 'Path' | 'RoleName' | 'AssumeRolePolicyDocument' | 'trustedIds'> & Partial<RoleRow>,
  now: number,
  world: World,
): RoleRow {
  const { RoleName, Path } = given
  if (tx.count('role', 'byFoldedName', foldedName(RoleName)) > 0) {
    throw new ApiError('EntityAlreadyExists', `Role with name ${RoleName} already exists.`)
  }
  if (tx.all('role').length >= accountQuotas.RolesQuota)
    throw quotaExceeded('RolesPerAccount', accountQuotas.RolesQuota)
  const row: RoleRow = {
    RoleId: newUniqueId('role', world),
    Arn: roleArn(world, Path, RoleName),
    CreateDate: wholeSeconds(now),
    MaxSessionDuration: readMaxSessionDuration(undefined),
    Tags: [],
    inlinePolicies: [],
    attachedPolicyArns: [],
    revocationEpoch: 0,
    ...given,
  }
  tx.put('role', RoleName, row)
  return row
}

function createRole(tx: Transaction, input: InputOf<'iam', 'CreateRole'>, now: number, world: World): RoleRow {
  const { PermissionsBoundary } = input
  const RoleName = readName('roleName', input.RoleName)
  if (foldedName(RoleName) === hostRoleName) {
    // Its sessions could take the names of hosts, in policies and in the audit trail.
    throw new ApiError('InvalidInput', `The role name ${RoleName} is reserved: Gantry's hosts go by it in ARNs.`)
  }
  const given = {
    RoleName,
    Path: readPath(input.Path),
    Description: readDescription(input.Description),
    MaxSessionDuration: readMaxSessionDuration(input.MaxSessionDuration),
    Tags: readTags(input.Tags),
    ...readTrustDocument(tx, input.AssumeRolePolicyDocument, world.account),
    ...(PermissionsBoundary !== undefined && { permissionsBoundaryArn: readBoundary(tx, PermissionsBoundary) }),
  }
  return putNewRole(tx, given, now, world)
}

function deleteRole(tx: Transaction, role: RoleRow): void {
  const rests: readonly [boolean, string][] = [
    [tx.count('instanceProfile', 'byRole', role.RoleName) > 0, 'remove roles from instance profile'],
    [role.attachedPolicyArns.length > 0, 'detach all policies'],
    [role.inlinePolicies.length > 0, 'delete policies'],
  ]
  for (const [isThere, what] of rests) {
    if (isThere) throw new ApiError('DeleteConflict', `Cannot delete entity, must ${what} first.`)
  }
  tx.delete('role', role.RoleName)
}
