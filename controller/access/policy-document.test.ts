import { readFileSync } from 'node:fs'
import * as fc from 'fast-check'
import { test } from 'tap'
import { conditionKeys, isConditionKey } from './condition-keys.ts'
import { globOf, matchesGlob } from './glob.ts'
import { isInRange, parseIpAddress, parseIpRange } from './ip-range.ts'
import { findRepeatedMember } from './json-members.ts'
import type { PolicyKind } from './policy.ts'
import { createPolicyCache } from './policy-cache.ts'
import { policySize, readPolicy, requirePolicy } from './policy-document.ts'
import { readyMadePolicies } from './ready-made-policies.ts'

const allowRun = { Effect: 'Allow', Action: 'ecs:RunTask', Resource: '*' }
const trustTasks = { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { Service: 'ecs-tasks.amazonaws.com' } }

/** What is wrong with a document; `right` where nothing is. */
function problemOf(document: unknown, kind: PolicyKind = 'identity'): string {
  const read = readPolicy(typeof document === 'string' ? document : JSON.stringify(document), kind)
  return 'problem' in read ? read.problem : 'right'
}

const withStatement = (statement: object, version = '2012-10-17') => ({ Version: version, Statement: [statement] })
const withCondition = (Condition: unknown) => withStatement({ ...allowRun, Condition })

await test('documents that are right', async (t) => {
  const right: readonly (readonly [unknown, PolicyKind?])[] = [
    [{ Version: '2012-10-17', Id: 'any', Statement: { Sid: 'One', ...allowRun } }],
    [{ Statement: [allowRun, { ...allowRun, Effect: 'Deny' }] }],
    [withStatement({ Effect: 'Deny', NotAction: ['ecs:*', 'iam:Get?'], NotResource: ['arn:aws:ecs:*:*:cluster/*'] })],
    [withStatement({ ...allowRun, Action: 'Ecs:runtask', Resource: 'arn:*:s3:::bucket/${aws:username}/*' })],
    [withStatement({ ...allowRun, Resource: ['arn:aws:ecs:*', 'arn:aws:ecs:*:*:task-definition/web:*', 'arn:aws:*'] })],
    [withStatement({ ...allowRun, Resource: "arn:aws:ecs:*:*:cluster/${aws:PrincipalTag/team, 'none'}${*}${?}${$}" })],
    [withStatement({ ...allowRun, Resource: 'arn:aws:s3:::a${b' }, '2008-10-17')],
    [withCondition({ StringEquals: { 'AWS:sourceip': ['1', '2'] }, Null: { 'aws:RequestTag/a b': true } })],
    [withCondition({ 'ForAnyValue:StringNotLikeIfExists': { 'aws:TagKeys': 'a*' } })],
    [
      withCondition({
        DateLessThan: { 'aws:CurrentTime': '2026-11-21T00:00:00+01:00' },
        Bool: { 'aws:SecureTransport': true },
      }),
    ],
    [
      withCondition({
        NumericLessThan: { 'ecs:task-cpu': 512 },
        IpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '::1/128'] },
      }),
    ],
    [withStatement(trustTasks), 'trust'],
    [withStatement({ ...trustTasks, Principal: '*', Condition: { StringEquals: { 'sts:ExternalId': 'x' } } }), 'trust'],
    [
      withStatement({ ...trustTasks, Principal: { AWS: ['123456789012', 'arn:aws:iam::123456789012:user/a/b'] } }),
      'trust',
    ],
    [
      withStatement({ ...trustTasks, Effect: 'Deny', Principal: undefined, NotPrincipal: { AWS: '123456789012' } }),
      'trust',
    ],
    [withStatement({ ...trustTasks, Action: 'secretsmanager:GetSecretValue', Resource: '*' }), 'resource'],
  ]
  for (const [document, kind] of right) t.equal(problemOf(document, kind), 'right', JSON.stringify(document))
  for (const [arn, row] of readyMadePolicies) {
    for (const { Document } of row.versions) t.equal(problemOf(Document), 'right', arn)
  }
  t.ok(readyMadePolicies.size > 10)
})

await test('documents that are refused, with what and where', async (t) => {
  const wrong: readonly (readonly [unknown, RegExp, PolicyKind?])[] = [
    ['{', /invalid Json/],
    ['[]', /the policy is a JSON object/],
    ['{"Statement":[{"Effect":"Deny","Effect":"Allow"}]}', /names a member twice \(Effect\)/],
    [`{"Statement":"\u{1f600}"}`, /character that policies may not have/],
    [{ Version: '2012-10-18', Statement: allowRun }, /valid version string/],
    [{ Version: '2012-10-17' }, /no statement/],
    [{ Version: '2012-10-17', Statement: [] }, /no statement/],
    [{ ...withStatement(allowRun), Comment: 'x' }, /"Comment" is not a member of the policy/],
    [withStatement({ ...allowRun, Resources: '*' }), /"Resources" is not a member of Statement\[0\]/],
    [
      {
        Statement: [
          { Sid: 'a', ...allowRun },
          { Sid: 'a', ...allowRun },
        ],
      },
      /must be unique \(Sid a\)/,
    ],
    [withStatement({ ...allowRun, Sid: 'a b' }), /must be alpha-numeric/],
    [withStatement({ ...allowRun, Effect: 'allow' }), /Invalid effect: "allow" \(Statement\[0\].Effect/],
    [withStatement({ ...allowRun, Effect: undefined }), /Missing required field Effect/],
    [withStatement({ ...allowRun, Action: undefined }), /must contain actions \(Statement\[0\].Action\)/],
    [withStatement({ ...allowRun, Action: [] }), /must contain actions/],
    [withStatement({ ...allowRun, Action: 'RunTask' }), /prefaced by a vendor.*"RunTask"/],
    [withStatement({ ...allowRun, Action: 'e*s:RunTask' }), /prefaced by a vendor/],
    [withStatement({ ...allowRun, Action: ['ecs:RunTask', 'ecs:Run Task'] }), /"ecs:Run Task", number 2/],
    [withStatement({ ...allowRun, Action: 5 }), /a text or a list of texts/],
    [withStatement({ ...allowRun, NotAction: 'ecs:*' }), /either Action or NotAction/],
    [withStatement({ ...allowRun, Resource: undefined }), /must contain resources/],
    [withStatement({ ...allowRun, Resource: 'prod/*' }), /Resource prod\/\* must be in ARN format or "\*"/],
    [withStatement({ ...allowRun, Resource: 'arn:aws:ecs' }), /must be in ARN format/],
    [withStatement({ ...allowRun, Resource: 'arn:aws:e*:*:*:*' }), /wildcard in place of its service/],
    [withStatement({ ...allowRun, Resource: 'arn:aws:s3:::a/${aws:username' }), /does not close it/],
    [withStatement({ ...allowRun, Resource: 'arn:aws:s3:::a/${username}' }), /is not a policy variable/],
    [withStatement({ ...allowRun, Resource: 'arn:aws:s3:::a/${aws:nothing}' }), /\$\{aws:nothing\} is not one that/],
    [withStatement({ ...allowRun, Principal: '*' }), /should not specify a principal/],
    [withCondition({ StringEqual: { 'aws:userid': 'x' } }), /Invalid Condition type : StringEqual\./],
    [withCondition({ 'ForEach:StringEquals': { 'aws:userid': 'x' } }), /Invalid Condition type : ForEach:StringEquals/],
    [
      withCondition({ StringEquals: { 'aws:MultiFactorAuthPresent': 'x' } }),
      /aws:MultiFactorAuthPresent is not one that Gantry/,
    ],
    [withCondition({ StringEquals: { 'aws:RequestTag/': 'x' } }), /is not one that Gantry/],
    [withCondition({ StringEquals: { 'aws:RequestTag': 'x' } }), /is not one that Gantry/],
    [withCondition({ StringEquals: { 'aws:userid/x': 'x' } }), /is not one that Gantry/],
    [withCondition({ StringEquals: { __proto__x: 'x' } }), /is not one that Gantry/],
    [withCondition({ StringEquals: { 'aws:userid': [] } }), /without a value never holds/],
    [withCondition({ StringEquals: { 'aws:userid': {} } }), /a text or a list of texts/],
    [withCondition({ StringEquals: 'x' }), /Statement\[0\].Condition.StringEquals is a JSON object/],
    [withCondition({ NumericEquals: { 'ecs:task-cpu': 'many' } }), /"many" is not a number/],
    [withCondition({ DateEquals: { 'aws:CurrentTime': 'today' } }), /"today" is not a date/],
    [withCondition({ DateEquals: { 'aws:CurrentTime': '2026-11-21T00:00:00' } }), /is not a date/],
    [withCondition({ Bool: { 'aws:SecureTransport': 'yes' } }), /"yes" is not true or false/],
    [withCondition({ IpAddress: { 'aws:SourceIp': '10.0.0.0/33' } }), /not an address or a range/],
    [withCondition({ ArnLike: { 'ecs:cluster': 'prod' } }), /"prod" is not an ARN/],
    [withCondition({ BinaryEquals: { 'aws:userid': '!' } }), /is not base64/],
    [withCondition({ NullIfExists: { 'aws:userid': 'true' } }), /takes no IfExists/],
    [withCondition({ Null: { 'aws:userid': 'no' } }), /Null takes true or false/],
    [withStatement({ ...trustTasks, Resource: '*' }), /prohibited field Resource/, 'trust'],
    [withStatement({ ...trustTasks, Principal: undefined }), /Missing required field Principal/, 'trust'],
    [withStatement({ ...trustTasks, Action: 'ecs:RunTask' }), /only specify STS AssumeRole actions/, 'trust'],
    [
      withStatement({ ...trustTasks, Principal: { Service: 'ecs-tasks' } }),
      /Invalid principal in policy: "Service":"ecs-tasks"/,
      'trust',
    ],
    [withStatement({ ...trustTasks, Principal: { AWS: 'ann' } }), /Invalid principal in policy: "AWS":"ann"/, 'trust'],
    [
      withStatement({ ...trustTasks, Principal: { AWS: 'arn:aws:iam::123456789012:user/*' } }),
      /Invalid principal/,
      'trust',
    ],
    [withStatement({ ...trustTasks, Principal: { Federated: 'x' } }), /no Federated ones/, 'trust'],
    [withStatement({ ...trustTasks, Principal: {} }), /Invalid principal in policy/, 'trust'],
    [withStatement({ ...trustTasks, Principal: undefined, NotPrincipal: '*' }), /goes with Deny/, 'trust'],
  ]
  for (const [document, problem, kind] of wrong) t.match(problemOf(document, kind), problem, JSON.stringify(document))
  t.throws(() => requirePolicy('{', 'identity'), { code: 'MalformedPolicyDocument' })
})

await test('what is wrong is told in few words, however long the document', (t) => {
  const long = 'a'.repeat(500_000)
  const statement = { Effect: 'Allow', Action: 'ecs:*', Resource: '*' }
  const documents = [
    { [long]: 1, Statement: statement },
    { Version: '2012-10-17', Statement: { ...statement, Action: long } },
    { Version: '2012-10-17', Statement: { ...statement, Resource: long } },
    { Version: '2012-10-17', Statement: { ...statement, Condition: { [long]: { [long]: long } } } },
  ]
  for (const document of documents) t.ok(problemOf(document).length < 4100)
  t.end()
})

await test('a policy is measured without white space', async (t) => {
  t.equal(policySize('{ "a" :\n\t1 }'), 7)
})

await test('any text is either a policy or a problem', async () => {
  const cache = createPolicyCache()
  const json = fc.json({ maxDepth: 5 })
  fc.assert(
    fc.property(
      fc.oneof(fc.string(), json),
      fc.constantFrom<PolicyKind>('identity', 'trust', 'resource'),
      (text, kind) => {
        const read = readPolicy(text, kind)
        // What could not be read denies everything, rather than nothing.
        const [first] = cache.compile(text, kind).statements
        return 'problem' in read ? first?.isDeny === true : read.statements.length > 0
      },
    ),
    { numRuns: 1000 },
  )
})

await test('members that are named twice are found at any depth, and values are no members', async (t) => {
  t.equal(findRepeatedMember('{"a":[{"b":1,"c":{"d":1,"\\u0064":2}}]}'), 'd')
  t.equal(findRepeatedMember('{"a":{"b":"a","c":"a"},"d":["a","a","a"],"e":"\\"a\\":"}'), undefined)
  const parsed = fc.jsonValue({ maxDepth: 4 })
  fc.assert(fc.property(parsed, (value) => findRepeatedMember(JSON.stringify(value)) === undefined))
})

/** What the pattern means, said by something else. */
function toRegExp(pattern: string): RegExp {
  return new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`, 's')
}

await test('wildcards', async (t) => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['*', '', true],
    ['', '', true],
    ['', 'a', false],
    ['a*', 'a', true],
    ['a*c', 'abcabc', true],
    ['a*c', 'abcab', false],
    ['*a*b', 'xxaxxb', true],
    ['?', '', false],
    ['a?c', 'abc', true],
    ['a?*?d', 'abcd', true],
    ['a?*?d', 'abd', false],
    ['*ab?d*', 'abcabxdz', true],
    ['aa*aa', 'aaa', false],
    ['**a**', 'bab', true],
    ['a.c', 'abc', false],
  ]
  for (const [pattern, text, fits] of cases) t.equal(matchesGlob(globOf(pattern), text), fits, `${pattern} on ${text}`)
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '*', '?'), maxLength: 12 })
  const text = fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 12 })
  fc.assert(
    fc.property(letters, text, (pattern, one) => matchesGlob(globOf(pattern), one) === toRegExp(pattern).test(one)),
    { numRuns: 5000 },
  )
  t.equal(matchesGlob(globOf('a*'.repeat(3000)), 'a'.repeat(6000)), true)
  t.equal(matchesGlob(globOf(`${'a*'.repeat(3000)}b`), 'a'.repeat(6000)), false)
})

await test('addresses', async (t) => {
  const cases: readonly (readonly [string, string, boolean | undefined])[] = [
    ['192.0.2.1', '192.0.2.0/24', true],
    ['192.0.3.1', '192.0.2.0/24', false],
    ['192.0.2.77', '192.0.2.64/26', true],
    ['192.0.2.1', '192.0.2.1', true],
    ['10.1.2.3', '0.0.0.0/0', true],
    ['::ffff:192.0.2.1', '192.0.2.0/24', true],
    ['2001:db8::1', '2001:db8::/32', true],
    ['2001:db9::1', '2001:db8::/32', false],
    ['::1', '::1', true],
    ['fe80::1%eth0', 'fe80::/10', true],
    ['::1', '127.0.0.1', false],
    ['1.2.3', '0.0.0.0/0', undefined],
    ['1:2:3:4:5:6:7:8:9', '::/0', undefined],
    ['1::2::3', '::/0', undefined],
    ['12345::', '::/0', undefined],
  ]
  for (const [address, range, fits] of cases) {
    const [bytes, parsed] = [parseIpAddress(address), parseIpRange(range)]
    const result = bytes === undefined || parsed === undefined ? undefined : isInRange(bytes, parsed)
    t.equal(result, fits, `${address} in ${range}`)
  }
  for (const wrong of ['10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/8/8', '256.0.0.1', '']) {
    t.equal(parseIpRange(wrong), undefined, wrong)
  }
  fc.assert(
    fc.property(fc.ipV6(), fc.integer({ min: 0, max: 128 }), (address, bits) => {
      const [bytes, range] = [parseIpAddress(address), parseIpRange(`${address}/${bits}`)]
      // An IPv4 address in IPv6's form is one of IPv4, whose ranges have 32 bits.
      return bytes === undefined || bytes.length === 4 || (range !== undefined && isInRange(bytes, range))
    }),
  )
})

await test('keys are known in any case, tags by what stands before the slash', async (t) => {
  for (const key of conditionKeys) t.ok(isConditionKey(key.endsWith('/') ? `${key.toUpperCase()}Any Tag/x` : key), key)
  t.notOk(isConditionKey('aws:PrincipalOrgID'))
})

await test('the documentation lists every key that is evaluated', async (t) => {
  const text = readFileSync(new URL('../../docs/authorisation.md', import.meta.url), 'utf8')
  t.same(
    conditionKeys.filter((key) => !text.includes(`\`${key}\``)),
    [],
  )
})

await test('the documentation lists every ready-made policy that can be attached', async (t) => {
  const text = readFileSync(new URL('../../docs/iam.md', import.meta.url), 'utf8')
  const listed = new Set(/^## Ready-made policies$(.*?)^## /msu.exec(text)?.[1]?.match(/[\w/-]+/gu))
  const names = [...readyMadePolicies.keys()].map((arn) => arn.slice('arn:aws:iam::aws:policy/'.length))
  const attachable = names.filter((name) => !name.startsWith('aws-service-role/'))
  t.same(
    attachable.filter((name) => !listed.has(name)),
    [],
  )
  t.ok(attachable.includes('AmazonEC2ContainerRegistryPullOnly'), 'what the roles of tasks on AWS have attached')
})
