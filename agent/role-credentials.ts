/**
 * Keys of tasks' roles, in this process's memory and nowhere else: what is journalled of them is their ids. They come with
 * payloads and with messages of their own, anew in every life of the agent, and go with their tasks.
 *
 * Source: amazon-ecs-agent 1.105, `ecs-agent/credentials` (manager), `agent/engine` (a task's own keys are dropped when it
 * has stopped, those of its execution role with the last of it).
 */
import type { PayloadCredentials, RoleType } from '../proto/acs.ts'
import type { TaskRole, TaskRoles } from './decide/view.ts'

/** Keys as they are held: whoever prints one sees whose they are, and nothing to sign with. */
export class RoleKeys {
  readonly taskArn: string
  readonly roleType: RoleType
  readonly roleArn: string
  readonly accessKeyId: string
  /** ISO 8601, as it came. */
  readonly expiration: string
  readonly #secretAccessKey: string
  readonly #sessionToken: string

  constructor(taskArn: string, roleType: RoleType, credentials: PayloadCredentials) {
    this.taskArn = taskArn
    this.roleType = roleType
    this.roleArn = credentials.roleArn
    this.accessKeyId = credentials.accessKeyId
    this.expiration = credentials.expiration
    this.#secretAccessKey = credentials.secretAccessKey
    this.#sessionToken = credentials.sessionToken
  }

  /** To sign with, or to hand to a container of the task. */
  reveal(): { readonly accessKeyId: string; readonly secretAccessKey: string; readonly sessionToken: string } {
    return {
      accessKeyId: this.accessKeyId,
      secretAccessKey: this.#secretAccessKey,
      sessionToken: this.#sessionToken,
    }
  }

  isExpired(now: number): boolean {
    const end = Date.parse(this.expiration)
    return !Number.isNaN(end) && end <= now
  }
}

export interface RoleCredentials {
  put(taskArn: string, roleType: RoleType, credentials: PayloadCredentials, now: number): void
  /** Undefined where they have not come (again), or have ended by this clock. */
  keysOf(credentialsId: string, now: number): RoleKeys | undefined
  /** The ids of which there are keys; it changes as time goes on. */
  readonly ids: ReadonlySet<string>
  /** The task has stopped: its containers need no keys. */
  forgetTaskRole(taskArn: string): void
  /** Nothing is left of the task. */
  forgetTask(taskArn: string): void
}

/** Keys for tasks that never turn up are kept until they end, and no more of them than this. */
const keysMax = 50_000

export function createRoleCredentials(): RoleCredentials {
  const byId = new Map<string, RoleKeys>()
  const ids = new Set<string>()
  const drop = (credentialsId: string): void => {
    byId.delete(credentialsId)
    ids.delete(credentialsId)
  }
  const forget = (isIt: (keys: RoleKeys) => boolean, taskArn: string): void => {
    for (const [credentialsId, keys] of byId) if (keys.taskArn === taskArn && isIt(keys)) drop(credentialsId)
  }
  return {
    ids,

    put(taskArn, roleType, credentials, now) {
      const keys = new RoleKeys(taskArn, roleType, credentials)
      if (byId.size >= keysMax) for (const [id, one] of byId) if (one.isExpired(now)) drop(id)
      if (byId.size >= keysMax && !byId.has(credentials.credentialsId)) return
      byId.set(credentials.credentialsId, keys)
      ids.add(credentials.credentialsId)
    },

    keysOf(credentialsId, now) {
      const keys = byId.get(credentialsId)
      // They stay until others come: a clock that ran ahead for a moment must not cost a task its keys for hours.
      return keys?.isExpired(now) === true ? undefined : keys
    },

    forgetTaskRole: (taskArn) => forget(({ roleType }) => roleType === 'TaskApplication', taskArn),
    forgetTask: (taskArn) => forget(() => true, taskArn),
  }
}

/**
 * More than come in the time that keys are good for, also where an agent or a controller starts again and again: each start
 * brings new ones, and a program goes on with those that it asked for first.
 */
const issuedMax = 128

/** The roles of a task, with keys of one of them that have come. */
export function rolesWith(
  before: TaskRoles | undefined,
  roleType: RoleType,
  { credentialsId, roleArn, accessKeyId, expiration }: PayloadCredentials,
  now: number,
): TaskRoles {
  const role: TaskRole = { credentialsId, roleArn }
  if (roleType === 'TaskExecution') return { ...before, execution: role }
  const end = Date.parse(expiration)
  const endsAt = Number.isNaN(end) ? Number.MAX_SAFE_INTEGER : end
  const kept = (before?.task?.issued ?? []).filter((one) => one.endsAt > now && one.accessKeyId !== accessKeyId)
  return { ...before, task: { ...role, issued: [...kept, { accessKeyId, endsAt }].slice(-issuedMax) } }
}

/** What a payload's task says of its keys; each is taken only where it is whole. */
export function credentialsIn(
  task: unknown,
): readonly { readonly roleType: RoleType; readonly credentials: PayloadCredentials }[] {
  const { roleCredentials, executionRoleCredentials } = membersOf(task)
  const own = readCredentials(roleCredentials)
  const execution = readCredentials(executionRoleCredentials)
  return [
    ...(own === undefined ? [] : [{ roleType: 'TaskApplication' as const, credentials: own }]),
    ...(execution === undefined ? [] : [{ roleType: 'TaskExecution' as const, credentials: execution }]),
  ]
}

export function readCredentials(value: unknown): PayloadCredentials | undefined {
  const { credentialsId, roleArn, accessKeyId, secretAccessKey, sessionToken, expiration } = membersOf(value)
  if (typeof credentialsId !== 'string' || credentialsId === '') return undefined
  if (typeof accessKeyId !== 'string' || typeof secretAccessKey !== 'string') return undefined
  return {
    credentialsId,
    roleArn: textOf(roleArn),
    accessKeyId,
    secretAccessKey,
    sessionToken: textOf(sessionToken),
    expiration: textOf(expiration),
  }
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}

function membersOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {}
}
