/**
 * ECS's own condition keys, from an operation's input. What a request leaves out has the value that ECS takes for it; what
 * an update leaves out stays as it is, and has no key.
 *
 * Source: AWS Service Authorization Reference, condition keys of Amazon ECS.
 */
import type { Input, Tag } from '../../../proto/model/types.ts'
import { parseCpuUnits, parseMemoryMiB } from '../../decide/task-size.ts'
import type { Reader } from '../../state/transaction.ts'
import type { AccessCheck, ConditionKeys, Place } from '../authorization.ts'
import { requestTagKeys } from '../request-keys.ts'
import { capacityProviderOf, clusterOf, type EcsScope, onResource, tagMap, taskDefinitionRow } from './ecs-resources.ts'

export function clusterKey(scope: EcsScope): ConditionKeys {
  return { 'ecs:cluster': clusterOf(scope) }
}

export function tagKeys(tags: readonly Tag[] | undefined): ConditionKeys {
  return requestTagKeys(tagMap(tags))
}

interface Strategy {
  readonly capacityProvider?: string | undefined
}

export function capacityProviderKey(
  place: Place,
  strategy: readonly Strategy[] | undefined,
  more: readonly string[] = [],
): ConditionKeys {
  const names = [...(strategy ?? []).flatMap(({ capacityProvider }) => capacityProvider ?? []), ...more]
  return names.length === 0 ? {} : { 'ecs:capacity-provider': names.map((name) => capacityProviderOf(place, name)) }
}

/** Of tasks that are started by a call: RunTask and StartTask. */
export function runKeys(scope: EcsScope, input: Input<'RunTask'> | Input<'StartTask'>): ConditionKeys {
  return {
    ...clusterKey(scope),
    ...tagKeys(input.tags),
    'ecs:enable-execute-command': String(input.enableExecuteCommand ?? false),
    'ecs:enable-ebs-volumes': String((input.volumeConfigurations?.length ?? 0) > 0),
  }
}

/** Of CreateService and UpdateService; `isNew` says what stands for members that are left out. */
export function serviceKeys(
  scope: EcsScope,
  input: Input<'CreateService'> | Input<'UpdateService'>,
  isNew: boolean,
): ConditionKeys {
  const { enableExecuteCommand, enableECSManagedTags, propagateTags, serviceConnectConfiguration } = input
  const awsvpc = input.networkConfiguration?.awsvpcConfiguration
  const or = (value: boolean | undefined): string | undefined =>
    value === undefined && !isNew ? undefined : String(value ?? false)
  return {
    ...clusterKey(scope),
    ...definitionKeys(scope.reader, input.taskDefinition),
    ...capacityProviderKey(scope.place, input.capacityProviderStrategy),
    'ecs:enable-execute-command': or(enableExecuteCommand),
    'ecs:enable-ecs-managed-tags': or(enableECSManagedTags),
    'ecs:enable-service-connect': or(serviceConnectConfiguration?.enabled),
    'ecs:enable-ebs-volumes': or(hasSome(input.volumeConfigurations)),
    'ecs:enable-vpc-lattice': or(hasSome(input.vpcLatticeConfigurations)),
    'ecs:namespace': serviceConnectConfiguration?.namespace,
    'ecs:propagate-tags': propagateTags ?? (isNew ? 'NONE' : undefined),
    'ecs:subnet': awsvpc?.subnets,
    'ecs:auto-assign-public-ip':
      awsvpc === undefined ? undefined : String((awsvpc.assignPublicIp ?? 'DISABLED') === 'ENABLED'),
  }
}

/**
 * Of a task definition that is put: in CPU units and MiB, whatever form they came in. A condition on numbers would pass over
 * `4 vCPU` as over no number at all.
 */
export function sizeKeys({ cpu, memory }: Pick<Input<'RegisterTaskDefinition'>, 'cpu' | 'memory'>): ConditionKeys {
  return {
    'ecs:task-cpu': cpu === undefined ? undefined : String(parseCpuUnits(cpu) ?? cpu),
    'ecs:task-memory': memory === undefined ? undefined : String(parseMemoryMiB(memory) ?? memory),
  }
}

function hasSome(list: readonly unknown[] | undefined): boolean | undefined {
  return list === undefined ? undefined : list.length > 0
}

/** Of the task definition that a service is to run. */
function definitionKeys(reader: Reader, nameOrArn: string | undefined): ConditionKeys {
  const row = taskDefinitionRow(reader, nameOrArn)
  if (row === undefined) return {}
  return { 'ecs:task-definition': row.taskDefinitionArn, 'ecs:task-cpu': row.cpu, 'ecs:task-memory': row.memory }
}

/**
 * With tags in a request that makes something, its caller needs `ecs:TagResource` too, on what is made, unless the account
 * setting tagResourceAuthorization is off. The setting counts as root put it: nobody switches the check off for himself.
 *
 * Source: ECS developer guide, "Tagging authorization".
 */
export function taggingChecks(
  { reader, place }: { readonly reader: Reader; readonly place: Place },
  createAction: string,
  resource: string,
  tags: readonly Tag[] | undefined,
): readonly AccessCheck[] {
  if (tags === undefined || tags.length === 0) return []
  const setting = reader.get('accountSetting', `arn:aws:iam::${place.account}:root/tagResourceAuthorization`)
  if (setting?.value === 'off') return []
  return [onResource(reader, 'ecs:TagResource', resource, { ...tagKeys(tags), 'ecs:CreateAction': createAction })]
}
