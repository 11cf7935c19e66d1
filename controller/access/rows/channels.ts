/** What an agent's channels take: `ecs:Poll` and `ecs:StartTelemetrySession`, on the instance that dials. */
import { idOf } from '../../../proto/arn.ts'
import type { AccessRow } from '../authorization.ts'
import { clusterKey } from './ecs-keys.ts'
import { ecsScope, instanceOf, onResource } from './ecs-resources.ts'

export interface DiallingInstance {
  readonly action: 'ecs:Poll' | 'ecs:StartTelemetrySession'
  readonly cluster?: string | undefined
  readonly containerInstance?: string | undefined
}

/** A channel is the instance's of that id, so that the cluster is the one that the instance is registered in. */
export const channelRow: AccessRow<DiallingInstance> = ({ action, cluster, containerInstance }, reader, place) => {
  const row = containerInstance === undefined ? undefined : reader.get('instance', idOf(containerInstance))
  const scope = ecsScope(reader, place, row?.clusterName ?? cluster)
  return [onResource(reader, action, instanceOf(scope, containerInstance), clusterKey(scope))]
}
