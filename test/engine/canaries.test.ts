/**
 * Marked values go through everything that knows secrets, with everything real, kills on the way; then every file, answer,
 * argument, environment and report is searched for them. What may hold one says so by name (docs/security.md).
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CreateServiceCommand, ListTasksCommand, StopTaskCommand } from '@aws-sdk/client-ecs'
import { CreateAccessKeyCommand, CreateRoleCommand, CreateUserCommand, IAMClient } from '@aws-sdk/client-iam'
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts'
import tap from 'tap'
import { joinPath } from '../../proto/joining.ts'
import { startAgentPeer } from '../support/agent-peer.ts'
import { callEcs, callRest, getRest, type Key, region, send, startController } from '../support/controller.ts'
import { openDataChannel } from '../support/data-channel.ts'
import { askEngine, busyboxImage, removeBusyboxImage } from '../support/engine.ts'
import { eventually, startLab } from '../support/lab.ts'
import { startRegistry } from '../support/registry.ts'
import { allowed, rolesAt } from '../support/roles.ts'
import { startS3Server } from '../support/s3-server.ts'
import { withTls } from '../support/tls-client.ts'

tap.setTimeout(400_000)

interface Canary {
  readonly what: string
  readonly value: string
  /** Names of places that are there to hold it. */
  readonly mayBeIn: RegExp | undefined
}

const canaries: Canary[] = []
/** Remembers a value, which nothing but the places of that name may hold. */
function remember(what: string, value: string, mayBeIn?: RegExp): string {
  if (value.length < 12) throw new Error(`${what} is too short to be told from chance`)
  canaries.push({ what, value, mayBeIn })
  return value
}
const canary = (what: string, mayBeIn?: RegExp): string =>
  remember(what, `canary${randomBytes(12).toString('hex')}`, mayBeIn)

const found: string[] = []
let searched = 0
/** As it is, and in base64 wherever in a longer text it stands. */
function formsOf(value: string): readonly string[] {
  const shifted = ['', 'x', 'xx'].map((before) => {
    const text = Buffer.from(before + value).toString('base64')
    return text.slice(before === '' ? 0 : 4, -4)
  })
  return [value, encodeURIComponent(value), Buffer.from(value).toString('hex'), ...shifted]
}

function search(place: string, text: string): void {
  searched += text.length
  for (const { what, value, mayBeIn } of canaries) {
    if (mayBeIn?.test(place) === true) continue
    if (formsOf(value).some((form) => text.includes(form))) found.push(`${what} in ${place}`)
  }
}

function searchFiles(name: string, directory: string): void {
  for (const entry of readdirSync(directory, { recursive: true })) {
    const path = join(directory, String(entry))
    // Compiled code, which the tests keep for all controllers.
    if (path.includes('compile-cache') || !statSync(path, { throwIfNoEntry: false })?.isFile()) continue
    search(`${name}: ${String(entry)}`, textOf(path))
  }
}

/** Empty where it is gone by now: a file that was renamed to its name, a process that has ended. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return ''
    throw error
  }
}

/** A process and all that it started, as anybody on the machine sees them. */
function searchProcess(name: string, pid: number): void {
  for (const file of ['cmdline', 'environ']) search(`${name}: ${file}`, readFileSync(`/proc/${pid}/${file}`, 'latin1'))
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
  for (const each of children.filter((one) => one !== '')) {
    for (const file of ['cmdline', 'environ']) search(`${name}: ${file}`, textOf(`/proc/${each}/${file}`))
  }
}

const reports = mkdtempSync(join(tmpdir(), 'gantry-reports-'))
const nodeReports = { NODE_OPTIONS: `--report-on-signal --report-on-fatalerror --report-directory=${reports}` }
const store = await startS3Server()
const environment = { ECS_CONTAINER_STOP_TIMEOUT: '1s', DEBUG: '*', ...nodeReports }
const controllerEnvironment = {
  ...store.controllerEnvironment,
  ...withTls,
  ...nodeReports,
  GANTRY_LOG_LEVEL: 'debug',
}
const image = await busyboxImage()
const lab = await startLab({ environment }, controllerEnvironment)
const { endpoint, credentials: root, dataDir } = lab.controller
const login = { username: 'lab', password: canary('password of a registry') }
const registry = await startRegistry('127.0.0.1', login)
const roles = rolesAt(endpoint, root)
const clients = { iam: client(IAMClient), sts: client(STSClient) }
tap.teardown(async () => {
  roles.close()
  for (const each of Object.values(clients)) each.destroy()
  await lab.close()
  await registry.end()
  await store.end()
  await removeBusyboxImage()
  rmSync(reports, { recursive: true, force: true })
})

function client<T>(Client: new (options: object) => T): T {
  return new Client({ endpoint, region, credentials: root })
}

/** What programs printed is kept with their ends, for `why`, and shown by the routes that show logs. */
const ofContainers = /files: |\/(why|logs)$/
const logs: string[] = []

remember('the root key', root.secretAccessKey, /root-credentials$/)
remember("the first start's host key", lab.controller.agentCredentials.secretAccessKey, /agent-credentials$/)
remember('the key that seals', readFileSync(join(dataDir, 'secret-key'), 'utf8').trim(), /secret-key$/)
for (const name of readdirSync(join(dataDir, 'tls')).filter((one) => one.includes('key'))) {
  const line = readFileSync(join(dataDir, 'tls', name), 'utf8').split('\n')[1] ?? ''
  remember(`the private key ${name}`, line.slice(8, 60), new RegExp(`tls/${name.replaceAll('.', String.raw`\.`)}$`))
}

const mayFetch = [
  allowed(['secretsmanager:GetSecretValue', 'ssm:GetParameters']),
  allowed('s3:GetObject', 'arn:aws:s3:::files/*'),
]
const executionRoleArn = await roles.role('fetches', mayFetch)
const taskRoleArn = await roles.role('app', [allowed('ecs:ListTasks')])
const forever = ['sh', '-c', 'echo $PRINTED; trap "exit 3" TERM; while true; do sleep 0.2; done']
const database = await roles.secret('canaries/db', JSON.stringify({ password: canary('value of a secret') }))
const printed = await roles.secret('canaries/printed', canary('output of a container', ofContainers))
await roles.parameter('/canaries/token', canary('SecureString'))
await roles.parameter('/canaries/option', canary('option of a log driver'))
const file = await store.put('canaries.env', `FROM_FILE=${canary('line of an environment file')}\n`)
const app = {
  name: 'app',
  image,
  command: forever,
  environmentFiles: [{ type: 's3' as const, value: file }],
  secrets: [
    { name: 'PASSWORD', valueFrom: `${database}:password::` },
    { name: 'TOKEN', valueFrom: '/canaries/token' },
    { name: 'PRINTED', valueFrom: printed },
  ],
  logConfiguration: {
    logDriver: 'json-file' as const,
    secretOptions: [{ name: 'labels', valueFrom: '/canaries/option' }],
  },
}

const started: string[] = []
async function run(over: object = {}): Promise<string> {
  const containers = [{ ...app, ...over }]
  const arn = await lab.run({ executionRoleArn, containers, run: { enableExecuteCommand: true } })
  started.push(arn)
  return arn
}

await tap.test('marked values go through everything that knows secrets', async (t) => {
  const arn = await run()
  await lab.reaches(arn, 'RUNNING')
  const { Config, HostConfig } = await lab.inspect(arn, 'app')
  for (const what of ['value of a secret', 'SecureString', 'line of an environment file']) {
    const { value = '' } = canaries.find((one) => one.what === what) ?? {}
    t.ok(
      Config.Env.some((one) => one.endsWith(value)),
      `the container has the ${what}`,
    )
  }
  t.match(HostConfig.LogConfig.Config['labels'], /^canary/)

  await t.test('a command, its input and what it says', async (test) => {
    const word = canary('word of a command')
    const channel = await openDataChannel(lab.client, { task: arn, command: `sh -c 'echo ${word}; cat'` })
    await channel.started
    const typed = canary('what was typed into a command')
    channel.send(Buffer.from(`${typed}\n`))
    channel.control('StdinEnd')
    test.match(await channel.ended, { exitCode: 0 })
    test.match(channel.output().toString(), `${word}\n${typed}`)
  })

  await t.test('a private registry, with the right password and with a wrong one', async (test) => {
    const name = `127.0.0.1:${registry.port}/canaries/app`
    await registry.push(image, `${name}:1`)
    await registry.push(image, `${name}:2`)
    const right = await roles.secret('canaries/right', JSON.stringify(login))
    const password = canary('wrong password of a registry')
    const wrong = await roles.secret('canaries/wrong', JSON.stringify({ ...login, password }))
    const pulled = await run({ image: `${name}:2`, repositoryCredentials: { credentialsParameter: right } })
    await lab.reaches(pulled, 'RUNNING')
    const refused = await run({ image: `${name}:1`, repositoryCredentials: { credentialsParameter: wrong } })
    test.match((await lab.reaches(refused, 'STOPPED')).containers?.[0]?.reason, /CannotPullContainerError/)
    await askEngine('DELETE', `/images/${name}:2?force=1`)
  })

  await t.test('keys of users, sessions, hosts and tasks', async (test) => {
    await clients.iam.send(new CreateUserCommand({ UserName: 'canary' }))
    const { AccessKey } = await clients.iam.send(new CreateAccessKeyCommand({ UserName: 'canary' }))
    const user = keyOf(AccessKey)
    remember("a user's secret access key", user.secretAccessKey)
    test.equal((await callEcs(endpoint, user, 'ListClusters')).status, 403)
    const trust = { Effect: 'Allow', Principal: { AWS: 'arn:aws:iam::123456789012:root' }, Action: 'sts:AssumeRole' }
    const AssumeRolePolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: [trust] })
    const { Role } = await clients.iam.send(new CreateRoleCommand({ RoleName: 'taken', AssumeRolePolicyDocument }))
    const assumed = new AssumeRoleCommand({ RoleArn: Role?.Arn, RoleSessionName: 'canary' })
    const { Credentials: session } = await clients.sts.send(assumed)
    remember('secret key of a session', session?.SecretAccessKey ?? '')
    remember('token of a session', session?.SessionToken ?? '')
    const keys = { ...keyOf(session), sessionToken: session?.SessionToken }
    test.equal((await callEcs(endpoint, keys, 'ListClusters')).status, 403)

    const token = String((await callRest(endpoint, root, 'POST', '/v1/join-tokens', '{}')).json['token'])
    remember('a join token', token.split('-').at(-1) ?? '')
    const joined = await send(`${endpoint}${joinPath}`, { method: 'POST', body: JSON.stringify({ token, name: 'c' }) })
    const host = keyOf({ AccessKeyId: joined.json['accessKeyId'], SecretAccessKey: joined.json['secretAccessKey'] })
    remember("a host's secret access key", host.secretAccessKey)
    const again = await send(`${endpoint}${joinPath}`, { method: 'POST', body: JSON.stringify({ token, name: 'c' }) })
    test.equal(again.status, 403)

    const attributes = [{ name: 'com.amazonaws.ecs.capability.task-iam-role' }]
    const peer = await startAgentPeer({ endpoint, key: host, gantryProtocol: true, attributes })
    const definition = {
      family: 'roled',
      taskRoleArn,
      executionRoleArn,
      containerDefinitions: [{ name: 'main', image: 'x', memory: 16 }],
    }
    await callEcs(endpoint, root, 'RegisterTaskDefinition', definition)
    const placed = { taskDefinition: 'roled', containerInstances: [peer.instanceArn] }
    const { json, text } = await callEcs(endpoint, root, 'StartTask', placed)
    const [{ taskArn } = { taskArn: '' }] = json['tasks'] as { taskArn: string }[]
    const payload = await eventually(async () => peer.tasks.get(taskArn), `its payload: ${text}`)
    for (const [what, given] of [
      ['task role', payload.roleCredentials],
      ['execution role', payload.executionRoleCredentials],
    ] as const) {
      test.ok(given, what)
      remember(`secret key of the ${what}`, given?.secretAccessKey ?? '')
      remember(`session token of the ${what}`, given?.sessionToken ?? '')
    }
    await callEcs(endpoint, root, 'StopTask', { task: taskArn })
    await peer.disconnect('cut')
  })
})

function keyOf(shown: { readonly AccessKeyId?: unknown; readonly SecretAccessKey?: unknown } | undefined): Key {
  return { accessKeyId: String(shown?.AccessKeyId), secretAccessKey: String(shown?.SecretAccessKey) }
}

await tap.test('the controller and the agent are killed meanwhile', async (t) => {
  const during = await run()
  logs.push(lab.controller.output(), lab.agent.log())
  await lab.controller.kill9()
  searchFiles("the controller's files: ", dataDir)
  lab.controller = await startController({ env: controllerEnvironment, dataDir, port: lab.controller.port })
  await lab.restartAgent({ options: { environment } })
  await lab.reaches(during, 'RUNNING')
  const after = await run()
  await lab.reaches(after, 'RUNNING')
  const service = { serviceName: 'canaries', taskDefinition: `engine-${process.pid}-1`, desiredCount: 1 }
  await lab.client.send(new CreateServiceCommand(service))
  const ofService = await eventually(async () => {
    const { taskArns = [] } = await lab.client.send(new ListTasksCommand({ serviceName: 'canaries' }))
    return taskArns[0]
  }, 'the service has a task')
  t.ok(await lab.reaches(ofService, 'RUNNING'))
})

/** Each route of the operators' API that reads, for each task. */
async function searchRest(): Promise<number> {
  const document = (await send(`${endpoint}/v1/openapi.json`, {})).json
  const paths = Object.entries(document['paths'] as Readonly<Record<string, object>>)
  let asked = 0
  for (const [path] of paths.filter(([, methods]) => 'get' in methods)) {
    if (path.includes('environment-files')) continue
    for (const task of path.includes('{task}') ? started : ['']) {
      const filled = path
        .replace('{task}', task.split('/').at(-1) ?? '')
        .replace('{cluster}', 'default')
        .replace('{service}', 'canaries')
        .replaceAll(/\{\w+\}/g, 'x')
      const pages = filled.includes('audit') || filled.includes('events') ? '?maxResults=1000' : ''
      search(`GET ${filled}`, (await getRest(endpoint, root, `${filled}${pages}`)).text)
      asked += 1
    }
  }
  return asked
}

/** Each operation that lists, describes or gets, but for those whose answer is a value that was asked for. */
async function searchCalls(): Promise<void> {
  const tasks = { tasks: started, include: ['TAGS'] }
  const definition = `engine-${process.pid}-1`
  const ecs: readonly (readonly [string, object])[] = [
    ['DescribeTasks', tasks],
    ['ListTasks', { desiredStatus: 'STOPPED' }],
    ['DescribeTaskDefinition', { taskDefinition: definition, include: ['TAGS'] }],
    ['DescribeServices', { services: ['canaries'] }],
    ['DescribeContainerInstances', { containerInstances: [lab.agent.containerInstanceArn], include: ['TAGS'] }],
    ['DescribeClusters', { clusters: ['default'], include: ['SETTINGS', 'STATISTICS', 'CONFIGURATIONS', 'TAGS'] }],
    ['ListServiceDeployments', { service: 'canaries' }],
    ['ListTaskDefinitions', {}],
    ['ListAccountSettings', {}],
  ]
  for (const [operation, input] of ecs) {
    const { status, text } = await callEcs(endpoint, root, operation, input)
    if (status !== 200) throw new Error(`${operation}: ${text}`)
    search(operation, text)
  }
  const stores: readonly (readonly ['ssm' | 'secretsmanager', string, object])[] = [
    ['ssm', 'AmazonSSM.DescribeParameters', {}],
    ['ssm', 'AmazonSSM.GetParametersByPath', { Path: '/', Recursive: true }],
    ['ssm', 'AmazonSSM.GetParameterHistory', { Name: '/canaries/token' }],
    ['secretsmanager', 'secretsmanager.ListSecrets', {}],
    ['secretsmanager', 'secretsmanager.DescribeSecret', { SecretId: 'canaries/db' }],
  ]
  for (const [service, target, input] of stores) {
    const { status, text } = await callEcs(endpoint, root, '', input, { service, headers: { 'x-amz-target': target } })
    if (status !== 200) throw new Error(`${target}: ${text}`)
    search(target, text)
  }
}

await tap.test(
  'marked values are in no file, answer, argument, environment or report after a whole run with kills',
  async (t) => {
    const look = async (): Promise<void> => {
      await searchCalls()
      t.ok((await searchRest()) > 30, 'routes were asked')
      search('/metrics', (await send(`${endpoint}/metrics`, {})).text)
      for (const path of ['/v1/metadata', '/v1/tasks']) {
        search(
          `introspection ${path}`,
          await fetch(`${lab.agent.introspection}${path}`).then(async (one) => one.text()),
        )
      }
      searchProcess("the controller's process", lab.controller.pid)
      searchProcess("the agent's process", lab.agent.pid)
      searchFiles("the controller's files: ", dataDir)
      searchFiles("the agent's files: ", lab.agent.dataDirectory)
    }
    await look()
    for (const pid of [lab.controller.pid, lab.agent.pid]) process.kill(pid, 'SIGUSR2')
    const areWhole = () => {
      const texts = readdirSync(reports).map((name) => readFileSync(join(reports, name), 'utf8'))
      return texts.length >= 2 && texts.every((text) => text.trimEnd().endsWith('}'))
    }
    await eventually(async () => (areWhole() ? true : undefined), 'both processes report')
    searchFiles('a report of Node', reports)
    for (const arn of started) await lab.client.send(new StopTaskCommand({ task: arn }))
    for (const arn of started) await lab.reaches(arn, 'STOPPED')
    await look()
    t.equal(await lab.controller.terminate(), 0)
    searchFiles("the controller's files: ", dataDir)
    logs.push(lab.controller.output(), lab.agent.log())
    for (const [at, text] of logs.entries()) search(`log ${at}`, text)

    t.ok(canaries.length >= 20, `${canaries.length} values`)
    t.ok(searched > 3_000_000, `${searched} characters were searched`)
    t.same([...new Set(found)], [], 'none was found')
    for (const text of logs) t.notMatch(text, /Signature=[0-9a-f]{64}/, 'nor a signature')
  },
)

await tap.test('a search that finds nothing would find something', async (t) => {
  const before = found.length
  const { value = '' } = canaries.at(-1) ?? {}
  for (const text of [value, Buffer.from(`some text, then ${value}, and more`).toString('base64')]) search('here', text)
  t.equal(found.length, before + 2)
  search("the controller's files: root-credentials", root.secretAccessKey)
  t.equal(found.length, before + 2, 'what may be there is not told')
})
