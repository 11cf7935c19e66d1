/** A policy as it is evaluated: everything that its document says, checked and compiled. */
import type { Condition } from './conditions.ts'
import type { Glob } from './glob.ts'
import type { Template } from './policy-template.ts'

/**
 * `identity`: what a user or role may do; also permissions boundaries and session policies. `trust`: who may take a role.
 * `resource`: who may do what with the one resource that it is put on.
 */
export type PolicyKind = 'identity' | 'trust' | 'resource'

export interface Policy {
  readonly kind: PolicyKind
  readonly statements: readonly Statement[]
}

export interface Statement {
  readonly sid: string | undefined
  readonly isDeny: boolean
  /** Patterns in lower case. */
  readonly actions: { readonly isNot: boolean; readonly patterns: readonly Glob[] }
  /** Undefined in trust policies, which stand for their own role. */
  readonly resources: { readonly isNot: boolean; readonly patterns: readonly Template[] } | undefined
  /** Undefined in identity policies, which stand for their holder. */
  readonly principals: { readonly isNot: boolean; readonly patterns: readonly PrincipalPattern[] } | undefined
  readonly conditions: readonly Condition[]
}

export type PrincipalPattern =
  | { readonly kind: 'everyone' }
  /** `arn:aws:iam::A:root`, or the account's number: whoever is in it, as far as their own policies allow. */
  | { readonly kind: 'account'; readonly account: string }
  /** A user, a role or one session of a role. */
  | { readonly kind: 'arn'; readonly arn: string }
  | { readonly kind: 'service'; readonly service: string }
