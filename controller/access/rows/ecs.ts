/**
 * What each operation of ECS takes: an action on resources, with the condition keys of the request. Those that are not built
 * are in ecs-unbuilt.ts. A call that names several resources takes the action on each of them.
 *
 * Source: AWS Service Authorization Reference, "Actions, resources, and condition keys for Amazon Elastic Container
 * Service", as of November 2026.
 */
import { idOf } from '../../../proto/arn.ts'
import type { Input, OperationName } from '../../../proto/model/types.ts'
import type { AccessRow } from '../authorization.ts'
import type { ServiceRows } from '../rows.ts'
import { accountSetting, anywhere, each, inCluster, type Names, onCluster, onHistory, onTaskSets } from './ecs-forms.ts'
import { capacityProviderKey, clusterKey, runKeys, serviceKeys, sizeKeys, taggingChecks, tagKeys } from './ecs-keys.ts'
import {
  clusterOf,
  ecsArn,
  ecsScope,
  instanceOf,
  onResource,
  serviceOf,
  taskDefinitionOf,
  taskOf,
  taskSetOf,
} from './ecs-resources.ts'

type Row<Op extends OperationName> = AccessRow<Input<Op>>

const createCluster: Row<'CreateCluster'> = (input, reader, place) => {
  const scope = ecsScope(reader, place, input.clusterName)
  const resource = clusterOf(scope)
  const keys = {
    ...tagKeys(input.tags),
    ...capacityProviderKey(place, input.defaultCapacityProviderStrategy, input.capacityProviders),
    'ecs:fargate-ephemeral-storage-kms-key':
      input.configuration?.managedStorageConfiguration?.fargateEphemeralStorageKmsKeyId,
  }
  return [
    onResource(reader, 'ecs:CreateCluster', resource, keys),
    ...taggingChecks(scope, 'CreateCluster', resource, input.tags),
  ]
}

const updateCluster: Row<'UpdateCluster'> = (input, reader, place) => {
  const key = input.configuration?.managedStorageConfiguration?.fargateEphemeralStorageKmsKeyId
  const resource = clusterOf(ecsScope(reader, place, input.cluster))
  return [onResource(reader, 'ecs:UpdateCluster', resource, { 'ecs:fargate-ephemeral-storage-kms-key': key })]
}

const createService: Row<'CreateService'> = (input, reader, place) => {
  const scope = ecsScope(reader, place, input.cluster)
  const resource = serviceOf(scope, input.serviceName)
  return [
    onResource(reader, 'ecs:CreateService', resource, {
      ...serviceKeys(scope, input, true),
      ...tagKeys(input.tags),
    }),
    ...taggingChecks(scope, 'CreateService', resource, input.tags),
  ]
}

const updateService: Row<'UpdateService'> = (input, reader, place) => {
  const scope = ecsScope(reader, place, input.cluster)
  return [onResource(reader, 'ecs:UpdateService', serviceOf(scope, input.service), serviceKeys(scope, input, false))]
}

const createTaskSet: Row<'CreateTaskSet'> = (input, reader, place) => {
  const scope = ecsScope(reader, place, input.cluster)
  const resource = taskSetOf(scope, input.service, undefined)
  const keys = {
    ...clusterKey(scope),
    ...tagKeys(input.tags),
    ...capacityProviderKey(place, input.capacityProviderStrategy),
    'ecs:service': serviceOf(scope, input.service),
    'ecs:task-definition': taskDefinitionOf(reader, place, input.taskDefinition),
  }
  return [
    onResource(reader, 'ecs:CreateTaskSet', resource, keys),
    ...taggingChecks(scope, 'CreateTaskSet', resource, input.tags),
  ]
}

const runTask: Row<'RunTask'> = (input, reader, place) => {
  const scope = ecsScope(reader, place, input.cluster)
  const keys = { ...runKeys(scope, input), ...capacityProviderKey(place, input.capacityProviderStrategy) }
  return [
    onResource(reader, 'ecs:RunTask', taskDefinitionOf(reader, place, input.taskDefinition), keys),
    ...taggingChecks(scope, 'RunTask', taskOf(scope, undefined), input.tags),
  ]
}

const startTask: Row<'StartTask'> = (input, reader, place) => {
  const scope = ecsScope(reader, place, input.cluster)
  const instances = (input.containerInstances ?? []).map((one) => instanceOf(scope, one))
  const keys = { ...runKeys(scope, input), 'ecs:container-instances': instances }
  return [
    onResource(reader, 'ecs:StartTask', taskDefinitionOf(reader, place, input.taskDefinition), keys),
    ...taggingChecks(scope, 'StartTask', taskOf(scope, undefined), input.tags),
  ]
}

const registerTaskDefinition: Row<'RegisterTaskDefinition'> = (input, reader, place) => {
  const resource = ecsArn(place, `task-definition/${input.family ?? '*'}:*`)
  const isPrivileged = (input.containerDefinitions ?? []).some(({ privileged }) => privileged === true)
  const keys = {
    ...tagKeys(input.tags),
    'ecs:compute-compatibility': input.requiresCompatibilities,
    'ecs:privileged': String(isPrivileged),
    ...sizeKeys(input),
  }
  return [
    onResource(reader, 'ecs:RegisterTaskDefinition', resource, keys),
    ...taggingChecks({ reader, place }, 'RegisterTaskDefinition', resource, input.tags),
  ]
}

const registerContainerInstance: Row<'RegisterContainerInstance'> = (input, reader, place) => {
  const scope = ecsScope(reader, place, input.cluster)
  const made = instanceOf(scope, input.containerInstanceArn)
  return [
    onResource(reader, 'ecs:RegisterContainerInstance', clusterOf(scope), tagKeys(input.tags)),
    ...taggingChecks(scope, 'RegisterContainerInstance', made, input.tags),
  ]
}

/** On the cluster as well as on the task, as in AWS. Who names no container means the one that the task has. */
const executeCommand: Row<'ExecuteCommand'> = (input, reader, place) => {
  const scope = ecsScope(reader, place, input.cluster)
  const task = taskOf(scope, input.task)
  const [only, ...others] = reader.get('task', idOf(input.task ?? ''))?.containers ?? []
  const container = input.container || (others.length === 0 ? only?.name : undefined)
  const keys = { ...clusterKey(scope), 'ecs:container-name': container, 'ecs:task': task }
  return [clusterOf(scope), task].map((resource) => onResource(reader, 'ecs:ExecuteCommand', resource, keys))
}

const tagResource: Row<'TagResource'> = (input, reader) => [
  onResource(reader, 'ecs:TagResource', input.resourceArn ?? '*', tagKeys(input.tags)),
]

const untagResource: Row<'UntagResource'> = (input, reader) => [
  onResource(reader, 'ecs:UntagResource', input.resourceArn ?? '*', { 'aws:TagKeys': input.tagKeys }),
]

const attributeTargets = (input: Input<'PutAttributes'> | Input<'DeleteAttributes'>): Names =>
  (input.attributes ?? []).map(({ targetId }) => targetId)

export const builtEcsRows = {
  CreateCluster: createCluster,
  CreateService: createService,
  CreateTaskSet: createTaskSet,
  DeleteAccountSetting: accountSetting('DeleteAccountSetting'),
  DeleteAttributes: inCluster('DeleteAttributes', instanceOf, attributeTargets),
  DeleteCluster: onCluster('DeleteCluster'),
  DeleteService: inCluster('DeleteService', serviceOf, ({ service }) => [service]),
  DeleteTaskDefinitions: (input, reader, place) =>
    each(input.taskDefinitions, (one) =>
      onResource(reader, 'ecs:DeleteTaskDefinitions', taskDefinitionOf(reader, place, one)),
    ),
  DeleteTaskSet: onTaskSets('DeleteTaskSet', ({ taskSet }) => [taskSet]),
  DeregisterContainerInstance: onCluster('DeregisterContainerInstance'),
  DeregisterTaskDefinition: () => anywhere('DeregisterTaskDefinition'),
  DescribeClusters: (input, reader, place) =>
    each(input.clusters, (one) => onResource(reader, 'ecs:DescribeClusters', clusterOf(ecsScope(reader, place, one)))),
  DescribeContainerInstances: inCluster(
    'DescribeContainerInstances',
    instanceOf,
    ({ containerInstances }) => containerInstances,
  ),
  DescribeServiceDeployments: onHistory('DescribeServiceDeployments', (input) => input.serviceDeploymentArns),
  DescribeServiceRevisions: onHistory('DescribeServiceRevisions', (input) => input.serviceRevisionArns),
  DescribeServices: inCluster('DescribeServices', serviceOf, ({ services }) => services),
  DescribeTaskDefinition: () => anywhere('DescribeTaskDefinition'),
  DescribeTaskSets: onTaskSets('DescribeTaskSets', ({ taskSets }) => taskSets),
  DescribeTasks: inCluster('DescribeTasks', taskOf, ({ tasks }) => tasks),
  DiscoverPollEndpoint: () => anywhere('DiscoverPollEndpoint'),
  ExecuteCommand: executeCommand,
  GetTaskProtection: inCluster('GetTaskProtection', taskOf, ({ tasks }) => tasks),
  ListAccountSettings: () => anywhere('ListAccountSettings'),
  ListAttributes: onCluster('ListAttributes'),
  ListClusters: () => anywhere('ListClusters'),
  ListContainerInstances: onCluster('ListContainerInstances'),
  ListServiceDeployments: inCluster('ListServiceDeployments', serviceOf, ({ service }) => [service]),
  ListServices: (input, reader, place) => anywhere('ListServices', clusterKey(ecsScope(reader, place, input.cluster))),
  ListTagsForResource: (input, reader) => [onResource(reader, 'ecs:ListTagsForResource', input.resourceArn ?? '*')],
  ListTaskDefinitionFamilies: () => anywhere('ListTaskDefinitionFamilies'),
  ListTaskDefinitions: () => anywhere('ListTaskDefinitions'),
  // ECS asks for the tasks of an instance; without one, for those of any in the cluster.
  ListTasks: inCluster('ListTasks', instanceOf, ({ containerInstance }) => [containerInstance]),
  PutAccountSetting: accountSetting('PutAccountSetting'),
  PutAccountSettingDefault: accountSetting('PutAccountSettingDefault'),
  PutAttributes: inCluster('PutAttributes', instanceOf, attributeTargets),
  RegisterContainerInstance: registerContainerInstance,
  RegisterTaskDefinition: registerTaskDefinition,
  RunTask: runTask,
  StartTask: startTask,
  StopServiceDeployment: onHistory('StopServiceDeployment', ({ serviceDeploymentArn }) => [serviceDeploymentArn]),
  StopTask: inCluster('StopTask', taskOf, ({ task }) => [task]),
  SubmitAttachmentStateChanges: onCluster('SubmitAttachmentStateChanges'),
  SubmitContainerStateChange: onCluster('SubmitContainerStateChange'),
  SubmitTaskStateChange: onCluster('SubmitTaskStateChange'),
  TagResource: tagResource,
  UntagResource: untagResource,
  UpdateCluster: updateCluster,
  UpdateClusterSettings: onCluster('UpdateClusterSettings'),
  UpdateContainerAgent: inCluster('UpdateContainerAgent', instanceOf, ({ containerInstance }) => [containerInstance]),
  UpdateContainerInstancesState: inCluster(
    'UpdateContainerInstancesState',
    instanceOf,
    ({ containerInstances }) => containerInstances,
  ),
  UpdateService: updateService,
  UpdateServicePrimaryTaskSet: inCluster('UpdateServicePrimaryTaskSet', serviceOf, ({ service }) => [service]),
  UpdateTaskProtection: inCluster('UpdateTaskProtection', taskOf, ({ tasks }) => tasks),
  UpdateTaskSet: onTaskSets('UpdateTaskSet', ({ taskSet }) => [taskSet]),
} satisfies ServiceRows<'ecs'>
