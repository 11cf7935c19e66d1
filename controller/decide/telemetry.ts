/**
 * What the telemetry channel (TCS) does: every publication is acknowledged, health statuses reach the tasks of that very
 * instance, and the instance's own status is kept for CONTAINER_INSTANCE_HEALTH. Metrics are acknowledged; the last ones
 * are kept beside the state (`controller/usage.ts`).
 */
import type { Frame } from '../../proto/acs.ts'
import { idOf } from '../../proto/arn.ts'
import type { InstanceRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { taskAfterHealth } from './report.ts'
import type { SessionInput } from './session.ts'

/** The official agent closes a telemetry channel on which it hears nothing for 60 seconds. */
export const telemetryHeartbeatMs = 20_000
/** An agent publishes every 20 seconds, even when idle: a channel this silent is dead. */
export const telemetrySilenceMaxMs = 180_000

type Health = 'HEALTHY' | 'UNHEALTHY' | 'UNKNOWN'

export interface TelemetryAnswer {
  /** The frame's answer, or undefined for a type that has none. */
  readonly ack: { readonly type: string; readonly message: object } | undefined
  readonly input: SessionInput | undefined
}

export function answerTelemetry(instanceId: string, frame: Frame): TelemetryAnswer {
  switch (frame.type) {
    case 'PublishMetricsRequest':
      return { ack: ackOf('AckPublishMetric'), input: undefined }
    case 'PublishHealthRequest':
      return { ack: ackOf('AckPublishHealth'), input: healthInput(instanceId, frame) }
    case 'PublishInstanceStatusRequest':
      return { ack: ackOf('AckPublishInstanceStatus'), input: instanceStatusInput(instanceId, frame) }
    default:
      return { ack: undefined, input: undefined }
  }
}

function ackOf(type: string): TelemetryAnswer['ack'] {
  return { type, message: { message: 'ok' } }
}

function healthInput(instanceId: string, frame: Frame): SessionInput | undefined {
  const reports = membersOf(frame.message['tasks']).map((task) => ({
    taskId: typeof task['taskArn'] === 'string' ? idOf(task['taskArn']) : '',
    statuses: statusesOf(task['containers']),
  }))
  if (reports.length === 0) return undefined
  return { name: 'taskHealth', run: (tx) => reports.forEach((report) => applyHealth(tx, instanceId, report)) }
}

function applyHealth(
  tx: Transaction,
  instanceId: string,
  { taskId, statuses }: { readonly taskId: string; readonly statuses: ReadonlyMap<string, Health> },
): void {
  const task = tx.get('task', taskId)
  // An agent speaks for its own tasks alone.
  if (task === undefined || task.instanceId !== instanceId) return
  const next = taskAfterHealth(task, statuses, tx.get('taskDefinition', idOf(task.taskDefinitionArn)))
  if (next !== task) tx.put('task', taskId, next)
}

function instanceStatusInput(instanceId: string, frame: Frame): SessionInput | undefined {
  const details = membersOf(frame.message['statuses']).flatMap((each): HealthDetails => {
    const { type } = each
    const status = checkStates.find((state) => state === each['status'])
    // The official agent writes `ContainerRuntime` where the public API's enum has CONTAINER_RUNTIME.
    if ((type !== 'ContainerRuntime' && type !== 'CONTAINER_RUNTIME') || status === undefined) return []
    const lastUpdated = instantOf(each['lastUpdated'])
    const lastStatusChange = instantOf(each['lastStatusChange'])
    return [{ type: 'CONTAINER_RUNTIME', status, lastUpdated, lastStatusChange }]
  })
  const newest = details.slice(-1)
  if (newest.length === 0) return undefined
  return { name: 'instanceHealth', run: (tx) => applyInstanceHealth(tx, instanceId, newest) }
}

const checkStates = ['OK', 'IMPAIRED', 'INSUFFICIENT_DATA', 'INITIALIZING'] as const

type HealthDetails = NonNullable<NonNullable<InstanceRow['healthStatus']>['details']>

function applyInstanceHealth(tx: Transaction, instanceId: string, details: HealthDetails): void {
  const row = tx.get('instance', instanceId)
  if (row === undefined || row.status === 'INACTIVE') return
  const known = row.healthStatus?.details ?? []
  const told = new Set(details.map(({ type }) => type))
  // What this report does not speak of, such as the disk, stays as it is.
  const whole = [...details, ...known.filter(({ type }) => !told.has(type))]
  const overallStatus = whole.find((each) => each.status !== 'OK')?.status ?? 'OK'
  // The time of each check would make every 20 seconds a commit; it is kept when a status changes.
  const isNews =
    row.healthStatus?.overallStatus !== overallStatus ||
    details.some((each) => known.find((old) => old.type === each.type)?.lastStatusChange !== each.lastStatusChange)
  if (isNews) tx.put('instance', instanceId, { ...row, healthStatus: { overallStatus, details: whole } })
}

function statusesOf(containers: unknown): ReadonlyMap<string, Health> {
  const statuses = new Map<string, Health>()
  for (const { containerName, healthStatus } of membersOf(containers)) {
    if (typeof containerName !== 'string') continue
    if (healthStatus === 'HEALTHY' || healthStatus === 'UNHEALTHY' || healthStatus === 'UNKNOWN') {
      statuses.set(containerName, healthStatus)
    }
  }
  return statuses
}

function membersOf(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  if (!Array.isArray(value)) return []
  return value.filter((each) => typeof each === 'object' && each !== null)
}

/** The wire has epoch seconds with a fraction; rows have milliseconds. */
function instantOf(value: unknown): number | undefined {
  return typeof value === 'number' && value >= 0 && value <= 8.64e12 ? Math.round(value * 1000) : undefined
}
