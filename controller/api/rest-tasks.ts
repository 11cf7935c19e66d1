/** `/v1/clusters/{cluster}/tasks`, `/v1/tasks/{task}` and its `why`: what runs, how fresh that is, and why it does not. */
import type { FastifyInstance } from 'fastify'
import { idOf } from '../../proto/arn.ts'
import { ApiError } from '../../proto/errors.ts'
import { type DesiredStatus, taskStatuses } from '../../proto/status.ts'
import { explainTask } from '../decide/why.ts'
import { requireCluster } from '../ecs/clusters.ts'
import { describeTask } from '../ecs/describe-task.ts'
import { page } from '../ecs/paging.ts'
import type { TaskContainer, TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import {
  type ClusterParams,
  count,
  errorResponses,
  listSchema,
  type PageQuery,
  pageQuerySchema,
  paramsOf,
  restPageLimits,
  text,
  toInstant,
} from './rest-schema.ts'
import { placementSchema } from './rest-why-schema.ts'
import type { ServerServices } from './services.ts'

const instant = { type: 'string', format: 'date-time' } as const
const texts = { type: 'array', items: text } as const

const bindingSchema = {
  type: 'object',
  properties: {
    bindIP: text,
    containerPort: count,
    hostPort: count,
    protocol: text,
    containerPortRange: text,
    hostPortRange: text,
  },
} as const

const containerSchema = {
  type: 'object',
  required: ['name', 'lastStatus', 'essential'],
  properties: {
    name: text,
    lastStatus: text,
    essential: { type: 'boolean' },
    image: text,
    imageDigest: text,
    runtimeId: text,
    restartCount: { ...count, description: 'How often it was started again in place' },
    exitCode: count,
    reason: text,
    healthStatus: text,
    networkBindings: { type: 'array', items: bindingSchema },
    startedAt: instant,
    finishedAt: instant,
  },
} as const

const taskSchema = {
  type: 'object',
  required: [
    'id',
    'arn',
    'cluster',
    'instanceId',
    'taskDefinition',
    'lastStatus',
    'desiredStatus',
    'fresh',
    'containers',
  ],
  properties: {
    id: text,
    arn: text,
    cluster: text,
    instanceId: text,
    taskDefinition: { ...text, description: 'family:revision' },
    group: text,
    startedBy: text,
    launchType: text,
    lastStatus: { type: 'string', enum: taskStatuses },
    desiredStatus: { type: 'string', enum: ['RUNNING', 'STOPPED'] },
    healthStatus: text,
    connectivity: { type: 'string', enum: ['CONNECTED', 'DISCONNECTED'], description: 'Absent once STOPPED' },
    connectivityAt: instant,
    fresh: { type: 'boolean', description: 'False where the agent is silent: what is shown is what it said last' },
    silentForMs: { ...count, description: "Since the task's agent was last heard. Absent once STOPPED" },
    reportedAt: { ...instant, description: 'When the agent last reported a change of this task' },
    reportAgeMs: count,
    waitingFor: text,
    createdAt: instant,
    startedAt: instant,
    stoppingAt: instant,
    stoppedAt: instant,
    stopCode: text,
    stoppedReason: text,
    containers: { type: 'array', items: containerSchema },
  },
} as const

const whySchema = {
  type: 'object',
  required: ['taskArn', 'state', 'summary', 'facts', 'next', 'containers', 'ages'],
  properties: {
    taskArn: text,
    state: { type: 'string', enum: ['waiting', 'running', 'stopping', 'stopped'] },
    summary: text,
    facts: texts,
    next: texts,
    placement: placementSchema,
    containers: {
      type: 'array',
      items: {
        type: 'object',
        required: ['name', 'lastStatus', 'essential'],
        properties: {
          name: text,
          lastStatus: text,
          essential: { type: 'boolean' },
          restartCount: count,
          exitCode: count,
          exitCodeMeaning: text,
          reason: text,
          healthStatus: text,
          image: text,
          lastLogLines: texts,
        },
      },
    },
    ages: {
      type: 'object',
      description: 'Seconds',
      required: ['created'],
      properties: {
        created: { type: 'number' },
        reported: { type: 'number' },
        connectivity: { type: 'number' },
        stopped: { type: 'number' },
      },
    },
  },
} as const

interface TasksQuery extends PageQuery {
  readonly desiredStatus?: DesiredStatus
}

interface TaskParams {
  readonly task: string
}

/** Stopped tasks that have left memory and still show in a list. Every one of them can be asked for by its id. */
const historyListedMax = 1000

export function registerRestTasks(rest: FastifyInstance, services: ServerServices): void {
  const { turn, clock } = services
  rest.get<{ Params: ClusterParams; Querystring: TasksQuery }>(
    '/clusters/:cluster/tasks',
    {
      config: { action: 'ListTasks' },
      schema: {
        summary: 'The tasks of a cluster, the stopped ones included unless desiredStatus says otherwise',
        params: paramsOf('cluster', 'Name or ARN'),
        querystring: {
          ...pageQuerySchema,
          properties: {
            ...pageQuerySchema.properties,
            desiredStatus: { type: 'string', enum: ['RUNNING', 'STOPPED'] },
          },
        },
        response: { 200: listSchema('tasks', taskSchema), ...errorResponses },
      },
    },
    (request) => {
      const { clusterName } = requireCluster(turn.reader, request.params.cluster)
      const rows = tasksOf(turn.reader, clusterName, request.query.desiredStatus)
      const { items, nextToken } = page(rows, (row) => row.taskId, request.query, restPageLimits)
      return { tasks: items.map((row) => showTask(services, row)), nextToken }
    },
  )
  rest.get<{ Params: TaskParams }>(
    '/tasks/:task',
    {
      config: { action: 'DescribeTasks' },
      schema: {
        summary: 'One task, by id or ARN',
        params: paramsOf('task', 'Id or ARN'),
        response: { 200: { description: 'The task', ...taskSchema }, ...errorResponses },
      },
    },
    (request) => showTask(services, requireTask(turn.reader, request.params.task)),
  )
  rest.get<{ Params: TaskParams }>(
    '/tasks/:task/why',
    {
      config: { action: 'DescribeTasks' },
      schema: {
        summary: 'Why the task is in the state it is in, and what to do next',
        params: paramsOf('task', 'Id or ARN'),
        response: { 200: { description: 'The explanation', ...whySchema }, ...errorResponses },
      },
    },
    (request) => explainTask(turn.reader, requireTask(turn.reader, request.params.task), clock.now()),
  )
}

/** In the order of their ids, which is what the pages go by. */
function tasksOf(reader: Reader, clusterName: string, desiredStatus: DesiredStatus | undefined): readonly TaskRow[] {
  const inMemory = reader.find('task', 'byCluster', clusterName)
  const known = new Set(inMemory.map((row) => row.taskId))
  const archived = desiredStatus === 'RUNNING' ? [] : reader.history.tasksOfCluster(clusterName, historyListedMax)
  return [...inMemory, ...archived.filter((row) => !known.has(row.taskId))]
    .filter((row) => desiredStatus === undefined || row.desiredStatus === desiredStatus)
    .toSorted((one, other) => (one.taskId < other.taskId ? -1 : 1))
}

export function requireTask(reader: Reader, idOrArn: string): TaskRow {
  const taskId = idOf(idOrArn)
  const row = reader.get('task', taskId) ?? reader.history.task(taskId)
  if (row !== undefined) return row
  throw new ApiError(
    'ResourceNotFoundException',
    `There is no task ${JSON.stringify(taskId.slice(0, 100))}: it never was, or it stopped so long ago that it is forgotten.`,
  )
}

function showTask({ turn, clock, lastHeardAt }: ServerServices, row: TaskRow) {
  const { connectivity, connectivityAt } = describeTask(turn.reader, row)
  const isStopped = row.lastStatus === 'STOPPED'
  const heardAt = lastHeardAt(row.instanceId)
  const silentSince = heardAt ?? turn.reader.get('instance', row.instanceId)?.connectivityAt ?? row.createdAt
  return {
    id: row.taskId,
    arn: row.taskArn,
    cluster: row.clusterName,
    instanceId: row.instanceId,
    taskDefinition: idOf(row.taskDefinitionArn),
    group: row.group,
    startedBy: row.startedBy,
    launchType: row.launchType,
    lastStatus: row.lastStatus,
    desiredStatus: row.desiredStatus,
    healthStatus: row.healthStatus,
    connectivity,
    connectivityAt: toInstant(connectivityAt),
    // What a stopped task was is final; what a live one is, only its agent can say, over an open channel.
    fresh: isStopped || (connectivity === 'CONNECTED' && heardAt !== undefined),
    silentForMs: isStopped ? undefined : Math.max(0, clock.now() - silentSince),
    reportedAt: toInstant(row.reportedAt),
    reportAgeMs: row.reportedAt === undefined ? undefined : Math.max(0, clock.now() - row.reportedAt),
    waitingFor: row.waitingFor,
    createdAt: toInstant(row.createdAt),
    startedAt: toInstant(row.startedAt),
    stoppingAt: toInstant(row.stoppingAt),
    stoppedAt: toInstant(row.stoppedAt),
    stopCode: row.stopCode,
    stoppedReason: row.stoppedReason,
    containers: row.containers.map(showContainer),
  }
}

/** Without the last lines of output: those are `why`'s alone. */
function showContainer(container: TaskContainer) {
  const { name, lastStatus, essential, image, imageDigest, runtimeId, exitCode, reason, healthStatus } = container
  return {
    name,
    lastStatus,
    essential,
    image,
    imageDigest,
    runtimeId,
    restartCount: container.restartCount,
    exitCode,
    reason,
    healthStatus,
    networkBindings: container.networkBindings,
    startedAt: toInstant(container.startedAt),
    finishedAt: toInstant(container.finishedAt),
  }
}
