/**
 * The audit trail's way into the store. A call that changes something is written down in the very turn of its change;
 * what only read or was refused goes with a turn within a second. What comes faster than can be kept is counted.
 */
import type { Log } from './log.ts'
import { type AuditRecord, auditResourcesMax } from './state/audit-record.ts'
import type { Turn } from './turn.ts'

export interface AuditTrail {
  /** Of a call that changed nothing. */
  record(record: AuditRecord): void
  /** Writes down what waits. Resolves once it is on disk, or found that it can't be. */
  flush(): Promise<void>
  close(): Promise<void>
}

export interface AuditServices {
  readonly turn: Pick<Turn, 'submit'>
  readonly log: Log
  /** Calls back every so many milliseconds; the answer ends it. */
  readonly every: (ms: number, then: () => void) => () => void
}

const flushEveryMs = 1000
/** Records that wait for the next flush one by one. Beyond: calls of one kind are one record with a count. */
const waitingMax = 5000
const kindsMax = 1000

export function startAudit({ turn, log, every }: AuditServices): AuditTrail {
  let waiting: AuditRecord[] = []
  /** What came beyond the bound: the first of each kind, and how many more. */
  const beyond = new Map<string, { readonly first: AuditRecord; more: number }>()
  let isFlushing = false

  async function flush(): Promise<void> {
    if (isFlushing || waiting.length + beyond.size === 0) return
    isFlushing = true
    const records = waiting
    const counted = [...beyond.values()].map(({ first, more }) => (more === 0 ? first : { ...first, more }))
    waiting = []
    beyond.clear()
    try {
      await turn.submit({
        name: 'audit',
        run(tx) {
          for (const each of [...records, ...counted]) tx.audit(each)
        },
      })
    } catch (error) {
      log.warn({ err: error, records: records.length }, 'the audit trail could not be written; trying again')
      // As many as there is room for, so that a disk that stays full takes no memory without end.
      waiting = [...records, ...waiting].slice(0, waitingMax)
    } finally {
      isFlushing = false
    }
  }

  function record(next: AuditRecord): void {
    if (waiting.length < waitingMax) {
      waiting.push(next)
      return
    }
    const kind = [next.principalArn, next.accessKeyId, next.action, next.code, next.sourceAddress].join(' ')
    const known = beyond.get(kind)
    if (known !== undefined) known.more += 1
    else if (beyond.size < kindsMax) beyond.set(kind, { first: next, more: 0 })
    else log.warn({ action: next.action, code: next.code }, 'too many kinds of calls in a second for the audit trail')
  }

  const stop = every(flushEveryMs, () => void flush())
  return {
    record,
    flush,
    async close() {
      stop()
      await flush()
    },
  }
}

/** What is known of a call before anything else is. */
export interface AuditedRequest {
  readonly requestId: string
  readonly sourceAddress: string
  readonly isSecure: boolean
  readonly userAgent?: string | undefined
  /** As its signature names it. */
  readonly accessKeyId?: string | undefined
}

const textMax = 256

/** A record with every text of the caller's bounded: what is written down for years must not be theirs to choose. */
export function auditRecordOf(
  { requestId, sourceAddress, isSecure, userAgent, accessKeyId }: AuditedRequest,
  call: Pick<AuditRecord, 'at' | 'action' | 'code' | 'principalArn' | 'resources'>,
): AuditRecord {
  const { at, action, code, principalArn, resources } = call
  return {
    at,
    requestId,
    ...(principalArn !== undefined && { principalArn }),
    ...(accessKeyId !== undefined && { accessKeyId: accessKeyId.slice(0, 128) }),
    action: action.slice(0, textMax),
    resources: [...new Set(resources)].slice(0, auditResourcesMax).map((resource) => resource.slice(0, 2 * textMax)),
    sourceAddress,
    isSecure,
    code,
    ...(userAgent !== undefined && { userAgent: userAgent.slice(0, textMax) }),
  }
}
