/**
 * What the agent publishes on its telemetry channel, in the official shapes: what containers used, their health, and
 * whether Docker Engine answers. Ten tasks at most in a message, and no message beyond what the other side takes.
 *
 * Source: `reference/ecs-agent.md` section 1.5; amazon-ecs-agent 1.105, ecs-agent/tcs.
 */
import type { PayloadTask } from '../../proto/acs.ts'
import { tasksPerTelemetryMessage } from '../../proto/tcs.ts'
import type {
  ContainerHealth,
  ContainerMetric,
  PublishHealthRequest,
  PublishInstanceStatusRequest,
  PublishMetricsRequest,
  TaskHealth,
  TaskMetric,
} from '../../proto/tcs.ts'
import { definedContainers } from './internal-containers.ts'
import type { TaskFacts } from './view.ts'

export interface Publisher {
  readonly cluster: string
  readonly containerInstance: string
  readonly uuid: () => string
}

export interface MeasuredTask {
  readonly payload: PayloadTask
  readonly facts: TaskFacts
}

/** The part of a metric that was measured; by Docker id. */
export type Measures = ReadonlyMap<string, Omit<ContainerMetric, 'containerName' | 'containerArn'>>

/** The official agent's own bound for a message of metrics. */
const messageCharactersMax = 1024 * 1024

/** One message at least: an idle host says so. `now` is epoch milliseconds. */
export function metricsMessages(
  by: Publisher,
  tasks: readonly MeasuredTask[],
  measures: Measures,
  now: number,
): readonly PublishMetricsRequest[] {
  const running = tasks.filter(({ facts }) => facts.knownStatus === 'RUNNING')
  const metrics = running
    .map((task) => taskMetric(task, measures))
    .filter(({ containerMetrics }) => containerMetrics.length > 0)
  const parts = metrics.length === 0 ? [[]] : partsOf(metrics)
  const { cluster, containerInstance } = by
  return parts.map((taskMetrics, index) => ({
    metadata: {
      cluster,
      containerInstance,
      messageId: by.uuid(),
      idle: running.length === 0,
      fin: index === parts.length - 1,
    },
    ...(taskMetrics.length === 0 ? {} : { taskMetrics }),
    timestamp: now / 1000,
  }))
}

/** None where no container has a health check. */
export function healthMessages(
  by: Publisher,
  tasks: readonly MeasuredTask[],
  now: number,
): readonly PublishHealthRequest[] {
  const health = tasks
    .filter(({ facts }) => facts.knownStatus === 'RUNNING')
    .map((task) => taskHealth(task))
    .filter(({ containers }) => containers.length > 0)
  const parts = partsOf(health)
  const { cluster, containerInstance } = by
  return parts.map((part, index) => ({
    metadata: { cluster, containerInstance, messageId: by.uuid(), fin: index === parts.length - 1 },
    tasks: part,
    timestamp: now / 1000,
  }))
}

/** `silentSince`: since when Docker Engine has not answered, epoch milliseconds; undefined while it does. */
export function instanceStatusMessage(
  by: Publisher,
  { silentSince, changedAt }: { readonly silentSince: number | undefined; readonly changedAt: number },
  now: number,
): PublishInstanceStatusRequest {
  const { cluster, containerInstance } = by
  return {
    metadata: { cluster, containerInstance, requestId: by.uuid() },
    statuses: [
      {
        type: 'ContainerRuntime',
        status: silentSince === undefined ? 'OK' : 'IMPAIRED',
        ...(silentSince === undefined ? {} : { statusReason: 'Docker Engine does not answer' }),
        lastUpdated: now / 1000,
        lastStatusChange: changedAt / 1000,
      },
    ],
    timestamp: now / 1000,
  }
}

function taskMetric({ payload, facts }: MeasuredTask, measures: Measures): TaskMetric {
  return {
    taskArn: payload.arn,
    clusterArn: payload.taskClusterArn,
    taskDefinitionFamily: payload.family,
    taskDefinitionVersion: payload.version,
    containerMetrics: definedContainers(payload).flatMap(({ name, containerArn, restartPolicy }): ContainerMetric[] => {
      const { dockerId, knownStatus, restartCount } = facts.containers[name] ?? {}
      const measured = dockerId === undefined || knownStatus !== 'RUNNING' ? undefined : measures.get(dockerId)
      if (measured === undefined) return []
      const restarts = restartPolicy?.enabled === true ? { restartStatsSet: { restartCount: restartCount ?? 0 } } : {}
      return [{ containerArn, containerName: name, ...measured, ...restarts }]
    }),
  }
}

function taskHealth({ payload, facts }: MeasuredTask): TaskHealth {
  return {
    taskArn: payload.arn,
    taskDefinitionFamily: payload.family,
    taskDefinitionVersion: payload.version,
    containers: definedContainers(payload).flatMap(({ name, healthCheckType }): ContainerHealth[] => {
      if (healthCheckType !== 'docker') return []
      return [{ containerName: name, healthStatus: facts.containers[name]?.healthStatus ?? 'UNKNOWN' }]
    }),
  }
}

/** Parts of ten at most that stay below the bound; a single one beyond it goes alone. */
function partsOf<T extends object>(items: readonly T[]): T[][] {
  const parts: T[][] = []
  let characters = 0
  for (const item of items) {
    const length = JSON.stringify(item).length
    const last = parts.at(-1)
    if (last === undefined || last.length >= tasksPerTelemetryMessage || characters + length > messageCharactersMax) {
      parts.push([item])
      characters = length
    } else {
      last.push(item)
      characters += length
    }
  }
  return parts
}
