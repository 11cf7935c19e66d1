/** What the official agent publishes on its telemetry channel, each frame behind the lines of its signature. */
import type { Engine } from '../../../agent/engine.ts'
import { writeFrame } from '../../../proto/acs.ts'
import type { OfficialTask } from './official-task.ts'

/** Tasks in one message. */
const tasksMax = 10
const headerBlock =
  'Authorization: AWS4-HMAC-SHA256 Credential=simulated\r\nHost: controller:51700\r\nX-Amz-Date: 20270115T080000Z\r\n\r\n'

export interface Publication {
  readonly cluster: string
  readonly containerInstance: string
  readonly engine: Engine
  readonly tasks: readonly OfficialTask[]
  /** A heartbeat came since the last publication, and with it a check of the container runtime. */
  readonly isHealthChecked: boolean
  readonly uuid: () => string
  /** Epoch seconds by the host's clock. */
  readonly seconds: number
}

export interface Telemetry {
  readonly type: string
  /** The frame as it is on the wire. */
  readonly text: string
}

export async function telemetryOf(publication: Publication): Promise<readonly Telemetry[]> {
  const { cluster, containerInstance, tasks, uuid, seconds: timestamp } = publication
  const origin = { cluster, containerInstance }
  const health = await healthOf(publication)
  const isIdle = tasks.length === 0
  const metrics = isIdle ? [[]] : inTens(tasks.map((task) => ({ taskArn: task.payload.arn, containerMetrics: [] })))
  const frames: [string, object][] = metrics.map((taskMetrics, index) => {
    const metadata = { ...origin, messageId: uuid(), idle: isIdle, fin: index === metrics.length - 1 }
    return ['PublishMetricsRequest', { metadata, timestamp, ...(isIdle ? {} : { taskMetrics }) }]
  })
  for (const told of inTens(health)) {
    frames.push([
      'PublishHealthRequest',
      { metadata: { ...origin, messageId: uuid(), fin: true }, tasks: told, timestamp },
    ])
  }
  if (publication.isHealthChecked) {
    const statuses = [
      { type: 'ContainerRuntime', status: 'OK', lastUpdated: timestamp, lastStatusChange: 1_800_000_000 },
    ]
    frames.push(['PublishInstanceStatusRequest', { metadata: { ...origin, requestId: uuid() }, statuses, timestamp }])
  }
  return frames.map(([type, message]) => ({ type, text: headerBlock + writeFrame(type, message) }))
}

/** Of containers with a health check, as the engine shows them now. */
async function healthOf({ tasks, engine, seconds }: Publication): Promise<readonly object[]> {
  const told: object[] = []
  for (const task of tasks) {
    const containers: object[] = []
    for (const { name: containerName } of task.payload.containers.filter((one) => one.healthCheckType === 'docker')) {
      const { dockerId } = task.containers[containerName] ?? {}
      const found = dockerId === undefined ? undefined : await engine.inspectContainer(dockerId).catch(() => undefined)
      const healthStatus = found?.health?.status ?? 'UNKNOWN'
      containers.push({ containerName, healthStatus, statusSince: seconds })
    }
    if (containers.length > 0) told.push({ taskArn: task.payload.arn, containers })
  }
  return told
}

function inTens<T>(items: readonly T[]): readonly (readonly T[])[] {
  const parts: T[][] = []
  for (let at = 0; at < items.length; at += tasksMax) parts.push(items.slice(at, at + tasksMax))
  return parts
}
