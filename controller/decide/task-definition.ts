/**
 * Removes a task definition whose deletion was asked for, as soon as nothing uses it any more: no live task, no service
 * that runs it or would go back to it, no task set. Its family keeps the number, so that no revision is ever given out
 * twice. Source: ECS developer guide, "Task definition states": DELETE_IN_PROGRESS until tasks and services are done.
 */
import { parseTaskDefinitionName } from '../../proto/arn.ts'
import type { Decider } from './decider.ts'
import type { TableName, Tables, TaskDefinitionRow } from '../state/tables.ts'
import type { Change, Reader } from '../state/transaction.ts'

export const taskDefinitionDecider: Decider = {
  name: 'taskDefinition',
  tables: ['taskDefinition', 'task', 'service', 'deployment', 'taskSet'],
  decide(tx, table, key, before) {
    for (const row of definitionsOf(tx, table, key, before)) {
      if (row.status !== 'DELETE_IN_PROGRESS' || isUsed(tx, row.taskDefinitionArn)) continue
      tx.delete('taskDefinition', `${row.family}:${row.revision}`)
    }
  },
}

/** The definitions that a changed row names, or named before it changed. */
function definitionsOf(
  reader: Reader,
  table: TableName,
  key: string,
  before: Change['before'],
): readonly TaskDefinitionRow[] {
  const arns = new Set<string | undefined>()
  switch (table) {
    case 'taskDefinition': {
      const row = reader.get('taskDefinition', key)
      return row === undefined ? [] : [row]
    }
    case 'task':
      arns.add(reader.get('task', key)?.taskDefinitionArn)
      break
    case 'service':
      for (const row of [before as Tables['service'] | undefined, reader.get('service', key)]) {
        arns.add(row?.taskDefinition)
        arns.add(reader.get('serviceRevision', row?.lastCompletedRevisionId ?? '')?.taskDefinition)
      }
      break
    case 'deployment':
    case 'taskSet':
      arns.add((before as Tables['deployment' | 'taskSet'] | undefined)?.taskDefinition)
      break
    default:
  }
  return [...arns].flatMap((arn) => definition(reader, arn) ?? [])
}

/** True while something of the cluster may still need the definition of that ARN. */
export function isUsed(reader: Reader, arn: string): boolean {
  return (
    reader.count('task', 'liveByTaskDefinition', arn) > 0 ||
    reader.count('service', 'liveByTaskDefinition', arn) > 0 ||
    reader.count('deployment', 'liveByTaskDefinition', arn) > 0 ||
    reader.count('taskSet', 'byTaskDefinition', arn) > 0 ||
    isWhereARollbackGoes(reader, arn)
  )
}

function isWhereARollbackGoes(reader: Reader, arn: string): boolean {
  return reader.find('serviceRevision', 'byTaskDefinition', arn).some((revision) => {
    const service = reader.get('service', revision.serviceKey)
    return service?.status === 'ACTIVE' && service.lastCompletedRevisionId === revision.id
  })
}

function definition(reader: Reader, arn: string | undefined): TaskDefinitionRow | undefined {
  const name = parseTaskDefinitionName(arn ?? '')
  return name?.revision === undefined ? undefined : reader.get('taskDefinition', `${name.family}:${name.revision}`)
}
