/**
 * What each route of the operators' API takes. A route that shows or changes what is ECS's takes ECS's own action, on the
 * resource that the call of that name would take; what is Gantry's own has actions and ARNs of its own. A route that is
 * not here is denied; a test walks all that are served.
 */
import { idOf } from '../../../proto/arn.ts'
import { readInput } from '../../../proto/codec/json.ts'
import type { Reader } from '../../state/transaction.ts'
import type { AccessRow, Place } from '../authorization.ts'
import { builtEcsRows } from './ecs.ts'
import { anywhere } from './ecs-forms.ts'
import { clusterKey } from './ecs-keys.ts'
import { clusterOf, ecsScope, instanceOf, onResource, serviceOf, taskOf } from './ecs-resources.ts'

/** A request as its route reads it. The body is what the route's schema lets pass. */
export interface RestInput {
  readonly params: Readonly<Record<string, string | undefined>>
  readonly query: Readonly<Record<string, unknown>>
  readonly body: unknown
}

type RestRow = AccessRow<RestInput>

/** `arn:aws:gantry:us-east-1:123456789012:subnet/subnet-0a1b2c3d`. */
export function gantryArn({ region, account }: Place, resource: string): string {
  return `arn:aws:gantry:${region}:${account}:${resource}`
}

/** On one thing of Gantry's own, or on any of its kind; `param` is the part of the path that names it. */
function onGantry(action: string, kind: string, param?: string): RestRow {
  return ({ params }, _reader, place) => [
    { action: `gantry:${action}`, resource: gantryArn(place, `${kind}/${param === undefined ? '*' : params[param]}`) },
  ]
}

/** Gantry's own, where there is no one thing that it is about. */
function ofGantry(action: string): RestRow {
  return () => [{ action: `gantry:${action}`, resource: '*' }]
}

/** A route names a task by its id alone, so that the cluster is the task's own. */
function onTask(action: string): RestRow {
  return ({ params }, reader, place) => {
    const row = findTask(reader, params['task'])
    const scope = ecsScope(reader, place, row?.clusterName ?? '*')
    const keys = row === undefined ? {} : clusterKey(scope)
    return [onResource(reader, action, taskOf(scope, params['task']), keys)]
  }
}

function findTask(reader: Reader, idOrArn = '') {
  const taskId = idOf(idOrArn)
  return reader.get('task', taskId) ?? reader.history.task(taskId)
}

/** On the role itself, under its own ARN. */
function onRole(action: string): RestRow {
  return ({ params }, reader, { account }) => {
    const name = params['role'] ?? ''
    const resource = reader.get('role', name)?.Arn ?? `arn:aws:iam::${account}:role/${name}`
    return [{ action: `gantry:${action}`, resource }]
  }
}

function onCluster(action: string): RestRow {
  return ({ params }, reader, place) => [
    onResource(reader, `ecs:${action}`, clusterOf(ecsScope(reader, place, params['cluster']))),
  ]
}

/** The lists tell of each what its Describe does, where ECS's own tell ARNs alone: so they take both. */
const listClusters: RestRow = (_input, reader, place) => [
  ...anywhere('ListClusters'),
  onResource(reader, 'ecs:DescribeClusters', clusterOf(ecsScope(reader, place, '*'))),
]

const listTasks: RestRow = ({ params }, reader, place) => {
  const scope = ecsScope(reader, place, params['cluster'])
  const keys = clusterKey(scope)
  return [
    onResource(reader, 'ecs:ListTasks', instanceOf(scope, undefined), keys),
    onResource(reader, 'ecs:DescribeTasks', taskOf(scope, undefined), keys),
  ]
}

const listInstances: RestRow = ({ params }, reader, place) => {
  const scope = ecsScope(reader, place, params['cluster'])
  const instances = instanceOf(scope, undefined)
  return [
    onResource(reader, 'ecs:ListContainerInstances', clusterOf(scope)),
    onResource(reader, 'ecs:DescribeContainerInstances', instances, clusterKey(scope)),
  ]
}

const describeService: RestRow = ({ params }, reader, place) => {
  const scope = ecsScope(reader, place, params['cluster'])
  return [onResource(reader, 'ecs:DescribeServices', serviceOf(scope, params['service']), clusterKey(scope))]
}

/** Events of every cluster, unless the query asks for one, or for one service of one. */
const readEvents: RestRow = ({ query }, reader, place) => {
  const [cluster, service] = [textOf(query['cluster']), textOf(query['service'])]
  const scope = ecsScope(reader, place, cluster ?? '*')
  const keys = cluster === undefined ? {} : clusterKey(scope)
  return [onResource(reader, 'ecs:DescribeServices', serviceOf(scope, service), keys)]
}

/** A plan takes what the call that it plans would take; of none, or of several, the route itself says what is wrong. */
const plan: RestRow = ({ body }, reader, place, principal) => {
  const { runTask, createService, updateService } = membersOf(body)
  const { RunTask, CreateService, UpdateService } = builtEcsRows
  if ([runTask, createService, updateService].filter((each) => each !== undefined).length !== 1) {
    return anywhere('RunTask')
  }
  if (runTask !== undefined) return RunTask(readInput('RunTask', runTask), reader, place, principal)
  if (createService !== undefined) {
    return CreateService(readInput('CreateService', createService), reader, place, principal)
  }
  return UpdateService(readInput('UpdateService', updateService), reader, place, principal)
}

/** Objects of S3's are authorised as in S3, by the role that fetches them. */
const environmentFile: RestRow = ({ query }) => [{ action: 's3:GetObject', resource: textOf(query['arn']) ?? '*' }]

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? { ...value } : {}
}

const fileSystem = 'file-system'
const fileSystemId = 'fileSystemId'

/** By method and route. */
export const restRows: Readonly<Record<string, RestRow>> = {
  'GET /v1/clusters': listClusters,
  'GET /v1/clusters/:cluster/instances': listInstances,
  'GET /v1/clusters/:cluster/tasks': listTasks,
  'PATCH /v1/clusters/:cluster': onCluster('UpdateCluster'),
  'POST /v1/clusters/:cluster/resume-replacement': onCluster('UpdateCluster'),
  'GET /v1/tasks/:task': onTask('ecs:DescribeTasks'),
  'GET /v1/tasks/:task/why': onTask('ecs:DescribeTasks'),
  'GET /v1/tasks/:task/usage': onTask('ecs:DescribeTasks'),
  'GET /v1/tasks/:task/logs': onTask('gantry:GetTaskLogs'),
  'GET /v1/services/:cluster/:service/why': describeService,
  'GET /v1/events': readEvents,
  'POST /v1/plan': plan,
  'GET /v1/environment-files': environmentFile,
  'GET /v1/subnets': ofGantry('DescribeSubnets'),
  'POST /v1/subnets': ofGantry('CreateSubnet'),
  'GET /v1/subnets/:subnetId': onGantry('DescribeSubnets', 'subnet', 'subnetId'),
  'PATCH /v1/subnets/:subnetId': onGantry('UpdateSubnet', 'subnet', 'subnetId'),
  'DELETE /v1/subnets/:subnetId': onGantry('DeleteSubnet', 'subnet', 'subnetId'),
  'GET /v1/subnets/:subnetId/addresses': onGantry('DescribeAddresses', 'subnet', 'subnetId'),
  'POST /v1/subnets/:subnetId/release': onGantry('ReleaseAddress', 'subnet', 'subnetId'),
  'GET /v1/file-systems': ofGantry('DescribeFileSystems'),
  'POST /v1/file-systems': ofGantry('CreateFileSystem'),
  'GET /v1/file-systems/:fileSystemId': onGantry('DescribeFileSystems', fileSystem, fileSystemId),
  'PATCH /v1/file-systems/:fileSystemId': onGantry('UpdateFileSystem', fileSystem, fileSystemId),
  'DELETE /v1/file-systems/:fileSystemId': onGantry('DeleteFileSystem', fileSystem, fileSystemId),
  'GET /v1/file-systems/:fileSystemId/access-points': onGantry('DescribeAccessPoints', fileSystem, fileSystemId),
  'POST /v1/file-systems/:fileSystemId/access-points': onGantry('CreateAccessPoint', fileSystem, fileSystemId),
  'GET /v1/file-systems/:fileSystemId/access-points/:accessPointId': onGantry(
    'DescribeAccessPoints',
    fileSystem,
    fileSystemId,
  ),
  'DELETE /v1/file-systems/:fileSystemId/access-points/:accessPointId': onGantry(
    'DeleteAccessPoint',
    fileSystem,
    fileSystemId,
  ),
  'GET /v1/hosts': ofGantry('ListHosts'),
  'GET /v1/hosts/events': ofGantry('ListHosts'),
  'GET /v1/hosts/:hostId': onGantry('ListHosts', 'host', 'hostId'),
  'POST /v1/hosts/:hostId/revoke': onGantry('RevokeHost', 'host', 'hostId'),
  'DELETE /v1/hosts/:hostId': onGantry('ForgetHost', 'host', 'hostId'),
  // A host's own: whose keys are changed is said by those that sign.
  'POST /v1/hosts/self/keys': ofGantry('ChangeHostKeys'),
  'GET /v1/join-tokens': ofGantry('ListJoinTokens'),
  'POST /v1/join-tokens': ofGantry('CreateJoinToken'),
  'DELETE /v1/join-tokens/:tokenId': onGantry('DeleteJoinToken', 'join-token', 'tokenId'),
  'GET /v1/audit': ofGantry('LookupAudit'),
  'POST /v1/roles/:role/revoke-sessions': onRole('RevokeRoleSessions'),
  'GET /v1/secret-keys': ofGantry('ListSecretKeys'),
  'POST /v1/secret-keys/reseal': ofGantry('ResealSecrets'),
}
