/** IAM and STS with AWS's own SDK clients and the real `aws` command as judges, against the real controller process. */
import { CreateClusterCommand, ECSClient, ListClustersCommand } from '@aws-sdk/client-ecs'
import {
  AddRoleToInstanceProfileCommand,
  AttachRolePolicyCommand,
  AttachUserPolicyCommand,
  CreateAccessKeyCommand,
  CreateInstanceProfileCommand,
  CreatePolicyCommand,
  CreatePolicyVersionCommand,
  CreateRoleCommand,
  CreateUserCommand,
  DeleteAccessKeyCommand,
  DeleteConflictException,
  DeleteInstanceProfileCommand,
  DeleteLoginProfileCommand,
  DeletePolicyCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  DeleteUserCommand,
  DeleteUserPolicyCommand,
  DetachRolePolicyCommand,
  DetachUserPolicyCommand,
  EntityAlreadyExistsException,
  GetAccessKeyLastUsedCommand,
  GetAccountSummaryCommand,
  GetInstanceProfileCommand,
  GetLoginProfileCommand,
  GetPolicyCommand,
  GetPolicyVersionCommand,
  GetRoleCommand,
  GetRolePolicyCommand,
  GetUserCommand,
  GetUserPolicyCommand,
  IAMClient,
  LimitExceededException,
  ListAccessKeysCommand,
  ListAttachedRolePoliciesCommand,
  ListAttachedUserPoliciesCommand,
  ListEntitiesForPolicyCommand,
  ListGroupsForUserCommand,
  ListInstanceProfilesForRoleCommand,
  ListMFADevicesCommand,
  ListPolicyVersionsCommand,
  ListRolePoliciesCommand,
  ListServiceSpecificCredentialsCommand,
  ListSigningCertificatesCommand,
  ListSSHPublicKeysCommand,
  ListUserPoliciesCommand,
  ListVirtualMFADevicesCommand,
  MalformedPolicyDocumentException,
  NoSuchEntityException,
  paginateListRoles,
  PutRolePolicyCommand,
  PutUserPolicyCommand,
  RemoveRoleFromInstanceProfileCommand,
  SimulatePrincipalPolicyCommand,
  TagRoleCommand,
  UntagRoleCommand,
  UpdateAccessKeyCommand,
  UpdateAssumeRolePolicyCommand,
  UpdateRoleCommand,
  UpdateUserCommand,
} from '@aws-sdk/client-iam'
import { AssumeRoleCommand, GetCallerIdentityCommand, GetSessionTokenCommand, STSClient } from '@aws-sdk/client-sts'
import { createHash, createHmac } from 'node:crypto'
import t from 'tap'
import { awsCommand } from '../support/aws-command.ts'
import { callRest, eventually, type Key, send, startController } from '../support/controller.ts'

t.setTimeout(400_000)
const controller = await startController()
t.teardown(() => controller.stop())
const { endpoint, credentials: root } = controller
const account = '123456789012'

interface SessionKey extends Key {
  readonly sessionToken?: string | undefined
}

const optionsOf = ({ sessionToken, ...key }: SessionKey, region = 'us-east-1') => ({
  endpoint,
  region,
  credentials: { ...key, ...(sessionToken !== undefined && { sessionToken }) },
  maxAttempts: 1,
})
const iam = new IAMClient(optionsOf(root))
const sts = (key: SessionKey): STSClient => new STSClient(optionsOf(key))
const ecs = (key: SessionKey): ECSClient => new ECSClient(optionsOf(key))

const trust = (principal: object, more: object = {}): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: principal, Action: 'sts:AssumeRole', ...more }],
  })
const tasksTrust = trust({ Service: 'ecs-tasks.amazonaws.com' })
const allowing = (Action: string | string[], Resource = '*'): string =>
  JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action, Resource }] })

async function newUser(UserName: string, policyArn?: string): Promise<Key> {
  await iam.send(new CreateUserCommand({ UserName }))
  if (policyArn !== undefined) await iam.send(new AttachUserPolicyCommand({ UserName, PolicyArn: policyArn }))
  return newKey(UserName)
}

async function newKey(UserName: string): Promise<Key> {
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName }))
  return { accessKeyId: AccessKey?.AccessKeyId ?? '', secretAccessKey: AccessKey?.SecretAccessKey ?? '' }
}

async function assume(key: SessionKey, RoleName: string, more: object = {}): Promise<SessionKey & { until: Date }> {
  const RoleArn = `arn:aws:iam::${account}:role/${RoleName}`
  const answer = await sts(key).send(new AssumeRoleCommand({ RoleArn, RoleSessionName: 'test', ...more }))
  const { AccessKeyId = '', SecretAccessKey = '', SessionToken, Expiration } = answer.Credentials ?? {}
  return {
    accessKeyId: AccessKeyId,
    secretAccessKey: SecretAccessKey,
    sessionToken: SessionToken,
    until: Expiration ?? new Date(0),
  }
}

await t.test('a user’s life: made, renamed, used, put to rest, deleted', async (test) => {
  const key = await newUser('ann', 'arn:aws:iam::aws:policy/GantryReadOnly')
  test.match(key.accessKeyId, /^GANTRY[A-Z2-7]{14}$/)
  test.equal(key.secretAccessKey.length, 40)
  const me = await sts(key).send(new GetCallerIdentityCommand({}))
  test.match(me, { Account: account, Arn: `arn:aws:iam::${account}:user/ann`, UserId: /^GUSR/ })
  test.ok(await ecs(key).send(new ListClustersCommand({})), 'what is read is read')
  await test.rejects(ecs(key).send(new CreateClusterCommand({ clusterName: 'x' })), {
    name: 'AccessDeniedException',
    message: /User: arn:aws:iam::123456789012:user\/ann is not authorized to perform: ecs:CreateCluster on resource: /,
  })
  const denied = new IAMClient(optionsOf(key)).send(new CreateUserCommand({ UserName: 'eve' }))
  await test.rejects(denied, { name: 'AccessDenied', message: /iam:CreateUser on resource: .*user\/eve/ })
  const { User } = await new IAMClient(optionsOf(key)).send(new GetUserCommand({}))
  test.equal(User?.UserName, 'ann', 'GetUser without a name is about its caller')

  const used = await eventually('the last use to be written down', async () => {
    const answer = await iam.send(new GetAccessKeyLastUsedCommand({ AccessKeyId: key.accessKeyId }))
    return answer.AccessKeyLastUsed?.LastUsedDate === undefined ? undefined : answer
  })
  test.match(used, { UserName: 'ann', AccessKeyLastUsed: { Region: 'us-east-1' } })

  await iam.send(new UpdateUserCommand({ UserName: 'ann', NewUserName: 'anna', NewPath: '/staff/' }))
  const renamed = await sts(key).send(new GetCallerIdentityCommand({}))
  test.equal(renamed.Arn, `arn:aws:iam::${account}:user/staff/anna`, 'keys go with their user')
  await newKey('anna')
  await test.rejects(newKey('anna'), LimitExceededException)

  const rest = { UserName: 'anna', AccessKeyId: key.accessKeyId }
  await iam.send(new UpdateAccessKeyCommand({ ...rest, Status: 'Inactive' }))
  await test.rejects(sts(key).send(new GetCallerIdentityCommand({})), { name: 'InvalidClientTokenId' })
  await test.rejects(ecs(key).send(new ListClustersCommand({})), { name: 'UnrecognizedClientException' })
  await test.rejects(iam.send(new DeleteUserCommand({ UserName: 'anna' })), DeleteConflictException)
  const { AccessKeyMetadata } = await iam.send(new ListAccessKeysCommand({ UserName: 'anna' }))
  test.notMatch(JSON.stringify(AccessKeyMetadata), key.secretAccessKey, 'a secret is shown once')
  for (const { AccessKeyId } of AccessKeyMetadata ?? []) {
    await iam.send(new DeleteAccessKeyCommand({ UserName: 'anna', AccessKeyId: AccessKeyId ?? '' }))
  }
  const PolicyArn = 'arn:aws:iam::aws:policy/GantryReadOnly'
  await iam.send(new DetachUserPolicyCommand({ UserName: 'anna', PolicyArn }))
  await iam.send(new DeleteUserCommand({ UserName: 'anna' }))
  await test.rejects(iam.send(new GetUserCommand({ UserName: 'anna' })), NoSuchEntityException)
})

await t.test('an operator runs ECS and changes no rights', async (test) => {
  const key = await newUser('olga', 'arn:aws:iam::aws:policy/GantryOperator')
  test.ok(await ecs(key).send(new CreateClusterCommand({ clusterName: 'olgas' })))
  test.equal((await callRest(endpoint, key, 'GET', '/v1/subnets')).status, 200)
  const own = new IAMClient(optionsOf(key))
  const grab = new AttachUserPolicyCommand({
    UserName: 'olga',
    PolicyArn: 'arn:aws:iam::aws:policy/AdministratorAccess',
  })
  await test.rejects(own.send(grab), { name: 'AccessDenied' })
  await test.rejects(own.send(new CreateAccessKeyCommand({})), { name: 'AccessDenied' })
  test.ok(await own.send(new GetUserCommand({ UserName: 'olga' })))
})

await t.test('roles are taken by whom they trust, for a while, within their bounds', async (test) => {
  const key = await newUser('bob')
  await iam.send(
    new CreateRoleCommand({
      RoleName: 'reader',
      AssumeRolePolicyDocument: trust({ AWS: `arn:aws:iam::${account}:user/bob` }),
      MaxSessionDuration: 7200,
      Tags: [{ Key: 'team', Value: 'blue' }],
    }),
  )
  await iam.send(new PutRolePolicyCommand({ RoleName: 'reader', PolicyName: 'in', PolicyDocument: allowing('ecs:*') }))
  const session = await assume(key, 'reader', { DurationSeconds: 7200 })
  test.match(session.accessKeyId, /^GSESSN/)
  test.ok(session.until.getTime() - Date.now() > 7_100_000)
  const me = await sts(session).send(new GetCallerIdentityCommand({}))
  test.match(me, { Arn: `arn:aws:sts::${account}:assumed-role/reader/test`, UserId: /^GROL.*:test$/ })
  test.ok(await ecs(session).send(new ListClustersCommand({})))

  await test.test('a session policy narrows it', async (group) => {
    const narrow = await assume(key, 'reader', { Policy: allowing('ecs:ListClusters') })
    group.ok(await ecs(narrow).send(new ListClustersCommand({})))
    await group.rejects(ecs(narrow).send(new CreateClusterCommand({ clusterName: 'n' })), {
      name: 'AccessDeniedException',
      message: /because no session policy allows the ecs:CreateCluster action/,
    })
    const PolicyArns = [{ arn: 'arn:aws:iam::aws:policy/GantryReadOnly' }]
    const managed = await assume(key, 'reader', { PolicyArns, Policy: allowing('ecs:TagResource') })
    group.ok(await ecs(managed).send(new ListClustersCommand({})))
    await group.rejects(ecs(managed).send(new CreateClusterCommand({ clusterName: 'n' })), /session policy/)
  })

  await test.test('others don’t get it, and its limits are kept', async (group) => {
    const other = await newUser('carl', 'arn:aws:iam::aws:policy/AdministratorAccess')
    await group.rejects(assume(other, 'reader'), {
      name: 'AccessDenied',
      message: /user\/carl is not authorized to perform: sts:AssumeRole on resource: .*role\/reader/,
    })
    await group.rejects(assume(root, 'reader'), { name: 'AccessDenied' }, 'root is not bob')
    await group.rejects(assume(other, 'missing'), { name: 'AccessDenied' }, 'a missing role says no more')
    await group.rejects(assume(key, 'reader', { DurationSeconds: 7201 }), /exceeds the MaxSessionDuration/)
    await group.rejects(assume(key, 'reader', { DurationSeconds: 899 }), { name: 'ValidationError' })
    await group.rejects(assume(key, 'reader', { SerialNumber: 'mfa', TokenCode: '123456' }), /MultiFactor/)
    const tagged = assume(key, 'reader', { Tags: [{ Key: 'a', Value: 'b' }] })
    await group.rejects(tagged, /sts:TagSession/, 'tags of a session are to be allowed, too')
  })

  await test.test('a token goes with its own key alone', async (group) => {
    const second = await assume(key, 'reader')
    const mixed = { ...session, sessionToken: second.sessionToken }
    await group.rejects(sts(mixed).send(new GetCallerIdentityCommand({})), { name: 'InvalidClientTokenId' })
    const taken = { ...key, sessionToken: second.sessionToken }
    await group.rejects(sts(taken).send(new GetCallerIdentityCommand({})), { name: 'InvalidClientTokenId' })
    const { sessionToken: _, ...without } = session
    await group.rejects(sts(without).send(new GetCallerIdentityCommand({})), { name: 'InvalidClientTokenId' })
  })

  await test.test('one role leads to another for an hour', async (group) => {
    const AssumeRolePolicyDocument = trust({ AWS: `arn:aws:iam::${account}:role/reader` })
    await iam.send(new CreateRoleCommand({ RoleName: 'next', AssumeRolePolicyDocument, MaxSessionDuration: 7200 }))
    const chained = await assume(session, 'next')
    const next = await sts(chained).send(new GetCallerIdentityCommand({}))
    group.match(next.Arn, /assumed-role\/next\/test$/)
    await group.rejects(assume(session, 'next', { DurationSeconds: 7200 }), /1 hour session limit.*role chaining/)
  })

  await test.test('a revocation ends what was begun before it, both ways', async (group) => {
    const revoked = await callRest(endpoint, root, 'POST', '/v1/roles/reader/revoke-sessions')
    group.match(revoked, { status: 200, json: { roleName: 'reader' } }, revoked.text)
    await group.rejects(ecs(session).send(new ListClustersCommand({})), /sessions of role reader were revoked/)
    const fresh = await assume(key, 'reader')
    group.ok(await ecs(fresh).send(new ListClustersCommand({})))
    const Condition = { DateLessThan: { 'aws:TokenIssueTime': new Date(Date.now() + 1000).toISOString() } }
    const Statement = [{ Effect: 'Deny', Action: '*', Resource: '*', Condition }]
    const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
    const policy = { RoleName: 'reader', PolicyName: 'AWSRevokeOlderSessions' }
    await iam.send(new PutRolePolicyCommand({ ...policy, PolicyDocument }))
    await group.rejects(
      ecs(fresh).send(new ListClustersCommand({})),
      /with an explicit deny in an identity-based policy/,
    )
    await iam.send(new DeleteRolePolicyCommand(policy))
    group.equal((await callRest(endpoint, key, 'POST', '/v1/roles/reader/revoke-sessions')).status, 403)
  })

  await test.test('who takes a trusted name is not trusted', async (group) => {
    await iam.send(new DeleteAccessKeyCommand({ UserName: 'bob', AccessKeyId: key.accessKeyId }))
    await iam.send(new DeleteUserCommand({ UserName: 'bob' }))
    await group.rejects(assume(await newUser('bob'), 'reader'), { name: 'AccessDenied' })
  })
})

await t.test('tags of a session stand over those of its role, and are handed on', async (test) => {
  const key = await newUser('hal')
  const Principal = { AWS: `arn:aws:iam::${account}:user/hal` }
  const Statement = [{ Effect: 'Allow', Principal, Action: ['sts:AssumeRole', 'sts:TagSession'] }]
  const AssumeRolePolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
  const Tags = [{ Key: 'team', Value: 'blue' }]
  await iam.send(new CreateRoleCommand({ RoleName: 'tagged', AssumeRolePolicyDocument, Tags }))
  const Condition = { StringEquals: { 'aws:PrincipalTag/team': 'red' } }
  const Allow = [{ Effect: 'Allow', Action: ['ecs:ListClusters', 'sts:AssumeRole'], Resource: '*', Condition }]
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: Allow })
  await iam.send(new PutRolePolicyCommand({ RoleName: 'tagged', PolicyName: 'in', PolicyDocument }))
  await test.rejects(ecs(await assume(key, 'tagged')).send(new ListClustersCommand({})), /is not authorized/)
  const red = { Tags: [{ Key: 'Team', Value: 'red' }], TransitiveTagKeys: ['Team'] }
  const session = await assume(key, 'tagged', red)
  test.ok(await ecs(session).send(new ListClustersCommand({})))
  const trusted = trust({ AWS: `arn:aws:iam::${account}:role/tagged` })
  await iam.send(new CreateRoleCommand({ RoleName: 'second', AssumeRolePolicyDocument: trusted, Tags }))
  await iam.send(new PutRolePolicyCommand({ RoleName: 'second', PolicyName: 'in', PolicyDocument }))
  test.ok(await ecs(await assume(session, 'second')).send(new ListClustersCommand({})), 'the tag goes along')
  const many = Array.from({ length: 50 }, (_, index) => ({ Key: `k${index}`, Value: 'ä'.repeat(200) }))
  await test.rejects(assume(key, 'tagged', { Tags: many }), { name: 'PackedPolicyTooLargeException' })
})

await t.test('users keep their own keys where a policy lets them, and nobody else’s', async (test) => {
  const key = await newUser('ina')
  const PolicyDocument = allowing('iam:*AccessKey*', 'arn:aws:iam::*:user/${aws:username}')
  await iam.send(new PutUserPolicyCommand({ UserName: 'ina', PolicyName: 'own', PolicyDocument }))
  const own = new IAMClient(optionsOf(key))
  test.ok(await own.send(new CreateAccessKeyCommand({})))
  test.equal((await own.send(new ListAccessKeysCommand({}))).AccessKeyMetadata?.length, 2)
  await test.rejects(own.send(new CreateAccessKeyCommand({ UserName: 'olga' })), { name: 'AccessDenied' })
})

await t.test('keys of GetSessionToken have their user’s rights, and not IAM', async (test) => {
  const key = await newUser('dora', 'arn:aws:iam::aws:policy/AdministratorAccess')
  const { Credentials } = await sts(key).send(new GetSessionTokenCommand({ DurationSeconds: 900 }))
  const { AccessKeyId = '', SecretAccessKey = '', SessionToken } = Credentials ?? {}
  const session = { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: SessionToken }
  test.match(await sts(session).send(new GetCallerIdentityCommand({})), { Arn: `arn:aws:iam::${account}:user/dora` })
  test.ok(await ecs(session).send(new ListClustersCommand({})))
  const list = new IAMClient(optionsOf(session)).send(new GetAccountSummaryCommand({}))
  await test.rejects(list, /with an explicit deny in a session policy/)
  await test.rejects(sts(session).send(new GetSessionTokenCommand({})), /Cannot call GetSessionToken with session/)
  await iam.send(new DeleteAccessKeyCommand({ UserName: 'dora', AccessKeyId: key.accessKeyId }))
  await test.rejects(ecs(session).send(new ListClustersCommand({})), { name: 'UnrecognizedClientException' })
})

await t.test('policies: typed errors, versions, entities, pages, and what the evaluator would say', async (test) => {
  const role = { RoleName: 'paged', AssumeRolePolicyDocument: tasksTrust }
  await iam.send(new CreateRoleCommand(role))
  await test.rejects(iam.send(new CreateRoleCommand(role)), EntityAlreadyExistsException)
  await test.rejects(
    iam.send(new UpdateAssumeRolePolicyCommand({ RoleName: 'paged', PolicyDocument: '{' })),
    MalformedPolicyDocumentException,
  )
  await iam.send(new UpdateRoleCommand({ RoleName: 'paged', Description: 'äöü', MaxSessionDuration: 43_200 }))
  await iam.send(new TagRoleCommand({ RoleName: 'paged', Tags: [{ Key: 'a b', Value: 'ü' }] }))
  const { Role } = await iam.send(new GetRoleCommand({ RoleName: 'paged' }))
  test.match(Role, { Description: 'äöü', MaxSessionDuration: 43_200, Tags: [{ Key: 'a b', Value: 'ü' }] })
  test.equal(decodeURIComponent(Role?.AssumeRolePolicyDocument ?? ''), tasksTrust)
  await iam.send(new UntagRoleCommand({ RoleName: 'paged', TagKeys: ['A B'] }))

  const { Policy } = await iam.send(
    new CreatePolicyCommand({ PolicyName: 'lists', Path: '/apps/', PolicyDocument: allowing('ecs:List*') }),
  )
  const PolicyArn = Policy?.Arn ?? ''
  test.equal(PolicyArn, `arn:aws:iam::${account}:policy/apps/lists`)
  await iam.send(new AttachRolePolicyCommand({ RoleName: 'paged', PolicyArn }))
  const simulate = async (ActionNames: string[]) => {
    const input = { PolicySourceArn: `arn:aws:iam::${account}:role/paged`, ActionNames }
    const { EvaluationResults } = await iam.send(new SimulatePrincipalPolicyCommand(input))
    return EvaluationResults?.map(({ EvalDecision }) => EvalDecision)
  }
  test.same(await simulate(['ecs:ListTasks', 'ecs:RunTask']), ['allowed', 'implicitDeny'])
  const PolicyDocument = allowing('ecs:RunTask')
  await iam.send(new CreatePolicyVersionCommand({ PolicyArn, PolicyDocument, SetAsDefault: true }))
  test.same(await simulate(['ecs:ListTasks', 'ecs:RunTask']), ['implicitDeny', 'allowed'])
  const { PolicyVersion } = await iam.send(new GetPolicyVersionCommand({ PolicyArn, VersionId: 'v2' }))
  test.equal(decodeURIComponent(PolicyVersion?.Document ?? ''), PolicyDocument)
  test.match(await iam.send(new ListEntitiesForPolicyCommand({ PolicyArn })), { PolicyRoles: [{ RoleName: 'paged' }] })
  await test.rejects(iam.send(new DeletePolicyCommand({ PolicyArn })), DeleteConflictException)

  const names: (string | undefined)[] = []
  for await (const { Roles } of paginateListRoles({ client: iam, pageSize: 1 }, {})) {
    names.push(...(Roles ?? []).map(({ RoleName }) => RoleName))
  }
  test.ok(names.includes('AWSServiceRoleForECS') && names.includes('paged'))
  test.equal(new Set(names).size, names.length)
  const { SummaryMap } = await iam.send(new GetAccountSummaryCommand({}))
  test.match(SummaryMap, { Policies: 1, PolicySizeQuota: 6144, Groups: 0 })
})

await t.test('what Terraform’s provider asks of users, roles, policies and profiles, in its order', async (test) => {
  const [UserName, RoleName, InstanceProfileName] = ['tf-user', 'tf-role', 'tf-profile']
  await iam.send(new CreateUserCommand({ UserName, Path: '/', Tags: [{ Key: 'k', Value: 'v' }] }))
  test.match(await iam.send(new GetUserCommand({ UserName })), { User: { Tags: [{ Key: 'k', Value: 'v' }] } })
  const made = await iam.send(
    new CreatePolicyCommand({ PolicyName: 'tf', Path: '/', PolicyDocument: allowing('ecs:*') }),
  )
  const PolicyArn = made.Policy?.Arn ?? ''
  const { Policy } = await iam.send(new GetPolicyCommand({ PolicyArn }))
  await iam.send(new GetPolicyVersionCommand({ PolicyArn, VersionId: Policy?.DefaultVersionId ?? '' }))
  await iam.send(new CreateRoleCommand({ RoleName, AssumeRolePolicyDocument: tasksTrust, Path: '/' }))
  await iam.send(new GetRoleCommand({ RoleName }))
  test.same((await iam.send(new ListRolePoliciesCommand({ RoleName }))).PolicyNames ?? [], [])
  test.same((await iam.send(new ListAttachedRolePoliciesCommand({ RoleName }))).AttachedPolicies ?? [], [])
  await iam.send(new AttachRolePolicyCommand({ RoleName, PolicyArn }))
  await iam.send(new PutRolePolicyCommand({ RoleName, PolicyName: 'in', PolicyDocument: allowing('ssm:*') }))
  const inline = await iam.send(new GetRolePolicyCommand({ RoleName, PolicyName: 'in' }))
  test.equal(decodeURIComponent(inline.PolicyDocument ?? ''), allowing('ssm:*'))
  await iam.send(new AttachUserPolicyCommand({ UserName, PolicyArn }))
  await iam.send(new PutUserPolicyCommand({ UserName, PolicyName: 'in', PolicyDocument: allowing('ssm:*') }))
  await iam.send(new GetUserPolicyCommand({ UserName, PolicyName: 'in' }))
  const { accessKeyId } = await newKey(UserName)
  await iam.send(new CreateInstanceProfileCommand({ InstanceProfileName }))
  await iam.send(new AddRoleToInstanceProfileCommand({ InstanceProfileName, RoleName }))
  const profile = await iam.send(new GetInstanceProfileCommand({ InstanceProfileName }))
  test.match(profile.InstanceProfile, { Roles: [{ RoleName }] })

  const { InstanceProfiles = [] } = await iam.send(new ListInstanceProfilesForRoleCommand({ RoleName }))
  test.equal(InstanceProfiles.length, 1)
  await iam.send(new RemoveRoleFromInstanceProfileCommand({ InstanceProfileName, RoleName }))
  await iam.send(new DeleteInstanceProfileCommand({ InstanceProfileName }))
  await test.rejects(iam.send(new GetInstanceProfileCommand({ InstanceProfileName })), NoSuchEntityException)
  await iam.send(new DetachRolePolicyCommand({ RoleName, PolicyArn }))
  await test.rejects(iam.send(new DetachRolePolicyCommand({ RoleName, PolicyArn })), NoSuchEntityException)
  await iam.send(new DeleteRolePolicyCommand({ RoleName, PolicyName: 'in' }))
  await test.rejects(iam.send(new GetRolePolicyCommand({ RoleName, PolicyName: 'in' })), NoSuchEntityException)
  await iam.send(new DeleteRoleCommand({ RoleName }))

  test.same((await iam.send(new ListGroupsForUserCommand({ UserName }))).Groups ?? [], [])
  test.same((await iam.send(new ListMFADevicesCommand({ UserName }))).MFADevices ?? [], [])
  test.same((await iam.send(new ListVirtualMFADevicesCommand({}))).VirtualMFADevices ?? [], [])
  test.same((await iam.send(new ListSSHPublicKeysCommand({ UserName }))).SSHPublicKeys ?? [], [])
  test.same((await iam.send(new ListSigningCertificatesCommand({ UserName }))).Certificates ?? [], [])
  const specific = await iam.send(new ListServiceSpecificCredentialsCommand({ UserName }))
  test.same(specific.ServiceSpecificCredentials ?? [], [])
  await test.rejects(iam.send(new GetLoginProfileCommand({ UserName })), NoSuchEntityException)
  await test.rejects(iam.send(new DeleteLoginProfileCommand({ UserName })), NoSuchEntityException)
  test.equal((await iam.send(new ListUserPoliciesCommand({ UserName }))).PolicyNames?.length, 1)
  test.equal((await iam.send(new ListAttachedUserPoliciesCommand({ UserName }))).AttachedPolicies?.length, 1)
  await iam.send(new DeleteUserPolicyCommand({ UserName, PolicyName: 'in' }))
  await iam.send(new DetachUserPolicyCommand({ UserName, PolicyArn }))
  await iam.send(new DeleteAccessKeyCommand({ UserName, AccessKeyId: accessKeyId }))
  await iam.send(new DeleteUserCommand({ UserName }))
  test.equal((await iam.send(new ListPolicyVersionsCommand({ PolicyArn }))).Versions?.length, 1)
  await iam.send(new DeletePolicyCommand({ PolicyArn }))
  await test.rejects(iam.send(new GetPolicyCommand({ PolicyArn })), NoSuchEntityException)
})

await t.test('the aws command', async (test) => {
  const aws = awsCommand(controller)
  test.match(await aws('sts', 'get-caller-identity'), { Account: account, Arn: `arn:aws:iam::${account}:root` })
  const document = JSON.parse(trust({ AWS: account })) as object
  const made = await aws(
    'iam',
    'create-role',
    '--role-name',
    'cli',
    '--assume-role-policy-document',
    trust({ AWS: account }),
  )
  test.match(made, { Role: { AssumeRolePolicyDocument: document, RoleId: /^GROL/ } }, 'documents come back decoded')
  const listed = await aws('iam', 'list-policies', '--scope', 'AWS', '--max-items', '3')
  test.equal((listed['Policies'] as unknown[]).length, 3)
  await aws(
    'iam',
    'put-role-policy',
    '--role-name',
    'cli',
    '--policy-name',
    'p',
    '--policy-document',
    allowing('ecs:*'),
  )
  const roleArn = `arn:aws:iam::${account}:role/cli`
  const asked = ['--policy-source-arn', roleArn, '--action-names', 'ecs:RunTask', 'iam:CreateUser']
  const simulated = await aws('iam', 'simulate-principal-policy', ...asked)
  test.match(simulated['EvaluationResults'], [{ EvalDecision: 'allowed' }, { EvalDecision: 'implicitDeny' }])
  const session = await aws('sts', 'assume-role', '--role-arn', roleArn, '--role-session-name', 'me')
  test.match(session, { AssumedRoleUser: { Arn: `arn:aws:sts::${account}:assumed-role/cli/me` } })
  await test.rejects(
    aws('iam', 'get-role', '--role-name', 'none'),
    /\(NoSuchEntity\) when calling the GetRole operation/,
  )
  await test.rejects(aws('iam', 'create-group', '--group-name', 'g'), /UnsupportedFeature/)
})

await t.test('GetCallerIdentity by a presigned URL, as those who prove themselves to others send it', async (test) => {
  const key = await newUser('gina')
  const answer = await send(presigned(key, 'Action=GetCallerIdentity&Version=2011-06-15'), {})
  test.equal(answer.status, 200, answer.text)
  test.match(answer.text, /<Arn>arn:aws:iam::123456789012:user\/gina<\/Arn>/)
  const late = await send(presigned(key, 'Action=GetCallerIdentity&Version=2011-06-15', Date.now() - 120_000), {})
  test.equal(late.status, 403, 'a minute is over')
  const other = presigned(key, 'Action=GetCallerIdentity&Version=2011-06-15').replace(
    'GetCallerIdentity',
    'GetSessionToken',
  )
  test.equal((await send(other, {})).status, 403, 'and it is good for that one call alone')
})

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** By AWS's own description of query-string signing, apart from Gantry's code; good for a minute. */
function presigned({ accessKeyId, secretAccessKey }: Key, query: string, now = Date.now()): string {
  const { host } = new URL(endpoint)
  const date = new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, '')
  const scope = `${date.slice(0, 8)}/us-east-1/sts/aws4_request`
  const signing = new URLSearchParams({
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': `${accessKeyId}/${scope}`,
    'X-Amz-Date': date,
    'X-Amz-Expires': '60',
    'X-Amz-SignedHeaders': 'host',
  })
  const all = [...query.split('&'), ...signing.toString().split('&')].toSorted().join('&')
  const canonical = ['GET', '/', all, `host:${host}`, '', 'host', sha256('')].join('\n')
  const toSign = ['AWS4-HMAC-SHA256', date, scope, sha256(canonical)].join('\n')
  let signingKey: Buffer = Buffer.from(`AWS4${secretAccessKey}`)
  for (const part of [...scope.split('/'), toSign]) signingKey = createHmac('sha256', signingKey).update(part).digest()
  return `${endpoint}/?${all}&X-Amz-Signature=${signingKey.toString('hex')}`
}

await t.test('IAM and STS are signed for us-east-1, wherever the controller is', async (test) => {
  const frankfurt = await startController({ env: { GANTRY_REGION: 'eu-central-1' } })
  test.teardown(() => frankfurt.stop())
  const options = (region: string) => ({ ...optionsOf(frankfurt.credentials, region), endpoint: frankfurt.endpoint })
  for (const region of ['us-east-1', 'eu-central-1']) {
    test.ok(await new STSClient(options(region)).send(new GetCallerIdentityCommand({})), region)
  }
  await test.rejects(new STSClient(options('eu-west-1')).send(new GetCallerIdentityCommand({})), /valid region/)
  await test.rejects(new ECSClient(options('us-east-1')).send(new ListClustersCommand({})), /valid region/)
})
