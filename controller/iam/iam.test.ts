/** IAM's rules without a server: names, limits, conflicts, versions, tags, pages; and who is found behind a key. */
import t from 'tap'
import type { InputOf, OperationOf } from '../../proto/model/types.ts'
import {
  aCall,
  aPrincipal,
  aState,
  aTask,
  aVault,
  aWorld,
  anInstance,
  inTransaction,
  testNow,
} from '../../test/support/builders.ts'
import { refusal } from '../../test/support/refusal.ts'
import { type CallerSources, findCaller } from '../access/caller.ts'
import { readPolicy } from '../access/policy-document.ts'
import { readyMadePolicies } from '../access/ready-made-policies.ts'
import { mintSession, openSessionToken, roleSession, type SessionFacts } from '../access/session-token.ts'
import type { Call } from '../ecs/handler.ts'
import type { HostRow } from '../state/host-tables.ts'
import type { State } from '../state/state.ts'
import type { TaskRow } from '../state/tables.ts'
import { noteUses } from './last-used.ts'
import { stsOperations } from '../sts/operations.ts'
import { iamOperations } from './operations.ts'
import { revokeSessions } from './revoke-sessions.ts'
import { findTrustingRole } from './trust.ts'

const account = '123456789012'
const world = aWorld()
const trust = (principal: object): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: principal, Action: 'sts:AssumeRole' }],
  })
const tasksTrust = trust({ Service: 'ecs-tasks.amazonaws.com' })
const allowing = (...actions: string[]): string =>
  JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action: actions, Resource: '*' }] })

/** One call, committed. */
function act<Op extends OperationOf<'iam'>>(
  state: State,
  operation: Op,
  input: InputOf<'iam', Op>,
  call: Partial<Call> = {},
): Readonly<Record<string, unknown>> {
  const handler = iamOperations[operation]
  if (handler === undefined) throw new Error(`${operation} is not built`)
  return inTransaction(state, (tx) => ({ ...handler.handle(tx, input, aCall(call), world) }))
}

function withRole(): State {
  const state = aState()
  act(state, 'CreateRole', { RoleName: 'task', AssumeRolePolicyDocument: tasksTrust })
  return state
}

await t.test('names, paths and documents are refused in IAM’s words', async (test) => {
  const state = withRole()
  const role = { RoleName: 'other', AssumeRolePolicyDocument: tasksTrust }
  const refusals: readonly [string, () => unknown, RegExp][] = [
    [
      'a name with a space',
      () => act(state, 'CreateUser', { UserName: 'a b' }),
      /^ValidationError: 1 validation error detected: Value at 'userName' failed to satisfy constraint: Member must satisfy/,
    ],
    ['a long name', () => act(state, 'CreateRole', { ...role, RoleName: 'r'.repeat(65) }), /less than or equal to 64/],
    ['no name', () => act(state, 'CreateUser', { UserName: undefined }), /Value null at 'userName'.*must not be null/],
    ['a path without its end', () => act(state, 'CreateUser', { UserName: 'u', Path: '/a' }), /'path'.*pattern/],
    ['a service’s path', () => act(state, 'CreateRole', { ...role, Path: '/aws-service-role/x/' }), /are reserved/],
    ['short sessions', () => act(state, 'CreateRole', { ...role, MaxSessionDuration: 900 }), /equal to 3600/],
    [
      'a host’s name',
      () => act(state, 'CreateRole', { ...role, RoleName: 'Gantry-Host' }),
      /^InvalidInput: .*reserved/,
    ],
    ['an empty boundary', () => act(state, 'CreateUser', { UserName: 'u', PermissionsBoundary: '' }), /^NoSuchEntity/],
    ['long sessions', () => act(state, 'CreateRole', { ...role, MaxSessionDuration: 43_201 }), /equal to 43200/],
    [
      'a name in another case',
      () => act(state, 'CreateRole', { ...role, RoleName: 'TASK' }),
      /^EntityAlreadyExists: Role/,
    ],
    [
      'nobody’s ARN in a trust policy',
      () =>
        act(state, 'CreateRole', {
          ...role,
          AssumeRolePolicyDocument: trust({ AWS: `arn:aws:iam::${account}:user/x` }),
        }),
      /^MalformedPolicyDocument: Invalid principal in policy/,
    ],
    [
      'another account',
      () => act(state, 'CreateRole', { ...role, AssumeRolePolicyDocument: trust({ AWS: '999999999999' }) }),
      /^MalformedPolicyDocument: Invalid principal/,
    ],
    [
      'an unknown operator',
      () =>
        act(state, 'CreatePolicy', {
          PolicyName: 'p',
          PolicyDocument: JSON.stringify({
            Version: '2012-10-17',
            Statement: [{ Effect: 'Allow', Action: 'ecs:*', Resource: '*', Condition: { StringAlmost: { a: 'b' } } }],
          }),
        }),
      /^MalformedPolicyDocument/,
    ],
    [
      'an unknown boundary',
      () => act(state, 'CreateUser', { UserName: 'u', PermissionsBoundary: `arn:aws:iam::${account}:policy/none` }),
      /^NoSuchEntity: Scope ARN/,
    ],
    [
      'a role in another case',
      () => act(state, 'GetRole', { RoleName: 'Task' }),
      /^NoSuchEntity: The role with name Task/,
    ],
    [
      'tags twice in two cases',
      () =>
        act(state, 'TagRole', {
          RoleName: 'task',
          Tags: [
            { Key: 'Team', Value: '1' },
            { Key: 'team', Value: '2' },
          ],
        }),
      /^InvalidInput: Duplicate tag keys/,
    ],
    [
      'a reserved tag',
      () => act(state, 'TagRole', { RoleName: 'task', Tags: [{ Key: 'aws:x', Value: '' }] }),
      /reserved/,
    ],
    ['a made-up Marker', () => act(state, 'ListRoles', { Marker: 'x' }), /^ValidationError.*'marker'/],
    ['pages beyond 1,000', () => act(state, 'ListRoles', { MaxItems: 1001 }), /less than or equal to 1000/],
  ]
  for (const [name, attempt, expected] of refusals) test.match(refusal(attempt), expected, name)
})

await t.test('limits are IAM’s', async (test) => {
  const state = withRole()
  act(state, 'CreateUser', { UserName: 'ann' })
  act(state, 'CreateAccessKey', { UserName: 'ann' })
  act(state, 'CreateAccessKey', { UserName: 'ann' })
  test.match(
    refusal(() => act(state, 'CreateAccessKey', { UserName: 'ann' })),
    /^LimitExceeded: .*AccessKeysPerUser: 2/,
  )

  const PolicyArn = `arn:aws:iam::${account}:policy/p`
  act(state, 'CreatePolicy', { PolicyName: 'p', PolicyDocument: allowing('ecs:*') })
  for (let version = 2; version <= 5; version += 1) {
    act(state, 'CreatePolicyVersion', { PolicyArn, PolicyDocument: allowing(`ecs:Get${version}`) })
  }
  const sixth = { PolicyArn, PolicyDocument: allowing('ecs:Six') }
  test.match(
    refusal(() => act(state, 'CreatePolicyVersion', sixth)),
    /^LimitExceeded: .*up to 5 versions/,
  )
  test.match(
    refusal(() => act(state, 'DeletePolicyVersion', { PolicyArn, VersionId: 'v1' })),
    /^DeleteConflict.*default/,
  )
  test.match(
    refusal(() => act(state, 'DeletePolicy', { PolicyArn })),
    /^DeleteConflict: This policy has more than one/,
  )
  test.match(act(state, 'ListPolicyVersions', { PolicyArn, MaxItems: 2 }), {
    Versions: [{ VersionId: 'v5' }, { VersionId: 'v4' }],
    IsTruncated: true,
  })
  act(state, 'DeletePolicyVersion', { PolicyArn, VersionId: 'v2' })
  test.match(act(state, 'CreatePolicyVersion', { ...sixth, SetAsDefault: true }), {
    PolicyVersion: { VersionId: 'v6' },
  })
  test.match(act(state, 'GetPolicy', { PolicyArn }), { Policy: { DefaultVersionId: 'v6', AttachmentCount: 0 } })

  const names = [...readyMadePolicies.values()].filter(({ Path }) => !Path.startsWith('/aws-service-role/'))
  const attach = (arn = ''): unknown => act(state, 'AttachRolePolicy', { RoleName: 'task', PolicyArn: arn })
  for (const { Arn } of names.slice(0, 10)) attach(Arn)
  attach(names[0]?.Arn)
  test.match(
    refusal(() => attach(names[10]?.Arn)),
    /^LimitExceeded: .*PoliciesPerRole: 10/,
  )
  test.match(
    refusal(() => attach('arn:aws:iam::aws:policy/aws-service-role/AmazonECSServiceRolePolicy')),
    /^PolicyNotAttachable/,
  )
  const half = (name: string) => ({
    UserName: 'ann',
    PolicyName: name,
    PolicyDocument: allowing('e:' + 'x'.repeat(120), ...many(8)),
  })
  act(state, 'PutUserPolicy', half('a'))
  test.match(
    refusal(() => act(state, 'PutUserPolicy', half('b'))),
    /^LimitExceeded: Maximum policy size of 2048 bytes exceeded for user ann/,
  )
  act(state, 'PutUserPolicy', half('a'))
  const tags = Array.from({ length: 51 }, (_, index) => ({ Key: `k${index}`, Value: '' }))
  test.match(
    refusal(() => act(state, 'TagUser', { UserName: 'ann', Tags: tags })),
    /^LimitExceeded: The number of tags/,
  )
})

function many(count: number): string[] {
  return Array.from({ length: count }, (_, index) => `e:${'y'.repeat(120)}${index}`)
}

await t.test('what is in use is not deleted, and says what to do first', async (test) => {
  const state = withRole()
  const PolicyArn = `arn:aws:iam::${account}:policy/p`
  act(state, 'CreatePolicy', { PolicyName: 'p', PolicyDocument: allowing('ecs:*') })
  act(state, 'AttachRolePolicy', { RoleName: 'task', PolicyArn })
  act(state, 'PutRolePolicy', { RoleName: 'task', PolicyName: 'in', PolicyDocument: allowing('ssm:*') })
  act(state, 'CreateInstanceProfile', { InstanceProfileName: 'ip' })
  act(state, 'AddRoleToInstanceProfile', { InstanceProfileName: 'ip', RoleName: 'task' })
  const remove = (): string => refusal(() => act(state, 'DeleteRole', { RoleName: 'task' }))
  test.match(remove(), /^DeleteConflict: .*must remove roles from instance profile first/)
  test.match(
    refusal(() => act(state, 'DeleteInstanceProfile', { InstanceProfileName: 'ip' })),
    /^DeleteConflict/,
  )
  act(state, 'RemoveRoleFromInstanceProfile', { InstanceProfileName: 'ip', RoleName: 'task' })
  test.match(remove(), /^DeleteConflict: .*must detach all policies first/)
  test.match(
    refusal(() => act(state, 'DeletePolicy', { PolicyArn })),
    /^DeleteConflict: .*attached to entities/,
  )
  act(state, 'DetachRolePolicy', { RoleName: 'task', PolicyArn })
  test.match(remove(), /^DeleteConflict: .*must delete policies first/)
  act(state, 'DeleteRolePolicy', { RoleName: 'task', PolicyName: 'in' })
  act(state, 'PutRolePermissionsBoundary', { RoleName: 'task', PermissionsBoundary: PolicyArn })
  test.match(
    refusal(() => act(state, 'DeletePolicy', { PolicyArn })),
    /^DeleteConflict/,
    'a boundary is a use',
  )
  test.equal(remove(), 'accepted')
  act(state, 'DeletePolicy', { PolicyArn })
})

await t.test('documents are answered percent-encoded, and lists in pages', async (test) => {
  const state = withRole()
  const document = allowing('ssm:Get*').replace('"*"', '"arn:aws:ssm:*:*:parameter/a+b (c)!"')
  act(state, 'PutRolePolicy', { RoleName: 'task', PolicyName: 'in', PolicyDocument: document })
  const { PolicyDocument } = act(state, 'GetRolePolicy', { RoleName: 'task', PolicyName: 'in' })
  test.match(PolicyDocument, /^[A-Za-z0-9._~%-]+$/)
  test.equal(decodeURIComponent(String(PolicyDocument)), document)
  for (const name of ['b', 'a', 'd', 'c']) act(state, 'CreateUser', { UserName: name })
  const first = act(state, 'ListUsers', { MaxItems: 3 })
  test.match(first, { IsTruncated: true, Users: [{ UserName: 'a' }, { UserName: 'b' }, { UserName: 'c' }] })
  const rest = act(state, 'ListUsers', { MaxItems: 3, Marker: String(first['Marker']) })
  test.match(rest, { IsTruncated: false, Users: [{ UserName: 'd' }] })
})

await t.test('service-linked roles are their services’, and go when nobody needs them', async (test) => {
  const state = aState()
  const made = act(state, 'CreateServiceLinkedRole', { AWSServiceName: 'ecs.application-autoscaling.amazonaws.com' })
  const RoleName = 'AWSServiceRoleForApplicationAutoScaling_ECSService'
  test.match(made, { Role: { RoleName, Path: '/aws-service-role/ecs.application-autoscaling.amazonaws.com/' } })
  test.match(
    refusal(() => act(state, 'DeleteRole', { RoleName })),
    /^UnmodifiableEntity: .*protected role/,
  )
  test.match(
    refusal(() =>
      act(state, 'CreateServiceLinkedRole', { AWSServiceName: 'ecs.application-autoscaling.amazonaws.com' }),
    ),
    /^InvalidInput: Service role name .* has been taken/,
  )
  const { DeletionTaskId } = act(state, 'DeleteServiceLinkedRole', { RoleName })
  const status = act(state, 'GetServiceLinkedRoleDeletionStatus', { DeletionTaskId: String(DeletionTaskId) })
  test.same(status, { Status: 'SUCCEEDED' })
  test.match(
    refusal(() => act(state, 'GetRole', { RoleName })),
    /^NoSuchEntity/,
  )
  test.match(
    refusal(() => act(state, 'GetServiceLinkedRoleDeletionStatus', { DeletionTaskId: 'task/x' })),
    /^NoSuchEntity/,
  )
})

await t.test('ready-made policies are ones that could be put', async (test) => {
  test.ok(readyMadePolicies.size > 15)
  for (const { Arn, PolicyName, versions, PolicyId } of readyMadePolicies.values()) {
    test.notOk('problem' in readPolicy(versions[0]?.Document ?? '', 'identity'), Arn)
    test.match(PolicyName, /^[\w+=,.@-]+$/)
    test.match(PolicyId, /^GPOL[A-Z2-9]{17}$/)
  }
})

await t.test('who is behind a key', async (test) => {
  const state = withRole()
  const vault = aVault()
  act(state, 'CreateUser', { UserName: 'ann', Tags: [{ Key: 'team', Value: 'blue' }] })
  const made = act(state, 'CreateAccessKey', { UserName: 'ann' }, { vault })['AccessKey']
  const { AccessKeyId, SecretAccessKey } = made as { AccessKeyId: string; SecretAccessKey: string }
  const sources: CallerSources = {
    reader: state,
    vault,
    account,
    statics: new Map(),
    openToken: (token) => openSessionToken(token, vault),
  }
  const role = state.get('role', 'task')
  if (role === undefined) throw new Error('the role is there')
  const mint = (facts: Partial<SessionFacts> = {}, seconds = 900) =>
    mintSession(roleSession(role, 'one', facts), testNow + seconds * 1000, { vault, world, now: testNow })
  const of = ({ accessKeyId, sessionToken }: ReturnType<typeof mint>) => findCaller(sources, accessKeyId, sessionToken)

  await test.test('a user’s key gives its secret and its user; Inactive it gives nothing', async (group) => {
    const caller = findCaller(sources, AccessKeyId, undefined)
    group.equal(caller?.secret(), SecretAccessKey)
    group.match(caller?.principal(testNow), { kind: 'user', userName: 'ann', tags: { team: 'blue' } })
    group.notMatch(JSON.stringify(state.all('accessKey')), SecretAccessKey, 'rows hold sealed text alone')
    group.equal(findCaller(sources, AccessKeyId, mint().sessionToken), undefined, 'a key that lasts has no token')
    act(state, 'UpdateAccessKey', { UserName: 'ann', AccessKeyId, Status: 'Inactive' })
    group.equal(findCaller(sources, AccessKeyId, undefined), undefined)
    group.equal(findCaller(sources, 'GANTRYUNKNOWN2222222', undefined), undefined)
    act(state, 'UpdateAccessKey', { UserName: 'ann', AccessKeyId, Status: 'Active' })
  })

  await test.test('a session is its token: nothing else of it is anywhere', async (group) => {
    const task = aTask({ lastStatus: 'RUNNING' })
    inTransaction(state, (tx) => tx.put('task', task.taskId, task))
    const keys = mint({ taskArn: task.taskArn, tags: [{ Key: 'TEAM', Value: 'red' }] })
    group.equal(of(keys)?.secret(), keys.secretAccessKey)
    group.match(of(keys)?.principal(testNow), {
      kind: 'role',
      arn: `arn:aws:sts::${account}:assumed-role/task/one`,
      userId: `${role.RoleId}:one`,
      tokenIssuedAt: testNow,
      taskArn: task.taskArn,
      tags: { TEAM: 'red' },
    })
    group.equal(findCaller(sources, keys.accessKeyId, undefined), undefined, 'without its token')
    group.equal(findCaller(sources, mint().accessKeyId, keys.sessionToken), undefined, 'with another’s token')
    const { sessionToken } = keys
    const altered = `${sessionToken.slice(0, -2)}${sessionToken.endsWith('AA') ? 'BB' : 'AA'}`
    group.equal(findCaller(sources, keys.accessKeyId, altered), undefined, 'with an altered token')
    group.match(
      refusal(() => of(keys)?.principal(testNow + 900_000)),
      /^ExpiredTokenException: The security token included in the request is expired/,
    )
  })

  await test.test('keys of a task end with it, and with the host that it is on', async (group) => {
    const host: HostRow = {
      hostId: 'host-1',
      name: 'one',
      clusterName: 'default',
      joinedAt: testNow,
      tokenId: 'token-1',
      invitedBy: 'root',
      addresses: ['10.0.0.1'],
      lastSeenAt: testNow,
      lastAddress: '10.0.0.1',
    }
    const instance = anInstance({ instanceId: 'of-the-host', hostId: host.hostId })
    const task = aTask({ taskId: 'of-the-host', instanceId: instance.instanceId, lastStatus: 'RUNNING' })
    const write = (over: { readonly host?: Partial<HostRow>; readonly task?: Partial<TaskRow> }) =>
      inTransaction(state, (tx) => {
        tx.put('host', host.hostId, { ...host, ...over.host })
        tx.put('instance', instance.instanceId, instance)
        tx.put('task', task.taskId, { ...task, ...over.task })
      })
    write({})
    const keys = mint({ taskArn: task.taskArn.replace(/[^/]*$/, task.taskId) })
    group.match(of(keys)?.principal(testNow), { kind: 'role' })
    const said = (): string | undefined => refusal(() => of(keys)?.principal(testNow))
    write({ host: { revokedAt: testNow } })
    group.match(said(), /^UnrecognizedClientException: .*: host host-1, which its task is on, was revoked/)
    write({ task: { lastStatus: 'STOPPED' } })
    group.match(said(), /^UnrecognizedClientException: .*: the task that it was given to has stopped/)
  })

  await test.test('it ends with a revocation, and with its role, also where the name is taken again', async (group) => {
    const [before, other] = [mint(), mint()]
    inTransaction(state, (tx) => revokeSessions(tx, 'task', testNow))
    group.match(
      refusal(() => of(before)?.principal(testNow)),
      /^UnrecognizedClientException: .*were revoked/,
    )
    const revoked = state.get('role', 'task') ?? role
    const after = mintSession(roleSession(revoked, 'two'), testNow + 900_000, { vault, world, now: testNow })
    group.equal(of(after)?.principal(testNow).sessionName, 'two')
    act(state, 'DeleteRole', { RoleName: 'task' })
    group.match(
      refusal(() => of(after)?.principal(testNow)),
      /was deleted/,
    )
    act(state, 'CreateRole', { RoleName: 'task', AssumeRolePolicyDocument: tasksTrust })
    group.match(
      refusal(() => of(other)?.principal(testNow)),
      /was deleted/,
      'a role of that name is another role',
    )
  })

  await test.test('a session of a user ends with the key that it came from', async (group) => {
    const { UserId } = state.get('user', 'ann') ?? { UserId: '' }
    const facts = { kind: 'user', principalId: UserId, name: 'ann', sessionName: '', epoch: 0 } as const
    const keys = mintSession({ ...facts, sourceKeyId: AccessKeyId }, testNow + 900_000, { vault, world, now: testNow })
    group.match(of(keys)?.principal(testNow), { kind: 'user', userName: 'ann', tokenIssuedAt: testNow })
    act(state, 'DeleteAccessKey', { UserName: 'ann', AccessKeyId })
    group.match(
      refusal(() => of(keys)?.principal(testNow)),
      /can't be used any more/,
    )
  })
})

await t.test('STS tells the end of a session in whole seconds, and never later than it is', async (test) => {
  const state = aState()
  act(state, 'CreateRole', { RoleName: 'own', AssumeRolePolicyDocument: trust({ AWS: account }) })
  const call = aCall({ now: testNow + 999 })
  const RoleArn = `arn:aws:iam::${account}:role/own`
  const session = { RoleArn, RoleSessionName: 'one', DurationSeconds: 900 }
  inTransaction(state, (tx) => {
    const assumed = stsOperations.AssumeRole?.handle(tx, session, call, world)
    test.equal(assumed?.Credentials?.Expiration, testNow + 900_000)
    const own = stsOperations.GetSessionToken?.handle(tx, {}, call, world)
    test.equal(own?.Credentials?.Expiration, testNow + 3_600_000)
  })
})

await t.test('last use is noted to the quarter of an hour', async (test) => {
  const state = withRole()
  const use = (at: number, serviceName = 'ecs') =>
    inTransaction(state, (tx) => noteUses(tx, [{ table: 'role', key: 'task', at, serviceName, region: 'us-east-1' }]))
  use(testNow)
  use(testNow + 60_000)
  test.equal(state.get('role', 'task')?.lastUsed?.at, testNow, 'a minute later nothing is written')
  use(testNow + 900_000)
  test.equal(state.get('role', 'task')?.lastUsed?.at, testNow + 900_000)
  inTransaction(state, (tx) =>
    noteUses(tx, [{ table: 'accessKey', key: 'gone', at: 1, serviceName: 'x', region: 'y' }]),
  )
  test.equal(state.all('accessKey').length, 0)
})

await t.test('a role is given to the services that its trust policy names', async (test) => {
  const state = withRole()
  const asked = (named: string, service: string): unknown =>
    findTrustingRole(state, named, { service, place: world, now: testNow })
  test.match(asked('task', 'ecs-tasks.amazonaws.com'), { role: { RoleName: 'task' } })
  test.match(asked(`arn:aws:iam::${account}:role/task`, 'ecs-tasks.amazonaws.com'), { role: { RoleName: 'task' } })
  test.match(asked(`arn:aws:iam::${account}:role/other/task`, 'ecs-tasks.amazonaws.com'), { problem: /no role/ })
  test.match(asked('task', 'ecs.amazonaws.com'), { problem: /does not allow ecs.amazonaws.com/ })
  act(state, 'UpdateAssumeRolePolicy', {
    RoleName: 'task',
    PolicyDocument: tasksTrust.replace(
      '"Action"',
      '"Condition":{"StringEquals":{"aws:SourceAccount":"999999999999"}},"Action"',
    ),
  })
  test.match(asked('task', 'ecs-tasks.amazonaws.com'), { problem: /does not allow/ }, 'conditions count')
})

await t.test('a caller without a user must name one', async (test) => {
  const state = withRole()
  const asRole = { principal: aPrincipal({ kind: 'role', roleName: 'task', arn: 'x' }) }
  test.match(
    refusal(() => act(state, 'GetUser', {}, asRole)),
    /^ValidationError: Must specify userName/,
  )
  test.match(act(state, 'GetUser', {}), { User: { Arn: `arn:aws:iam::${account}:root` } })
  test.match(
    refusal(() => act(state, 'CreateAccessKey', {})),
    /^ValidationError: The root user's key is the file/,
  )
})
