/**
 * The condition keys that Gantry evaluates. A policy that names another one is refused when it is put: a condition that
 * nobody evaluates would look like a protection and be none.
 *
 * Keys are in lower case, for AWS reads them without regard to case; one that ends in `/` has a tag's key behind it.
 * What a service's own keys hold is written in its rows; the global ones are in request-keys.ts.
 *
 * Source: AWS, "AWS global condition context keys" and each service's page of the Service Authorization Reference.
 */

const globalKeys = [
  'aws:CurrentTime',
  'aws:EpochTime',
  'aws:PrincipalAccount',
  'aws:PrincipalArn',
  'aws:PrincipalIsAWSService',
  'aws:PrincipalServiceName',
  'aws:PrincipalTag/',
  'aws:PrincipalType',
  'aws:RequestedRegion',
  'aws:RequestTag/',
  'aws:ResourceAccount',
  'aws:ResourceTag/',
  'aws:SecureTransport',
  'aws:SourceAccount',
  'aws:SourceArn',
  'aws:SourceIdentity',
  'aws:SourceIp',
  'aws:TagKeys',
  'aws:TokenIssueTime',
  'aws:userid',
  'aws:username',
  'aws:ViaAWSService',
] as const

const ecsKeys = [
  'ecs:account-setting',
  'ecs:auto-assign-public-ip',
  'ecs:capacity-provider',
  'ecs:cluster',
  'ecs:compute-compatibility',
  'ecs:container-instances',
  'ecs:container-name',
  'ecs:CreateAction',
  'ecs:daemon-task-definition',
  'ecs:enable-ebs-volumes',
  'ecs:enable-ecs-managed-tags',
  'ecs:enable-execute-command',
  'ecs:enable-service-connect',
  'ecs:enable-vpc-lattice',
  'ecs:fargate-ephemeral-storage-kms-key',
  'ecs:namespace',
  'ecs:privileged',
  'ecs:propagate-tags',
  'ecs:ResourceTag/',
  'ecs:service',
  'ecs:subnet',
  'ecs:task',
  'ecs:task-cpu',
  'ecs:task-definition',
  'ecs:task-memory',
] as const

const iamKeys = [
  'iam:AWSServiceName',
  'iam:PassedToService',
  'iam:PermissionsBoundary',
  'iam:PolicyARN',
  'iam:ResourceTag/',
] as const

const stsKeys = ['sts:ExternalId', 'sts:RoleSessionName', 'sts:SourceIdentity', 'sts:TransitiveTagKeys'] as const

const ssmKeys = ['ssm:Overwrite', 'ssm:Recursive', 'ssm:resourceTag/'] as const

const secretsManagerKeys = [
  'secretsmanager:Description',
  'secretsmanager:ForceDeleteWithoutRecovery',
  'secretsmanager:KmsKeyId',
  'secretsmanager:Name',
  'secretsmanager:RecoveryWindowInDays',
  'secretsmanager:ResourceTag/',
  'secretsmanager:SecretId',
  'secretsmanager:VersionId',
  'secretsmanager:VersionStage',
] as const

/** As AWS writes them, for documents and messages. */
export const conditionKeys = [
  ...globalKeys,
  ...ecsKeys,
  ...iamKeys,
  ...stsKeys,
  ...ssmKeys,
  ...secretsManagerKeys,
] as const

const knownKeys: ReadonlySet<string> = new Set(conditionKeys.map((key) => key.toLowerCase()))

/** `aws:resourcetag/team` in any case. */
export function isConditionKey(key: string): boolean {
  const lowered = key.toLowerCase()
  const slash = lowered.indexOf('/')
  if (slash < 0) return knownKeys.has(lowered) && !lowered.endsWith('/')
  return slash < lowered.length - 1 && knownKeys.has(lowered.slice(0, slash + 1))
}
