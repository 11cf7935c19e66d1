/**
 * What an instance's agent is to be told right now: the manifest of all its tasks, and payloads of those that it has not
 * acknowledged.
 */
import { type PayloadMessage, type PayloadTask, payloadTasksMax, type TaskManifestMessage } from '../../proto/acs.ts'
import { clusterArn, idOf } from '../../proto/arn.ts'
import type { InstanceRow, TaskRow } from '../state/tables.ts'
import { payloadTask } from './payload.ts'
import { payloadNetwork } from './payload-network.ts'
import { logsProblem } from './log-rights.ts'
import { type CarriedKeys, type CredentialsView, keysFor } from './session-credentials.ts'

/** What an agent did not acknowledge is sent again after this time. */
export const resendAfterMs = 10_000

/** The committed state and the sources of time, ids and keys that a session may read. */
export type SessionView = CredentialsView

/** Task id -> what was last sent of it, and when. */
export type SentTasks = ReadonlyMap<string, { readonly seqNum: number; readonly at: number }>

export interface DuePayloads {
  readonly sent: SentTasks
  /** Each with the tasks that its ack acknowledges, and their sequence numbers. */
  readonly payloads: readonly { readonly message: PayloadMessage; readonly seqNums: ReadonlyMap<string, number> }[]
  /** Tasks that can't be told, for the log. */
  readonly failures: readonly { readonly err: unknown; readonly task: string }[]
  /** Tasks that no agent has heard of and that can't begin without a role, in ECS's words. */
  readonly refused: readonly { readonly taskId: string; readonly why: string }[]
  /** Keys that the payloads carry. */
  readonly keys: readonly CarriedKeys[]
}

/** In the order of their sequence numbers, at most ten tasks a message; undefined where nothing is due. */
export function duePayloads(instance: InstanceRow, known: SentTasks, view: SessionView): DuePayloads | undefined {
  const untold = view.reader.find('task', 'untoldByInstance', instance.instanceId)
  if (untold.length === 0) return undefined
  const due = untold.filter((task) => isDue(task, known, view.now)).toSorted((one, other) => one.seqNum - other.seqNum)
  if (due.length === 0) return undefined
  const sent = new Map<string, { readonly seqNum: number; readonly at: number }>()
  for (const { taskId } of untold) {
    const last = known.get(taskId)
    if (last !== undefined) sent.set(taskId, last)
  }
  const payloads: DuePayloads['payloads'][number][] = []
  const failures: DuePayloads['failures'][number][] = []
  const refused: DuePayloads['refused'][number][] = []
  const keys: DuePayloads['keys'][number][] = []
  for (let at = 0; at < due.length; at += payloadTasksMax) {
    const rows = due.slice(at, at + payloadTasksMax)
    for (const row of rows) sent.set(row.taskId, { seqNum: row.seqNum, at: view.now })
    const told = payloadTasks(rows, instance, view)
    failures.push(...told.failures)
    refused.push(...told.refused)
    keys.push(...told.keys)
    if (told.tasks.length === 0) continue
    // An ack stands for what was told, never for a task that could not be.
    const toldArns = new Set(told.tasks.map(({ arn }) => arn))
    const toldRows = rows.filter(({ taskArn }) => toldArns.has(taskArn))
    const seqNums = new Map(toldRows.map(({ taskId, seqNum }) => [taskId, seqNum]))
    payloads.push({ message: payloadMessage(instance, told.tasks, rows, view), seqNums })
  }
  return { sent, payloads, failures, refused, keys }
}

/** All live tasks of the instance; its timeline is the number that this connect was given. */
export function manifestFor(instance: InstanceRow, { reader, world, now }: SessionView): TaskManifestMessage {
  const tasks = reader.find('task', 'liveByInstance', instance.instanceId)
  return {
    clusterArn: clusterArn(world, instance.clusterName),
    containerInstanceArn: instance.containerInstanceArn,
    messageId: world.uuid(),
    generatedAt: now,
    timeline: instance.seqNum,
    tasks: tasks.map(({ taskArn, clusterArn: taskClusterArn, desiredStatus }) => ({
      taskArn,
      taskClusterArn,
      desiredStatus,
    })),
  }
}

function isDue(task: TaskRow, known: SentTasks, now: number): boolean {
  const sent = known.get(task.taskId)
  return sent === undefined || sent.seqNum < task.seqNum || now - sent.at >= resendAfterMs
}

/** A row that can't be told fails alone: the others of its message still go out. */
function payloadTasks(
  rows: readonly TaskRow[],
  instance: InstanceRow,
  view: SessionView,
): Pick<DuePayloads, 'failures' | 'refused' | 'keys'> & { readonly tasks: readonly PayloadTask[] } {
  const { reader, world } = view
  const tasks: PayloadTask[] = []
  const failures: DuePayloads['failures'][number][] = []
  const refused: DuePayloads['refused'][number][] = []
  const sentKeys: DuePayloads['keys'][number][] = []
  for (const row of rows) {
    try {
      const definition = reader.get('taskDefinition', idOf(row.taskDefinitionArn))
      if (definition === undefined) throw new Error(`its task definition ${row.taskDefinitionArn} is not there`)
      const { problem, keys, carried } = keysFor(row, view)
      const why = isUnbegun(row) ? (problem ?? logsProblem(row, view)) : undefined
      if (why !== undefined) {
        refused.push({ taskId: row.taskId, why })
        continue
      }
      const { gantryProtocol } = instance
      const network = payloadNetwork(reader, row, world)
      tasks.push(
        payloadTask(row, definition, { gantryProtocol, region: world.region, fileSystems: reader, network, keys }),
      )
      sentKeys.push(...carried)
    } catch (error) {
      failures.push({ err: error, task: row.taskArn })
    }
  }
  return { tasks, failures, refused, keys: sentKeys }
}

/** What an agent may have started goes on, whatever became of its roles. */
function isUnbegun({ lastStatus, desiredStatus, reportedAt, acknowledgedSeqNum }: TaskRow): boolean {
  const isWanted = lastStatus === 'PENDING' && desiredStatus === 'RUNNING'
  return isWanted && reportedAt === undefined && acknowledgedSeqNum === 0
}

function payloadMessage(
  instance: InstanceRow,
  tasks: readonly PayloadTask[],
  rows: readonly TaskRow[],
  { now, world }: SessionView,
): PayloadMessage {
  const seqNum = Math.max(...rows.map((row) => row.seqNum))
  return {
    clusterArn: clusterArn(world, instance.clusterName),
    containerInstanceArn: instance.containerInstanceArn,
    messageId: world.uuid(),
    generatedAt: now,
    seqNum,
    timeline: seqNum,
    tasks,
  }
}
