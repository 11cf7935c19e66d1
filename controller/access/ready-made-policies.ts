/**
 * The managed policies that are there without anybody making them, under AWS's own ARNs, so that what is written for AWS
 * finds them. Each allows what AWS's does, as far as it is about services that Gantry has or agents and tasks of it may
 * name; the two whose names begin with Gantry are for people.
 *
 * Source: AWS Managed Policy Reference Guide.
 */
import { sha256Hex } from '../../proto/hash.ts'
import type { ManagedPolicyRow } from '../state/iam-tables.ts'

interface StatementText {
  readonly Sid?: string
  readonly Effect: 'Allow' | 'Deny'
  readonly Action: readonly string[]
  readonly Resource: string | readonly string[]
  readonly Condition?: Readonly<Record<string, Readonly<Record<string, string | readonly string[]>>>>
}

interface ReadyMade {
  /** Behind `policy/`: the path and the name. */
  readonly name: string
  readonly description: string
  readonly statements: readonly StatementText[]
}

const allow = (...Action: string[]): StatementText => ({ Effect: 'Allow', Action, Resource: '*' })

/** To tasks and to the scheduler alone: a role that trusts them was made to be handed to them. */
const passToTasks: StatementText = {
  ...allow('iam:PassRole'),
  Condition: { StringLike: { 'iam:PassedToService': ['ecs-tasks.amazonaws.com', 'ecs.amazonaws.com'] } },
}
const readEcs = allow('ecs:Describe*', 'ecs:Get*', 'ecs:List*')
const readGantry = allow('gantry:Describe*', 'gantry:Get*', 'gantry:List*', 'gantry:Lookup*')
const readIam = allow('iam:Get*', 'iam:List*', 'iam:Simulate*')
const readSecretNames = allow(
  'secretsmanager:Describe*',
  'secretsmanager:GetResourcePolicy',
  'secretsmanager:List*',
  'ssm:Describe*',
  'ssm:List*',
)
const pulls = ['ecr:BatchGetImage', 'ecr:GetDownloadUrlForLayer'] as const
const makeLinkedRoles: StatementText = {
  ...allow('iam:CreateServiceLinkedRole'),
  Condition: {
    StringLike: { 'iam:AWSServiceName': ['ecs.amazonaws.com', 'ecs.application-autoscaling.amazonaws.com'] },
  },
}

const readyMade: readonly ReadyMade[] = [
  {
    name: 'AdministratorAccess',
    description: 'Everything.',
    statements: [allow('*')],
  },
  {
    name: 'PowerUserAccess',
    description: 'Everything but users, roles and policies.',
    statements: [
      { Effect: 'Allow', Action: ['ecs:*', 'gantry:*', 'logs:*', 's3:*', 'secretsmanager:*', 'ssm:*'], Resource: '*' },
      allow('iam:CreateServiceLinkedRole', 'iam:DeleteServiceLinkedRole', 'iam:ListRoles'),
    ],
  },
  {
    name: 'ReadOnlyAccess',
    description: 'Everything that is read, values of parameters included, those of secrets not.',
    statements: [
      readEcs,
      readGantry,
      readIam,
      readSecretNames,
      allow('ssm:Get*', 's3:Get*', 's3:List*', 'sts:GetAccessKeyInfo', 'sts:GetCallerIdentity'),
    ],
  },
  {
    name: 'GantryOperator',
    description: 'All of ECS and of what is Gantry’s own; reads users, roles and policies, and changes none of them.',
    statements: [allow('ecs:*', 'gantry:*'), passToTasks, makeLinkedRoles, readIam, readSecretNames],
  },
  {
    name: 'GantryReadOnly',
    description: 'Everything that is read, but no value of a secret or parameter.',
    statements: [readEcs, readGantry, readIam, readSecretNames],
  },
  {
    name: 'AmazonECS_FullAccess',
    description: 'All of ECS, and handing roles to tasks.',
    statements: [
      allow('ecs:*', 'application-autoscaling:*', 'elasticloadbalancing:*', 'servicediscovery:*', 'logs:*'),
      passToTasks,
      makeLinkedRoles,
      allow('iam:ListAttachedRolePolicies', 'iam:ListInstanceProfiles', 'iam:ListRoles'),
    ],
  },
  {
    name: 'service-role/AmazonECSTaskExecutionRolePolicy',
    description:
      'What a task’s execution role needs to pull images and to write logs. Secrets are to be allowed by name.',
    statements: [
      allow(
        'ecr:GetAuthorizationToken',
        'ecr:BatchCheckLayerAvailability',
        'ecr:GetDownloadUrlForLayer',
        'ecr:BatchGetImage',
        'logs:CreateLogStream',
        'logs:PutLogEvents',
      ),
    ],
  },
  {
    name: 'service-role/AmazonEC2ContainerServiceforEC2Role',
    description: 'What the agent of a container instance needs.',
    statements: [
      allow(
        'ec2:DescribeTags',
        'ecs:CreateCluster',
        'ecs:DeregisterContainerInstance',
        'ecs:DiscoverPollEndpoint',
        'ecs:Poll',
        'ecs:RegisterContainerInstance',
        'ecs:StartTelemetrySession',
        'ecs:UpdateContainerInstancesState',
        'ecs:Submit*',
        'ecr:GetAuthorizationToken',
        'ecr:BatchCheckLayerAvailability',
        'ecr:GetDownloadUrlForLayer',
        'ecr:BatchGetImage',
        'logs:CreateLogStream',
        'logs:PutLogEvents',
      ),
      {
        ...allow('ecs:TagResource'),
        Condition: { StringEquals: { 'ecs:CreateAction': ['CreateCluster', 'RegisterContainerInstance'] } },
      },
    ],
  },
  {
    name: 'service-role/AmazonEC2ContainerServiceRole',
    description: 'What the role of a service needs to register its tasks with a load balancer.',
    statements: [
      allow(
        'elasticloadbalancing:DeregisterTargets',
        'elasticloadbalancing:Describe*',
        'elasticloadbalancing:RegisterTargets',
      ),
    ],
  },
  {
    name: 'service-role/AmazonEC2ContainerServiceAutoscaleRole',
    description: 'What changes the number of tasks of a service.',
    statements: [allow('ecs:DescribeServices', 'ecs:UpdateService')],
  },
  {
    name: 'aws-service-role/AmazonECSServiceRolePolicy',
    description: 'Of the service-linked role AWSServiceRoleForECS.',
    statements: [allow('elasticloadbalancing:*', 'servicediscovery:*', 'logs:*', 'ssm:DescribeSessions')],
  },
  {
    name: 'aws-service-role/AWSApplicationAutoscalingECSServicePolicy',
    description: 'Of the service-linked role AWSServiceRoleForApplicationAutoScaling_ECSService.',
    statements: [allow('ecs:DescribeServices', 'ecs:UpdateService', 'cloudwatch:DescribeAlarms')],
  },
  {
    name: 'AmazonSSMManagedInstanceCore',
    description: 'What the agent of Systems Manager needs; the ECS agent needs none of it.',
    statements: [allow('ssm:DescribeAssociation', 'ssm:GetParameter', 'ssm:GetParameters', 'ssmmessages:*')],
  },
  {
    name: 'AmazonSSMReadOnlyAccess',
    description: 'Parameters, their values included.',
    statements: [allow('ssm:Describe*', 'ssm:Get*', 'ssm:List*')],
  },
  {
    name: 'AmazonSSMFullAccess',
    description: 'Parameters.',
    statements: [allow('ssm:*')],
  },
  {
    name: 'SecretsManagerReadWrite',
    description: 'Secrets, their values included.',
    statements: [allow('secretsmanager:*', 'tag:GetResources')],
  },
  {
    name: 'IAMFullAccess',
    description: 'Users, roles and policies. Whoever has it can get everything else.',
    statements: [allow('iam:*')],
  },
  {
    name: 'IAMReadOnlyAccess',
    description: 'Users, roles and policies.',
    statements: [readIam],
  },
  {
    name: 'AmazonS3ReadOnlyAccess',
    description: 'Objects, environment files among them.',
    statements: [allow('s3:Get*', 's3:List*', 's3:Describe*')],
  },
  {
    name: 'AmazonS3FullAccess',
    description: 'Buckets and objects.',
    statements: [allow('s3:*')],
  },
  {
    name: 'AWSXRayDaemonWriteAccess',
    description: 'What the daemon of X-Ray, or the collector beside a task, needs.',
    statements: [
      allow(
        'xray:PutTraceSegments',
        'xray:PutTelemetryRecords',
        'xray:GetSamplingRules',
        'xray:GetSamplingTargets',
        'xray:GetSamplingStatisticSummaries',
      ),
    ],
  },
  {
    name: 'CloudWatchAgentServerPolicy',
    description: 'What the agent of CloudWatch needs, its own parameters included.',
    statements: [
      allow(
        'cloudwatch:PutMetricData',
        'ec2:DescribeTags',
        'ec2:DescribeVolumes',
        'logs:CreateLogGroup',
        'logs:CreateLogStream',
        'logs:DescribeLogGroups',
        'logs:DescribeLogStreams',
        'logs:PutLogEvents',
        'logs:PutRetentionPolicy',
        'xray:PutTraceSegments',
        'xray:PutTelemetryRecords',
        'xray:GetSamplingRules',
        'xray:GetSamplingTargets',
        'xray:GetSamplingStatisticSummaries',
      ),
      { ...allow('ssm:GetParameter'), Resource: 'arn:aws:ssm:*:*:parameter/AmazonCloudWatch-*' },
    ],
  },
  {
    name: 'CloudWatchLogsReadOnlyAccess',
    description: 'Logs, read.',
    statements: [allow('logs:Describe*', 'logs:Get*', 'logs:List*', 'logs:FilterLogEvents', 'logs:TestMetricFilter')],
  },
  {
    name: 'CloudWatchLogsFullAccess',
    description: 'Logs.',
    statements: [allow('logs:*')],
  },
  {
    name: 'AmazonEC2ContainerRegistryPullOnly',
    description: 'Pulls from a registry of AWS, and nothing else.',
    statements: [allow('ecr:GetAuthorizationToken', ...pulls, 'ecr:BatchImportUpstreamImage')],
  },
  {
    name: 'AmazonEC2ContainerRegistryPowerUser',
    description: 'Pulls from a registry of AWS, and pushes to it.',
    statements: [
      allow(
        'ecr:BatchCheckLayerAvailability',
        ...pulls,
        'ecr:Describe*',
        'ecr:Get*',
        'ecr:List*',
        'ecr:InitiateLayerUpload',
        'ecr:UploadLayerPart',
        'ecr:CompleteLayerUpload',
        'ecr:PutImage',
      ),
    ],
  },
  {
    name: 'AmazonEC2ContainerRegistryFullAccess',
    description: 'Registries of AWS.',
    statements: [allow('ecr:*')],
  },
  {
    name: 'AmazonEC2ContainerRegistryReadOnly',
    description: 'Pulls from a registry of AWS. Registries beside it ask for their own passwords.',
    statements: [
      allow('ecr:BatchCheckLayerAvailability', 'ecr:BatchGetImage', 'ecr:Describe*', 'ecr:Get*', 'ecr:List*'),
    ],
  },
]

/** Epoch milliseconds, 2026-11-21: the ready-made policies came with it. */
const madeAt = 1_795_219_200_000

/** By their ARNs, in the form of the rows that customers' policies have. */
export const readyMadePolicies: ReadonlyMap<string, ManagedPolicyRow> = new Map(
  readyMade.map((policy) => {
    const row = rowOf(policy)
    return [row.Arn, row]
  }),
)

export function isReadyMade(arn: string): boolean {
  return arn.startsWith('arn:aws:iam::aws:policy/')
}

function rowOf({ name, description, statements }: ReadyMade): ManagedPolicyRow {
  const slash = name.lastIndexOf('/')
  return {
    PolicyName: name.slice(slash + 1),
    PolicyId: idOf(name),
    Arn: `arn:aws:iam::aws:policy/${name}`,
    Path: `/${name.slice(0, slash + 1)}`,
    Description: description,
    DefaultVersionId: 'v1',
    CreateDate: madeAt,
    UpdateDate: madeAt,
    Tags: [],
    versions: [{ VersionId: 'v1', CreateDate: madeAt, Document: textOf(statements) }],
    latestVersion: 1,
  }
}

function textOf(Statement: readonly StatementText[]): string {
  return JSON.stringify({ Version: '2012-10-17', Statement }, undefined, 2)
}

/** The same at every start. */
function idOf(name: string): string {
  const letters = sha256Hex(name).toUpperCase().replaceAll('0', 'G').replaceAll('1', 'H')
  return `GPOL${letters.slice(0, 17)}`
}
