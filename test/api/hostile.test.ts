/**
 * Callers who mean harm, against the real controller on both of its listeners (docs/security.md). Each is refused in
 * words, costs little, and nobody else notices.
 */
import { randomUUID } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { logChannelPath } from '../../proto/logs.ts'
import { type JoinAnswer, joinPath } from '../../proto/joining.ts'
import { signRequest } from '../../proto/sigv4.ts'
import { streamChannelPath } from '../../proto/streams.ts'
import { type AgentPeer, dial, startAgentPeer } from '../support/agent-peer.ts'
import {
  callEcs,
  callRest,
  eventually,
  getRest,
  type Key,
  type RawAnswer,
  region,
  send,
  startController,
} from '../support/controller.ts'
import { answerTo, closeOf, listenersOf } from '../support/raw-connection.ts'
import { ask, tlsOf, withTls } from '../support/tls-client.ts'

t.setTimeout(400_000)
const controller = await startController({ env: withTls })
t.teardown(() => controller.stop())
const { endpoint, credentials: root, agentCredentials: agentKey } = controller
const end = tlsOf(controller)
const listeners = listenersOf(controller.port, end)
const account = '123456789012'

/** One call of a Query API. */
async function query(key: Key, service: 'iam' | 'sts', form: Readonly<Record<string, string>>): Promise<RawAnswer> {
  const Version = service === 'iam' ? '2010-05-08' : '2011-06-15'
  const body = new URLSearchParams({ Version, ...form }).toString()
  return sendForm(key, service, body)
}

function sendForm(key: Key, service: string, body: string, type = 'application/x-www-form-urlencoded') {
  const headers = signRequest({
    method: 'POST',
    url: `${endpoint}/`,
    headers: { 'content-type': type },
    body,
    credentials: key,
    region,
    service,
    now: Date.now(),
  })
  return send(`${endpoint}/`, { method: 'POST', headers, body })
}

const json = (service: 'ssm' | 'secretsmanager', key: Key, operation: string, input: object): Promise<RawAnswer> =>
  callEcs(endpoint, key, '', input, {
    service,
    headers: { 'x-amz-target': `${service === 'ssm' ? 'AmazonSSM' : 'secretsmanager'}.${operation}` },
  })

const aSecret = (Name: string): Promise<RawAnswer> =>
  json('secretsmanager', root, 'CreateSecret', { Name, SecretString: 'one', ClientRequestToken: randomUUID() })

async function aUser(name: string, ...statements: readonly object[]): Promise<Key> {
  await query(root, 'iam', { Action: 'CreateUser', UserName: name })
  const PolicyDocument = JSON.stringify({ Version: '2012-10-17', Statement: statements })
  const policy = { Action: 'PutUserPolicy', UserName: name, PolicyName: 'its', PolicyDocument }
  if (statements.length > 0) await query(root, 'iam', policy)
  const made = await query(root, 'iam', { Action: 'CreateAccessKey', UserName: name })
  const inText = (element: string): string => new RegExp(`<${element}>([^<]+)<`).exec(made.text)?.[1] ?? ''
  return { accessKeyId: inText('AccessKeyId'), secretAccessKey: inText('SecretAccessKey') }
}

const allow = (Action: string | readonly string[], Resource = '*', Condition?: object): object => ({
  Effect: 'Allow',
  Action,
  Resource,
  ...(Condition !== undefined && { Condition }),
})

const memoryMiB = (): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${controller.pid}/status`, 'utf8'))?.[1]) / 1024

/** Seconds of the processor that the controller has had. */
const processorSeconds = (): number => {
  const fields = readFileSync(`/proc/${controller.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[11]) + Number(fields[12])) / 100
}

const isServed = async (test: Test, what: string): Promise<void> => {
  test.equal((await callEcs(endpoint, root, 'ListClusters')).status, 200, `${what}: a good caller is served`)
  test.equal((await ask(end, 'GET', '/healthz')).status, 200, `${what}: by TLS too`)
}

const files = (): readonly string[] => readdirSync(controller.dataDir, { recursive: true }).map(String).toSorted()

const arn = (kind: string): string => `arn:aws:iam::${account}:${kind}`
const document = (...Statement: readonly object[]): string => JSON.stringify({ Version: '2012-10-17', Statement })

/** How often a host, or an agent, was refused what is another's. */
async function refusals(): Promise<number> {
  const { text } = await ask(end, 'GET', '/metrics')
  return Number(/gantry_host_events_total\{name="FOREIGN_RESOURCE_REFUSED"\} (\d+)/.exec(text)?.[1] ?? 0)
}

/** A call that is signed with the wrong secret, of a key that is there or not. */
function badLogin(at: number): Promise<RawAnswer> {
  const known = at % 2 === 0 ? root.accessKeyId : `GANTRY${String(at).padStart(14, '0')}`
  const key = { accessKeyId: known, secretAccessKey: 'x'.repeat(40) }
  // The scopes that a caller names differ, so that nothing of one is of use for the next.
  return callEcs(endpoint, key, 'ListClusters', {}, { service: `s${at}` })
}

/** Names one instance in the words of the telemetry channel, and one in those of all others. */
function twoInstances(telemetry: string, control: string): string {
  const [containerInstance, containerInstanceArn] = [telemetry, control]
  const both = { cluster: 'default', clusterArn: 'default', containerInstance, containerInstanceArn }
  return `?${new URLSearchParams(both).toString()}`
}

/** Open from here on: they are looked at by the test of slow clients. */
const slow = await openSlowConnections()

await t.test('no route is open that does not say so', async (test) => {
  const described = (await send(`${endpoint}/v1/openapi.json`, {})).json
  const paths = described['paths'] as Readonly<Record<string, Readonly<Record<string, { security?: unknown }>>>>
  let tried = 0
  for (const [path, methods] of Object.entries(paths)) {
    for (const [method, { security }] of Object.entries(methods)) {
      const isOpen = Array.isArray(security) && security.length === 0
      test.equal(isOpen, path === joinPath && method === 'post', `${method} ${path}`)
      const url = `${endpoint}${path.replaceAll(/\{\w+\}/g, 'x')}`
      const answer = await send(url, { method: method.toUpperCase(), ...(method === 'get' ? {} : { body: '{}' }) })
      tried += 1
      if (!isOpen) test.equal(answer.status, 403, `${method} ${path} unsigned`)
    }
  }
  test.ok(tried > 30, `${tried} routes`)
  for (const path of ['/', '/v1/', '/acs/ws', '/v1/data-channels/x', '/service/AmazonSSM/operation/GetParameter']) {
    test.ok((await send(`${endpoint}${path}`, {})).status >= 400, path)
  }
})

await t.test('a recorded request is worth nothing once it is altered, for another service or old', async (test) => {
  const body = JSON.stringify({ clusterName: 'recorded' })
  const url = `${endpoint}/`
  const target = 'AmazonEC2ContainerServiceV20141113.CreateCluster'
  const sign = (over: { now?: number; service?: string; region?: string } = {}) =>
    signRequest({
      method: 'POST',
      url,
      headers: { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': target },
      body,
      credentials: root,
      region: over.region ?? region,
      service: over.service ?? 'ecs',
      now: over.now ?? Date.now(),
    })
  const headers = sign()
  const again = async (over: object, sent = body, to = url): Promise<number> =>
    (await send(to, { method: 'POST', headers: { ...headers, ...over }, body: sent })).status
  test.equal(await again({}), 200)
  test.equal(
    await again({}),
    200,
    'the same again, within its quarter of an hour, is the same call: said in the document',
  )
  const authorization = headers['authorization'] ?? ''
  const altered: readonly (readonly [string, Promise<number>])[] = [
    ['its body', again({}, JSON.stringify({ clusterName: 'another' }))],
    ['its operation', again({ 'x-amz-target': target.replace('Create', 'Delete') })],
    ['its query', again({}, body, `${url}?x=1`)],
    ['its path', again({}, body, `${endpoint}/service/AmazonSSM/operation/x`)],
    ['its date', again({ 'x-amz-date': new Date(Date.now() + 60_000).toISOString().replace(/[-:]|\.\d{3}/g, '') })],
    ['its type', again({ 'content-type': 'application/x-www-form-urlencoded' })],
    ['a session token', again({ 'x-amz-security-token': 'x' })],
    [
      'another key behind its own',
      again({ authorization: `${authorization}, Credential=x/20260101/a/b/aws4_request` }),
    ],
    ['fewer signed headers', again({ authorization: authorization.replace(';x-amz-target', '') })],
  ]
  for (const [name, status] of altered) test.ok([400, 403].includes(await status), name)
  for (const over of [
    { now: Date.now() - 16 * 60_000 },
    { now: Date.now() + 16 * 60_000 },
    { service: 'iam' },
    { region: 'eu-west-1' },
  ]) {
    const answer = await send(url, { method: 'POST', headers: sign(over), body })
    test.match(answer, { status: 403, json: { __type: 'InvalidSignatureException' } }, JSON.stringify(over))
  }
  test.equal((await getRest(endpoint, root, '/v1/clusters/another')).status, 404)
})

await t.test('what a caller says of itself by headers is not believed', async (test) => {
  const here = { IpAddress: { 'aws:SourceIp': '127.0.0.1' } }
  const near = await aUser('near', allow('ecs:ListClusters', '*', here))
  const far = await aUser('far', allow('ecs:ListClusters', '*', { IpAddress: { 'aws:SourceIp': '10.9.9.9' } }))
  const secure = await aUser('secure', allow('ecs:ListClusters', '*', { Bool: { 'aws:SecureTransport': 'true' } }))
  const claims = {
    'x-forwarded-for': '10.9.9.9',
    'x-real-ip': '10.9.9.9',
    forwarded: 'for=10.9.9.9;proto=https',
    'x-forwarded-proto': 'https',
    'x-forwarded-host': 'evil.example',
    'x-forwarded-port': '443',
  }
  const list = (key: Key) => callEcs(endpoint, key, 'ListClusters', {}, { headers: claims })
  test.equal((await list(near)).status, 200, 'the address is the connection’s')
  test.equal((await list(far)).status, 403, 'and no other')
  test.equal((await list(secure)).status, 403, 'TLS is the connection’s too')
  const { json: audited } = await eventually('its record', async () => {
    const found = await getRest(endpoint, root, `/v1/audit?principal=arn:aws:iam::${account}:user/far`)
    return (found.json['records'] as unknown[]).length > 0 ? found : undefined
  })
  test.match(audited['records'], [{ sourceAddress: '127.0.0.1', isSecure: false, code: 'AccessDeniedException' }])
  const poll = await callEcs(endpoint, agentKey, 'DiscoverPollEndpoint', {}, { headers: claims })
  test.match(poll.json, { endpoint: `${endpoint}/acs` }, 'nobody is sent to the host that a header names')
  const { port } = controller
  for (const host of ['evil.example/x', 'evil.example@', 'a b', '<script>', 'x'.repeat(5000), '']) {
    const answer = await answerTo(listeners[0] ?? fail(), signedWithHost(host, port))
    const shown = answer.split('\r\n\r\n')[1] ?? ''
    test.match(answer, /^HTTP\/1\.1 4\d\d /, `Host: ${host.slice(0, 20)}`)
    test.notMatch(shown, /"endpoint"/, 'is no address for an agent')
  }
})

function fail(): never {
  throw new Error('there is no such listener')
}

/** DiscoverPollEndpoint with a Host that no client would send, rightly signed. */
function signedWithHost(host: string, port: number): string {
  const body = '{}'
  const headers = signRequest({
    method: 'POST',
    url: `http://127.0.0.1:${port}/`,
    headers: {
      host,
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': 'AmazonEC2ContainerServiceV20141113.DiscoverPollEndpoint',
    },
    body,
    credentials: agentKey,
    region,
    service: 'ecs',
    now: Date.now(),
  })
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  return ['POST / HTTP/1.1', ...lines, `content-length: ${body.length}`, '', body].join('\r\n')
}

await t.test('bytes that two programs on the way could read differently are refused', async (test) => {
  const second = 'GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n'
  const post = 'POST / HTTP/1.1\r\nHost: x\r\n'
  const cases: Readonly<Record<string, string>> = {
    'a length, and chunks': `${post}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${second}`,
    'two lengths': `${post}Content-Length: 0\r\nContent-Length: ${second.length}\r\n\r\n${second}`,
    'a list of lengths': `${post}Content-Length: 0, ${second.length}\r\n\r\n${second}`,
    'a signed length': `${post}Content-Length: +0\r\n\r\n${second}`,
    'two encodings': `${post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n${second}`,
    'an encoding that is none': `${post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n${second}`,
    'a space before the colon': `${post}Content-Length : 0\r\n\r\n${second}`,
    'a folded line': `${post}X: a\r\n Content-Length: 5\r\n\r\n${second}`,
    'lines that end in LF': 'GET /healthz HTTP/1.1\nHost: x\n\n',
    'a lone CR': `${post}X: a\rContent-Length: 0\r\n\r\n${second}`,
    'a NUL': `${post}X: a\0b\r\nContent-Length: 0\r\n\r\n${second}`,
    'an extension of 20,000 bytes': `${post}Transfer-Encoding: chunked\r\n\r\n5;${'a'.repeat(20_000)}\r\nhello\r\n0\r\n\r\n`,
    'HTTP/2': 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'headers of 40,000 bytes': `${post}X: ${'a'.repeat(40_000)}\r\n\r\n${second}`,
    'three thousand headers': `${post}${Array.from({ length: 3000 }, (_, at) => `a${at}: b`).join('\r\n')}\r\n\r\n${second}`,
  }
  for (const listener of listeners) {
    for (const [name, bytes] of Object.entries(cases)) {
      const answer = await answerTo(listener, bytes, 100)
      test.match(answer, /^HTTP\/1\.1 4(00|31) /, `${listener.name}: ${name}`)
      test.notMatch(answer, /"status":"ok"/, `${listener.name}: nothing is smuggled behind ${name}`)
    }
  }
})

await t.test('a connection that asks a lot and reads nothing takes no memory', async (test) => {
  const before = memoryMiB()
  for (const listener of listeners) {
    const greedy = await Promise.all(Array.from({ length: 50 }, () => listener.open()))
    for (const socket of greedy) {
      socket.pause()
      socket.write('GET /v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(400))
    }
    await new Promise((done) => setTimeout(done, 1500))
    await isServed(test, `${listener.name}: meanwhile`)
    for (const socket of greedy) socket.destroy()
  }
  // Two thousand megabytes, before a connection's requests were bounded.
  test.ok(memoryMiB() < before + 500, `${Math.round(before)} MiB before, ${Math.round(memoryMiB())} MiB after`)
  const [plain] = listeners
  const one = 'GET /healthz HTTP/1.1\r\nHost: x\r\n'
  const four = await answerTo(plain ?? fail(), `${one}\r\n`.repeat(3) + `${one}Connection: close\r\n\r\n`, 60_000)
  test.equal(four.split('"status":"ok"').length - 1, 4, 'a few requests one behind the other are fine')
})

await t.test('XML is never read: a bomb is refused, or a text like any other', async (test) => {
  const entities = Array.from({ length: 30 }, (_, at) => `<!ENTITY a${at + 1} "${`&a${at};`.repeat(10)}">`).join('')
  const bomb = `<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "lol">${entities}]><x>&a30;</x>`
  const outside = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd"> %e;]><x>&e;</x>'
  const before = { seconds: processorSeconds(), memory: memoryMiB() }
  for (const text of [bomb, outside]) {
    for (const type of ['text/xml', 'application/xml', 'application/soap+xml', 'application/x-www-form-urlencoded']) {
      for (const service of ['iam', 'sts', 'ecs']) {
        const answer = await sendForm(root, service, text, type)
        test.ok(answer.status >= 400 && answer.status < 500, `${service}, ${type}: ${answer.status}`)
        test.notMatch(answer.text, /lollol|root:/, 'nothing was expanded')
      }
    }
    for (const listener of listeners) {
      const bytes = `POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/xml\r\nContent-Length: ${text.length}\r\n\r\n${text}`
      test.match(await answerTo(listener, bytes, 100), /^HTTP\/1\.1 403 /, `${listener.name}: unsigned`)
    }
    const named = await query(root, 'iam', { Action: 'CreateUser', UserName: text })
    test.match(named, { status: 400, text: /ValidationError/ })
    test.notMatch(named.text, /<!ENTITY|<!DOCTYPE/, 'what is said of it is escaped')
    const role = { Action: 'CreateRole', RoleName: 'xml', AssumeRolePolicyDocument: text }
    test.match(await query(root, 'iam', role), { status: 400, text: /MalformedPolicyDocument/ })
  }
  const trust = {
    Version: '2012-10-17',
    Statement: [{ Effect: 'Allow', Principal: { Service: 'ecs.amazonaws.com' }, Action: 'sts:AssumeRole' }],
  }
  const AssumeRolePolicyDocument = JSON.stringify(trust)
  const Description = '&a30;<b> ]]>'
  const kept = await query(root, 'iam', {
    Action: 'CreateRole',
    RoleName: 'kept',
    AssumeRolePolicyDocument,
    Description,
  })
  test.match(kept.text, '&amp;a30;&lt;b&gt; ]]&gt;', 'a text comes back as text')
  test.ok(processorSeconds() - before.seconds < 5 && memoryMiB() - before.memory < 300, 'at little cost')
  const { dependencies } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    dependencies: Readonly<Record<string, string>>
  }
  test.same(
    Object.keys(dependencies).filter((name) => /xml|sax|libxml|dom/i.test(name)),
    [],
    'no reader of XML is used',
  )
})

await t.test('a thousand bad logins cost little, are all written down, and shut nobody out', async (test) => {
  const before = { seconds: processorSeconds(), memory: memoryMiB() }
  const since = new Date().toISOString()
  const statuses = new Map<number, number>()
  for (let round = 0; round < 40; round += 1) {
    const answers = await Promise.all(Array.from({ length: 25 }, (_, at) => badLogin(round * 25 + at)))
    for (const { status } of answers) statuses.set(status, (statuses.get(status) ?? 0) + 1)
    if (round % 10 === 0) await isServed(test, `round ${round}`)
  }
  test.same([...statuses], [[403, 1000]])
  test.ok(processorSeconds() - before.seconds < 15, `${processorSeconds() - before.seconds} s of the processor`)
  test.ok(memoryMiB() - before.memory < 150, `${Math.round(memoryMiB() - before.memory)} MiB more`)
  const written = await eventually('their records', async () => {
    let [count, next, pages] = [0, '', 0]
    do {
      const from = next === '' ? '' : `&after=${next}`
      const { json: page } = await getRest(endpoint, root, `/v1/audit?maxResults=1000&since=${since}${from}`)
      const records = page['records'] as readonly { code: string; more?: number }[]
      const refused = records.filter(({ code }) => /Signature|Client/.test(code))
      count += refused.reduce((sum, { more = 0 }) => sum + 1 + more, 0)
      next = page['next'] === undefined ? '' : JSON.stringify(page['next'])
      pages += 1
    } while (next !== '' && pages < 5)
    return count >= 1000 ? count : undefined
  })
  test.ok(written >= 1000, `${written} records`)
  await isServed(test, 'afterwards')
})

await t.test('names that lead elsewhere lead nowhere', async (test) => {
  const before = files()
  const ways = [
    '../../../etc/passwd',
    '..%2f..%2f..%2fetc%2fpasswd',
    '%2e%2e/%2e%2e/root-credentials',
    '..%252f..%252froot-credentials',
    '..\\..\\root-credentials',
    '/etc/passwd',
    '．．／root-credentials',
    '\u202e\u0000root-credentials',
    'root-credentials%00.log',
    '__proto__',
    'constructor',
    'file:///etc/passwd',
  ]
  const found = /root:x|aws_secret_access_key|BEGIN|GANTRY[A-Z0-9]{14}/
  for (const way of ways) {
    const inPath = encodeURIComponent(way)
    const rest = [
      `/v1/tasks/${inPath}`,
      `/v1/tasks/${inPath}/logs?container=${inPath}`,
      `/v1/clusters/${inPath}`,
      `/v1/subnets/${inPath}`,
      `/v1/file-systems/${inPath}`,
      `/v1/hosts/${inPath}`,
      `/v1/services/${inPath}/${inPath}/why`,
      `/v1/environment-files?arn=${inPath}`,
      `/v1/environment-files?arn=${encodeURIComponent(`arn:aws:s3:::files/${way}`)}`,
      `/v1/audit?principal=${inPath}`,
    ]
    for (const path of rest) {
      const answer = await getRest(endpoint, root, path)
      test.ok(answer.status < 500 || answer.status === 503, `${answer.status} ${path}`)
      test.notMatch(answer.text.replaceAll(way, ''), found, path)
    }
    const calls: readonly (readonly [string, object])[] = [
      ['CreateCluster', { clusterName: way }],
      ['DescribeTasks', { tasks: [way] }],
      ['DescribeTaskDefinition', { taskDefinition: way }],
      ['RegisterTaskDefinition', { family: way, containerDefinitions: [{ name: way, image: 'x', memory: 8 }] }],
      ['SubmitTaskStateChange', { task: way, status: 'STOPPED' }],
      ['TagResource', { resourceArn: way, tags: [{ key: 'a', value: 'b' }] }],
    ]
    for (const [operation, input] of calls) {
      const answer = await callEcs(endpoint, root, operation, input)
      test.ok(answer.status < 500, `${operation} ${way}`)
      test.notMatch(answer.text, found)
    }
    test.ok((await json('ssm', root, 'GetParameter', { Name: way })).status < 500, `parameter ${way}`)
    test.ok((await json('ssm', root, 'GetParametersByPath', { Path: way })).status < 500, `path ${way}`)
    test.equal((await json('secretsmanager', root, 'GetSecretValue', { SecretId: way })).status, 400, `secret ${way}`)
    test.ok((await query(root, 'iam', { Action: 'CreateUser', UserName: way })).status < 500, `user ${way}`)
    test.ok((await query(root, 'iam', { Action: 'CreateUser', UserName: 'p', Path: `/${way}/` })).status < 500)
  }
  test.same(
    files().filter((name) => !before.includes(name)),
    [],
    'no file has come',
  )
})

await t.test('what is too large or too deep is refused before it costs anything', async (test) => {
  const before = { seconds: processorSeconds(), memory: memoryMiB() }
  const deep = `${'['.repeat(200_000)}${']'.repeat(200_000)}`
  const large = 'a'.repeat(1_100_000)
  const nested = `{"a":${'{"a":'.repeat(50_000)}1${'}'.repeat(50_000)}}`
  const is = async (name: string, answer: Promise<RawAnswer>, ...statuses: readonly number[]): Promise<void> => {
    const { status, text } = await answer
    test.ok(statuses.includes(status), `${name}: ${status} ${text.slice(0, 80)}`)
    test.ok(text.length < 8192, `${name}: told in few words`)
  }
  await is('deep JSON', callEcs(endpoint, root, 'ListClusters', `{"x":${deep}}`), 400)
  await is('nested objects', callEcs(endpoint, root, 'ListClusters', nested), 400)
  await is('large JSON', callEcs(endpoint, root, 'ListClusters', { x: large }), 413)
  await is('a large form', sendForm(root, 'iam', `Action=CreateUser&Version=2010-05-08&UserName=${large}`), 413)
  const many = Array.from({ length: 60_000 }, (_, at) => `Tags.member.${at}.Key=a`).join('&')
  await is('many members', sendForm(root, 'iam', `Action=CreateUser&Version=2010-05-08&UserName=u&${many}`), 400, 413)
  const far =
    'Action=CreateUser&Version=2010-05-08&UserName=u&Tags.member.4294967295.Key=a&Tags.member.4294967295.Value=b'
  await is('a member far out', sendForm(root, 'iam', far), 400, 200)
  const dotted = `Action=CreateUser&Version=2010-05-08&UserName=u2&${'Tags.member.1.'.repeat(20_000)}Key=a`
  await is('a deep name', sendForm(root, 'iam', dotted), 400, 200)
  const policy = { Action: 'CreatePolicy', PolicyName: 'p' }
  await is('a deep policy', query(root, 'iam', { ...policy, PolicyDocument: deep }), 400, 413)
  await is('a nested policy', query(root, 'iam', { ...policy, PolicyDocument: nested }), 400, 413)
  const stars = JSON.stringify({ Version: '2012-10-17', Statement: [allow('ecs:*', '*a'.repeat(2000))] })
  await is('a policy of stars', query(root, 'iam', { ...policy, PolicyDocument: stars }), 400)
  await is('REST, deep', callRest(endpoint, root, 'POST', '/v1/join-tokens', nested), 200, 400)
  await is(
    'REST, large',
    callRest(endpoint, root, 'POST', '/v1/join-tokens', JSON.stringify({ cluster: large })),
    400,
    413,
  )
  await is('a long path', getRest(endpoint, root, `/v1/tasks/${'a'.repeat(10_000)}`), 400, 404, 414)
  await is('a long query', getRest(endpoint, root, `/v1/audit?principal=${'a'.repeat(15_000)}`), 200, 400, 431)
  await is(
    'a token of 15,000 bytes',
    callEcs(
      endpoint,
      { ...root, accessKeyId: 'GSESSN00000000000000' },
      'ListClusters',
      {},
      { headers: { 'x-amz-security-token': 'a'.repeat(15_000) } },
    ),
    403,
    431,
  )
  const peer = await startAgentPeer({ endpoint, key: agentKey, obeys: false })
  for (const message of [
    { messageId: 'a'.repeat(4_000_000) },
    JSON.parse(`{"x":${'['.repeat(3000)}${']'.repeat(3000)}}`) as object,
  ]) {
    peer.send('AckRequest', message)
  }
  await isServed(test, 'an agent that sends frames of 4 MB')
  await peer.disconnect('cut').catch(() => undefined)
  test.ok(processorSeconds() - before.seconds < 20, `${processorSeconds() - before.seconds} s of the processor`)
  test.ok(memoryMiB() - before.memory < 300, `${Math.round(memoryMiB() - before.memory)} MiB more`)
})

const exec = { name: 'ecs.capability.execute-command' }

/** A host that has joined by TLS, and its agent. */
async function aHost(): Promise<{ readonly key: JoinAnswer; readonly peer: AgentPeer }> {
  const { json: made } = await callRest(endpoint, root, 'POST', '/v1/join-tokens', '{}')
  const body = JSON.stringify({ token: made['token'], name: 'hostile' })
  const key = (await ask(end, 'POST', joinPath, { body })).json as unknown as JoinAnswer
  return { key, peer: await startAgentPeer({ endpoint, key, gantryProtocol: true, attributes: [exec] }) }
}

await t.test('an agent speaks for its own tasks alone, on every channel that it has', async (test) => {
  const [thief, owner] = [await aHost(), await aHost()]
  await callEcs(endpoint, root, 'RegisterTaskDefinition', {
    family: 'owned',
    containerDefinitions: [{ name: 'main', image: 'x', memory: 16 }],
  })
  const { json: started } = await callEcs(endpoint, root, 'StartTask', {
    taskDefinition: 'owned',
    containerInstances: [owner.peer.instanceArn],
    enableExecuteCommand: true,
  })
  const [{ taskArn } = { taskArn: '' }] = started['tasks'] as { taskArn: string }[]
  const taskId = taskArn.split('/').at(-1) ?? ''
  const shown = async () => (await getRest(endpoint, root, `/v1/tasks/${taskId}`)).json
  await eventually('the task to run', async () => ((await shown())['lastStatus'] === 'RUNNING' ? true : undefined))
  const before = await shown()
  const refusedBefore = await refusals()
  const heard: string[] = []
  const channel = (path: string, key: Key, instanceArn: string, more = '') =>
    dial(
      `${endpoint}${path}?cluster=default&clusterArn=default&containerInstance=${encodeURIComponent(instanceArn)}` +
        `&containerInstanceArn=${encodeURIComponent(instanceArn)}&sendCredentials=true${more}`,
      key,
      (_socket, text) => heard.push(text),
    )
  for (const path of ['/acs/ws', '/tcs/ws', logChannelPath, streamChannelPath]) {
    await test.rejects(channel(path, thief.key, owner.peer.instanceArn), /403 .*AccessDenied/, path)
  }

  // Status, acknowledgements and an attachment, on its own control channel.
  thief.peer.send('GantryTaskStateChange', { messageId: 'status', task: taskArn, status: 'STOPPED', containers: [] })
  await eventually('its refusal', () => thief.peer.frames.find(({ message }) => message['messageId'] === 'status'))
  const attachments = [{ attachmentArn: `${taskArn}/interface`, status: 'DETACHED' }]
  const changed = { messageId: 'attached', task: taskArn, status: 'RUNNING', containers: [], attachments }
  thief.peer.send('GantryTaskStateChange', changed)
  await eventually('its refusal', () => thief.peer.frames.find(({ message }) => message['messageId'] === 'attached'))
  const payload = owner.peer.frames.find(({ type }) => type === 'PayloadMessage')
  thief.peer.send('AckRequest', { cluster: 'default', messageId: payload?.message['messageId'] })
  const submitted = await callEcs(endpoint, thief.key, 'SubmitTaskStateChange', { task: taskArn, status: 'STOPPED' })
  test.equal(submitted.status, 400, submitted.text)

  // What containers wrote, and what they use.
  const logs = await channel(logChannelPath, thief.key, thief.peer.instanceArn)
  const open = { stream: 1, taskArn, container: 'main', dockerId: 'f'.repeat(64), logGroup: 'g', logStream: 's' }
  logs.send(JSON.stringify({ type: 'GantryLogStreamOpen', message: open }))
  await eventually('a refusal of the stream', () => heard.find((text) => text.includes('GantryLogStreamRefusal')))
  const telemetry = await channel('/tcs/ws', thief.key, thief.peer.instanceArn)
  const metadata = {
    cluster: 'default',
    containerInstance: owner.peer.instanceArn,
    idle: false,
    messageId: 'm',
    fin: true,
  }
  const taskMetrics = [{ taskArn, taskDefinitionFamily: 'owned', taskDefinitionVersion: '1', containerMetrics: [] }]
  telemetry.send(
    JSON.stringify({ type: 'PublishMetricsRequest', message: { metadata, taskMetrics, timestamp: Date.now() } }),
  )
  const tasks = [
    { taskArn, containers: [{ containerName: 'main', healthStatus: 'UNHEALTHY', statusSince: Date.now() }] },
  ]
  telemetry.send(JSON.stringify({ type: 'PublishHealthRequest', message: { metadata, tasks, timestamp: Date.now() } }))

  // The output of a command: the owner is asked for a stream, and the thief dials it.
  const command = { task: taskArn, command: 'sh', interactive: true, container: 'main' }
  const { json: session } = await callEcs(endpoint, root, 'ExecuteCommand', command)
  const { streamUrl, tokenValue } = session['session'] as { streamUrl: string; tokenValue: string }
  const guess = streamUrl.replace(/^ws/, 'http').replace(/.$/, (last) => (last === '0' ? '1' : '0'))
  await test.rejects(
    dial(guess, thief.key, () => undefined),
    /40[34] /,
    'a session that nobody opened',
  )
  const answers: string[] = []
  const client = await dial(streamUrl.replace(/^ws/, 'http'), root, (_socket, text) => answers.push(text))
  client.send(JSON.stringify({ type: 'Open', message: { tokenValue, tty: false } }))
  const asked = await owner.peer.frame('GantryStreamRequest')
  const stream = `&stream=${String(asked.message['streamId'])}`
  const stolen = channel(streamChannelPath, thief.key, thief.peer.instanceArn, stream)
  await test.rejects(stolen, /404 .*ResourceNotFound/, "another's stream")
  const again = await dial(streamUrl.replace(/^ws/, 'http'), root, () => undefined).then(
    (socket) => socket,
    () => undefined,
  )
  test.equal(again, undefined, 'a token of a session is good once')
  client.terminate()

  await eventually('ten refusals to be counted', async () =>
    (await refusals()) - refusedBefore >= 10 ? true : undefined,
  )
  test.match(await shown(), { lastStatus: 'RUNNING', desiredStatus: 'RUNNING' })
  const after = await callEcs(endpoint, root, 'DescribeTasks', { tasks: [taskArn] })
  test.notMatch(after.text, /UNHEALTHY|DETACHED/, 'nothing that it said is believed')
  test.equal((await shown())['healthStatus'], before['healthStatus'])
  const ofThief = new RegExp(`FOREIGN_RESOURCE_REFUSED.*${thief.key.hostId}`)
  await eventually('them to be told by events', async () => {
    const { json: events } = await getRest(endpoint, root, '/v1/hosts/events?maxResults=1000')
    return ofThief.test(JSON.stringify(events)) ? true : undefined
  })
  for (const socket of [logs, telemetry]) socket.terminate()
  await Promise.all([thief.peer.disconnect('cut'), owner.peer.disconnect('cut')])
})

await t.test('a channel is judged on the very instance that it then speaks for', async (test) => {
  const poller = await aUser('poller', allow(['ecs:Poll', 'ecs:RegisterContainerInstance', 'ecs:DiscoverPollEndpoint']))
  const [own, other] = [
    await startAgentPeer({ endpoint, key: poller }),
    await startAgentPeer({ endpoint, key: poller }),
  ]
  const PolicyDocument = document(allow(['ecs:Poll', 'ecs:StartTelemetrySession'], own.instanceArn))
  await query(root, 'iam', { Action: 'PutUserPolicy', UserName: 'poller', PolicyName: 'its', PolicyDocument })
  const open = async (path: string, telemetry: AgentPeer, control: AgentPeer, key = poller): Promise<string> =>
    dial(`${endpoint}${path}${twoInstances(telemetry.instanceArn, control.instanceArn)}`, key, () => undefined).then(
      (socket) => {
        socket.terminate()
        return 'open'
      },
      (error: Error) => error.message,
    )
  test.equal(await open('/tcs/ws', own, other), 'open')
  test.equal(await open('/acs/ws', other, own), 'open')
  const joined = await aHost()
  const everything = await aUser('poller-of-all', allow('ecs:*'))
  for (const caller of [root, everything]) {
    const path = `/acs/ws${twoInstances(joined.peer.instanceArn, joined.peer.instanceArn)}&sendCredentials=true`
    const opened = dial(`${endpoint}${path}`, caller, () => undefined)
    await test.rejects(opened, /403 .*with that host's keys alone/, 'keys of its tasks come there')
  }
  await joined.peer.disconnect('cut')
  test.match(await open('/tcs/ws', other, own), /403 .*StartTelemetrySession/)
  test.match(await open('/acs/ws', own, other), /403 .*ecs:Poll/)

  // Of the first start's host, of another user, and of a host that joined: rights alone open nothing.
  const local = await startAgentPeer({ endpoint, key: agentKey })
  for (const path of ['/acs/ws', '/tcs/ws', logChannelPath, streamChannelPath]) {
    test.match(await open(path, local, local, everything), /403 .*belongs to host local.*with that host's keys/, path)
    test.match(await open(path, own, own, everything), /403 .*belongs to the user or role GUSR/, path)
    test.match(await open(path, own, own, agentKey), /403 .*can act for its own alone/, path)
  }
  test.equal(await open('/tcs/ws', local, local, agentKey), 'open')
  test.equal(await open('/tcs/ws', local, local, root), 'open', 'root has the file of its key anyway')
  const taken = { containerInstanceArn: local.instanceArn, totalResources: [{ name: 'CPU', integerValue: 1 }] }
  const registered = await callEcs(endpoint, everything, 'RegisterContainerInstance', taken)
  test.match(registered, { status: 403, text: /belongs to host local/ }, 'nor is it registered away first')
  const { text: told } = await getRest(endpoint, root, '/v1/hosts/events?maxResults=1000')
  test.match(told, /:user\/poller-of-all was refused a channel/)
  await Promise.all([own, other, local].map(async (peer) => peer.disconnect('cut').catch(() => undefined)))
})

await t.test('who has some rights comes to no others', async (test) => {
  const isDenied = async (name: string, answer: Promise<RawAnswer>): Promise<void> => {
    const { status, text } = await answer
    test.equal(status, 403, `${name}: ${text.slice(0, 200)}`)
    test.match(text, /AccessDenied/, name)
  }

  await test.test('a version of a policy, a policy, a boundary, a key, a trust', async () => {
    const made = await query(root, 'iam', {
      Action: 'CreatePolicy',
      PolicyName: 'mine',
      PolicyDocument: document(allow('ecs:List*')),
    })
    const PolicyArn = /<Arn>([^<]+)</.exec(made.text)?.[1] ?? ''
    const user = await aUser('climber', allow(['iam:Get*', 'iam:List*', 'iam:CreatePolicy', 'sts:*']))
    await query(root, 'iam', { Action: 'AttachUserPolicy', UserName: 'climber', PolicyArn })
    const everything = document(allow('*'))
    const tries: readonly Readonly<Record<string, string>>[] = [
      { Action: 'CreatePolicyVersion', PolicyArn, PolicyDocument: everything, SetAsDefault: 'true' },
      { Action: 'SetDefaultPolicyVersion', PolicyArn, VersionId: 'v1' },
      { Action: 'PutUserPolicy', UserName: 'climber', PolicyName: 'x', PolicyDocument: everything },
      { Action: 'AttachUserPolicy', UserName: 'climber', PolicyArn: 'arn:aws:iam::aws:policy/AdministratorAccess' },
      { Action: 'DeleteUserPermissionsBoundary', UserName: 'climber' },
      { Action: 'CreateAccessKey', UserName: 'near' },
      { Action: 'UpdateAssumeRolePolicy', RoleName: 'kept', PolicyDocument: everything },
      { Action: 'PutRolePolicy', RoleName: 'kept', PolicyName: 'x', PolicyDocument: everything },
    ]
    for (const form of tries) await isDenied(form['Action'] ?? '', query(user, 'iam', form))
    const role = { Action: 'AssumeRole', RoleArn: arn('role/kept'), RoleSessionName: 'xx' }
    await isDenied('a role that trusts others', query(user, 'sts', role))
    // A policy that one has made gives nothing until somebody attaches it.
    test.equal(
      (await query(user, 'iam', { Action: 'CreatePolicy', PolicyName: 'all', PolicyDocument: everything })).status,
      200,
    )
    await isDenied('after all that', callEcs(endpoint, user, 'CreateCluster', { clusterName: 'climbed' }))
  })

  await test.test('a session is never more than its role, and ends with it', async () => {
    const user = await aUser('taker', allow('sts:AssumeRole'))
    const trust = document({ Effect: 'Allow', Principal: { AWS: arn('user/taker') }, Action: 'sts:AssumeRole' })
    const create = () =>
      query(root, 'iam', { Action: 'CreateRole', RoleName: 'narrow', AssumeRolePolicyDocument: trust })
    const give = (statement: object) =>
      query(root, 'iam', {
        Action: 'PutRolePolicy',
        RoleName: 'narrow',
        PolicyName: 'p',
        PolicyDocument: document(statement),
      })
    await create()
    await give(allow('ecs:ListClusters'))
    const take = async (
      over: Readonly<Record<string, string>> = {},
    ): Promise<Key & { readonly sessionToken: string }> => {
      const form = { Action: 'AssumeRole', RoleArn: arn('role/narrow'), RoleSessionName: 'ss', ...over }
      const { status, text } = await query(user, 'sts', form)
      test.equal(status, 200, text)
      const inText = (element: string): string => new RegExp(`<${element}>([^<]+)<`).exec(text)?.[1] ?? ''
      return {
        accessKeyId: inText('AccessKeyId'),
        secretAccessKey: inText('SecretAccessKey'),
        sessionToken: inText('SessionToken'),
      }
    }
    const wide = await take({ Policy: document(allow('*')) })
    test.equal((await callEcs(endpoint, wide, 'ListClusters')).status, 200)
    await isDenied(
      'a session policy that allows all',
      callEcs(endpoint, wide, 'CreateCluster', { clusterName: 'wide' }),
    )
    const plain = await take()
    const longer = { ...wide, sessionToken: plain.sessionToken }
    test.equal((await callEcs(endpoint, longer, 'ListClusters')).status, 403, 'a token of another session')
    const turned = plain.sessionToken.replace(
      /.(.{8})$/,
      (last, rest: string) => `${last.startsWith('A') ? 'B' : 'A'}${rest}`,
    )
    const broken = { ...plain, sessionToken: turned }
    test.equal((await callEcs(endpoint, broken, 'ListClusters')).status, 403, 'one that was changed')
    await query(root, 'iam', { Action: 'DeleteRolePolicy', RoleName: 'narrow', PolicyName: 'p' })
    await isDenied('a right that was taken away', callEcs(endpoint, plain, 'ListClusters'))
    test.equal((await query(root, 'iam', { Action: 'DeleteRole', RoleName: 'narrow' })).status, 200)
    await create()
    await give(allow('*'))
    const gone = await callEcs(endpoint, plain, 'ListClusters')
    test.match(gone, { status: 403, json: { message: /the role narrow that it was given for was deleted/ } })
  })

  await test.test('a policy on a secret is put by whom policies let, and opens that secret alone', async () => {
    test.equal((await aSecret('vault')).status, 200)
    const user = await aUser('guest', allow('secretsmanager:ListSecrets'))
    const ResourcePolicy = document({
      Effect: 'Allow',
      Principal: { AWS: arn('user/guest') },
      Action: 'secretsmanager:*',
      Resource: '*',
    })
    const put = { SecretId: 'vault', ResourcePolicy }
    await isDenied('by the guest', json('secretsmanager', user, 'PutResourcePolicy', put))
    await isDenied('its value', json('secretsmanager', user, 'GetSecretValue', { SecretId: 'vault' }))
    const another = await aSecret('vault-2')
    test.equal((await json('secretsmanager', root, 'PutResourcePolicy', put)).status, 200)
    test.equal((await json('secretsmanager', user, 'GetSecretValue', { SecretId: 'vault' })).status, 200)
    const other = { SecretId: String(another.json['ARN']) }
    await isDenied('another secret', json('secretsmanager', user, 'GetSecretValue', other))
    await isDenied('another service', json('ssm', user, 'GetParametersByPath', { Path: '/' }))
  })

  await test.test('a host, however it joined, has no rights of people', async () => {
    const { key, peer } = await aHost()
    for (const [name, host] of [
      ['a joined host', key],
      ["the first start's", agentKey],
    ] as const) {
      for (const path of [
        '/v1/clusters',
        '/v1/audit',
        '/v1/hosts',
        '/v1/secret-keys',
        '/v1/join-tokens',
        '/v1/events',
      ]) {
        test.equal((await getRest(endpoint, host, path)).status, 403, `${name}: ${path}`)
      }
      await isDenied(name, callRest(endpoint, host, 'POST', '/v1/join-tokens', '{}'))
      await isDenied(name, query(host, 'iam', { Action: 'ListUsers' }))
      await isDenied(name, query(host, 'iam', { Action: 'CreateUser', UserName: 'by-host' }))
      await isDenied(
        name,
        query(host, 'sts', { Action: 'AssumeRole', RoleArn: arn('role/kept'), RoleSessionName: 'xx' }),
      )
      await isDenied(name, json('ssm', host, 'GetParameters', { Names: ['/x'] }))
      await isDenied(name, json('secretsmanager', host, 'GetSecretValue', { SecretId: 'vault' }))
      await isDenied(name, callEcs(endpoint, host, 'RunTask', { taskDefinition: 'owned' }))
      await isDenied(name, callEcs(endpoint, host, 'ExecuteCommand', { task: 'x', command: 'sh', interactive: true }))
    }
    await peer.disconnect('cut')
  })
})

/** Some that send their headers bit by bit, some their body, some nothing, on each listener. */
async function openSlowConnections() {
  const opened = listeners.flatMap((listener) =>
    ['', 'POST / HTTP/1.1\r\nHost: x\r\nX: ', 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{'].flatMap(
      (start) =>
        Array.from({ length: 40 }, async () => {
          const socket = await listener.open()
          if (start !== '') socket.write(start)
          socket.resume()
          const drip = setInterval(() => start !== '' && socket.writable && socket.write('a'), 1000)
          socket.once('close', () => clearInterval(drip))
          const isInHeaders = start !== '' && !start.includes('{')
          return { name: listener.name, socket, isInHeaders }
        }),
    ),
  )
  return { since: Date.now(), connections: await Promise.all(opened) }
}

await t.test('slow clients hold nobody up, and those that never finish their headers are ended', async (test) => {
  await isServed(test, 'with 240 slow connections')
  for (const { name } of listeners) {
    const inHeaders = slow.connections.filter((one) => one.name === name && one.isInHeaders)
    test.equal(inHeaders.length, 40)
    const ended = await eventually('their end', () => inHeaders.every(({ socket }) => socket.destroyed) || undefined)
    test.ok(ended, `${name}: 15 seconds for the headers, whatever drips`)
  }
  for (const { socket } of slow.connections) socket.destroy()
  await Promise.all(slow.connections.map(({ socket }) => closeOf(socket)))
})

await t.test('after all that nothing has failed, and the process is the same', async (test) => {
  await isServed(test, 'in the end')
  const errors = controller
    .output()
    .split('\n')
    .filter((line) => /"level":"(error|fatal)"/.test(line))
  test.same(errors, [])
  test.notMatch(controller.output(), root.secretAccessKey)
  test.ok(memoryMiB() < 700, `${Math.round(memoryMiB())} MiB`)
  test.equal(({} as Record<string, unknown>)['a'], undefined)
  test.ok(readFileSync(join(controller.dataDir, 'root-credentials'), 'utf8').includes(root.accessKeyId))
})
