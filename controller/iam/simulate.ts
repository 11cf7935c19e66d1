/**
 * SimulatePrincipalPolicy: what the evaluator would answer to a user or role, for those who ask before they let them try.
 * It is the evaluator that judges calls; keys of the request that the question doesn't give are absent, and are told.
 */
import { ApiError } from '../../proto/errors.ts'
import type { InputOf, OutputOf } from '../../proto/model/types.ts'
import type { World } from '../../proto/world.ts'
import { type Decision, evaluate, type PolicySets } from '../access/evaluate.ts'
import type { Policy } from '../access/policy.ts'
import { readPolicy, requirePolicy } from '../access/policy-document.ts'
import { policiesOf } from '../access/principal-policies.ts'
import type { Principal } from '../access/principal.ts'
import { keyReader } from '../access/request-keys.ts'
import { type Call, readOf, type ServiceHandlers } from '../ecs/handler.ts'
import type { Reader } from '../state/transaction.ts'
import { noSuchEntity, required } from './names.ts'
import { markedPage } from './paging.ts'
import { tagRecord } from './tags.ts'

type SimulateInput = InputOf<'iam', 'SimulatePrincipalPolicy'>
type Result = NonNullable<OutputOf<'iam', 'SimulatePrincipalPolicy'>['EvaluationResults']>[number]

/** Of actions times resources in one question. */
const casesMax = 1000

export const simulateHandlers = {
  SimulatePrincipalPolicy: readOf<'iam', 'SimulatePrincipalPolicy'>((reader, input, call, world) => {
    const principal = principalNamed(reader, required('policySourceArn', input.PolicySourceArn))
    const resources = input.ResourceArns?.length ? input.ResourceArns : ['*']
    const cases = (input.ActionNames ?? []).flatMap((action) => resources.map((resource) => ({ action, resource })))
    if (cases.length === 0) throw new ApiError('InvalidInput', 'ActionNames names the actions to simulate.')
    if (cases.length > casesMax) {
      throw new ApiError('InvalidInput', `At most ${casesMax} pairs of an action and a resource are simulated at once.`)
    }
    refuseUnsupported(input)
    const sets = policySets(reader, principal, input)
    const numbered = cases.map((each, index) => ({ ...each, index }))
    const { items, ...rest } = markedPage(numbered, ({ index }) => String(index).padStart(6, '0'), input)
    const scope = { principal, sets, given: contextOf(input), call, world, reader }
    return { EvaluationResults: items.map((each) => simulate(each, scope)), ...rest }
  }),
} satisfies ServiceHandlers<'iam'>

interface Scope {
  readonly reader: Reader
  readonly principal: Principal
  readonly sets: PolicySets
  readonly given: ReadonlyMap<string, readonly string[]>
  readonly call: Call
  readonly world: World
}

/** Of the caller's own request: they say nothing of the one that is asked about. */
const keysOfRequest: ReadonlySet<string> = new Set(['aws:securetransport', 'aws:sourceip', 'aws:tokenissuetime'])

function simulate(asked: { readonly action: string; readonly resource: string }, scope: Scope): Result {
  const { principal, call, world, given, reader } = scope
  if (!/^[A-Za-z0-9-]+:[A-Za-z0-9]+$/.test(asked.action)) {
    throw new ApiError('InvalidInput', `Invalid Entity: ${asked.action.slice(0, 128)} is not an action.`)
  }
  const facts = { now: call.now, sourceAddress: '', isSecure: false }
  const { principalArn } = policiesOf(principal, reader)
  const readGlobal = keyReader({ principal, principalArn, facts, place: world }, asked)
  const missing = new Set<string>()
  const read = (key: string): string | readonly string[] | undefined => {
    const values = given.get(key)
    if (values !== undefined) return values.length === 1 ? values[0] : values
    const value = keysOfRequest.has(key) ? undefined : readGlobal(key)
    if (value === undefined) missing.add(key)
    return value
  }
  const decision = evaluate(scope.sets, { action: asked.action.toLowerCase(), resource: asked.resource, read })
  return {
    EvalActionName: asked.action,
    EvalResourceName: asked.resource,
    EvalDecision: decisionWord(decision),
    MatchedStatements: [],
    MissingContextValues: [...missing],
    ...(scope.sets.boundary !== undefined && {
      PermissionsBoundaryDecisionDetail: {
        AllowedByPermissionsBoundary: decision.isAllowed || decision.by !== 'boundary',
      },
    }),
  }
}

function decisionWord(decision: Decision): 'allowed' | 'explicitDeny' | 'implicitDeny' {
  if (decision.isAllowed) return 'allowed'
  return decision.isExplicit ? 'explicitDeny' : 'implicitDeny'
}

/** A user, or a role as a session of it would be judged. */
function principalNamed(reader: Reader, arn: string): Principal {
  const name = arn.slice(arn.lastIndexOf('/') + 1)
  const by = { accessKeyId: '', signedFor: { service: '', region: '' } }
  const user = reader.get('user', name)
  if (user?.Arn === arn) {
    return { ...by, kind: 'user', arn, userId: user.UserId, userName: name, tags: tagRecord(user.Tags) }
  }
  const role = reader.get('role', name)
  if (role?.Arn === arn) {
    return { ...by, kind: 'role', arn, userId: role.RoleId, roleName: name, tags: tagRecord(role.Tags) }
  }
  throw noSuchEntity(`The user or role ${arn.slice(0, 256)} cannot be found.`)
}

function policySets(reader: Reader, principal: Principal, input: SimulateInput): PolicySets {
  const { identity, boundary } = policiesOf(principal, reader)
  const more = (input.PolicyInputList ?? []).map((document) => requirePolicy(document, 'identity'))
  const [ownBoundary] = input.PermissionsBoundaryPolicyInputList ?? []
  const bounding = ownBoundary ?? boundary
  return {
    identity: [...identity.map(readStored), ...more],
    ...(bounding !== undefined && { boundary: bounding === null ? nothing : readStored(bounding) }),
  }
}

const nothing: Policy = { kind: 'identity', statements: [] }

function readStored(document: string): Policy {
  const read = readPolicy(document, 'identity')
  if ('problem' in read) {
    throw new ApiError('InvalidInput', `A policy of this user or role can't be read: ${read.problem}`)
  }
  return read
}

/** By the key's name in lower case. */
function contextOf({ ContextEntries }: SimulateInput): ReadonlyMap<string, readonly string[]> {
  return new Map(
    (ContextEntries ?? []).map(({ ContextKeyName = '', ContextKeyValues = [] }) => [
      ContextKeyName.toLowerCase(),
      ContextKeyValues,
    ]),
  )
}

/** What would change the answer and is not done here may not be left unsaid. */
function refuseUnsupported({ ResourcePolicy, ResourceHandlingOption, CallerArn }: SimulateInput): void {
  const given = { ResourcePolicy, ResourceHandlingOption, CallerArn }
  const name = Object.entries(given).find(([, value]) => value !== undefined)?.[0]
  if (name === undefined) return
  throw new ApiError('InvalidInput', `${name} is not simulated by Gantry: leave it out.`)
}
