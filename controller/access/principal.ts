/** Who calls, as the signature and the rows behind it say. */

export type PrincipalKind =
  /** The key of the first start: may do everything. */
  | 'root'
  | 'user'
  /** A session of a role: somebody's AssumeRole, or a task. */
  | 'role'
  /** A host's agent: may act for its own instances alone. */
  | 'host'

export interface Principal {
  readonly kind: PrincipalKind
  /** `arn:aws:iam::A:root`, `...:user/ann`, `arn:aws:sts::A:assumed-role/ROLE/SESSION`. */
  readonly arn: string
  /** IAM's unique id; `ROLEID:SESSION` for a session. */
  readonly userId: string
  readonly accessKeyId: string
  /** What the signature is scoped to. */
  readonly signedFor: { readonly service: string; readonly region: string }
  readonly userName?: string | undefined
  readonly roleName?: string | undefined
  readonly sessionName?: string | undefined
  /** Of a host: its id; `local` for the one whose key the first start made. */
  readonly hostId?: string | undefined
  /** A policy document that narrows a session. */
  readonly sessionPolicy?: string | undefined
  readonly tags?: Readonly<Record<string, string>> | undefined
  /** Of a session: tags that it hands on to the sessions that are begun with its keys. */
  readonly transitiveTags?: Readonly<Record<string, string>> | undefined
  /** Of a session: who began the first of the chain, as they said. */
  readonly sourceIdentity?: string | undefined
  /** Of a session: when its keys were made, epoch milliseconds. */
  readonly tokenIssuedAt?: number | undefined
  /** Of a task's session. */
  readonly taskArn?: string | undefined
}
