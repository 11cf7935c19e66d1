/** What the controller says, one function per message type. Answers that promise something wait for the commit. */
import type { Frame, TaskIdentifier } from '../proto/acs.ts'
import { withAddedContainers } from './decide/added-containers.ts'
import { admitTask, readmitTask } from './decide/admission.ts'
import { readPayloadTask } from './decide/payload.ts'
import type { Outbox } from './outbox.ts'
import { credentialsIn, readCredentials, rolesWith } from './role-credentials.ts'
import type { RoleCredentials } from './role-credentials.ts'
import type { AgentTurnConfig, TurnLog } from './turn-options.ts'
import { addTask, setFacts, setPayload } from './turn-state.ts'
import type { LiveTask, TurnState } from './turn-state.ts'

export interface FrameContext {
  readonly state: TurnState
  readonly outbox: Outbox
  readonly config: AgentTurnConfig
  readonly log: TurnLog
  readonly now: number
  readonly roleCredentials?: RoleCredentials | undefined
}

type Message = Readonly<Record<string, unknown>>
type FrameHandler = (context: FrameContext, message: Message) => void

const handlers: Readonly<Record<string, FrameHandler>> = {
  HeartbeatMessage({ state }, { messageId }) {
    state.promptReplies.push({ type: 'HeartbeatAckRequest', message: { messageId } })
  },
  PayloadMessage: onPayload,
  IAMRoleCredentialsMessage: onRoleCredentials,
  TaskManifestMessage: onManifest,
  TaskStopVerificationAck: onStopVerificationAck,
  GantryTaskStateAck({ state, outbox, now }, { messageId }) {
    settleDelivery(state, outbox, String(messageId), now)
  },
  GantryTaskStateRefusal({ state, outbox, log, now }, { messageId, reason }) {
    const task = settleDelivery(state, outbox, String(messageId), now)
    log.warn({ task, reason }, 'the controller refused a state change for good')
  },
  StageUpdateMessage: refuseUpdate,
  PerformUpdateMessage: refuseUpdate,
}

/** An unknown type is a line for the curious, nothing else: a newer controller may say more than we understand. */
export function handleFrame(context: FrameContext, frame: Frame): void {
  const handler = Object.hasOwn(handlers, frame.type) ? handlers[frame.type] : undefined
  if (handler === undefined) context.log.debug({ type: frame.type }, 'message of an unknown type is ignored')
  else handler(context, frame.message)
}

function onPayload(context: FrameContext, message: Message): void {
  const { state, log, now } = context
  const { messageId, clusterArn, seqNum, tasks } = message
  if (!isForThisInstance(context, message)) return
  if (!Array.isArray(tasks)) {
    log.warn({ messageId }, 'a payload without tasks is ignored')
    return
  }
  const read = tasks.map((task) => readPayloadTask(task))
  const accepted = read.every((one) => one !== undefined && one.malformed === undefined)
  // STOPPED first, so that what they hold is free for those that start.
  const ordered = read
    .filter((one) => one !== undefined)
    .toSorted((a, b) => Number(b.task.desiredStatus === 'STOPPED') - Number(a.task.desiredStatus === 'STOPPED'))
  for (const { task: sent, malformed } of ordered) {
    const task = malformed === undefined ? withAddedContainers(sent, context.config.pauseImage) : sent
    const known = state.tasks.get(task.arn)
    if (known === undefined) {
      const facts = admitTask(task, malformed, now)
      addTask(state, task, facts)
      log.info({ task: task.arn, desiredStatus: task.desiredStatus, refused: facts.reason }, 'task accepted')
    } else if (malformed === undefined) {
      const facts = readmitTask(known.facts, task, now)
      if (known.facts.adopted) setPayload(state, known, task)
      setFacts(state, known, facts)
    }
  }
  for (const task of tasks) takeKeys(context, task, messageId)
  if (typeof seqNum === 'number') raiseSeqNum(state, seqNum)
  if (accepted) acknowledge(state, clusterArn, message)
  else
    log.warn({ messageId }, 'a payload with tasks that cannot be read is not acknowledged; they are reported STOPPED')
}

/** Ids of keys become facts; keys stay in memory, and each is acknowledged as the official agent does. */
function takeKeys({ state, roleCredentials, now }: FrameContext, sent: unknown, messageId: unknown): void {
  const taskArn = String(membersOf(sent)['arn'])
  const task = state.tasks.get(taskArn)
  const keys = credentialsIn(sent)
  if (task === undefined || keys.length === 0) return
  for (const { roleType, credentials } of keys) {
    const { credentialsId, expiration } = credentials
    setFacts(state, task, { ...task.facts, roles: rolesWith(task.facts.roles, roleType, credentials, now) })
    roleCredentials?.put(taskArn, roleType, credentials, now)
    state.promptReplies.push({
      type: 'IAMRoleCredentialsAckRequest',
      message: { messageId, expiration, credentialsId },
    })
  }
  state.dirty.add(taskArn)
}

/** Keys in the place of others, or anew after a restart. Those of a task that is not found yet wait for it in memory. */
function onRoleCredentials({ state, log, roleCredentials, now }: FrameContext, message: Message): void {
  const { messageId, taskArn, roleType } = message
  const credentials = readCredentials(message['roleCredentials'])
  const isKnownType = roleType === 'TaskApplication' || roleType === 'TaskExecution'
  if (typeof taskArn !== 'string' || credentials === undefined || !isKnownType) {
    log.warn({ messageId, task: taskArn }, "keys of a task's role that can't be read are ignored")
    return
  }
  const { credentialsId, expiration, roleArn } = credentials
  roleCredentials?.put(taskArn, roleType, credentials, now)
  const task = state.tasks.get(taskArn)
  if (task !== undefined) {
    setFacts(state, task, { ...task.facts, roles: rolesWith(task.facts.roles, roleType, credentials, now) })
    state.dirty.add(taskArn)
  }
  state.promptReplies.push({ type: 'IAMRoleCredentialsAckRequest', message: { messageId, expiration, credentialsId } })
  log.debug({ task: taskArn, roleType, role: roleArn, expiration }, "keys of a task's role have come")
}

function membersOf(value: unknown): Message {
  return typeof value === 'object' && value !== null ? (value as Message) : {}
}

function onManifest(context: FrameContext, message: Message): void {
  const { state, log } = context
  const { messageId, timeline, tasks, clusterArn } = message
  if (!isForThisInstance(context, message)) return
  if (typeof timeline !== 'number' || !Array.isArray(tasks)) return
  if (timeline <= state.seqNum) {
    log.debug({ timeline, seqNum: state.seqNum }, 'a manifest older than what was seen is discarded')
    return
  }
  raiseSeqNum(state, timeline)
  acknowledge(state, clusterArn, message)
  const listed = new Set(tasks.filter(isIdentifier).map(({ taskArn }) => taskArn))
  state.lastManifest = { messageId: String(messageId), listed, asked: new Set() }
  askToStop(context, [...state.tasks.values()])
}

/**
 * Asks the controller about tasks of ours that its last manifest does not list. Containers may be found and adopted
 * only after the manifest came, so each of those is asked about as well; else it would run on until the next one.
 */
export function askToStop(context: Pick<FrameContext, 'state' | 'log'>, tasks: readonly LiveTask[]): void {
  const { state, log } = context
  const manifest = state.lastManifest
  if (manifest === undefined) return
  const stopCandidates = tasks
    .filter(({ facts }) => facts.desiredStatus === 'RUNNING' && facts.knownStatus !== 'STOPPED')
    .filter(({ payload }) => !manifest.listed.has(payload.arn))
    .map(({ payload }): TaskIdentifier => {
      return { taskArn: payload.arn, taskClusterArn: payload.taskClusterArn, desiredStatus: 'STOPPED' }
    })
  if (stopCandidates.length === 0) return
  for (const { taskArn } of stopCandidates) manifest.asked.add(taskArn)
  log.info({ candidates: stopCandidates.length }, 'tasks that the manifest does not list may have to stop')
  const { messageId } = manifest
  state.replies.push({ type: 'TaskStopVerificationMessage', message: { messageId, stopCandidates } })
}

function onStopVerificationAck({ state, log }: FrameContext, message: Message): void {
  const { messageId, stopTasks } = message
  const manifest = state.lastManifest
  if (manifest === undefined || messageId !== manifest.messageId || !Array.isArray(stopTasks)) {
    log.warn({ messageId }, 'a stop verification that names another manifest is ignored')
    return
  }
  for (const { taskArn } of stopTasks.filter(isIdentifier)) {
    const task = state.tasks.get(taskArn)
    if (!manifest.asked.delete(taskArn) || task === undefined) continue
    log.info({ task: taskArn }, 'task is no longer wanted and stops')
    setFacts(state, task, { ...task.facts, desiredStatus: 'STOPPED' })
  }
}

function isIdentifier(value: unknown): value is Pick<TaskIdentifier, 'taskArn'> {
  return typeof value === 'object' && value !== null && 'taskArn' in value && typeof value.taskArn === 'string'
}

function refuseUpdate({ state, config }: FrameContext, { messageId, clusterArn }: Message): void {
  const message = {
    cluster: clusterArn ?? config.cluster,
    containerInstance: config.containerInstanceArn,
    messageId,
    reason: 'Updates are disabled',
  }
  state.promptReplies.push({ type: 'NackRequest', message })
}

/** An answer to a STOPPED report, of either kind, is the end of what the controller needs to hear about the task. */
function settleDelivery(state: TurnState, outbox: Outbox, messageId: string, now: number): string | undefined {
  const entry = outbox.delivered(messageId)
  if (entry === undefined) return undefined
  state.unsaved.delivered.add(entry.sequence)
  state.unsaved.outbox.delete(entry.sequence)
  const task = state.tasks.get(entry.change.task)
  if (task !== undefined && entry.change.status === 'STOPPED') {
    setFacts(state, task, { ...task.facts, stoppedAcknowledgedAt: task.facts.stoppedAcknowledgedAt ?? now })
  }
  return entry.change.task
}

function isForThisInstance({ config, log }: FrameContext, message: Message): boolean {
  const { containerInstanceArn, messageId, clusterArn } = message
  if (containerInstanceArn === config.containerInstanceArn && messageId && clusterArn) return true
  log.warn({ containerInstanceArn, messageId }, 'a message for another container instance is ignored')
  return false
}

function acknowledge(state: TurnState, clusterArn: unknown, { messageId, containerInstanceArn }: Message): void {
  const message = { cluster: clusterArn, containerInstance: containerInstanceArn, messageId }
  state.replies.push({ type: 'AckRequest', message })
}

function raiseSeqNum(state: TurnState, seqNum: number): void {
  if (seqNum <= state.seqNum) return
  state.seqNum = seqNum
  state.unsaved.seqNum = true
}
