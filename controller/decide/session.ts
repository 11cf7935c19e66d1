/**
 * What an agent's control channel does next: pure, so that a simulation runs the very same sessions. An event and the
 * committed state go in; frames, inputs for the turn and log lines come out.
 *
 * Desired state is level-triggered: what is due is computed from the rows (`seqNum` against `acknowledgedSeqNum`), so a
 * lost frame, a lost ack or a restart of either side needs no special case.
 */
import type { Frame, HeartbeatMessage, TaskIdentifier, TaskStopVerificationAck } from '../../proto/acs.ts'
import { idOf } from '../../proto/arn.ts'
import type { World } from '../../proto/world.ts'
import {
  acknowledgePayload,
  type AgentFacts,
  agentConnected,
  agentDisconnected,
  applyHostReport,
  applyTaskStateChange,
} from '../ecs/submit.ts'
import type { Reader, Transaction } from '../state/transaction.ts'
import {
  readAck,
  readHostReport,
  readStopVerification,
  readTaskStateChange,
  type Unreadable,
} from './agent-messages.ts'
import { refuseForRole } from './role-refusal.ts'
import {
  acknowledged,
  afterRolesChanged,
  dueCredentials,
  noCredentialsSent,
  type SentCredentials,
  withPayloadsSent,
} from './session-credentials.ts'
import { duePayloads, manifestFor, type SentTasks, type SessionView } from './session-payloads.ts'

export const heartbeatIntervalMs = 5000
/** Heartbeat intervals without a sign of life after which the agent counts as disconnected. */
export const heartbeatsMissedMax = 3
/** The same as a time: the silence after which an agent with an open channel is disconnected. */
export const silenceMaxMs = heartbeatsMissedMax * heartbeatIntervalMs
/** A channel that closed and is back within this time was never lost. */
export const reconnectGraceMs = 15_000
/** After the controller's own start nothing is declared lost before agents had time to come back. */
export const startGraceMs = 60_000
/** Payloads whose ack is awaited; older ones are forgotten, and a late ack of them with it. */
const payloadsRememberedMax = 256

/** WebSocket close codes. The official agent redials at once after 1000 and 1011, and backs off after 1008. */
export const closeCodes = { normal: 1000, policy: 1008, serverError: 1011 } as const

export interface Session {
  readonly instanceId: string
  /** True from the connect's commit until the session closes its channel: only then is the agent told anything. */
  readonly open: boolean
  readonly heartbeatAt: number
  readonly heartbeatsUnanswered: number
  /** When the agent last said anything; at first, when its channel was opened. */
  readonly heardAt: number
  /** Id of the manifest that this session sent, whose stop candidates it will verify. */
  readonly manifestId: string | undefined
  /** For each task what was last sent, and when. */
  readonly sent: SentTasks
  /** Message id -> the tasks that its ack acknowledges, each with the sequence number that was sent. */
  readonly payloads: ReadonlyMap<string, ReadonlyMap<string, number>>
  /** Which keys of tasks' roles the agent was sent. */
  readonly credentials: SentCredentials
}

export type SessionEvent =
  | { readonly kind: 'connected' }
  | { readonly kind: 'committed' }
  | { readonly kind: 'tick' }
  | { readonly kind: 'rolesChanged' }
  | { readonly kind: 'frame'; readonly frame: Frame }
  | { readonly kind: 'submitted'; readonly change: string }
  | { readonly kind: 'refused'; readonly change: string; readonly reason: string }
  | { readonly kind: 'failed'; readonly reason: string }

export interface SessionInput {
  readonly name: string
  run(tx: Transaction, now: number, world: World): void
}

export type SessionEffect =
  | { readonly kind: 'send'; readonly type: string; readonly message: object }
  /** `change` is the id of a state change that is answered once its turn is committed or refused. */
  | { readonly kind: 'submit'; readonly input: SessionInput; readonly change?: string | undefined }
  | { readonly kind: 'close'; readonly code: number; readonly reason: string }
  | {
      readonly kind: 'log'
      readonly level: 'debug' | 'info' | 'warn' | 'error'
      readonly message: string
      readonly facts?: object | undefined
    }

export interface SessionStep {
  readonly session: Session
  readonly effects: readonly SessionEffect[]
}

/** `credentials`: what the agent has of an earlier session; nothing, where its process has just started. */
export function openSession(
  instanceId: string,
  now: number,
  credentials: SentCredentials = noCredentialsSent,
): Session {
  return {
    instanceId,
    open: false,
    heartbeatAt: now,
    heartbeatsUnanswered: 0,
    heardAt: now,
    manifestId: undefined,
    sent: new Map(),
    payloads: new Map(),
    // Whatever is not known of an agent that connects is looked for at once.
    credentials: { ...credentials, dueAt: now },
  }
}

export function stepSession(session: Session, event: SessionEvent, view: SessionView): SessionStep {
  switch (event.kind) {
    case 'connected':
      return greet({ ...session, open: true }, view)
    case 'committed':
      return session.open ? sendDue(session, view) : { session, effects: [] }
    case 'tick':
      return tick(session, view)
    case 'rolesChanged':
      return {
        session: { ...session, credentials: afterRolesChanged(session.credentials, view.now) },
        effects: [],
      }
    case 'frame':
      return hear({ ...session, heartbeatsUnanswered: 0, heardAt: view.now }, event.frame, view)
    case 'submitted':
      return { session, effects: [send('GantryTaskStateAck', { messageId: event.change })] }
    case 'refused':
      return {
        session,
        effects: [
          send('GantryTaskStateRefusal', { messageId: event.change, reason: event.reason }),
          log('warn', 'refused a state change of the agent', { reason: event.reason }),
        ],
      }
    default:
      return closeFailed(session, event.reason)
  }
}

/** The agent sends again what was not answered as soon as it is back, in order. */
function closeFailed(session: Session, reason: string): SessionStep {
  return {
    session: { ...session, open: false },
    effects: [
      log('warn', 'closing the channel: a message of the agent could not be committed', { reason }),
      { kind: 'close', code: closeCodes.policy, reason: 'The controller cannot commit; come back later' },
    ],
  }
}

/**
 * The turn's input for a channel that opened. An agent process that just started (`fullSync`) is told of every live task
 * again, because it may know none of them: so none counts as acknowledged.
 */
export function connectInput(instanceId: string, facts: AgentFacts, fullSync: boolean): SessionInput {
  return {
    name: 'agentConnected',
    run(tx, now) {
      agentConnected(tx, instanceId, facts, now)
      if (!fullSync) return
      for (const task of tx.find('task', 'liveByInstance', instanceId)) {
        if (task.acknowledgedSeqNum > 0) tx.put('task', task.taskId, { ...task, acknowledgedSeqNum: 0 })
      }
    },
  }
}

/** `silentSince`: when the agent was last heard, or when its channel closed. */
export function disconnectInput(instanceId: string, silentSince: number): SessionInput {
  return { name: 'agentDisconnected', run: (tx, now) => agentDisconnected(tx, instanceId, now, silentSince) }
}

/** When an instance whose channel has closed counts as disconnected, epoch milliseconds. */
export function disconnectDueAt(silentSince: number, readyAt: number): number {
  return Math.max(silentSince + reconnectGraceMs, readyAt + startGraceMs)
}

/** First things after a connect: a heartbeat, the manifest, then what is due. */
function greet(session: Session, view: SessionView): SessionStep {
  const instance = view.reader.get('instance', session.instanceId)
  if (instance === undefined || instance.status === 'INACTIVE') return closeInactive(session)
  const manifest = manifestFor(instance, view)
  const greeted = { ...session, manifestId: manifest.messageId, heartbeatAt: view.now, heartbeatsUnanswered: 1 }
  // A started agent has its tasks' state and no keys: they come before what may ask for them.
  const keys = sendCredentials(greeted, view)
  const due = sendDue(keys.session, view)
  return {
    session: due.session,
    effects: [
      log('info', 'agent connected', { timeline: manifest.timeline, tasks: manifest.tasks.length }),
      send('HeartbeatMessage', heartbeat(view)),
      send('TaskManifestMessage', manifest),
      ...keys.effects,
      ...due.effects,
    ],
  }
}

function tick(session: Session, view: SessionView): SessionStep {
  if (!session.open) return { session, effects: [] }
  if (isSilent(session, view.now)) return giveUp(session)
  const isBeat = view.now - session.heartbeatAt >= heartbeatIntervalMs
  const beating = isBeat
    ? { ...session, heartbeatAt: view.now, heartbeatsUnanswered: session.heartbeatsUnanswered + 1 }
    : session
  const due = sendDue(beating, view)
  const keys = due.session.open ? sendCredentials(due.session, view) : { session: due.session, effects: [] }
  const beat = isBeat ? [send('HeartbeatMessage', heartbeat(view))] : []
  return { session: keys.session, effects: [...beat, ...due.effects, ...keys.effects] }
}

/** Keys of tasks' roles that the agent lacks, or that are to be replaced. */
function sendCredentials(session: Session, view: SessionView): SessionStep {
  const due = dueCredentials(session.instanceId, session.credentials, view)
  if (due === undefined) return { session, effects: [] }
  return {
    session: { ...session, credentials: due.sent },
    effects: [
      ...due.failures.map((facts) =>
        log('warn', "keys of a task's role can't be made; those it has end in time", facts),
      ),
      ...due.messages.map((message) => send('IAMRoleCredentialsMessage', message)),
    ],
  }
}

/**
 * Silent for three heartbeat intervals. That two heartbeats went out in vain is asked as well, so that a clock that was
 * set forward, or a controller that was held up, alone disconnects nobody.
 */
function isSilent({ heardAt, heartbeatsUnanswered }: Session, now: number): boolean {
  return now - heardAt >= silenceMaxMs && heartbeatsUnanswered >= heartbeatsMissedMax - 1
}

function giveUp(session: Session): SessionStep {
  const { instanceId, heardAt } = session
  return {
    session: { ...session, open: false },
    effects: [
      log('warn', `the agent has said nothing for ${silenceMaxMs / 1000} s, to heartbeats neither: it is disconnected`),
      { kind: 'submit', input: disconnectInput(instanceId, heardAt) },
      { kind: 'close', code: closeCodes.serverError, reason: 'No answer to heartbeats' },
    ],
  }
}

function hear(session: Session, frame: Frame, view: SessionView): SessionStep {
  switch (frame.type) {
    case 'HeartbeatAckRequest':
      return { session, effects: [] }
    case 'IAMRoleCredentialsAckRequest':
      return hearCredentialsAck(session, frame)
    case 'AckRequest':
      return hearAck(session, frame)
    case 'NackRequest':
      return { session, effects: [log('warn', 'the agent refused a message', { reason: frame.message['reason'] })] }
    case 'TaskStopVerificationMessage':
      return hearStopCandidates(session, frame, view)
    case 'GantryTaskStateChange':
      return hearTaskStateChange(session, frame)
    case 'GantryHostReport':
      return hearHostReport(session, frame)
    default:
      return { session, effects: [log('debug', 'ignored a message of an unknown type', { type: frame.type })] }
  }
}

function hearAck(session: Session, frame: Frame): SessionStep {
  const ack = readAck(frame.message)
  if (isUnreadable(ack)) return { session, effects: [unreadable(frame, ack)] }
  const tasks = session.payloads.get(ack.messageId)
  if (tasks === undefined) return { session, effects: [] }
  const payloads = new Map(session.payloads)
  payloads.delete(ack.messageId)
  const { instanceId } = session
  return {
    session: { ...session, payloads },
    effects: [submit('acknowledgePayload', (tx) => acknowledgePayload(tx, instanceId, tasks))],
  }
}

/** Keys of a payload are acknowledged as well by the official agent; those need no ack of their own. */
function hearCredentialsAck(session: Session, frame: Frame): SessionStep {
  const { credentialsId, messageId } = frame.message
  if (typeof credentialsId !== 'string' || typeof messageId !== 'string') return { session, effects: [] }
  const credentials = acknowledged(session.credentials, credentialsId, messageId)
  return { session: { ...session, credentials }, effects: [] }
}

/** A candidate is stopped only where the committed state says that it should not run: a stale manifest kills nothing. */
function hearStopCandidates(session: Session, frame: Frame, view: SessionView): SessionStep {
  const read = readStopVerification(frame.message)
  if (isUnreadable(read)) return { session, effects: [unreadable(frame, read)] }
  if (read.messageId !== session.manifestId) {
    return { session, effects: [log('debug', 'ignored stop candidates of an older manifest')] }
  }
  const stopTasks = read.stopCandidates.filter((candidate) => !shouldRun(session, candidate, view.reader))
  if (stopTasks.length === 0) return { session, effects: [] }
  const message: TaskStopVerificationAck = {
    messageId: read.messageId,
    generatedAt: view.now,
    stopTasks: stopTasks.map(({ taskArn, taskClusterArn }) => ({ taskArn, taskClusterArn, desiredStatus: 'STOPPED' })),
  }
  const facts = { tasks: stopTasks.map(({ taskArn }) => taskArn) }
  return {
    session,
    effects: [
      send('TaskStopVerificationAck', message),
      log('info', 'the agent stops tasks that should not run', facts),
    ],
  }
}

function hearTaskStateChange(session: Session, frame: Frame): SessionStep {
  const { messageId } = frame.message
  const change = readTaskStateChange(frame.message)
  if (isUnreadable(change)) {
    if (typeof messageId !== 'string') return { session, effects: [unreadable(frame, change)] }
    const reason = `The message can't be read: ${change.unreadable}.`
    return stepRefused(session, messageId, reason)
  }
  const { instanceId } = session
  const input = submit('taskStateChange', (tx, now) => applyTaskStateChange(tx, { instanceId, change }, now))
  return { session, effects: [{ ...input, change: change.messageId }] }
}

function stepRefused(session: Session, messageId: string, reason: string): SessionStep {
  return {
    session,
    effects: [
      send('GantryTaskStateRefusal', { messageId, reason }),
      log('warn', 'refused a state change of the agent', { reason }),
    ],
  }
}

function hearHostReport(session: Session, frame: Frame): SessionStep {
  const report = readHostReport(frame.message)
  if (isUnreadable(report)) return { session, effects: [unreadable(frame, report)] }
  const { instanceId } = session
  return { session, effects: [submit('hostReport', (tx, now) => applyHostReport(tx, instanceId, report, now))] }
}

/** Payloads of all tasks that the agent has not acknowledged, but those sent a moment ago. */
function sendDue(session: Session, view: SessionView): SessionStep {
  const instance = view.reader.get('instance', session.instanceId)
  if (instance === undefined || instance.status === 'INACTIVE') return closeInactive(session)
  const due = duePayloads(instance, session.sent, view)
  if (due === undefined) return { session, effects: [] }
  const payloads = new Map(session.payloads)
  for (const { message, seqNums } of due.payloads) payloads.set(message.messageId, seqNums)
  for (const messageId of payloads.keys()) {
    if (payloads.size <= payloadsRememberedMax) break
    payloads.delete(messageId)
  }
  const credentials = withPayloadsSent(session.credentials, due.keys, view)
  return {
    session: { ...session, sent: due.sent, payloads, credentials },
    effects: [
      ...due.refused.map(({ taskId, why }) =>
        submit('refuseForRole', (tx, now) => refuseForRole(tx, taskId, why, now)),
      ),
      ...due.failures.map((facts) => log('error', 'a task cannot be sent to its agent', facts)),
      ...due.payloads.map(({ message }) => send('PayloadMessage', message)),
    ],
  }
}

function shouldRun(session: Session, { taskArn }: TaskIdentifier, reader: Reader): boolean {
  const task = reader.get('task', idOf(taskArn))
  if (task === undefined || task.instanceId !== session.instanceId) return false
  return task.desiredStatus === 'RUNNING' && task.lastStatus !== 'STOPPED'
}

function closeInactive(session: Session): SessionStep {
  return {
    session: { ...session, open: false },
    effects: [
      log('info', 'closing the channel of a deregistered container instance'),
      { kind: 'close', code: closeCodes.normal, reason: 'The container instance is deregistered' },
    ],
  }
}

function heartbeat({ world }: SessionView): HeartbeatMessage {
  return { healthy: true, messageId: world.uuid() }
}

function isUnreadable(value: object): value is Unreadable {
  return 'unreadable' in value
}

function unreadable(frame: Frame, { unreadable: why }: Unreadable): SessionEffect {
  return log('warn', 'ignored a message that cannot be read', { type: frame.type, why })
}

function send(type: string, message: object): SessionEffect {
  return { kind: 'send', type, message }
}

function submit(
  name: string,
  run: (tx: Transaction, now: number) => void,
): SessionEffect & { readonly kind: 'submit' } {
  return { kind: 'submit', input: { name, run } }
}

function log(level: 'debug' | 'info' | 'warn' | 'error', message: string, facts?: object): SessionEffect {
  return { kind: 'log', level, message, facts }
}
