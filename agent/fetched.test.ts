/** What is fetched for containers: the format of environment files, what is asked for, when, and who stands over whom. */
import * as fc from 'fast-check'
import tap from 'tap'
import type { PayloadSecret } from '../proto/acs.ts'
import { anAgent, type Agent } from '../test/support/fake-turn.ts'
import { aPayloadContainer, aPayloadTask, taskArnOf } from '../test/support/payloads.ts'
import { createConcurrencyLimit } from './concurrency-limit.ts'
import { EngineError, labels } from './engine.ts'
import type { ContainerDetails, Engine, ObservedContainer } from './engine.ts'
import { secretOptionsIn, withValuesHidden } from './hidden-values.ts'
import { mergedVariables, readEnvironmentFile } from './decide/environment-file.ts'
import { afterFetch } from './decide/fetch-outcome.ts'
import { fetchedKey } from './decide/fetch-steps.ts'
import { withFetchedValues, withoutValues } from './decide/fetched-values.ts'
import type { FetchedValues } from './decide/fetched-values.ts'
import type { EngineSteps } from './decide/steps.ts'
import type { TaskFacts } from './decide/view.ts'
import type { TurnTask } from './turn-options.ts'
import { parameterFor, parametersCalls, registryLogin, secretCalls, secretValue } from './decide/secret-references.ts'

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)

function variablesOf(text: string): Readonly<Record<string, string>> {
  const read = readEnvironmentFile(bytes(text), 'app.env')
  if ('problem' in read) throw new Error(read.problem)
  return Object.fromEntries(read.variables)
}

function problemOf(content: Uint8Array): string {
  const read = readEnvironmentFile(content, 'app.env')
  return 'problem' in read ? read.problem : 'none'
}

await tap.test("an environment file is read as ECS's agent reads it", async (t) => {
  t.same(variablesOf('A=1\n# B=2\nC=x=y\r\n  D = "quoted $A" \n#\n\nA=2'), {
    A: '2',
    C: 'x=y',
    '  D ': ' "quoted $A" ',
  })
  t.same(variablesOf('\u{feff}A=ü'), { A: 'ü' }, 'a byte order mark is no part of a name')
  t.match(readEnvironmentFile(bytes('A=1\nexport\n=2\nB=\n \nC=3'), 'f'), { withoutEffect: [2, 3, 4] })
  t.equal(
    problemOf(new Uint8Array([...bytes('A=1\nSECRET='), 0xff])),
    'environment file app.env, line 2: it is no UTF-8; save the file in that encoding',
  )
  t.match(problemOf(bytes('A=1\n\nB=x\0y')), /^environment file app\.env, line 3: it holds a NUL/)
  t.match(problemOf(bytes(`A=${'x'.repeat(70_000)}`)), /line 1: it is longer than 65536 bytes/)
  t.match(problemOf(new Uint8Array(1024 * 1024 + 1)), /app\.env has 1048577 bytes/)
  t.same(
    [
      ...mergedVariables([
        new Map([['A', '1']]),
        new Map([
          ['A', '2'],
          ['B', '2'],
        ]),
      ]),
    ].toSorted(([a], [b]) => (a < b ? -1 : 1)),
    [
      ['A', '1'],
      ['B', '2'],
    ],
  )
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (content) => {
      const read = readEnvironmentFile(content, 'f')
      return 'problem' in read || [...read.variables].every(([name, value]) => name !== '' && value !== '')
    }),
  )
})

const secret = (name: string, valueFrom: string, over: Partial<PayloadSecret> = {}): PayloadSecret => ({
  name,
  valueFrom,
  type: 'ENVIRONMENT_VARIABLE',
  provider: valueFrom.includes(':secretsmanager:') ? 'asm' : 'ssm',
  region: 'us-east-1',
  target: 'CONTAINER',
  ...over,
})
const asm = 'arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf'

await tap.test('references become calls, ten parameters at a time, each secret and version once', async (t) => {
  const many = Array.from({ length: 23 }, (_, index) => secret(`P${index}`, `/app/${index}`))
  t.same(
    parametersCalls([...many, secret('AGAIN', '/app/0')]).map(({ names }) => names.length),
    [10, 10, 3],
  )
  const all = [
    secret('A', asm),
    secret('B', `${asm}:user::`),
    secret('C', `${asm}:user:AWSPREVIOUS:`),
    secret('D', `${asm}:::v-1`),
    secret('E', `${asm}:password::`),
  ]
  t.same(secretCalls(all), [
    { region: 'us-east-1', secretId: asm },
    { region: 'us-east-1', secretId: asm, versionStage: 'AWSPREVIOUS' },
    { region: 'us-east-1', secretId: asm, versionId: 'v-1' },
  ])
  const text = '{"user":"ada","port":5432,"more":{"a":1}}'
  t.same(secretValue(text, secret('B', `${asm}:user::`)), { value: 'ada' })
  t.same(secretValue(text, secret('B', `${asm}:port::`)), { value: '5432' })
  t.same(secretValue(text, secret('B', `${asm}:more::`)), { value: '{"a":1}' })
  t.same(secretValue(text, secret('A', asm)), { value: text })
  const long = '{"id":12345678901234567890,"price":1.50,"all":[{"id":12345678901234567890}],"none":null}'
  for (const [key, value] of [
    ['id', '12345678901234567890'],
    ['price', '1.50'],
    ['all', '[{"id":12345678901234567890}]'],
    ['none', 'null'],
  ] as const) {
    t.same(secretValue(long, secret('B', `${asm}:${key}::`)), { value }, 'as it is written')
  }
  t.match(secretValue(text, secret('B', `${asm}:nope::`)), { problem: /did not contain json key nope/ })
  t.match(secretValue('canary', secret('B', `${asm}:nope::`)), { problem: /^(?!.*canary).*is no JSON object/ })
  t.match(secretValue('{}', secret('B', `${asm}:toString::`)), { problem: /did not contain json key toString/ })

  const arn = 'arn:aws:ssm:us-east-1:123456789012:parameter/app/a'
  const answers = [':3', ':live', ''].map((selector) => ({ name: '/app/a', arn, selector, value: `value${selector}` }))
  for (const selector of ['', ':3', ':live']) {
    t.equal(parameterFor(answers, `/app/a${selector}`), `value${selector}`)
    t.equal(parameterFor(answers, `${arn}${selector}`), `value${selector}`)
  }
  t.equal(parameterFor(answers, '/app/a:4'), undefined, 'no version stands for another')
  t.equal(parameterFor(answers, '/app/b'), undefined)
  t.same(registryLogin('{"username":"u","password":"p"}', asm), { username: 'u', password: 'p' })
  for (const unfit of [
    '{"user":"canary"}',
    '{"username":"canary","password":""}',
    '{"username":"canary","password":1}',
  ]) {
    t.match(registryLogin(unfit, asm), { problem: /^(?!.*canary).*is not of the form/ })
  }
})

const values = (over: Partial<FetchedValues> = {}): FetchedValues => ({
  environment: new Map(),
  logOptions: new Map(),
  fileVariables: new Map(),
  ...over,
})

await tap.test(
  'a secret stands over all, the definition over files, a file over what the agent would say',
  async (t) => {
    const body = {
      Env: ['OWN=definition', 'AWS_REGION=us-east-1', 'AWS_DEFAULT_REGION=us-east-1', 'ECS_AGENT_URI=u'],
      HostConfig: { LogConfig: { Type: 'syslog', Config: { tag: 'x' } } },
    }
    const fetched = values({
      environment: new Map([['S', 'secret']]),
      fileVariables: new Map([
        ['OWN', 'file'],
        ['S', 'file'],
        ['F', 'file'],
        ['AWS_REGION', 'eu-west-1'],
        ['ECS_AGENT_URI', 'file'],
      ]),
      logOptions: new Map([['syslog-address', 'canary']]),
    })
    t.same(withFetchedValues(body, fetched, new Set(['OWN'])), {
      Env: ['OWN=definition', 'ECS_AGENT_URI=u', 'F=file', 'AWS_REGION=eu-west-1', 'S=secret'],
      HostConfig: { LogConfig: { Type: 'syslog', Config: { tag: 'x', 'syslog-address': 'canary' } } },
    })
    const told = { Env: ['AWS_REGION=us-east-1', 'AWS_ENDPOINT_URL=http://169.254.170.2'] }
    const own = values({ environment: new Map([['AWS_ACCESS_KEY_ID', 'k']]) })
    t.same(withFetchedValues(told, own, new Set())['Env'], ['AWS_REGION=us-east-1', 'AWS_ACCESS_KEY_ID=k'])
    t.same(withFetchedValues(told, values(), new Set()), told)
    const shown = withoutValues('bad option canary, and canary-too', {
      ...fetched,
      registryLogin: { username: 'u', password: 'canary-too' },
    })
    t.equal(shown, 'bad option ***, and ***')
    const hides = (value: string, text: string): string =>
      withoutValues(text, values({ environment: new Map([['S', value]]) }))
    const odd = 'ca"na\\ry\n\0\x7fü&'
    const said = [`got ${odd}`, String.raw`bad "S=ca\"na\\ry\n\x00\x7fü&"`, `at /${encodeURIComponent(odd)}?`]
    t.equal(hides(odd, said.join('; ')), 'got ***; bad "S=***"; at /***?', 'in whatever form it is repeated')
    t.equal(hides('canary\n', 'no host canary'), 'no host ***')
    t.equal(hides('ca\ud800nary', 'got ca\ud800nary'), 'got ***')
  },
)

interface Fetch {
  readonly agent: Agent
  readonly held: ReadonlySet<string>
  readonly asked: string[]
  fail: EngineError | undefined
}

const arn = taskArnOf(1)
const execution = {
  credentialsId: 'x-1',
  roleArn: 'arn:aws:iam::123456789012:role/exec',
  accessKeyId: 'GSESSNEXEC',
  secretAccessKey: 'canary-execution-secret',
  sessionToken: 'canary-execution-token',
  expiration: '2100-01-01T00:00:00Z',
}
const task = aPayloadTask({
  containers: [aPayloadContainer({ secrets: [secret('PASSWORD', asm)] })],
  roleCredentials: { ...execution, credentialsId: 't-1', secretAccessKey: 'canary-task-secret' },
  executionRoleCredentials: execution,
})

/** An agent whose fetches answer at once, or fail as the test says. */
function fetching(): Fetch {
  const held = new Set<string>()
  const given = values({ environment: new Map([['PASSWORD', 'canary-password']]) })
  const fetch: Fetch = {
    held,
    asked: [],
    fail: undefined,
    agent: anAgent({}, [], {
      held,
      async fetch({ taskArn, container }) {
        fetch.asked.push(container)
        if (fetch.fail !== undefined) throw fetch.fail
        held.add(fetchedKey(taskArn, container))
      },
      valuesOf: (taskArn, container) => (held.has(fetchedKey(taskArn, container)) ? given : undefined),
      given: (taskArn, container) => void held.delete(fetchedKey(taskArn, container)),
      givenTo: () => undefined,
      started: () => undefined,
      forgetTask: () => held.clear(),
    }),
  }
  fetch.agent.engine.local.set('busybox:1', { output: [] })
  return fetch
}

const statusOf = (agent: Agent): string | undefined => agent.last(arn)?.status

await tap.test('a container is made with what was fetched, and nothing of it is written down', async (t) => {
  const { agent, asked } = fetching()
  const made: object[] = []
  const { engine } = agent
  const create = engine.createContainer.bind(engine)
  engine.createContainer = async (name, body) => {
    made.push(body)
    return create(name, body)
  }
  agent.payload([task])
  await agent.time.until('it runs', () => statusOf(agent) === 'RUNNING')
  t.same(asked, ['web'])
  t.match(made, [{ Env: ['PASSWORD=canary-password'] }])
  t.match(
    agent.sent.filter(({ type }) => type === 'IAMRoleCredentialsAckRequest'),
    [
      { message: { messageId: 'payload-1', credentialsId: 't-1', expiration: execution.expiration } },
      { message: { messageId: 'payload-1', credentialsId: 'x-1' } },
    ],
  )
  const written = JSON.stringify([agent.journal.load(), agent.sent, agent.turn.tasks(), agent.errors])
  t.notMatch(written, /canary/)
  t.match(written, /x-1/, 'ids are kept')

  agent.kill()
  agent.start()
  await agent.time.pass(10_000)
  t.same(asked, ['web'], 'what runs has what it needs')
  const issued = (): readonly string[] =>
    agent.turn.tasks().flatMap(({ facts }) => facts.roles?.task?.issued?.map((one) => one.accessKeyId) ?? [])
  t.same(issued(), ['GSESSNEXEC'], 'whose the keys are that its programs hold is known in the next life too')
  for (let time = 1; time <= 140; time += 1) {
    agent.frame('IAMRoleCredentialsMessage', {
      messageId: `m-${time}`,
      taskArn: arn,
      roleType: 'TaskApplication',
      roleCredentials: { ...execution, credentialsId: 't-1', accessKeyId: `GSESSN${time}` },
    })
  }
  await agent.time.pass(1000)
  t.equal(issued().length, 128)
  t.equal(issued().at(-1), 'GSESSN140')
})

await tap.test('the login of a registry is let go with the pull that it was for', async (t) => {
  const { agent, asked, held } = fetching()
  const registryAuthentication = {
    type: 'asm',
    asmAuthData: { credentialsParameter: asm, region: 'us-east-1' },
  } as const
  agent.payload([{ ...task, containers: [aPayloadContainer({ registryAuthentication })] }])
  await agent.time.until('it runs', () => statusOf(agent) === 'RUNNING')
  t.same(asked, ['web'])
  t.equal(held.size, 0)
})

await tap.test('trouble of the world is tried again for a while, silence for as long as it takes', async (t) => {
  const fetch = fetching()
  const { agent } = fetch
  fetch.fail = new EngineError('deadline', 'ResourceInitializationError: throttled')
  agent.payload([task])
  await agent.time.until('it has ended', () => statusOf(agent) === 'STOPPED')
  t.equal(fetch.asked.length, 7)
  t.match(agent.last(arn), { reason: 'ResourceInitializationError: throttled' })

  const other = fetching()
  other.fail = new EngineError('unreachable', 'no answer')
  other.agent.payload([task])
  await other.agent.time.pass(600_000)
  t.equal(statusOf(other.agent), 'PENDING')
  t.match(other.agent.last(arn), { waitingFor: /failures: secrets and files of container web \(no answer\)/ })
  other.fail = new EngineError('deadline', 'just back')
  await other.agent.time.pass(90_000)
  t.equal(statusOf(other.agent), 'PENDING', 'long silence before it leaves all the tries to one that answers')
  other.fail = new EngineError('unreachable', 'no answer')
  t.ok(other.asked.length > 10)
  const before = other.asked.length
  other.agent.turn.linkDown()
  await other.agent.time.pass(600_000)
  t.equal(other.asked.length, before, 'without a controller nobody is asked')
  other.agent.turn.linkUp()
  other.fail = undefined
  await other.agent.time.until('it runs', () => statusOf(other.agent) === 'RUNNING')
})

await tap.test('a refusal ends the task at once, and says why', async (t) => {
  const fetch = fetching()
  fetch.fail = new EngineError('refused', 'ResourceInitializationError: no such secret')
  fetch.agent.payload([task])
  await fetch.agent.time.until('it has ended', () => statusOf(fetch.agent) === 'STOPPED')
  t.equal(fetch.asked.length, 1)
  t.match(fetch.agent.last(arn), { reason: 'ResourceInitializationError: no such secret' })

  const [ended] = fetch.agent.turn.tasks()
  const { reason: _, ...stopped } = ended?.facts ?? ({} as TaskFacts)
  const failure = { kind: 'refused', message: 'late' } as const
  const args = { container: 'web' } as EngineSteps['fetchForContainer']
  const { facts } = afterFetch(stopped, args, { ok: false, failure }, { now: 0 })
  t.equal(facts.reason, undefined, 'a no that comes after a stop is not why it stopped')
})

await tap.test('without keys, and without a controller, a task that needs new secrets waits and says so', async (t) => {
  const fetch = fetching()
  const { agent, asked } = fetch
  fetch.fail = new EngineError('unreachable', 'no answer')
  agent.payload([task])
  await agent.time.pass(500)
  agent.kill()
  asked.length = 0
  fetch.fail = undefined
  agent.start()
  await agent.time.pass(20_000)
  t.same(asked, [])
  t.match(agent.last(arn), { waitingFor: /waits for keys of the execution role arn:.*role\/exec/ })
  agent.frame('IAMRoleCredentialsMessage', {
    messageId: 'm-2',
    taskArn: arn,
    roleType: 'TaskExecution',
    roleCredentials: execution,
  })
  await agent.time.until('it runs', () => statusOf(agent) === 'RUNNING')
  t.match(
    agent.sent.find(({ message }) => message['messageId'] === 'm-2'),
    { type: 'IAMRoleCredentialsAckRequest', message: { credentialsId: 'x-1' } },
  )
})

const secretOptionsOf = (): ReadonlySet<string> => new Set(['token'])

await tap.test('what the engine says of a container holds none of what it was given', async (t) => {
  const given = values({ logOptions: new Map([['token', 'canary-token']]) })
  const shown = { id: 'web', error: 'bad token canary-token' } as ObservedContainer
  const engine = {
    startContainer: async () => {
      throw new EngineError('refused', 'driver: canary-token is refused')
    },
    inspectContainer: async () => shown,
    listContainers: async () => ({ shown: [shown], unshown: [] }),
  } as unknown as Engine
  const hiding = withValuesHidden({ engine, givenTo: (id) => (id === 'web' ? given : undefined), secretOptionsOf })
  await t.rejects(hiding.startContainer('web'), { kind: 'refused', message: 'driver: *** is refused' })
  t.match(await hiding.inspectContainer('web'), { error: 'bad token ***' })
  t.match(await hiding.listContainers(), { shown: [{ error: 'bad token ***' }] })

  // After a restart of the agent, or of the container, Docker alone still has them.
  const details = { logOptions: { token: 'canary-token', tag: 'driver' } } as unknown as ContainerDetails
  Object.assign(shown, { details })
  const later = withValuesHidden({ engine, givenTo: () => undefined, secretOptionsOf })
  await t.rejects(later.startContainer('web'), { kind: 'refused', message: 'driver: *** is refused' })
  t.match(await later.inspectContainer('web'), { error: 'bad token ***' })
  const open = withValuesHidden({ engine, givenTo: () => undefined, secretOptionsOf: () => new Set() })
  await t.rejects(open.startContainer('web'), { message: 'driver: canary-token is refused' }, 'it is no secret')

  const secrets = [secret('token', asm, { target: 'LOG_DRIVER' }), secret('A', asm)]
  const payload = aPayloadTask({ containers: [aPayloadContainer({ secrets })] })
  let adopted = false
  const optionsOf = secretOptionsIn(() => [{ payload, facts: { adopted } } as unknown as TurnTask])
  const of = { [labels.taskArn]: payload.arn, [labels.containerName]: 'web' }
  t.same([...optionsOf({ ...shown, labels: of })], ['token'])
  t.equal(optionsOf({ ...shown, labels: {} }).size, 0)
  adopted = true
  t.same([...optionsOf({ ...shown, labels: of })], ['token', 'tag'], 'without a definition any may be one')
})

await tap.test('so many at once and no more, in all and for each', (t) => {
  const take = createConcurrencyLimit({ total: 3, perKey: 2 })
  const first = take('a')
  t.type(take('a'), 'function')
  t.equal(take('a'), undefined)
  t.type(take('b'), 'function')
  t.equal(take('c'), undefined)
  first?.()
  first?.()
  t.type(take('c'), 'function', 'a place is given back once')
  t.equal(take('b'), undefined)
  t.end()
})
