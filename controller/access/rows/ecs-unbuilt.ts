/**
 * The rows of ECS's operations that are modelled and not built: capacity providers, daemons, Express and gateways. They
 * stand here so that none of these is open on the day when it is built.
 *
 * Source: AWS Service Authorization Reference of Amazon ECS; it has no gateways yet, whose ARNs are made like the others.
 */
import type { Input, OperationName } from '../../../proto/model/types.ts'
import type { AccessRow, Place } from '../authorization.ts'
import type { ServiceRows } from '../rows.ts'
import { anywhere, onArn, onCapacityProviders, onHistory } from './ecs-forms.ts'
import { capacityProviderKey, clusterKey, sizeKeys, taggingChecks, tagKeys } from './ecs-keys.ts'
import { capacityProviderOf, clusterOf, ecsArn, ecsScope, onResource, serviceOf } from './ecs-resources.ts'

type Row<Op extends OperationName> = AccessRow<Input<Op>>

const createCapacityProvider: Row<'CreateCapacityProvider'> = (input, reader, place) => [
  onResource(reader, 'ecs:CreateCapacityProvider', capacityProviderOf(place, input.name), {
    ...tagKeys(input.tags),
    'ecs:propagate-tags': input.managedInstancesProvider?.propagateTags,
  }),
  ...taggingChecks({ reader, place }, 'CreateCapacityProvider', capacityProviderOf(place, input.name), input.tags),
]

const putClusterCapacityProviders: Row<'PutClusterCapacityProviders'> = (input, reader, place) => [
  onResource(
    reader,
    'ecs:PutClusterCapacityProviders',
    clusterOf(ecsScope(reader, place, input.cluster)),
    capacityProviderKey(place, input.defaultCapacityProviderStrategy, input.capacityProviders),
  ),
]

const createDaemon: Row<'CreateDaemon'> = (input, reader, place) => {
  const scope = ecsScope(reader, place, input.clusterArn)
  const resource = ecsArn(place, `daemon/${scope.clusterName}/${input.daemonName ?? '*'}`)
  const keys = {
    ...clusterKey(scope),
    ...tagKeys(input.tags),
    ...capacityProviderKey(place, undefined, input.capacityProviderArns),
    'ecs:daemon-task-definition': input.daemonTaskDefinitionArn,
    'ecs:enable-ecs-managed-tags': String(input.enableECSManagedTags ?? false),
    'ecs:enable-execute-command': String(input.enableExecuteCommand ?? false),
    'ecs:propagate-tags': input.propagateTags ?? 'NONE',
  }
  return [
    onResource(reader, 'ecs:CreateDaemon', resource, keys),
    ...taggingChecks(scope, 'CreateDaemon', resource, input.tags),
  ]
}

const createExpress: Row<'CreateExpressGatewayService'> = (input, reader, place) => {
  const scope = ecsScope(reader, place, input.cluster)
  const resource = serviceOf(scope, input.serviceName)
  const keys = {
    ...clusterKey(scope),
    ...tagKeys(input.tags),
    'ecs:subnet': input.networkConfiguration?.subnets,
    ...sizeKeys(input),
  }
  return [
    onResource(reader, 'ecs:CreateExpressGatewayService', resource, keys),
    ...taggingChecks(scope, 'CreateExpressGatewayService', resource, input.tags),
  ]
}

const registerDaemonTaskDefinition: Row<'RegisterDaemonTaskDefinition'> = (input, reader, place) => {
  const resource = ecsArn(place, `daemon-task-definition/${input.family ?? '*'}:*`)
  const keys = { ...tagKeys(input.tags), ...sizeKeys(input) }
  return [
    onResource(reader, 'ecs:RegisterDaemonTaskDefinition', resource, keys),
    ...taggingChecks({ reader, place }, 'RegisterDaemonTaskDefinition', resource, input.tags),
  ]
}

interface OfGateway {
  readonly gateway?: string | undefined
  readonly name?: string | undefined
  readonly cluster?: string | undefined
}

function onGateway<I extends OfGateway>(action: string): AccessRow<I> {
  return ({ gateway, name, cluster }, reader, place) => [
    onResource(
      reader,
      `ecs:${action}`,
      gatewayOf(place, gateway ?? name),
      cluster === undefined ? {} : clusterKey(ecsScope(reader, place, cluster)),
    ),
  ]
}

function gatewayOf(place: Place, nameOrArn: string | undefined): string {
  return ecsArn(place, `gateway/${(nameOrArn ?? '*').split('/').at(-1) ?? '*'}`)
}

export const unbuiltEcsRows = {
  AssociateGatewayWithCluster: onGateway('AssociateGatewayWithCluster'),
  ContinueServiceDeployment: onHistory('ContinueServiceDeployment', (input) => [input.serviceDeploymentArn]),
  CreateCapacityProvider: createCapacityProvider,
  CreateDaemon: createDaemon,
  CreateExpressGatewayService: createExpress,
  CreateGateway: onGateway('CreateGateway'),
  DeleteCapacityProvider: onCapacityProviders('DeleteCapacityProvider', (input) => [input.capacityProvider]),
  DeleteDaemon: onArn('DeleteDaemon', ({ daemonArn }) => [daemonArn]),
  DeleteDaemonTaskDefinition: onArn('DeleteDaemonTaskDefinition', (input) => [input.daemonTaskDefinition]),
  DeleteExpressGatewayService: onArn('DeleteExpressGatewayService', ({ serviceArn }) => [serviceArn]),
  DeleteGateway: onGateway('DeleteGateway'),
  DescribeCapacityProviders: onCapacityProviders('DescribeCapacityProviders', (input) => input.capacityProviders),
  DescribeDaemon: onArn('DescribeDaemon', ({ daemonArn }) => [daemonArn]),
  DescribeDaemonDeployments: onArn('DescribeDaemonDeployments', (input) => input.daemonDeploymentArns),
  DescribeDaemonRevisions: onArn('DescribeDaemonRevisions', ({ daemonRevisionArns }) => daemonRevisionArns),
  DescribeDaemonTaskDefinition: onArn('DescribeDaemonTaskDefinition', (input) => [input.daemonTaskDefinition]),
  DescribeExpressGatewayService: onArn('DescribeExpressGatewayService', ({ serviceArn }) => [serviceArn]),
  DescribeGateway: onGateway('DescribeGateway'),
  DescribeGatewayResources: onGateway('DescribeGatewayResources'),
  DescribeGatewayRoute: onArn('DescribeGatewayRoute', ({ gatewayRouteArn }) => [gatewayRouteArn]),
  DisassociateGatewayFromCluster: onGateway('DisassociateGatewayFromCluster'),
  ListDaemonDeployments: onArn('ListDaemonDeployments', ({ daemonArn }) => [daemonArn]),
  ListDaemonTaskDefinitions: () => anywhere('ListDaemonTaskDefinitions'),
  ListDaemons: (input, reader, place) => anywhere('ListDaemons', clusterKey(ecsScope(reader, place, input.clusterArn))),
  ListGatewayClusterAssociations: onGateway('ListGatewayClusterAssociations'),
  ListGatewayRoutes: onGateway('ListGatewayRoutes'),
  ListGateways: () => anywhere('ListGateways'),
  ListServicesByNamespace: ({ namespace }) => anywhere('ListServicesByNamespace', { 'ecs:namespace': namespace }),
  PutClusterCapacityProviders: putClusterCapacityProviders,
  RegisterDaemonTaskDefinition: registerDaemonTaskDefinition,
  UpdateCapacityProvider: onCapacityProviders('UpdateCapacityProvider', ({ name }) => [name]),
  UpdateDaemon: onArn('UpdateDaemon', ({ daemonArn }) => [daemonArn]),
  UpdateExpressGatewayService: onArn('UpdateExpressGatewayService', ({ serviceArn }) => [serviceArn]),
  UpdateGateway: onGateway('UpdateGateway'),
} satisfies ServiceRows<'ecs'>
