/**
 * Why a task of a deployment failed, and whether a retry could heal it. The one place that reads the texts of agents:
 * ours leads with the official agent's error names and keeps the engine's own words behind them.
 *
 * Only what is definite is hopeless. A registry that says `denied` or `unauthorized` may mean a missing repository, a
 * missing login or one that is being renewed; `toomanyrequests`, time-outs and 5xx heal by themselves: all are retried.
 */
import type { DeploymentCause } from '../state/service-tables.ts'
import type { TaskContainer, TaskRow } from '../state/tables.ts'

/** What kind of failure it is. `retry`: another try may succeed. The others no retry can heal. */
export type FailureKind =
  | 'retry'
  | 'missingImage'
  | 'wrongArchitecture'
  | 'invalidReference'
  | 'brokenCommand'
  | 'refusedTask'

/** Texts under which the rest says nothing definite, whatever else stands there. */
const doubtful = new RegExp(
  [
    /access denied|(?<!permission )denied:|unauthorized|forbidden|authentication required|refused access|no pull access|no basic auth/,
    /toomanyrequests|too many requests|timed out|i\/o timeout|handshake timeout|Client\.Timeout|deadline exceeded/,
    /connection refused|connection reset|no such host|dial tcp|unexpected EOF|temporary failure/,
    /\b(?:429 Too Many|500 Internal|502 Bad|503 Service|504 Gateway)|HTTP status(?: code)?:? (?:429|5\d\d)/,
  ]
    .map(({ source }) => source)
    .join('|'),
  'i',
)

const definite: readonly (readonly [FailureKind, RegExp])[] = [
  // `no matching manifest for linux/arm64 in the manifest list entries`; runc's `exec /app: exec format error`.
  ['wrongArchitecture', /no matching manifest for|exec format error|does not match the (?:specified|host) platform/i],
  ['missingImage', /manifest unknown|manifest for \S+ not found|name unknown|repository name not known to registry/i],
  ['invalidReference', /invalid reference format|invalid repository name|must be lowercase/i],
  // runc, of a command that the image doesn't hold or can't run.
  ['brokenCommand', /exec: "[^"]*": (?:executable file not found|stat [^:]*: no such file|permission denied)/i],
  ['brokenCommand', /No command specified/i],
]

/** Words that only count in what an agent says of an image, since a program may say them of anything. */
const registryErrors = /^(?:CannotPull|CannotCreate|CannotStart)\w*Error/

/** How an agent says of a whole task that it can't or won't run it: agent/decide/payload.ts, and the official agent. */
const refusal = /^UnrecogniedTaskError: |^HostConfigError: |, which is not supported by this agent\.$/

/** What the text of a task or container's reason says. */
export function classifyReason(reason: string): FailureKind {
  if (refusal.test(reason)) return 'refusedTask'
  if (!registryErrors.test(reason) || doubtful.test(reason)) return 'retry'
  return definite.find(([, words]) => words.test(reason))?.[0] ?? 'retry'
}

/**
 * runc says that a program is of another architecture only after the container's start, on its output, and nothing else
 * comes after. The line is read here and goes no further.
 */
const foreignProgram = /^(?:exec \S+: |standard_init_linux\.go:\d+: exec user process caused: )"?exec format error"?$/

function kindOf(container: TaskContainer): FailureKind {
  const ofReason = classifyReason(container.reason ?? '')
  if (ofReason !== 'retry') return ofReason
  const lines = (container.lastLogLines ?? []).map((line) => line.trim()).filter((line) => line !== '')
  const isForeign = container.exitCode !== 0 && lines.length === 1 && foreignProgram.test(lines[0] ?? '')
  return isForeign ? 'wrongArchitecture' : 'retry'
}

export interface TaskFailure {
  readonly kind: FailureKind
  readonly cause: DeploymentCause
}

/** The failure that ended `task`. Asked only of a task that ended by itself. */
export function failureOf(task: TaskRow, now: number): TaskFailure {
  const judged = task.containers.map((container) => ({ container, kind: kindOf(container) }))
  const ofTask = classifyReason(task.stoppedReason ?? '')
  const guilty =
    judged.find(({ kind, container }) => kind !== 'retry' && container.essential) ??
    judged.find(({ container }) => container.essential && hasFailed(container)) ??
    judged.find(({ container }) => hasFailed(container))
  const kind = guilty === undefined || guilty.kind === 'retry' ? ofTask : guilty.kind
  const reason = guilty?.container.reason ?? task.stoppedReason ?? 'Task failed to start'
  return {
    kind,
    cause: {
      at: now,
      taskArn: task.taskArn,
      stopCode: task.stopCode,
      reason: kind === 'wrongArchitecture' && guilty?.container.reason === undefined ? foreignReason : reason,
      containerName: guilty?.container.name,
      exitCode: guilty?.container.exitCode,
      isHopeless: false,
    },
  }
}

const foreignReason =
  "exec format error: the container's program is not one that its host can run, most likely one of another architecture"

function hasFailed({ lastStatus, exitCode, reason }: TaskContainer): boolean {
  return lastStatus === 'STOPPED' && (reason !== undefined || (exitCode !== undefined && exitCode !== 0))
}

/** `container app of task 1f2e...: CannotPullContainerError: ... (exit code 1)`, for reasons and events. */
export function causeSentence({ taskArn, containerName, reason, exitCode }: DeploymentCause): string {
  const where = containerName === undefined ? '' : `container ${containerName} of `
  const code = exitCode === undefined ? '' : ` (exit code ${exitCode})`
  const who = taskArn === undefined ? '' : `${where}task ${taskArn.slice(taskArn.lastIndexOf('/') + 1)}: `
  return `${who}${reason.replace(/\.$/, '')}${code}`
}
