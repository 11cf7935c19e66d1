/**
 * What tasks and services share of where they can be launched: launch type, capacity providers, platform version, and the
 * task definition that these have to go with. In ECS's words where they are known.
 */
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import type { Input } from '../../proto/model/types.ts'
import type { ClusterRow, TaskDefinitionRow } from '../state/tables.ts'

type LaunchInput = Pick<Input<'RunTask'>, 'launchType' | 'capacityProviderStrategy' | 'platformVersion'>

export function unsupported(message: string): ApiError {
  return new ApiError('UnsupportedFeatureException', message)
}

/** The launch type that is asked for; undefined is any that the task definition goes with. */
export function checkLaunchType(cluster: ClusterRow, input: LaunchInput): 'EC2' | 'EXTERNAL' | undefined {
  const { launchType, platformVersion } = input
  const providers = input.capacityProviderStrategy ?? []
  if (providers.length > 0 && launchType !== undefined) {
    throw invalidParameter(
      'Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.',
    )
  }
  if (asksForProviders(cluster, input)) {
    const whose = providers.length > 0 ? 'The request' : `Cluster ${cluster.clusterName} by default`
    throw unsupported(
      `${whose} asks for a capacity provider strategy (capacityProviderStrategy), which is not available yet. ` +
        'Give launchType EC2 or EXTERNAL instead.',
    )
  }
  if (launchType !== undefined && launchType !== 'EC2' && launchType !== 'EXTERNAL') {
    throw unsupported(
      `Launch type ${launchType} is not available: tasks run on the cluster's own container instances. Use launchType ` +
        'EC2 or EXTERNAL.',
    )
  }
  if (platformVersion !== undefined && platformVersion !== '') {
    throw invalidParameter(`The platform version must be null when specifying an ${launchType ?? 'EC2'} launch type.`)
  }
  return launchType
}

/** True where tasks would be launched by capacity providers: the request's own, or without a launch type the cluster's. */
export function asksForProviders(cluster: ClusterRow, { launchType, capacityProviderStrategy }: LaunchInput): boolean {
  if ((capacityProviderStrategy ?? []).length > 0) return true
  return launchType === undefined && (cluster.defaultCapacityProviderStrategy ?? []).length > 0
}

export function checkCompatibility(definition: TaskDefinitionRow, launchType: 'EC2' | 'EXTERNAL' | undefined): void {
  const compatible = definition.compatibilities ?? []
  if (compatible.length === 0) return
  const wanted: readonly string[] = launchType === undefined ? ['EC2', 'EXTERNAL'] : [launchType]
  if (compatible.some((type) => wanted.includes(type))) return
  throw invalidParameter(
    `Task definition does not support launch_type ${launchType ?? 'EC2'}. It is compatible with ` +
      `${compatible.join(', ')}: register a revision without what ties it to that.`,
  )
}
