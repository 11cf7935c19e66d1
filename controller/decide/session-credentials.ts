/**
 * Keys of tasks' roles on the channel of their agent. What an agent has of them is known to its sessions alone: keys are
 * made when they are sent, are sent again until the agent says that it has them, and anew once half of their life is over.
 *
 * Level-triggered, as all of a session: at any time the live tasks of the instance and what was sent of them tell what is
 * due. Where nothing is known of an agent (after a start of either side) all of it is.
 */
import type { IAMRoleCredentialsMessage, PayloadCredentials } from '../../proto/acs.ts'
import { sha256Hex } from '../../proto/hash.ts'
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
  /** Of which life of the role they are: once its sessions are revoked, or it is made anew, they are refused. */
  readonly roleLife: string
  /** The message whose ack is awaited, and how often one was sent; absent where the agent has them. */
  readonly unacked?: { readonly messageId: string; readonly sent: number } | undefined
}

/** By the credentials id, what the agent was sent; it outlives the channel, since agents dial anew every half hour. */
export interface SentCredentials {
  readonly known: ReadonlyMap<string, KnownCredentials>
  /** Before it nothing is due, but keys of new tasks, which travel in their payload. Epoch milliseconds. */
  readonly dueAt: number
}

export const noCredentialsSent: SentCredentials = { known: new Map(), dueAt: 0 }

export interface CredentialsView extends LogRightsView {
  /** How long keys are good for, milliseconds; they are replaced once half of it is over. Absent: six hours. */
  readonly keysLifeMs?: number | undefined
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
  if (view.now < before.dueAt) return undefined
  const known = new Map<string, KnownCredentials>()
  const messages: IAMRoleCredentialsMessage[] = []
  const failures: DueCredentials['failures'][number][] = []
  for (const task of view.reader.find('task', 'liveByInstance', instanceId)) {
    for (const role of taskRoles(view.reader, task)) {
      const { credentialsId } = role
      const last = before.known.get(credentialsId)
      // Of a task that the agent has never heard of they travel in its payload.
      if (last === undefined && !isTold(task)) continue
      if (last !== undefined && view.now < last.dueAt && !isOver(last, role, view.reader)) {
        known.set(credentialsId, last)
        continue
      }
      if (messages.length + failures.length >= credentialsPerStepMax) {
        if (last !== undefined) known.set(credentialsId, { ...last, dueAt: Math.min(last.dueAt, view.now) })
        else known.set(credentialsId, nothingMade(task, role, view, view.now))
        continue
      }
      const made = mintFor(task, role, view)
      if ('problem' in made) {
        failures.push({ task: task.taskArn, why: made.problem })
        known.set(credentialsId, nothingMade(task, role, view, view.now + resendAfterMaxMs))
        continue
      }
      const message = messageOf(task, role, made.credentials, view.world)
      messages.push(message)
      known.set(credentialsId, awaited(task, role, { message, last }, view))
    }
  }
  return { sent: { known, dueAt: earliest(known) }, messages, failures }
}

/** Keys that a payload carries, by what is remembered of them. */
export interface CarriedKeys {
  readonly credentialsId: string
  readonly taskId: string
  readonly roleLife: string
}

/** What a payload carries of a task's keys. */
export interface TaskKeys {
  readonly roleCredentials?: PayloadCredentials
  readonly executionRoleCredentials?: PayloadCredentials
}

/** `problem`: why there are none of a role, in ECS's words. */
export function keysFor(
  task: TaskRow,
  view: CredentialsView,
): { readonly keys: TaskKeys; readonly carried: readonly CarriedKeys[]; readonly problem?: string | undefined } {
  const keys: { -readonly [Key in keyof TaskKeys]: TaskKeys[Key] } = {}
  const carried: CarriedKeys[] = []
  let problem: string | undefined
  for (const role of taskRoles(view.reader, task)) {
    const made = mintFor(task, role, view)
    if ('problem' in made) {
      problem = made.problem
      continue
    }
    if (role.roleType === 'TaskApplication') keys.roleCredentials = made.credentials
    else keys.executionRoleCredentials = made.credentials
    const { credentialsId } = role
    carried.push({ credentialsId, taskId: task.taskId, roleLife: roleLifeOf(role, view.reader) })
  }
  return { keys, carried, problem }
}

/** After a role was made, revoked or removed: all that was sent of it is looked at in the next step. */
export function afterRolesChanged(before: SentCredentials, now: number): SentCredentials {
  return { ...before, dueAt: Math.min(before.dueAt, now) }
}

/** After payloads that carried keys: those need no ack of their own, for a payload is sent again without one. */
export function withPayloadsSent(
  before: SentCredentials,
  carried: readonly CarriedKeys[],
  view: CredentialsView,
): SentCredentials {
  if (carried.length === 0) return before
  const known = new Map(before.known.size > knownMax ? stillLive(before.known, view.reader) : before.known)
  let { dueAt } = before
  for (const { credentialsId, taskId, roleLife } of carried) {
    const refreshAt = refreshAtOf(credentialsId, view)
    known.set(credentialsId, { taskId, dueAt: refreshAt, refreshAt, roleLife })
    dueAt = Math.min(dueAt, refreshAt)
  }
  return { ...before, known, dueAt }
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

function mintFor(task: TaskRow, role: TaskRole, view: CredentialsView): Made {
  const { reader, world, now, mintCredentials, keysLifeMs = taskSessionMs } = view
  const found = assumableRole(reader, role.role, world, now)
  if ('problem' in found) return found
  const { taskArn, taskId, containerInstanceArn } = task
  const { credentialsId } = role
  const expiresAt = now + keysLifeMs
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
  role: TaskRole,
  { message, last }: { readonly message: IAMRoleCredentialsMessage; readonly last: KnownCredentials | undefined },
  view: CredentialsView,
): KnownCredentials {
  const sent = (last?.unacked?.sent ?? 0) + 1
  const dueAt = view.now + Math.min(resendAfterMs * 2 ** (sent - 1), resendAfterMaxMs)
  const refreshAt = refreshAtOf(role.credentialsId, view)
  const { messageId } = message
  return { taskId, dueAt, refreshAt, roleLife: roleLifeOf(role, view.reader), unacked: { messageId, sent } }
}

/** They could not be made, or not yet. */
function nothingMade(
  { taskId }: TaskRow,
  role: TaskRole,
  { now, reader }: CredentialsView,
  dueAt: number,
): KnownCredentials {
  return { taskId, dueAt, refreshAt: now, roleLife: roleLifeOf(role, reader) }
}

/** What the task has is refused: it is not to wait for half of its time. Where the role is gone there is nothing to give. */
function isOver({ roleLife }: KnownCredentials, role: TaskRole, reader: Reader): boolean {
  const life = roleLifeOf(role, reader)
  return life !== '' && life !== roleLife
}

function roleLifeOf({ role }: TaskRole, reader: Reader): string {
  const row = findRole(reader, role)
  if (row === undefined) return ''
  const life = lives.get(row) ?? `${row.RoleId}/${row.revocationEpoch}`
  lives.set(row, life)
  return life
}

/** One text for all tasks of a role, of which there may be a hundred thousand. */
const lives = new WeakMap<RoleRow, string>()

/**
 * Up to a sixth of their time before its end, each id at a place of its own: keys that were made in one moment, such as
 * when all agents came back, are not made anew in one.
 */
function refreshAtOf(credentialsId: string, { now, keysLifeMs = taskSessionMs }: CredentialsView): number {
  const place = Number.parseInt(sha256Hex(credentialsId).slice(0, 8), 16) / 2 ** 32
  return Math.ceil(now + (keysLifeMs / 2) * (1 - place / 6))
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
