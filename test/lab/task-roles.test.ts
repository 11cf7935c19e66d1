/**
 * Keys of tasks' roles from within containers: an AWS SDK finds them and calls Gantry by itself, is refused what its role
 * may not, and nobody gets another task's keys, in any network mode. One agent of a host has 169.254.170.2, so all is in
 * a network of the test's own.
 */
import { network } from './enter.ts'
import { CreateServiceCommand, ListTasksCommand, StopTaskCommand } from '@aws-sdk/client-ecs'
import tap from 'tap'
import { callRest } from '../support/controller.ts'
import { inspectRaw } from '../support/engine.ts'
import { eventually } from '../support/lab.ts'
import { allowed, rolesAt } from '../support/roles.ts'
import { startLab } from './lab.ts'
import { inside, nodeContainer, nodeVolumes, runNode } from './node-container.ts'

tap.setTimeout(400_000)
const lab = await startLab({ network, hosts: 1 })
const roles = rolesAt(lab.controller.endpoint, lab.controller.credentials)
tap.teardown(async () => {
  roles.close()
  await lab.close()
})
const host = lab.host(1)

interface Answer {
  readonly status: number
  readonly body: unknown
}

/** Asks the task endpoint from within a container, as any program would. */
async function ask(dockerId: string, path: string, method = 'GET', body = '', headers = ''): Promise<Answer> {
  const head = `${method} ${path} HTTP/1.0\\r\\n${headers}Content-Length: ${body.length}\\r\\n\\r\\n`
  const text = await inside(host, dockerId, ['sh', '-c', `printf '${head}%s' '${body}' | nc -w 20 169.254.170.2 80`])
  const [first = '', content = ''] = text.split(/\n\n(.*)/s)
  const status = Number(/^HTTP\/1\.1 (\d+)/.exec(first)?.[1] ?? 0)
  return { status, body: content.startsWith('{') ? JSON.parse(content) : content }
}

interface Running {
  readonly arn: string
  readonly dockerId: string
  readonly environment: Readonly<Record<string, string>>
  /** Where its keys are. */
  readonly keys: string
}

async function running(arn: string, name = 'app'): Promise<Running> {
  await lab.reach([arn], 'RUNNING')
  const dockerId = (await host.containers(arn)).find((one) => one.name === name)?.id ?? ''
  const raw = (await inspectRaw(dockerId, host.engine.host)) as { Config: { Env: string[] } }
  const environment = Object.fromEntries(raw.Config.Env.map((one) => one.split(/=(.*)/s).slice(0, 2)))
  return { arn, dockerId, environment, keys: environment['AWS_CONTAINER_CREDENTIALS_RELATIVE_URI'] ?? '' }
}

type Mode = 'bridge' | 'host' | 'awsvpc'

async function start(networkMode: Mode, taskRoleArn?: string): Promise<Running> {
  const family = await lab.define({
    networkMode,
    volumes: nodeVolumes,
    containers: [nodeContainer],
    ...(taskRoleArn && { taskRoleArn }),
  })
  const own = networkMode === 'awsvpc' ? { networkConfiguration: { awsvpcConfiguration: { subnets: [subnetId] } } } : {}
  const [arn = ''] = await lab.run(family, own)
  return running(arn)
}

/** What a program is that knows nothing of Gantry: the SDK's defaults, each call with its answer or its refusal. */
const program = `
  const { ECSClient, ListTasksCommand, StopTaskCommand } = load('@aws-sdk/client-ecs')
  const { STSClient, GetCallerIdentityCommand } = load('@aws-sdk/client-sts')
  const { SecretsManagerClient, GetSecretValueCommand } = load('@aws-sdk/client-secrets-manager')
  const ecs = new ECSClient({})
  const [identity, tasks, stopped, secret] = await Promise.all([
    told(new STSClient({}).send(new GetCallerIdentityCommand({}))),
    told(ecs.send(new ListTasksCommand({}))),
    told(ecs.send(new StopTaskCommand({ task: process.argv.at(-1) }))),
    told(new SecretsManagerClient({}).send(new GetSecretValueCommand({ SecretId: 'lab/secret' }))),
  ])
  const { SecretString } = secret
  answer({
    identity: identity.Arn ?? identity, tasks: tasks.taskArns?.length ?? tasks, stopped, secret: SecretString ?? secret,
  })
`

/** A program that was given its keys before, and keeps them until they end, as each SDK does. */
const holding = `
  const { STSClient, GetCallerIdentityCommand } = load('@aws-sdk/client-sts')
  const { AccessKeyId: accessKeyId, SecretAccessKey: secretAccessKey, Token: sessionToken } = JSON.parse(process.argv.at(-1))
  const sts = new STSClient({ credentials: { accessKeyId, secretAccessKey, sessionToken } })
  answer(await told(sts.send(new GetCallerIdentityCommand({}))))
`

async function sdk(of: Running): Promise<unknown> {
  return runNode(host, of.dockerId, program, of.arn)
}

const made = await callRest(
  lab.controller.endpoint,
  lab.controller.credentials,
  'POST',
  '/v1/subnets',
  JSON.stringify({ cidr: '10.99.0.0/24', gateway: '10.99.0.1', attachment: { kind: 'bridge' } }),
)
const subnetId = String(made.json['subnetId'])
await roles.secret('lab/secret', 'canary-lab-secret')
const worker = await roles.role('worker', [allowed(['ecs:ListTasks', 'secretsmanager:GetSecretValue'])])
const other = await roles.role('other', [allowed('ecs:DescribeTasks')])

const modes = ['bridge', 'host', 'awsvpc'] as const
const workers = Object.fromEntries(
  await Promise.all(modes.map(async (mode) => [mode, await start(mode, worker)] as const)),
) as Readonly<Record<Mode, Running>>

await tap.test(
  'an SDK with nothing configured calls Gantry with its role, and is refused what that may not',
  async (t) => {
    for (const mode of modes) {
      const one = workers[mode]
      const taskId = one.arn.split('/').at(-1)
      const identity = `arn:aws:sts::123456789012:assumed-role/worker/${taskId}`
      t.match(
        await sdk(one),
        {
          identity,
          tasks: Number,
          secret: 'canary-lab-secret',
          stopped: {
            name: 'AccessDeniedException',
            message: `User: ${identity} is not authorized to perform: ecs:StopTask`,
          },
        },
        mode,
      )
    }
  },
)

await tap.test("keys are the calling task's own: an address, or an id, that was stolen is of no use", async (t) => {
  const thieves = await Promise.all(modes.map(async (mode) => [mode, await start(mode, other)] as const))
  for (const mode of modes) {
    const own = await ask(workers[mode].dockerId, workers[mode].keys)
    t.match(own, { status: 200, body: { RoleArn: worker, Expiration: /Z$/ } }, mode)
    const { AccessKeyId, SecretAccessKey, Token } = own.body as Record<string, string>
    t.match([AccessKeyId, SecretAccessKey, Token], [/^GSESSN[A-Z0-9]+$/, /.{40}/, /.{100}/])
    const [, id = ''] = workers[mode].keys.split('/credentials/')
    t.match(await ask(workers[mode].dockerId, `/v1/credentials?id=${id}`), { status: 200, body: { AccessKeyId } })
    const authorization = `Authorization: AWS4-HMAC-SHA256 Credential=${AccessKeyId}/20261121/us-east-1/ecs/aws4_request\\r\\n`
    for (const [place, thief] of thieves) {
      t.match(
        await ask(thief.dockerId, workers[mode].keys),
        { status: 400, body: { code: 'InvalidIdInRequest' } },
        `${mode}, stolen by ${place}`,
      )
      const call = await ask(thief.dockerId, '/', 'POST', '{}', authorization)
      t.match(call, { status: 403, body: { __type: 'UnrecognizedClientException' } }, `the API by ${place}`)
    }
  }
  const log = host.log()
  t.match(log, /"event":"GetCredentials","status":200/)
  t.match(log, /"event":"GetCredentials","status":400/)
  t.notMatch(log, new RegExp(workers.bridge.keys.split('/').at(-1) ?? 'nothing'), 'no id stands in the log')
  await Promise.all(thieves.map(async ([, { arn }]) => lab.client.send(new StopTaskCommand({ task: arn }))))
})

/** What a task of a service is told when it protects itself. */
async function protectionOf(taskRoleArn: string | undefined, serviceName: string): Promise<Answer> {
  const family = await lab.define({
    containers: [{ ...nodeContainer, mountPoints: [] }],
    ...(taskRoleArn && { taskRoleArn }),
  })
  await lab.client.send(new CreateServiceCommand({ serviceName, taskDefinition: family, desiredCount: 1 }))
  const arn = await eventually(async () => {
    const { taskArns } = await lab.client.send(new ListTasksCommand({ serviceName }))
    return taskArns?.[0]
  }, 'the service has a task')
  const one = await running(arn)
  const path = (one.environment['ECS_AGENT_URI'] ?? '').replace('http://169.254.170.2', '')
  return ask(one.dockerId, `${path}/task-protection/v1/state`, 'PUT', '{"ProtectionEnabled":true}')
}

await tap.test('task protection takes the right of the role', async (t) => {
  const protector = await roles.role('protector', [allowed(['ecs:GetTaskProtection', 'ecs:UpdateTaskProtection'])])
  t.match(await protectionOf(protector, 'may'), { status: 200, body: { protection: { ProtectionEnabled: true } } })
  t.match(await protectionOf(worker, 'may-not'), {
    body: { error: { Code: 'AccessDeniedException', Message: /assumed-role\/worker/ } },
  })
  t.match(await protectionOf(undefined, 'no-role'), {
    status: 403,
    body: { error: { Message: 'Invalid Request: no task IAM role credentials available for task' } },
  })
})

await tap.test(
  'after a kill -9 of the agent the keys come anew; without a controller they are not there yet',
  async (t) => {
    const one = workers.bridge
    const before = await ask(one.dockerId, one.keys)
    await host.restartAgent()
    const after = await eventually(async () => {
      const answer = await ask(one.dockerId, one.keys)
      return answer.status === 200 ? answer : undefined
    }, 'keys have come')
    t.match(after, { body: { RoleArn: worker } })
    t.not((after.body as { AccessKeyId: string }).AccessKeyId, (before.body as { AccessKeyId: string }).AccessKeyId)
    const held = JSON.stringify(before.body)
    t.match(await runNode(host, one.dockerId, holding, held), { Arn: /assumed-role\/worker/ }, 'which it had before')
    const elsewhere = await runNode(host, workers.awsvpc.dockerId, holding, held)
    t.match(elsewhere, { name: 'InvalidClientTokenId' }, "and they are still nobody else's")

    await host.killAgent()
    await lab.controller.kill9()
    await host.launchAgent()
    await eventually(async () => {
      const answer = await ask(one.dockerId, one.keys)
      return answer.status === 503 ? answer : undefined
    }, 'the agent answers without keys')
    await lab.controller.start()
    await eventually(async () => {
      const answer = await ask(one.dockerId, one.keys)
      return answer.status === 200 ? answer : undefined
    }, 'keys have come with the controller')
    t.match(await sdk(one), { secret: 'canary-lab-secret' })
  },
)

await tap.test('a right that is taken away is gone with the next call', async (t) => {
  await roles.allowNothing('worker')
  t.match(await sdk(workers.awsvpc), {
    tasks: { name: 'AccessDeniedException' },
    secret: { name: 'AccessDeniedException' },
  })
  await lab.client.send(new StopTaskCommand({ task: workers.host.arn }))
  await lab.reach([workers.host.arn], 'STOPPED')
  t.notMatch(host.log(), /canary|"secretAccessKey"|SecretAccessKey/)
})
