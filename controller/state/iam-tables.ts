/**
 * The rows of IAM: users and their access keys, roles, managed policies, instance profiles. Members that IAM has bear its
 * names; what Gantry keeps beside them stands behind. A name belongs to one resource in whatever case it is written, and
 * is found in its own case alone, as ARNs in policies are compared.
 */
import type {
  AccessKeyMetadata,
  IamTag,
  InstanceProfile,
  ManagedPolicy,
  ManagedPolicyVersion,
  Role,
  User,
} from '../../proto/model/iam-types.ts'
import type { With } from '../../proto/model/types.ts'
import { sealingKeyOf } from './vault.ts'

/** A policy that is part of one user or role. The document is JSON text, as it was put. */
export interface InlinePolicy {
  readonly PolicyName: string
  readonly PolicyDocument: string
}

/** What users and roles have in common: from where their rights come. */
export interface PolicyHolder {
  readonly Arn: string
  readonly Tags: readonly IamTag[]
  /** In the order of their names. */
  readonly inlinePolicies: readonly InlinePolicy[]
  /** Customer managed or ready-made, in the order in which they were attached. */
  readonly attachedPolicyArns: readonly string[]
  readonly permissionsBoundaryArn?: string | undefined
}

/** Key: the user's name. */
export interface UserRow
  extends Omit<With<User, 'UserName' | 'UserId' | 'Path' | 'Arn' | 'CreateDate' | 'Tags'>, 'PermissionsBoundary'>,
    PolicyHolder {
  readonly Tags: readonly IamTag[]
}

/** Key: the access key's id. */
export interface AccessKeyRow extends With<AccessKeyMetadata, 'AccessKeyId' | 'UserName' | 'Status' | 'CreateDate'> {
  /** The secret access key, sealed by the vault with `accessKeyContext` of its id. */
  readonly sealedSecret: string
  readonly lastUsed?: LastUsed | undefined
}

/** Written down some time after it happened: a call costs no write. */
export interface LastUsed {
  /** Epoch milliseconds. */
  readonly at: number
  readonly serviceName: string
  readonly region: string
}

/** Key: the role's name. */
export interface RoleRow
  extends Omit<
      With<Role, 'RoleName' | 'RoleId' | 'Path' | 'Arn' | 'CreateDate' | 'AssumeRolePolicyDocument' | 'Tags'>,
      'PermissionsBoundary' | 'RoleLastUsed' | 'MaxSessionDuration'
    >,
    PolicyHolder {
  readonly Tags: readonly IamTag[]
  /** Seconds. */
  readonly MaxSessionDuration: number
  /**
   * The unique ids of the users and roles that the trust policy names by ARN, at the time when it was put: who takes the
   * name of one that was deleted is not trusted by it.
   */
  readonly trustedIds: Readonly<Record<string, string>>
  /** Counts up with each revocation of the role's sessions: those of an earlier epoch are refused. */
  readonly revocationEpoch: number
  /** When the sessions were last revoked, epoch milliseconds. */
  readonly sessionsRevokedAt?: number | undefined
  readonly lastUsed?: LastUsed | undefined
}

/** Key: the policy's ARN. Ready-made policies have no row. */
export interface ManagedPolicyRow
  extends Omit<
    With<ManagedPolicy, 'PolicyName' | 'PolicyId' | 'Arn' | 'Path' | 'DefaultVersionId' | 'CreateDate' | 'UpdateDate'>,
    'AttachmentCount' | 'PermissionsBoundaryUsageCount' | 'IsAttachable' | 'Tags'
  > {
  readonly Tags: readonly IamTag[]
  /** At most five, the oldest first. */
  readonly versions: readonly PolicyVersionRow[]
  /** The number given out last: a version that was deleted doesn't come back under its name. */
  readonly latestVersion: number
}

export type PolicyVersionRow = Omit<
  With<ManagedPolicyVersion, 'Document' | 'VersionId' | 'CreateDate'>,
  'IsDefaultVersion'
>

/** Key: the instance profile's name. */
export interface InstanceProfileRow
  extends Omit<
    With<InstanceProfile, 'InstanceProfileName' | 'InstanceProfileId' | 'Path' | 'Arn' | 'CreateDate' | 'Tags'>,
    'Roles'
  > {
  readonly roleName?: string | undefined
}

/** Key: the deletion task's id. How the deletion of a service-linked role ended. */
export interface RoleDeletionRow {
  readonly deletionTaskId: string
  readonly createdAt: number
  readonly region: string
  /** ARNs of what stands against it, the first of them. Without any the role is gone. */
  readonly usedBy: readonly string[]
  readonly usedByCount: number
}

/** What binds a sealed secret to its key: the secret of another key, put in its place, can't be opened. */
export function accessKeyContext(accessKeyId: string): string {
  return `iam/access-key/${accessKeyId}`
}

/** In one case, since names differ in more than it. */
export function foldedName(name: string): string {
  return name.toLowerCase()
}

export const iamIndexes = {
  user: { byFoldedName: (row: UserRow) => foldedName(row.UserName) },
  accessKey: {
    byUser: (row: AccessKeyRow) => row.UserName,
    bySealingKey: (row: AccessKeyRow) => sealingKeyOf(row.sealedSecret),
  },
  role: { byFoldedName: (row: RoleRow) => foldedName(row.RoleName) },
  managedPolicy: { byFoldedName: (row: ManagedPolicyRow) => foldedName(row.PolicyName) },
  instanceProfile: {
    byFoldedName: (row: InstanceProfileRow) => foldedName(row.InstanceProfileName),
    byRole: (row: InstanceProfileRow) => row.roleName,
  },
  roleDeletion: {},
} as const
