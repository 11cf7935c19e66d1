/** What must hold of tasks that could not have what they are made with, by what was committed of them. */
import type { Finding } from '../../controller/decide/invariants.ts'
import type { TaskRow } from '../../controller/state/tables.ts'
import type { Change, Reader } from '../../controller/state/transaction.ts'
import { fileArn, missingParameter, parameterName, secretArn } from './sim-secrets.ts'

const things = [secretArn, parameterName, missingParameter, fileArn]

/** Why the task ended, where it is for want of what was to be fetched for it; as operators read it. */
export function wantOf(task: TaskRow | undefined): string | undefined {
  if (task === undefined) return undefined
  const reasons = [task.stoppedReason, ...task.containers.map(({ reason }) => reason)]
  return reasons.find((reason = '') => /unable to pull secrets|env file/.test(reason))
}

export function findingsOfWants(changes: readonly Change[], reader: Reader): readonly Finding[] {
  return changes.flatMap((change) => {
    if (change.table !== 'task' || change.row === undefined) return []
    const task = change.row as TaskRow
    const before = change.before as TaskRow | undefined
    const want = wantOf(task)
    if (want === undefined) return []
    return [
      ...(wantOf(before) === undefined ? findingsOfWords(task, want) : []),
      ...(task.isEndCounted === true && before?.isEndCounted !== true ? findingsOfCount(task, reader) : []),
    ]
  })
}

function findingsOfWords({ taskId }: TaskRow, want: string): readonly Finding[] {
  const isNamed = want.startsWith('ResourceInitializationError: ') && things.some((thing) => want.includes(thing))
  return isNamed ? [] : [{ invariant: 'whatIsMissingIsNamed', what: `task ${taskId} ended: ${want}` }]
}

/** Such an end is a failure of the deployment: its pauses and its circuit breaker go by them. */
function findingsOfCount({ taskId, stopCode, deploymentId = '' }: TaskRow, reader: Reader): readonly Finding[] {
  const deployment = reader.get('deployment', deploymentId)
  if (deployment === undefined || stopCode !== 'TaskFailedToStart' || deployment.cause !== undefined) return []
  return [{ invariant: 'tasksWithoutSecretsAreFailures', what: `${deploymentId} has not counted task ${taskId}` }]
}
