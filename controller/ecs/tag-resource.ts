/**
 * TagResource, UntagResource and ListTagsForResource, on clusters, container instances, services, task sets,
 * tasks and task definitions.
 * Source: the ECS API reference, and "Tagging Amazon ECS resources": 50 tags a resource, long ARNs only, `aws:` reserved.
 */
import { ApiError, clientError, invalidParameter } from '../../proto/errors.ts'
import type { Tag } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { deleteTags, putAmong, putTags, tagKey, tagsOf } from '../decide/operator-changes.ts'
import type { ServiceRow, TaskSetRow } from '../state/service-tables.ts'
import type { ClusterRow, InstanceRow, TaskDefinitionRow, TaskRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { type Handlers, read, write } from './handler.ts'
import { unsupported } from './launch-rules.ts'
import { checkTags, isReservedTagKey, tagsMax } from './tags.ts'

/** A resource that carries tags, found by its ARN. */
type Tagged =
  | { readonly kind: 'cluster'; readonly row: ClusterRow }
  | { readonly kind: 'container-instance'; readonly row: InstanceRow }
  | { readonly kind: 'service'; readonly row: ServiceRow }
  | { readonly kind: 'task'; readonly row: TaskRow }
  | { readonly kind: 'task-definition'; readonly row: TaskDefinitionRow }
  | { readonly kind: 'task-set'; readonly row: TaskSetRow }

/** What the model lists for a resource that isn't there: one name for the two that write, another for the one that reads. */
type NotFoundCode = 'ResourceNotFoundException' | 'InvalidParameterException'

export const tagHandlers = {
  TagResource: write<'TagResource'>((tx, input, _call, world) => {
    const tagged = findTagged(tx, input.resourceArn, world, 'ResourceNotFoundException')
    const put = checkTags(input.tags)
    const next = putAmong(currentTags(tagged), put, tagKey)
    const own = next.filter((tag) => !isReservedTagKey(tagKey(tag))).length
    if (own > tagsMax) {
      throw invalidParameter(
        `A resource can have at most ${tagsMax} tags, and with these it would have ${own}. Remove some with UntagResource.`,
      )
    }
    if (tagged.kind === 'container-instance') writeInstance(tx, tagged.row, putTags(tagged.row, put))
    else writeTags(tx, tagged, next)
    return {}
  }),
  UntagResource: write<'UntagResource'>((tx, input, _call, world) => {
    const tagged = findTagged(tx, input.resourceArn, world, 'ResourceNotFoundException')
    const keys = input.tagKeys ?? []
    for (const key of keys) {
      if (isReservedTagKey(key)) throw invalidParameter(`Tag.key '${key}' starts with 'aws:', and can't be removed.`)
    }
    if (tagged.kind === 'container-instance') writeInstance(tx, tagged.row, deleteTags(tagged.row, keys))
    else {
      const kept = currentTags(tagged).filter((tag) => !keys.includes(tagKey(tag)))
      writeTags(tx, tagged, kept)
    }
    return {}
  }),
  ListTagsForResource: read<'ListTagsForResource'>((reader, input, _call, world) => {
    return { tags: currentTags(findTagged(reader, input.resourceArn, world, 'InvalidParameterException')) }
  }),
} satisfies Handlers

function currentTags(tagged: Tagged): readonly Tag[] {
  return tagged.kind === 'container-instance' ? tagsOf(tagged.row) : (tagged.row.tags ?? [])
}

function writeTags(
  tx: Transaction,
  tagged: Exclude<Tagged, { kind: 'container-instance' }>,
  tags: readonly Tag[],
): void {
  if (tagged.kind === 'cluster') tx.put('cluster', tagged.row.clusterName, { ...tagged.row, tags })
  else if (tagged.kind === 'service') tx.put('service', tagged.row.serviceKey, { ...tagged.row, tags })
  else if (tagged.kind === 'task') tx.put('task', tagged.row.taskId, { ...tagged.row, tags })
  else if (tagged.kind === 'task-set') tx.put('taskSet', tagged.row.id, { ...tagged.row, tags })
  else tx.put('taskDefinition', `${tagged.row.family}:${tagged.row.revision}`, { ...tagged.row, tags })
}

function writeInstance(tx: Transaction, before: InstanceRow, next: InstanceRow): void {
  if (next !== before) tx.put('instance', next.instanceId, next)
}

/**
 * The resource behind a long ARN of this region and account. A cluster or an instance that is gone, and a task that
 * stopped, take no tags and show none: InvalidParameterException, in ECS's words.
 */
function findTagged(reader: Reader, arn: string | undefined, world: World, notFound: NotFoundCode): Tagged {
  const prefix = `arn:aws:ecs:${world.region}:${world.account}:`
  if (arn === undefined || !arn.startsWith(prefix)) {
    throw invalidParameter(
      `The ARN provided is invalid. It must begin with ${prefix} and name a cluster, a container instance, a service, ` +
        'a task set, a task or a task definition.',
    )
  }
  const [kind = '', ...path] = arn.slice(prefix.length).split('/')
  switch (kind) {
    case 'cluster':
      return { kind, row: activeCluster(reader, arn, path) }
    case 'container-instance':
      return { kind, row: activeInstance(reader, arn, path, notFound) }
    case 'service':
      return { kind, row: activeService(reader, arn, path, notFound) }
    case 'task':
      return { kind, row: runningTask(reader, arn, path, notFound) }
    case 'task-definition':
      return { kind, row: definition(reader, arn, path) }
    case 'task-set':
      return { kind, row: taskSet(reader, arn, path, notFound) }
    default:
      throw unsupported(
        `Resources of the kind '${kind.slice(0, 64)}' are not available, and so have no tags: clusters, container ` +
          'instances, services, task sets, tasks and task definitions have them.',
      )
  }
}

function activeCluster(reader: Reader, arn: string, [name = '']: readonly string[]): ClusterRow {
  const row = reader.get('cluster', name)
  if (row?.clusterArn !== arn) throw new ApiError('ClusterNotFoundException', 'Cluster not found.')
  if (row.status === 'ACTIVE') return row
  throw invalidParameter('The specified cluster is inactive. Specify an active cluster and try again.')
}

function activeInstance(reader: Reader, arn: string, path: readonly string[], notFound: NotFoundCode): InstanceRow {
  const row = reader.get('instance', idInLongArn(path))
  if (row?.containerInstanceArn !== arn) throw missing('container instance', arn, notFound)
  if (row.status !== 'INACTIVE') return row
  throw invalidParameter(
    'The specified container instance is inactive. Specify an active container instance and try again.',
  )
}

function activeService(reader: Reader, arn: string, path: readonly string[], notFound: NotFoundCode): ServiceRow {
  const row = reader.get('service', `${path[0] ?? ''}/${idInLongArn(path)}`)
  if (row?.serviceArn !== arn) throw missing('service', arn, notFound)
  if (row.status !== 'INACTIVE') return row
  throw invalidParameter('The specified service is inactive. Specify an active service and try again.')
}

function runningTask(reader: Reader, arn: string, path: readonly string[], notFound: NotFoundCode): TaskRow {
  const taskId = idInLongArn(path)
  const row = reader.get('task', taskId) ?? reader.history.task(taskId)
  if (row?.taskArn !== arn) throw missing('task', arn, notFound)
  if (row.lastStatus !== 'STOPPED') return row
  throw invalidParameter('The specified task is stopped. Specify a running task and try again.')
}

/** Its id has a slash in it: `task-set/CLUSTER/SERVICE/ecs-svc/N`. */
function taskSet(reader: Reader, arn: string, path: readonly string[], notFound: NotFoundCode): TaskSetRow {
  const row = reader.get('taskSet', path.slice(2).join('/'))
  if (row?.taskSetArn !== arn) throw missing('task set', arn, notFound)
  return row
}

function definition(reader: Reader, arn: string, [familyAndRevision = '']: readonly string[]): TaskDefinitionRow {
  const row = reader.get('taskDefinition', familyAndRevision)
  if (row?.taskDefinitionArn === arn) return row
  throw clientError(`Unable to describe task definition. Tags belong to a revision, and ${arn.slice(0, 256)} is none.`)
}

/** The last part of `CLUSTER/ID`; the old format, which has no cluster in it, can't be tagged. */
function idInLongArn(path: readonly string[]): string {
  const [, id] = path
  if (id === undefined) throw invalidParameter('Long arn format must be used for tagging operations')
  return id
}

function missing(what: string, arn: string, code: NotFoundCode): ApiError {
  return new ApiError(code, `The specified ${what} could not be found: ${arn.slice(0, 256)}.`)
}
