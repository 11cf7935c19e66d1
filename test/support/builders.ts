/**
 * Rows and calls for tests: each builder gives a whole, plausible one, and the test names only what it is about.
 */
import {
  clusterArn,
  containerArn,
  containerInstanceArn,
  serviceArn,
  taskArn,
  taskDefinitionArn,
  taskSetArn,
} from '../../proto/arn.ts'
import type { World } from '../../proto/world.ts'
import type { Principal } from '../../controller/access/principal.ts'
import type { Call } from '../../controller/ecs/handler.ts'
import type { DeploymentRow, ServiceRow, TaskSetRow } from '../../controller/state/service-tables.ts'
import type { RoleRow } from '../../controller/state/iam-tables.ts'
import { createState, type State } from '../../controller/state/state.ts'
import type {
  ClusterRow,
  InstanceRow,
  TableName,
  Tables,
  TaskContainer,
  TaskDefinitionRow,
  TaskRow,
} from '../../controller/state/tables.ts'
import type { Transaction } from '../../controller/state/transaction.ts'
import { SealedTextError, type Vault } from '../../controller/state/vault.ts'

/** Where every builder lives. */
export const place = { region: 'us-east-1', account: '123456789012' }

/** The instant at which tests begin, epoch milliseconds: 2026-11-21T12:00:00Z. */
export const testNow = Date.UTC(2026, 10, 21, 12)

/** A world that gives the same ids and numbers for the same seed. */
export function aWorld(seed = 1): World {
  let state = seed >>> 0
  const next = (): number => {
    // mulberry32: small, and good enough to spread ids.
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const hex = (digits: number): string =>
    Array.from({ length: digits }, () => Math.floor(next() * 16).toString(16)).join('')
  return {
    ...place,
    random: next,
    hex,
    uuid: () => `${hex(8)}-${hex(4)}-4${hex(3)}-8${hex(3)}-${hex(12)}`,
  }
}

export function aCall(over: Partial<Call> = {}): Call {
  return {
    now: testNow,
    requestId: '00000000-0000-4000-8000-000000000001',
    principalArn: `arn:aws:iam::${place.account}:root`,
    origin: 'http://127.0.0.1:51700',
    principal: aPrincipal(),
    sourceAddress: '127.0.0.1',
    isSecure: false,
    vault: aVault(),
    authorize: () => undefined,
    ...over,
  }
}

export function aPrincipal(over: Partial<Principal> = {}): Principal {
  return {
    kind: 'root',
    arn: `arn:aws:iam::${place.account}:root`,
    userId: place.account,
    accessKeyId: 'GANTRYROOTKEYOFTESTS',
    signedFor: { service: 'ecs', region: place.region },
    ...over,
  }
}

function turned(text: string): string {
  return Array.from(text).toReversed().join('')
}

/** Turns text round, so that a test sees whether something was sealed, and under which context. */
export function aVault(): Vault {
  return {
    seal: (plaintext, context) => JSON.stringify({ sealed: turned(plaintext), context }),
    open(sealed, context) {
      const read = JSON.parse(sealed) as { sealed: string; context: string }
      if (read.context !== context) throw new SealedTextError('It belongs to something else.')
      return turned(read.sealed)
    },
  }
}

/** Role `app` that ECS's tasks may assume, without any right. */
export function aRole(over: Partial<RoleRow> = {}): RoleRow {
  const RoleName = over.RoleName ?? 'app'
  return {
    RoleName,
    RoleId: `GROL${RoleName.toUpperCase().padEnd(17, 'A').slice(0, 17)}`,
    Path: '/',
    Arn: `arn:aws:iam::${place.account}:role/${RoleName}`,
    CreateDate: testNow,
    AssumeRolePolicyDocument: JSON.stringify({
      Version: '2012-10-17',
      Statement: [{ Effect: 'Allow', Principal: { Service: 'ecs-tasks.amazonaws.com' }, Action: 'sts:AssumeRole' }],
    }),
    MaxSessionDuration: 3600,
    Tags: [],
    inlinePolicies: [],
    attachedPolicyArns: [],
    trustedIds: {},
    revocationEpoch: 0,
    ...over,
  }
}

export function aCluster(over: Partial<ClusterRow> = {}): ClusterRow {
  const clusterName = over.clusterName ?? 'default'
  return {
    clusterName,
    clusterArn: clusterArn(place, clusterName),
    status: 'ACTIVE',
    createdAt: testNow,
    tags: [],
    settings: [],
    capacityProviders: [],
    defaultCapacityProviderStrategy: [],
    ...over,
  }
}

let instancesBuilt = 0

/** A connected EC2-type Linux host with 2 vCPUs and 4096 MiB. Its id counts up unless named: 32 hex digits. */
export function anInstance(over: Partial<InstanceRow> = {}): InstanceRow {
  instancesBuilt += 1
  const instanceId = over.instanceId ?? `1${instancesBuilt.toString(16).padStart(31, '0')}`
  const clusterName = over.clusterName ?? 'default'
  return {
    instanceId,
    clusterName,
    containerInstanceArn: containerInstanceArn(place, clusterName, instanceId),
    ec2InstanceId: `i-${instanceId.slice(-17)}`,
    version: 1,
    status: 'ACTIVE',
    agentConnected: true,
    connectivityAt: testNow,
    registeredAt: testNow,
    registeredResources: [
      { name: 'CPU', type: 'INTEGER', integerValue: 2048 },
      { name: 'MEMORY', type: 'INTEGER', integerValue: 4096 },
      { name: 'PORTS', type: 'STRINGSET', stringSetValue: ['22', '2375', '2376', '51678', '51679'] },
      { name: 'PORTS_UDP', type: 'STRINGSET', stringSetValue: [] },
    ],
    attributes: [
      { name: 'ecs.availability-zone', value: 'us-east-1a' },
      { name: 'ecs.instance-type', value: 'm5.large' },
      { name: 'ecs.os-type', value: 'linux' },
      { name: 'ecs.cpu-architecture', value: 'x86_64' },
    ],
    attachments: [],
    tags: [],
    launchType: 'EC2',
    seqNum: 1,
    gantryProtocol: true,
    hostTcpPorts: [],
    hostUdpPorts: [],
    dynamicPorts: { first: 32768, last: 60999 },
    ...over,
  }
}

/** `web:1`: one essential container `app` with 256 CPU units and 512 MiB, bridge mode. */
export function aTaskDefinition(over: Partial<TaskDefinitionRow> = {}): TaskDefinitionRow {
  const family = over.family ?? 'web'
  const revision = over.revision ?? 1
  return {
    family,
    revision,
    taskDefinitionArn: taskDefinitionArn(place, family, revision),
    status: 'ACTIVE',
    containerDefinitions: [
      {
        name: 'app',
        image: 'busybox:latest',
        cpu: 256,
        memory: 512,
        essential: true,
        portMappings: [],
        environment: [],
        mountPoints: [],
        volumesFrom: [],
      },
    ],
    volumes: [],
    placementConstraints: [],
    compatibilities: ['EC2', 'EXTERNAL'],
    requiresAttributes: [],
    registeredAt: testNow,
    tags: [],
    ...over,
  }
}

let tasksBuilt = 0

/** A task of `web:1`, freshly placed: PENDING, wanted RUNNING. Its id counts up unless named: 32 hex digits. */
export function aTask(over: Partial<TaskRow> = {}): TaskRow {
  tasksBuilt += 1
  const taskId = over.taskId ?? `2${tasksBuilt.toString(16).padStart(31, '0')}`
  const clusterName = over.clusterName ?? 'default'
  const instanceId = over.instanceId ?? `1${'0'.repeat(31)}`
  const family = over.family ?? 'web'
  return {
    taskId,
    clusterName,
    instanceId,
    family,
    taskArn: taskArn(place, clusterName, taskId),
    clusterArn: clusterArn(place, clusterName),
    containerInstanceArn: containerInstanceArn(place, clusterName, instanceId),
    taskDefinitionArn: taskDefinitionArn(place, family, 1),
    group: `family:${family}`,
    version: 1,
    lastStatus: 'PENDING',
    desiredStatus: 'RUNNING',
    launchType: 'EC2',
    cpu: '256',
    memory: '512',
    createdAt: testNow,
    overrides: { containerOverrides: [] },
    attachments: [],
    attributes: [],
    tags: [],
    containers: [aContainer({ taskArn: taskArn(place, clusterName, taskId) }, clusterName, taskId)],
    reserved: { cpuUnits: 256, memoryMiB: 512, tcpPorts: [], udpPorts: [], dynamicPortsAwaited: 0 },
    seqNum: 0,
    acknowledgedSeqNum: 0,
    ...over,
  }
}

/** The container `app` of a task, PENDING. */
export function aContainer(
  over: Partial<TaskContainer> = {},
  clusterName = 'default',
  taskId = `2${'0'.repeat(31)}`,
): TaskContainer {
  const name = over.name ?? 'app'
  return {
    name,
    containerArn: containerArn(place, clusterName, taskId, `00000000-0000-4000-8000-${hexOf(name)}`),
    image: 'busybox:latest',
    lastStatus: 'PENDING',
    essential: true,
    networkBindings: [],
    networkInterfaces: [],
    healthStatus: 'UNKNOWN',
    cpu: '256',
    memory: '512',
    ...over,
  }
}

function hexOf(name: string): string {
  const digits = Array.from(name, (letter) => letter.charCodeAt(0).toString(16).padStart(2, '0')).join('')
  return digits.slice(0, 12).padStart(12, '0')
}

/** Service `web` of two tasks of `web:1`, ACTIVE, with ECS's defaults and no deployment of its own. */
export function aService(over: Partial<ServiceRow> = {}): ServiceRow {
  const clusterName = over.clusterName ?? 'default'
  const serviceName = over.serviceName ?? 'web'
  return {
    serviceKey: `${clusterName}/${serviceName}`,
    clusterName,
    serviceName,
    serviceArn: serviceArn(place, clusterName, serviceName),
    clusterArn: clusterArn(place, clusterName),
    status: 'ACTIVE',
    taskDefinition: taskDefinitionArn(place, 'web', 1),
    desiredCount: 2,
    deploymentConfiguration: { minimumHealthyPercent: 100, maximumPercent: 200 },
    deploymentController: { type: 'ECS' },
    schedulingStrategy: 'REPLICA',
    placementConstraints: [],
    placementStrategy: [],
    createdAt: testNow,
    tags: [],
    eventSeq: 0,
    ...over,
  }
}

let deploymentsBuilt = 0

/** The PRIMARY deployment of service `web`, in progress, of `web:1`. Its id counts up unless named. */
export function aDeployment(over: Partial<DeploymentRow> = {}): DeploymentRow {
  deploymentsBuilt += 1
  const digits = String(deploymentsBuilt).padStart(19, '1')
  const clusterName = over.clusterName ?? 'default'
  return {
    id: `ecs-svc/${digits}`,
    serviceKey: `${clusterName}/web`,
    clusterName,
    status: 'PRIMARY',
    taskDefinition: taskDefinitionArn(place, 'web', 1),
    createdAt: testNow,
    updatedAt: testNow,
    failedTasks: 0,
    rolloutState: 'IN_PROGRESS',
    rolloutStateReason: `ECS deployment ecs-svc/${digits} in progress.`,
    serviceRevisionId: digits,
    serviceDeploymentId: `deployment-${digits}`,
    healthyTasks: 0,
    failuresInRow: 0,
    images: [],
    ...over,
  }
}

let taskSetsBuilt = 0

/** A task set of service `web` that runs `web:1` at 100 percent, ACTIVE. Its id counts up unless named. */
export function aTaskSet(over: Partial<TaskSetRow> = {}): TaskSetRow {
  taskSetsBuilt += 1
  const clusterName = over.clusterName ?? 'default'
  const id = over.id ?? `ecs-svc/${String(taskSetsBuilt).padStart(19, '2')}`
  return {
    id,
    serviceKey: `${clusterName}/web`,
    clusterName,
    taskSetArn: taskSetArn(place, clusterName, 'web', id),
    serviceArn: serviceArn(place, clusterName, 'web'),
    clusterArn: clusterArn(place, clusterName),
    status: 'ACTIVE',
    taskDefinition: taskDefinitionArn(place, 'web', 1),
    createdAt: testNow,
    updatedAt: testNow,
    scale: { value: 100, unit: 'PERCENT' },
    stabilityStatus: 'STABILIZING',
    stabilityStatusAt: testNow,
    tags: [],
    failuresInRow: 0,
    ...over,
  }
}

export type Rows = { readonly [T in TableName]?: readonly Tables[T][] }

/**
 * A state that holds `rows`, and an ACTIVE cluster `default` unless a cluster of that name is among them. Families follow
 * from the task definitions.
 */
export function aState(rows: Rows = {}): State {
  const state = createState()
  inTransaction(state, (tx) => {
    tx.put('cluster', 'default', aCluster())
    for (const row of rows.cluster ?? []) tx.put('cluster', row.clusterName, row)
    for (const row of rows.taskDefinition ?? []) {
      tx.put('taskDefinition', `${row.family}:${row.revision}`, row)
      const latest = tx.get('family', row.family)?.latestRevision ?? 0
      tx.put('family', row.family, { family: row.family, latestRevision: Math.max(latest, row.revision) })
    }
    for (const row of rows.family ?? []) tx.put('family', row.family, row)
    for (const row of rows.instance ?? []) tx.put('instance', row.instanceId, row)
    for (const row of rows.task ?? []) tx.put('task', row.taskId, row)
    for (const row of rows.accountSetting ?? []) tx.put('accountSetting', `${row.principalArn}/${row.name}`, row)
    for (const row of rows.idempotency ?? []) tx.put('idempotency', row.key, row)
    for (const row of rows.service ?? []) tx.put('service', row.serviceKey, row)
    for (const row of rows.deployment ?? []) tx.put('deployment', row.id, row)
    for (const row of rows.serviceDeployment ?? []) tx.put('serviceDeployment', row.id, row)
    for (const row of rows.serviceRevision ?? []) tx.put('serviceRevision', row.id, row)
    for (const row of rows.taskSet ?? []) tx.put('taskSet', row.id, row)
    for (const row of rows.subnet ?? []) tx.put('subnet', row.subnetId, row)
    for (const row of rows.address ?? []) tx.put('address', `${row.subnetId}/${row.address}`, row)
    for (const row of rows.role ?? []) tx.put('role', row.RoleName, row)
  })
  return state
}

/** Runs `write` in a transaction of its own and applies it, as a turn does; where it throws, nothing is applied. */
export function inTransaction<R>(state: State, write: (tx: Transaction) => R): R {
  const overlay = state.begin()
  const result = write(overlay)
  state.apply(overlay.changes())
  return result
}
