/**
 * What a new operator does: a second host joins with the printed line; a task there calls Gantry with its role's keys and
 * is refused what the role may not, has a password from Secrets Manager and variables from a file in S3; a right is taken
 * away, the trail is read, the host is put out. And nothing of the password or the file is to be found anywhere.
 */
import { network } from './enter.ts'
import { DescribeTaskDefinitionCommand, PutAttributesCommand } from '@aws-sdk/client-ecs'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import tap from 'tap'
import type { JoinedIdentity } from '../../agent/joined-identity.ts'
import { bytesUnder } from '../support/bytes-under.ts'
import { type Key, callEcs, getRest } from '../support/controller.ts'
import { eventually } from '../support/lab.ts'
import { allowed, rolesAt } from '../support/roles.ts'
import { startS3Server } from '../support/s3-server.ts'
import { startLab } from './lab.ts'
import { bridgeAddress, systemPath } from './machine.ts'
import { nodeContainer, nodeVolumes, runNode } from './node-container.ts'
import { gantry, printedJoinLine, repository } from './operator.ts'

tap.setTimeout(400_000)
const store = await startS3Server('0.0.0.0', bridgeAddress)
const lab = await startLab({ network, hosts: 2, joined: 1, controllerEnvironment: store.controllerEnvironment })
const { controller } = lab
const roles = rolesAt(controller.endpoint, controller.credentials)
tap.teardown(async () => {
  roles.close()
  await lab.close()
  await store.end()
})
const second = lab.host(2)
const canaries = { password: 'canary-db-password', mode: 'canary-file-mode' }

/** Exactly the line, in a checkout on the second host. */
async function runLine(line: string): Promise<string> {
  const program = await second.machine.run(['sh', '-c', `cd ${repository} && ${line}`], {
    PATH: systemPath(),
    ECS_DATADIR: second.agentDirectory,
  })
  if ((await program.ended) !== 0) throw new Error(`The line failed:\n${program.output()}`)
  return program.output()
}

const joined = (): JoinedIdentity =>
  JSON.parse(readFileSync(join(second.agentDirectory, 'joined.json'), 'utf8')) as JoinedIdentity

/** What the audit trail has of an action. */
async function audited(query: string): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const { json } = await getRest(controller.endpoint, controller.credentials, `/v1/audit?${query}`)
  return json['records'] as readonly Readonly<Record<string, unknown>>[]
}

/** What the application is: SDKs with nothing configured, and the environment it was given. */
const program = `
  const { ECSClient, ListTasksCommand, StopTaskCommand } = load('@aws-sdk/client-ecs')
  const ecs = new ECSClient({})
  const { env } = process
  const keys = await fetch('http://169.254.170.2' + env.AWS_CONTAINER_CREDENTIALS_RELATIVE_URI)
  answer({
    tasks: await told(ecs.send(new ListTasksCommand({}))),
    stopped: await told(ecs.send(new StopTaskCommand({ task: process.argv.at(-1) }))),
    password: env.DB_PASSWORD, mode: env.APP_MODE, color: env.APP_COLOR, keys: await keys.json(),
  })
`

interface Answer {
  readonly keys: { readonly AccessKeyId: string; readonly SecretAccessKey: string; readonly Token: string }
}

/** Who a task is, as one of its roles. */
function sessionOf(role: string, taskArn: string): string {
  return `arn:aws:sts::123456789012:assumed-role/${role}/${taskArn.split('/').at(-1)}`
}

let family = ''
let secret = ''
let [first, refused] = ['', '']
let keysOfTask = { accessKeyId: '', secretAccessKey: '', sessionToken: '' }

async function whatRuns(): Promise<readonly string[]> {
  const all = await second.containers(first)
  return all.map(({ id, pid, startedAt, isRunning }) => `${id} ${pid} ${startedAt} ${isRunning}`)
}

await tap.test('a second host joins with exactly the line that the controller prints', async (t) => {
  const output = await runLine(await printedJoinLine(controller))
  t.match(output, /has joined https:\/\/10\.77\.0\.10:51443 as host2/)
  await second.startAgent()
  const [place, targetType, targetId] = ['place', 'container-instance', second.instanceArn] as const
  await lab.client.send(
    new PutAttributesCommand({ attributes: [{ name: place, value: 'cellar', targetType, targetId }] }),
  )
})

await tap.test('a container there calls Gantry with its role, and has its password and its file', async (t) => {
  secret = await roles.secret('shop/db', JSON.stringify({ user: 'shop', password: canaries.password }))
  const file = await store.put('shop.env', `# of the shop\nAPP_MODE=${canaries.mode}\nAPP_COLOR=from-the-file\n`)
  const taskRoleArn = await roles.role('shop', [allowed('ecs:ListTasks')])
  const mayFetch = [allowed('secretsmanager:GetSecretValue', secret), allowed('s3:GetObject', file)]
  const executionRoleArn = await roles.role('shop-fetches', mayFetch)
  family = await lab.define({
    taskRoleArn,
    executionRoleArn,
    volumes: nodeVolumes,
    placementConstraints: [{ type: 'memberOf', expression: 'attribute:place == cellar' }],
    containers: [
      {
        ...nodeContainer,
        secrets: [{ name: 'DB_PASSWORD', valueFrom: `${secret}:password::` }],
        environmentFiles: [{ type: 's3', value: file }],
        environment: [{ name: 'APP_COLOR', value: 'from-the-definition' }],
      },
    ],
  })
  ;[first = ''] = await lab.run(family)
  const [task] = await lab.reach([first], 'RUNNING')
  t.equal(task?.containerInstanceArn, second.instanceArn)
  const [container] = await second.containers(first)
  const answer = await runNode(second, container?.id ?? '', program, first)
  t.match(answer, {
    tasks: { taskArns: [first] },
    stopped: {
      name: 'AccessDeniedException',
      message:
        `User: ${sessionOf('shop', first)} is not authorized to perform: ecs:StopTask on resource: ${first} ` +
        'because no identity-based policy allows the ecs:StopTask action',
    },
    ...canaries,
    color: 'from-the-definition',
  })
  const { AccessKeyId, SecretAccessKey, Token } = (answer as Answer).keys
  keysOfTask = { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: Token }
})

await tap.test(
  'the right on the secret is taken away: the next task fails by its name, the first goes on',
  async (t) => {
    const before = await whatRuns()
    await roles.allow('shop-fetches', [allowed('s3:GetObject')])
    ;[refused = ''] = await lab.run(family)
    const [task] = await lab.until([refused], 'STOPPED', ({ lastStatus }) => lastStatus === 'STOPPED')
    t.match(task?.stoppedReason, /^ResourceInitializationError: unable to pull secrets/)
    t.match(task?.stoppedReason, /secret:shop\/db.*AccessDeniedException.*assumed-role\/shop-fetches\//s)
    t.same(await second.containers(refused), [], 'no container was made for it')
    t.same(await whatRuns(), before)
    t.match(await lab.describe(first), [{ lastStatus: 'RUNNING' }])

    const isSecure = true
    const from = {
      action: 'secretsmanager:GetSecretValue',
      resources: [secret],
      sourceAddress: second.address,
      isSecure,
    }
    t.match(
      await audited('action=secretsmanager:GetSecretValue'),
      [
        { ...from, principalArn: sessionOf('shop-fetches', refused), code: 'AccessDeniedException' },
        { ...from, principalArn: sessionOf('shop-fetches', first), code: 'OK' },
      ],
      'the audit trail has both reads, of which task, and from where',
    )
    t.match(await audited('action=ecs:StopTask'), [
      {
        resources: [first],
        principalArn: sessionOf('shop', first),
        code: 'AccessDeniedException',
        sourceAddress: second.address,
      },
    ])
  },
)

await tap.test('the host is revoked: its keys are over, and the container goes on', async (t) => {
  const before = await whatRuns()
  const { keys, hostId } = joined()
  const call = async (key: Key, operation: string) => callEcs(controller.endpoint, key, operation)
  t.equal((await call(keys, 'DiscoverPollEndpoint')).status, 200)
  t.equal((await call(keysOfTask, 'ListTasks')).status, 200)
  t.match(await gantry(controller, 'hosts', 'revoke', hostId), /Revoked: the keys of host-\w+ \(host2\) are over/)
  t.match(await call(keys, 'DiscoverPollEndpoint'), { status: 403, text: /UnrecognizedClientException.*was revoked/ })
  const gone = { status: 403, text: new RegExp(`UnrecognizedClientException.*host ${hostId}.* was revoked`) }
  t.match(await call(keysOfTask, 'ListTasks'), gone, 'and those of its tasks, wherever they are used')
  await eventually(
    async () => (/does not take the keys of this host.*Containers go on/.test(second.log()) ? true : undefined),
    'its agent says so',
  )
  t.same(await whatRuns(), before)
})

await tap.test('neither the password nor the file is anywhere but in the container', async (t) => {
  const { taskDefinition } = await lab.client.send(new DescribeTaskDefinitionCommand({ taskDefinition: family }))
  const ids = [first, refused].map((arn) => arn.split('/').at(-1) ?? '')
  const rest = async (path: string) => (await getRest(controller.endpoint, controller.credentials, path)).text
  const places = {
    'DescribeTasks, DescribeTaskDefinition': JSON.stringify([await lab.describe(first, refused), taskDefinition]),
    'why and tasks on REST': (
      await Promise.all([...ids.map((id) => `/v1/tasks/${id}/why`), '/v1/clusters/default/tasks'].map(rest))
    ).join('\n'),
    'the audit trail': await rest('/v1/audit?maxResults=1000'),
    "the agent's log": second.log(),
    "the controller's log": controller.log(),
    "the agent's files": bytesUnder(second.agentDirectory),
    "the controller's files": bytesUnder(controller.dataDir),
  }
  for (const [place, text] of Object.entries(places)) {
    for (const id of ids) t.ok(text.includes(id), `${place}: it is what is meant`)
    t.notMatch(text, /canary/, place)
    t.notOk(text.includes(keysOfTask.secretAccessKey), `${place}: nor what the task signs with`)
  }
})
