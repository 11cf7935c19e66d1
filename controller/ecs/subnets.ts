/** Subnets as operators manage them, and what they say of addresses in quarantine. */
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import { sha256Hex } from '../../proto/hash.ts'
import type { World } from '../../proto/world.ts'
import { freeAddress } from '../decide/address.ts'
import { listed } from '../decide/placement-filter.ts'
import { addressKey, allocatableIn } from '../decide/subnet-addresses.ts'
import type { AddressRow, SubnetRow } from '../state/subnet-tables.ts'
import type { ClusterRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { refuseUnknownMembers } from './known-members.ts'
import { subnetsOf } from './network-configuration.ts'
import { checkNeighbours, checkSubnet, chooseMacByte, nameOf, type SubnetInput, subnetMembers } from './subnet-rules.ts'

const idPattern = /^subnet-[0-9a-z]{1,40}$/
const idHexDigits = 17
/** As a VPC of Amazon's. Each new one is compared with all. */
const subnetsMax = 200

export function createSubnet(tx: Transaction, input: SubnetInput, now: number, world: World): SubnetRow {
  refuseUnknownMembers('A subnet', input, subnetMembers)
  const subnetId = checkId(tx, input.subnetId) ?? `subnet-${world.hex(idHexDigits)}`
  const checked = checkSubnet(input)
  const others = tx.all('subnet')
  if (others.length >= subnetsMax) {
    throw new ApiError('LimitExceededException', `There are ${others.length} subnets, the most that there can be.`)
  }
  checkNeighbours(checked, subnetId, others)
  const macByte = chooseMacByte(checked.cidr, sha256Hex(subnetId), others)
  const row: SubnetRow = { subnetId, ...checked, createdAt: now, macByte }
  tx.put('subnet', subnetId, row)
  return row
}

/** Changes what is given, for tasks that start from now on. What hosts have built is not changed under their tasks. */
export function updateSubnet(tx: Transaction, subnetId: string, input: Partial<SubnetInput>): SubnetRow {
  const before = requireSubnet(tx, subnetId)
  refuseUnknownMembers('A subnet', input, subnetMembers)
  if (input.subnetId !== undefined && input.subnetId !== subnetId) {
    throw invalidParameter('subnetId can not be changed: make another subnet.')
  }
  const checked = checkSubnet({ ...asInput(before, input), ...input })
  const others = tx.all('subnet').filter((other) => other.subnetId !== subnetId)
  checkNeighbours(checked, subnetId, others)
  const held = heldAddresses(tx, subnetId)
  const fixed = (['cidr', 'gateway', 'attachment', 'mtu'] as const).find(
    (member) => JSON.stringify(before[member]) !== JSON.stringify(checked[member]),
  )
  if (fixed !== undefined && held.length > 0) {
    throw new ApiError(
      'ResourceInUseException',
      `${fixed} of subnet ${nameOf(before)} can not be changed while addresses of it are in use: ${holdersText(tx, held)}. ` +
        'Make another subnet and move the services there, or stop the tasks first.',
    )
  }
  if (fixed !== undefined) freeIdleHosts(tx, subnetId)
  const isAllocatable = allocatableIn(checked)
  const isNarrowed = tx.find('address', 'bySubnet', subnetId).some(({ address }) => !isAllocatable(address))
  const row: SubnetRow = {
    subnetId,
    ...checked,
    createdAt: before.createdAt,
    macByte: before.cidr === checked.cidr ? before.macByte : chooseMacByte(checked.cidr, sha256Hex(subnetId), others),
    ...(before.lastGiven !== undefined && { lastGiven: before.lastGiven }),
    ...(isNarrowed && { hasNarrowed: true }),
  }
  tx.put('subnet', subnetId, row)
  return row
}

/** ResourceInUseException while a task or a host has an address of it, or a service or a cluster names the subnet. */
export function deleteSubnet(tx: Transaction, subnetId: string): void {
  const row = requireSubnet(tx, subnetId)
  const held = heldAddresses(tx, subnetId)
  if (held.length > 0) {
    throw inUse(
      row,
      `${held.length === 1 ? 'an address is' : `${held.length} addresses are`} in use: ${holdersText(tx, held)}`,
    )
  }
  const clusters = tx
    .all('cluster')
    .filter(({ defaultSubnetId, status }) => defaultSubnetId === subnetId && status === 'ACTIVE')
  if (clusters.length > 0) {
    throw inUse(row, `it is the default of ${listed(clusters.map(({ clusterName }) => `cluster ${clusterName}`))}`)
  }
  const users = servicesOn(tx, subnetId)
  if (users.length > 0) throw inUse(row, `it is named by ${listed(users)}`)
  freeIdleHosts(tx, subnetId)
  tx.delete('subnet', subnetId)
}

/**
 * Takes addresses out of quarantine, since an operator knows that nobody uses them any more: the ones named, or all of one
 * container instance. Answers what is free again.
 */
export function releaseAddresses(
  tx: Transaction,
  subnetId: string,
  { addresses, containerInstance }: { readonly addresses?: readonly string[]; readonly containerInstance?: string },
): readonly AddressRow[] {
  requireSubnet(tx, subnetId)
  if ((addresses === undefined) === (containerInstance === undefined)) {
    throw invalidParameter(
      'Give addresses (a list of those to be released) or containerInstance (its id), one of the two.',
    )
  }
  const rows =
    addresses?.map((address) => requireQuarantined(tx, subnetId, address)) ??
    tx
      .find('address', 'bySubnet', subnetId)
      .filter(({ instanceId, quarantine }) => instanceId === containerInstance && quarantine !== undefined)
  for (const row of rows) freeAddress(tx, row)
  return rows
}

/** The subnet of awsvpc tasks that name none; `null` takes it away. */
export function setDefaultSubnet(tx: Transaction, nameOrArn: string, subnetId: string | null): ClusterRow {
  const cluster = requireCluster(tx, nameOrArn)
  if (subnetId !== null) requireSubnet(tx, subnetId)
  const next: ClusterRow = { ...cluster, defaultSubnetId: subnetId ?? undefined }
  tx.put('cluster', cluster.clusterName, next)
  return next
}

export function requireSubnet(reader: Reader, subnetId: string): SubnetRow {
  const row = reader.get('subnet', subnetId)
  if (row !== undefined) return row
  throw new ApiError(
    'ResourceNotFoundException',
    `There is no subnet ${subnetId.slice(0, 100)}. GET /v1/subnets lists those that there are, POST /v1/subnets makes one.`,
  )
}

function checkId(reader: Reader, subnetId: string | undefined): string | undefined {
  if (subnetId === undefined) return undefined
  if (!idPattern.test(subnetId)) {
    throw invalidParameter(
      `subnetId '${subnetId.slice(0, 64)}' is not of the form subnet-, then 1 to 40 small letters and digits. Leave it out ` +
        'to have one made.',
    )
  }
  if (reader.get('subnet', subnetId) === undefined) return subnetId
  throw new ApiError(
    'ConflictException',
    `There is a subnet ${subnetId} already: change it with PATCH /v1/subnets/${subnetId}.`,
  )
}

/** The row in an operator's words; what follows from a member that changes is left to follow anew. */
function asInput(row: SubnetRow, { cidr, attachment }: Partial<SubnetInput>): SubnetInput {
  const isMoved = cidr !== undefined && cidr !== row.cidr
  const isRehung = attachment !== undefined && attachment.kind !== row.attachment.kind
  return {
    name: row.name,
    cidr: row.cidr,
    ...(isMoved || isRehung ? {} : { gateway: row.gateway }),
    ...(isMoved ? {} : { ranges: row.ranges.map(({ first, last }) => `${first}-${last}`) }),
    ...(isMoved ? {} : { reservedAddresses: row.reservedAddresses }),
    availabilityZone: row.availabilityZone,
    attachment: row.attachment,
    dnsServers: row.dnsServers,
    searchDomains: row.searchDomains,
    assignPublicIp: row.assignPublicIp,
    mtu: row.mtu,
    tags: row.tags,
  }
}

function requireQuarantined(reader: Reader, subnetId: string, address: string): AddressRow {
  const row = reader.get('address', addressKey(subnetId, address))
  if (row === undefined) {
    throw invalidParameter(
      `Address ${address.slice(0, 64)} of subnet ${subnetId} is free: there is nothing to release.`,
    )
  }
  if (row.quarantine !== undefined) return row
  throw invalidParameter(
    `Address ${address} of subnet ${subnetId} is in use: ${holderText(reader, row)}. It is free once the task's agent says ` +
      'that the task is gone. If the host is gone for good, deregister its container instance with force first.',
  )
}

/** All but those of idle hosts, which nobody could give back otherwise while the hosts are there. */
function heldAddresses(reader: Reader, subnetId: string): readonly AddressRow[] {
  return reader.find('address', 'bySubnet', subnetId).filter((row) => !isIdleHost(reader, row))
}

function freeIdleHosts(tx: Transaction, subnetId: string): void {
  for (const row of tx.find('address', 'bySubnet', subnetId)) if (isIdleHost(tx, row)) freeAddress(tx, row)
}

/**
 * A host whose agent is there takes its own interface down once the last task of the subnet is gone; of one that is cut off
 * nobody knows.
 */
function isIdleHost(reader: Reader, { subnetId, instanceId, owner, quarantine }: AddressRow): boolean {
  if (owner !== 'host' || quarantine !== undefined) return false
  if (reader.get('instance', instanceId)?.agentConnected !== true) return false
  const onHost = reader.find('address', 'byInstance', instanceId)
  return !onHost.some((other) => other.subnetId === subnetId && other.owner === 'task')
}

const holdersShown = 5

function holdersText(reader: Reader, rows: readonly AddressRow[]): string {
  const shown = rows.slice(0, holdersShown).map((row) => holderText(reader, row))
  const more = rows.length - shown.length
  return `${shown.join('; ')}${more > 0 ? `; and ${more} more (GET /v1/subnets/.../addresses has all)` : ''}`
}

function holderText(reader: Reader, { address, taskId, instanceId, quarantine }: AddressRow): string {
  const group = taskId === undefined ? undefined : reader.get('task', taskId)?.group
  const who = taskId === undefined ? 'the host itself' : `task ${taskId}${group === undefined ? '' : ` of ${group}`}`
  const where = `${address} by ${who} on container instance ${instanceId}`
  return quarantine === undefined ? where : `${where}, in quarantine (${quarantine.reason})`
}

/** Services that are to run tasks there. Their older deployments and task sets are theirs. */
function servicesOn(reader: Reader, subnetId: string): readonly string[] {
  const isThere = (row: { readonly networkConfiguration?: SubnetUser }): boolean =>
    subnetsOf(row.networkConfiguration)?.includes(subnetId) === true
  const services = reader.all('service').filter((row) => row.status !== 'INACTIVE' && isThere(row))
  const deployments = reader.all('deployment').filter((row) => row.status !== 'INACTIVE' && isThere(row))
  const taskSets = reader.all('taskSet').filter(isThere)
  const keys = [...services, ...deployments, ...taskSets].map(({ serviceKey }) => serviceKey)
  return [...new Set(keys)].map((serviceKey) => `service ${serviceKey}`)
}

type SubnetUser = Parameters<typeof subnetsOf>[0]

function inUse(row: SubnetRow, why: string): ApiError {
  return new ApiError(
    'ResourceInUseException',
    `Subnet ${nameOf(row)} can not be deleted: ${why}. Stop or move what uses it first.`,
  )
}
