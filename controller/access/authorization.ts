/**
 * May this principal do this? Each routed operation has a row that says which actions on which resources it takes; what
 * has no row is denied.
 */
import type { Reader } from '../state/transaction.ts'
import type { Principal } from './principal.ts'

/** Condition keys and their values; a key that is not there is not known for this request. */
export type ConditionKeys = Readonly<Record<string, string | readonly string[] | undefined>>

/** Tags by their keys. */
export type TagMap = Readonly<Record<string, string>>

/** One thing that is to be allowed. */
export interface AccessCheck {
  /** `ecs:RunTask`. */
  readonly action: string
  /** An ARN, or `*` where the action knows no resources. */
  readonly resource: string
  /** The service's own keys and those of the tags that the request brings. Every request has the global ones by itself. */
  readonly keys?: ConditionKeys | undefined
  /**
   * The tags that the resource has, for `aws:ResourceTag/` and the service's own key of that name; asked for only where a
   * condition needs them. Undefined where the resource isn't there.
   */
  readonly resourceTags?: (() => TagMap | undefined) | undefined
  /** A policy that is put on the resource itself. */
  readonly resourcePolicy?: ResourcePolicyDocument | undefined
}

export interface ResourcePolicyDocument {
  /** JSON text, as it was put. */
  readonly document: string
  /** Of a role: it has to allow the call, whatever the caller's own policies say. */
  readonly isTrust: boolean
  /** The unique ids of the users and roles that it names, by ARN, when it was put: who took such a name since isn't meant. */
  readonly trustedIds?: Readonly<Record<string, string>> | undefined
}

/** What is known of every request, whatever it asks for. */
export interface RequestFacts {
  /** Epoch milliseconds. */
  readonly now: number
  readonly sourceAddress: string
  /** By TLS. */
  readonly isSecure: boolean
  readonly userAgent?: string | undefined
}

/** Where an operation's checks are read from: its input, rows that its input names, the caller where it names none. */
export type AccessRow<I = unknown> = (
  input: I,
  reader: Reader,
  place: Place,
  principal?: Principal,
) => readonly AccessCheck[]

/** What a row answers where no permission is asked for, and none can be withdrawn: everyone may ask who they are. */
export const openToAll: readonly AccessCheck[] = []

export interface Place {
  readonly region: string
  readonly account: string
}
