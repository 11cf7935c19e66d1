/**
 * What a task needs before it runs, with everything real: secrets of both stores, files of variables out of an S3 server,
 * a private registry; what happens where it can't be had; and that nothing of it is written down anywhere.
 */
import { readdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ListTasksCommand, StopTaskCommand } from '@aws-sdk/client-ecs'
import tap from 'tap'
import { bytesUnder } from '../support/bytes-under.ts'
import { askEngine, busyboxImage, removeBusyboxImage } from '../support/engine.ts'
import { eventually, startLab } from '../support/lab.ts'
import type { AnyTask } from '../support/lab.ts'
import { startRegistry } from '../support/registry.ts'
import { allowed, rolesAt } from '../support/roles.ts'
import { startS3Server } from '../support/s3-server.ts'

tap.setTimeout(300_000)
const image = await busyboxImage()
const files = await startS3Server()
const environment = { ECS_CONTAINER_STOP_TIMEOUT: '1s' }
const lab = await startLab({ environment }, files.controllerEnvironment)
const roles = rolesAt(lab.controller.endpoint, lab.controller.credentials)
const login = { username: 'lab', password: 'canary-registry-password' }
const registry = await startRegistry('127.0.0.1', login)
tap.teardown(async () => {
  roles.close()
  await lab.close()
  await registry.end()
  await files.end()
  await removeBusyboxImage()
})

const executionRole = 'fetches'
const mayFetch = [
  allowed(['secretsmanager:GetSecretValue', 'ssm:GetParameters']),
  allowed('s3:GetObject', 'arn:aws:s3:::files/*'),
]
const executionRoleArn = await roles.role(executionRole, mayFetch)
const database = await roles.secret('lab/db', '{"user":"ada","password":"canary-db-password","port":5432}')
const whole = await roles.secret('lab/whole', 'canary-whole-secret')
await roles.parameter('/lab/token', 'canary-parameter-token')
const forever = ['sh', '-c', 'trap "exit 0" TERM; while true; do sleep 0.2; done']
const idOf = (arn: string): string => arn.split('/').at(-1) ?? ''

type Container = AnyTask['containers'][number]

async function run(container: Partial<Container>, over: Partial<AnyTask> = {}): Promise<string> {
  const containers = [{ name: 'app', image, command: forever, ...container }]
  return lab.run({ executionRoleArn, ...over, containers })
}

async function environmentOf(arn: string): Promise<Readonly<Record<string, string>>> {
  const { Config } = await lab.inspect(arn, 'app')
  return Object.fromEntries(Config.Env.map((one) => one.split(/=(.*)/s).slice(0, 2) as [string, string]))
}

/** Why the task ended, as DescribeTasks says it. */
async function endOf(arn: string): Promise<string> {
  const task = await lab.reaches(arn, 'STOPPED', 60_000)
  return [task.stoppedReason, ...(task.containers ?? []).map(({ reason }) => reason)].join(' | ')
}

const secrets = [
  { name: 'DB_PASSWORD', valueFrom: `${database}:password::` },
  { name: 'DB_PORT', valueFrom: `${database}:port::` },
  { name: 'WHOLE', valueFrom: whole },
  { name: 'TOKEN', valueFrom: '/lab/token' },
  { name: 'TOKEN_BY_ARN', valueFrom: 'arn:aws:ssm:us-east-1:123456789012:parameter/lab/token' },
]

await tap.test('secrets of both stores are in the environment, and log options take them too', async (t) => {
  const arn = await run({
    secrets,
    logConfiguration: {
      logDriver: 'json-file',
      options: { 'max-file': '2' },
      secretOptions: [{ name: 'labels', valueFrom: '/lab/token' }],
    },
  })
  await lab.reaches(arn, 'RUNNING')
  t.match(await environmentOf(arn), {
    DB_PASSWORD: 'canary-db-password',
    DB_PORT: '5432',
    WHOLE: 'canary-whole-secret',
    TOKEN: 'canary-parameter-token',
    TOKEN_BY_ARN: 'canary-parameter-token',
  })
  const { HostConfig } = await lab.inspect(arn, 'app')
  t.match(HostConfig.LogConfig.Config, { labels: 'canary-parameter-token', 'max-file': '2' })
})

await tap.test(
  "files of variables: the definition's stand over them, an earlier one over a later, secrets over all",
  async (t) => {
    const first = await files.put(
      'first.env',
      '# the first\r\nA=first\nB=b = "x"\nNAME=first\nWHOLE=first\nno variable\n',
    )
    const second = await files.put('second.env', 'A=second\nC=second\n')
    const arn = await run({
      environment: [{ name: 'NAME', value: 'definition' }],
      environmentFiles: [
        { type: 's3', value: first },
        { type: 's3', value: second },
      ],
      secrets: [{ name: 'WHOLE', valueFrom: whole }],
    })
    await lab.reaches(arn, 'RUNNING')
    t.match(await environmentOf(arn), {
      A: 'first',
      B: 'b = "x"',
      C: 'second',
      NAME: 'definition',
      WHOLE: 'canary-whole-secret',
    })
    t.match(lab.agent.log(), /Lines 6 are not NAME=VALUE and have no effect/)

    const bad = await files.put('bad.env', new Uint8Array([...Buffer.from('A=1\nCANARY=canary-file'), 0xff]))
    const broken = await endOf(await run({ environmentFiles: [{ type: 's3', value: bad }] }))
    t.match(broken, /ResourceInitializationError: .*files\/bad\.env, line 2: it is no UTF-8/)
    t.notMatch(broken, /canary/)
    const missing = await endOf(await run({ environmentFiles: [{ type: 's3', value: 'arn:aws:s3:::files/no.env' }] }))
    t.match(missing, /ResourceInitializationError: failed to download env file arn:aws:s3:::files\/no\.env/)

    const fetchesFirst = { environmentFiles: [{ type: 's3' as const, value: first }] }
    const prefix = `ResourceInitializationError: failed to download env file ${first}: InvalidParameterException: `
    const keyPath = files.keyFile('keys', { secret: 'canary-wrong-key' })
    const wrongKey = await endOf(await run(fetchesFirst))
    t.ok(wrongKey.includes(`${prefix}SignatureDoesNotMatch: the store at `), wrongKey)
    t.ok(wrongKey.includes(`Correct aws_secret_access_key in ${keyPath}`))
    files.keyFile('keys')
    Object.assign(files.clock, { aheadMs: 3_600_000, isTold: false })
    const skewed = await endOf(await run(fetchesFirst))
    t.ok(skewed.includes(`${prefix}RequestTimeTooSkewed: the store at `), skewed)
    t.match(skewed, /Set the clocks of both machines/)
    Object.assign(files.clock, { aheadMs: 0, isTold: true })
    await lab.reaches(await run(fetchesFirst), 'RUNNING')
    for (const said of [wrongKey, skewed]) t.notMatch(said, /canary/)
  },
)

await tap.test('what is missing ends the task with its name; so does a permission that was taken away', async (t) => {
  const prefix = 'ResourceInitializationError: unable to pull secrets or registry auth: '
  const noParameter = await endOf(await run({ secrets: [{ name: 'X', valueFrom: '/lab/nothing' }] }))
  t.ok(noParameter.includes(`${prefix}execution resource retrieval failed: unable to retrieve secrets from ssm: `))
  t.match(noParameter, /invalid parameters: \/lab\/nothing\. Put them with PutParameter, or correct valueFrom of X/)
  const noKey = await endOf(await run({ secrets: [{ name: 'X', valueFrom: `${database}:nope::` }] }))
  t.match(noKey, /retrieved secret from Secrets Manager did not contain json key nope/)
  const gone = database.replace(/secret:.*/, 'secret:lab/gone-AbCdEf')
  const noSecret = await endOf(await run({ secrets: [{ name: 'X', valueFrom: gone }] }))
  t.match(noSecret, /lab\/gone-AbCdEf from secrets manager: .*ResourceNotFoundException/)

  await roles.allow(executionRole, [allowed('ssm:GetParameters')])
  const refused = await endOf(await run({ secrets }))
  t.match(refused, /AccessDeniedException: User: .*assumed-role\/fetches\/.*secretsmanager:GetSecretValue/)
  t.match(refused, /Allow it in a policy of the execution role arn:aws:iam::123456789012:role\/fetches\./)
  await roles.allow(executionRole, mayFetch)
  const again = await run({ secrets })
  await lab.reaches(again, 'RUNNING')
  for (const said of [noParameter, noKey, noSecret, refused]) t.notMatch(said, /canary/)
})

await tap.test('a private registry: the right password, and what it says to a wrong one', async (t) => {
  const repository = `127.0.0.1:${registry.port}/lab/app`
  await registry.push(image, `${repository}:1`)
  await registry.push(image, `${repository}:2`)
  const right = await roles.secret('lab/registry', JSON.stringify(login))
  const wrong = await roles.secret('lab/wrong', JSON.stringify({ ...login, password: 'canary-wrong-password' }))
  const refused = await endOf(
    await run({ image: `${repository}:1`, repositoryCredentials: { credentialsParameter: wrong } }),
  )
  t.match(refused, /CannotPullContainerError: .*unauthorized: authentication required\. The registry does not take/)
  t.notMatch(refused, /canary/)
  const arn = await run({ image: `${repository}:2`, repositoryCredentials: { credentialsParameter: right }, secrets })
  await lab.reaches(arn, 'RUNNING')
  const none = await endOf(await run({ image: `${repository}:1` }))
  t.match(none, /CannotPullContainerError/)
  await askEngine('DELETE', `/images/${repository}:2?force=1`)
})

await tap.test('the agent is killed in between: what runs runs on, and new ones have their secrets', async (t) => {
  const before = await run({ secrets })
  await lab.reaches(before, 'RUNNING')
  const { Id: dockerId } = await lab.inspect(before, 'app')
  let during = ''
  await lab.restartAgent({
    before: async () => {
      during = await run({ secrets })
    },
    options: { environment },
  })
  await lab.reaches(during, 'RUNNING')
  t.match(await environmentOf(during), { TOKEN: 'canary-parameter-token' })
  t.equal((await lab.inspect(before, 'app')).Id, dockerId)
  const after = await run({ secrets })
  await lab.reaches(after, 'RUNNING')
  t.match(await environmentOf(after), { DB_PASSWORD: 'canary-db-password' })
})

await tap.test("no container sees the agent's own files, whichever way it mounts them", async (t) => {
  const { dataDirectory } = lab.agent
  const look = async (sourcePath: string, inside: string): Promise<string> => {
    const arn = await run(
      {
        command: ['sh', '-c', `cat ${inside}/agent.db ${inside}/identity.json; echo looked`],
        mountPoints: [{ sourceVolume: 'host', containerPath: '/host' }],
      },
      { volumes: [{ name: 'host', host: { sourcePath } }] },
    )
    const task = await lab.reaches(arn, 'STOPPED')
    const { lastLogLines = [] } = (await lab.rest(`/v1/tasks/${idOf(arn)}/why`)) as { lastLogLines?: string[] }
    return JSON.stringify([task.stoppedReason, task.containers, lastLogLines])
  }
  const held = readdirSync(dataDirectory)
  t.ok(held.length > 0)
  for (const [source, inside] of [
    ['/', `/host${dataDirectory}`],
    [tmpdir(), `/host${dataDirectory.slice(tmpdir().length)}`],
  ] as const) {
    const arn = await run(
      {
        command: ['sh', '-c', `for f in ${inside}/*; do echo seen $f; done; sleep 600`],
        mountPoints: [{ sourceVolume: 'host', containerPath: '/host' }],
      },
      { volumes: [{ name: 'host', host: { sourcePath: source } }] },
    )
    await lab.reaches(arn, 'RUNNING')
    const { Id } = await lab.inspect(arn, 'app')
    const seen = await eventually(async () => {
      const { text } = await askEngine('GET', `/containers/${Id}/logs?stdout=1`)
      return text.includes('seen') ? text : undefined
    }, 'it has looked')
    t.match(seen, /seen .*\/\*/, `nothing is in it: ${source}`)
  }
  t.match(await look(dataDirectory, '/host'), /is one of the agent's own places/)
  t.match(await look(join(dataDirectory, '.'), '/host'), /is one of the agent's own places/)
})

await tap.test('nothing that was fetched is written down, logged, reported or shown', async (t) => {
  const { taskArns = [] } = await lab.client.send(new ListTasksCommand({}))
  const described = await Promise.all(taskArns.map(async (arn) => lab.describe(arn)))
  const why = await Promise.all(taskArns.map(async (arn) => lab.rest(`/v1/tasks/${idOf(arn)}/why`)))
  const shown = await fetch(`${lab.agent.introspection}/v1/tasks`).then(async (answer) => answer.text())
  for (const arn of taskArns) await lab.client.send(new StopTaskCommand({ task: arn }))
  for (const arn of taskArns) await lab.reaches(arn, 'STOPPED')
  const places = {
    'DescribeTasks and why': JSON.stringify([described, why]),
    introspection: shown,
    "the agent's log": lab.agent.log(),
    "the controller's log": lab.controller.output(),
    "the agent's files": bytesUnder(lab.agent.dataDirectory),
    "the controller's files": bytesUnder(lab.controller.dataDir),
  }
  for (const [place, text] of Object.entries(places)) {
    t.ok(text.length > 100, `${place}: there is something to search`)
    t.notMatch(text, /canary/, place)
  }
  for (const place of ['introspection', "the agent's log", "the agent's files"] as const) {
    t.notMatch(places[place], /GSESSN/, `no key of a role: ${place}`)
  }
})
