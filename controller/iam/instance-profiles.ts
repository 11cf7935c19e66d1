/**
 * Instance profiles: what hands a role to an EC2 instance. Gantry's hosts get keys of their own when they join and no
 * profile gives them rights; they are kept because what sets ECS up on AWS makes them.
 */
import { ApiError } from '../../proto/errors.ts'
import type { InstanceProfile } from '../../proto/model/iam-types.ts'
import { newUniqueId } from '../access/key-ids.ts'
import { readOf, type ServiceHandlers, writeOf } from '../ecs/handler.ts'
import { foldedName, type InstanceProfileRow } from '../state/iam-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { instanceProfileArn } from './arns.ts'
import {
  accountQuotas,
  noSuchEntity,
  quotaExceeded,
  readName,
  readPath,
  readPathPrefix,
  wholeSeconds,
} from './names.ts'
import { markedPage } from './paging.ts'
import { describeRole, requireOwnRole, requireRole } from './roles.ts'
import { readTags, withoutTags, withTags } from './tags.ts'

export const instanceProfileHandlers = {
  CreateInstanceProfile: writeOf<'iam', 'CreateInstanceProfile'>((tx, input, call, world) => {
    const InstanceProfileName = readName('instanceProfileName', input.InstanceProfileName)
    const Path = readPath(input.Path)
    if (tx.count('instanceProfile', 'byFoldedName', foldedName(InstanceProfileName)) > 0) {
      throw new ApiError('EntityAlreadyExists', `Instance Profile ${InstanceProfileName} already exists.`)
    }
    const limit = accountQuotas.InstanceProfilesQuota
    if (tx.all('instanceProfile').length >= limit) throw quotaExceeded('InstanceProfilesPerAccount', limit)
    const row: InstanceProfileRow = {
      InstanceProfileName,
      InstanceProfileId: newUniqueId('instanceProfile', world),
      Path,
      Arn: instanceProfileArn(world, Path, InstanceProfileName),
      CreateDate: wholeSeconds(call.now),
      Tags: readTags(input.Tags),
    }
    put(tx, row)
    return { InstanceProfile: describeProfile(tx, row) }
  }),
  GetInstanceProfile: readOf<'iam', 'GetInstanceProfile'>((reader, input) => {
    return { InstanceProfile: describeProfile(reader, requireProfile(reader, input.InstanceProfileName)) }
  }),
  DeleteInstanceProfile: writeOf<'iam', 'DeleteInstanceProfile'>((tx, input) => {
    const row = requireProfile(tx, input.InstanceProfileName)
    if (row.roleName !== undefined) {
      throw new ApiError('DeleteConflict', 'Cannot delete entity, must remove roles from instance profile first.')
    }
    tx.delete('instanceProfile', row.InstanceProfileName)
    return {}
  }),
  ListInstanceProfiles: readOf<'iam', 'ListInstanceProfiles'>((reader, input) => {
    const prefix = readPathPrefix(input.PathPrefix)
    const rows = reader.all('instanceProfile').filter(({ Path }) => Path.startsWith(prefix))
    const { items, ...rest } = markedPage(rows, nameOf, input)
    return { InstanceProfiles: items.map((row) => describeProfile(reader, row)), ...rest }
  }),
  ListInstanceProfilesForRole: readOf<'iam', 'ListInstanceProfilesForRole'>((reader, input) => {
    const { RoleName } = requireRole(reader, input.RoleName)
    const rows = reader.find('instanceProfile', 'byRole', RoleName)
    const { items, ...rest } = markedPage(rows, nameOf, input)
    return { InstanceProfiles: items.map((row) => describeProfile(reader, row)), ...rest }
  }),
  AddRoleToInstanceProfile: writeOf<'iam', 'AddRoleToInstanceProfile'>((tx, input) => {
    const row = requireProfile(tx, input.InstanceProfileName)
    const { RoleName } = requireOwnRole(tx, input.RoleName)
    if (row.roleName !== undefined) throw quotaExceeded('InstanceSessionsPerInstanceProfile', 1)
    put(tx, { ...row, roleName: RoleName })
    return {}
  }),
  RemoveRoleFromInstanceProfile: writeOf<'iam', 'RemoveRoleFromInstanceProfile'>((tx, input) => {
    const { roleName, ...row } = requireProfile(tx, input.InstanceProfileName)
    if (roleName === undefined || roleName !== input.RoleName) {
      throw noSuchEntity(`The role with name ${(input.RoleName ?? '').slice(0, 64)} cannot be found.`)
    }
    put(tx, row)
    return {}
  }),
  TagInstanceProfile: writeOf<'iam', 'TagInstanceProfile'>((tx, input) => {
    const row = requireProfile(tx, input.InstanceProfileName)
    put(tx, { ...row, Tags: withTags(row.Tags, input.Tags) })
    return {}
  }),
  UntagInstanceProfile: writeOf<'iam', 'UntagInstanceProfile'>((tx, input) => {
    const row = requireProfile(tx, input.InstanceProfileName)
    put(tx, { ...row, Tags: withoutTags(row.Tags, input.TagKeys) })
    return {}
  }),
  ListInstanceProfileTags: readOf<'iam', 'ListInstanceProfileTags'>((reader, input) => {
    const { Tags } = requireProfile(reader, input.InstanceProfileName)
    const { items, ...rest } = markedPage(Tags, ({ Key }) => Key ?? '', input)
    return { Tags: items, ...rest }
  }),
} satisfies ServiceHandlers<'iam'>

const nameOf = ({ InstanceProfileName }: InstanceProfileRow): string => InstanceProfileName

function put(tx: Transaction, row: InstanceProfileRow): void {
  tx.put('instanceProfile', row.InstanceProfileName, row)
}

function requireProfile(reader: Reader, name = ''): InstanceProfileRow {
  const row = reader.get('instanceProfile', name)
  if (row === undefined) throw noSuchEntity(`Instance Profile ${name.slice(0, 128)} cannot be found.`)
  return row
}

function describeProfile(reader: Reader, { roleName, Tags, ...profile }: InstanceProfileRow): InstanceProfile {
  const role = roleName === undefined ? undefined : reader.get('role', roleName)
  return {
    ...profile,
    Roles: role === undefined ? [] : [describeRole(role, 'in a list')],
    ...(Tags.length > 0 && { Tags }),
  }
}
