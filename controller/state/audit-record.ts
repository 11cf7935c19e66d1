/**
 * The audit trail's rows: who called what, on which resources, from where, and what was answered. Never what was given
 * or told: parameters and answers may hold secrets.
 */
export interface AuditRecord {
  /** Epoch milliseconds. */
  readonly at: number
  readonly requestId: string
  /** Absent where nobody could be made out. */
  readonly principalArn?: string | undefined
  /** As the signature names it, also where no such key exists. */
  readonly accessKeyId?: string | undefined
  /** `ecs:RunTask`; `gantry:Join`. */
  readonly action: string
  /** Those that the caller was asked for rights on, or was denied. At most `auditResourcesMax`. */
  readonly resources: readonly string[]
  readonly sourceAddress: string
  readonly isSecure: boolean
  /** `OK`, or the error's code. */
  readonly code: string
  readonly userAgent?: string | undefined
  /** How many more of the kind there were in the same second, that are not written down one by one. */
  readonly more?: number | undefined
}

export const auditResourcesMax = 20

export interface AuditQuery {
  readonly principalArn?: string | undefined
  /** Exactly, or every action of a service: `ecs:*`. */
  readonly action?: string | undefined
  readonly code?: string | undefined
  /** Epoch milliseconds, inclusive. */
  readonly since?: number | undefined
  readonly until?: number | undefined
  /** Go on behind this place: an answer's `next`. */
  readonly before?: AuditPlace | undefined
  readonly limit: number
}

/** Records stand in the order of their time, and those of one millisecond in the order in which they were written. */
export interface AuditPlace {
  /** Epoch milliseconds. */
  readonly at: number
  readonly id: number
}

export interface AuditPage {
  /** Newest first. Fewer than asked for, or none, where the look ended at its bound. */
  readonly records: readonly FoundAuditRecord[]
  /** Older records may follow behind this place; undefined: none do. */
  readonly next?: AuditPlace | undefined
}

export interface FoundAuditRecord extends AuditRecord {
  /** Greater was written later. */
  readonly id: number
  /** Of a record that was changed on disk: what is wrong. Nothing else that it says may be believed. */
  readonly damage?: string | undefined
}
