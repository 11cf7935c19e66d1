/**
 * The resources that ECS's operations name, as ARNs: what the handler will act on, whatever form the caller gave it in. A
 * name that is not there yet, or not at all, has the ARN that it would have.
 *
 * Source: AWS Service Authorization Reference, "Actions, resources, and condition keys for Amazon Elastic Container
 * Service", resource types.
 */
import {
  clusterArn,
  clusterNameOf,
  containerInstanceArn,
  idOf,
  parseTaskDefinitionName,
  serviceArn,
  taskArn,
} from '../../../proto/arn.ts'
import type { Tag } from '../../../proto/model/types.ts'
import { tagsOf } from '../../decide/operator-changes.ts'
import { findTaskDefinition } from '../../ecs/task-definitions.ts'
import type { TaskDefinitionRow } from '../../state/tables.ts'
import type { Reader } from '../../state/transaction.ts'
import type { AccessCheck, ConditionKeys, Place, TagMap } from '../authorization.ts'

/** Where an operation's resources are looked for. */
export interface EcsScope {
  readonly reader: Reader
  readonly place: Place
  /** Of the operation's `cluster`; `default` where it names none. */
  readonly clusterName: string
}

export function ecsScope(reader: Reader, place: Place, cluster: string | undefined): EcsScope {
  return { reader, place, clusterName: clusterNameOf(cluster ?? 'default') }
}

/** A check on one resource, with its tags at hand for conditions. */
export function onResource(reader: Reader, action: string, resource: string, keys: ConditionKeys = {}): AccessCheck {
  return { action, resource, keys, resourceTags: () => tagsOfResource(reader, resource) }
}

export function clusterOf({ place, clusterName }: EcsScope): string {
  return clusterArn(place, clusterName)
}

/** Without a name: any service of the cluster. */
export function serviceOf({ place, clusterName }: EcsScope, nameOrArn: string | undefined): string {
  return serviceArn(place, clusterName, idOf(nameOrArn ?? '*'))
}

export function taskOf({ place, clusterName }: EcsScope, idOrArn: string | undefined): string {
  return taskArn(place, clusterName, idOf(idOrArn ?? '*'))
}

export function instanceOf({ place, clusterName }: EcsScope, idOrArn: string | undefined): string {
  return containerInstanceArn(place, clusterName, idOf(idOrArn ?? '*'))
}

/** `task-set/CLUSTER/SERVICE/ecs-svc/N`. */
export function taskSetOf(scope: EcsScope, service: string | undefined, idOrArn: string | undefined): string {
  const id = idOrArn === undefined ? '*' : `ecs-svc/${idOf(idOrArn)}`
  return ecsArn(scope.place, `task-set/${scope.clusterName}/${idOf(service ?? '*')}/${id}`)
}

/** The revision that a name stands for at this moment. */
export function taskDefinitionOf(reader: Reader, place: Place, nameOrArn: string | undefined): string {
  const row = taskDefinitionRow(reader, nameOrArn)
  if (row !== undefined) return row.taskDefinitionArn
  const name = parseTaskDefinitionName(nameOrArn ?? '')
  return ecsArn(place, `task-definition/${name?.family ?? '*'}:${name?.revision ?? '*'}`)
}

export function taskDefinitionRow(reader: Reader, nameOrArn: string | undefined): TaskDefinitionRow | undefined {
  return parseTaskDefinitionName(nameOrArn ?? '') === undefined ? undefined : findTaskDefinition(reader, nameOrArn)
}

export function capacityProviderOf(place: Place, nameOrArn: string | undefined): string {
  return ecsArn(place, `capacity-provider/${idOf(nameOrArn ?? '*')}`)
}

/** For resources of kinds that are modelled and not built. */
export function ecsArn({ region, account }: Place, resource: string): string {
  return `arn:aws:ecs:${region}:${account}:${resource}`
}

/** The parts behind the kind in a resource's ARN: cluster, service, id. */
export function pathOf(arn: string): readonly string[] {
  return arn
    .slice(arn.lastIndexOf(':') + 1)
    .split('/')
    .slice(1)
}

/** The tags of a resource of any kind; undefined where there is none of that ARN. */
export function tagsOfResource(reader: Reader, arn: string): TagMap | undefined {
  const [kind = '', ...path] = arn.split(':').slice(5).join(':').split('/')
  const [first = '', second = ''] = path
  switch (kind) {
    case 'cluster':
      return tagMap(reader.get('cluster', first)?.tags)
    case 'service':
      return tagMap(reader.get('service', `${first}/${second}`)?.tags)
    case 'task':
      return tagMap((reader.get('task', second) ?? reader.history.task(second))?.tags)
    case 'container-instance': {
      const row = reader.get('instance', second)
      return row === undefined ? undefined : tagMap(tagsOf(row))
    }
    case 'task-definition':
      return tagMap(reader.get('taskDefinition', first)?.tags)
    case 'task-set':
      return tagMap(reader.get('taskSet', path.slice(2).join('/'))?.tags)
    // What a service's deployments and revisions are tagged with is the service's.
    case 'service-deployment':
    case 'service-revision':
      return tagMap(reader.get('service', `${first}/${second}`)?.tags)
    default:
      return undefined
  }
}

export function tagMap(tags: readonly Tag[] | undefined): TagMap | undefined {
  return tags === undefined ? undefined : Object.fromEntries(tags.map(({ key, value }) => [key ?? '', value ?? '']))
}
