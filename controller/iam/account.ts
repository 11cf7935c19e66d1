/**
 * The account as a whole, and what users of Gantry don't have: groups, passwords, MFA devices, certificates. Terraform asks
 * for all of these before it deletes a user, and is told truly that there are none.
 */
import type { ApiError } from '../../proto/errors.ts'
import type { OutputOf } from '../../proto/model/types.ts'
import { readOf, type ServiceHandlers, writeOf } from '../ecs/handler.ts'
import type { UserRow } from '../state/iam-tables.ts'
import type { Reader } from '../state/transaction.ts'
import { accountQuotas, noSuchEntity } from './names.ts'
import { emptyPage } from './paging.ts'
import { isServiceLinked } from './roles.ts'
import { namedOrCalling, requireUser } from './users.ts'

export const accountHandlers = {
  GetAccountSummary: readOf<'iam', 'GetAccountSummary'>((reader) => ({ SummaryMap: summaryOf(reader) })),
  ListAccountAliases: readOf<'iam', 'ListAccountAliases'>(() => ({ AccountAliases: [], ...emptyPage })),
  ListGroupsForUser: readOf<'iam', 'ListGroupsForUser'>((reader, input) => {
    requireUser(reader, input.UserName)
    return { Groups: [], ...emptyPage }
  }),
  ListMFADevices: readOf<'iam', 'ListMFADevices'>((reader, input, call) => {
    if (input.UserName !== undefined || call.principal.kind !== 'root') namedOrCalling(reader, input.UserName, call)
    return { MFADevices: [], ...emptyPage }
  }),
  ListVirtualMFADevices: readOf<'iam', 'ListVirtualMFADevices'>(() => ({ VirtualMFADevices: [], ...emptyPage })),
  ListSSHPublicKeys: readOf<'iam', 'ListSSHPublicKeys'>((reader, input, call) => {
    namedOrCalling(reader, input.UserName, call)
    return { SSHPublicKeys: [], ...emptyPage }
  }),
  ListSigningCertificates: readOf<'iam', 'ListSigningCertificates'>((reader, input, call) => {
    namedOrCalling(reader, input.UserName, call)
    return { Certificates: [], ...emptyPage }
  }),
  ListServiceSpecificCredentials: readOf<'iam', 'ListServiceSpecificCredentials'>((reader, input, call) => {
    if (input.UserName !== undefined) namedOrCalling(reader, input.UserName, call)
    return { ServiceSpecificCredentials: [] }
  }),
  DeleteLoginProfile: writeOf<'iam', 'DeleteLoginProfile'>((tx, input, call) => {
    throw noLoginProfile(namedOrCalling(tx, input.UserName, call))
  }),
  GetLoginProfile: readOf<'iam', 'GetLoginProfile'>((reader, input, call): OutputOf<'iam', 'GetLoginProfile'> => {
    throw noLoginProfile(namedOrCalling(reader, input.UserName, call))
  }),
} satisfies ServiceHandlers<'iam'>

/** Nobody has a password: there is nothing to sign in to. */
function noLoginProfile({ UserName }: UserRow): ApiError {
  return noSuchEntity(`Login Profile for User ${UserName} cannot be found.`)
}

function summaryOf(reader: Reader): NonNullable<OutputOf<'iam', 'GetAccountSummary'>['SummaryMap']> {
  const policies = reader.all('managedPolicy')
  return {
    ...accountQuotas,
    Users: reader.all('user').length,
    Roles: reader.all('role').filter((role) => !isServiceLinked(role)).length,
    Policies: policies.length,
    PolicyVersionsInUse: policies.reduce((sum, { versions }) => sum + versions.length, 0),
    InstanceProfiles: reader.all('instanceProfile').length,
    Groups: 0,
    GroupsPerUserQuota: 0,
    MFADevices: 0,
    MFADevicesInUse: 0,
    Providers: 0,
    ServerCertificates: 0,
    AccountAccessKeysPresent: 1,
    AccountMFAEnabled: 0,
    AccountPasswordPresent: 0,
    AccountSigningCertificatesPresent: 0,
    GlobalEndpointTokenVersion: 2,
  }
}
