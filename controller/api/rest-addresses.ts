/** `/v1/subnets/{subnetId}/addresses`: who holds which address since when, and the end of a quarantine. */
import type { FastifyInstance } from 'fastify'
import { quarantineMs } from '../decide/address.ts'
import { addressStateOf } from '../decide/subnet-addresses.ts'
import { page } from '../ecs/paging.ts'
import { releaseAddresses, requireSubnet } from '../ecs/subnets.ts'
import type { AddressRow } from '../state/subnet-tables.ts'
import type { Reader } from '../state/transaction.ts'
import {
  errorResponses,
  listSchema,
  type PageQuery,
  pageQuerySchema,
  restPageLimits,
  text,
  toInstant,
} from './rest-schema.ts'
import { showSubnet, type SubnetParams, subnetParams, usageOf } from './rest-subnets.ts'
import type { ServerServices } from './services.ts'

const addressSchema = {
  type: 'object',
  required: ['address', 'macAddress', 'networkInterfaceId', 'owner', 'state', 'containerInstance', 'cluster', 'since'],
  properties: {
    address: text,
    macAddress: text,
    networkInterfaceId: text,
    owner: { type: 'string', enum: ['task', 'host'], description: "A task, or a host's own interface" },
    state: {
      type: 'string',
      enum: ['running', 'starting', 'stopping', 'cutOff', 'host', 'quarantined'],
      description: 'What the owner does; cutOff: of a host whose agent is away, so that it may well be in use',
    },
    taskArn: { ...text, description: 'Absent for a host' },
    group: { ...text, description: "The task's: service:NAME or family:NAME" },
    containerInstance: { ...text, description: 'The id' },
    cluster: text,
    since: { type: 'string', format: 'date-time' },
    quarantinedSince: { type: 'string', format: 'date-time' },
    quarantinedUntil: { type: 'string', format: 'date-time', description: 'When it is free again by itself' },
    quarantineReason: text,
  },
} as const

const listing = listSchema('addresses', addressSchema)
const usage = { type: 'object', additionalProperties: { type: 'integer' } } as const

interface Release {
  readonly addresses?: readonly string[]
  readonly containerInstance?: string
}

export function registerRestAddresses(rest: FastifyInstance, { turn }: ServerServices): void {
  rest.get<{ Params: SubnetParams; Querystring: PageQuery }>(
    '/subnets/:subnetId/addresses',
    {
      config: { action: 'gantry:DescribeAddresses' },
      schema: {
        summary: 'The addresses of a subnet that are held: by whom, since when; and how many are free',
        params: subnetParams,
        querystring: pageQuerySchema,
        response: { 200: withUsage(listing), ...errorResponses },
      },
    },
    ({ params, query }) => {
      const subnet = requireSubnet(turn.reader, params.subnetId)
      const rows = turn.reader.find('address', 'bySubnet', subnet.subnetId)
      const { items, nextToken } = page(rows, (row) => row.address, query, restPageLimits)
      const usageNow = usageOf(turn.reader, subnet)
      return { addresses: items.map((row) => showAddress(turn.reader, row)), usage: usageNow, nextToken }
    },
  )
  rest.post<{ Params: SubnetParams; Body: Release }>(
    '/subnets/:subnetId/release',
    {
      config: { action: 'gantry:ReleaseAddress' },
      schema: {
        summary:
          'Takes addresses out of quarantine: says that nobody uses them any more. Only those of hosts that were ' +
          'deregistered by force are in quarantine',
        params: subnetParams,
        body: {
          type: 'object',
          properties: {
            addresses: { type: 'array', items: text, description: 'The addresses to be released, or' },
            containerInstance: { ...text, description: 'the id of the one whose addresses are to be released' },
          },
        },
        response: {
          200: {
            description: 'What is free again, and the subnet as it is now',
            type: 'object',
            required: ['released', 'subnet'],
            properties: {
              released: { type: 'array', items: text },
              subnet: { type: 'object', additionalProperties: true },
            },
          },
          ...errorResponses,
        },
      },
    },
    async ({ params, body }) => {
      const run = turn.submit({ name: 'releaseAddresses', run: (tx) => releaseAddresses(tx, params.subnetId, body) })
      const released = (await run).map(({ address }) => address)
      return { released, subnet: showSubnet(turn.reader, requireSubnet(turn.reader, params.subnetId)) }
    },
  )
}

function withUsage(list: object): object {
  const { properties } = list as { readonly properties: object }
  return { ...list, properties: { ...properties, usage: { ...usage, description: 'Counts over the whole subnet' } } }
}

function showAddress(reader: Reader, row: AddressRow) {
  const task =
    row.taskId === undefined ? undefined : (reader.get('task', row.taskId) ?? reader.history.task(row.taskId))
  const { quarantine } = row
  return {
    address: row.address,
    macAddress: row.macAddress,
    networkInterfaceId: row.networkInterfaceId,
    owner: row.owner,
    state: addressStateOf(reader, row),
    taskArn: task?.taskArn ?? row.taskId,
    group: task?.group,
    containerInstance: row.instanceId,
    cluster: row.clusterName,
    since: toInstant(row.since),
    quarantinedSince: toInstant(quarantine?.since),
    quarantinedUntil: quarantine === undefined ? undefined : toInstant(quarantine.since + quarantineMs),
    quarantineReason: quarantine?.reason,
  }
}
