/** IAM's own shapes, as rows and handlers use them. Erased at run time. */
import type * as iam from '@aws-sdk/client-iam'
import type { Stored } from './types.ts'

export type AccessKeyMetadata = Stored<iam.AccessKeyMetadata>
export type InstanceProfile = Stored<iam.InstanceProfile>
export type ManagedPolicy = Stored<iam.Policy>
export type ManagedPolicyVersion = Stored<iam.PolicyVersion>
export type Role = Stored<iam.Role>
export type IamTag = Stored<iam.Tag>
export type User = Stored<iam.User>
