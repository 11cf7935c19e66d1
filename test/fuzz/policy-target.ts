/** Policies: any text is a policy or says what is wrong with it, and what a policy decides obeys the laws of evaluation. */
import * as fc from 'fast-check'
import {
  type Decision,
  evaluate,
  type EvaluatedRequest,
  evaluateTrust,
  type PolicyCaller,
} from '../../controller/access/evaluate.ts'
import { conditionKeys } from '../../controller/access/condition-keys.ts'
import { operatorNames } from '../../controller/access/condition-operators.ts'
import { readPolicy, requirePolicy } from '../../controller/access/policy-document.ts'
import type { Policy } from '../../controller/access/policy.ts'
import { fuzzTarget } from './fuzz-target.ts'
import { corrupted, hostileText, mutated } from './hostile.ts'
import { requireCleanPrototypes } from './refusals.ts'

const words = [
  '*',
  '?',
  'ecs:*',
  'ecs:RunTask',
  '${aws:username}',
  '${aws:PrincipalTag/team}',
  "${aws:userid, 'none'}",
  '${*}',
]
const actions = ['*', 'ecs:*', 'ecs:Run?ask', 'ecs:*a*s*k', 'iam:PassRole', 'ECS:runtask', 'ecs:????????']
const resources = [
  '*',
  'arn:aws:ecs:*:*:*',
  'arn:aws:ecs:us-east-1:1:task/*',
  'arn:aws:ecs:*:1:*a*a*a*a*a*a*b',
  'arn:aws:ecs:us-east-1:1:task/${aws:PrincipalTag/team}*',
  'arn:aws:ecs:us-east-1:1:${aws:username}',
  'arn:aws:ecs:????????????:?:**************',
]
const principals = {
  AWS: [
    '*',
    '123456789012',
    'arn:aws:iam::123456789012:root',
    'arn:aws:iam::123456789012:role/a',
    'arn:aws:iam::123456789012:user/u',
  ],
  Service: ['ecs-tasks.amazonaws.com', 'ecs.amazonaws.com'],
}
/** Values that operators take, by the beginning of their names. */
const valuesOf: Readonly<Record<string, readonly string[]>> = {
  String: ['', 'a', '*a*', 'team', '${aws:username}', "${aws:PrincipalTag/team, 'x'}"],
  Arn: ['arn:aws:iam::123456789012:role/*', 'arn:aws:ecs:*:*:task/*', 'arn:aws:iam::*:user/${aws:username}'],
  Numeric: ['0', '-1', '1e3', '1.5'],
  Date: ['2026-11-21T12:00:00Z', '2026-11-21', '1800000000'],
  Bool: ['true', 'false'],
  Null: ['true', 'false'],
  Binary: ['YQ==', ''],
  Ip: ['10.0.0.0/8', '::1/128', '127.0.0.1'],
  NotIp: ['10.0.0.0/8', '0.0.0.0/0'],
}

interface Request {
  readonly action: string
  readonly resource: string
  readonly keys: Readonly<Record<string, string | readonly string[]>>
}

interface Tried {
  readonly document: string
  readonly kind: Policy['kind']
  readonly request: Request
  readonly caller: PolicyCaller
}

function oneOrMore(item: fc.Arbitrary<unknown>): fc.Arbitrary<unknown> {
  return fc.oneof(item, fc.array(item, { maxLength: 3 }))
}

const tagged = fc.constantFrom(...conditionKeys).map((name) => (name.endsWith('/') ? `${name}team` : name))

/** Operators with values of their kinds. */
function conditions(): fc.Arbitrary<object> {
  const each = fc.constantFrom(...operatorNames).chain((name) => {
    const kind = Object.keys(valuesOf).find((start) => name.startsWith(start)) ?? 'String'
    const quantifier = name === 'Null' ? fc.constant('') : fc.constantFrom('', '', 'ForAllValues:', 'ForAnyValue:')
    const suffix = name === 'Null' ? fc.constant('') : fc.constantFrom('', '', 'IfExists')
    const keys = fc.dictionary(tagged, oneOrMore(fc.constantFrom(...(valuesOf[kind] ?? []))), {
      minKeys: 1,
      maxKeys: 2,
    })
    return fc
      .tuple(quantifier, suffix, keys)
      .map(([before, behind, given]) => [`${before}${name}${behind}`, given] as const)
  })
  return fc.array(each, { maxLength: 2 }).map((all) => Object.fromEntries(all))
}

function rightStatements(kind: Policy['kind']): fc.Arbitrary<object> {
  const principal = fc.oneof(
    fc.constant('*'),
    oneOrMore(fc.constantFrom(...principals.AWS)).map((AWS) => ({ AWS })),
    oneOrMore(fc.constantFrom(...principals.Service)).map((Service) => ({ Service })),
  )
  const anAction =
    kind === 'trust' ? fc.constantFrom('sts:AssumeRole', 'sts:*', 'sts:Assume?ole') : fc.constantFrom(...actions)
  return fc.record({
    Effect: fc.constantFrom('Allow', 'Allow', 'Deny'),
    ...(kind !== 'identity' && { Principal: principal }),
    ...(kind !== 'trust' && { Resource: oneOrMore(fc.constantFrom(...resources)) }),
    Action: oneOrMore(anAction),
    Condition: fc.oneof(fc.constant(undefined), conditions()),
  })
}

/** Statements with members that they may have, and some that they may not. */
function anyStatements(): fc.Arbitrary<object> {
  const text = fc.oneof(fc.constantFrom(...words, ...actions, ...resources), hostileText(words))
  const principal = fc.oneof(text, fc.dictionary(fc.constantFrom('AWS', 'Service', 'Federated'), oneOrMore(text)))
  return fc.record(
    {
      Sid: text,
      Effect: fc.constantFrom('Allow', 'Deny'),
      Principal: principal,
      NotPrincipal: principal,
      Action: oneOrMore(text),
      NotAction: oneOrMore(text),
      Resource: oneOrMore(text),
      NotResource: oneOrMore(text),
      Condition: fc.dictionary(fc.constantFrom(...operatorNames), fc.dictionary(tagged, oneOrMore(text))),
    },
    { requiredKeys: ['Effect'] },
  )
}

function whole(statement: fc.Arbitrary<object>): fc.Arbitrary<unknown> {
  return fc.array(statement, { minLength: 1, maxLength: 4 }).map((Statement) => ({ Version: '2012-10-17', Statement }))
}

function asText(value: unknown): string {
  return JSON.stringify(value)
}

function documents(kind: Policy['kind']): fc.Arbitrary<string> {
  const right = whole(rightStatements(kind))
  return fc.oneof(
    { arbitrary: right.map(asText), weight: 5 },
    { arbitrary: corrupted(right).map(asText), weight: 2 },
    { arbitrary: mutated(right.map(asText), words), weight: 2 },
    { arbitrary: whole(anyStatements()).map(asText), weight: 1 },
  )
}

function requests(): fc.Arbitrary<Request> {
  const text = fc.oneof(
    fc.constantFrom('ecs:runtask', 'a'.repeat(2000), 'arn:aws:ecs:us-east-1:1:task/a'),
    hostileText(),
  )
  const keys = fc.dictionary(
    fc.constantFrom(...conditionKeys).map((name) => (name.endsWith('/') ? `${name}team` : name).toLowerCase()),
    fc.oneof(text, fc.array(text, { maxLength: 3 })),
    { maxKeys: 4 },
  )
  return fc.record({ action: text, resource: text, keys })
}

function parsed(document: string, kind: Policy['kind']): Policy | undefined {
  const read = readPolicy(document, kind)
  requireCleanPrototypes()
  if (!('problem' in read)) return read
  if (read.problem.length > 4100) throw new Error(`The problem is told in ${read.problem.length} characters.`)
  return undefined
}

const denyAll = requirePolicy(
  '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}',
  'identity',
)

const kinds = ['identity', 'identity', 'trust', 'resource'] as const
const callers: readonly PolicyCaller[] = [
  { kind: 'service', service: 'ecs-tasks.amazonaws.com' },
  { kind: 'user', account: '123456789012', arn: 'arn:aws:iam::123456789012:user/u' },
  {
    kind: 'role',
    account: '123456789012',
    arn: 'arn:aws:sts::123456789012:assumed-role/a/session',
    roleArn: 'arn:aws:iam::123456789012:role/a',
  },
]

export const policies = fuzzTarget<Tried>({
  name: 'policies',
  share: 12,
  values: () =>
    fc.oneof(
      ...kinds.map((kind) =>
        fc.record({
          document: documents(kind),
          kind: fc.constant(kind),
          request: requests(),
          caller: fc.constantFrom(...callers),
        }),
      ),
    ),
  judge({ document, kind, request, caller }) {
    const policy = parsed(document, kind)
    if (policy === undefined) return false
    const { action, resource, keys } = request
    const asked: EvaluatedRequest = {
      action,
      resource,
      read: (key) => (Object.hasOwn(keys, key) ? keys[key] : undefined),
      caller,
    }
    if (kind === 'identity') judgeIdentity(policy, asked)
    else judgeOfResource(policy, asked)
    return true
  },
})

function judgeIdentity(policy: Policy, asked: EvaluatedRequest): void {
  const decide = (...identity: readonly Policy[]): string => JSON.stringify(evaluate({ identity }, asked))
  const decision = decide(policy)
  if (decide(reversed(policy)) !== decision) throw new Error('The order of the statements decides.')
  if (decide(policy, policy) !== decision) throw new Error('It is another decision the second time.')
  if (decide(policy, denyAll) !== '{"isAllowed":false,"isExplicit":true,"by":"identity"}') {
    throw new Error('A deny of everything does not win.')
  }
  if (!decide().startsWith('{"isAllowed":false,"isExplicit":false')) throw new Error('Nothing is allowed by nothing.')
  const bounded = evaluate({ identity: [policy], boundary: { ...policy, statements: [] } }, asked)
  if (bounded.isAllowed) throw new Error('An empty boundary allows.')
}

function judgeOfResource(policy: Policy, asked: EvaluatedRequest): void {
  const isTrust = policy.kind === 'trust'
  const decide = (own: Policy, ...identity: readonly Policy[]): Decision =>
    evaluate({ identity }, asked, { policy: own, isTrust })
  const decision = decide(policy)
  if (JSON.stringify(decide(reversed(policy))) !== JSON.stringify(decision)) {
    throw new Error('The order of the statements decides.')
  }
  if (decide(policy, denyAll).isAllowed) throw new Error('A deny of everything does not win.')
  if (decide({ ...policy, statements: [] }).isAllowed) throw new Error('A policy without statements lets in.')
  if (isTrust && !evaluateTrust(policy, asked).isAllowed && decision.isAllowed) {
    throw new Error('What the trust policy does not allow is allowed.')
  }
}

function reversed(policy: Policy): Policy {
  return { ...policy, statements: policy.statements.toReversed() }
}
