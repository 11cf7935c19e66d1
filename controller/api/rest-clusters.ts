/** `/v1/clusters` and `/v1/clusters/{cluster}/instances`: what there is, how full it is, and who is silent. */
import type { FastifyInstance } from 'fastify'
import { engineSilentSince } from '../decide/engine-health.ts'
import { lostAfterMsDefault } from '../decide/instance-loss.ts'
import { attributesOf } from '../decide/operator-changes.ts'
import { instanceResources } from '../decide/resources.ts'
import { requireCluster } from '../ecs/clusters.ts'
import { page } from '../ecs/paging.ts'
import type { ClusterRow, InstanceRow } from '../state/tables.ts'
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
import type { ServerServices } from './services.ts'

export const clusterSchema = {
  type: 'object',
  required: ['name', 'arn', 'status', 'instances', 'tasks', 'lostAfterMs'],
  properties: {
    name: text,
    arn: text,
    status: { type: 'string', enum: ['ACTIVE', 'INACTIVE'] },
    createdAt: { type: 'string', format: 'date-time' },
    instances: {
      type: 'object',
      required: ['registered', 'connected', 'draining', 'lost'],
      properties: { registered: count, connected: count, draining: count, lost: count },
    },
    tasks: { type: 'object', required: ['running', 'pending'], properties: { running: count, pending: count } },
    lostAfterMs: { ...count, description: 'The silence after which the tasks of an instance are replaced' },
    replacementPausedSince: {
      type: 'string',
      format: 'date-time',
      description: 'While so many instances are lost at once that their tasks are not replaced',
    },
    replacementPausedForMs: count,
    defaultSubnetId: { ...text, description: 'The subnet of awsvpc tasks that name none' },
  },
} as const

const amountSchema = {
  type: 'object',
  required: ['registered', 'remaining'],
  properties: { registered: count, remaining: count },
} as const

const instanceSchema = {
  type: 'object',
  required: ['id', 'arn', 'cluster', 'status', 'launchType', 'agentConnected', 'cpuUnits', 'memoryMiB', 'tasks'],
  properties: {
    id: text,
    arn: text,
    cluster: text,
    status: { type: 'string', enum: ['ACTIVE', 'DRAINING', 'INACTIVE'] },
    launchType: { type: 'string', enum: ['EC2', 'EXTERNAL'] },
    agentConnected: { type: 'boolean' },
    connectivityAt: { type: 'string', format: 'date-time', description: 'When agentConnected last changed' },
    lastHeardAt: { type: 'string', format: 'date-time', description: 'Absent where the agent has no open channel' },
    lostSince: { type: 'string', format: 'date-time', description: 'While it counts as lost: its tasks are replaced' },
    engineSilentSince: {
      type: 'string',
      format: 'date-time',
      description: 'While its Docker Engine does not answer: it is given no tasks',
    },
    silentForMs: { ...count, description: 'Since the agent was last heard, or since it was disconnected' },
    agentVersion: text,
    dockerVersion: text,
    gantryProtocol: { type: 'boolean', description: "True for Gantry's own agent" },
    registeredAt: { type: 'string', format: 'date-time' },
    cpuUnits: amountSchema,
    memoryMiB: amountSchema,
    tasks: { type: 'object', required: ['running', 'pending'], properties: { running: count, pending: count } },
    attributes: { type: 'object', additionalProperties: { type: 'string' } },
  },
} as const

export function registerRestClusters(rest: FastifyInstance, services: ServerServices): void {
  const { turn, clock } = services
  rest.get<{ Querystring: PageQuery }>(
    '/clusters',
    {
      config: { action: 'ListClusters' },
      schema: {
        summary: 'The clusters, and how many instances and tasks each has',
        querystring: pageQuerySchema,
        response: { 200: listSchema('clusters', clusterSchema), ...errorResponses },
      },
    },
    (request) => {
      const active = turn.reader.all('cluster').filter((row) => row.status === 'ACTIVE')
      const { items, nextToken } = page(active, (row) => row.clusterName, request.query, restPageLimits)
      return { clusters: items.map((row) => showCluster(turn.reader, row, clock.now())), nextToken }
    },
  )
  rest.get<{ Params: ClusterParams; Querystring: PageQuery }>(
    '/clusters/:cluster/instances',
    {
      config: { action: 'ListContainerInstances' },
      schema: {
        summary: 'The container instances of a cluster, with what is left on each and how fresh that knowledge is',
        params: paramsOf('cluster', 'Name or ARN'),
        querystring: pageQuerySchema,
        response: { 200: listSchema('instances', instanceSchema), ...errorResponses },
      },
    },
    (request) => {
      const { clusterName } = requireCluster(turn.reader, request.params.cluster)
      const rows = turn.reader.find('instance', 'byCluster', clusterName).filter((row) => row.status !== 'INACTIVE')
      const { items, nextToken } = page(rows, (row) => row.instanceId, request.query, restPageLimits)
      return { instances: items.map((row) => showInstance(services, row)), nextToken }
    },
  )
}

export function showCluster(reader: Reader, row: ClusterRow, now: number) {
  const { replacementPausedSince } = row
  const instances = reader.find('instance', 'byCluster', row.clusterName).filter((each) => each.status !== 'INACTIVE')
  const tasks = reader.find('task', 'liveByCluster', row.clusterName)
  return {
    name: row.clusterName,
    arn: row.clusterArn,
    status: row.status,
    createdAt: toInstant(row.createdAt),
    instances: {
      registered: instances.length,
      connected: instances.filter((each) => each.agentConnected).length,
      draining: instances.filter((each) => each.status === 'DRAINING').length,
      lost: instances.filter((each) => each.lostSince !== undefined).length,
    },
    tasks: countTasks(tasks),
    lostAfterMs: row.lostAfterMs ?? lostAfterMsDefault,
    replacementPausedSince: toInstant(replacementPausedSince),
    defaultSubnetId: row.defaultSubnetId,
    replacementPausedForMs:
      replacementPausedSince === undefined ? undefined : Math.max(0, now - replacementPausedSince),
  }
}

function showInstance({ turn, clock, lastHeardAt }: ServerServices, row: InstanceRow) {
  const { registered, remaining } = instanceResources(turn.reader, row)
  const heardAt = lastHeardAt(row.instanceId)
  const silentSince = heardAt ?? row.silentSince ?? row.connectivityAt ?? row.registeredAt
  return {
    id: row.instanceId,
    arn: row.containerInstanceArn,
    cluster: row.clusterName,
    status: row.status,
    launchType: row.launchType,
    agentConnected: row.agentConnected,
    connectivityAt: toInstant(row.connectivityAt),
    lastHeardAt: toInstant(heardAt),
    lostSince: toInstant(row.lostSince),
    engineSilentSince: toInstant(engineSilentSince(row)),
    silentForMs: Math.max(0, clock.now() - silentSince),
    agentVersion: row.versionInfo?.agentVersion,
    dockerVersion: row.versionInfo?.dockerVersion,
    gantryProtocol: row.gantryProtocol,
    registeredAt: toInstant(row.registeredAt),
    cpuUnits: { registered: registered.cpuUnits, remaining: remaining.cpuUnits },
    memoryMiB: { registered: registered.memoryMiB, remaining: remaining.memoryMiB },
    tasks: countTasks(turn.reader.find('task', 'liveByInstance', row.instanceId)),
    attributes: Object.fromEntries(attributesOf(row).map(({ name, value }) => [name ?? '', value ?? ''])),
  }
}

function countTasks(tasks: readonly { readonly lastStatus: string }[]): { running: number; pending: number } {
  const running = tasks.filter((each) => each.lastStatus === 'RUNNING').length
  return { running, pending: tasks.length - running }
}
