/**
 * Which services and operations the generated models hold. Of ECS all of them; of the others those that Gantry builds,
 * with their shapes, and of the rest the names alone: a model of all that IAM and SSM have would cost each controller
 * megabytes of memory for operations that it refuses.
 */
import * as ecs from '@aws-sdk/client-ecs'
import * as iam from '@aws-sdk/client-iam'
import * as secretsmanager from '@aws-sdk/client-secrets-manager'
import * as ssm from '@aws-sdk/client-ssm'
import * as sts from '@aws-sdk/client-sts'

export interface ModelSource {
  /** The service by the name that a signature is scoped to, and the file's name in proto/model/. */
  readonly name: string
  readonly packageName: string
  readonly exported: Readonly<Record<string, unknown>>
  /** A client as it would send, for the constants of the wire. */
  readonly client: () => { readonly config: object }
  /** Undefined: every operation. */
  readonly built: readonly string[] | undefined
  /** Members of type Double: the schemas know one kind of number. */
  readonly doubles: Readonly<Record<string, readonly string[]>>
  /** Members that clients send and AWS's published model leaves out. */
  readonly unpublished: Readonly<Record<string, Readonly<Record<string, string>>>>
}

const region = 'us-east-1'
const words = (text: string): readonly string[] => text.trim().split(/\s+/)

export const modelSources: readonly ModelSource[] = [
  {
    name: 'ecs',
    packageName: '@aws-sdk/client-ecs',
    exported: ecs,
    client: () => new ecs.ECSClient({ region }),
    built: undefined,
    // The few members that take a fraction: a port or a size in MiB of 80.5 must not pass. Source: ECS API reference.
    doubles: {
      CanaryConfiguration: ['canaryPercent'],
      DaemonDeploymentConfiguration: ['drainPercent'],
      LinearConfiguration: ['stepPercent'],
      ManagedApplicationAutoScalingPolicy: ['targetValue'],
      MemoryGiBPerVCpuRequest: ['min', 'max'],
      NetworkBandwidthGbpsRequest: ['min', 'max'],
      Resource: ['doubleValue'],
      Scale: ['value'],
      ServiceRevisionSummary: ['requestedTestTrafficWeight', 'requestedProductionTrafficWeight'],
      TotalLocalStorageGBRequest: ['min', 'max'],
    },
    // The official agent sends it: without the token, a registration whose answer was lost would make a second instance
    // of the same host when the agent repeats it.
    unpublished: { RegisterContainerInstanceRequest: { clientToken: 'string' } },
  },
  {
    name: 'iam',
    packageName: '@aws-sdk/client-iam',
    exported: iam,
    client: () => new iam.IAMClient({ region }),
    built: words(`
      AddRoleToInstanceProfile AttachRolePolicy AttachUserPolicy CreateAccessKey CreateInstanceProfile CreatePolicy
      CreatePolicyVersion CreateRole CreateServiceLinkedRole CreateUser DeleteAccessKey DeleteInstanceProfile
      DeleteLoginProfile DeletePolicy DeletePolicyVersion DeleteRole DeleteRolePermissionsBoundary DeleteRolePolicy
      DeleteServiceLinkedRole DeleteUser DeleteUserPermissionsBoundary DeleteUserPolicy DetachRolePolicy
      DetachUserPolicy GetAccessKeyLastUsed GetAccountSummary GetInstanceProfile GetLoginProfile GetPolicy
      GetPolicyVersion GetRole GetRolePolicy GetServiceLinkedRoleDeletionStatus GetUser GetUserPolicy ListAccessKeys
      ListAccountAliases ListAttachedRolePolicies ListAttachedUserPolicies ListEntitiesForPolicy ListGroupsForUser
      ListInstanceProfileTags ListInstanceProfiles ListInstanceProfilesForRole ListMFADevices ListPolicies
      ListPolicyTags ListPolicyVersions ListRolePolicies ListRoleTags ListRoles ListSSHPublicKeys
      ListServiceSpecificCredentials ListSigningCertificates ListUserPolicies ListUserTags ListUsers
      ListVirtualMFADevices PutRolePermissionsBoundary PutRolePolicy PutUserPermissionsBoundary PutUserPolicy
      RemoveRoleFromInstanceProfile SetDefaultPolicyVersion SimulatePrincipalPolicy TagInstanceProfile TagPolicy
      TagRole TagUser UntagInstanceProfile UntagPolicy UntagRole UntagUser UpdateAccessKey UpdateAssumeRolePolicy
      UpdateRole UpdateRoleDescription UpdateUser`),
    doubles: {},
    unpublished: {},
  },
  {
    name: 'sts',
    packageName: '@aws-sdk/client-sts',
    exported: sts,
    client: () => new sts.STSClient({ region }),
    built: words('AssumeRole GetAccessKeyInfo GetCallerIdentity GetSessionToken'),
    doubles: {},
    unpublished: {},
  },
  {
    name: 'ssm',
    packageName: '@aws-sdk/client-ssm',
    exported: ssm,
    client: () => new ssm.SSMClient({ region }),
    built: words(`
      AddTagsToResource DeleteParameter DeleteParameters DescribeParameters GetParameter GetParameterHistory
      GetParameters GetParametersByPath LabelParameterVersion ListTagsForResource PutParameter
      RemoveTagsFromResource UnlabelParameterVersion`),
    doubles: {},
    unpublished: {},
  },
  {
    name: 'secretsmanager',
    packageName: '@aws-sdk/client-secrets-manager',
    exported: secretsmanager,
    client: () => new secretsmanager.SecretsManagerClient({ region }),
    built: undefined,
    doubles: {},
    unpublished: {},
  },
]
