/** Users' access keys. The secret is told once, when the key is made; after that it is known to its bearer and sealed. */
import { ApiError } from '../../proto/errors.ts'
import type { AccessKeyMetadata } from '../../proto/model/iam-types.ts'
import { newAccessKeyId, newSecretAccessKey } from '../access/key-ids.ts'
import { type Call, readOf, type ServiceHandlers, writeOf } from '../ecs/handler.ts'
import { accessKeyContext, type AccessKeyRow } from '../state/iam-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { accountQuotas, noSuchEntity, quotaExceeded, required, wholeSeconds } from './names.ts'
import { markedPage } from './paging.ts'
import { namedOrCalling } from './users.ts'

export const accessKeyHandlers = {
  CreateAccessKey: writeOf<'iam', 'CreateAccessKey'>((tx, input, call, world) => {
    refuseRootKey(input.UserName, call)
    const { UserName } = namedOrCalling(tx, input.UserName, call)
    const limit = accountQuotas.AccessKeysPerUserQuota
    if (tx.count('accessKey', 'byUser', UserName) >= limit) throw quotaExceeded('AccessKeysPerUser', limit)
    const AccessKeyId = newAccessKeyId(world)
    const SecretAccessKey = newSecretAccessKey(world)
    const shown = { UserName, AccessKeyId, Status: 'Active' as const, CreateDate: wholeSeconds(call.now) }
    const sealedSecret = call.vault.seal(SecretAccessKey, accessKeyContext(AccessKeyId))
    tx.put('accessKey', AccessKeyId, { ...shown, sealedSecret })
    return { AccessKey: { ...shown, SecretAccessKey } }
  }),
  ListAccessKeys: readOf<'iam', 'ListAccessKeys'>((reader, input, call) => {
    if (input.UserName === undefined && call.principal.kind === 'root') {
      // The key that made this very call: whoever lists all keys of the account shall see it too.
      return { AccessKeyMetadata: [{ AccessKeyId: rootKeyId(call), Status: 'Active' }], IsTruncated: false }
    }
    const { UserName } = namedOrCalling(reader, input.UserName, call)
    const keys = reader.find('accessKey', 'byUser', UserName)
    const { items, ...rest } = markedPage(keys, ({ AccessKeyId }) => AccessKeyId, input)
    return { AccessKeyMetadata: items.map(describeKey), ...rest }
  }),
  UpdateAccessKey: writeOf<'iam', 'UpdateAccessKey'>((tx, input, call) => {
    refuseRootKey(input.UserName, call)
    const key = requireKey(tx, input, call)
    const { Status } = input
    if (Status !== 'Active' && Status !== 'Inactive') {
      throw new ApiError('InvalidInput', 'Status is Active or Inactive: a key of Gantry does not expire.')
    }
    tx.put('accessKey', key.AccessKeyId, { ...key, Status })
    return {}
  }),
  DeleteAccessKey: writeOf<'iam', 'DeleteAccessKey'>((tx, input, call) => {
    refuseRootKey(input.UserName, call)
    tx.delete('accessKey', requireKey(tx, input, call).AccessKeyId)
    return {}
  }),
  GetAccessKeyLastUsed: readOf<'iam', 'GetAccessKeyLastUsed'>((reader, input) => {
    const id = required('accessKeyId', input.AccessKeyId)
    const key = reader.get('accessKey', id)
    if (key === undefined) throw noSuchKey(id)
    const { lastUsed } = key
    // A key that was never used has no date, and IAM says N/A.
    const AccessKeyLastUsed =
      lastUsed === undefined
        ? { ServiceName: 'N/A', Region: 'N/A' }
        : {
            LastUsedDate: wholeSeconds(lastUsed.at),
            ServiceName: lastUsed.serviceName,
            Region: lastUsed.region,
          }
    return { UserName: key.UserName, AccessKeyLastUsed: { LastUsedDate: undefined, ...AccessKeyLastUsed } }
  }),
} satisfies ServiceHandlers<'iam'>

/** The key of this user: with another's name it is not found. */
function requireKey(
  reader: Reader,
  input: { readonly UserName?: string | undefined; readonly AccessKeyId: string | undefined },
  call: Call,
): AccessKeyRow {
  const id = required('accessKeyId', input.AccessKeyId)
  const { UserName } = namedOrCalling(reader, input.UserName, call)
  const key = reader.get('accessKey', id)
  if (key?.UserName !== UserName) throw noSuchKey(id)
  return key
}

function describeKey({ UserName, AccessKeyId, Status, CreateDate }: AccessKeyRow): AccessKeyMetadata {
  return { UserName, AccessKeyId, Status, CreateDate }
}

function noSuchKey(accessKeyId: string): ApiError {
  return noSuchEntity(`The Access Key with id ${accessKeyId.slice(0, 128)} cannot be found.`)
}

/** Root's session, too, belongs to the key in the file. */
function rootKeyId({ principal }: Call): string {
  return principal.accessKeyId
}

function refuseRootKey(userName: string | undefined, { principal }: Call): void {
  if (userName !== undefined || principal.kind !== 'root') return
  throw new ApiError(
    'ValidationError',
    "The root user's key is the file root-credentials in the controller's data directory: to change it, delete the " +
      'file and start the controller again. For a key of a user, name the user with UserName.',
  )
}
