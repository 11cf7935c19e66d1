/**
 * A host acts for its own instance and for what was placed there, and for nothing else: for each call that its keys allow,
 * what the call names has to be its own. Instances that neither a joined host nor a user or role registered are those of
 * the first start's key (`local`).
 */
import { clusterNameOf, idOf } from '../../proto/arn.ts'
import { ApiError, clientError } from '../../proto/errors.ts'
import type { InstanceRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import type { HostRow } from '../state/host-tables.ts'
import {
  isJoinedHost,
  liveInstancesOf,
  localHostId,
  ownerIdOf,
  ownerOf,
  requireHost,
  revokedError,
  shownOwner,
} from './host-lookup.ts'
import type { Principal } from './principal.ts'

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
  DiscoverPollEndpoint: requireOwnEndpoint,
  ListTagsForResource: (asked) => requireOwnResource(asked, asked.input['resourceArn']),
  TagResource: (asked) => requireOwnResource(asked, asked.input['resourceArn']),
  SubmitTaskStateChange: requireOwnReport,
  SubmitContainerStateChange: requireOwnReport,
  SubmitAttachmentStateChanges: requireOwnAttachments,
  GetTaskProtection: (asked) => requireOwnTasks(asked, asked.input['tasks']),
  UpdateTaskProtection: (asked) => requireOwnTasks(asked, asked.input['tasks']),
}

export const ownedOperations: ReadonlySet<string> = new Set(Object.keys(ownershipChecks))

/** What an agent says of what runs, and nobody else has a use for: the instance's own is believed. */
export const reportOperations: ReadonlySet<string> = new Set([
  'SubmitTaskStateChange',
  'SubmitContainerStateChange',
  'SubmitAttachmentStateChanges',
])

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

/** Throws OwnershipError unless the instance is the caller's: a host's id, or that of a user or role. */
function requireInstanceOf(instance: InstanceRow, ownerId: string): void {
  if (isInstanceOf(instance, ownerId)) return
  throw new OwnershipError(
    'AccessDeniedException',
    `The container instance ${instance.instanceId} belongs to ${shownOwner(ownerOf(instance))}, and ${shownOwner(ownerId)} ` +
      'can act for its own alone.',
    instance.containerInstanceArn,
  )
}

/**
 * Throws OwnershipError unless the instance is the caller's own: on its channels come the keys of every task there, and a
 * right such as `ecs:*` or `ecs:Poll` is not meant to hand out those. Root may speak for what is on no host that joined.
 */
export function requireChannelOf(instance: InstanceRow, principal: Principal): void {
  const ownerId = ownerIdOf(principal)
  if (ownerId === undefined && instance.hostId === undefined) return
  if (principal.kind === 'host') return requireInstanceOf(instance, ownerId ?? '')
  const owner = ownerOf(instance)
  if (owner === ownerId) return
  throw new OwnershipError(
    'AccessDeniedException',
    `The container instance ${instance.instanceId} belongs to ${shownOwner(owner)}, and its channels are opened with ` +
      `${instance.registeredBy === undefined ? "that host's" : 'its'} keys alone, not by ${principal.arn}.`,
    instance.containerInstanceArn,
  )
}

export interface Registering {
  readonly clusterName: string
  /** The instance that it is already, by its ARN or its token. */
  readonly existing: InstanceRow | undefined
  /** Of the ARN that it says it has. */
  readonly claimedId: string | undefined
}

/**
 * Throws OwnershipError for a registration that is not the caller's to make, ClientException under an ARN that nobody has
 * any more, and UnrecognizedClientException for a host that was revoked while the call waited; inside of the turn, where
 * it counts. `ownerId` is undefined for root.
 */
export function requireRegistrationBy(
  reader: Reader,
  ownerId: string | undefined,
  { clusterName, existing, claimedId }: Registering,
): void {
  if (ownerId === undefined) return
  const host = isJoinedHost(ownerId) ? requireHost(reader, ownerId) : undefined
  if (existing !== undefined && !mayTakeOver(host, existing)) requireInstanceOf(existing, ownerId)
  if (existing === undefined && claimedId !== undefined && ownerId !== localHostId) throw unknownInstance(claimedId)
  if (host === undefined) return
  if (host.revokedAt !== undefined) throw revokedError(host)
  if (host.clusterName !== clusterName) throw otherCluster(ownerId, host.clusterName, clusterName)
  const [held] = liveInstancesOf(reader, ownerId).filter(({ instanceId }) => instanceId !== existing?.instanceId)
  if (held === undefined) return
  throw new OwnershipError(
    'AccessDeniedException',
    `Host ${ownerId} holds the container instance ${held.instanceId} already, and a host has one. Did it lose its data ` +
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
  const instance = reader.get('instance', instanceId)
  const owner = instance === undefined ? localHostId : ownerOf(instance)
  return owner === (former === undefined ? localHostId : ownerOf(former))
}

/** Once: whoever has the keys of a host that was replaced since can't take it back. */
function mayTakeOver(host: HostRow | undefined, { instanceId }: InstanceRow): boolean {
  return host !== undefined && host.adoptsInstanceId === instanceId && host.adoptedAt === undefined
}

function isInstanceOf(instance: InstanceRow, ownerId: string): boolean {
  return ownerOf(instance) === ownerId
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

/** An agent that has no instance yet may ask where it is to go, and so may one that is about to take over its own. */
function requireOwnEndpoint({ reader, hostId, input: { containerInstance: named } }: Asked): void {
  const instance = typeof named === 'string' ? reader.get('instance', idOf(named)) : undefined
  if (instance === undefined || mayTakeOver(reader.get('host', hostId), instance)) return
  requireInstanceOf(instance, hostId)
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
    const owner = instance === undefined ? undefined : ownerOf(instance)
    if ((owner ?? localHostId) === hostId) continue
    throw new OwnershipError(
      code,
      `Task ${taskId} runs on container instance ${instanceId} of ${owner === undefined ? 'another host' : shownOwner(owner)}, ` +
        `so ${shownOwner(hostId)} can't act for it.`,
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
        `The attachment ${attachmentId} belongs to ${shownOwner(ownerOf(instance))}, so ${shownOwner(hostId)} can't report on it.`,
        attachmentId,
      )
    }
  }
}

/**
 * Whose it was can't be known any more, so it is nobody's; its host comes back as a new instance. The words "not found" tell
 * that to an agent.
 */
function unknownInstance(instanceId: string): ApiError {
  return clientError(
    `The container instance ${instanceId} was not found here: it was deregistered long ago, or this controller never had it. ` +
      "Remove identity.json from the agent's data directory to register the host as a new instance; Gantry's own agent does " +
      'so by itself.',
  )
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
