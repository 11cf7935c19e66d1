/** The one place that says yes or no to a caller, for every API and channel. */
import { ApiError } from '../../proto/errors.ts'
import type { ServiceName } from '../../proto/model/types.ts'
import type { Reader } from '../state/transaction.ts'
import type { AccessCheck, RequestFacts } from './authorization.ts'
import { hostActions } from './host-actions.ts'
import type { Principal } from './principal.ts'

export interface AskedOperation {
  readonly service: ServiceName
  readonly operation: string
  /** As the codec read it. */
  readonly input: unknown
}

export interface Access {
  /**
   * Throws AccessDeniedException unless each of the operation's checks is allowed; answers them, for the audit trail. An
   * operation without a row is denied.
   */
  requireOperation(
    reader: Reader,
    principal: Principal,
    asked: AskedOperation,
    facts: RequestFacts,
  ): readonly AccessCheck[]
  /** Throws AccessDeniedException unless this one thing is allowed. */
  require(reader: Reader, principal: Principal, check: AccessCheck, facts: RequestFacts): void
}

export function createAccess(): Access {
  return {
    requireOperation(reader, principal, { service, operation }, facts) {
      const check = { action: `${service}:${operation}`, resource: '*' }
      this.require(reader, principal, check, facts)
      return [check]
    },
    require(_reader, principal, { action, resource }) {
      if (principal.kind === 'root') return
      if (principal.kind === 'host' && hostActions.has(action)) return
      throw new ApiError(
        'AccessDeniedException',
        `User: ${principal.arn} is not authorized to perform: ${action} on resource: ${resource} because no ` +
          `identity-based policy allows the ${action} action`,
      )
    },
  }
}
