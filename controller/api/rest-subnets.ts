/** `/v1/subnets`: the networks that tasks with an address of their own (network mode awsvpc) are attached to. */
import type { FastifyInstance } from 'fastify'
import { addressesFree, addressesTotal, allocatableIn } from '../decide/subnet-addresses.ts'
import { page } from '../ecs/paging.ts'
import { attachmentLimits } from '../ecs/subnet-attachment-rules.ts'
import type { SubnetInput } from '../ecs/subnet-rules.ts'
import { createSubnet, deleteSubnet, requireSubnet, updateSubnet } from '../ecs/subnets.ts'
import type { SubnetRow } from '../state/subnet-tables.ts'
import type { Reader } from '../state/transaction.ts'
import {
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

export interface SubnetParams {
  readonly subnetId: string
}

export const subnetParams = paramsOf('subnetId', '`subnet-` and 17 hex digits, or what was chosen')

const texts = { type: 'array', items: text } as const
/** A change with null takes the member away. */
const nullableText = { type: ['string', 'null'] } as const

const attachmentSchema = {
  type: 'object',
  required: ['kind'],
  description: 'How hosts are attached to it',
  properties: {
    kind: { ...text, description: 'macvlan (the LAN itself), bridge (each host alone) or vxlan (the hosts joined)' },
    parent: {
      ...text,
      description: 'macvlan: the interface of the hosts, such as eth0. vxlan: absent, the default route',
    },
    vlan: { ...count, description: 'macvlan: the VLAN of the parent, 1 to 4094' },
    networkId: { ...count, description: 'vxlan: its number, 1 to 16777215' },
    multicastGroup: { ...text, description: 'vxlan: an address of 239.0.0.0/8 by which the hosts find each other' },
  },
} as const

const tagsSchema = {
  type: 'array',
  items: { type: 'object', properties: { key: text, value: text } },
} as const

const shapes = {
  cidr: { ...text, description: 'The block of its addresses in canonical form, 10.0.0.0/24; /16 to /28' },
  ranges: {
    ...texts,
    description: 'What may be given out: 10.0.0.100-10.0.0.150 or one address, at most 100. Absent: all of cidr',
  },
  reservedAddresses: { ...texts, description: 'At most 100 addresses inside the ranges that are never given out' },
  attachment: attachmentSchema,
  dnsServers: { ...texts, description: 'IPv4 addresses, at most 3; none: those of the host' },
  searchDomains: { ...texts, description: 'At most 6; the first is the domain of the tasks' },
  assignPublicIp: {
    type: 'string',
    enum: ['refused', 'lan'],
    description:
      'What becomes of assignPublicIp ENABLED; lan: a macvlan address is one of the LAN, and counts as public',
  },
  tags: tagsSchema,
} as const

const inputMembers = {
  subnetId: { ...text, description: '`subnet-` and up to 40 small letters and digits; absent: one is made' },
  name: nullableText,
  ...shapes,
  gateway: {
    ...nullableText,
    description: 'macvlan: the router; absent: no way out. bridge: absent, its first address. Not for vxlan',
  },
  availabilityZone: { ...nullableText, description: 'Only hosts of that zone (ecs.availability-zone) are attached' },
  mtu: { type: ['integer', 'null'], description: '576 to 9216' },
} as const

const usageSchema = {
  type: 'object',
  required: ['total', 'free', 'tasks', 'hosts', 'quarantined'],
  properties: {
    total: { ...count, description: 'Of its ranges, less the gateway and the reserved ones' },
    free: count,
    tasks: count,
    hosts: { ...count, description: "Of the hosts' own interfaces, one for each host with tasks there" },
    quarantined: {
      ...count,
      description: 'Of hosts that were deregistered by force: nobody knows whether they are in use',
    },
    outside: { ...count, description: 'Held ones that the ranges no longer name: they are not given out again' },
  },
} as const

const subnetSchema = {
  type: 'object',
  required: ['subnetId', ...Object.keys(shapes), 'addresses', 'limits', 'createdAt'],
  properties: {
    subnetId: text,
    name: text,
    ...shapes,
    gateway: text,
    availabilityZone: text,
    mtu: count,
    addresses: usageSchema,
    limits: { ...texts, description: 'What an attachment of this kind can not do' },
    createdAt: { type: 'string', format: 'date-time' },
  },
} as const

const shown = { 200: { description: 'The subnet', ...subnetSchema }, ...errorResponses }

export function registerRestSubnets(rest: FastifyInstance, services: ServerServices): void {
  registerReads(rest, services)
  registerChanges(rest, services)
}

function registerReads(rest: FastifyInstance, { turn }: ServerServices): void {
  rest.get<{ Querystring: PageQuery }>(
    '/subnets',
    {
      config: { action: 'gantry:DescribeSubnets' },
      schema: {
        summary: 'The subnets for tasks with an address of their own, and how full each is',
        querystring: pageQuerySchema,
        response: { 200: listSchema('subnets', subnetSchema), ...errorResponses },
      },
    },
    ({ query }) => {
      const { items, nextToken } = page(turn.reader.all('subnet'), (row) => row.subnetId, query, restPageLimits)
      return { subnets: items.map((row) => showSubnet(turn.reader, row)), nextToken }
    },
  )
  rest.get<{ Params: SubnetParams }>(
    '/subnets/:subnetId',
    {
      config: { action: 'gantry:DescribeSubnets' },
      schema: { summary: 'One subnet', params: subnetParams, response: shown },
    },
    ({ params }) => showSubnet(turn.reader, requireSubnet(turn.reader, params.subnetId)),
  )
}

function registerChanges(rest: FastifyInstance, { turn }: ServerServices): void {
  rest.post<{ Body: SubnetInput }>(
    '/subnets',
    {
      config: { action: 'gantry:CreateSubnet' },
      schema: {
        summary: 'Makes a subnet. Its addresses come from Gantry alone: no DHCP server may give them out too',
        body: { type: 'object', required: ['cidr', 'attachment'], properties: inputMembers },
        response: shown,
      },
    },
    async ({ body }) => {
      const run = turn.submit({ name: 'createSubnet', run: (tx, now, world) => createSubnet(tx, body, now, world) })
      return showSubnet(turn.reader, await run)
    },
  )
  rest.patch<{ Params: SubnetParams; Body: Partial<SubnetInput> }>(
    '/subnets/:subnetId',
    {
      config: { action: 'gantry:UpdateSubnet' },
      schema: {
        summary:
          'Changes what is given, for tasks that start from now on. cidr, gateway, attachment and mtu only while no ' +
          'address is in use',
        params: subnetParams,
        body: { type: 'object', properties: inputMembers },
        response: shown,
      },
    },
    async ({ params, body }) => {
      const run = turn.submit({ name: 'updateSubnet', run: (tx) => updateSubnet(tx, params.subnetId, body) })
      return showSubnet(turn.reader, await run)
    },
  )
  rest.delete<{ Params: SubnetParams }>(
    '/subnets/:subnetId',
    {
      config: { action: 'gantry:DeleteSubnet' },
      schema: {
        summary: 'Deletes a subnet that nobody uses: no address, no service, no cluster by default',
        params: subnetParams,
        response: { 204: { description: 'It is gone', type: 'null' }, ...errorResponses },
      },
    },
    async ({ params }, reply) => {
      await turn.submit({ name: 'deleteSubnet', run: (tx) => deleteSubnet(tx, params.subnetId) })
      return reply.code(204).send(null)
    },
  )
}

export function showSubnet(reader: Reader, row: SubnetRow) {
  return {
    subnetId: row.subnetId,
    name: row.name,
    cidr: row.cidr,
    gateway: row.gateway,
    ranges: row.ranges.map(({ first, last }) => (first === last ? first : `${first}-${last}`)),
    reservedAddresses: row.reservedAddresses,
    availabilityZone: row.availabilityZone,
    attachment: row.attachment,
    dnsServers: row.dnsServers,
    searchDomains: row.searchDomains,
    assignPublicIp: row.assignPublicIp,
    mtu: row.mtu,
    tags: row.tags,
    addresses: usageOf(reader, row),
    limits: attachmentLimits(row.attachment),
    createdAt: toInstant(row.createdAt),
  }
}

export function usageOf(reader: Reader, subnet: SubnetRow) {
  const rows = reader.find('address', 'bySubnet', subnet.subnetId)
  const held = rows.filter(({ quarantine }) => quarantine === undefined)
  const isAllocatable = allocatableIn(subnet)
  const outside = rows.filter(({ address }) => !isAllocatable(address)).length
  return {
    total: addressesTotal(subnet),
    free: addressesFree(reader, subnet),
    tasks: held.filter(({ owner }) => owner === 'task').length,
    hosts: held.filter(({ owner }) => owner === 'host').length,
    quarantined: rows.length - held.length,
    ...(outside > 0 && { outside }),
  }
}
