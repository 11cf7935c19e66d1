import * as fc from 'fast-check'
import { test } from 'tap'
import {
  type EvaluatedRequest,
  evaluate,
  evaluateAll,
  evaluateTrust,
  type PolicyCaller,
  type PolicySets,
  type ResourcePolicy,
} from './evaluate.ts'
import { requirePolicy } from './policy-document.ts'

type Keys = Readonly<Record<string, string | readonly string[]>>

const account = '123456789012'
const cluster = (name: string) => `arn:aws:ecs:us-east-1:${account}:cluster/${name}`
const ann = `arn:aws:iam::${account}:user/ann`
const appRole = `arn:aws:iam::${account}:role/app`
const appSession = `arn:aws:sts::${account}:assumed-role/app/one`

function aRequest(action: string, resource: string, keys: Keys = {}, caller?: PolicyCaller): EvaluatedRequest {
  const lowered = new Map(Object.entries(keys).map(([key, value]) => [key.toLowerCase(), value]))
  return { action: action.toLowerCase(), resource, read: (key) => lowered.get(key), caller }
}

function policy(...Statement: readonly object[]) {
  return requirePolicy(JSON.stringify({ Version: '2012-10-17', Statement }), 'identity')
}

function trust(...Statement: readonly object[]): ResourcePolicy {
  return { policy: requirePolicy(JSON.stringify({ Version: '2012-10-17', Statement }), 'trust'), isTrust: true }
}

function ofResource(...Statement: readonly object[]): ResourcePolicy {
  return { policy: requirePolicy(JSON.stringify({ Version: '2012-10-17', Statement }), 'resource'), isTrust: false }
}

const statement = (Effect: string, Action: unknown, Resource: unknown, more: object = {}) => ({
  Effect,
  Action,
  Resource,
  ...more,
})
const allow = (Action: unknown, Resource: unknown = '*', more: object = {}) =>
  policy(statement('Allow', Action, Resource, more))
const deny = (Action: unknown, Resource: unknown = '*', more: object = {}) =>
  policy(statement('Deny', Action, Resource, more))

/** `allowed`, or which policy stands against it, and whether by word or by silence. */
function decided(sets: PolicySets, request: EvaluatedRequest, resource?: ResourcePolicy): string {
  const decision = evaluate(sets, request, resource)
  return decision.isAllowed ? 'allowed' : `${decision.isExplicit ? 'explicit' : 'implicit'} ${decision.by}`
}

await test('explicit deny, then allow, then implicit deny: of all the kinds of policy that bound a principal', async (t) => {
  const request = aRequest('ecs:RunTask', cluster('prod'))
  const all = allow('*')
  const runs = allow('ecs:Run*')
  const reads = allow('ecs:Describe*')
  const no = deny('ecs:RunTask')
  const cases: readonly (readonly [string, PolicySets, string])[] = [
    ['no policy', { identity: [] }, 'implicit identity'],
    ['none that fits', { identity: [reads] }, 'implicit identity'],
    ['one that fits', { identity: [reads, runs] }, 'allowed'],
    ['deny beside allow', { identity: [all, no] }, 'explicit identity'],
    ['deny before allow', { identity: [no, all] }, 'explicit identity'],
    ['deny of something else', { identity: [all, deny('ecs:StopTask')] }, 'allowed'],
    ['boundary allows, identity does not', { identity: [], boundary: all }, 'implicit identity'],
    ['identity allows, boundary does not', { identity: [all], boundary: reads }, 'implicit boundary'],
    ['both allow', { identity: [all], boundary: runs }, 'allowed'],
    [
      'boundary denies',
      { identity: [all], boundary: policy(statement('Allow', '*', '*'), statement('Deny', '*', '*')) },
      'explicit boundary',
    ],
    ['boundary without statements that fit', { identity: [all], boundary: deny('s3:*') }, 'implicit boundary'],
    ['session policy does not allow', { identity: [all], session: reads }, 'implicit session'],
    ['session policy alone allows', { identity: [], session: all }, 'implicit identity'],
    ['session policy denies', { identity: [all], session: no }, 'explicit session'],
    ['all three allow', { identity: [runs], boundary: all, session: runs }, 'allowed'],
    ['one of three does not', { identity: [runs], boundary: reads, session: runs }, 'implicit boundary'],
  ]
  for (const [name, sets, expected] of cases) t.equal(decided(sets, request), expected, name)
})

await test('actions and resources', async (t) => {
  const cases: readonly (readonly [object, string, string, boolean])[] = [
    [statement('Allow', 'ecs:runtask', '*'), 'ecs:RunTask', '*', true],
    [statement('Allow', 'ECS:Run?ask', '*'), 'ecs:RunTask', '*', true],
    [statement('Allow', '*', cluster('p*')), 'ecs:DeleteCluster', cluster('prod'), true],
    [statement('Allow', '*', cluster('p*')), 'ecs:DeleteCluster', cluster('test'), false],
    [statement('Allow', '*', cluster('PROD')), 'ecs:DeleteCluster', cluster('prod'), false],
    [statement('Allow', '*', 'arn:aws:ecs:*'), 'ecs:DeleteCluster', cluster('prod'), true],
    [statement('Allow', '*', cluster('prod')), 'ecs:ListClusters', '*', false],
    [{ Effect: 'Allow', NotAction: 'iam:*', Resource: '*' }, 'ecs:RunTask', '*', true],
    [{ Effect: 'Allow', NotAction: 'iam:*', Resource: '*' }, 'iam:PassRole', '*', false],
    [{ Effect: 'Allow', Action: '*', NotResource: [cluster('a'), cluster('b')] }, 'ecs:X', cluster('c'), true],
    [{ Effect: 'Allow', Action: '*', NotResource: [cluster('a'), cluster('b')] }, 'ecs:X', cluster('b'), false],
  ]
  for (const [given, action, resource, isAllowed] of cases) {
    const { isAllowed: answer } = evaluate({ identity: [policy(given)] }, aRequest(action, resource))
    t.equal(answer, isAllowed, `${JSON.stringify(given)} on ${action} ${resource}`)
  }
})

await test('condition operators', async (t) => {
  const prod = { 'ecs:cluster': cluster('prod') }
  const tags = { 'aws:TagKeys': ['team', 'cost'] }
  const now = { 'aws:CurrentTime': '2026-11-21T12:00:00.000Z', 'aws:EpochTime': '1795262400' }
  const cases: readonly (readonly [object, Keys, boolean])[] = [
    // Texts.
    [{ StringEquals: { 'aws:username': 'ann' } }, { 'aws:username': 'ann' }, true],
    [{ StringEquals: { 'aws:username': 'ann' } }, { 'aws:username': 'Ann' }, false],
    [{ StringEquals: { 'aws:username': ['bob', 'ann'] } }, { 'aws:username': 'ann' }, true],
    [{ StringEquals: { 'aws:username': 'a*' } }, { 'aws:username': 'ann' }, false],
    [{ StringEquals: { 'aws:username': 'ann' } }, {}, false],
    [{ StringNotEquals: { 'aws:username': ['bob', 'ann'] } }, { 'aws:username': 'ann' }, false],
    [{ StringNotEquals: { 'aws:username': ['bob', 'ann'] } }, { 'aws:username': 'eve' }, true],
    [{ StringNotEquals: { 'aws:username': 'ann' } }, {}, true],
    [{ StringEqualsIgnoreCase: { 'aws:username': 'ANN' } }, { 'aws:username': 'Ann' }, true],
    [{ StringNotEqualsIgnoreCase: { 'aws:username': 'ANN' } }, { 'aws:username': 'Ann' }, false],
    [{ StringLike: { 'aws:username': 'a?n*' } }, { 'aws:username': 'anna' }, true],
    [{ StringNotLike: { 'aws:username': 'a*' } }, { 'aws:username': 'ann' }, false],
    [{ StringNotLike: { 'aws:username': 'a*' } }, {}, true],
    // Several operators and keys: all of them.
    [{ StringEquals: { 'aws:username': 'ann' }, ArnEquals: prod }, { 'aws:username': 'ann', ...prod }, true],
    [{ StringEquals: { 'aws:username': 'ann', 'aws:userid': 'x' } }, { 'aws:username': 'ann' }, false],
    // Numbers, dates, booleans, bytes, addresses.
    [{ NumericLessThan: { 'ecs:task-cpu': '512' } }, { 'ecs:task-cpu': '256' }, true],
    [{ NumericLessThan: { 'ecs:task-cpu': '512' } }, { 'ecs:task-cpu': '512' }, false],
    [{ NumericLessThanEquals: { 'ecs:task-cpu': '512' } }, { 'ecs:task-cpu': '512.0' }, true],
    [{ NumericGreaterThan: { 'ecs:task-cpu': '512' } }, { 'ecs:task-cpu': '1024' }, true],
    [{ NumericGreaterThanEquals: { 'ecs:task-cpu': '512' } }, { 'ecs:task-cpu': '1 vCPU' }, false],
    [{ NumericEquals: { 'ecs:task-cpu': 512 } }, { 'ecs:task-cpu': '512' }, true],
    [{ NumericNotEquals: { 'ecs:task-cpu': 512 } }, {}, true],
    [{ DateLessThan: { 'aws:CurrentTime': '2026-11-21T13:00:00+01:00' } }, now, false],
    [{ DateLessThanEquals: { 'aws:CurrentTime': '2026-11-21T13:00:00+01:00' } }, now, true],
    [{ DateGreaterThan: { 'aws:CurrentTime': '2026-11-21' } }, now, true],
    [{ DateGreaterThanEquals: { 'aws:EpochTime': '1795262400' } }, now, true],
    [{ DateEquals: { 'aws:CurrentTime': '1795262400' } }, now, true],
    [{ DateNotEquals: { 'aws:CurrentTime': '2027' } }, now, true],
    [{ Bool: { 'aws:SecureTransport': 'true' } }, { 'aws:SecureTransport': 'true' }, true],
    [{ Bool: { 'aws:SecureTransport': false } }, { 'aws:SecureTransport': 'true' }, false],
    [{ BinaryEquals: { 'aws:userid': 'YQ==' } }, { 'aws:userid': 'YQ==' }, true],
    [{ IpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '2001:db8::/32'] } }, { 'aws:SourceIp': '10.9.8.7' }, true],
    [{ IpAddress: { 'aws:SourceIp': '10.0.0.0/8' } }, { 'aws:SourceIp': '11.0.0.1' }, false],
    [{ NotIpAddress: { 'aws:SourceIp': '10.0.0.0/8' } }, { 'aws:SourceIp': '11.0.0.1' }, true],
    [{ NotIpAddress: { 'aws:SourceIp': '10.0.0.0/8' } }, { 'aws:SourceIp': '::ffff:10.0.0.1' }, false],
    // ARNs, part by part: a wildcard stays within its own.
    [{ ArnLike: { 'ecs:cluster': cluster('p*') } }, prod, true],
    [{ ArnEquals: { 'ecs:cluster': cluster('p*') } }, prod, true],
    [{ ArnLike: { 'ecs:cluster': 'arn:aws:ecs:*:*:cluster/prod' } }, prod, true],
    [{ ArnLike: { 'ecs:cluster': 'arn:aws:ecs:*:cluster/prod:*' } }, prod, false],
    [{ ArnLike: { 'ecs:cluster': 'arn:aws:ecs:*' } }, prod, true],
    [{ ArnNotLike: { 'ecs:cluster': cluster('p*') } }, prod, false],
    [{ ArnNotEquals: { 'ecs:cluster': cluster('test') } }, prod, true],
    [{ ArnLike: { 'ecs:cluster': cluster('*') } }, { 'ecs:cluster': 'prod' }, false],
    // IfExists and Null.
    [{ StringEqualsIfExists: { 'aws:username': 'ann' } }, {}, true],
    [{ StringEqualsIfExists: { 'aws:username': 'ann' } }, { 'aws:username': 'bob' }, false],
    [{ Null: { 'aws:username': 'true' } }, {}, true],
    [{ Null: { 'aws:username': 'true' } }, { 'aws:username': 'ann' }, false],
    [{ Null: { 'aws:username': 'false' } }, { 'aws:username': 'ann' }, true],
    [{ Null: { 'aws:TagKeys': 'true' } }, { 'aws:TagKeys': [] }, true],
    // Several values in the request.
    [{ 'ForAllValues:StringEquals': { 'aws:TagKeys': ['team', 'cost', 'x'] } }, tags, true],
    [{ 'ForAllValues:StringEquals': { 'aws:TagKeys': ['team'] } }, tags, false],
    [{ 'ForAllValues:StringEquals': { 'aws:TagKeys': ['team'] } }, {}, true],
    [{ 'ForAnyValue:StringEquals': { 'aws:TagKeys': ['team'] } }, tags, true],
    [{ 'ForAnyValue:StringEquals': { 'aws:TagKeys': ['x'] } }, tags, false],
    [{ 'ForAnyValue:StringEquals': { 'aws:TagKeys': ['team'] } }, {}, false],
    [{ 'ForAnyValue:StringEqualsIfExists': { 'aws:TagKeys': ['team'] } }, {}, false],
    [{ 'ForAllValues:StringNotEquals': { 'aws:TagKeys': ['team'] } }, tags, false],
    [{ 'ForAllValues:StringNotEquals': { 'aws:TagKeys': ['x'] } }, tags, true],
    [{ 'ForAnyValue:StringNotEquals': { 'aws:TagKeys': ['team'] } }, tags, true],
    [{ 'ForAnyValue:StringNotEquals': { 'aws:TagKeys': ['team', 'cost'] } }, tags, false],
    [{ StringEquals: { 'aws:TagKeys': 'cost' } }, tags, false],
    [{ StringEquals: { 'aws:TagKeys': ['cost', 'team'] } }, tags, true],
    [{ StringNotEquals: { 'aws:TagKeys': 'cost' } }, tags, false],
    // The names of keys and operators have no case.
    [{ StringEquals: { 'AWS:USERNAME': 'ann' } }, { 'aws:username': 'ann' }, true],
    [{ arnLike: { 'ecs:cluster': cluster('p*') } }, prod, true],
    [{ stringNotEquals: { 'aws:username': 'ann' } }, { 'aws:username': 'ann' }, false],
    [{ stringEqualsIfexists: { 'aws:username': 'ann' } }, {}, true],
    [{ 'forallvalues:stringlike': { 'aws:TagKeys': 't*' } }, tags, false],
    [{ 'foranyvalue:stringlike': { 'aws:TagKeys': 't*' } }, tags, true],
    [{ NULL: { 'aws:username': 'true' } }, { 'aws:username': 'ann' }, false],
  ]
  for (const [Condition, keys, holds] of cases) {
    const given = policy({ ...statement('Allow', '*', '*'), Condition })
    const { isAllowed } = evaluate({ identity: [given] }, aRequest('ecs:RunTask', '*', keys))
    t.equal(isAllowed, holds, `${JSON.stringify(Condition)} with ${JSON.stringify(keys)}`)
  }
})

await test('variables stand for text, and one without a value never opens anything', async (t) => {
  const own = cluster('${aws:username}')
  const cases: readonly (readonly [string, object, string, Keys, boolean])[] = [
    ['in a resource', statement('Allow', '*', own), cluster('ann'), { 'aws:username': 'ann' }, true],
    ['of another', statement('Allow', '*', own), cluster('bob'), { 'aws:username': 'ann' }, false],
    ['a value with a wildcard', statement('Allow', '*', own), cluster('bob'), { 'aws:username': '*' }, false],
    ['without a value', statement('Allow', '*', own), cluster('ann'), {}, false],
    ['with a default', statement('Allow', '*', cluster("${aws:username, 'ann'}")), cluster('ann'), {}, true],
    ['beside a wildcard', statement('Allow', '*', `${own}-*`), cluster('ann-1'), { 'aws:username': 'ann' }, true],
    ['a dollar and a star', statement('Allow', '*', cluster('${$}${*}')), cluster('$*'), {}, true],
    ['a star is no wildcard', statement('Allow', '*', cluster('${*}')), cluster('ann'), {}, false],
    ['NotResource of nobody', { Effect: 'Allow', Action: '*', NotResource: own }, cluster('x'), {}, false],
    [
      'in a condition',
      statement('Allow', '*', '*', {
        Condition: { StringEquals: { 'aws:ResourceTag/team': '${aws:PrincipalTag/Team}' } },
      }),
      cluster('x'),
      { 'aws:ResourceTag/team': 'a', 'aws:PrincipalTag/team': 'a' },
      true,
    ],
    [
      'in an opposite, without a value',
      statement('Allow', '*', '*', {
        Condition: { StringNotEquals: { 'aws:ResourceTag/team': '${aws:PrincipalTag/team}' } },
      }),
      cluster('x'),
      { 'aws:ResourceTag/team': 'a' },
      false,
    ],
  ]
  for (const [name, given, resource, keys, isAllowed] of cases) {
    t.equal(evaluate({ identity: [policy(given)] }, aRequest('ecs:X', resource, keys)).isAllowed, isAllowed, name)
  }
  const differs = { StringNotEquals: { 'aws:ResourceTag/team': '${aws:PrincipalTag/team}' } }
  const denies = { identity: [allow('*'), deny('*', '*', { Condition: differs })] }
  t.equal(decided(denies, aRequest('ecs:X', '*', { 'aws:ResourceTag/team': 'a' })), 'explicit identity')
  const old = requirePolicy(JSON.stringify({ Statement: statement('Allow', '*', own) }), 'identity')
  const asText = aRequest('ecs:X', cluster('${aws:username}'), { 'aws:username': 'ann' })
  t.equal(evaluate({ identity: [old] }, asText).isAllowed, true, 'Version 2008-10-17 has no variables')
})

await test('roles are taken by whom their trust policy or their own policies let', async (t) => {
  const user: PolicyCaller = { kind: 'user', account, arn: ann }
  const session: PolicyCaller = { kind: 'role', account, arn: appSession, roleArn: appRole }
  const assume = (caller: PolicyCaller, keys: Keys = {}) =>
    aRequest('sts:AssumeRole', `arn:aws:iam::${account}:role/target`, keys, caller)
  const trusts = (Principal: unknown, more: object = {}) =>
    trust({ Effect: 'Allow', Action: 'sts:AssumeRole', Principal, ...more })
  const named = trusts({ AWS: ann })
  const byAccount = trusts({ AWS: `arn:aws:iam::${account}:root` })
  const may: PolicySets = { identity: [allow('sts:AssumeRole')] }
  const none: PolicySets = { identity: [] }
  const bounded = { ...none, boundary: allow('ecs:*') }
  const cases: readonly (readonly [string, PolicySets, PolicyCaller, ResourcePolicy, string, Keys?])[] = [
    ['named, no policy of its own', none, user, named, 'allowed'],
    ['named, bounded by what does not allow it', bounded, user, named, 'allowed'],
    ['named, own policy denies', { identity: [deny('sts:*')] }, user, named, 'explicit identity'],
    ['named, boundary denies', { identity: [], boundary: deny('*') }, user, named, 'explicit boundary'],
    ['the account, own policy allows', may, user, byAccount, 'allowed'],
    ['the account by number', may, user, trusts({ AWS: account }), 'allowed'],
    ['the account, no policy of its own', none, user, byAccount, 'implicit identity'],
    ['another account', may, user, trusts({ AWS: '210987654321' }), 'implicit trust'],
    ['nobody but a service', may, user, trusts({ Service: 'ecs-tasks.amazonaws.com' }), 'implicit trust'],
    ['the role of a session', none, session, trusts({ AWS: appRole }), 'allowed'],
    ['the role, its boundary does not allow it', bounded, session, trusts({ AWS: appRole }), 'implicit boundary'],
    ['the session itself, the boundary does not allow it', bounded, session, trusts({ AWS: appSession }), 'allowed'],
    ['another session of the role', none, session, trusts({ AWS: appSession.replace('one', 'two') }), 'implicit trust'],
    ['everyone', none, user, trusts('*'), 'allowed'],
    [
      'everyone with a condition that fails',
      may,
      user,
      trusts('*', { Condition: { StringEquals: { 'sts:ExternalId': 'x' } } }),
      'implicit trust',
    ],
    [
      'everyone with a condition that holds',
      none,
      user,
      trusts('*', { Condition: { StringEquals: { 'sts:ExternalId': 'x' } } }),
      'allowed',
      { 'sts:ExternalId': 'x' },
    ],
    [
      'all but one, who calls',
      may,
      user,
      trust(
        { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: '*' },
        { Effect: 'Deny', Action: 'sts:AssumeRole', Principal: { AWS: ann } },
      ),
      'explicit trust',
    ],
    [
      'a deny of all but the caller',
      may,
      user,
      trust(
        { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: '*' },
        { Effect: 'Deny', Action: 'sts:AssumeRole', NotPrincipal: { AWS: ann } },
      ),
      'allowed',
    ],
    [
      'a deny of all but another',
      may,
      user,
      trust(
        { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: '*' },
        { Effect: 'Deny', Action: 'sts:AssumeRole', NotPrincipal: { AWS: appRole } },
      ),
      'explicit trust',
    ],
    ['one who took a name since', may, { ...user, isNamed: () => false }, named, 'implicit trust'],
  ]
  for (const [name, sets, caller, resource, expected, keys] of cases) {
    t.equal(decided(sets, assume(caller, keys), resource), expected, name)
  }
  const tasks: PolicyCaller = { kind: 'service', service: 'ecs-tasks.amazonaws.com' }
  const ec2: PolicyCaller = { kind: 'service', service: 'ec2.amazonaws.com' }
  const { policy: forTasks } = trusts({ Service: ['ecs-tasks.amazonaws.com', 'ecs.amazonaws.com'] })
  t.same(evaluateTrust(forTasks, assume(tasks)), { isAllowed: true })
  t.same(evaluateTrust(forTasks, assume(ec2)), { isAllowed: false, isExplicit: false, by: 'trust' })
})

await test("a resource's own policy adds to the caller's, and its deny wins", async (t) => {
  const user: PolicyCaller = { kind: 'user', account, arn: ann }
  const request = aRequest('secretsmanager:GetSecretValue', 'arn:aws:secretsmanager:x:y:secret:z', {}, user)
  const reads = statement('Allow', 'secretsmanager:GetSecretValue', '*', { Principal: { AWS: ann } })
  const others = statement('Allow', 'secretsmanager:GetSecretValue', '*', { Principal: { AWS: appRole } })
  const account1 = statement('Allow', 'secretsmanager:GetSecretValue', '*', { Principal: { AWS: account } })
  const no = statement('Deny', '*', '*', { Principal: '*' })
  const may: PolicySets = { identity: [allow('secretsmanager:*')] }
  t.equal(decided({ identity: [] }, request, ofResource(reads)), 'allowed')
  t.equal(decided({ identity: [] }, request, ofResource(others)), 'implicit identity')
  t.equal(decided({ identity: [] }, request, ofResource(account1)), 'implicit identity')
  t.equal(decided(may, request, ofResource(others)), 'allowed')
  t.equal(decided(may, request, ofResource(reads, no)), 'explicit resource')
})

/** Statements over few actions, resources and values, so that they often meet the request. */
const anAction = fc.constantFrom('*', 'ecs:*', 'ecs:RunTask', 'ecs:Run*', 'ecs:StopTask', 'iam:PassRole')
const aResource = fc.constantFrom('*', cluster('*'), cluster('prod'), cluster('test'), cluster('${aws:username}'))
const aCondition = fc.constantFrom<object | undefined>(
  undefined,
  undefined,
  { StringEquals: { 'aws:username': 'prod' } },
  { StringNotLike: { 'aws:username': 'p*' } },
  { 'ForAllValues:StringEquals': { 'aws:TagKeys': ['team'] } },
  { Null: { 'aws:username': 'true' } },
)
const aStatementOf = (effect: fc.Arbitrary<string>) =>
  fc
    .tuple(
      effect,
      fc.array(anAction, { minLength: 1, maxLength: 2 }),
      fc.boolean(),
      aResource,
      fc.boolean(),
      aCondition,
    )
    .map(([Effect, actions, isNotAction, resource, isNotResource, Condition]) => ({
      Effect,
      [isNotAction ? 'NotAction' : 'Action']: actions,
      [isNotResource ? 'NotResource' : 'Resource']: resource,
      Condition,
    }))
const anyStatement = aStatementOf(fc.constantFrom('Allow', 'Deny'))
const anAllow = aStatementOf(fc.constant('Allow'))
const aDeny = aStatementOf(fc.constant('Deny'))
const aPolicy = fc.array(anyStatement, { minLength: 1, maxLength: 4 })
const policies = fc.array(aPolicy, { maxLength: 4 })
const someRequest = fc
  .record({
    action: fc.constantFrom('ecs:RunTask', 'ecs:StopTask', 'iam:PassRole'),
    resource: fc.constantFrom('*', cluster('prod'), cluster('test')),
    keys: fc.constantFrom<Keys>({}, { 'aws:username': 'prod' }, { 'aws:username': 'x', 'aws:TagKeys': ['team', 'a'] }),
  })
  .map(({ action, resource, keys }) => aRequest(action, resource, keys))

const compiled = (given: readonly (readonly object[])[]) => given.map((statements) => policy(...statements))

await test('laws', async () => {
  const runs = { numRuns: 1000 }
  fc.assert(
    fc.property(policies, someRequest, (given, request) => {
      // One statement that denies it is enough, whatever the others say; without it, one that allows it is.
      const each = given.flat().map((one) => evaluateAll([policy(one)], request))
      const expected = each.includes('deny') ? 'deny' : each.includes('allow') ? 'allow' : 'none'
      return evaluateAll(compiled(given), request) === expected
    }),
    runs,
  )
  fc.assert(
    fc.property(policies, fc.func(fc.integer()), someRequest, (given, rank, request) => {
      const shuffled = <T>(list: readonly T[]) => [...list].sort((one, other) => rank(one) - rank(other))
      const before = evaluateAll(compiled(given), request)
      const inOne = given.flat()
      return (
        evaluateAll(compiled(shuffled(given.map(shuffled))), request) === before &&
        (inOne.length === 0 || evaluateAll(compiled([shuffled(inOne)]), request) === before)
      )
    }),
    runs,
  )
  fc.assert(fc.property(someRequest, (request) => !evaluate({ identity: [] }, request).isAllowed))
  fc.assert(
    fc.property(policies, anAllow, someRequest, (given, more, request) => {
      const before = evaluate({ identity: compiled(given) }, request).isAllowed
      return !before || evaluate({ identity: compiled([...given, [more]]) }, request).isAllowed
    }),
    runs,
  )
  fc.assert(
    fc.property(policies, aDeny, someRequest, (given, more, request) => {
      const after = evaluate({ identity: compiled([[more], ...given]) }, request).isAllowed
      return !after || evaluate({ identity: compiled(given) }, request).isAllowed
    }),
    runs,
  )
  fc.assert(
    fc.property(policies, aPolicy, aPolicy, someRequest, (given, first, second, request) => {
      // A boundary and a session policy only ever take away, and each does what an intersection does.
      const [identity, boundary, session] = [compiled(given), policy(...first), policy(...second)]
      const both = evaluate({ identity, boundary, session }, request).isAllowed
      const apart = [{ identity }, { identity: [boundary] }, { identity: [session] }]
      return both === apart.every((sets) => evaluate(sets, request).isAllowed)
    }),
    runs,
  )
})
