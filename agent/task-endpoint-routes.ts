/**
 * What the task endpoint answers to which path: task metadata v2, v3 and v4, stats, credentials, task protection. Paths,
 * status codes and bodies are the official agent's.
 *
 * Source: amazon-ecs-agent 1.105, `ecs-agent/tmds/handlers`; `reference/ecs-agent.md` section 7.2.
 */
import { keysAnswer, keysNotThere, noCredentialsId, unknownCredentialsId } from './credentials-endpoint.ts'
import type { CredentialsVersion } from './credentials-endpoint.ts'
import { definedContainers } from './decide/internal-containers.ts'
import { containerMetadata, taskMetadata } from './decide/task-metadata.ts'
import type { MetadataHost, MetadataVersion } from './decide/task-metadata.ts'
import type { ControllerApi } from './controller-api.ts'
import type { CallApi } from './ecs-api.ts'
import type { CgroupLayout } from './cgroup-files.ts'
import type { ResourceTags } from './resource-tags.ts'
import { statsDocument } from './stats-document.ts'
import { statsTargetOf } from './stats-targets.ts'
import type { Stats } from './stats.ts'
import { methodNotAllowed, notFound } from './task-endpoint-answers.ts'
import type { EndpointAnswer } from './task-endpoint-answers.ts'
import { containerOf, isItself, isOfTask, upToDate } from './task-endpoint-callers.ts'
import { taskOfAccessKey, taskOfAddress, taskOfCredentials } from './task-endpoint-callers.ts'
import type { Caller, InspectContainer } from './task-endpoint-callers.ts'
import type { RoleCredentials } from './role-credentials.ts'
import type { IsHeldBy } from './socket-owner.ts'
import { answerApiCall } from './task-api.ts'
import type { TaskApiRequest } from './task-api.ts'
import {
  answerProtection,
  protectionOfNobody,
  protectionWithoutRole,
  readProtectionRequest,
} from './task-protection.ts'
import type { TurnTask } from './turn-options.ts'

export interface EndpointSources {
  readonly tasks: () => readonly TurnTask[]
  readonly host: MetadataHost & { readonly containerInstanceArn: () => string | undefined }
  readonly inspect: InspectContainer
  readonly isHeldBy: IsHeldBy
  readonly api: ControllerApi
  readonly roleCredentials: RoleCredentials
  /** Told of each answer to a request for keys. */
  readonly onKeysAsked: (asked: KeysAsked) => void
  readonly tags: ResourceTags
  readonly stats: Pick<Stats, 'samplesOf' | 'usedBefore'>
  readonly layout: CgroupLayout
  readonly cpus: number
  readonly now: () => number
}

/** For the record of who was given keys, and who asked in vain. */
export interface KeysAsked {
  readonly status: number
  readonly version: CredentialsVersion
  readonly address: string
  readonly userAgent: string
  /** Where the task is known. */
  readonly taskArn?: string | undefined
  readonly roleArn?: string | undefined
}

export interface EndpointRequest {
  readonly method: string
  /** Clean, and decoded no further than Node does. */
  readonly path: string
  readonly query: URLSearchParams
  /** Where it comes from. */
  readonly address: string
  readonly port: number
  readonly userAgent: string
  readonly body: string
}

export async function endpointAnswer(sources: EndpointSources, request: EndpointRequest): Promise<EndpointAnswer> {
  const [version, first = '', ...rest] = request.path.slice(1).split('/')
  switch (version) {
    case 'v1':
      return first === 'credentials' && rest.length === 0
        ? answerCredentials(sources, request, 1, request.query.get('id') ?? '')
        : notFound
    case 'v2':
      if (first === 'credentials') return answerCredentials(sources, request, 2, rest.join('/'))
      return answerByAddress(sources, request, first, rest)
    case 'v3':
    case 'v4':
      return answerMetadata(sources, request, version, first, rest)
    case 'api':
      return answerApi(sources, request, first, rest.join('/'))
    default:
      return notFound
  }
}

/** The caller with its task as it is now; undefined where the id is nobody's, or another's. */
async function admitted(
  sources: EndpointSources,
  found: Caller | undefined,
  address: string,
): Promise<Caller | undefined> {
  if (found === undefined) return undefined
  const task = await upToDate(found.task, sources.inspect)
  return isItself({ task, container: found.container }, address) ? { ...found, task } : undefined
}

async function answerCredentials(
  sources: EndpointSources,
  request: EndpointRequest,
  version: CredentialsVersion,
  credentialsId: string,
): Promise<EndpointAnswer> {
  const { address, userAgent } = request
  const found = taskOfCredentials(sources.tasks(), credentialsId)
  const task = found === undefined ? undefined : await ownTask(sources, found, request)
  const { taskArn, roles } = task?.facts ?? {}
  const keys = task === undefined ? undefined : sources.roleCredentials.keysOf(credentialsId, sources.now())
  const answer = ((): EndpointAnswer => {
    if (credentialsId === '') return noCredentialsId(version)
    if (task === undefined) return unknownCredentialsId(version)
    return keys === undefined ? keysNotThere(version) : keysAnswer(keys)
  })()
  const { status } = answer
  sources.onKeysAsked({ status, version, address, userAgent, taskArn, roleArn: roles?.task?.roleArn })
  return answer
}

/** The task as it is now, where the request comes from one of its containers. */
async function ownTask(
  sources: EndpointSources,
  found: TurnTask,
  { address, port }: EndpointRequest,
): Promise<TurnTask | undefined> {
  const task = await upToDate(found, sources.inspect)
  return isOfTask(task, { address, port }, sources.isHeldBy) ? task : undefined
}

/** A call of the controller's API, by a container of a task with a role. */
export async function answerTaskApi(
  sources: EndpointSources,
  request: EndpointRequest,
  call: TaskApiRequest,
): Promise<EndpointAnswer> {
  const admit = async (accessKeyId: string): Promise<TurnTask | undefined> => {
    const found = taskOfAccessKey(sources.tasks(), accessKeyId, sources.now())
    return found === undefined ? undefined : ownTask(sources, found, request)
  }
  return answerApiCall({ api: sources.api, admit }, call)
}

async function answerMetadata(
  sources: EndpointSources,
  request: EndpointRequest,
  version: 'v3' | 'v4',
  endpointId: string,
  rest: readonly string[],
): Promise<EndpointAnswer> {
  const what = rest.join('/')
  const kind = kindOf(what)
  if (endpointId === '' || kind === undefined) return notFound
  const caller = await admitted(sources, containerOf(sources.tasks(), endpointId), request.address)
  if (caller === undefined) return unknownContainer(version, kind, endpointId)
  const { task, container } = caller
  switch (kind) {
    case 'container metadata':
      return { status: 200, body: containerMetadata(task, container, version) }
    case 'task metadata':
      return { status: 200, body: await shownTask(sources, task, version, what === 'taskWithTags') }
    case 'container stats':
      return answerContainerStats(sources, task, container.name, version)
    case 'task stats':
      return { status: 200, body: taskStats(sources, task) }
    case 'associations':
      return answerAssociations(caller, version, rest.slice(1))
    default:
      return kind satisfies never
  }
}

type Kind = 'container metadata' | 'task metadata' | 'container stats' | 'task stats' | 'associations'

const kinds: Readonly<Record<string, Kind>> = {
  '': 'container metadata',
  task: 'task metadata',
  taskWithTags: 'task metadata',
  stats: 'container stats',
  'task/stats': 'task stats',
}

function kindOf(what: string): Kind | undefined {
  return /^associations\/[^/]+(\/[^/]+)?$/.test(what) ? 'associations' : kinds[what]
}

function unknownContainer(version: 'v3' | 'v4', kind: Kind, endpointId: string): EndpointAnswer {
  const why = `unable to get docker ID from v3 endpoint ID: ${endpointId}`
  if (version === 'v3')
    return { status: 400, body: `V3 ${kind} handler: unable to get container ID from request: ${why}` }
  return { status: 404, body: `V4 ${kind} handler: unable to get container ID from request: ${why}` }
}

async function shownTask(
  sources: EndpointSources,
  task: TurnTask,
  version: MetadataVersion,
  withTags: boolean,
): Promise<object> {
  const shown = taskMetadata(task, sources.host, version)
  return withTags ? { ...shown, ...(await tagsOf(sources, task.payload.arn, version)) } : shown
}

/** Each is there only where it could be had; v4 tells what was in the way. */
async function tagsOf(sources: EndpointSources, taskArn: string, version: MetadataVersion): Promise<object> {
  const instanceArn = sources.host.containerInstanceArn()
  const asked = [
    ...(instanceArn === undefined ? [] : [{ field: 'ContainerInstanceTags', resourceArn: instanceArn }]),
    { field: 'TaskTags', resourceArn: taskArn },
  ]
  const answers = await Promise.all(
    asked.map(async ({ field, resourceArn }) => ({
      field,
      resourceArn,
      answer: await sources.tags.tagsOf(resourceArn),
    })),
  )
  const members: Record<string, unknown> = {}
  const errors: object[] = []
  for (const { field, resourceArn, answer } of answers) {
    if ('tags' in answer) {
      members[field] = answer.tags
      continue
    }
    const { code, message, statusCode, requestId } = answer
    errors.push({
      ErrorField: field,
      ErrorCode: code,
      ErrorMessage: message,
      StatusCode: statusCode,
      RequestId: requestId,
      ResourceARN: resourceArn,
    })
  }
  return errors.length > 0 && version === 'v4' ? { ...members, Errors: errors } : members
}

function answerContainerStats(
  sources: EndpointSources,
  task: TurnTask,
  name: string,
  version: 'v3' | 'v4',
): EndpointAnswer {
  const stats = containerStats(sources, task, name)
  if (stats !== undefined) return { status: 200, body: stats }
  const why = `Unable to get container stats for: ${task.observed.get(name)?.id ?? name}`
  return { status: version === 'v3' ? 400 : 500, body: why }
}

function containerStats(sources: EndpointSources, task: TurnTask, name: string): object | undefined {
  const observed = task.observed.get(name)
  const target = statsTargetOf(task, observed)
  if (target === undefined || observed === undefined) return undefined
  const host = { layout: sources.layout, cpus: sources.cpus, now: sources.now() }
  return statsDocument(host, sources.stats, target, `/${observed.name}`)
}

/** By Docker id; null for a container that does not run. */
function taskStats(sources: EndpointSources, task: TurnTask): object {
  const all = definedContainers(task.payload).flatMap(({ name }): [string, object | null][] => {
    const dockerId = task.facts.containers[name]?.dockerId
    return dockerId === undefined ? [] : [[dockerId, containerStats(sources, task, name) ?? null]]
  })
  return Object.fromEntries(all)
}

function answerAssociations(
  { task, container }: Caller,
  version: 'v3' | 'v4',
  [type = '', name]: readonly string[],
): EndpointAnswer {
  const own = (task.payload.associations ?? []).filter(
    (one) => one.type === type && one.containers.includes(container.name),
  )
  if (name === undefined) return { status: 200, body: { Associations: own.map((one) => one.name) } }
  const found = own.find((one) => one.name === name)
  if (found !== undefined) return { status: 200, text: found.content.value }
  const why = `failed to find association ${name} of type ${type}`
  return { status: version === 'v3' ? 400 : 404, body: `${version.toUpperCase()} association handler: ${why}` }
}

/** v2: whoever asks is told of the task whose address it has. */
async function answerByAddress(
  sources: EndpointSources,
  { address }: EndpointRequest,
  kind: string,
  rest: readonly string[],
): Promise<EndpointAnswer> {
  const [dockerId = '', ...more] = rest
  const isKnown = ['metadata', 'metadataWithTags', 'stats'].includes(kind) && more.length === 0
  if (!isKnown || (kind === 'metadataWithTags' && dockerId !== '')) return notFound
  const found = taskOfAddress(sources.tasks(), address)
  if (found === undefined) {
    const why = `unable to get task arn from request: unable to associate '${address}' with a task`
    return { status: 400, body: `Unable to get task arn from request: ${why}` }
  }
  const task = await upToDate(found, sources.inspect)
  if (dockerId === '') {
    const body = kind === 'stats' ? taskStats(sources, task) : await shownTask(sources, task, 'v2', kind !== 'metadata')
    return { status: 200, body }
  }
  const container = definedContainers(task.payload).find(
    ({ name }) => task.facts.containers[name]?.dockerId === dockerId,
  )
  if (container === undefined) return { status: 400, body: `Unable to find container '${dockerId}' of the task` }
  if (kind === 'metadata') return { status: 200, body: containerMetadata(task, container, 'v2') }
  const stats = containerStats(sources, task, container.name)
  return stats === undefined
    ? { status: 400, body: `Unable to get container stats for: ${dockerId}` }
    : { status: 200, body: stats }
}

const faults = /^fault\/v1\/(?:network-blackhole-port|network-latency|network-packet-loss)\/(?:start|stop|status)$/

async function answerApi(
  sources: EndpointSources,
  request: EndpointRequest,
  endpointId: string,
  what: string,
): Promise<EndpointAnswer> {
  const isProtection = what === 'task-protection/v1/state'
  if (!isProtection && !faults.test(what)) return notFound
  const methods = isProtection ? ['GET', 'PUT'] : ['POST']
  if (!methods.includes(request.method)) return methodNotAllowed
  const caller = await admitted(sources, containerOf(sources.tasks(), endpointId), request.address)
  if (!isProtection) {
    if (caller === undefined) return { status: 404, body: { Error: `unable to lookup container: ${endpointId}` } }
    return { status: 400, body: { Error: `fault injection is not enabled for task: ${caller.task.payload.arn}` } }
  }
  if (caller === undefined) return protectionOfNobody()
  const { arn } = caller.task.payload
  const read = request.method === 'GET' ? { request: undefined } : readProtectionRequest(request.body, arn)
  if ('problem' in read) return read.problem
  const role = caller.task.facts.roles?.task
  const keys = role === undefined ? undefined : sources.roleCredentials.keysOf(role.credentialsId, sources.now())
  if (keys === undefined || !isOfTask(caller.task, request, sources.isHeldBy)) return protectionWithoutRole(arn)
  const callApi: CallApi = async (operation, input, timeoutMs) =>
    sources.api.call('ecs', operation, input, keys.reveal(), timeoutMs)
  return answerProtection(callApi, sources.host.cluster, arn, read.request)
}
