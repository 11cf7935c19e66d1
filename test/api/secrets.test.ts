/**
 * Parameter Store and Secrets Manager with AWS's own SDK clients and the real `aws` command as their judges; who may read
 * what; keys that are changed; and values that are searched for wherever they must not be.
 */
import { CreateAccessKeyCommand, CreateUserCommand, IAMClient, PutUserPolicyCommand } from '@aws-sdk/client-iam'
import {
  BatchGetSecretValueCommand,
  CreateSecretCommand,
  DecryptionFailure,
  DeleteSecretCommand,
  GetSecretValueCommand,
  InvalidRequestException,
  paginateListSecrets,
  PutResourcePolicyCommand,
  PutSecretValueCommand,
  ResourceExistsException,
  ResourceNotFoundException,
  RestoreSecretCommand,
  SecretsManagerClient,
  UpdateSecretVersionStageCommand,
} from '@aws-sdk/client-secrets-manager'
import {
  DescribeParametersCommand,
  GetParameterCommand,
  GetParametersCommand,
  LabelParameterVersionCommand,
  paginateGetParametersByPath,
  ParameterAlreadyExists,
  ParameterNotFound,
  PutParameterCommand,
  SSMClient,
} from '@aws-sdk/client-ssm'
import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { signRequest } from '../../proto/sigv4.ts'
import { awsCommand } from '../support/aws-command.ts'
import { callEcs, callRest, getRest, type Key, type RawAnswer, send, startController } from '../support/controller.ts'

t.setTimeout(400_000)
const options = { env: { GANTRY_LOG_LEVEL: 'trace' } }
let controller = await startController(options)
t.teardown(() => controller.stop())
const outputs: string[] = []

function clientOptions(key: Key = controller.credentials) {
  return { endpoint: controller.endpoint, region: 'us-east-1', credentials: key, maxAttempts: 1 }
}
const secretsOf = (key?: Key): SecretsManagerClient => new SecretsManagerClient(clientOptions(key))
const parametersOf = (key?: Key): SSMClient => new SSMClient(clientOptions(key))

/** The controller again, on what is on disk. */
async function restart(): Promise<void> {
  const { dataDir } = controller
  await controller.terminate()
  outputs.push(controller.output())
  controller = await startController({ ...options, dataDir })
}

await t.test('Parameter Store, as its SDK client knows it', async (test) => {
  const ssm = parametersOf()
  const secure = { Name: '/app/password', Value: 'hunter2', Type: 'SecureString' as const }
  test.match(await ssm.send(new PutParameterCommand(secure)), { Version: 1, Tier: 'Standard' })
  await test.rejects(ssm.send(new PutParameterCommand(secure)), ParameterAlreadyExists)
  await test.rejects(ssm.send(new GetParameterCommand({ Name: '/nobody' })), ParameterNotFound)
  for (let index = 0; index < 12; index += 1) {
    await ssm.send(new PutParameterCommand({ Name: `/app/list/p${index}`, Value: `${index}`, Type: 'String' }))
  }
  const names: (string | undefined)[] = []
  for await (const page of paginateGetParametersByPath({ client: ssm }, { Path: '/app', Recursive: true })) {
    names.push(...(page.Parameters ?? []).map(({ Name }) => Name))
  }
  test.equal(names.length, 13, 'over two pages')
  await ssm.send(new LabelParameterVersionCommand({ Name: '/app/password', Labels: ['live'] }))
  const byLabel = await ssm.send(
    new GetParametersCommand({ Names: ['/app/password:live', '/gone'], WithDecryption: true }),
  )
  test.match(byLabel.Parameters, [{ Value: 'hunter2', Selector: ':live', LastModifiedDate: Date }])
  test.same(byLabel.InvalidParameters, ['/gone'])
  const sealed = await ssm.send(new GetParameterCommand({ Name: '/app/password' }))
  test.notMatch(sealed.Parameter?.Value, /hunter2/)
  const described = await ssm.send(
    new DescribeParametersCommand({ ParameterFilters: [{ Key: 'Type', Values: ['SecureString'] }] }),
  )
  test.match(described.Parameters, [{ Name: '/app/password', KeyId: 'alias/aws/ssm', LastModifiedUser: /:root$/ }])
})

await t.test('Secrets Manager, as its SDK client knows it', async (test) => {
  const secrets = secretsOf()
  const made = await secrets.send(new CreateSecretCommand({ Name: 'app/db', SecretString: '{"password":"one"}' }))
  await test.rejects(
    secrets.send(new CreateSecretCommand({ Name: 'app/db', SecretString: 'x' })),
    ResourceExistsException,
  )
  await test.rejects(secrets.send(new GetSecretValueCommand({ SecretId: 'nobody' })), ResourceNotFoundException)
  const bytes = new Uint8Array(randomBytes(1000))
  await secrets.send(new CreateSecretCommand({ Name: 'app/key', SecretBinary: bytes }))
  const binary = await secrets.send(new GetSecretValueCommand({ SecretId: 'app/key' }))
  test.same([...(binary.SecretBinary ?? [])], [...bytes])

  const pending = await secrets.send(
    new PutSecretValueCommand({
      SecretId: made.ARN,
      SecretString: '{"password":"two"}',
      VersionStages: ['AWSPENDING'],
    }),
  )
  await secrets.send(
    new UpdateSecretVersionStageCommand({
      SecretId: made.ARN,
      VersionStage: 'AWSCURRENT',
      RemoveFromVersionId: made.VersionId,
      MoveToVersionId: pending.VersionId,
    }),
  )
  const current = await secrets.send(new GetSecretValueCommand({ SecretId: 'app/db' }))
  test.match(current, { SecretString: '{"password":"two"}', VersionId: pending.VersionId, CreatedDate: Date })
  const previous = await secrets.send(new GetSecretValueCommand({ SecretId: 'app/db', VersionStage: 'AWSPREVIOUS' }))
  test.equal(previous.SecretString, '{"password":"one"}')

  const batch = await secrets.send(new BatchGetSecretValueCommand({ SecretIdList: ['app/db', 'nobody'] }))
  test.match(batch, { SecretValues: [{ Name: 'app/db' }], Errors: [{ ErrorCode: 'ResourceNotFoundException' }] })
  await secrets.send(new DeleteSecretCommand({ SecretId: 'app/key', RecoveryWindowInDays: 7 }))
  await test.rejects(secrets.send(new GetSecretValueCommand({ SecretId: 'app/key' })), InvalidRequestException)
  await secrets.send(new RestoreSecretCommand({ SecretId: 'app/key' }))
  const names: (string | undefined)[] = []
  for await (const page of paginateListSecrets({ client: secrets, pageSize: 1 }, {})) {
    names.push(...(page.SecretList ?? []).map(({ Name }) => Name))
  }
  test.same(names, ['app/db', 'app/key'])
})

await t.test('both from a terminal', async (test) => {
  const aws = awsCommand(controller)
  const parameter = ['--name', '/cli/url', '--type', 'String', '--allowed-pattern', '^https?://.*']
  await test.rejects(
    aws('ssm', 'put-parameter', ...parameter, '--value', 'ftp'),
    /\(ParameterPatternMismatchException\).*cannot be validated against allowedPattern/,
  )
  const put = ['ssm', 'put-parameter', '--cli-input-json']
  test.same(await aws(...put, '{"Name":"/cli/url","Type":"String","Value":"http://db"}'), {
    Version: 1,
    Tier: 'Standard',
  })
  test.match(await aws('ssm', 'get-parameters-by-path', '--path', '/cli'), {
    Parameters: [{ Name: '/cli/url', Value: 'http://db' }],
  })
  test.match(await aws('ssm', 'describe-parameters', '--filters', 'Key=Name,Values=/cli'), {
    Parameters: [{ Name: '/cli/url' }],
  })
  await aws('ssm', 'delete-parameters', '--names', '/cli/url')
  await test.rejects(aws('ssm', 'get-parameter', '--name', '/cli/url'), /\(ParameterNotFound\)/)

  const file = join(controller.dataDir, 'value.txt')
  writeFileSync(file, '{"user":"ann","password":"pw"}')
  const made = await aws('secretsmanager', 'create-secret', '--name', 'cli/db', '--secret-string', `file://${file}`)
  const id = ['--secret-id', String(made['ARN'])]
  test.match(await aws('secretsmanager', 'get-secret-value', ...id), { SecretString: '{"user":"ann","password":"pw"}' })
  await test.rejects(
    aws('secretsmanager', 'rotate-secret', ...id),
    /\(InvalidRequestException\).*No Lambda rotation function ARN is associated with this secret/,
  )
  await aws('secretsmanager', 'tag-resource', ...id, '--tags', 'Key=team,Value=lab')
  const filters = ['--filters', 'Key=tag-key,Values=team']
  test.match(await aws('secretsmanager', 'list-secrets', ...filters), { SecretList: [{ Name: 'cli/db' }] })
  await aws('secretsmanager', 'delete-secret', ...id, '--force-delete-without-recovery')
  await test.rejects(aws('secretsmanager', 'describe-secret', ...id), /\(ResourceNotFoundException\)/)
})

/** A user with these statements, and a key of its own. */
async function userWith(name: string, ...Statement: readonly object[]): Promise<{ arn: string; key: Key }> {
  const iam = new IAMClient(clientOptions())
  const { User } = await iam.send(new CreateUserCommand({ UserName: name }))
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement })
  const policy = { UserName: name, PolicyName: 'own', PolicyDocument }
  if (Statement.length > 0) await iam.send(new PutUserPolicyCommand(policy))
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName: name }))
  const { AccessKeyId: accessKeyId = '', SecretAccessKey: secretAccessKey = '' } = AccessKey ?? {}
  return { arn: User?.Arn ?? '', key: { accessKeyId, secretAccessKey } }
}

await t.test('who may read what is said by policies of users and of secrets', async (test) => {
  const account = 'arn:aws:ssm:us-east-1:123456789012'
  const reader = await userWith(
    'reader',
    {
      Effect: 'Allow',
      Action: 'secretsmanager:GetSecretValue',
      Resource: '*',
      Condition: { StringEquals: { 'secretsmanager:VersionStage': 'AWSCURRENT', 'aws:ResourceTag/team': 'lab' } },
    },
    { Effect: 'Allow', Action: ['ssm:GetParameter', 'ssm:GetParameters'], Resource: `${account}:parameter/app/*` },
    { Effect: 'Deny', Action: 'ssm:*', Resource: `${account}:parameter/app/password` },
  )
  const root = secretsOf()
  const lab = { Name: 'lab/db', SecretString: 'lab', Tags: [{ Key: 'team', Value: 'lab' }] }
  const { ARN = '' } = await root.send(new CreateSecretCommand(lab))
  await root.send(new PutSecretValueCommand({ SecretId: ARN, SecretString: 'newer' }))
  const secrets = secretsOf(reader.key)
  test.equal((await secrets.send(new GetSecretValueCommand({ SecretId: 'lab/db' }))).SecretString, 'newer')
  const denied = { name: 'AccessDeniedException' }
  await test.rejects(secrets.send(new GetSecretValueCommand({ SecretId: 'app/db' })), {
    ...denied,
    message: /is not authorized to perform: secretsmanager:GetSecretValue on resource: .*secret:app\/db-/,
  })
  await test.rejects(secrets.send(new GetSecretValueCommand({ SecretId: ARN, VersionStage: 'AWSPREVIOUS' })), denied)
  await test.rejects(secrets.send(new PutSecretValueCommand({ SecretId: ARN, SecretString: 'mine' })), denied)
  const ssm = parametersOf(reader.key)
  test.equal(
    (await ssm.send(new GetParametersCommand({ Names: ['/app/list/p1', '/app/list/p2'] }))).Parameters?.length,
    2,
  )
  await test.rejects(ssm.send(new GetParametersCommand({ Names: ['/app/list/p1', '/app/password'] })), denied)
  await test.rejects(ssm.send(new GetParameterCommand({ Name: '/app/password:1' })), denied)
  await test.rejects(ssm.send(new GetParameterCommand({ Name: `${account}:parameter/app/password` })), denied)
  await test.rejects(ssm.send(new PutParameterCommand({ Name: '/app/new', Value: 'x', Type: 'String' })), denied)

  // A policy on the secret lets in who has none, and shuts out who has.
  const guest = await userWith('guest')
  const policy = (Effect: string, AWS: string) => ({
    SecretId: ARN,
    ResourcePolicy: JSON.stringify({
      Version: '2012-10-17',
      Statement: { Effect, Principal: { AWS }, Action: 'secretsmanager:GetSecretValue', Resource: '*' },
    }),
  })
  const guestSecrets = secretsOf(guest.key)
  await test.rejects(guestSecrets.send(new GetSecretValueCommand({ SecretId: ARN })), denied)
  await root.send(new PutResourcePolicyCommand(policy('Allow', guest.arn)))
  test.equal((await guestSecrets.send(new GetSecretValueCommand({ SecretId: ARN }))).SecretString, 'newer')
  await test.rejects(guestSecrets.send(new GetSecretValueCommand({ SecretId: 'app/db' })), denied)
  await root.send(new PutResourcePolicyCommand(policy('Deny', reader.arn)))
  await test.rejects(secrets.send(new GetSecretValueCommand({ SecretId: ARN })), {
    ...denied,
    message: /with an explicit deny in a resource-based policy/,
  })
  const batcher = await userWith('batcher', {
    Effect: 'Allow',
    Action: 'secretsmanager:BatchGetSecretValue',
    Resource: '*',
  })
  const batch = await secretsOf(batcher.key).send(new BatchGetSecretValueCommand({ SecretIdList: [ARN] }))
  test.match(batch, { SecretValues: [], Errors: [{ ErrorCode: 'AccessDeniedException' }] })

  const audited = await getRest(
    controller.endpoint,
    controller.credentials,
    '/v1/audit?action=secretsmanager:GetSecretValue',
  )
  const records = audited.json['records'] as readonly { code: string; resources: string[]; principalArn: string }[]
  test.ok(
    records.some(
      ({ code, resources, principalArn }) => code === 'OK' && resources[0] === ARN && principalArn === guest.arn,
    ),
  )
  test.ok(records.some(({ code, principalArn }) => code === 'AccessDeniedException' && principalArn === reader.arn))
})

interface ShownKey {
  readonly keyId: string
  readonly isSealing: boolean
  readonly isInFile: boolean
  readonly total: number
}

async function keysOf(): Promise<readonly ShownKey[]> {
  return (await getRest(controller.endpoint, controller.credentials, '/v1/secret-keys')).json[
    'keys'
  ] as readonly ShownKey[]
}

await t.test('a new key takes the place of the old one, and nothing is lost', async (test) => {
  const guest = await userWith('keeper', { Effect: 'Allow', Action: 'secretsmanager:*', Resource: '*' })
  const file = join(controller.dataDir, 'secret-key')
  const before = readFileSync(file, 'utf8')
  const [old] = await keysOf()
  test.match(old, { isSealing: true, isInFile: true })
  test.ok((old?.total ?? 0) > 5, 'versions of parameters and secrets, and access keys')

  const fresh = randomBytes(32).toString('hex')
  writeFileSync(file, `${fresh}\n${before}`)
  await restart()
  test.match(await keysOf(), [
    { isSealing: true, isInFile: true, total: 0 },
    { keyId: old?.keyId, isSealing: false, isInFile: true, total: old?.total },
  ])
  const done = await callRest(controller.endpoint, controller.credentials, 'POST', '/v1/secret-keys/reseal')
  test.match(done.json, { resealed: old?.total, broken: 0, keys: [{ total: old?.total }, { total: 0 }] })
  test.notMatch(done.text, fresh)

  writeFileSync(file, `${fresh}\n`)
  await restart()
  test.match(await keysOf(), [{ isSealing: true, total: old?.total }])
  test.match(await secretsOf(guest.key).send(new GetSecretValueCommand({ SecretId: 'app/db' })), {
    SecretString: '{"password":"two"}',
  })
  const password = await parametersOf().send(new GetParameterCommand({ Name: '/app/password', WithDecryption: true }))
  test.equal(password.Parameter?.Value, 'hunter2')

  // Without its key nothing opens, and the answer names the key.
  const [sealing] = await keysOf()
  writeFileSync(file, before)
  await restart()
  await test.rejects(secretsOf().send(new GetSecretValueCommand({ SecretId: 'app/db' })), DecryptionFailure)
  const refused = await secretsOf()
    .send(new GetSecretValueCommand({ SecretId: 'app/db' }))
    .catch(String)
  test.match(refused, `needs the key ${sealing?.keyId}, which is not in the key file`)
  test.ok((await keysOf()).some(({ keyId, isInFile, total }) => keyId === sealing?.keyId && !isInFile && total > 5))
  writeFileSync(file, `${fresh}\n`)
  await restart()
})

/** Every byte that the controller keeps, by file. */
function filesUnder(directory: string): readonly { readonly path: string; readonly bytes: Buffer }[] {
  return readdirSync(directory).flatMap((name) => {
    const path = join(directory, name)
    if (statSync(path).isDirectory()) return filesUnder(path)
    return [{ path, bytes: readFileSync(path) }]
  })
}

const token = (): string => randomBytes(20).toString('hex')
const secure = (over: object) => ({ Name: '/canary', Type: 'SecureString', ...over })

await t.test('no value is found where it must not be', async (test) => {
  const found: string[] = []
  const canaries = new Map<string, string>()
  /** A value of a kind, remembered: in the form that is sent, in base64, and as JSON has it within a text. */
  const canary = (what: string): string => {
    const value = `canary-${randomBytes(9).toString('hex')}`
    for (const form of [value, Buffer.from(value).toString('base64').replace(/=+$/, '')]) canaries.set(form, what)
    return value
  }
  const search = (where: string, text: string | Buffer): void => {
    for (const [value, what] of canaries) if (text.includes(value)) found.push(`${what} in ${where}`)
  }
  const key = controller.credentials
  const ask = async (service: string, target: string, body: string | object): Promise<RawAnswer> =>
    callEcs(controller.endpoint, key, '', body, { service, headers: { 'x-amz-target': target } })
  /** The answer of a call that may not hold any value. */
  const silent = async (service: string, target: string, body: string | object): Promise<RawAnswer> => {
    const answer = await ask(service, target, body)
    search(`the answer of ${target} (${answer.status})`, `${answer.text} ${JSON.stringify([...answer.headers])}`)
    return answer
  }
  const events = await openEvents()

  const ssm = (operation: string, body: string | object) => silent('ssm', `AmazonSSM.${operation}`, body)
  test.equal((await ssm('PutParameter', secure({ Value: canary('SecureString') }))).status, 200)
  test.equal((await ssm('PutParameter', secure({ Value: canary('second SecureString'), Overwrite: true }))).status, 200)
  test.equal((await ssm('PutParameter', secure({ Value: canary('refused value') }))).status, 400)
  const pattern = { AllowedPattern: String.raw`^\d+$`, Overwrite: true }
  test.equal((await ssm('PutParameter', secure({ Value: canary('value of the wrong form'), ...pattern }))).status, 400)
  test.equal((await ssm('PutParameter', secure({ Value: [canary('value of the wrong type')] }))).status, 400)
  const large = canary('too large value').repeat(400)
  test.equal((await ssm('PutParameter', secure({ Value: large, Overwrite: true }))).status, 400)
  test.equal(
    (await ssm('PutParameter', secure({ Value: `{{${canary('nested value')}}}`, Overwrite: true }))).status,
    400,
  )
  test.equal((await ssm('PutParameter', `{"Name":"/canary","Value":"${canary('broken JSON')}`)).status, 400)
  for (const operation of ['GetParameter', 'GetParameterHistory']) await ssm(operation, { Name: '/canary' })
  await ssm('GetParameters', { Names: ['/canary', '/canary:1'] })
  await ssm('GetParametersByPath', { Path: '/', Recursive: true })
  await ssm('DescribeParameters', {})
  await ssm('LabelParameterVersion', { Name: '/canary', Labels: ['live'] })

  const sm = (operation: string, body: string | object) => silent('secretsmanager', `secretsmanager.${operation}`, body)
  const made = token()
  const create = { Name: 'canary', SecretString: canary('SecretString'), ClientRequestToken: made }
  test.equal((await sm('CreateSecret', create)).status, 200)
  test.equal((await sm('CreateSecret', { ...create, SecretString: canary('repeated value') })).status, 400)
  const bytes = Buffer.from(canary('SecretBinary')).toString('base64')
  test.equal(
    (await sm('PutSecretValue', { SecretId: 'canary', SecretBinary: bytes, ClientRequestToken: token() })).status,
    200,
  )
  const put = (over: object) => sm('PutSecretValue', { SecretId: 'canary', ClientRequestToken: token(), ...over })
  test.equal((await put({ SecretString: canary('pending value'), VersionStages: ['AWSPENDING'] })).status, 200)
  test.equal((await put({ SecretString: canary('too long').repeat(3000) })).status, 400)
  test.equal((await put({ SecretString: { password: canary('an object') } })).status, 400)
  test.equal((await put({ SecretBinary: `-${canary('no base64')}` })).status, 400)
  test.equal((await put({ SecretString: canary('unauthorised'), SecretId: 'nobody' })).status, 400)
  const update = { SecretId: 'canary', SecretString: canary('updated value'), ClientRequestToken: token() }
  test.equal((await sm('UpdateSecret', update)).status, 200)
  const password = (await ask('secretsmanager', 'secretsmanager.GetRandomPassword', { ExcludePunctuation: true })).json
  canaries.set(String(password['RandomPassword']), 'random password')
  for (const operation of ['DescribeSecret', 'ListSecretVersionIds', 'GetResourcePolicy', 'CancelRotateSecret']) {
    await sm(operation, { SecretId: 'canary' })
  }
  await sm('ListSecrets', {})
  const guest = await userWith('stranger')
  canaries.set(guest.key.secretAccessKey, 'secret access key')
  const denied = await callEcs(controller.endpoint, guest.key, '', update, {
    service: 'secretsmanager',
    headers: { 'x-amz-target': 'secretsmanager.UpdateSecret' },
  })
  test.equal(denied.status, 403)
  search('a denial', denied.text)

  // Who asks for a value is given it, so that what is searched for is what was kept.
  const value = await ask('secretsmanager', 'secretsmanager.GetSecretValue', { SecretId: 'canary' })
  test.equal(value.json['SecretString'], update.SecretString)
  const read = await ask('ssm', 'AmazonSSM.GetParameter', { Name: '/canary', WithDecryption: true })
  test.match(read.text, /canary-/)
  await ask('ssm', 'AmazonSSM.PutParameter', { Name: '/plain', Type: 'String', Value: 'in-the-clear-4711' })

  for (const path of ['/v1/audit?maxResults=1000', '/v1/events', '/v1/clusters', '/v1/secret-keys']) {
    const answer = await getRest(controller.endpoint, key, path)
    test.equal(answer.status, 200, path)
    search(path, answer.text)
  }
  search('/metrics', (await send(`${controller.endpoint}/metrics`, {})).text)
  search('the change feed', events.text())
  events.close()
  // As it is while it runs, after a crash, and after a clean end.
  const searchFiles = (when: string): void => {
    for (const { path, bytes: content } of filesUnder(controller.dataDir)) search(`${path} ${when}`, content)
  }
  searchFiles('while it runs')
  test.ok(
    filesUnder(controller.dataDir).some(({ bytes: content }) => content.includes('in-the-clear-4711')),
    'what is not sealed is found: the search sees what is kept',
  )
  await controller.kill9()
  searchFiles('after a crash')
  outputs.push(controller.output())
  controller = await startController({ ...options, dataDir: controller.dataDir })
  await restart()
  searchFiles('after a clean end')
  for (const output of [...outputs, controller.output()]) search('the log', output)
  test.ok(outputs.join('').includes('"level":'), 'there is a log')
  test.same(found, [])
  test.ok(canaries.size > 30)
})

/** The change feed as server-sent events, from now on. */
async function openEvents(): Promise<{ text(): string; close(): void }> {
  let text = ''
  const end = new AbortController()
  const url = `${controller.endpoint}/v1/events`
  const headers = signRequest({
    method: 'GET',
    url,
    headers: { accept: 'text/event-stream' },
    credentials: controller.credentials,
    region: 'us-east-1',
    service: 'ecs',
    now: Date.now(),
  })
  const answer = await fetch(url, { headers, signal: end.signal })
  void (async () => {
    try {
      for await (const chunk of answer.body ?? []) text += Buffer.from(chunk).toString('utf8')
    } catch {
      // It is ended by the test.
    }
  })()
  return { text: () => text, close: () => end.abort() }
}
