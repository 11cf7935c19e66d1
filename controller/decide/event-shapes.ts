/**
 * What a committed turn is told to whoever follows the cluster: events in EventBridge's envelope, with the details that
 * ECS gives. Source: ECS developer guide, "Amazon ECS events" (container instance and task state change, service action
 * and service deployment state change).
 *
 * Values of environment variables are left out, also where ECS has them (a task's overrides): people put secrets there,
 * and events go to many readers. Containers' output is never in a row that is shown here.
 */
import type { TaskOverride } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { describeTaskOn } from '../ecs/describe-task.ts'
import { describeInstance } from '../ecs/instances.ts'
import type { HostEventRow } from '../state/host-tables.ts'
import type { ServiceEventRow } from '../state/service-tables.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import type { Change, Reader } from '../state/transaction.ts'

export const detailTypes = [
  'ECS Task State Change',
  'ECS Container Instance State Change',
  'ECS Deployment State Change',
  'ECS Service Action',
  'Gantry Host Action',
] as const
export type DetailType = (typeof detailTypes)[number]

/** EventBridge's envelope. */
export interface ClusterEvent {
  readonly version: '0'
  readonly id: string
  readonly 'detail-type': DetailType
  readonly source: 'aws.ecs'
  readonly account: string
  readonly time: string
  readonly region: string
  readonly resources: readonly string[]
  readonly detail: Readonly<Record<string, unknown>>
}

/** What an event will be made from: most are never read, so that only what would change is taken down at once. */
export interface EventSource {
  readonly detailType: DetailType
  readonly clusterName: string
  readonly serviceName?: string | undefined
  shape(): { readonly resources: readonly string[]; readonly detail: Readonly<Record<string, unknown>> }
}

/** The events of a turn's changes, in their order. `reader` is the state that the turn led to; `now` epoch milliseconds. */
export function eventsOf(changes: readonly Change[], reader: Reader, now: number): readonly EventSource[] {
  return changes.flatMap(({ table, before, row }) => {
    if (row === undefined) return []
    switch (table) {
      case 'task':
        return taskEvent(before as TaskRow | undefined, row as TaskRow, reader, now)
      case 'instance':
        return instanceEvent(before as InstanceRow | undefined, row as InstanceRow, reader, now)
      case 'serviceEvent':
        // One that more tasks were added to has a new id.
        return (before as ServiceEventRow | undefined)?.id === (row as ServiceEventRow).id
          ? []
          : serviceEvent(row as ServiceEventRow, reader)
      case 'hostEvent':
        return hostActionEvent(row as HostEventRow, reader)
      default:
        return []
    }
  })
}

/** An event whole. `id` is a UUID; `at` the instant of its turn, epoch milliseconds. */
export function wholeEvent(source: EventSource, id: string, at: number, world: World): ClusterEvent {
  return {
    version: '0',
    id,
    'detail-type': source.detailType,
    source: 'aws.ecs',
    account: world.account,
    time: toInstant(at).replace(/\.\d+Z$/, 'Z'),
    region: world.region,
    ...source.shape(),
  }
}

/** Gantry's own: who joined, who was refused. Of a stranger there is no cluster. */
function hostActionEvent(row: HostEventRow, reader: Reader): readonly EventSource[] {
  const { name, message, count, hostId, sourceAddress, clusterName = '' } = row
  const clusterArn = reader.get('cluster', clusterName)?.clusterArn
  const detail = {
    eventName: name,
    reason: message,
    count,
    hostId,
    sourceAddress,
    clusterArn,
    createdAt: toInstant(row.at),
  }
  return [{ detailType: 'Gantry Host Action', clusterName, shape: () => ({ resources: [], detail }) }]
}

/** ECS numbers the versions of a task so that each event has its own; what agents are told is no event. */
function taskEvent(before: TaskRow | undefined, row: TaskRow, reader: Reader, now: number): readonly EventSource[] {
  if (before !== undefined && before.version === row.version && before.lastStatus === row.lastStatus) return []
  // How its agent is connected is the instance's to say, and is kept as it was in this turn.
  const instance = reader.get('instance', row.instanceId)
  return [
    {
      detailType: 'ECS Task State Change',
      clusterName: row.clusterName,
      serviceName: row.serviceKey?.slice(row.clusterName.length + 1),
      shape: () => ({ resources: [row.taskArn], detail: taskDetail(row, instance, now) }),
    },
  ]
}

function taskDetail(row: TaskRow, instance: InstanceRow | undefined, now: number): Readonly<Record<string, unknown>> {
  const { overrides, ...task } = describeTaskOn(instance, row)
  return { ...withInstants(task), overrides: withoutValues(overrides), updatedAt: toInstant(now) }
}

function instanceEvent(
  before: InstanceRow | undefined,
  row: InstanceRow,
  reader: Reader,
  now: number,
): readonly EventSource[] {
  if (before?.version === row.version) return []
  // What remains of it changes with each task, so it is taken down now. Such events are few.
  const detail = { ...withInstants(describeInstance(reader, row)), clusterArn: clusterArnOf(row, reader) }
  return [
    {
      detailType: 'ECS Container Instance State Change',
      clusterName: row.clusterName,
      shape: () => ({
        resources: [row.containerInstanceArn],
        detail: { ...detail, updatedAt: toInstant(now) },
      }),
    },
  ]
}

/** An event of a service is told where it has a name that programs know it by; the others are for people alone. */
function serviceEvent(row: ServiceEventRow, reader: Reader): readonly EventSource[] {
  const { eventName, eventType = 'INFO', reason, deploymentId, createdAt } = row
  const service = reader.get('service', row.serviceKey)
  if (eventName === undefined || service === undefined) return []
  const { clusterName, serviceName, serviceArn, clusterArn } = service
  const at = toInstant(createdAt)
  const isDeployment = eventName.startsWith('SERVICE_DEPLOYMENT_')
  const detail = isDeployment
    ? { eventType, eventName, deploymentId, updatedAt: at, reason: reason ?? row.message }
    : { eventType, eventName, clusterArn, createdAt: at, ...(reason !== undefined && { reason }) }
  return [
    {
      detailType: isDeployment ? 'ECS Deployment State Change' : 'ECS Service Action',
      clusterName,
      serviceName,
      shape: () => ({ resources: [serviceArn], detail }),
    },
  ]
}

function clusterArnOf(row: InstanceRow, reader: Reader): string | undefined {
  return reader.get('cluster', row.clusterName)?.clusterArn
}

const instantMembers = new Set([
  'connectivityAt',
  'createdAt',
  'executionStoppedAt',
  'pullStartedAt',
  'pullStoppedAt',
  'registeredAt',
  'startedAt',
  'stoppedAt',
  'stoppingAt',
])

/** Rows keep epoch milliseconds, events show ISO 8601. */
function withInstants(shape: object): Readonly<Record<string, unknown>> {
  return Object.fromEntries(
    Object.entries(shape).map(([name, value]: [string, unknown]) =>
      instantMembers.has(name) && typeof value === 'number' ? [name, toInstant(value)] : [name, value],
    ),
  )
}

function withoutValues(overrides: TaskOverride | undefined): TaskOverride | undefined {
  if (overrides?.containerOverrides === undefined) return overrides
  return {
    ...overrides,
    containerOverrides: overrides.containerOverrides.map(({ environment, ...rest }) =>
      environment === undefined ? rest : { ...rest, environment: environment.map(({ name }) => ({ name })) },
    ),
  }
}

function toInstant(epochMs: number): string {
  return new Date(epochMs).toISOString()
}
