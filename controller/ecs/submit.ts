/**
 * What agents report: ECS's three Submit calls, and the same over the channel of Gantry's own agent. Also what a channel
 * tells of an agent itself: that it came, that it went, what its host holds, what it has acknowledged.
 */
import type { GantryHostReport } from '../../proto/acs.ts'
import { idOf } from '../../proto/arn.ts'
import { invalidParameter } from '../../proto/errors.ts'
import type { VersionInfo } from '../../proto/model/types.ts'
import { areOfOneHost, OwnershipError } from '../access/host-ownership.ts'
import { withDiskUse, withEngineSilence } from '../decide/engine-health.ts'
import { endQuarantineOf } from '../decide/address.ts'
import { type TaskReport, taskAfterReport } from '../decide/report.ts'
import { sameRow } from '../state/equal.ts'
import type { InstanceRow, TaskDefinitionRow, TaskRow } from '../state/tables.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import { requireCluster } from './clusters.ts'
import { type Handlers, write } from './handler.ts'

/** What the real service answers; agents ignore it. */
const acknowledgment = 'ACK'

export const submitHandlers = {
  SubmitTaskStateChange: write<'SubmitTaskStateChange'>((tx, input, call) => {
    const { clusterName } = requireCluster(tx, input.cluster)
    if (input.task === undefined) {
      if ((input.attachments ?? []).length === 0) throw invalidParameter('task should not be null or empty.')
      return { acknowledgment }
    }
    applyTaskStateChange(tx, { clusterName, change: { ...input, task: input.task } }, call.now)
    return { acknowledgment }
  }),

  SubmitContainerStateChange: write<'SubmitContainerStateChange'>((tx, input, call) => {
    const { clusterName } = requireCluster(tx, input.cluster)
    if (input.task === undefined) throw invalidParameter('task should not be null or empty.')
    if (input.containerName === undefined) throw invalidParameter('containerName should not be null or empty.')
    const { cluster: _, task, ...container } = input
    applyTaskStateChange(tx, { clusterName, change: { task, containers: [container] } }, call.now)
    return { acknowledgment }
  }),

  // Gantry's own agent tells of its tasks' interfaces with their statuses, and the official one is given none, so there is
  // nothing to move on; the call is answered because an agent repeats for a day what is refused for any reason but its
  // parameters.
  SubmitAttachmentStateChanges: write<'SubmitAttachmentStateChanges'>((tx, input) => {
    requireCluster(tx, input.cluster)
    return { acknowledgment }
  }),
} satisfies Handlers

export interface TaskStateChange {
  /** The instance whose channel brought the report; undefined for a Submit call, which names no instance. */
  readonly instanceId?: string | undefined
  /** The cluster that a Submit call names; undefined for a report over a channel, which is one instance's anyway. */
  readonly clusterName?: string | undefined
  readonly change: TaskReport & { readonly task: string }
}

/**
 * Applies one report. A repeat, or a report on a task that has left memory, changes nothing. Throws
 * InvalidParameterException, at which agents drop the report, for a task that does not exist or is another instance's.
 */
export function applyTaskStateChange(
  tx: Transaction,
  { instanceId, clusterName, change }: TaskStateChange,
  now: number,
): void {
  if (change.status === 'STOPPED' && endQuarantineOf(tx, idOf(change.task), instanceId)) return
  const task = taskOf(tx, change.task, instanceId)
  if (task === undefined) return
  if (clusterName !== undefined && task.clusterName !== clusterName) throw unknownTask(change.task)
  refuseForeign(tx, task, instanceId)
  const next = taskAfterReport(task, change, definitionOf(tx, task), now)
  if (next !== task) tx.put('task', task.taskId, next)
}

/** What a handshake tells of the agent behind it. */
export interface AgentFacts {
  readonly agentVersion?: string | undefined
  readonly agentHash?: string | undefined
  readonly dockerVersion?: string | undefined
}

/**
 * The instance's agent has opened its channel. Gives the number that the manifest of this connection carries: greater
 * than any sent before, else the agent throws it away. It may have been sent numbers that this store has never seen, by
 * a controller whose data was lost or is restored from a backup: seconds since 1970 are above what that one counted to. One that was deregistered meanwhile stays as it is: its
 * channel finds that out itself. One that counts as lost goes on to for a moment (`schedule-losses.ts`). Throws for an
 * instance that does not exist.
 */
export function agentConnected(tx: Transaction, instanceId: string, facts: AgentFacts, now: number): InstanceRow {
  const instance = requireInstance(tx, instanceId)
  if (instance.status === 'INACTIVE') return instance
  const versionInfo: VersionInfo = { ...instance.versionInfo, ...filled(facts) }
  const isLost = instance.lostSince !== undefined
  const next: InstanceRow = {
    ...instance,
    agentConnected: true,
    connectivityAt: instance.agentConnected ? instance.connectivityAt : now,
    silentSince: isLost ? instance.silentSince : undefined,
    returnedAt: isLost ? now : undefined,
    versionInfo,
    seqNum: Math.max(instance.seqNum + 1, Math.floor(now / 1000)),
    version: instance.version + (instance.agentConnected && sameRow(versionInfo, instance.versionInfo) ? 0 : 1),
  }
  tx.put('instance', instanceId, next)
  return next
}

/**
 * The instance's agent has been silent since `silentSince`, which is too long. Its tasks are left as they were last known;
 * once it counts as lost (`schedule-losses.ts`), those of services are replaced.
 */
export function agentDisconnected(tx: Transaction, instanceId: string, now: number, silentSince = now): void {
  const instance = tx.get('instance', instanceId)
  if (instance === undefined || !instance.agentConnected) return
  tx.put('instance', instanceId, {
    ...instance,
    agentConnected: false,
    connectivityAt: now,
    silentSince,
    returnedAt: undefined,
    version: instance.version + 1,
  })
}

/**
 * The state of the instance's host: ports that programs outside of Gantry hold, which placement then never gives out,
 * whether its Docker Engine answers, without which it is given no task, and how full its disk is. What the report does not
 * name stays as it is.
 */
export function applyHostReport(
  tx: Transaction,
  instanceId: string,
  { usedTcpPorts, usedUdpPorts, engineSilentForMs, disk }: Omit<GantryHostReport, 'messageId'>,
  now: number,
): void {
  const instance = requireInstance(tx, instanceId)
  if (instance.status === 'INACTIVE') return
  const { hostTcpPorts, hostUdpPorts } = instance
  const withPorts: InstanceRow = {
    ...instance,
    hostTcpPorts: usedTcpPorts === undefined ? hostTcpPorts : ports(usedTcpPorts),
    hostUdpPorts: usedUdpPorts === undefined ? hostUdpPorts : ports(usedUdpPorts),
  }
  const withEngine = engineSilentForMs === undefined ? withPorts : withEngineSilence(withPorts, engineSilentForMs, now)
  const next = disk === undefined ? withEngine : withDiskUse(withEngine, disk, now)
  if (!sameRow(next, instance)) tx.put('instance', instanceId, next)
}

/** The agent has taken a payload: for each of its tasks, the sequence number under which it was told. */
export function acknowledgePayload(
  tx: Transaction,
  instanceId: string,
  taskSeqNums: ReadonlyMap<string, number>,
): void {
  for (const [taskId, seqNum] of taskSeqNums) {
    const task = tx.get('task', taskId)
    if (task === undefined || task.instanceId !== instanceId || task.acknowledgedSeqNum >= seqNum) continue
    tx.put('task', taskId, { ...task, acknowledgedSeqNum: seqNum })
  }
}

/** Undefined for a task that has stopped long ago and left memory: its agent repeats what it was not heard to say. */
function taskOf(reader: Reader, arn: string, instanceId: string | undefined): TaskRow | undefined {
  const taskId = idOf(arn)
  const task = reader.get('task', taskId)
  if (task !== undefined) return task
  const stopped = reader.history.task(taskId)
  if (stopped === undefined) throw unknownTask(arn)
  // What it was before it registered anew is told of to the end; that changes nothing.
  if (instanceId !== undefined && !areOfOneHost(reader, stopped.instanceId, instanceId))
    throw foreignTask(stopped, instanceId)
  return undefined
}

function unknownTask(arn: string): Error {
  return invalidParameter(
    `The referenced task was not found: ${arn.slice(0, 300)}. It is not among the tasks of this controller's cluster.`,
  )
}

function refuseForeign(reader: Reader, task: TaskRow, instanceId: string | undefined): void {
  if (instanceId === undefined || task.instanceId === instanceId) return
  const foreign = foreignTask(task, instanceId)
  // Of its host's former instance an agent may speak in good faith, and is not believed either.
  throw areOfOneHost(reader, task.instanceId, instanceId) ? invalidParameter(foreign.message) : foreign
}

function foreignTask(task: TaskRow, instanceId: string): OwnershipError {
  return new OwnershipError(
    'InvalidParameterException',
    `Task ${task.taskArn} runs on container instance ${task.instanceId}, so ${instanceId} can't report on it.`,
    task.taskArn,
  )
}

function definitionOf(reader: Reader, task: TaskRow): TaskDefinitionRow | undefined {
  return reader.get('taskDefinition', task.taskDefinitionArn.slice(task.taskDefinitionArn.lastIndexOf('/') + 1))
}

function requireInstance(reader: Reader, instanceId: string): InstanceRow {
  const instance = reader.get('instance', instanceId)
  if (instance !== undefined) return instance
  throw invalidParameter(`The referenced container instance was not found: ${instanceId}.`)
}

function ports(numbers: readonly number[]): readonly number[] {
  const valid = numbers.filter((port) => Number.isInteger(port) && port >= 1 && port <= 65535)
  return [...new Set(valid)].sort((left, right) => left - right)
}

function filled(facts: AgentFacts): VersionInfo {
  return Object.fromEntries(Object.entries(facts).filter(([, text]) => text !== undefined && text !== ''))
}
