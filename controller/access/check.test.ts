import { test } from 'tap'
import { aPrincipal, aRole, aState, inTransaction, testNow } from '../../test/support/builders.ts'
import type { State } from '../state/state.ts'
import type { UserRow } from '../state/iam-tables.ts'
import { createAccess } from './check.ts'
import type { Principal } from './principal.ts'
import { requestTagKeys } from './request-keys.ts'

const place = { region: 'us-east-1', account: '123456789012' }
const facts = { now: testNow, sourceAddress: '192.0.2.1', isSecure: true }
const ann = aPrincipal({
  kind: 'user',
  arn: 'arn:aws:iam::123456789012:user/ann',
  userId: 'GUSRANN',
  userName: 'ann',
})
const everything = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Action: '*', Resource: '*' }],
})

function withAnn(over: Partial<UserRow> = {}): State {
  const state = aState()
  inTransaction(state, (tx) =>
    tx.put('user', 'ann', {
      UserName: 'ann',
      UserId: 'GUSRANN',
      Path: '/',
      Arn: ann.arn,
      CreateDate: testNow,
      Tags: [],
      inlinePolicies: [{ PolicyName: 'everything', PolicyDocument: everything }],
      attachedPolicyArns: [],
      ...over,
    }),
  )
  return state
}

function only(resource: string): State {
  const Statement = { Effect: 'Allow', Action: '*', Resource: resource }
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
  return withAnn({ inlinePolicies: [{ PolicyName: 'one', PolicyDocument }] })
}

function silence(action: string): string {
  return `because no identity-based policy allows the ${action} action`
}

/** `allowed`, or the reason at the end of the denial. */
function asked(state: State, principal: Principal, operation = 'ListClusters', input: object = {}): string {
  try {
    createAccess(place).requireOperation(state, principal, { service: 'ecs', operation, input }, facts)
    return 'allowed'
  } catch (error) {
    return error instanceof Error ? error.message.replace(/^.* on resource: \S+ /, '') : 'no error'
  }
}

await test('what is not known, or not there any more, is denied', async (t) => {
  const state = withAnn()
  t.equal(asked(state, ann), 'allowed')
  t.equal(asked(state, ann, 'NoSuchOperation'), silence('ecs:NoSuchOperation'))
  t.equal(asked(state, aPrincipal(), 'NoSuchOperation'), 'allowed', 'root')
  t.equal(asked(state, { ...ann, userName: 'gone' }), silence('ecs:ListClusters'))
  t.equal(asked(state, { ...ann, userId: 'ANOTHER' }), silence('ecs:ListClusters'), 'another has the name since')
  t.equal(asked(state, { ...ann, kind: 'role', roleName: 'gone' }), silence('ecs:ListClusters'))
  t.equal(
    asked(state, ann, 'ListTagsForResource', { resourceArn: 'x'.repeat(2049) }),
    silence('ecs:ListTagsForResource'),
  )
  const bounded = withAnn({ permissionsBoundaryArn: 'arn:aws:iam::123456789012:policy/deleted' })
  t.equal(asked(bounded, ann), 'because no permissions boundary allows the ecs:ListClusters action')
  const attached = withAnn({ inlinePolicies: [], attachedPolicyArns: ['arn:aws:iam::123456789012:policy/deleted'] })
  t.equal(asked(attached, ann), silence('ecs:ListClusters'))
  const denied = 'with an explicit deny in an identity-based policy'
  const unreadable = { PolicyName: 'newer', PolicyDocument: '{"Version":"2040-01-01"}' }
  t.equal(asked(withAnn({ inlinePolicies: [unreadable] }), ann), denied)
  t.equal(asked(state, { ...ann, sessionPolicy: '{' }), 'with an explicit deny in a session policy')
})

await test('a check says no to the whole call where it says no to one of its resources', async (t) => {
  const one = only('arn:aws:ecs:us-east-1:123456789012:cluster/one')
  t.equal(asked(one, ann, 'DescribeClusters', { clusters: ['one'] }), 'allowed')
  t.match(asked(one, ann, 'DescribeClusters', { clusters: ['one', 'two'] }), /no identity-based policy/)
})

await test('names without end are refused before they are judged', (t) => {
  const state = withAnn()
  const describe = (count: number): string =>
    asked(state, ann, 'DescribeTasks', { tasks: Array.from({ length: count }, (_, n) => `task-${n}`) })
  t.equal(describe(200), 'allowed')
  t.match(describe(201), /names 201 resources/)
  t.end()
})

await test('a role that is not there is answered as one that trusts somebody else', async (t) => {
  const input = { RoleArn: 'arn:aws:iam::123456789012:role/nosuch', RoleSessionName: 'one' }
  t.throws(
    () =>
      createAccess(place).requireOperation(withAnn(), ann, { service: 'sts', operation: 'AssumeRole', input }, facts),
    { message: /role\/nosuch because no role trust policy allows the sts:AssumeRole action$/ },
  )
})

await test('who began a session, and what a new one shall hand on, can be asked for', async (t) => {
  const role = 'arn:aws:iam::123456789012:role/app'
  const input = { RoleArn: role, RoleSessionName: 'one' }
  const tagged = { Tags: [{ Key: 'team', Value: 'dev' }], TransitiveTagKeys: ['team'] }
  const cases: readonly (readonly [object, object, Partial<Principal>, boolean])[] = [
    [{ StringEquals: { 'sts:SourceIdentity': 'ann' } }, { SourceIdentity: 'ann' }, {}, true],
    [{ StringEquals: { 'sts:SourceIdentity': 'ann' } }, { SourceIdentity: 'bob' }, {}, false],
    [{ StringEquals: { 'sts:SourceIdentity': 'ann' } }, {}, { sourceIdentity: 'ann' }, false],
    [{ StringEquals: { 'aws:SourceIdentity': 'ann' } }, {}, { sourceIdentity: 'ann' }, true],
    [{ StringEquals: { 'aws:SourceIdentity': 'ann' } }, { SourceIdentity: 'ann' }, {}, false],
    [{ 'ForAnyValue:StringEquals': { 'sts:TransitiveTagKeys': 'team' } }, tagged, {}, true],
    [{ 'ForAnyValue:StringEquals': { 'sts:TransitiveTagKeys': 'cost' } }, tagged, {}, false],
    [{ Null: { 'sts:TransitiveTagKeys': 'true' } }, {}, {}, true],
  ]
  for (const [Condition, more, over, isAllowed] of cases) {
    const Statement = { Effect: 'Allow', Action: 'sts:*', Resource: '*', Condition }
    const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
    const state = withAnn({ inlinePolicies: [{ PolicyName: 'one', PolicyDocument }] })
    inTransaction(state, (tx) => {
      const Trust = { Effect: 'Allow', Action: 'sts:*', Principal: { AWS: place.account } }
      tx.put(
        'role',
        'app',
        aRole({ AssumeRolePolicyDocument: JSON.stringify({ Version: '2012-10-17', Statement: Trust }) }),
      )
    })
    const ask = (): unknown =>
      createAccess(place).requireOperation(
        state,
        { ...ann, ...over },
        { service: 'sts', operation: 'AssumeRole', input: { ...input, ...more } },
        facts,
      )
    const name = `${JSON.stringify(Condition)} with ${JSON.stringify(more)}`
    if (isAllowed) t.ok(ask(), name)
    else t.throws(ask, { name: 'AccessDeniedException' }, name)
  }
})

/** By a tag of the request, and by one of the resource. */
function either(operator: string, Effect: string): readonly object[] {
  return [
    { Effect, Condition: { [operator]: { 'aws:RequestTag/TEAM': 'dev' } } },
    { Effect, Condition: { [operator]: { 'aws:ResourceTag/TEAM': 'dev' } } },
  ]
}

/** With the tags in the request, and on the resource. */
function mayRun(statements: readonly object[], tags: Readonly<Record<string, string>>): readonly boolean[] {
  const Statement = statements.map((each) => ({ Action: 'ecs:RunTask', Resource: '*', ...each }))
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
  const state = withAnn({ inlinePolicies: [{ PolicyName: 'one', PolicyDocument }] })
  return [{ keys: requestTagKeys(tags) }, { resourceTags: () => tags }].map((more) => {
    try {
      createAccess(place).require(state, ann, { action: 'ecs:RunTask', resource: '*', ...more }, facts)
      return true
    } catch {
      return false
    }
  })
}

await test('nobody passes for one value by bringing another one beside it', (t) => {
  const all = { Effect: 'Allow' }
  t.same(mayRun(either('StringEquals', 'Allow'), { Team: 'dev' }), [true, true])
  for (const tags of [
    { Team: 'prod', team: 'dev' },
    { team: 'dev', Team: 'prod' },
  ]) {
    t.same(mayRun(either('StringEquals', 'Allow'), tags), [false, false], 'it is not only dev')
    t.same(
      mayRun([all, ...either('StringNotEqualsIfExists', 'Deny').slice(0, 1)], tags)[0],
      false,
      'nor nothing but dev',
    )
    t.same(mayRun([all, ...either('StringEquals', 'Deny')], tags), [false, false], 'and it is dev')
  }
  t.end()
})
