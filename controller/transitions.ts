/**
 * One log line for each move that an operator cares about: what came, went, started, ended or was lost, with the turn
 * that committed it. Written after the commit, so that the log never tells of what did not happen.
 */
import { isEngineSilent } from './decide/engine-health.ts'
import type { Log } from './log.ts'
import type { ClusterRow, InstanceRow, TaskDefinitionRow, TaskRow } from './state/tables.ts'
import type { Change } from './state/transaction.ts'

interface Move {
  readonly level?: 'warn' | undefined
  readonly message: string
  readonly facts: object
}

export function logTransitions(log: Log, changes: readonly Change[], revision: number): void {
  for (const { table, before, row } of changes) {
    // A row that leaves memory has told its end before: tasks go to the history, the others were INACTIVE.
    if (row === undefined) continue
    for (const { level, message, facts } of movesOf(table, before, row)) {
      log[level ?? 'info']({ turn: revision, ...subjectOf(table, row), ...facts }, message)
    }
  }
}

function movesOf(table: Change['table'], before: Change['before'], row: NonNullable<Change['row']>): readonly Move[] {
  if (table === 'task') return movesOfTask(before as TaskRow | undefined, row as TaskRow)
  if (table === 'instance') return movesOfInstance(before as InstanceRow | undefined, row as InstanceRow)
  if (table === 'cluster') return movesOfCluster(before as ClusterRow | undefined, row as ClusterRow)
  if (table !== 'taskDefinition') return []
  return movesOfDefinition(before as TaskDefinitionRow | undefined, row as TaskDefinitionRow)
}

function subjectOf(table: Change['table'], row: NonNullable<Change['row']>): object {
  if (table === 'task') return { task: (row as TaskRow).taskArn, instance: (row as TaskRow).instanceId }
  if (table === 'instance') return { instance: (row as InstanceRow).instanceId }
  if (table === 'cluster') return { cluster: (row as ClusterRow).clusterName }
  return { taskDefinition: (row as TaskDefinitionRow).taskDefinitionArn }
}

function movesOfTask(before: TaskRow | undefined, row: TaskRow): readonly Move[] {
  const { taskDefinitionArn, group, stopCode, stoppedReason } = row
  if (before === undefined) return [{ message: 'task placed', facts: { taskDefinitionArn, group } }]
  const ends = row.lastStatus === 'STOPPED'
  const moves: Move[] = []
  if (before.desiredStatus !== row.desiredStatus && !ends) {
    moves.push({ message: 'task is to stop', facts: { stopCode, stoppedReason } })
  }
  if (before.lastStatus !== row.lastStatus) {
    const end = ends ? { stopCode, stoppedReason, exitCodes: exitCodes(row) } : {}
    moves.push({ message: 'task status', facts: { from: before.lastStatus, to: row.lastStatus, ...end } })
  }
  return moves
}

function movesOfInstance(before: InstanceRow | undefined, row: InstanceRow): readonly Move[] {
  const { clusterName: cluster, launchType } = row
  if (before === undefined) return [{ message: 'instance registered', facts: { cluster, launchType } }]
  const moves: Move[] = []
  if (before.status !== row.status) {
    moves.push({ message: 'instance status', facts: { cluster, from: before.status, to: row.status } })
  }
  if (before.agentConnected !== row.agentConnected) {
    const lost = { level: 'warn', message: 'agent disconnected; its tasks are shown as they were last known' } as const
    moves.push({ ...(row.agentConnected ? { message: 'agent connected' } : lost), facts: { cluster } })
  }
  if (isEngineSilent(before) !== isEngineSilent(row)) {
    const silent = { level: 'warn', message: 'Docker Engine does not answer: the instance gets no tasks' } as const
    moves.push({ ...(isEngineSilent(row) ? silent : { message: 'Docker Engine answers again' }), facts: { cluster } })
  }
  if (before.lostSince === undefined && row.lostSince !== undefined) {
    const message = 'instance lost; its tasks of services are replaced unless the cluster pauses that'
    moves.push({ level: 'warn', message, facts: { cluster, silentSince: row.silentSince } })
  }
  return moves
}

function movesOfCluster(before: ClusterRow | undefined, row: ClusterRow): readonly Move[] {
  const wasPaused = before?.replacementPausedSince !== undefined
  const isPaused = row.replacementPausedSince !== undefined
  if (wasPaused === isPaused) return []
  if (!isPaused) return [{ message: 'tasks on lost instances are replaced again', facts: {} }]
  const message =
    'so many instances vanished within a minute that their tasks are not replaced: the network is the likelier cause'
  return [{ level: 'warn', message, facts: { since: row.lossWindowSince } }]
}

function movesOfDefinition(before: TaskDefinitionRow | undefined, row: TaskDefinitionRow): readonly Move[] {
  if (before === undefined) return [{ message: 'task definition registered', facts: {} }]
  if (before.status === row.status) return []
  return [{ message: 'task definition status', facts: { from: before.status, to: row.status } }]
}

function exitCodes(row: TaskRow): Readonly<Record<string, number>> {
  const known = row.containers.flatMap(({ name, exitCode }) => (exitCode === undefined ? [] : [[name, exitCode]]))
  return Object.fromEntries(known)
}
