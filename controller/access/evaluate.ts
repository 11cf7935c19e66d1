/**
 * May this be done? An explicit deny wins over everything, an allow over nothing; and what a permissions boundary or a
 * session policy doesn't allow is not allowed.
 *
 * Source: AWS IAM User Guide, "Policy evaluation logic", with "Evaluating identity-based policies with resource-based
 * policies" for one account.
 */
import { holdsCondition } from './conditions.ts'
import { matchesGlob } from './glob.ts'
import type { Policy, PrincipalPattern, Statement } from './policy.ts'
import { type KeyReader, resolveGlob } from './policy-template.ts'

export interface EvaluatedRequest {
  /** In lower case. */
  readonly action: string
  readonly resource: string
  readonly read: KeyReader
  /** Whom policies with principals are held against. */
  readonly caller?: PolicyCaller | undefined
}

/** A caller as a Principal element names callers. */
export type PolicyCaller =
  | { readonly kind: 'service'; readonly service: string }
  | {
      readonly kind: 'user' | 'role' | 'root'
      readonly account: string
      /** Of a user, or of a role's session. */
      readonly arn: string
      /** Of a session: the role's own ARN. */
      readonly roleArn?: string | undefined
      /**
       * Whether a user's or role's ARN in a policy still means this caller: not where one of that name was deleted and
       * made anew since. Absent: it does.
       */
      readonly isNamed?: ((arn: string) => boolean) | undefined
    }

/** All that a principal's rights come from. */
export interface PolicySets {
  readonly identity: readonly Policy[]
  /** Undefined: none is set. */
  readonly boundary?: Policy | undefined
  readonly session?: Policy | undefined
}

/** The policy of the very resource. */
export interface ResourcePolicy {
  readonly policy: Policy
  /** A role's trust policy has to allow it, whatever the caller's own policies say. */
  readonly isTrust: boolean
}

export type PolicySource = 'identity' | 'boundary' | 'session' | 'resource' | 'trust'

export type Decision =
  | { readonly isAllowed: true }
  | { readonly isAllowed: false; readonly isExplicit: boolean; readonly by: PolicySource }

/** How a resource's policy lets the caller in. */
type Grant = 'none' | 'account' | 'role' | 'direct'

const allowed: Decision = { isAllowed: true }

export function evaluate(sets: PolicySets, request: EvaluatedRequest, resource?: ResourcePolicy): Decision {
  const source = resource?.isTrust === true ? 'trust' : 'resource'
  const identity = evaluateAll(sets.identity, request)
  if (identity === 'deny') return denied('identity', true)
  const boundary = sets.boundary === undefined ? 'allow' : evaluateAll([sets.boundary], request)
  if (boundary === 'deny') return denied('boundary', true)
  const session = sets.session === undefined ? 'allow' : evaluateAll([sets.session], request)
  if (session === 'deny') return denied('session', true)
  const grant = resource === undefined ? 'none' : grantOf(resource.policy, request)
  if (grant === 'deny') return denied(source, true)
  if (grant === 'none' && resource?.isTrust === true) return denied(source, false)
  // Who is named in person needs nothing else; a role's session stays within its bounds.
  if (grant === 'direct') return allowed
  if (grant !== 'role' && identity !== 'allow') return denied('identity', false)
  if (boundary !== 'allow') return denied('boundary', false)
  return session === 'allow' ? allowed : denied('session', false)
}

/** What a role's trust policy says to a service of AWS's name, which has no policies of its own. */
export function evaluateTrust(trust: Policy, request: EvaluatedRequest): Decision {
  const grant = grantOf(trust, request)
  return grant === 'deny' || grant === 'none' ? denied('trust', grant === 'deny') : allowed
}

/** A policy that isn't there never allows, and the order of policies and statements doesn't matter. */
export function evaluateAll(policies: readonly Policy[], request: EvaluatedRequest): 'allow' | 'deny' | 'none' {
  let isAllowed = false
  for (const { statements } of policies) {
    for (const statement of statements) {
      // An allow that is there already needs no second one.
      if ((statement.isDeny || !isAllowed) && applies(statement, request)) {
        if (statement.isDeny) return 'deny'
        isAllowed = true
      }
    }
  }
  return isAllowed ? 'allow' : 'none'
}

function grantOf({ statements }: Policy, request: EvaluatedRequest): Grant | 'deny' {
  let best: Grant = 'none'
  for (const statement of statements) {
    if (!applies(statement, request)) continue
    if (statement.isDeny) return 'deny'
    const grants = statement.principals?.patterns.map((pattern) => grantBy(pattern, request.caller)) ?? []
    best = grantOrder.findLast((grant) => grant === best || grants.includes(grant)) ?? best
  }
  return best
}

/** The weakest first. */
const grantOrder = ['none', 'account', 'role', 'direct'] as const satisfies readonly Grant[]

function applies(statement: Statement, request: EvaluatedRequest): boolean {
  const { actions, isDeny } = statement
  return (
    actions.patterns.some((pattern) => matchesGlob(pattern, request.action)) !== actions.isNot &&
    namesResource(statement, request) &&
    namesCaller(statement, request.caller) &&
    statement.conditions.every((condition) => holdsCondition(condition, request.read, isDeny))
  )
}

/** A variable without a value: the pattern names nothing. It opens no NotResource either, and doesn't close one. */
function namesResource({ resources, isDeny }: Statement, { resource, read }: EvaluatedRequest): boolean {
  if (resources === undefined) return true
  let isUnresolved = false
  for (const pattern of resources.patterns) {
    const glob = resolveGlob(pattern, read)
    if (glob === undefined) isUnresolved = true
    else if (matchesGlob(glob, resource)) return !resources.isNot
  }
  return resources.isNot && (isDeny || !isUnresolved)
}

function namesCaller({ principals }: Statement, caller: PolicyCaller | undefined): boolean {
  if (principals === undefined) return true
  return principals.patterns.some((pattern) => grantBy(pattern, caller) !== 'none') !== principals.isNot
}

function grantBy(pattern: PrincipalPattern, caller: PolicyCaller | undefined): Grant {
  if (caller === undefined) return 'none'
  if (pattern.kind === 'everyone') return caller.kind === 'service' ? 'direct' : 'role'
  if (caller.kind === 'service')
    return pattern.kind === 'service' && pattern.service === caller.service ? 'direct' : 'none'
  if (pattern.kind === 'account') return pattern.account === caller.account ? 'account' : 'none'
  if (pattern.kind === 'service' || caller.isNamed?.(pattern.arn) === false) return 'none'
  if (pattern.arn === caller.arn) return 'direct'
  return caller.roleArn !== undefined && pattern.arn === caller.roleArn ? 'role' : 'none'
}

function denied(by: PolicySource, isExplicit: boolean): Decision {
  return { isAllowed: false, isExplicit, by }
}
