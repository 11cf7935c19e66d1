/**
 * Short-lived keys. Everything about a session stands in its token, sealed by the vault, and nothing of it is stored: so
 * thousands of tasks cost no rows. What ends a session early is compared with the rows when it is used: the id of its role
 * or user, and the role's count of revocations.
 */
import type { IamTag } from '../../proto/model/iam-types.ts'
import type { World } from '../../proto/world.ts'
import type { RoleRow } from '../state/iam-tables.ts'
import type { Vault } from '../state/vault.ts'
import { newSecretAccessKey, newSessionKeyId } from './key-ids.ts'

/** Whose rights a session has, within which bounds. */
export interface SessionFacts {
  /** `role`: AssumeRole, and the keys of tasks. `user` and `root`: GetSessionToken. */
  readonly kind: 'role' | 'user' | 'root'
  /** The unique id of the role or user: one that was deleted and made anew has another. The account for root. */
  readonly principalId: string
  /** The role's or user's name; `root` for root. */
  readonly name: string
  /** Behind the role's name in the session's ARN; empty for users and root. */
  readonly sessionName: string
  /** The role's `revocationEpoch` when the session began; 0 for users and root. */
  readonly epoch: number
  /** The key that asked for it, for users and root: the session ends with it. */
  readonly sourceKeyId?: string | undefined
  /** JSON text. What the session may do is what the role and this allow. */
  readonly sessionPolicy?: string | undefined
  /** `aws:PrincipalTag` of the session: they stand over those of the role. */
  readonly tags?: readonly IamTag[] | undefined
  readonly transitiveTagKeys?: readonly string[] | undefined
  readonly sourceIdentity?: string | undefined
  /** The task whose role this is, and the instance it was sent to. */
  readonly taskArn?: string | undefined
  readonly containerInstanceArn?: string | undefined
}

export interface SessionContent extends SessionFacts {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  /** Epoch milliseconds: `aws:TokenIssueTime`. */
  readonly issuedAt: number
  /** Epoch milliseconds. */
  readonly expiresAt: number
}

export interface SessionKeys {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken: string
  /** Epoch milliseconds. */
  readonly expiresAt: number
}

/** Names the format, so that a later one can be told apart. */
const tokenPrefix = 'gantry1.'
const context = 'sts/session-token'

/** Keys that end at `expiresAt`, epoch milliseconds. Nothing is written down. */
export function mintSession(
  facts: SessionFacts,
  expiresAt: number,
  given: { readonly vault: Vault; readonly world: World; readonly now: number },
): SessionKeys {
  const keys = { accessKeyId: newSessionKeyId(given.world), secretAccessKey: newSecretAccessKey(given.world) }
  const content: SessionContent = { ...facts, ...keys, issuedAt: given.now, expiresAt }
  return { ...keys, sessionToken: tokenPrefix + given.vault.seal(JSON.stringify(content), context), expiresAt }
}

/** The facts of a role's session: what AssumeRole and the keys of a task begin with. */
export function roleSession(role: RoleRow, sessionName: string, more: Partial<SessionFacts> = {}): SessionFacts {
  const { RoleId, RoleName, revocationEpoch } = role
  return { ...more, kind: 'role', principalId: RoleId, name: RoleName, sessionName, epoch: revocationEpoch }
}

/** What a token says; undefined where this controller did not seal it. Whether it still holds is the caller's to judge. */
export function openSessionToken(token: string, vault: Vault): SessionContent | undefined {
  if (!token.startsWith(tokenPrefix)) return undefined
  let text: string
  try {
    text = vault.open(token.slice(tokenPrefix.length), context)
  } catch {
    // Altered, of another controller, or sealed under a key that is gone: to its bearer all of these are no token.
    return undefined
  }
  return JSON.parse(text) as SessionContent
}
