/** Users, their tags and boundaries. A user has rights by policies alone, and calls with access keys. */
import { ApiError } from '../../proto/errors.ts'
import type { User } from '../../proto/model/iam-types.ts'
import type { InputOf } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { newUniqueId } from '../access/key-ids.ts'
import { type Call, readOf, type ServiceHandlers, writeOf } from '../ecs/handler.ts'
import { foldedName, type UserRow } from '../state/iam-tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { rootArn, userArn } from './arns.ts'
import { describeBoundary, readBoundary } from './boundaries.ts'
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
import { readTags, withoutTags, withTags } from './tags.ts'

export const userHandlers = {
  CreateUser: writeOf<'iam', 'CreateUser'>((tx, input, call, world) => {
    return { User: describeUser(createUser(tx, input, call.now, world)) }
  }),
  GetUser: readOf<'iam', 'GetUser'>((reader, input, call, world) => {
    return { User: input.UserName === undefined ? callersUser(reader, call, world) : shown(reader, input.UserName) }
  }),
  UpdateUser: writeOf<'iam', 'UpdateUser'>((tx, input, _call, world) => {
    updateUser(tx, input, world)
    return {}
  }),
  DeleteUser: writeOf<'iam', 'DeleteUser'>((tx, input) => {
    deleteUser(tx, requireUser(tx, input.UserName))
    return {}
  }),
  ListUsers: readOf<'iam', 'ListUsers'>((reader, input) => {
    const prefix = readPathPrefix(input.PathPrefix)
    const users = reader.all('user').filter(({ Path }) => Path.startsWith(prefix))
    const { items, ...rest } = markedPage(users, ({ UserName }) => UserName, input)
    return { Users: items.map((row) => describeUser(row, 'in a list')), ...rest }
  }),
  TagUser: writeOf<'iam', 'TagUser'>((tx, input) => {
    const user = requireUser(tx, input.UserName)
    tx.put('user', user.UserName, { ...user, Tags: withTags(user.Tags, input.Tags) })
    return {}
  }),
  UntagUser: writeOf<'iam', 'UntagUser'>((tx, input) => {
    const user = requireUser(tx, input.UserName)
    tx.put('user', user.UserName, { ...user, Tags: withoutTags(user.Tags, input.TagKeys) })
    return {}
  }),
  ListUserTags: readOf<'iam', 'ListUserTags'>((reader, input) => {
    const { Tags } = requireUser(reader, input.UserName)
    const { items, ...rest } = markedPage(Tags, ({ Key }) => Key ?? '', input)
    return { Tags: items, ...rest }
  }),
  PutUserPermissionsBoundary: writeOf<'iam', 'PutUserPermissionsBoundary'>((tx, input) => {
    const user = requireUser(tx, input.UserName)
    const permissionsBoundaryArn = readBoundary(tx, input.PermissionsBoundary)
    tx.put('user', user.UserName, { ...user, permissionsBoundaryArn })
    return {}
  }),
  DeleteUserPermissionsBoundary: writeOf<'iam', 'DeleteUserPermissionsBoundary'>((tx, input) => {
    const { permissionsBoundaryArn, ...user } = requireUser(tx, input.UserName)
    if (permissionsBoundaryArn === undefined) {
      throw noSuchEntity(`The permissions boundary of the user with name ${user.UserName} cannot be found.`)
    }
    tx.put('user', user.UserName, user)
    return {}
  }),
} satisfies ServiceHandlers<'iam'>

/** Throws NoSuchEntity. Names are found in their own case alone. */
export function requireUser(reader: Reader, userName: string | undefined): UserRow {
  const name = userName ?? ''
  const row = reader.get('user', name)
  if (row === undefined) throw noSuchEntity(`The user with name ${name.slice(0, 128)} cannot be found.`)
  return row
}

/** The user that a request names, or its caller where it names none. */
export function namedOrCalling(reader: Reader, userName: string | undefined, call: Call): UserRow {
  if (userName !== undefined) return requireUser(reader, userName)
  const { kind, userName: calling } = call.principal
  if (kind === 'user' && calling !== undefined) return requireUser(reader, calling)
  throw new ApiError('ValidationError', 'Must specify userName when calling with non-User credentials')
}

function shown(reader: Reader, userName: string): User {
  return describeUser(requireUser(reader, userName))
}

/** Root is no user and has no name; what IAM answers of it is its ARN. */
function callersUser(reader: Reader, call: Call, world: World): User {
  if (call.principal.kind !== 'root') return describeUser(namedOrCalling(reader, undefined, call))
  const since = Math.min(call.now, ...reader.all('cluster').map(({ createdAt }) => createdAt))
  return {
    Path: '/',
    UserName: 'root',
    UserId: world.account,
    Arn: rootArn(world),
    CreateDate: wholeSeconds(since),
  }
}

/** Lists leave out tags and boundaries, as IAM documents. */
function describeUser(row: UserRow, where: 'alone' | 'in a list' = 'alone'): User {
  const { Path, UserName, UserId, Arn, CreateDate, Tags } = row
  const user = { Path, UserName, UserId, Arn, CreateDate }
  if (where === 'in a list') return user
  return { ...user, ...describeBoundary(row), ...(Tags.length > 0 && { Tags }) }
}

function createUser(tx: Transaction, input: InputOf<'iam', 'CreateUser'>, now: number, world: World): UserRow {
  const UserName = readName('userName', input.UserName)
  const Path = readPath(input.Path)
  refuseTaken(tx, UserName)
  if (tx.all('user').length >= accountQuotas.UsersQuota)
    throw quotaExceeded('UsersPerAccount', accountQuotas.UsersQuota)
  const { PermissionsBoundary } = input
  const permissionsBoundaryArn = PermissionsBoundary === undefined ? undefined : readBoundary(tx, PermissionsBoundary)
  const row: UserRow = {
    Path,
    UserName,
    UserId: newUniqueId('user', world),
    Arn: userArn(world, Path, UserName),
    CreateDate: wholeSeconds(now),
    Tags: readTags(input.Tags),
    inlinePolicies: [],
    attachedPolicyArns: [],
    ...(permissionsBoundaryArn !== undefined && { permissionsBoundaryArn }),
  }
  tx.put('user', UserName, row)
  return row
}

/** A new name or path. The user's id, keys and policies stay. */
function updateUser(tx: Transaction, input: InputOf<'iam', 'UpdateUser'>, world: World): void {
  const user = requireUser(tx, input.UserName)
  const UserName = input.NewUserName === undefined ? user.UserName : readName('userName', input.NewUserName)
  const Path = input.NewPath === undefined ? user.Path : readPath(input.NewPath)
  if (foldedName(UserName) !== foldedName(user.UserName)) refuseTaken(tx, UserName)
  tx.delete('user', user.UserName)
  tx.put('user', UserName, { ...user, UserName, Path, Arn: userArn(world, Path, UserName) })
  if (UserName === user.UserName) return
  for (const key of tx.find('accessKey', 'byUser', user.UserName)) {
    tx.put('accessKey', key.AccessKeyId, { ...key, UserName })
  }
}

function deleteUser(tx: Transaction, user: UserRow): void {
  const rests: readonly [boolean, string][] = [
    [tx.count('accessKey', 'byUser', user.UserName) > 0, 'delete access keys'],
    [user.attachedPolicyArns.length > 0, 'detach all policies'],
    [user.inlinePolicies.length > 0, 'delete policies'],
  ]
  for (const [isThere, what] of rests) {
    if (isThere) throw new ApiError('DeleteConflict', `Cannot delete entity, must ${what} first.`)
  }
  tx.delete('user', user.UserName)
}

function refuseTaken(tx: Transaction, userName: string): void {
  if (tx.count('user', 'byFoldedName', foldedName(userName)) === 0) return
  throw new ApiError('EntityAlreadyExists', `User with name ${userName} already exists.`)
}
