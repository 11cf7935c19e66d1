/**
 * A host acts for its own instance and for what was placed there, and for nothing else: for each call that its keys allow,
 * what the call names has to be its own. Instances without a host are those of the first start's key (`local`).
 */
import { clusterNameOf, idOf } from '../../proto/arn.ts'
import { ApiError } from '../../proto/errors.ts'
import type { InstanceRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { liveInstancesOf, localHostId, requireHost, revokedError } from './host-lookup.ts'

type Refusal = 'AccessDeniedException' | 'InvalidParameterException'

/** A host asked for something of another's, or an agent spoke of another's task. */
export class OwnershipError extends ApiError {
  /** The ARN, id or name that it named. */
  readonly foreign: string

  constructor(code: Refusal, message: string, foreign: string) {
    super(code, message)
    this.foreign = foreign
  }
}

type Members = Readonly<Record<string, unknown>>

interface Asked {
  readonly reader: Reader
  readonly hostId: string
  readonly operation: string
  readonly input: Members
}

/** One for each call that a host's keys allow (host-actions.ts); the two channels are judged at their handshake. */
const ownershipChecks: Readonly<Record<string, (asked: Asked) => void>> = {
  CreateCluster: (asked) => requireOwnCluster(asked, asked.input['clusterName']),
  RegisterContainerInstance: (asked) => requireOwnCluster(asked, asked.input['cluster']),
  DeregisterContainerInstance: (asked) => requireOwnInstance(asked, asked.input['containerInstance']),
  DescribeContainerInstances: (asked) => requireOwnInstances(asked, asked.input['containerInstances']),
  UpdateContainerInstancesState: (asked) => requireOwnInstances(asked, asked.input['containerInstances']),
  // An agent that has no instance yet may ask where it is to go.
  DiscoverPollEndpoint: (asked) => requireOwnInstance(asked, asked.input['containerInstance']),
  ListTagsForResource: (asked) => requireOwnResource(asked, asked.input['resourceArn']),
  TagResource: (asked) => requireOwnResource(asked, asked.input['resourceArn']),
  SubmitTaskStateChange: requireOwnReport,
  SubmitContainerStateChange: requireOwnReport,
  SubmitAttachmentStateChanges: requireOwnAttachments,
  GetTaskProtection: (asked) => requireOwnTasks(asked, asked.input['tasks']),
  UpdateTaskProtection: (asked) => requireOwnTasks(asked, asked.input['tasks']),
}

export const ownedOperations: ReadonlySet<string> = new Set(Object.keys(ownershipChecks))

/**
 * Throws OwnershipError for a call of a host that names what is another's. Whether a thing exists at all is the handler's
 * to say. `input` is as the codec read it.
 */
export function requireOwn(reader: Reader, hostId: string, operation: string, input: unknown): void {
  const check = ownershipChecks[operation]
  if (check === undefined) {
    throw new OwnershipError('AccessDeniedException', `A host's keys do not allow ${operation}.`, operation)
  }
  check({ reader, hostId, operation, input: (input ?? {}) as Members })
}

/** Throws OwnershipError unless the instance is the host's. */
export function requireInstanceOf(instance: InstanceRow, hostId: string): void {
  if (isInstanceOf(instance, hostId)) return
  throw new OwnershipError(
    'AccessDeniedException',
    `The container instance ${instance.instanceId} belongs to host ${instance.hostId ?? localHostId}, and host ${hostId} can ` +
      'act for its own alone.',
    instance.containerInstanceArn,
  )
}

/**
 * Throws OwnershipError for a caller that is no host, at the channel of an instance that belongs to one: on it come the keys
 * of every task there, and a right such as `ecs:*` is not meant to hand out those.
 */
export function requireNoHost({ instanceId, hostId, containerInstanceArn }: InstanceRow, callerArn: string): void {
  if (hostId === undefined) return
  throw new OwnershipError(
    'AccessDeniedException',
    `The container instance ${instanceId} belongs to host ${hostId}, and its channels are opened with that host's keys ` +
      `alone, not by ${callerArn}.`,
    containerInstanceArn,
  )
}

/**
 * Throws OwnershipError for a registration that a host's keys do not allow, and UnrecognizedClientException for one of a
 * host that was revoked while the call waited; inside of the turn, where it counts.
 */
export function requireRegistrationBy(
  reader: Reader,
  hostId: string | undefined,
  clusterName: string,
  existing: InstanceRow | undefined,
): void {
  if (hostId === undefined) return
  const isAdopted = existing !== undefined && reader.get('host', hostId)?.adoptsInstanceId === existing.instanceId
  if (existing !== undefined && !isAdopted) requireInstanceOf(existing, hostId)
  if (hostId === localHostId) return
  const host = requireHost(reader, hostId)
  if (host.revokedAt !== undefined) throw revokedError(host)
  if (host.clusterName !== clusterName) throw otherCluster(hostId, host.clusterName, clusterName)
  const [held] = liveInstancesOf(reader, hostId).filter(({ instanceId }) => instanceId !== existing?.instanceId)
  if (held === undefined) return
  throw new OwnershipError(
    'AccessDeniedException',
    `Host ${hostId} holds the container instance ${held.instanceId} already, and a host has one. Did it lose its data ` +
      `directory, deregister that one first (aws ecs deregister-container-instance --cluster ${held.clusterName} ` +
      `--container-instance ${held.instanceId} --force).`,
    held.containerInstanceArn,
  )
}

/**
 * Whether both are instances of one host, of which one may be what the other was before it registered anew. Of an
 * instance that is forgotten nobody but the host of the first start is believed to be the follower.
 */
export function areOfOneHost(reader: Reader, formerId: string, instanceId: string): boolean {
  if (formerId === instanceId) return true
  const former = reader.get('instance', formerId)
  const hostId = reader.get('instance', instanceId)?.hostId
  return former === undefined ? hostId === undefined : former.hostId === hostId
}

function isInstanceOf({ hostId }: InstanceRow, caller: string): boolean {
  return (hostId ?? localHostId) === caller
}

function requireOwnCluster({ reader, hostId }: Asked, named: unknown): void {
  if (hostId === localHostId) return
  const { clusterName } = requireHost(reader, hostId)
  const asked = typeof named === 'string' && named !== '' ? clusterNameOf(named) : 'default'
  if (asked !== clusterName) throw otherCluster(hostId, clusterName, asked)
}

function requireOwnInstances(asked: Asked, named: unknown): void {
  for (const each of textsOf(named)) requireOwnInstance(asked, each)
}

function requireOwnInstance({ reader, hostId }: Asked, named: unknown): void {
  const instance = typeof named === 'string' ? reader.get('instance', idOf(named)) : undefined
  if (instance !== undefined) requireInstanceOf(instance, hostId)
}

/** Tags of its instance and of the tasks there; nothing else is a host's. */
function requireOwnResource(asked: Asked, named: unknown): void {
  const arn = typeof named === 'string' ? named : ''
  if (arn.includes(':container-instance/')) return requireOwnInstance(asked, arn)
  if (arn.includes(':task/')) return requireOwnTask(asked, arn, 'AccessDeniedException')
  throw new OwnershipError(
    'AccessDeniedException',
    `Host ${asked.hostId} can act for its own container instance and its tasks alone, not for ${arn.slice(0, 300)}.`,
    arn,
  )
}

function requireOwnTasks(asked: Asked, named: unknown): void {
  for (const each of textsOf(named)) requireOwnTask(asked, each, 'AccessDeniedException')
}

/** Agents drop a report that is refused for its parameters, and repeat others for a day. */
function requireOwnReport(asked: Asked): void {
  requireOwnTask(asked, asked.input['task'], 'InvalidParameterException')
}

function requireOwnTask({ reader, hostId }: Asked, named: unknown, code: Refusal): void {
  if (typeof named !== 'string') return
  const taskId = idOf(named)
  for (const instanceId of instancesOfTask(reader, taskId)) {
    const instance = reader.get('instance', instanceId)
    // Of an instance that is forgotten nobody but the host of the first start is believed to be the follower.
    const owner = instance === undefined ? undefined : (instance.hostId ?? localHostId)
    if ((owner ?? localHostId) === hostId) continue
    throw new OwnershipError(
      code,
      `Task ${taskId} runs on container instance ${instanceId} of ${owner === undefined ? 'another host' : `host ${owner}`}, ` +
        `so host ${hostId} can't act for it.`,
      named,
    )
  }
}

/** Where it ran. Of a task that is forgotten, where an address is held for it: its report would set that free. */
function instancesOfTask(reader: Reader, taskId: string): readonly string[] {
  const task = reader.get('task', taskId) ?? reader.history.task(taskId)
  if (task !== undefined) return [task.instanceId]
  return reader.find('address', 'byTask', taskId).map(({ instanceId }) => instanceId)
}

/** One that nobody has is nobody's: its task may have ended, and the call changes nothing. */
function requireOwnAttachments({ reader, hostId, input }: Asked): void {
  for (const { attachmentArn } of membersOf(input['attachments'])) {
    if (typeof attachmentArn !== 'string') continue
    const attachmentId = idOf(attachmentArn)
    for (const { instanceId } of reader.find('address', 'byAttachment', attachmentId)) {
      const instance = reader.get('instance', instanceId)
      if (instance === undefined || isInstanceOf(instance, hostId)) continue
      throw new OwnershipError(
        'InvalidParameterException',
        `The attachment ${attachmentId} belongs to host ${instance.hostId ?? localHostId}, so host ${hostId} can't report ` +
          'on it.',
        attachmentId,
      )
    }
  }
}

function otherCluster(hostId: string, own: string, asked: string): OwnershipError {
  return new OwnershipError(
    'AccessDeniedException',
    `Host ${hostId} joined the cluster ${own}, and can't register in ${asked.slice(0, 255)}. To move it, join it anew with ` +
      `a token for that cluster (npx gantry join-token --cluster ${asked.slice(0, 255)}).`,
    asked.slice(0, 255),
  )
}

function textsOf(value: unknown): readonly string[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'string') : []
}

function membersOf(value: unknown): readonly Members[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === 'object' && each !== null) : []
}
