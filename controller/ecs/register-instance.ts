/**
 * RegisterContainerInstance: a host joins a cluster, or comes back to it. An agent keeps its ARN over its own restarts
 * and over the loss of its journal, and here over the loss of the controller's data too, so that a host never turns into
 * two.
 */
import { clusterNameInArn, containerInstanceArn, idOf } from '../../proto/arn.ts'
import { clientError, invalidParameter } from '../../proto/errors.ts'
import type { Attribute, Input } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { sameRow } from '../state/equal.ts'
import type { ClusterRow, InstanceRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { isJoinedHost, localHostId, ownerOf } from '../access/host-lookup.ts'
import { requireRegistrationBy } from '../access/host-ownership.ts'
import { instanceTakenOver } from '../access/hosts.ts'
import { requireCluster } from './clusters.ts'
import {
  checkResources,
  factsOfAttributes,
  hasAttribute,
  instanceTypeAttribute,
  mergeAttributes,
  readIdentityDocument,
  zoneAttribute,
} from './instance-facts.ts'
import { checkTags } from './tags.ts'

/** The official agent sends a clientToken, which AWS's public model leaves out. */
type Registration = Input<'RegisterContainerInstance'> & { readonly clientToken?: string | undefined }

const instanceIdPattern = /^[0-9a-f]{32}$/
const clientTokenLengthMax = 64

/**
 * The instance after its registration, ACTIVE if new. A repeat with the same clientToken or the same ARN is the same
 * instance. Throws ClusterNotFoundException, ClientException for an ARN that can't be taken, InvalidParameterException
 * for resources and attributes that break ECS's rules, AccessDeniedException for what is another's. `ownerId` is what
 * `ownerIdOf` says of the caller: undefined for root.
 */
export function registerInstance(
  tx: Transaction,
  input: Registration,
  now: number,
  world: World,
  ownerId?: string,
): InstanceRow {
  const cluster = requireCluster(tx, input.cluster)
  const { clientToken } = input
  if (clientToken !== undefined && clientToken.length > clientTokenLengthMax) {
    throw invalidParameter(`clientToken takes at most ${clientTokenLengthMax} characters.`)
  }
  const existing = findRegistered(tx, cluster, input, world)
  const claimedId = isGiven(input.containerInstanceArn) ? idOf(input.containerInstanceArn) : undefined
  requireRegistrationBy(tx, ownerId, { clusterName: cluster.clusterName, existing, claimedId })
  const registered = existing === undefined ? newInstance(cluster, input, now, world) : updated(existing, input, world)
  const row = ownerId === undefined ? registered : withOwner(registered, ownerId)
  if (existing !== undefined && ownerOf(existing) !== ownerOf(row)) instanceTakenOver(tx, row, now)
  if (existing === undefined || !sameRow(existing, row)) tx.put('instance', row.instanceId, row)
  return row
}

/** A host that takes an instance over ends what was said of the one before, such as that it was revoked. */
function withOwner(row: InstanceRow, ownerId: string): InstanceRow {
  if (ownerOf(row) === ownerId) return row
  const hostId = isJoinedHost(ownerId) ? ownerId : undefined
  const registeredBy = hostId === undefined && ownerId !== localHostId ? ownerId : undefined
  return { ...row, hostId, registeredBy, statusReason: undefined }
}

function isGiven(text: string | undefined): text is string {
  return text !== undefined && text !== ''
}

function findRegistered(
  tx: Transaction,
  cluster: ClusterRow,
  input: Registration,
  world: World,
): InstanceRow | undefined {
  if (isGiven(input.containerInstanceArn)) {
    return findByArn(tx, cluster, input.containerInstanceArn, world)
  }
  if (!isGiven(input.clientToken)) return undefined
  return tx
    .find('instance', 'byClientToken', input.clientToken)
    .find((row) => row.clusterName === cluster.clusterName && row.status !== 'INACTIVE')
}

/**
 * Undefined for a well-formed ARN of this cluster that is unknown: the controller lost its data, the agent did not. Only
 * the host of the first start, which is on the controller's own machine, is believed that it was this instance.
 */
function findByArn(tx: Transaction, cluster: ClusterRow, arn: string, world: World): InstanceRow | undefined {
  const instanceId = idOf(arn)
  if (!instanceIdPattern.test(instanceId) || containerInstanceArn(world, clusterIn(arn, cluster), instanceId) !== arn) {
    throw clientError(
      `The container instance ARN ${arn.slice(0, 256)} is not one of this controller's region and account. Remove the ` +
        "agent's data directory to register the host as a new instance.",
    )
  }
  const row = tx.get('instance', instanceId)
  if (
    clusterIn(arn, cluster) !== cluster.clusterName ||
    (row !== undefined && row.clusterName !== cluster.clusterName)
  ) {
    throw clientError(
      `The container instance ${instanceId} belongs to cluster ${row?.clusterName ?? clusterIn(arn, cluster)}, not to ` +
        `${cluster.clusterName}. Remove the agent's data directory to register the host in another cluster.`,
    )
  }
  if (row?.status === 'INACTIVE') {
    throw clientError(
      `The container instance ${instanceId} is INACTIVE: it was deregistered. Remove the agent's data directory to ` +
        'register the host as a new instance.',
    )
  }
  return row
}

function clusterIn(arn: string, cluster: ClusterRow): string {
  return clusterNameInArn(arn) ?? cluster.clusterName
}

function newInstance(cluster: ClusterRow, input: Registration, now: number, world: World): InstanceRow {
  const identity = readIdentityDocument(input.instanceIdentityDocument)
  const attributes = mergeAttributes(withIdentity(input.attributes ?? [], identity), [], world.region)
  const instanceId = isGiven(input.containerInstanceArn) ? idOf(input.containerInstanceArn) : world.hex(32)
  return {
    instanceId,
    clusterName: cluster.clusterName,
    containerInstanceArn: containerInstanceArn(world, cluster.clusterName, instanceId),
    // Not an id of EC2's own form, since nothing of the kind can be asked of EC2: tools tell the two apart by it.
    ec2InstanceId: identity?.instanceId ?? `mi-${instanceId.slice(0, 17)}`,
    status: 'ACTIVE',
    version: 1,
    versionInfo: input.versionInfo ?? {},
    registeredAt: now,
    registeredResources: checkResources(input),
    attributes,
    attachments: [],
    tags: checkTags(input.tags),
    agentConnected: false,
    connectivityAt: now,
    seqNum: 0,
    hostTcpPorts: [],
    hostUdpPorts: [],
    ...factsOfAttributes(attributes),
    clientToken: input.clientToken === '' ? undefined : input.clientToken,
  }
}

/**
 * A known instance that registers again. ECS refuses another instance type under one ARN, as an EC2 instance can't
 * change it; a machine of one's own gets more memory now and then, so here the new totals are taken. What its tasks hold
 * stays theirs: an instance that shrank gets nothing new until it has room.
 */
function updated(row: InstanceRow, input: Registration, world: World): InstanceRow {
  const identity = readIdentityDocument(input.instanceIdentityDocument)
  // What an operator deleted and the agent does not send again need not be remembered, nor be counted.
  const deleted = row.attributeChanges?.deleted ?? []
  const earlier = row.attributes.filter(({ name }) => name !== undefined && !deleted.includes(name))
  const attributes = mergeAttributes(withIdentity(input.attributes ?? [], identity), earlier, world.region)
  const next: InstanceRow = {
    ...row,
    registeredResources: checkResources(input),
    attributes,
    versionInfo: input.versionInfo ?? row.versionInfo,
    tags: input.tags === undefined || input.tags.length === 0 ? row.tags : checkTags(input.tags),
    ...factsOfAttributes(attributes),
    clientToken: input.clientToken === undefined || input.clientToken === '' ? row.clientToken : input.clientToken,
  }
  return sameRow({ ...next, clientToken: row.clientToken }, row) ? next : { ...next, version: row.version + 1 }
}

/** ECS itself adds instance type and zone from the identity document; an agent's own word comes first. */
function withIdentity(
  sent: readonly Attribute[],
  identity: ReturnType<typeof readIdentityDocument>,
): readonly Attribute[] {
  const known: readonly Attribute[] = [
    { name: instanceTypeAttribute, value: identity?.instanceType },
    { name: zoneAttribute, value: identity?.zone },
  ]
  return [...sent, ...known.filter(({ name = '', value }) => value !== undefined && !hasAttribute(sent, name))]
}
