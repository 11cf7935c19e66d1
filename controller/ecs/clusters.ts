/**
 * Clusters: the seven operations of the ECS API, and how every other handler finds its cluster.
 */
import { clusterArn, clusterNameOf, isArn } from '../../proto/arn.ts'
import { ApiError, invalidParameter } from '../../proto/errors.ts'
import type { Cluster, Input, Output } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { createEcsRole } from '../iam/service-linked-roles.ts'
import type { ServiceRow } from '../state/service-tables.ts'
import type { ClusterRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { effectiveSetting, rootArn } from './account-settings.ts'
import { checkCapacityProviders } from './capacity-provider-strategy.ts'
import { checkClusterConfiguration, checkClusterSettings, initialClusterSettings } from './cluster-settings.ts'
import type { Handlers } from './handler.ts'
import { read, write } from './handler.ts'
import { page } from './paging.ts'
import { checkTags } from './tags.ts'

const defaultClusterName = 'default'
const describedMax = 100
const namePattern = /^[A-Za-z0-9_-]{1,255}$/

/**
 * The ACTIVE cluster that a request names, by name or ARN; none named is `default`. Unknown, INACTIVE and another
 * region's clusters are ClusterNotFoundException, in ECS's words.
 */
export function requireCluster(reader: Reader, nameOrArn: string | undefined): ClusterRow {
  const row = findCluster(reader, nameOrArn)
  if (row === undefined || row.status !== 'ACTIVE') {
    throw new ApiError('ClusterNotFoundException', 'Cluster not found.')
  }
  return row
}

/** Makes the cluster `default` at the first start, as every ECS account has one from its first use. */
export function createDefaultCluster(tx: Transaction, now: number, world: World): void {
  if (tx.get('cluster', defaultClusterName) === undefined) createCluster(tx, {}, rootArn(world), now, world)
}

export const clusterHandlers = {
  CreateCluster: write<'CreateCluster'>((tx, input, call, world) => {
    return { cluster: describeCluster(tx, createCluster(tx, input, call.principalArn, call.now, world), allFields) }
  }),
  DeleteCluster: write<'DeleteCluster'>((tx, input, call) => {
    return { cluster: describeCluster(tx, deleteCluster(tx, input.cluster, call.now), allFields) }
  }),
  DescribeClusters: read<'DescribeClusters'>((reader, input, _call, world) => describeClusters(reader, input, world)),
  ListClusters: read<'ListClusters'>((reader, input) => {
    const active = reader.all('cluster').filter((row) => row.status === 'ACTIVE')
    const { items, nextToken } = page(active, (row) => row.clusterName, input, { defaultSize: 100, maxSize: 100 })
    return { clusterArns: items.map((row) => row.clusterArn), nextToken }
  }),
  PutClusterCapacityProviders: write<'PutClusterCapacityProviders'>((tx, input) => {
    const providers = checkCapacityProviders(input.capacityProviders, input.defaultCapacityProviderStrategy)
    return { cluster: updateCluster(tx, input.cluster, () => providers) }
  }),
  UpdateCluster: write<'UpdateCluster'>((tx, input) => {
    return { cluster: updateCluster(tx, input.cluster, (row) => clusterChanges(row, input)) }
  }),
  UpdateClusterSettings: write<'UpdateClusterSettings'>((tx, input) => {
    return {
      cluster: updateCluster(tx, input.cluster, (row) => ({
        settings: checkClusterSettings(input.settings, row.settings),
      })),
    }
  }),
} satisfies Handlers

/** What an UpdateCluster asks to change, and nothing else: a member that is absent stays as it was. */
function clusterChanges(row: ClusterRow, input: Input<'UpdateCluster'>): Partial<ClusterRow> {
  const { settings, configuration, serviceConnectDefaults } = input
  return {
    ...(settings !== undefined && { settings: checkClusterSettings(settings, row.settings) }),
    ...(configuration !== undefined && { configuration: checkClusterConfiguration(configuration) }),
    ...(serviceConnectDefaults !== undefined && {
      serviceConnectDefaults: serviceConnectDefaults.namespace === '' ? undefined : serviceConnectDefaults,
    }),
  }
}

function findCluster(reader: Reader, nameOrArn = defaultClusterName): ClusterRow | undefined {
  const row = reader.get('cluster', clusterNameOf(nameOrArn))
  return row !== undefined && isArn(nameOrArn) && row.clusterArn !== nameOrArn ? undefined : row
}

/**
 * Idempotent by name, as ECS documents. A cluster that was deleted is made afresh: nothing of its settings or tags comes
 * back.
 */
function createCluster(
  tx: Transaction,
  input: Input<'CreateCluster'>,
  principalArn: string,
  now: number,
  world: World,
): ClusterRow {
  const name = input.clusterName ?? defaultClusterName
  if (!namePattern.test(name)) {
    throw invalidParameter(
      `Invalid cluster name '${name.slice(0, 255)}'. It takes 1 to 255 letters, digits, hyphens and underscores.`,
    )
  }
  const existing = tx.get('cluster', name)
  const row = newCluster(tx, name, input, principalArn, now, world)
  if (existing?.status === 'ACTIVE') return sameCluster(existing, row, input)
  tx.put('cluster', name, row)
  createEcsRole(tx, now, world)
  return row
}

function newCluster(
  reader: Reader,
  name: string,
  input: Input<'CreateCluster'>,
  principalArn: string,
  now: number,
  world: World,
): ClusterRow {
  const containerInsights = effectiveSetting(reader, principalArn, 'containerInsights', world)
  return {
    clusterArn: clusterArn(world, name),
    clusterName: name,
    status: 'ACTIVE',
    createdAt: now,
    tags: checkTags(input.tags),
    settings: checkClusterSettings(input.settings, initialClusterSettings(containerInsights)),
    ...(input.configuration !== undefined && { configuration: checkClusterConfiguration(input.configuration) }),
    ...(input.serviceConnectDefaults !== undefined && { serviceConnectDefaults: input.serviceConnectDefaults }),
    ...checkCapacityProviders(input.capacityProviders, input.defaultCapacityProviderStrategy),
  }
}

/** The existing cluster, where the members that were given are those that it has; InvalidParameterException elsewhere. */
function sameCluster(existing: ClusterRow, asked: ClusterRow, input: Input<'CreateCluster'>): ClusterRow {
  const members = [
    'tags',
    'settings',
    'configuration',
    'serviceConnectDefaults',
    'capacityProviders',
    'defaultCapacityProviderStrategy',
  ] as const
  for (const member of members) {
    if (input[member] === undefined || canonical(existing[member]) === canonical(asked[member])) continue
    throw invalidParameter(
      'Arguments on this idempotent request are inconsistent with arguments used in previous request(s). ' +
        `Cluster '${existing.clusterName}' exists with other ${member}: use UpdateCluster, ` +
        'PutClusterCapacityProviders or TagResource to change it.',
    )
  }
  return existing
}

/** JSON with the members of objects in one order, so that two spellings of one value compare equal. */
function canonical(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).toSorted(([a], [b]) => (a < b ? -1 : 1)))
      : inner,
  )
}

/** Only an empty cluster can go. It stays describable as INACTIVE, and a repeat answers the same. */
function deleteCluster(tx: Transaction, nameOrArn: string | undefined, now: number): ClusterRow {
  const row = findCluster(tx, nameOrArn)
  if (row === undefined) throw new ApiError('ClusterNotFoundException', 'Cluster not found.')
  if (row.status === 'INACTIVE') return row
  if (registeredInstances(tx, row.clusterName) > 0) {
    throw new ApiError(
      'ClusterContainsContainerInstancesException',
      'The Cluster cannot be deleted while Container Instances are active or draining.',
    )
  }
  if (tx.count('service', 'liveByCluster', row.clusterName) > 0) {
    throw new ApiError('ClusterContainsServicesException', 'The Cluster cannot be deleted while Services are active.')
  }
  if (tx.count('task', 'liveByCluster', row.clusterName) > 0) {
    throw new ApiError('ClusterContainsTasksException', 'The Cluster cannot be deleted while Tasks are active.')
  }
  const inactive: ClusterRow = { ...row, status: 'INACTIVE', inactiveSince: now }
  tx.put('cluster', row.clusterName, inactive)
  return inactive
}

function updateCluster(
  tx: Transaction,
  nameOrArn: string | undefined,
  changesTo: (row: ClusterRow) => Partial<ClusterRow>,
): Cluster {
  const row = requireCluster(tx, nameOrArn)
  const next = { ...row, ...changesTo(row) }
  tx.put('cluster', row.clusterName, next)
  return describeCluster(tx, next, allFields)
}

type ClusterField = NonNullable<Input<'DescribeClusters'>['include']>[number]
const allFields: readonly ClusterField[] = ['ATTACHMENTS', 'CONFIGURATIONS', 'SETTINGS', 'STATISTICS', 'TAGS']

function describeClusters(reader: Reader, input: Input<'DescribeClusters'>, world: World): Output<'DescribeClusters'> {
  const asked = input.clusters === undefined || input.clusters.length === 0 ? [defaultClusterName] : input.clusters
  if (asked.length > describedMax) {
    throw invalidParameter(`clusters can name at most ${describedMax} clusters, and names ${asked.length}.`)
  }
  const clusters: Cluster[] = []
  const failures: { arn: string; reason: string }[] = []
  for (const nameOrArn of new Set(asked)) {
    const row = findCluster(reader, nameOrArn)
    if (row !== undefined) clusters.push(describeCluster(reader, row, input.include ?? []))
    else failures.push({ arn: isArn(nameOrArn) ? nameOrArn : clusterArn(world, nameOrArn), reason: 'MISSING' })
  }
  return { clusters, failures }
}

/** A cluster as ECS answers it: the lists that were not asked for are there, and empty. */
function describeCluster(reader: Reader, row: ClusterRow, include: readonly ClusterField[]): Cluster {
  const countTasks = (status: string): number =>
    sum(launchTypes.map(([, launchType]) => countOf(reader, row.clusterName, launchType, status)))
  const services = reader.find('service', 'liveByCluster', row.clusterName)
  return {
    clusterArn: row.clusterArn,
    clusterName: row.clusterName,
    status: row.status,
    registeredContainerInstancesCount: registeredInstances(reader, row.clusterName),
    runningTasksCount: countTasks('RUNNING'),
    pendingTasksCount: countTasks('PENDING'),
    activeServicesCount: services.filter(isActive).length,
    capacityProviders: row.capacityProviders,
    defaultCapacityProviderStrategy: row.defaultCapacityProviderStrategy,
    serviceConnectDefaults: row.serviceConnectDefaults,
    statistics: include.includes('STATISTICS') ? clusterStatistics(reader, row.clusterName, services) : [],
    tags: include.includes('TAGS') ? row.tags : [],
    settings: include.includes('SETTINGS') ? row.settings : [],
    ...(include.includes('ATTACHMENTS') && { attachments: row.attachments ?? [] }),
    ...(include.includes('CONFIGURATIONS') && row.configuration !== undefined && { configuration: row.configuration }),
  }
}

/** As ECS names them in its statistics, and as they stand on tasks and services. */
const launchTypes = [
  ['EC2', 'EC2'],
  ['Fargate', 'FARGATE'],
  ['External', 'EXTERNAL'],
] as const

function countOf(reader: Reader, clusterName: string, launchType: string, status: string): number {
  return reader.count('task', 'liveByClusterCount', `${clusterName}/${launchType}/${status}`)
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0)
}

const isActive = (service: ServiceRow): boolean => service.status === 'ACTIVE'
const isDraining = (service: ServiceRow): boolean => service.status === 'DRAINING'

/** The statistics of ECS, per launch type, numbers as text. A service that names no launch type counts as EC2, ECS's default. */
function clusterStatistics(
  reader: Reader,
  clusterName: string,
  services: readonly ServiceRow[],
): { name: string; value: string }[] {
  const tasks = (launchType: string, status: string): string => String(countOf(reader, clusterName, launchType, status))
  const countServices = (launchType: string, isCounted: (service: ServiceRow) => boolean): string =>
    String(services.filter((service) => (service.launchType ?? 'EC2') === launchType && isCounted(service)).length)
  return [
    ...launchTypes.map(([name, type]) => ({ name: `running${name}TasksCount`, value: tasks(type, 'RUNNING') })),
    ...launchTypes.map(([name, type]) => ({ name: `pending${name}TasksCount`, value: tasks(type, 'PENDING') })),
    ...launchTypes.map(([name, type]) => ({ name: `active${name}ServiceCount`, value: countServices(type, isActive) })),
    ...launchTypes.map(([name, type]) => ({
      name: `draining${name}ServiceCount`,
      value: countServices(type, isDraining),
    })),
  ]
}

function registeredInstances(reader: Reader, clusterName: string): number {
  return reader.find('instance', 'byCluster', clusterName).filter((row) => row.status !== 'INACTIVE').length
}
