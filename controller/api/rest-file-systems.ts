/** `/v1/file-systems` and their access points: what `efsVolumeConfiguration` of a task definition may name. */
import type { FastifyInstance } from 'fastify'
import { describeTarget, isEncryptedInTransit } from '../decide/file-system-mount.ts'
import {
  accessPointsOf,
  createAccessPoint,
  createFileSystem,
  deleteAccessPoint,
  deleteFileSystem,
  type FileSystemInput,
  requireAccessPoint,
  requireFileSystem,
  updateFileSystem,
  usersOf,
} from '../ecs/file-systems.ts'
import type { AccessPointInput } from '../ecs/file-system-targets.ts'
import { page } from '../ecs/paging.ts'
import type { AccessPointRow, FileSystemRow } from '../state/file-system-tables.ts'
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

interface FileSystemParams {
  readonly fileSystemId: string
}

interface AccessPointParams extends FileSystemParams {
  readonly accessPointId: string
}

const flag = { type: 'boolean' } as const
const texts = { type: 'array', items: text } as const
const opts = { type: 'object', additionalProperties: text } as const

const targetSchema = {
  type: 'object',
  required: ['kind'],
  properties: {
    kind: { ...text, description: 'nfs, cifs, glusterfs, volume or path. Each takes some of the members below' },
    server: { ...text, description: 'nfs, cifs: host name or address' },
    export: { ...text, description: 'nfs: the directory that the server exports' },
    share: { ...text, description: 'cifs: the name of the share' },
    options: { ...text, description: 'nfs, cifs: mount options, separated by commas, over the defaults' },
    credentialsFile: {
      ...text,
      description: 'cifs: a file on each host, readable for root alone, with username=, password= and domain= lines',
    },
    servers: { ...texts, description: 'glusterfs' },
    volume: { ...text, description: 'glusterfs: the name of the Gluster volume' },
    driver: { ...text, description: 'volume, glusterfs: the Docker volume driver on the hosts' },
    driverOpts: { ...opts, description: 'volume: values may hold {rootDirectory}, {uid} and {gid}. No secrets' },
    volumeName: { ...text, description: 'volume: the Docker volume, where its name means something to the driver' },
    path: { ...text, description: 'path: a directory on every host' },
    mustBeMounted: {
      ...flag,
      description: 'path: whether a file system has to be mounted there for a task to start; true where left out',
    },
  },
} as const

const fileSystemSchema = {
  type: 'object',
  required: ['fileSystemId', 'target', 'description', 'encryptedInTransit', 'accessPoints', 'createdAt'],
  properties: {
    fileSystemId: text,
    name: text,
    target: targetSchema,
    description: { ...text, description: 'The target in one line, as reasons name it' },
    encryptedInTransit: { ...flag, description: 'Whether transitEncryption ENABLED is accepted' },
    accessPoints: count,
    createdAt: { type: 'string', format: 'date-time' },
    usedBy: { ...texts, description: 'Task definitions that name it and are ACTIVE or run. Only for one file system' },
  },
} as const

const posixUserSchema = {
  type: 'object',
  required: ['uid', 'gid'],
  properties: { uid: count, gid: count, secondaryGids: { type: 'array', items: count } },
} as const

const creationInfoSchema = {
  type: 'object',
  required: ['ownerUid', 'ownerGid', 'permissions'],
  properties: { ownerUid: count, ownerGid: count, permissions: { ...text, description: 'Octal, as 0755' } },
} as const

const accessPointMembers = {
  name: text,
  path: { ...text, description: 'The directory that tasks see as the root' },
  posixUser: { ...posixUserSchema, description: 'As whom tasks read and write' },
  creationInfo: { ...creationInfoSchema, description: 'Makes the directory where it is missing' },
} as const

const accessPointSchema = {
  type: 'object',
  required: ['accessPointId', 'fileSystemId', 'path', 'createdAt'],
  properties: {
    accessPointId: text,
    fileSystemId: text,
    ...accessPointMembers,
    createdAt: { type: 'string', format: 'date-time' },
  },
} as const

const fileSystemParams = paramsOf('fileSystemId', '`fs-` and 17 hex digits')
const accessPointParams = {
  type: 'object',
  required: ['fileSystemId', 'accessPointId'],
  properties: { fileSystemId: text, accessPointId: { ...text, description: '`fsap-` and 17 hex digits' } },
} as const

const inputMembers = { name: text, target: targetSchema, encryptedInTransit: flag } as const
const shownResponse = { 200: { description: 'The file system', ...fileSystemSchema }, ...errorResponses }
const gone = { 204: { description: 'It is gone', type: 'null' }, ...errorResponses } as const

export function registerRestFileSystems(rest: FastifyInstance, services: ServerServices): void {
  registerLists(rest, services)
  registerFileSystemChanges(rest, services)
  registerAccessPoints(rest, services)
}

function registerLists(rest: FastifyInstance, { turn }: ServerServices): void {
  rest.get<{ Querystring: PageQuery }>(
    '/file-systems',
    {
      config: { action: 'gantry:DescribeFileSystems' },
      schema: {
        summary: 'The file systems that tasks may share',
        querystring: pageQuerySchema,
        response: { 200: listSchema('fileSystems', fileSystemSchema), ...errorResponses },
      },
    },
    ({ query }) => {
      const rows = turn.reader.all('fileSystem')
      const { items, nextToken } = page(rows, (row) => row.fileSystemId, query, restPageLimits)
      return { fileSystems: items.map((row) => showFileSystem(turn.reader, row)), nextToken }
    },
  )
  rest.get<{ Params: FileSystemParams }>(
    '/file-systems/:fileSystemId',
    {
      config: { action: 'gantry:DescribeFileSystems' },
      schema: { summary: 'One file system, and who uses it', params: fileSystemParams, response: shownResponse },
    },
    ({ params }) => {
      const row = requireFileSystem(turn.reader, params.fileSystemId)
      const usedBy = usersOf(turn.reader, row.fileSystemId).map(({ family, revision }) => `${family}:${revision}`)
      return { ...showFileSystem(turn.reader, row), usedBy }
    },
  )
}

function registerFileSystemChanges(rest: FastifyInstance, { turn, world }: ServerServices): void {
  rest.post<{ Body: FileSystemInput }>(
    '/file-systems',
    {
      config: { action: 'gantry:CreateFileSystem' },
      schema: {
        summary: 'Registers a file system: tasks mount it by its id on whichever host they run',
        body: { type: 'object', required: ['target'], properties: inputMembers },
        response: shownResponse,
      },
    },
    async ({ body }) => {
      const run = turn.submit({
        name: 'createFileSystem',
        run: (tx, now) => createFileSystem(tx, body, now, world),
      })
      return showFileSystem(turn.reader, await run)
    },
  )
  rest.patch<{ Params: FileSystemParams; Body: Partial<FileSystemInput> }>(
    '/file-systems/:fileSystemId',
    {
      config: { action: 'gantry:UpdateFileSystem' },
      schema: {
        summary: 'Changes its name or where it lies, for tasks that start from now on. Its kind and driver stay',
        params: fileSystemParams,
        body: { type: 'object', properties: inputMembers },
        response: shownResponse,
      },
    },
    async ({ params, body }) => {
      const run = turn.submit({
        name: 'updateFileSystem',
        run: (tx) => updateFileSystem(tx, params.fileSystemId, body),
      })
      return showFileSystem(turn.reader, await run)
    },
  )
  rest.delete<{ Params: FileSystemParams }>(
    '/file-systems/:fileSystemId',
    {
      config: { action: 'gantry:DeleteFileSystem' },
      schema: {
        summary: 'Forgets a file system that nobody uses; its data stays where it is',
        params: fileSystemParams,
        response: gone,
      },
    },
    async ({ params }, reply) => {
      await turn.submit({ name: 'deleteFileSystem', run: (tx) => deleteFileSystem(tx, params.fileSystemId) })
      return reply.code(204).send(null)
    },
  )
}

function registerAccessPoints(rest: FastifyInstance, { turn, world }: ServerServices): void {
  const shown = { 200: { description: 'The access point', ...accessPointSchema }, ...errorResponses }
  rest.get<{ Params: FileSystemParams; Querystring: PageQuery }>(
    '/file-systems/:fileSystemId/access-points',
    {
      config: { action: 'gantry:DescribeAccessPoints' },
      schema: {
        summary: 'The access points of a file system',
        params: fileSystemParams,
        querystring: pageQuerySchema,
        response: { 200: listSchema('accessPoints', accessPointSchema), ...errorResponses },
      },
    },
    ({ params, query }) => {
      const { fileSystemId } = requireFileSystem(turn.reader, params.fileSystemId)
      const rows = accessPointsOf(turn.reader, fileSystemId)
      const { items, nextToken } = page(rows, (row) => row.accessPointId, query, restPageLimits)
      return { accessPoints: items.map(showAccessPoint), nextToken }
    },
  )
  rest.post<{ Params: FileSystemParams; Body: AccessPointInput }>(
    '/file-systems/:fileSystemId/access-points',
    {
      config: { action: 'gantry:CreateAccessPoint' },
      schema: {
        summary: 'Makes an access point: a directory of the file system, and as whom tasks use it. It never changes',
        params: fileSystemParams,
        body: { type: 'object', required: ['path'], properties: accessPointMembers },
        response: shown,
      },
    },
    async ({ params, body }) => {
      const run = turn.submit({
        name: 'createAccessPoint',
        run: (tx, now) => createAccessPoint(tx, params.fileSystemId, body, now, world),
      })
      return showAccessPoint(await run)
    },
  )
  rest.get<{ Params: AccessPointParams }>(
    '/file-systems/:fileSystemId/access-points/:accessPointId',
    {
      config: { action: 'gantry:DescribeAccessPoints' },
      schema: { summary: 'One access point', params: accessPointParams, response: shown },
    },
    ({ params }) => showAccessPoint(requireAccessPoint(turn.reader, params.fileSystemId, params.accessPointId)),
  )
  rest.delete<{ Params: AccessPointParams }>(
    '/file-systems/:fileSystemId/access-points/:accessPointId',
    {
      config: { action: 'gantry:DeleteAccessPoint' },
      schema: {
        summary: 'Forgets an access point that nobody uses; its directory stays where it is',
        params: accessPointParams,
        response: gone,
      },
    },
    async ({ params }, reply) => {
      const { fileSystemId, accessPointId } = params
      await turn.submit({
        name: 'deleteAccessPoint',
        run: (tx) => deleteAccessPoint(tx, fileSystemId, accessPointId),
      })
      return reply.code(204).send(null)
    },
  )
}

function showFileSystem(reader: Reader, row: FileSystemRow) {
  return {
    fileSystemId: row.fileSystemId,
    name: row.name,
    target: row.target,
    description: describeTarget(row.target),
    encryptedInTransit: isEncryptedInTransit(row),
    accessPoints: reader.count('accessPoint', 'byFileSystem', row.fileSystemId),
    createdAt: toInstant(row.createdAt),
  }
}

function showAccessPoint({ createdAt, ...row }: AccessPointRow) {
  return { ...row, createdAt: toInstant(createdAt) }
}
