/**
 * What the audit trail is told of one call. What the call changes is committed together with its record: the turn that a
 * call submits to is this one's (`auditedTurn`), whatever route or operation it is.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { isApiError } from '../../proto/errors.ts'
import { claimedKeyId } from '../../proto/sigv4.ts'
import type { AccessCheck } from '../access/authorization.ts'
import type { Principal } from '../access/principal.ts'
import { type AuditedRequest, auditRecordOf, type AuditTrail } from '../audit.ts'
import type { Transaction } from '../state/transaction.ts'
import type { Turn } from '../turn.ts'
import { headerText } from './protocol.ts'
import type { RpcRequest } from './rpc-request.ts'

const trails = new AsyncLocalStorage<CallTrail>()

export class CallTrail {
  readonly #audit: AuditTrail
  readonly #request: AuditedRequest
  readonly #action: string
  readonly #at: number
  #principal: Principal | undefined
  #resources: readonly string[] = []
  #isCommitted = false
  #hasEnded = false

  /** `action` is what the call asks for, as far as it says; `at` is epoch milliseconds. */
  constructor(audit: AuditTrail, request: AuditedRequest, action: string, at: number) {
    this.#audit = audit
    this.#request = request
    this.#action = action
    this.#at = at
  }

  /** Everything that `then` does, and waits for, belongs to this call. */
  run<T>(then: () => T): T {
    return trails.run(this, then)
  }

  by(principal: Principal): void {
    this.#principal = principal
  }

  on(checks: readonly AccessCheck[]): void {
    this.#resources = checks.map(({ resource }) => resource)
  }

  /** Within the turn that carries the call out. */
  writeInto(tx: Transaction): void {
    if (this.#isCommitted) return
    tx.audit(this.#record('OK'))
    this.#isCommitted = true
  }

  /** Once the answer is known: `OK`, or what the call was refused with. */
  end(outcome: unknown): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    const code = outcome === 'OK' ? 'OK' : isApiError(outcome) ? outcome.code : 'ServerException'
    // A record that was to go with the turn went with it, unless the turn was not committed.
    if (code === 'OK' && this.#isCommitted) return
    if (isDenied(outcome)) this.#resources = [outcome.resource]
    this.#audit.record(this.#record(code))
  }

  #record(code: string) {
    const principalArn = this.#principal?.arn
    const accessKeyId = this.#principal?.accessKeyId ?? this.#request.accessKeyId
    return auditRecordOf(
      { ...this.#request, accessKeyId },
      {
        at: this.#at,
        action: this.#action,
        code,
        principalArn,
        resources: this.#resources,
      },
    )
  }
}

/** A turn whose inputs bring the record of the call that submits them. Inputs of nobody's call are as they were. */
export function auditedTurn(turn: Turn): Turn {
  return {
    reader: turn.reader,
    draft: () => turn.draft(),
    onCommit: (listener) => turn.onCommit(listener),
    status: () => turn.status(),
    close: () => turn.close(),
    submit(input) {
      const trail = trails.getStore()
      if (trail === undefined) return turn.submit(input)
      return turn.submit({
        name: input.name,
        run(tx, now, world) {
          const value = input.run(tx, now, world)
          trail.writeInto(tx)
          return value
        },
      })
    },
  }
}

/** What a request says of itself. Its key is read as the verifier reads it: whether it is anybody's shows later. */
export function auditedRequestOf(request: Omit<RpcRequest, 'body' | 'method'>): AuditedRequest {
  const { requestId, sourceAddress, isSecure, headers } = request
  const claimed = claimedKeyId(request)
  return {
    requestId,
    sourceAddress,
    isSecure,
    userAgent: headerText(headers['user-agent']) || undefined,
    accessKeyId: claimed !== undefined && /^[A-Za-z0-9]{1,128}$/.test(claimed) ? claimed : undefined,
  }
}

/** An access error says which resource was denied. */
function isDenied(outcome: unknown): outcome is { readonly resource: string } {
  return isApiError(outcome) && 'resource' in outcome && typeof outcome.resource === 'string'
}
