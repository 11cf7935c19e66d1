/**
 * The two roles of a task against the real controller process: which keys a scripted agent is sent, what they may do, and
 * for how long; and environment files out of a real server that speaks S3.
 */
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ECSClient, ListClustersCommand, ListTasksCommand, StopTaskCommand } from '@aws-sdk/client-ecs'
import { CreateAccessKeyCommand, CreateUserCommand, IAMClient, PutUserPolicyCommand } from '@aws-sdk/client-iam'
import { DeleteRoleCommand, DeleteRolePolicyCommand } from '@aws-sdk/client-iam'
import { GetCallerIdentityCommand, STSClient } from '@aws-sdk/client-sts'
import t from 'tap'
import type { IAMRoleCredentialsMessage, PayloadCredentials } from '../../proto/acs.ts'
import { startAgentPeer } from '../support/agent-peer.ts'
import {
  callEcs,
  callRest,
  eventually,
  getRest,
  type Key,
  type RawAnswer,
  region,
  runController,
  startController,
} from '../support/controller.ts'
import { allowed, rolesAt } from '../support/roles.ts'
import { publicBucket, startS3Server } from '../support/s3-server.ts'
import { s3ErrorBody, s3Refusal } from '../support/s3-signature.ts'

t.setTimeout(400_000)
const store = await startS3Server()
const controller = await startController({ env: store.controllerEnvironment })
const { endpoint, credentials } = controller
const roles = rolesAt(endpoint, credentials)
const iam = new IAMClient({ endpoint, region, credentials })
t.teardown(async () => {
  roles.close()
  iam.destroy()
  await controller.stop()
  await store.end()
})

const capabilities = [
  { name: 'com.amazonaws.ecs.capability.task-iam-role' },
  { name: 'com.amazonaws.ecs.capability.logging-driver.awslogs' },
  { name: 'ecs.capability.execution-role-awslogs' },
  { name: 'ecs.capability.env-files.s3' },
  { name: 'ecs.capability.secrets.asm.environment-variables' },
  { name: 'ecs.capability.secrets.ssm.environment-variables' },
  { name: 'ecs.capability.private-registry-authentication.secretsmanager' },
]
const files = 'arn:aws:s3:::files'
const secretArn = 'arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf'
const app = await roles.role('app', [allowed(['ecs:ListTasks', 'ecs:ListClusters'])])
await roles.role('executor', [allowed('s3:GetObject', `${files}/web/*`)])
const container = { name: 'main', image: 'busybox', memory: 32 }
const roled = { family: 'roled', containerDefinitions: [container], taskRoleArn: app, executionRoleArn: 'executor' }
await register(roled)
const key = controller.agentCredentials
const peer = await startAgentPeer({ endpoint, key, attributes: capabilities, gantryProtocol: true, isExternal: false })

await t.test("a task's keys are those of its role, and die with the task", async (test) => {
  const taskArn = await runTask({ taskDefinition: 'roled' })
  const taskId = taskArn.split('/').at(-1) ?? ''
  const payload = await eventually('the payload', () => peer.tasks.get(taskArn))
  const keys = signingKeys(payload.roleCredentials)
  test.equal(payload.roleCredentials?.roleArn, app)
  test.equal(payload.executionRoleCredentials?.roleArn, app.replace('app', 'executor'))
  const hours = (Date.parse(payload.roleCredentials?.expiration ?? '') - Date.now()) / 3_600_000
  test.ok(hours > 5.9 && hours <= 6, `${hours} h`)

  const ecs = new ECSClient({ endpoint, region, credentials: keys, maxAttempts: 1 })
  const sts = new STSClient({ endpoint, region, credentials: keys, maxAttempts: 1 })
  test.same((await ecs.send(new ListTasksCommand({}))).taskArns, [taskArn])
  const identity = await sts.send(new GetCallerIdentityCommand({}))
  test.equal(identity.Arn, `arn:aws:sts::123456789012:assumed-role/app/${taskId}`)
  await test.rejects(ecs.send(new StopTaskCommand({ task: taskArn })), {
    name: 'AccessDeniedException',
    message: new RegExp(`^User: ${identity.Arn} is not authorized to perform: ecs:StopTask on resource: ${taskArn}`),
  })

  await peer.report(taskArn, 'RUNNING', [{ containerName: 'main', status: 'RUNNING' }])
  await callEcs(endpoint, credentials, 'StopTask', { task: taskArn })
  await eventually('the task to stop', async () =>
    (await described(taskArn)).lastStatus === 'STOPPED' ? true : undefined,
  )
  await test.rejects(ecs.send(new ListClustersCommand({})), {
    name: 'UnrecognizedClientException',
    message: /the task that it was given to has stopped/,
  })
  ecs.destroy()
  sts.destroy()
  const kept = filesBelow(controller.dataDir).map((path) => readFileSync(path, 'latin1'))
  // The audit trail names the key's id, as it shall; what signs is nowhere.
  for (const secret of [keys.secretAccessKey, keys.sessionToken]) {
    test.equal(
      kept.some((text) => text.includes(secret)),
      false,
      'keys are nowhere on disk',
    )
    test.equal(controller.output().includes(secret), false, 'nor in the log')
  }
})

await t.test('an agent is sent new keys once the sessions of a role are revoked', async (test) => {
  await roles.role('short', [allowed('ecs:ListClusters')])
  await register({ ...roled, family: 'short-lived', taskRoleArn: 'short' })
  const taskArn = await runTask({ taskDefinition: 'short-lived' })
  const before = await eventually('the payload', () => peer.tasks.get(taskArn)?.roleCredentials)
  const from = peer.frames.length
  test.equal((await callRest(endpoint, credentials, 'POST', '/v1/roles/short/revoke-sessions')).status, 200)
  const { message } = await peer.frame('IAMRoleCredentialsMessage', from)
  const sent = message as unknown as IAMRoleCredentialsMessage
  test.match(sent, { taskArn, roleType: 'TaskApplication', roleCredentials: { credentialsId: before.credentialsId } })
  const list = async (keys: PayloadCredentials): Promise<unknown> => {
    const ecs = new ECSClient({ endpoint, region, credentials: signingKeys(keys), maxAttempts: 1 })
    return ecs.send(new ListClustersCommand({})).finally(() => ecs.destroy())
  }
  await test.rejects(list(before), { message: /sessions of role short were revoked/ })
  test.ok(await list(sent.roleCredentials))
})

await t.test('an official agent that starts anew is sent the keys of both roles of its tasks', async (test) => {
  const official = await startAgentPeer({ endpoint, key, attributes: capabilities, isExternal: false, cpu: 4096 })
  const taskArn = await startTask(official.instanceArn, { taskDefinition: 'roled' })
  await eventually('the task to run', async () =>
    (await described(taskArn)).lastStatus === 'RUNNING' ? true : undefined,
  )
  const first = official.tasks.get(taskArn)
  test.match(first, {
    roleCredentials: { accessKeyId: /^GSESSN/ },
    executionRoleCredentials: { sessionToken: /^gantry1/ },
  })
  test.equal(first?.gantry, undefined)
  await official.disconnect('cut')
  const from = official.frames.length
  await official.connect(true)
  const sent = (): readonly IAMRoleCredentialsMessage[] =>
    official.frames
      .slice(from)
      .filter(({ type }) => type === 'IAMRoleCredentialsMessage')
      .map(({ message }) => message as unknown as IAMRoleCredentialsMessage)
  const [task, execution] = await eventually('both messages', () => (sent().length >= 2 ? sent() : undefined))
  test.match(task, {
    taskArn,
    roleType: 'TaskApplication',
    roleCredentials: { credentialsId: first?.roleCredentials?.credentialsId, roleArn: app, sessionToken: /^gantry1/ },
  })
  test.equal(task?.messageId === '' || task?.messageId === undefined, false)
  test.match(execution, { roleType: 'TaskExecution' })
  const [payload] = official.frames.slice(from).filter(({ type }) => type === 'PayloadMessage')
  test.match(payload?.message['tasks'], [{ arn: taskArn, roleCredentials: { sessionToken: /^gantry1/ } }])
  await callEcs(endpoint, credentials, 'StopTask', { task: taskArn })
})

await t.test('what a container needs stands in its payload, as references alone', async (test) => {
  await register({
    ...roled,
    family: 'needs',
    containerDefinitions: [
      {
        ...container,
        secrets: [
          { name: 'PASSWORD', valueFrom: `${secretArn}:password::` },
          { name: 'TOKEN', valueFrom: '/web/token' },
        ],
        environmentFiles: [{ type: 's3', value: `${files}/web/a.env` }],
        repositoryCredentials: { credentialsParameter: secretArn },
      },
    ],
  })
  const environmentFiles = [{ type: 's3', value: `${files}/web/b.env` }]
  const overrides = { containerOverrides: [{ name: 'main', environmentFiles }] }
  const taskArn = await startTask(peer.instanceArn, { taskDefinition: 'needs', overrides })
  const payload = await eventually('the payload', () => peer.tasks.get(taskArn))
  test.match(payload.containers[0], {
    secrets: [
      { name: 'PASSWORD', valueFrom: `${secretArn}:password::`, provider: 'asm', region, target: 'CONTAINER' },
      { name: 'TOKEN', valueFrom: '/web/token', provider: 'ssm', region, type: 'ENVIRONMENT_VARIABLE' },
    ],
    environmentFiles,
    registryAuthentication: { type: 'asm', asmAuthData: { credentialsParameter: secretArn, region } },
  })
  await callEcs(endpoint, credentials, 'StopTask', { task: taskArn })
})

await t.test('who may not pass a role can start no task with it, nor register one', async (test) => {
  const operator = await user('operator', [allowed('ecs:*')])
  const denied = /is not authorized to perform: iam:PassRole on resource: arn:aws:iam::123456789012:role\/app/
  const answers = [
    await callEcs(endpoint, operator, 'RegisterTaskDefinition', roled),
    await callEcs(endpoint, operator, 'RunTask', { taskDefinition: 'roled' }),
    await callEcs(endpoint, operator, 'StartTask', { taskDefinition: 'roled', containerInstances: [peer.instanceArn] }),
    await callEcs(endpoint, operator, 'CreateService', { serviceName: 'x', taskDefinition: 'roled', desiredCount: 1 }),
  ]
  for (const answer of answers) {
    test.equal(answer.json['__type'], 'AccessDeniedException', answer.text)
    test.match(answer.json['message'], denied)
  }
  const passes = await user('passes', [
    allowed('ecs:*'),
    {
      ...allowed(
        'iam:PassRole',
        ['app', 'executor'].map((name) => app.replace('app', name)),
      ),
      Condition: { StringEquals: { 'iam:PassedToService': 'ecs-tasks.amazonaws.com' } },
    },
  ])
  test.equal((await callEcs(endpoint, passes, 'RegisterTaskDefinition', roled)).status, 200)
})

await t.test('a role that is not there fails the call; one that goes away is told by the service', async (test) => {
  const missing = await callEcs(endpoint, credentials, 'RunTask', {
    taskDefinition: 'roled',
    overrides: { taskRoleArn: 'nobody' },
  })
  test.equal(missing.json['__type'], 'ClientException')
  test.match(missing.json['message'], /^ECS was unable to assume the role 'nobody' that was provided for this task\. /)
  const planned = await callRest(
    endpoint,
    credentials,
    'POST',
    '/v1/plan',
    JSON.stringify({ runTask: { taskDefinition: 'roled', overrides: { executionRoleArn: 'nobody' } } }),
  )
  test.match(planned.json['message'], /unable to assume the role 'nobody'/)

  await roles.role('short-lived', [allowed('ecs:ListTasks')])
  await register({ ...roled, family: 'leaving', taskRoleArn: 'short-lived' })
  const service = { serviceName: 'leaving', taskDefinition: 'leaving', desiredCount: 1 }
  test.equal((await callEcs(endpoint, credentials, 'CreateService', service)).status, 200)
  await iam.send(new DeleteRolePolicyCommand({ RoleName: 'short-lived', PolicyName: 'what-it-may' }))
  await iam.send(new DeleteRoleCommand({ RoleName: 'short-lived' }))
  await callEcs(endpoint, credentials, 'UpdateService', { service: 'leaving', desiredCount: 2 })
  const event = await eventually('the event', async () => {
    const answer = await callEcs(endpoint, credentials, 'DescribeServices', { services: ['leaving'] })
    const [row] = answer.json['services'] as readonly { readonly events: readonly { readonly message: string }[] }[]
    return row?.events.find(({ message }) => message.includes('failed to launch a task'))?.message
  })
  test.match(
    event,
    /^\(service leaving\) failed to launch a task with \(error ECS was unable to assume the role 'short-lived' that was /,
  )
  const why = await getRest(endpoint, credentials, '/v1/services/default/leaving/why')
  test.match(why.json['summary'], /unable to assume the role 'short-lived'/)
  await callEcs(endpoint, credentials, 'DeleteService', { service: 'leaving', force: true })
})

await t.test('environment files come out of the store for whoever may read them', async (test) => {
  const taskArn = await startTask(peer.instanceArn, { taskDefinition: 'roled' })
  const payload = await eventually('the payload', () => peer.tasks.get(taskArn))
  const execution = signingKeys(payload.executionRoleCredentials)
  await store.put('web/a.env', 'GREETING=hello\n')
  await store.put('web/large.env', 'A'.repeat(1024 * 1024 + 1))
  await store.put('other.env', 'PRIVATE=yes\n')
  const fetchFile = async (object: string, by: Key = execution): Promise<RawAnswer> =>
    getRest(endpoint, by, `/v1/environment-files?arn=${encodeURIComponent(object)}`)

  const found = await fetchFile(`${files}/web/a.env`)
  test.equal(found.text, 'GREETING=hello\n')
  test.equal(found.headers.get('cache-control'), 'no-store')
  const several = await Promise.all(Array.from({ length: 20 }, () => fetchFile(`${files}/web/a.env`)))
  test.ok(several.every(({ text }) => text === 'GREETING=hello\n'))
  const forbidden = await fetchFile(`${files}/other.env`)
  test.equal(forbidden.json['code'], 'AccessDeniedException')
  test.match(
    forbidden.json['message'],
    /assumed-role\/executor\/\w+ is not authorized to perform: s3:GetObject on resource: arn:aws:s3:::files\/other\.env/,
  )
  test.equal((await fetchFile(`${files}/web/a.env`, signingKeys(payload.roleCredentials))).status, 403)
  test.equal((await fetchFile(`${files}/web/a.env`, key)).json['code'], 'AccessDeniedException', 'no host by itself')

  const root = async (object: string): Promise<RawAnswer> => fetchFile(object, credentials)
  const missing = await root(`${files}/web/none.env`)
  test.equal(missing.status, 404)
  test.match(missing.json['message'], /^NoSuchKey: bucket 'files' .* has no object 'web\/none\.env'/)
  test.match((await root('arn:aws:s3:::nowhere/a.env')).json['message'], /^NoSuchBucket: there is no bucket 'nowhere'/)
  test.match((await root(`${files}/web/large.env`)).json['message'], /has 1048577 bytes, and 1048576 are the most/)
  test.match((await root(`${files}/web/a.txt`)).json['message'], /name ends in '\.env'/)
  test.equal(controller.output().includes('GREETING'), false, 'no content is logged')
  await callEcs(endpoint, credentials, 'StopTask', { task: taskArn })
})

await t.test('a store that is not there, not configured or refuses is told in words', async (test) => {
  const none = await answerWith({})
  test.equal(none.status, 400)
  test.match(none.json['message'], /No store of environment files is configured\. Set GANTRY_S3_ENDPOINT/)
  const closed = await answerWith({ GANTRY_S3_ENDPOINT: 'http://127.0.0.1:9' })
  test.equal(closed.status, 500)
  test.match(
    closed.json['message'],
    /could not be fetched from the store at http:\/\/127\.0\.0\.1:9: .*Check that it is up/,
  )
  const { GANTRY_S3_ENDPOINT } = store.controllerEnvironment
  await store.put('web/a.env', 'GREETING=everybody\n', publicBucket)
  const unsigned = await answerWith({ GANTRY_S3_ENDPOINT }, `arn:aws:s3:::${publicBucket}/web/a.env`)
  test.equal(unsigned.text, 'GREETING=everybody\n', 'this bucket lets everybody read')
  const denied = await answerWith({ GANTRY_S3_ENDPOINT })
  test.match(denied.json['message'], /^AccessDenied: .* refuses unsigned requests .* Set GANTRY_S3_CREDENTIALS_FILE/)

  const open = store.keyFile('open', { mode: 0o644 })
  const dataDir = mkdtempSync(join(tmpdir(), 'gantry-controller-'))
  const { code, output } = await runController(dataDir, { env: { GANTRY_S3_CREDENTIALS_FILE: open } })
  rmSync(dataDir, { recursive: true })
  test.equal(code, 1)
  test.match(output, /GANTRY_S3_CREDENTIALS_FILE\) has mode 0644.*chmod 600/)
})

await t.test('the store judges signatures as AWS does in its own examples', (test) => {
  // The key of AWS's documentation, in pieces, so that nobody takes it for one that leaked.
  const id = ['AKIA', 'IOSFODNN7', 'EXAMPLE'].join('')
  const secret = ['wJalrXUtnFEMI', 'K7MDENG', 'bPxRfiCYEXAMPLEKEY'].join('/')
  const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
  const written = '44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072'
  const stored = { date: 'Fri, 24 May 2013 00:00:00 GMT', 'x-amz-storage-class': 'REDUCED_REDUNDANCY' }
  const judged = (method: string, target: string, hash: string, signature: string, more = {}, body = '') => {
    const headers: Record<string, string> = {
      host: 'examplebucket.s3.amazonaws.com',
      'x-amz-content-sha256': hash,
      'x-amz-date': '20130524T000000Z',
      ...more,
    }
    const signed = Object.keys(headers).toSorted().join(';')
    const credential = `${id}/20130524/us-east-1/s3/aws4_request`
    headers['authorization'] =
      `AWS4-HMAC-SHA256 Credential=${credential},SignedHeaders=${signed},Signature=${signature}`
    const secretOf = (asked: string) => (asked === id ? secret : undefined)
    const now = Date.UTC(2013, 4, 24)
    return s3Refusal({ method, target, headers, body: Buffer.from(body) }, { region, secretOf, now })?.code
  }
  const got = 'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41'
  const put = '98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd'
  const lifecycle = 'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543'
  const list = '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7'
  const range = { range: 'bytes=0-9' }
  test.equal(judged('GET', '/test.txt', empty, got, range), undefined, 'GET Object')
  test.equal(judged('PUT', '/test$file.text', written, put, stored, 'Welcome to Amazon S3.'), undefined, 'PUT Object')
  test.equal(judged('GET', '/?lifecycle', empty, lifecycle), undefined, 'GET Bucket Lifecycle')
  test.equal(judged('GET', '/?max-keys=2&prefix=J', empty, list), undefined, 'GET Bucket (List Objects)')
  test.equal(judged('GET', '/test.txt', empty, got, { range: 'bytes=0-99' }), 'SignatureDoesNotMatch')
  test.equal(judged('GET', '/other.txt', empty, got, range), 'SignatureDoesNotMatch')
  test.equal(judged('PUT', '/test$file.text', written, put, stored, 'Welcome.'), 'XAmzContentSHA256Mismatch')
  const error = s3ErrorBody({ status: 403, code: 'InvalidAccessKeyId', message: 'a < b', more: {} })
  test.match(error, /<Error><Code>InvalidAccessKeyId<\/Code><Message>a &lt; b<\/Message>/)
  test.end()
})

await t.test("what the store says of the controller's own signature is told with what to mend", async (test) => {
  const at = store.controllerEnvironment.GANTRY_S3_ENDPOINT.replaceAll('.', '\\.')
  const path = store.keyFile('changing', { id: 'FOREIGN' })
  const env = { ...store.controllerEnvironment, GANTRY_S3_CREDENTIALS_FILE: path }
  // The key of an object is encoded once in what is signed, and not twice as elsewhere.
  const odd = await store.put('web/a b+ü/$ö(1)~.env', 'ODD=yes\n')
  const other = await startController({ env })
  try {
    const ask = async (object = `${files}/web/a.env`): Promise<RawAnswer> =>
      getRest(other.endpoint, other.credentials, `/v1/environment-files?arn=${encodeURIComponent(object)}`)
    test.match(
      reason(await ask()),
      new RegExp(
        `^400 InvalidAccessKeyId: the store at ${at} refuses the key of ${path} \\(GANTRY_S3_CREDENTIALS_FILE`,
      ),
    )
    store.keyFile('changing', { secret: 'wrong' })
    test.match(
      reason(await ask()),
      new RegExp(`^400 SignatureDoesNotMatch: .*signature we calculated.* Correct aws_secret_access_key in ${path}`),
    )
    store.keyFile('changing')
    test.equal((await ask()).text, 'GREETING=hello\n', 'the file is read anew for each')
    test.equal((await ask(odd)).text, 'ODD=yes\n')
    test.equal(store.verdicts.at(-1), 'OK')

    chmodSync(path, 0o644)
    test.match(reason(await ask()), new RegExp(`^500 .* want of the store's key: ${path} .* has mode 0644.*chmod 600`))
    rmSync(path)
    test.match(reason(await ask()), new RegExp(`^500 .* want of the store's key: ${path} .* can't be read: ENOENT`))
    store.keyFile('changing', { secret: '' })
    test.match(reason(await ask()), new RegExp(`^500 .* want of the store's key: ${path}`))
    store.keyFile('changing')
    test.equal((await ask()).status, 200)

    store.clock.aheadMs = -3_600_000
    store.clock.isTold = false
    test.match(
      reason(await ask()),
      /^400 RequestTimeTooSkewed: .* clock and its own are too far apart .* Set the clocks of both machines\./,
    )
    store.clock.isTold = true
    test.equal((await ask()).status, 200, 'a store that says what its clock shows is asked by that')
  } finally {
    Object.assign(store.clock, { aheadMs: 0, isTold: true })
    await other.stop()
  }
  const elsewhere = await answerWith({ ...store.controllerEnvironment, GANTRY_S3_REGION: 'eu-north-1' })
  test.match(
    reason(elsewhere),
    /^400 AuthorizationHeaderMalformed: .*'eu-north-1' is wrong; expecting 'us-east-1'.* Set GANTRY_S3_REGION \(now eu-north-1\)/,
  )
})

function reason({ status, json }: RawAnswer): string {
  return `${status} ${String(json['message'])}`
}

/** What a controller with this environment says to a file's name. */
async function answerWith(env: Record<string, string>, arn = `${files}/web/a.env`): Promise<RawAnswer> {
  const other = await startController({ env })
  try {
    return await getRest(other.endpoint, other.credentials, `/v1/environment-files?arn=${arn}`)
  } finally {
    await other.stop()
  }
}

/** The keys as a signature takes them. */
function signingKeys(made: PayloadCredentials | undefined): Key & { readonly sessionToken: string } {
  if (made === undefined) throw new Error('The payload carries no keys.')
  const { accessKeyId, secretAccessKey, sessionToken } = made
  return { accessKeyId, secretAccessKey, sessionToken }
}

async function register(definition: object): Promise<void> {
  const answer = await callEcs(endpoint, credentials, 'RegisterTaskDefinition', definition)
  if (answer.status !== 200) throw new Error(answer.text)
}

async function runTask(input: object): Promise<string> {
  return firstTask(await callEcs(endpoint, credentials, 'RunTask', input))
}

async function startTask(instanceArn: string, input: object): Promise<string> {
  return firstTask(await callEcs(endpoint, credentials, 'StartTask', { ...input, containerInstances: [instanceArn] }))
}

function firstTask(answer: RawAnswer): string {
  const [task] = (answer.json['tasks'] ?? []) as readonly { readonly taskArn: string }[]
  if (task === undefined) throw new Error(answer.text)
  return task.taskArn
}

async function described(taskArn: string): Promise<{ readonly lastStatus?: string }> {
  const answer = await callEcs(endpoint, credentials, 'DescribeTasks', { tasks: [taskArn] })
  const [task] = answer.json['tasks'] as readonly { readonly lastStatus?: string }[]
  return task ?? {}
}

async function user(name: string, statements: readonly object[]): Promise<Key> {
  await iam.send(new CreateUserCommand({ UserName: name }))
  const document = JSON.stringify({ Version: '2012-10-17', Statement: statements })
  await iam.send(new PutUserPolicyCommand({ UserName: name, PolicyName: 'own', PolicyDocument: document }))
  const { AccessKey: made } = await iam.send(new CreateAccessKeyCommand({ UserName: name }))
  return { accessKeyId: made?.AccessKeyId ?? '', secretAccessKey: made?.SecretAccessKey ?? '' }
}

function filesBelow(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
}
