/** The forms that rows of ECS come in: on a cluster, on what an input names in it, on what an ARN says by itself. */
import type { AccessCheck, AccessRow, ConditionKeys, Place } from '../authorization.ts'
import { clusterKey } from './ecs-keys.ts'
import {
  capacityProviderOf,
  clusterOf,
  ecsArn,
  type EcsScope,
  ecsScope,
  onResource,
  pathOf,
  serviceOf,
  taskSetOf,
} from './ecs-resources.ts'

export interface InCluster {
  readonly cluster?: string | undefined
}

export type Names = readonly (string | undefined)[]

/** An action that knows no resources. */
export function anywhere(action: string, keys: ConditionKeys = {}): readonly AccessCheck[] {
  return [{ action: `ecs:${action}`, resource: '*', keys }]
}

/** On the operation's cluster. */
export function onCluster<I extends InCluster>(action: string): AccessRow<I> {
  return (input, reader, place) => [
    onResource(reader, `ecs:${action}`, clusterOf(ecsScope(reader, place, input.cluster))),
  ]
}

/** On each resource of a cluster that the input names; without a name, on any of that kind. */
export function inCluster<I extends InCluster>(
  action: string,
  name: (scope: EcsScope, given: string | undefined, input: I) => string,
  given: (input: I) => Names | undefined,
  moreKeys: (scope: EcsScope, input: I) => ConditionKeys = () => ({}),
): AccessRow<I> {
  return (input, reader, place) => {
    const scope = ecsScope(reader, place, input.cluster)
    const keys = { ...clusterKey(scope), ...moreKeys(scope, input) }
    return each(given(input), (one) => onResource(reader, `ecs:${action}`, name(scope, one, input), keys))
  }
}

export function each(
  names: Names | undefined,
  check: (name: string | undefined) => AccessCheck,
): readonly AccessCheck[] {
  return names === undefined || names.length === 0 ? [check(undefined)] : [...new Set(names)].map(check)
}

export const onTaskSets = <I extends InCluster & { readonly service?: string | undefined }>(
  action: string,
  given: (input: I) => Names | undefined,
): AccessRow<I> =>
  inCluster<I>(
    action,
    (scope, one, input) => taskSetOf(scope, input.service, one),
    given,
    (scope, input) => ({ 'ecs:service': serviceOf(scope, input.service) }),
  )

/** On what an ARN names, which is of no kind that is built: its cluster stands in the ARN. */
export function onArn<I>(action: string, given: (input: I) => Names | undefined): AccessRow<I> {
  return (input, reader, place) =>
    each(given(input), (arn = '*') => onResource(reader, `ecs:${action}`, arn, keysOfArn(place, arn)))
}

/** On a service's deployment or revision, and on its service. */
export function onHistory<I>(action: string, given: (input: I) => Names | undefined): AccessRow<I> {
  return (input, reader, place) =>
    (given(input) ?? ['*']).flatMap((arn = '*') => {
      const [cluster = '*', service = '*'] = pathOf(arn)
      const scope = ecsScope(reader, place, cluster)
      const [clusterKeys, serviceArn] = [clusterKey(scope), serviceOf(scope, service)]
      return [
        onResource(reader, `ecs:${action}`, serviceArn, clusterKeys),
        onResource(reader, `ecs:${action}`, arn, { ...clusterKeys, 'ecs:service': serviceArn }),
      ]
    })
}

function keysOfArn(place: Place, arn: string): ConditionKeys {
  const [cluster, second] = pathOf(arn)
  return cluster === undefined || second === undefined ? {} : { 'ecs:cluster': ecsArn(place, `cluster/${cluster}`) }
}

export function onCapacityProviders<I>(action: string, given: (input: I) => Names | undefined): AccessRow<I> {
  return (input, reader, place) =>
    each(given(input), (one) => onResource(reader, `ecs:${action}`, capacityProviderOf(place, one)))
}

/** The account's settings of one name. */
export function accountSetting(action: string): AccessRow<{ readonly name?: string | undefined }> {
  return ({ name }) => anywhere(action, { 'ecs:account-setting': name })
}
