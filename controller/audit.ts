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
/** Of these, so many of calls that nobody could be made out for: a flood of them leaves the others their room. */
const unknownCallersMax = 1000
const kindsMax = 1000

export function startAudit({ turn, log, every }: AuditServices): AuditTrail {
  let waiting: AuditRecord[] = []
  /** What came beyond the bound: the first of each kind, and how many more. */
  const beyond = new Map<string, { readonly first: AuditRecord; more: number }>()
  let unknownCallers = 0
  let isToldOfKinds = false
  let flushing = Promise.resolve()

  async function write(): Promise<void> {
    if (waiting.length + beyond.size === 0) return
    const counted = [...beyond.values()].map(({ first, more }) => (more === 0 ? first : { ...first, more }))
    const records = [...waiting, ...counted]
    keep([])
    beyond.clear()
    isToldOfKinds = false
    try {
      await turn.submit({
        name: 'audit',
        run(tx) {
          for (const each of records) tx.audit(each)
        },
      })
    } catch (error) {
      log.warn({ err: error, records: records.length }, 'the audit trail could not be written; trying again')
      // As many as there is room for, so that a disk that stays full takes no memory without end.
      keep([...records, ...waiting].slice(0, waitingMax + kindsMax))
    }
  }

  function keep(records: AuditRecord[]): void {
    waiting = records
    unknownCallers = records.filter(isOfUnknownCaller).length
  }

  /** One after the other, so that whoever waits for it knows that what came before is written. */
  function flush(): Promise<void> {
    flushing = flushing.then(write)
    return flushing
  }

  function record(next: AuditRecord): void {
    const isUnknown = isOfUnknownCaller(next)
    if (waiting.length < waitingMax && (!isUnknown || unknownCallers < unknownCallersMax)) {
      waiting.push(next)
      if (isUnknown) unknownCallers += 1
      return
    }
    const kind = kindOf(next)
    const known = beyond.get(kind)
    if (known !== undefined) known.more += 1
    else if (beyond.size < kindsMax) beyond.set(kind, { first: next, more: 0 })
    else if (!isToldOfKinds) {
      isToldOfKinds = true
      log.warn({ action: next.action, code: next.code }, 'too many kinds of calls in a second for the audit trail')
    }
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

function isOfUnknownCaller({ principalArn }: AuditRecord): boolean {
  return principalArn === undefined
}

/** Action and key of a call that nobody signed are whatever its maker wrote there: they make no kind. */
function kindOf({ principalArn, accessKeyId, action, code, sourceAddress }: AuditRecord): string {
  const said = principalArn === undefined ? [] : [principalArn, accessKeyId, action]
  return [...said, code, sourceAddress].join(' ')
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
