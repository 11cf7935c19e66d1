/** The one place that says yes or no to a caller, for every API and channel. */
import { ApiError } from '../../proto/errors.ts'
import type { ServiceName } from '../../proto/model/types.ts'
import type { Reader } from '../state/transaction.ts'
import {
  type AccessCheck,
  openToAll,
  type Place,
  type RequestFacts,
  type ResourcePolicyDocument,
} from './authorization.ts'
import { accessDenied, resourceLengthMax } from './denial.ts'
import { evaluate, type PolicyCaller, type PolicySets, type ResourcePolicy } from './evaluate.ts'
import { createPolicyCache, type PolicyCache } from './policy-cache.ts'
import { policiesOf, type PrincipalPolicies } from './principal-policies.ts'
import type { Principal } from './principal.ts'
import { keyReader } from './request-keys.ts'
import { channelRow, type DiallingInstance } from './rows/channels.ts'
import { rowOf, routeRowOf } from './rows.ts'
import type { RestInput } from './rows/rest.ts'

export interface AskedOperation {
  readonly service: ServiceName
  readonly operation: string
  /** As the codec read it. */
  readonly input: unknown
}

export interface AskedRoute {
  /** `GET /v1/tasks/:task`. */
  readonly route: string
  readonly input: RestInput
}

export interface Access {
  /**
   * Throws AccessDeniedException unless each of the operation's checks is allowed; answers them, for the audit trail. An
   * operation without a row is denied to everyone but root.
   */
  requireOperation(
    reader: Reader,
    principal: Principal,
    asked: AskedOperation,
    facts: RequestFacts,
  ): readonly AccessCheck[]
  /** The same for a route of the operators' API. */
  requireRoute(reader: Reader, principal: Principal, asked: AskedRoute, facts: RequestFacts): readonly AccessCheck[]
  /** The same for a channel that an agent opens. */
  requireChannel(
    reader: Reader,
    principal: Principal,
    asked: DiallingInstance,
    facts: RequestFacts,
  ): readonly AccessCheck[]
  /** Throws AccessDeniedException unless this one thing is allowed. */
  require(reader: Reader, principal: Principal, check: AccessCheck, facts: RequestFacts): void
}

export function createAccess(place: Place): Access {
  const cache = createPolicyCache()
  const requireAll = (
    reader: Reader,
    principal: Principal,
    checks: readonly AccessCheck[],
    facts: RequestFacts,
  ): void => {
    if (principal.kind === 'root') return
    const policies = policiesOf(principal, reader)
    const sets = compileSets(policies, cache)
    for (const check of checks) {
      if (check.resource.length > resourceLengthMax) throw accessDenied(principal, check, noPolicy)
      const { principalArn } = policies
      const request = {
        action: check.action.toLowerCase(),
        resource: check.resource,
        read: keyReader({ principal, principalArn, facts, place }, check),
        caller: policyCaller(principal, policies, place, check.resourcePolicy?.trustedIds),
      }
      const decision = evaluate(sets, request, compileResourcePolicy(check.resourcePolicy, cache))
      if (!decision.isAllowed) throw accessDenied(principal, check, decision)
    }
  }
  const requireRow = (
    reader: Reader,
    principal: Principal,
    { name, checks }: { readonly name: string; readonly checks: readonly AccessCheck[] },
    facts: RequestFacts,
  ): readonly AccessCheck[] => {
    if (checks === openToAll) return [{ action: name, resource: '*' }]
    refuseTooMany(name, checks)
    if (checks.length > 0) {
      requireAll(reader, principal, checks, facts)
      return checks
    }
    // Nothing says what this would take, so nothing can allow it.
    const unknown = { action: name, resource: '*' }
    if (principal.kind !== 'root') throw accessDenied(principal, unknown, noPolicy)
    return [unknown]
  }
  return {
    requireOperation(reader, principal, { service, operation, input }, facts) {
      const checks = rowOf(service, operation)?.(input, reader, place, principal) ?? []
      return requireRow(reader, principal, { name: `${service}:${operation}`, checks }, facts)
    },
    requireRoute(reader, principal, { route, input }, facts) {
      const checks = routeRowOf(route)?.(input, reader, place, principal) ?? []
      return requireRow(reader, principal, { name: `gantry:${route}`, checks }, facts)
    },
    requireChannel(reader, principal, asked, facts) {
      return requireRow(reader, principal, { name: asked.action, checks: channelRow(asked, reader, place) }, facts)
    },
    require: (reader, principal, check, facts) => requireAll(reader, principal, [check], facts),
  }
}

/** No call of AWS's takes more than a hundred names, and none is asked for more than twice. */
const checksMax = 200

/** Each name is judged by itself, so that a body full of names would hold up everybody else for a second. */
function refuseTooMany(name: string, { length }: readonly AccessCheck[]): void {
  if (length <= checksMax) return
  const code = name.startsWith('ssm:') ? 'ValidationException' : 'InvalidParameterException'
  throw new ApiError(code, `The request names ${length} resources, and no call takes more than ${checksMax}.`)
}

const noPolicy = { isAllowed: false, isExplicit: false, by: 'identity' } as const
const noStatements = { kind: 'identity', statements: [] } as const

function compileSets({ identity, boundary, session }: PrincipalPolicies, cache: PolicyCache): PolicySets {
  return {
    identity: identity.map((document) => cache.compile(document, 'identity')),
    boundary: boundary === null ? noStatements : compileIdentity(boundary, cache),
    session: compileIdentity(session, cache),
  }
}

function compileIdentity(document: string | undefined, cache: PolicyCache): PolicySets['session'] {
  return document === undefined ? undefined : cache.compile(document, 'identity')
}

function compileResourcePolicy(
  given: ResourcePolicyDocument | undefined,
  cache: PolicyCache,
): ResourcePolicy | undefined {
  if (given === undefined) return undefined
  return { policy: cache.compile(given.document, given.isTrust ? 'trust' : 'resource'), isTrust: given.isTrust }
}

function policyCaller(
  { kind, arn }: Principal,
  { principalArn, principalId }: PrincipalPolicies,
  { account }: Place,
  trustedIds: ResourcePolicyDocument['trustedIds'],
): PolicyCaller {
  const isSession = principalArn !== arn
  return {
    kind: kind === 'host' ? 'role' : kind,
    account,
    arn,
    ...(isSession && { roleArn: principalArn }),
    ...(trustedIds !== undefined && {
      isNamed: (named: string) => trustedIds[named] === undefined || trustedIds[named] === principalId,
    }),
  }
}
