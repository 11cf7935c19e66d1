/** Who may do what, with AWS's own SDK clients as callers: users, their policies, conditions, tags, source addresses. */
import {
  CreateClusterCommand,
  DeleteClusterCommand,
  DescribeClustersCommand,
  DescribeTasksCommand,
  ECSClient,
  ListServicesCommand,
  ListTasksCommand,
  RegisterTaskDefinitionCommand,
  RunTaskCommand,
  StopTaskCommand,
  TagResourceCommand,
} from '@aws-sdk/client-ecs'
import {
  AttachUserPolicyCommand,
  CreateAccessKeyCommand,
  CreatePolicyCommand,
  CreateRoleCommand,
  CreateUserCommand,
  DeleteUserPolicyCommand,
  DetachUserPolicyCommand,
  IAMClient,
  PutRolePolicyCommand,
  PutUserPermissionsBoundaryCommand,
  PutUserPolicyCommand,
} from '@aws-sdk/client-iam'
import { AssumeRoleCommand, GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import t from 'tap'
import { restRows } from '../../controller/access/rows/rest.ts'
import { awsServices } from '../../controller/api/aws-services.ts'
import { startAgentPeer } from '../support/agent-peer.ts'
import { callEcs, callRest, getRest, type Key, region, startController } from '../support/controller.ts'
import { sampleInput } from '../support/sample-input.ts'

t.setTimeout(400_000)
const controller = await startController()
t.teardown(() => controller.stop())
const { endpoint } = controller
const account = '123456789012'
const clusterArn = (name: string) => `arn:aws:ecs:${region}:${account}:cluster/${name}`
const settings = (credentials: Key) => ({ endpoint, region, credentials, maxAttempts: 1 })
const root = new ECSClient(settings(controller.credentials))
const iam = new IAMClient(settings(controller.credentials))
for (const clusterName of ['prod', 'test']) {
  await root.send(new CreateClusterCommand({ clusterName, tags: [{ key: 'stage', value: clusterName }] }))
}
const definition = { family: 'web', containerDefinitions: [{ name: 'web', image: 'web', memory: 32 }] }
await root.send(new RegisterTaskDefinitionCommand(definition))

interface User {
  readonly name: string
  readonly key: Key
  readonly ecs: ECSClient
  /** Puts this in the place of the policy that the user has. */
  may(...statements: readonly object[]): Promise<void>
}

async function aUser(name: string, tags: Readonly<Record<string, string>> = {}): Promise<User> {
  const Tags = Object.entries(tags).map(([Key, Value]) => ({ Key, Value }))
  await iam.send(new CreateUserCommand({ UserName: name, Tags }))
  const { AccessKey: made } = await iam.send(new CreateAccessKeyCommand({ UserName: name }))
  const key = { accessKeyId: made?.AccessKeyId ?? '', secretAccessKey: made?.SecretAccessKey ?? '' }
  return {
    name,
    key,
    ecs: new ECSClient(settings(key)),
    async may(...Statement) {
      const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
      await iam.send(new PutUserPolicyCommand({ UserName: name, PolicyName: 'what-may', PolicyDocument }))
    },
  }
}

const statement = (Effect: 'Allow' | 'Deny', Action: string | readonly string[], more: object = {}) => ({
  Effect,
  Action,
  Resource: '*',
  ...more,
})
const allow = (action: string | readonly string[], more: object = {}) => statement('Allow', action, more)
const deny = (action: string | readonly string[], more: object = {}) => statement('Deny', action, more)

const trustsTasks = JSON.stringify({
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Principal: { Service: 'ecs-tasks.amazonaws.com' }, Action: 'sts:AssumeRole' }],
})

/** `allowed`, or the message of the denial. Where something else is refused, the policies had let it pass: its name. */
async function said(call: Promise<unknown>): Promise<string> {
  try {
    await call
    return 'allowed'
  } catch (error) {
    if (!(error instanceof Error)) throw error
    return error.name.startsWith('AccessDenied') ? error.message : error.name
  }
}

await t.test('a user who is allowed one cluster is denied another', async (test) => {
  const ann = await aUser('ann')
  const list = (cluster: string) => said(ann.ecs.send(new ListTasksCommand({ cluster })))
  test.equal(
    await list('prod'),
    `User: arn:aws:iam::${account}:user/ann is not authorized to perform: ecs:ListTasks on resource: ` +
      `arn:aws:ecs:${region}:${account}:container-instance/prod/* because no identity-based policy allows the ` +
      'ecs:ListTasks action',
  )
  await ann.may(
    allow(['ecs:ListTasks', 'ecs:ListServices', 'ecs:RunTask', 'ecs:StopTask', 'ecs:DescribeTasks'], {
      Condition: { ArnEquals: { 'ecs:cluster': clusterArn('prod') } },
    }),
    { Effect: 'Allow', Action: 'ecs:DescribeClusters', Resource: clusterArn('prod') },
  )
  const describe = (clusters: string[]) => said(ann.ecs.send(new DescribeClustersCommand({ clusters })))
  test.equal(await list('prod'), 'allowed')
  test.equal(await list(clusterArn('prod')), 'allowed')
  test.match(await list('test'), /ecs:ListTasks on resource: .*container-instance\/test\/\*/)
  test.equal(await said(ann.ecs.send(new ListServicesCommand({ cluster: 'prod' }))), 'allowed')
  test.match(await said(ann.ecs.send(new ListServicesCommand({ cluster: 'test' }))), /on resource: \* because/)
  test.equal(await describe(['prod']), 'allowed')
  test.match(await describe(['prod', 'test']), /ecs:DescribeClusters on resource: .*cluster\/test because/)
  test.match(await describe([]), /cluster\/default/)
  const stop = new StopTaskCommand({ cluster: 'test', task: 'a'.repeat(32) })
  test.match(await said(ann.ecs.send(stop)), /ecs:StopTask on resource: .*task\/test\/a{32} because/)
  // Operators' routes take the same rights.
  const rest = async (path: string) => (await getRest(endpoint, ann.key, path)).status
  test.equal(await rest('/v1/clusters/prod/tasks'), 200)
  test.equal(await rest('/v1/clusters/test/tasks'), 403)
  test.equal(await rest('/v1/clusters'), 403)
  test.equal(await rest('/v1/subnets'), 403)
  const plan = (cluster: string) =>
    callRest(endpoint, ann.key, 'POST', '/v1/plan', JSON.stringify({ runTask: { cluster, taskDefinition: 'web' } }))
  test.match((await plan('prod')).json, { message: /No Container Instances/ })
  test.equal((await plan('test')).status, 403)
})

await t.test('an explicit deny wins, whatever else allows it; withdrawing works at once', async (test) => {
  const bob = await aUser('bob')
  const list = () => said(bob.ecs.send(new ListTasksCommand({ cluster: 'prod' })))
  const PolicyArn = 'arn:aws:iam::aws:policy/AdministratorAccess'
  await iam.send(new AttachUserPolicyCommand({ UserName: 'bob', PolicyArn }))
  test.equal(await list(), 'allowed')
  await bob.may(deny('ecs:List*'))
  test.match(await list(), /ecs:ListTasks on resource: .* with an explicit deny in an identity-based policy$/)
  test.equal(await said(bob.ecs.send(new DescribeClustersCommand({}))), 'allowed')
  await iam.send(new DeleteUserPolicyCommand({ UserName: 'bob', PolicyName: 'what-may' }))
  test.equal(await list(), 'allowed')
  const bounds = JSON.stringify({ Version: '2012-10-17', Statement: [allow('ecs:Describe*')] })
  const { Policy: boundary } = await iam.send(new CreatePolicyCommand({ PolicyName: 'reads', PolicyDocument: bounds }))
  await iam.send(new PutUserPermissionsBoundaryCommand({ UserName: 'bob', PermissionsBoundary: boundary?.Arn ?? '' }))
  test.match(await list(), /because no permissions boundary allows the ecs:ListTasks action/)
  await iam.send(new DetachUserPolicyCommand({ UserName: 'bob', PolicyArn }))
  test.match(await list(), /because no identity-based policy allows/)
})

await t.test('tags of the request, of the resource and of the caller', async (test) => {
  const carol = await aUser('carol', { stage: 'test' })
  const create = (clusterName: string, tags: Readonly<Record<string, string>>) =>
    said(
      carol.ecs.send(
        new CreateClusterCommand({ clusterName, tags: Object.entries(tags).map(([key, value]) => ({ key, value })) }),
      ),
    )
  const remove = (cluster: string) => said(carol.ecs.send(new DeleteClusterCommand({ cluster })))
  const onlyStage = { 'ForAllValues:StringEquals': { 'aws:TagKeys': ['stage'] } }
  await carol.may(
    allow('ecs:CreateCluster', { Condition: { StringEquals: { 'aws:RequestTag/stage': 'test' }, ...onlyStage } }),
    allow('ecs:DeleteCluster', {
      Condition: { StringEquals: { 'aws:ResourceTag/stage': '${aws:PrincipalTag/stage}' } },
    }),
  )
  test.match(await create('one', {}), /ecs:CreateCluster on resource: .*cluster\/one because/)
  test.match(await create('one', { stage: 'prod' }), /ecs:CreateCluster/)
  test.match(await create('one', { stage: 'test', more: 'x' }), /ecs:CreateCluster/)
  test.match(await create('one', { stage: 'test' }), /ecs:TagResource on resource: .*cluster\/one because/)
  await carol.may(
    allow('ecs:CreateCluster', { Condition: { StringEquals: { 'aws:RequestTag/stage': 'test' }, ...onlyStage } }),
    allow('ecs:TagResource', { Condition: { StringEquals: { 'ecs:CreateAction': 'CreateCluster' } } }),
    allow('ecs:DeleteCluster', {
      Condition: { StringEquals: { 'ecs:ResourceTag/stage': '${aws:PrincipalTag/stage}' } },
    }),
  )
  test.equal(await create('one', { stage: 'test' }), 'allowed')
  const retag = new TagResourceCommand({ resourceArn: clusterArn('prod'), tags: [{ key: 'stage', value: 'test' }] })
  test.match(await said(carol.ecs.send(retag)), /ecs:TagResource on resource: .*cluster\/prod because/)
  test.match(await remove('prod'), /ecs:DeleteCluster on resource: .*cluster\/prod because/)
  test.match(await remove('no-such'), /ecs:DeleteCluster/)
  test.equal(await remove('one'), 'allowed')
})

await t.test('where from, when, and by which way', async (test) => {
  const dave = await aUser('dave')
  const under = async (Condition: object) => {
    await dave.may(allow('ecs:ListClusters', { Condition }))
    return (await callEcs(endpoint, dave.key, 'ListClusters')).status
  }
  test.equal(await under({ IpAddress: { 'aws:SourceIp': '127.0.0.0/8' } }), 200)
  test.equal(await under({ IpAddress: { 'aws:SourceIp': ['10.0.0.0/8', '2001:db8::/32'] } }), 403)
  test.equal(await under({ NotIpAddress: { 'aws:SourceIp': '127.0.0.1' } }), 403)
  test.equal(await under({ DateGreaterThan: { 'aws:CurrentTime': '2020-01-01T00:00:00Z' } }), 200)
  test.equal(await under({ DateLessThan: { 'aws:CurrentTime': '2020-01-01T00:00:00Z' } }), 403)
  test.equal(await under({ Bool: { 'aws:SecureTransport': 'true' } }), 403)
  test.equal(await under({ StringEquals: { 'aws:PrincipalArn': `arn:aws:iam::${account}:user/dave` } }), 200)
  test.equal(await under({ StringLike: { 'aws:username': 'd?ve' }, Null: { 'aws:TokenIssueTime': 'true' } }), 200)
  // A header that says otherwise says nothing.
  await dave.may(allow('ecs:ListClusters', { Condition: { IpAddress: { 'aws:SourceIp': '10.0.0.0/8' } } }))
  const headers = { 'x-forwarded-for': '10.0.0.1', 'x-real-ip': '10.0.0.1', forwarded: 'for=10.0.0.1' }
  test.equal((await callEcs(endpoint, dave.key, 'ListClusters', {}, { headers })).status, 403)
})

await t.test('a role handed to tasks is one that the caller may pass', async (test) => {
  const erin = await aUser('erin')
  const arns = await Promise.all(
    ['weak', 'strong'].map(async (RoleName) => {
      const AssumeRolePolicyDocument = trustsTasks
      const { Role: made } = await iam.send(new CreateRoleCommand({ RoleName, AssumeRolePolicyDocument }))
      return made?.Arn ?? ''
    }),
  )
  const [weak = '', strong = ''] = arns
  const toTasks = { StringEquals: { 'iam:PassedToService': 'ecs-tasks.amazonaws.com' } }
  await erin.may(allow('ecs:*'), { ...allow('iam:PassRole', { Condition: toTasks }), Resource: weak })
  const register = (family: string, taskRoleArn: string) =>
    said(erin.ecs.send(new RegisterTaskDefinitionCommand({ ...definition, family, taskRoleArn })))
  const run = (taskRoleArn: string) =>
    said(erin.ecs.send(new RunTaskCommand({ cluster: 'prod', taskDefinition: 'weak', overrides: { taskRoleArn } })))
  test.equal(await register('weak', weak), 'allowed')
  test.equal(
    await register('strong', strong),
    `User: arn:aws:iam::${account}:user/erin is not authorized to perform: iam:PassRole on resource: ${strong} ` +
      'because no identity-based policy allows the iam:PassRole action',
  )
  // There is no instance that would take one.
  test.equal(await run(weak), 'InvalidParameterException')
  test.match(await run(strong), /iam:PassRole on resource: .*role\/strong because/)
  await root.send(new RegisterTaskDefinitionCommand({ ...definition, family: 'strong', taskRoleArn: strong }))
  const runStrong = new RunTaskCommand({ cluster: 'prod', taskDefinition: 'strong' })
  test.match(await said(erin.ecs.send(runStrong)), /iam:PassRole on resource: .*role\/strong because/)
})

await t.test("a role's session has the role's rights, within its session policy", async (test) => {
  const frank = await aUser('frank')
  const arn = `arn:aws:iam::${account}:user/frank`
  const trusts = { Effect: 'Allow', Principal: { AWS: arn }, Action: 'sts:AssumeRole' }
  const AssumeRolePolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: [trusts] })
  const { Role: role } = await iam.send(new CreateRoleCommand({ RoleName: 'reader', AssumeRolePolicyDocument }))
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: [allow(['ecs:List*', 'ecs:Describe*'])] })
  await iam.send(new PutRolePolicyCommand({ RoleName: 'reader', PolicyName: 'reads', PolicyDocument }))
  const sts = new STSClient(settings(frank.key))
  const assume = async (Policy?: string) => {
    const input = { RoleArn: role?.Arn ?? '', RoleSessionName: 'one', ...(Policy !== undefined && { Policy }) }
    const { Credentials: made } = await sts.send(new AssumeRoleCommand(input))
    const { AccessKeyId = '', SecretAccessKey = '', SessionToken = '' } = made ?? {}
    const credentials = { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: SessionToken }
    return { ecs: new ECSClient({ ...settings(credentials), credentials }), credentials }
  }
  const { ecs, credentials } = await assume()
  const identity = await new STSClient({ ...settings(credentials), credentials }).send(new GetCallerIdentityCommand({}))
  test.equal(identity.Arn, `arn:aws:sts::${account}:assumed-role/reader/one`)
  test.equal(await said(ecs.send(new ListTasksCommand({ cluster: 'prod' }))), 'allowed')
  test.match(
    await said(ecs.send(new DeleteClusterCommand({ cluster: 'prod' }))),
    /User: arn:aws:sts::\d+:assumed-role\/reader\/one is not authorized to perform: ecs:DeleteCluster/,
  )
  const only = { Version: '2012-10-17', Statement: [allow(['ecs:DescribeTasks', 'ecs:DeleteCluster'])] }
  const narrow = await assume(JSON.stringify(only))
  const describe = new DescribeTasksCommand({ cluster: 'prod', tasks: ['a'.repeat(32)] })
  test.equal(await said(narrow.ecs.send(describe)), 'allowed')
  test.match(
    await said(narrow.ecs.send(new ListTasksCommand({ cluster: 'prod' }))),
    /because no session policy allows the ecs:ListTasks action/,
  )
  test.match(await said(narrow.ecs.send(new DeleteClusterCommand({ cluster: 'prod' }))), /no identity-based policy/)
})

await t.test('the ready-made read-only policy opens every read, and nothing that changes', async (test) => {
  const grace = await aUser('grace')
  const PolicyArn = 'arn:aws:iam::aws:policy/GantryReadOnly'
  await iam.send(new AttachUserPolicyCommand({ UserName: 'grace', PolicyArn }))
  const ecs = awsServices.find(({ name }) => name === 'ecs')
  if (ecs === undefined) throw new Error('There is no ECS.')
  let reads = 0
  let writes = 0
  for (const operation of Object.keys(ecs.handlers)) {
    const { json, status } = await callEcs(
      endpoint,
      grace.key,
      operation,
      sampleInput(ecs.model, operation, 'required'),
    )
    const isDenied = status === 403 && json['__type'] === 'AccessDeniedException'
    const isRead = /^(Describe|List|Get)/.test(operation)
    test.equal(isDenied, !isRead, `${operation} answers ${status}`)
    if (isRead) reads += 1
    else writes += 1
  }
  test.ok(reads > 15 && writes > 25, `${reads} reads and ${writes} writes`)
})

await t.test(
  'every route has a row: who has no policy is denied on each, who reads everything on none that reads',
  async (test) => {
    const { json } = await getRest(endpoint, controller.credentials, '/v1/openapi.json')
    const paths = json['paths'] as Readonly<Record<string, Readonly<Record<string, unknown>>>>
    const routes = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => ({
        method: method.toUpperCase() as 'GET' | 'POST' | 'PATCH' | 'DELETE',
        path,
      })),
    )
    const rowed = Object.keys(restRows)
    const nobody = await aUser('nobody')
    const { key: reader } = await aUser('heidi')
    const PolicyArn = 'arn:aws:iam::aws:policy/GantryReadOnly'
    await iam.send(new AttachUserPolicyCommand({ UserName: 'heidi', PolicyArn }))
    for (const { method, path } of routes) {
      const route = `${method} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`
      // To join is what makes a caller known.
      if (route === 'POST /v1/join') continue
      test.ok(rowed.includes(route), `${route} has a row`)
      const body = method === 'GET' || method === 'DELETE' ? undefined : '{}'
      const sent = path.replaceAll(/\{\w+\}/g, 'sample')
      const denied = await callRest(endpoint, nobody.key, method, sent, body)
      // A body is read before the row that may ask for what is in it, a query before everything.
      test.ok(denied.status === 403 || denied.status === 400, `${route} answers ${denied.status}`)
      test.ok(denied.status !== 400 || !/AccessDenied/.test(denied.text))
      if (method === 'GET' && !path.includes('environment-files')) {
        const answer = await callRest(endpoint, reader, method, sent)
        test.not(answer.status, 403, `${route} answers a reader ${answer.status}`)
      }
    }
    test.ok(routes.length > 25, `${routes.length} routes were walked`)
  },
)

await t.test('a host has the rights of a container instance, and no others', async (test) => {
  const peer = await startAgentPeer({ endpoint, key: controller.agentCredentials, gantryProtocol: true })
  test.teardown(() => peer.disconnect('close'))
  const call = async (operation: string, input: object = {}) =>
    (await callEcs(endpoint, controller.agentCredentials, operation, input)).status
  test.equal(await call('DescribeContainerInstances', { containerInstances: [peer.instanceArn] }), 200)
  for (const operation of ['ListTasks', 'ListClusters', 'DescribeClusters', 'ListAccountSettings']) {
    test.equal(await call(operation), 403, operation)
  }
  test.equal(await call('RunTask', { taskDefinition: 'web' }), 403)
  test.equal(await call('TagResource', { resourceArn: clusterArn('prod'), tags: [] }), 403)
  test.equal((await getRest(endpoint, controller.agentCredentials, '/v1/clusters')).status, 403)
})
