/**
 * What must hold of the controller, the agents and the engines together once nothing fails any more and everything had its
 * time: what one says of a task is what the others know of it.
 */
import { taskNetworkLabel } from '../../agent/decide/task-network.ts'
import { labels } from '../../agent/engine.ts'
import type { DeploymentRow, ServiceRow } from '../../controller/state/service-tables.ts'
import type { TaskRow } from '../../controller/state/tables.ts'
import type { Reader } from '../../controller/state/transaction.ts'
import type { PayloadNetworkInterface } from '../../proto/acs.ts'
import { idOf } from '../../proto/arn.ts'
import type { FakeContainer } from '../support/fake-engine.ts'
import type { Host } from './host.ts'
import { keysLifeMs } from './sim-secrets.ts'
import { unmendedTaskSets, unsettledTaskSets } from './task-set-union.ts'

/** They are replaced once half of their life is over, and that takes a moment. */
const keysLeftLeastMs = keysLifeMs / 2 - 30_000

interface Union {
  readonly reader: Reader
  readonly hosts: readonly Host[]
}

type UnionInvariant = (union: Union) => readonly string[]

/** One sentence for each thing that is not settled. */
export function unsettled(union: Union): readonly string[] {
  return Object.entries(invariants).flatMap(([name, invariant]) => invariant(union).map((what) => `${name}: ${what}`))
}

const invariants: Readonly<Record<string, UnionInvariant>> = {
  agentsAreConnected: ({ reader, hosts }) =>
    hosts.flatMap(({ name, containerInstanceArn = '', isConnected }) => {
      const instance = reader.get('instance', idOf(containerInstanceArn))
      if (!isConnected) return [`the agent of ${name} is not connected`]
      if (instance === undefined || instance.status === 'INACTIVE') return [`${name} is no instance of the cluster`]
      return instance.agentConnected ? [] : [`the controller does not know that ${name} is connected`]
    }),

  tasksAreWhereTheyShouldBe: ({ reader }) =>
    liveTasks(reader).flatMap(({ taskId, instanceId, desiredStatus, lastStatus, waitingFor }) => {
      if (desiredStatus === 'RUNNING' && lastStatus === 'RUNNING') return []
      return [`task ${taskId} of ${instanceId} is wanted ${desiredStatus}, and is ${lastStatus} (${waitingFor ?? ''})`]
    }),

  servicesHaveSettled: ({ reader }) => reader.all('service').flatMap((service) => unsettledService(reader, service)),

  agentsKnowTheirTasks: ({ reader, hosts }) =>
    hosts.flatMap((host) => {
      const { name, containerInstanceArn = '' } = host
      const known = new Set(host.knownTaskArns().map(idOf))
      return reader
        .find('task', 'liveByInstance', idOf(containerInstanceArn))
        .filter(({ taskId }) => !known.has(taskId))
        .map(({ taskId }) => `the agent of ${name} does not know task ${taskId}`)
    }),

  agentsHaveKeysOfRoles: ({ reader, hosts }) =>
    hosts.flatMap((host) =>
      reader
        .find('task', 'liveByInstance', idOf(host.containerInstanceArn ?? ''))
        .flatMap(({ taskId, credentialsId, executionCredentialsId }) =>
          [credentialsId, executionCredentialsId]
            .filter((id) => id !== undefined && !host.hasKeys(id))
            .map((id) => `the agent of ${host.name} has no keys ${id} of task ${taskId}`),
        ),
    ),

  containersThatRunDoRun: ({ reader, hosts }) =>
    hosts.flatMap(({ name, containerInstanceArn = '', engine }) =>
      reader.find('task', 'liveByInstance', idOf(containerInstanceArn)).flatMap(({ taskArn, taskId, containers }) =>
        containers
          .filter(({ lastStatus }) => lastStatus === 'RUNNING')
          .filter((container) => runningOf(engine, taskArn, container.name).length !== 1)
          .map((container) => `${container.name} of task ${taskId} should run once on ${name}`),
      ),
    ),

  noContainerRunsWithoutATask: ({ reader, hosts }) =>
    hosts.flatMap(({ name, engine }) =>
      [...engine.raw.containers.values()]
        .filter(({ status }) => status === 'running')
        // Of an instance that was deregistered by force they go on unwatched, as ECS has it.
        .filter((container) => isWatched(reader, container.labels[labels.instanceArn]))
        .filter((container) => {
          const task = reader.get('task', idOf(container.labels[labels.taskArn] ?? ''))
          const own = container.labels[labels.containerName] ?? ''
          // What the agent adds to a task itself is in no row, and goes with the task.
          if (own.startsWith('~internal~')) return task === undefined || task.lastStatus === 'STOPPED'
          const row = task?.containers.find((one) => one.name === own)
          return task === undefined || task.lastStatus === 'STOPPED' || row?.lastStatus !== 'RUNNING'
        })
        .map((container) => `${container.name} runs on ${name}, and no task wants it`),
    ),

  portsAreBoundOnce: ({ reader }) => {
    const holders = new Map<string, string>()
    return liveTasks(reader).flatMap(({ taskId, instanceId, containers }) =>
      containers
        .filter(({ lastStatus }) => lastStatus !== 'STOPPED')
        .flatMap(({ networkBindings = [] }) => networkBindings)
        .map(({ hostPort, protocol }) => `${hostPort}/${protocol} of ${instanceId}`)
        .filter((port) => {
          const holder = holders.get(port)
          holders.set(port, taskId)
          return holder !== undefined
        })
        .map((port) => `port ${port} is bound by ${taskId} and by another task`),
    )
  },

  healthIsKnown: ({ reader, hosts }) =>
    hosts.flatMap(({ name, containerInstanceArn = '', engine }) =>
      reader
        .find('task', 'liveByInstance', idOf(containerInstanceArn))
        .flatMap(({ taskArn, taskId, taskDefinitionArn, containers }) =>
          containers
            .filter(
              ({ lastStatus, name: own }) => lastStatus === 'RUNNING' && isChecked(reader, taskDefinitionArn, own),
            )
            .map((row) => ({ row, shown: runningOf(engine, taskArn, row.name)[0]?.health?.status ?? 'UNKNOWN' }))
            .filter(({ row, shown }) => (row.healthStatus ?? 'UNKNOWN') !== shown)
            .map(
              ({ row, shown }) => `${row.name} of task ${taskId} is ${shown} on ${name}, and not ${row.healthStatus}`,
            ),
        ),
    ),

  everyReportHasArrived: ({ hosts }) =>
    hosts.flatMap((host) => host.unreported().map((report) => `${host.name} still has to report ${report}`)),
}

/**
 * Undisturbed a service comes to rest: as many healthy tasks as desired and one deployment, or a deployment that FAILED with
 * its reason, or one that waits and says for what.
 */
function unsettledService(reader: Reader, service: ServiceRow): readonly string[] {
  const { serviceKey, status, desiredCount, deploymentController } = service
  if (status === 'INACTIVE') return []
  if (status === 'DRAINING') return [`service ${serviceKey} is still DRAINING`]
  if (deploymentController.type === 'EXTERNAL') return unsettledTaskSets(reader, service)
  const deployments = reader.find('deployment', 'liveByService', serviceKey)
  const primary = deployments.find((row) => row.status === 'PRIMARY')
  if (primary === undefined) return [`service ${serviceKey} has no PRIMARY deployment`]
  if (primary.rolloutState === 'FAILED') {
    return primary.rolloutStateReason === undefined ? [`${primary.id} of ${serviceKey} FAILED without a reason`] : []
  }
  if (explained(primary)) return []
  const healthy = reader.count('task', 'byDeploymentPhase', `${primary.id}/healthy`)
  const isDone = primary.rolloutState === 'COMPLETED' && deployments.length === 1 && healthy === desiredCount
  if (isDone || (healthy === desiredCount && isOnTheWayOut(reader, serviceKey, primary))) return []
  const told = `${healthy} of ${desiredCount} healthy, ${deployments.length} deployments, ${primary.rolloutState}`
  return [`service ${serviceKey}: ${told}`]
}

/** What is left of older deployments is on draining instances: there a daemon waits until the other services have moved. */
function isOnTheWayOut(reader: Reader, serviceKey: string, primary: DeploymentRow): boolean {
  const old = reader
    .find('task', 'liveByService', serviceKey)
    .filter(({ deploymentId, lostSince }) => deploymentId !== primary.id && lostSince === undefined)
  return old.length > 0 && old.every(({ evacuatingSince }) => evacuatingSince !== undefined)
}

/** It waits for room or for leave, or its tasks fail again and again, and it says so. */
function explained({ waiting, stuck, cause, failuresInRow }: DeploymentRow): boolean {
  return waiting !== undefined || stuck !== undefined || (failuresInRow > 0 && cause !== undefined)
}

/** Once operators have made room and given each service what can run, nothing is left to explain. */
export function unmended({ reader }: Union): readonly string[] {
  return reader.all('service').flatMap((service) => {
    const primary = reader
      .find('deployment', 'liveByService', service.serviceKey)
      .find((row) => row.status === 'PRIMARY')
    const { rolloutState, waiting } = primary ?? {}
    if (service.status === 'ACTIVE' && rolloutState === 'COMPLETED' && waiting === undefined) return []
    if (service.status === 'INACTIVE') return []
    if (service.deploymentController.type === 'EXTERNAL') return unmendedTaskSets(reader, service)
    return [`service ${service.serviceKey} is ${service.status}, ${rolloutState}: ${waiting?.sentence ?? ''}`]
  })
}

/** Keys that should have been replaced by now: asked where all clocks show the same. */
export function oldKeys({ reader, hosts }: Union): readonly string[] {
  return hosts.flatMap((host) =>
    reader
      .find('task', 'liveByInstance', idOf(host.containerInstanceArn ?? ''))
      .flatMap(({ taskId, credentialsId, executionCredentialsId }) =>
        [credentialsId, executionCredentialsId]
          .flatMap((id) => (id === undefined ? [] : [{ id, leftMs: host.keysLeftMs(id) }]))
          .filter(({ leftMs }) => leftMs < keysLeftLeastMs)
          .map(({ id, leftMs }) => `the agent of ${host.name} has keys ${id} of task ${taskId} for ${leftMs} ms`),
      ),
  )
}

/** What else must hold once every task was stopped and its time to be cleaned up is over. */
export function leftOver({ reader, hosts }: Union): readonly string[] {
  const tasks = liveTasks(reader).map(({ taskId, lastStatus }) => `task ${taskId} is ${lastStatus}`)
  const containers = hosts.flatMap(({ name, engine }) =>
    [...engine.raw.containers.values()]
      .filter((container) => isWatched(reader, container.labels[labels.instanceArn]))
      .map((container) => `container ${container.name} of ${name} is still there`),
  )
  const kept = hosts.flatMap((host) =>
    host.keptTaskArns().map((taskArn) => `the journal of ${host.name} still has ${taskArn}`),
  )
  const held = hosts.flatMap((host) =>
    host.heldSecrets().map((what) => `the agent of ${host.name} still holds ${what}`),
  )
  return [...tasks, ...containers, ...kept, ...held]
}

/** The addresses that running tasks have, each with who has it: one task at any time, on whichever hosts. */
export function addressesOnTheWire(hosts: readonly Host[]): ReadonlyMap<string, readonly string[]> {
  const holders = new Map<string, string[]>()
  for (const { name, engine } of hosts) {
    for (const container of engine.raw.containers.values()) {
      const address = container.status === 'running' ? addressOf(container) : undefined
      if (address === undefined) continue
      holders.set(address, [...(holders.get(address) ?? []), `${container.name} on ${name}`])
    }
  }
  return holders
}

function addressOf({ labels: its }: FakeContainer): string | undefined {
  const label = its[taskNetworkLabel]
  if (label === undefined) return undefined
  const { own } = JSON.parse(label) as { own: PayloadNetworkInterface }
  return own.ipv4Addresses[0]?.privateAddress
}

function liveTasks(reader: Reader): readonly TaskRow[] {
  return reader.all('task').filter(({ lastStatus }) => lastStatus !== 'STOPPED')
}

/** Without a health check of the task definition ECS tells no health. */
function isChecked(reader: Reader, taskDefinitionArn: string, containerName: string): boolean {
  const definition = reader.get('taskDefinition', idOf(taskDefinitionArn))
  const container = definition?.containerDefinitions.find(({ name }) => name === containerName)
  return container?.healthCheck !== undefined
}

function isWatched(reader: Reader, instanceArn: string | undefined): boolean {
  const instance = reader.get('instance', idOf(instanceArn ?? ''))
  return instance !== undefined && instance.status !== 'INACTIVE'
}

function runningOf(engine: Host['engine'], taskArn: string, containerName: string): readonly FakeContainer[] {
  return [...engine.raw.containers.values()].filter(
    (container) =>
      container.status === 'running' &&
      container.labels[labels.taskArn] === taskArn &&
      container.labels[labels.containerName] === containerName,
  )
}
