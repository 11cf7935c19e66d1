/**
 * May this principal do this? Each routed operation has a row that says which actions on which resources it takes; what
 * has no row is denied.
 */
import type { Reader } from '../state/transaction.ts'
import type { Principal } from './principal.ts'

/** Condition keys and their values; a key that is not there is not known for this request. */
export type ConditionKeys = Readonly<Record<string, string | readonly string[] | undefined>>

/** One thing that is to be allowed. */
export interface AccessCheck {
  /** `ecs:RunTask`. */
  readonly action: string
  /** An ARN, or `*` where the action knows no resources. */
  readonly resource: string
  readonly keys?: ConditionKeys | undefined
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

/** Where an operation's checks are read from: its input, and rows that its input names. */
export type AccessRow<I = unknown> = (input: I, reader: Reader, place: Place) => readonly AccessCheck[]

export interface Place {
  readonly region: string
  readonly account: string
}
