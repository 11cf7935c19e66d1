/**
 * One log line for each move that an operator cares about: what came, went, started, ended or was lost, with the turn
 * that committed it. Written after the commit, so that the log never tells of what did not happen.
 */
import type { Log } from './log.ts'
import type { InstanceRow, TaskDefinitionRow, TaskRow } from './state/tables.ts'
import type { Change } from './state/transaction.ts'

export function logTransitions(log: Log, changes: readonly Change[], revision: number): void {
  for (const { table, before, row } of changes) {
    // A row that leaves memory has told its end before: tasks go to the history, the others were INACTIVE.
    if (row === undefined) continue
    const about = log.child({ turn: revision })
    if (table === 'task') logTask(about, before as TaskRow | undefined, row as TaskRow)
    if (table === 'instance') logInstance(about, before as InstanceRow | undefined, row as InstanceRow)
    if (table === 'taskDefinition') {
      logDefinition(about, before as TaskDefinitionRow | undefined, row as TaskDefinitionRow)
    }
  }
}

function logTask(log: Log, before: TaskRow | undefined, row: TaskRow): void {
  const about = log.child({ task: row.taskArn, instance: row.instanceId })
  const { taskDefinitionArn, group, stopCode, stoppedReason } = row
  if (before === undefined) about.info({ taskDefinitionArn, group }, 'task placed')
  if (before?.desiredStatus === 'RUNNING' && row.desiredStatus === 'STOPPED' && row.lastStatus !== 'STOPPED') {
    about.info({ stopCode, stoppedReason }, 'task is to stop')
  }
  if (before === undefined || before.lastStatus === row.lastStatus) return
  const end = row.lastStatus === 'STOPPED' ? { stopCode, stoppedReason, exitCodes: exitCodes(row) } : {}
  about.info({ from: before.lastStatus, to: row.lastStatus, ...end }, 'task status')
}

function logInstance(log: Log, before: InstanceRow | undefined, row: InstanceRow): void {
  const about = log.child({ instance: row.instanceId, cluster: row.clusterName })
  if (before === undefined) {
    about.info({ launchType: row.launchType }, 'instance registered')
    return
  }
  if (before.status !== row.status) about.info({ from: before.status, to: row.status }, 'instance status')
  if (before.agentConnected === row.agentConnected) return
  if (row.agentConnected) about.info('agent connected')
  else about.warn('agent disconnected; its tasks are shown as they were last known')
}

function logDefinition(log: Log, before: TaskDefinitionRow | undefined, row: TaskDefinitionRow): void {
  const { taskDefinitionArn, status } = row
  if (before === undefined) log.info({ taskDefinitionArn }, 'task definition registered')
  else if (before.status !== status) log.info({ taskDefinitionArn, from: before.status, to: status }, 'task definition')
}

function exitCodes(row: TaskRow): Readonly<Record<string, number>> {
  const known = row.containers.flatMap(({ name, exitCode }) => (exitCode === undefined ? [] : [[name, exitCode]]))
  return Object.fromEntries(known)
}
