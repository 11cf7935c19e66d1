/**
 * Keys of tasks' roles on the channel of their agent. What an agent has of them is known to its sessions alone: keys are
 * made when they are sent, are sent again until the agent says that it has them, and anew once half of their life is over.
 *
 * Level-triggered, as all of a session: at any time the live tasks of the instance and what was sent of them tell what is
 * due. Where nothing is known of an agent (after a start of either side) all of it is.
 */
import type { IAMRoleCredentialsMessage, PayloadCredentials } from '../../proto/acs.ts'
import type { World } from '../../proto/world.ts'
import type { RoleRow } from '../state/iam-tables.ts'
import type { TaskRow } from '../state/tables.ts'
import type { Reader } from '../state/transaction.ts'
import { findRole } from '../iam/trust.ts'
import { assumableRole } from './assumable-role.ts'
import type { LogRightsView } from './log-rights.ts'
import { type TaskRole, hasRoles, taskRoles } from './task-roles.ts'

/** Keys of a task's role are good for this long. Source: ECS, "credentials ... valid for six hours". */
export const taskSessionMs = 6 * 60 * 60 * 1000
/** Not acknowledged, they are sent again after this time, then after twice that, and so on to the longest. */
const resendAfterMs = 10_000
const resendAfterMaxMs = 300_000
/** One step of a session sends this many messages at most: a thousand tasks get theirs over some seconds. */
export const credentialsPerStepMax = 100
/** Beyond it, ids of tasks that have stopped are forgotten before their time comes. */
const knownMax = 2000

export interface CredentialsRequest {
  readonly role: RoleRow
  readonly credentialsId: string
  readonly taskArn: string
  readonly taskId: string
  /** Where the task runs. */
  readonly containerInstanceArn?: string | undefined
  /** Epoch milliseconds, both. */
  readonly now: number
  readonly expiresAt: number
}

/** Makes keys of a role for a task. It is handed in, since it needs randomness and the key of the vault. */
export type MintCredentials = (request: CredentialsRequest) => PayloadCredentials

interface KnownCredentials {
  readonly taskId: string
  /** When they are to be sent (again), epoch milliseconds. */
  readonly dueAt: number
  /** When half of their life is over. */
  readonly refreshAt: number
  /** When they were made: a role whose sessions were revoked since gives new ones. */
  readonly madeAt: number
  /** The message whose ack is awaited, and how often one was sent; absent where the agent has them. */
  readonly unacked?: { readonly messageId: string; readonly sent: number } | undefined
}

/** By the credentials id, what the agent was sent; it outlives the channel, since agents dial anew every half hour. */
export interface SentCredentials {
  readonly known: ReadonlyMap<string, KnownCredentials>
  /** Before it nothing is due, but keys of new tasks, which travel in their payload. Epoch milliseconds. */
  readonly dueAt: number
  /** When all of the instance's tasks were last looked through. Epoch milliseconds. */
  readonly lookedAt: number
}

export const noCredentialsSent: SentCredentials = { known: new Map(), dueAt: 0, lookedAt: 0 }

export interface CredentialsView extends LogRightsView {
  /** After how long keys are replaced, milliseconds. Absent: once half of their life is over. */
  readonly refreshAfterMs?: number | undefined
  readonly mintCredentials: MintCredentials
}

export interface DueCredentials {
  readonly sent: SentCredentials
  readonly messages: readonly IAMRoleCredentialsMessage[]
  /** Roles whose keys can't be made (any more), for the log. */
  readonly failures: readonly { readonly task: string; readonly why: string }[]
}

/** The messages that are due, a bounded number at a time; undefined where there is nothing to do. */
export function dueCredentials(
  instanceId: string,
  before: SentCredentials,
  view: CredentialsView,
): DueCredentials | undefined {
  if (view.now < before.dueAt && latestRevocation(view.reader) < before.lookedAt) return undefined
  const known = new Map<string, KnownCredentials>()
  const messages: IAMRoleCredentialsMessage[] = []
  const failures: DueCredentials['failures'][number][] = []
  for (const task of view.reader.find('task', 'liveByInstance', instanceId)) {
    for (const role of taskRoles(view.reader, task)) {
      const { credentialsId } = role
      const last = before.known.get(credentialsId)
      // Of a task that the agent has never heard of they travel in its payload.
      if (last === undefined && !isTold(task)) continue
      if (last !== undefined && view.now < last.dueAt && !isRevoked(last, role, view.reader)) {
        known.set(credentialsId, last)
        continue
      }
      if (messages.length + failures.length >= credentialsPerStepMax) {
        if (last !== undefined) known.set(credentialsId, { ...last, dueAt: Math.min(last.dueAt, view.now) })
        else known.set(credentialsId, nothingMade(task, view.now, view.now))
        continue
      }
      const made = mintFor(task, role, view)
      if ('problem' in made) {
        failures.push({ task: task.taskArn, why: made.problem })
        known.set(credentialsId, nothingMade(task, view.now, view.now + resendAfterMaxMs))
        continue
      }
      const message = messageOf(task, role, made.credentials, view.world)
      messages.push(message)
      known.set(credentialsId, awaited(task, message, last, view))
    }
  }
  return { sent: { known, dueAt: earliest(known), lookedAt: view.now }, messages, failures }
}

/** What a payload carries of a task's keys. */
export interface TaskKeys {
  readonly roleCredentials?: PayloadCredentials
  readonly executionRoleCredentials?: PayloadCredentials
  /** Why there are none of a role, in ECS's words. */
  readonly problem?: string
}

export function keysFor(task: TaskRow, view: CredentialsView): TaskKeys {
  const keys: { -readonly [Key in keyof TaskKeys]: TaskKeys[Key] } = {}
  for (const role of taskRoles(view.reader, task)) {
    const made = mintFor(task, role, view)
    if ('problem' in made) keys.problem = made.problem
    else if (role.roleType === 'TaskApplication') keys.roleCredentials = made.credentials
    else keys.executionRoleCredentials = made.credentials
  }
  return keys
}

/** After payloads that carried keys: those need no ack of their own, for a payload is sent again without one. */
export function withPayloadsSent(
  before: SentCredentials,
  carried: readonly { readonly credentialsId: string; readonly taskId: string }[],
  view: CredentialsView,
): SentCredentials {
  if (carried.length === 0) return before
  const refreshAt = refreshAtOf(view)
  const known = new Map(before.known.size > knownMax ? stillLive(before.known, view.reader) : before.known)
  for (const { credentialsId, taskId } of carried) {
    known.set(credentialsId, { taskId, dueAt: refreshAt, refreshAt, madeAt: view.now })
  }
  return { ...before, known, dueAt: Math.min(before.dueAt, refreshAt) }
}

/** After the agent said that it has them. */
export function acknowledged(before: SentCredentials, credentialsId: string, messageId: string): SentCredentials {
  const last = before.known.get(credentialsId)
  if (last?.unacked?.messageId !== messageId) return before
  const { unacked: _, ...has } = last
  return { ...before, known: new Map(before.known).set(credentialsId, { ...has, dueAt: last.refreshAt }) }
}

function isTold({ acknowledgedSeqNum, reportedAt }: TaskRow): boolean {
  return acknowledgedSeqNum > 0 || reportedAt !== undefined
}

type Made = { readonly credentials: PayloadCredentials } | { readonly problem: string }

function mintFor(task: TaskRow, role: TaskRole, { reader, world, now, mintCredentials }: CredentialsView): Made {
  const found = assumableRole(reader, role.role, world, now)
  if ('problem' in found) return found
  const { taskArn, taskId, containerInstanceArn } = task
  const { credentialsId } = role
  const expiresAt = now + taskSessionMs
  const request = { role: found.role, credentialsId, taskArn, taskId, containerInstanceArn, now, expiresAt }
  return { credentials: mintCredentials(request) }
}

function messageOf(
  { taskArn, clusterArn }: TaskRow,
  { roleType }: TaskRole,
  roleCredentials: PayloadCredentials,
  world: World,
): IAMRoleCredentialsMessage {
  return { messageId: world.uuid(), taskArn, taskClusterArn: clusterArn, roleType, roleCredentials }
}

function awaited(
  { taskId }: TaskRow,
  { messageId }: IAMRoleCredentialsMessage,
  last: KnownCredentials | undefined,
  view: CredentialsView,
): KnownCredentials {
  const sent = (last?.unacked?.sent ?? 0) + 1
  const dueAt = view.now + Math.min(resendAfterMs * 2 ** (sent - 1), resendAfterMaxMs)
  return { taskId, dueAt, refreshAt: refreshAtOf(view), madeAt: view.now, unacked: { messageId, sent } }
}

/** They could not be made, or not yet. */
function nothingMade({ taskId }: TaskRow, now: number, dueAt: number): KnownCredentials {
  return { taskId, dueAt, refreshAt: now, madeAt: now }
}

/** What the task has is refused from then on: it is not to wait for half of its time. */
function isRevoked({ madeAt }: KnownCredentials, { role }: TaskRole, reader: Reader): boolean {
  return (findRole(reader, role)?.sessionsRevokedAt ?? -1) >= madeAt
}

/** Of any role; few are ever revoked. */
function latestRevocation(reader: Reader): number {
  return Math.max(
    -1,
    ...reader.find('role', 'revoked', 'revoked').map(({ sessionsRevokedAt = -1 }) => sessionsRevokedAt),
  )
}

function refreshAtOf({ now, refreshAfterMs = taskSessionMs / 2 }: CredentialsView): number {
  return now + refreshAfterMs
}

function earliest(known: ReadonlyMap<string, KnownCredentials>): number {
  let first = Number.MAX_SAFE_INTEGER
  for (const { dueAt } of known.values()) first = Math.min(first, dueAt)
  return first
}

function* stillLive(
  known: ReadonlyMap<string, KnownCredentials>,
  reader: Reader,
): Iterable<readonly [string, KnownCredentials]> {
  for (const [credentialsId, one] of known) {
    const task = reader.get('task', one.taskId)
    if (task !== undefined && task.lastStatus !== 'STOPPED' && hasRoles(task)) yield [credentialsId, one]
  }
}
