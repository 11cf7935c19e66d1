/** The agent's outside, part by part: the machine, the directory, the API, the channel, the introspection. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createServer as createNetServer } from 'node:net'
import { join } from 'node:path'
import { Writable } from 'node:stream'
import tap from 'tap'
import type { Test } from 'tap'
import { WebSocketServer } from 'ws'
import type { WebSocket } from 'ws'
import { verifyRequest } from '../proto/sigv4.ts'
import { instanceAttributes } from './attributes.ts'
import { readConfig } from './config.ts'
import { credentialsSource } from './credentials.ts'
import { lockDirectory } from './directory-lock.ts'
import { openApi } from './ecs-api.ts'
import { EngineError } from './engine.ts'
import type { EngineInfo } from './engine.ts'
import type { EngineStreams } from './engine-streams.ts'
import { openExecEnds } from './exec-ends.ts'
import { execSession } from './exec-session.ts'
import { hostFacts, kernelPortRange } from './host-facts.ts'
import type { HostFacts } from './host-facts.ts'
import { listeningPorts, portsOfTable, startHostPortsReporter } from './host-ports.ts'
import { readIdentity, writeIdentity } from './identity.ts'
import { startIntrospection } from './introspection.ts'
import { startLink } from './link.ts'
import { openLog } from './log.ts'
import { endpointDiscovery, registerInstance } from './register.ts'
import type { RegisterOptions } from './register.ts'
import type { StreamSocket } from './stream-socket.ts'
import { realTimers, type Timers } from './timers.ts'
import type { TurnTask } from './turn.ts'

const keys = { accessKeyId: 'GANTRYTEST', secretAccessKey: 'not-a-secret', sessionToken: undefined }
const instanceArn = 'arn:aws:ecs:us-east-1:123456789012:container-instance/lab/0123456789abcdef0123456789abcdef'
const anApp = { ...({} as TurnTask['payload']['containers'][number]), name: 'app', image: 'busybox' }
const aHost: HostFacts = {
  cpus: 2,
  cpuModel: 'any',
  cpuArchitecture: 'x86_64',
  memoryMiB: 2048,
  operatingSystem: 'Debian',
  kernel: '6',
  productName: 'Box',
}
const engineInfo: EngineInfo = {
  engineVersion: '20.10.24',
  apiVersion: '1.41',
  loggingDrivers: ['json-file', 'syslog'],
  volumePlugins: ['local', 'lab/volumes:latest'],
  securityOptions: [],
  cgroupDriver: 'cgroupfs',
  cgroupVersion: '1',
  storageDriver: 'overlay2',
  backingFileSystem: 'extfs',
  rootDirectory: '/var/lib/docker',
}

await tap.test('the facts of the host are what /proc says', async (t) => {
  const host = await hostFacts()
  const cpus = readFileSync('/proc/cpuinfo', 'utf8').match(/^processor\s*:/gm)?.length
  const memoryKiB = Number(/^MemTotal:\s+(\d+)/.exec(readFileSync('/proc/meminfo', 'utf8'))?.[1])
  t.equal(host.cpus, cpus)
  t.equal(host.memoryMiB, Math.floor(memoryKiB / 1024))
  t.equal(host.kernel, readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim())
  const range = kernelPortRange()
  t.equal(readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8').trim(), `${range.first}\t${range.last}`)

  const { config } = readConfig({ ECS_AVAILABLE_LOGGING_DRIVERS: '["json-file","none","fluentd"]' }, '')
  const attributes = instanceAttributes(config, { ...host, productName: 'Box 9 (rev. ü)' }, engineInfo, range)
  const values = new Map(attributes.map(({ name, value }) => [name, value]))
  t.equal(values.size, attributes.length, 'no attribute stands twice')
  for (const name of [
    'privileged-container',
    'docker-remote-api.1.17',
    'logging-driver.none',
    'logging-driver.json-file',
  ]) {
    t.ok(values.has(`com.amazonaws.ecs.capability.${name}`), name)
  }
  t.notOk(values.has('com.amazonaws.ecs.capability.logging-driver.fluentd'), 'the engine has no such driver')
  t.ok(values.has('ecs.capability.docker-plugin.lab/volumes') && values.has('ecs.capability.docker-plugin.local'))
  t.equal(values.get('ecs.availability-zone'), 'us-east-1a')
  t.equal(values.get('ecs.instance-type'), 'Box 9 rev.')
  t.equal(values.get('gantry.protocol'), '1')
  t.notOk(values.has('gantry.tasks-max'), 'no cap unless one is given')
  const capped = readConfig({ GANTRY_TASKS_MAX: '20' }, '').config
  const cap = instanceAttributes(capped, host, engineInfo, range).find(({ name }) => name === 'gantry.tasks-max')
  t.equal(cap?.value, '20')
})

await tap.test('ports that programs listen on are seen and told once', async (t) => {
  const table = `  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A 0\n   1: 00000000:0016 00000000:0000 01 0\n`
  t.same(portsOfTable(table, '0A'), [8080])
  const server = createNetServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  t.ok(listeningPorts().tcp.includes(port))
  server.close()

  const sent: object[] = []
  const due: (() => void)[] = []
  const host = { tcp: [22, 80], udp: [53] }
  const reporter = startHostPortsReporter({
    timers: {
      after(_delayMs, callback) {
        due.push(callback)
        return () => undefined
      },
    },
    uuid: () => 'id',
    ownPorts: () => ({ tcp: [80], udp: [] }),
    look: () => ({ tcp: [...host.tcp], udp: host.udp }),
    send: (_type, message) => sent.push(message) > 0,
  })
  reporter.report()
  t.same(sent, [{ messageId: 'id', usedTcpPorts: [22], usedUdpPorts: [53] }], 'the own port 80 is no news')
  due.shift()?.()
  host.tcp.push(9999)
  due.shift()?.()
  t.equal(sent.length, 1, 'what is seen once may be gone at once')
  due.shift()?.()
  t.match(sent[1], { usedTcpPorts: [22, 9999] })
})

await tap.test('a wait that is longer than timers can be is no busy loop', async (t) => {
  let woken = false
  const cancel = realTimers.after(60 * 24 * 3_600_000, () => (woken = true))
  await new Promise((resolve) => setTimeout(resolve, 20))
  cancel()
  t.notOk(woken)
})

await tap.test('one agent for each directory', async (t) => {
  const directory = t.testdir()
  const lock = lockDirectory(directory)
  t.throws(() => lockDirectory(directory), new RegExp(`in use by another agent, process ${process.pid}`))
  lock.release()
  lockDirectory(directory).release()
  writeFileSync(join(directory, 'lock'), '999999999 1\n')
  lockDirectory(directory).release()
  // The pid lives, but it is not the process that wrote the file.
  writeFileSync(join(directory, 'lock'), `${process.pid} 1\n`)
  lockDirectory(directory).release()
  const { pid, startTime } = await deadUnasked(t)
  writeFileSync(join(directory, 'lock'), `${pid} ${startTime}\n`)
  lockDirectory(directory).release()
})

await tap.test(
  'commands of an earlier life are ended, and a directory that can not be made keeps no agent from its start',
  async (t) => {
    const left = 'a'.repeat(64)
    const directory = t.testdir({ commands: { [left]: '', 'no-id': '' }, full: 'a file' })
    const asked: string[] = []
    const inspectExec = async (execId: string): Promise<undefined> => void asked.push(execId)
    const ends = openExecEnds(directory, { inspectExec }, realTimers, openLog('error'))
    await ends.end('b'.repeat(64))
    t.same(asked, [left, 'b'.repeat(64)])
    t.same(readdirSync(join(directory, 'commands')), ['no-id'], 'what the engine does not know has ended')
    const without = openExecEnds(join(directory, 'full'), { inspectExec }, realTimers, openLog('error'))
    t.throws(() => without.begun(left), { code: 'ENOTDIR' }, 'what could not be ended is not begun')
  },
)

await tap.test('a command whose start has no answer is ended, for nobody is attached to it', async (t) => {
  const ended: string[] = []
  const told: unknown[] = []
  const engine = {
    async startExec(_id: string, _wanted: object, onCreated: (execId: string) => void) {
      onCreated('made')
      throw new EngineError('deadline', 'The Docker daemon did not start a command in web within 180 s')
    },
  } as unknown as EngineStreams
  const ends = { begun: () => undefined, ended: () => undefined, end: async (id: string) => void ended.push(id) }
  const socket = { end: (last: unknown) => told.push(last) } as unknown as StreamSocket
  const session = execSession(
    { engine, dockerId: 'web', timers: realTimers, ends, now: Date.now, socket: () => socket },
    { command: ['sh'], tty: false },
  )
  session.onOpen()
  await new Promise(setImmediate)
  t.match(told, [{ type: 'Failure', message: { reason: /did not start a command/ } }])
  await session.close()
  t.same(ended, ['made'])
})

await tap.test('keys come from a file that nobody else can read', async (t) => {
  const path = join(t.testdir(), 'keys')
  writeFileSync(
    path,
    '[other]\naws_access_key_id = no\n[default]\naws_access_key_id = yes\naws_secret_access_key=s+/=\n',
  )
  const { config } = readConfig({ AWS_SHARED_CREDENTIALS_FILE: path }, '')
  chmodSync(path, 0o644)
  await t.rejects(credentialsSource(config)(), /chmod 600/)
  chmodSync(path, 0o600)
  t.match(await credentialsSource(config)(), { accessKeyId: 'yes', secretAccessKey: 's+/=' })
  await t.rejects(credentialsSource(readConfig({}, '').config)(), /no keys to sign with/)
})

await tap.test('a host registers once, is told what is in the way, and comes back under its ARN', async (t) => {
  const directory = t.testdir()
  const calls: Record<string, unknown>[] = []
  const script: { status: number; body: object; date?: string }[] = []
  const origin = await serving(t, (request, response, body) => {
    const signer = verifyRequest(
      { method: 'POST', path: '/', headers: request.headers, body },
      () => keys.secretAccessKey,
      Date.now(),
    )
    t.equal(signer.accessKeyId, keys.accessKeyId)
    calls.push({ target: request.headers['x-amz-target'], ...(JSON.parse(body) as object) })
    const answer = script.shift() ?? { status: 200, body: { containerInstance: { containerInstanceArn: instanceArn } } }
    if (answer.date !== undefined) response.setHeader('date', answer.date)
    response.writeHead(answer.status).end(JSON.stringify(answer.body))
  })
  const logged = memoryLog()
  const register = async (cluster = 'lab'): Promise<string> =>
    registerInstance({ ...registering(directory, origin, cluster), log: logged.log })

  script.push({ status: 400, body: { __type: 'ClusterNotFoundException', message: 'Cluster not found.' } })
  const old = new Date(Date.now() - 3_600_000).toUTCString()
  script.push({ status: 403, date: old, body: { __type: 'InvalidSignatureException', message: 'Signature expired' } })
  t.equal(await register(), instanceArn)
  t.match(logged.text(), /cluster lab that ECS_CLUSTER names does not exist.*aws ecs create-cluster --cluster-name lab/)
  t.match(logged.text(), /clock is 60 minutes ahead of the controller's.*chrony/)
  t.equal(new Set(calls.map(({ clientToken }) => clientToken)).size, 1, 'tries of one registration share a token')
  t.match(calls[0], {
    target: /RegisterContainerInstance$/,
    cluster: 'lab',
    totalResources: [{ name: 'CPU' }, {}, {}, {}],
  })

  t.equal(await register(), instanceArn)
  t.equal(calls.at(-1)?.['containerInstanceArn'], instanceArn)
  await t.rejects(register('other'), /ECS_CLUSTER is other, but .* of the cluster lab/)

  script.push({
    status: 400,
    body: { __type: 'ClientException', message: 'The container instance 01 is INACTIVE: it was' },
  })
  await register()
  t.equal(calls.at(-1)?.['containerInstanceArn'], undefined, 'a deregistered host comes back as a new instance')
  const forgotten = 'The container instance 01 was not found here: it was deregistered long ago, or'
  script.push({ status: 400, body: { __type: 'ClientException', message: forgotten } })
  await register()
  t.equal(calls.at(-1)?.['containerInstanceArn'], undefined, 'and so does one that was away until it was forgotten')

  writeFileSync(join(directory, 'identity.json'), '{"cl')
  t.throws(() => readIdentity(directory), /damaged/)
  writeIdentity(directory, { cluster: 'lab', clientToken: 'x' })
  t.same(readIdentity(directory), { cluster: 'lab', clientToken: 'x' })
})

await tap.test('the channel is signed, carries frames both ways, and comes back', async (t) => {
  const sockets: WebSocket[] = []
  const urls: URL[] = []
  const refusals = ['{"InvalidInstanceException":"not registered"}']
  const frames: string[] = []
  const origin = await serving(
    t,
    () => undefined,
    (request, server) => {
      const url = new URL(request.url ?? '', 'http://controller')
      urls.push(url)
      const { headers } = request as { headers: Record<string, string> }
      verifyRequest({ method: 'GET', path: request.url ?? '', headers }, () => keys.secretAccessKey, Date.now())
      const refusal = refusals.shift()
      if (refusal !== undefined) return refusal
      server.handleUpgrade(request, request.socket, Buffer.alloc(0), (socket) => {
        // A controller that can't commit that the agent came closes the channel before it says anything.
        if (urls.length === 2) return socket.close(1008)
        sockets.push(socket)
        socket.on('message', (data) => frames.push(Buffer.from(data as Buffer).toString()))
        socket.send('{"type":"HeartbeatMessage","message":{"healthy":true,"messageId":"m"}}')
        socket.send('no frame at all')
      })
      return undefined
    },
  )
  const seen: string[] = []
  let registrations = 0
  let heardNothing: (() => void) | undefined
  const timers: Timers = {
    after(delayMs, callback) {
      if (delayMs === 20_000) heardNothing = callback
      return realTimers.after(delayMs, callback)
    },
  }
  const link = startLink({
    discover: async () => `${origin}/acs`,
    cluster: 'lab',
    containerInstanceArn: instanceArn,
    agentVersion: '0.1.0',
    agentHash: 'gantry',
    dockerVersion: '20.10.24',
    region: 'us-east-1',
    credentials: async () => keys,
    now: Date.now,
    random: () => 0,
    timers,
    log: memoryLog().log,
    onFrame: (frame) => seen.push(frame.type),
    onConnected: () => seen.push('connected'),
    onDisconnected: () => seen.push('disconnected'),
    async registerAgain() {
      registrations++
    },
  })
  t.teardown(() => link.close())
  t.equal(link.send('AckRequest', {}), false, 'nothing is sent where there is no connection')
  await until(() => seen.includes('HeartbeatMessage'))
  t.equal(registrations, 1, 'an instance that the controller does not know registers again')
  t.equal(link.send('AckRequest', { messageId: 'm' }), true)
  await until(() => frames.length > 0)
  t.equal(frames[0], '{"type":"AckRequest","message":{"messageId":"m"}}')

  sockets[0]?.terminate()
  await until(() => sockets.length === 2 && seen.length >= 7)
  const greeted = ['connected', 'HeartbeatMessage']
  t.same(seen, ['connected', 'disconnected', ...greeted, 'disconnected', ...greeted])
  t.equal(urls[0]?.pathname, '/acs/ws')
  t.match(Object.fromEntries(urls[0]?.searchParams ?? []), {
    agentHash: 'gantry',
    agentVersion: '0.1.0',
    clusterArn: 'lab',
    containerInstanceArn: instanceArn,
    dockerVersion: 'DockerVersion: 20.10.24',
    protocolVersion: '2',
    seqNum: '1',
  })
  t.same(
    urls.map((url) => url.searchParams.get('sendCredentials')),
    ['true', 'true', 'true', 'false'],
  )

  heardNothing?.()
  await until(() => sockets.length === 3)
  t.pass('after 20 s of silence it connects anew, whatever TCP thinks')
})

await tap.test('an endpoint is asked for once, and an old answer serves where there is no new one', async (t) => {
  const answers = ['http://one', 'http://two']
  const callApi = async (): Promise<Record<string, unknown>> => {
    const endpoint = answers.shift()
    if (endpoint === undefined) throw new Error('no answer')
    return { endpoint }
  }
  const discover = endpointDiscovery({ callApi, containerInstanceArn: instanceArn, cluster: 'lab', now: () => 0 })
  t.equal(await discover(false), 'http://one')
  t.equal(await discover(false), 'http://one')
  t.equal(await discover(true), 'http://two')
  t.equal(await discover(true), 'http://two')
})

const runningTask = (id: string, dockerId: string): TurnTask => ({
  payload: { ...({} as TurnTask['payload']), arn: `arn:${id}`, family: 'web', version: '3', containers: [anApp] },
  facts: {
    ...({} as TurnTask['facts']),
    containers: { app: { ...({} as Facts), dockerId, dockerName: `ecs-${id}` } },
  },
  desiredStatus: 'RUNNING',
  knownStatus: 'RUNNING',
  observed: new Map(),
})

await tap.test('introspection answers as the official agent does', async (t) => {
  const tasks = [runningTask('one', `${'a'.repeat(12)}11`), runningTask('two', `${'a'.repeat(12)}22`)]
  const introspection = await startIntrospection({
    address: '127.0.0.1',
    port: 0,
    metadata: () => ({ cluster: 'lab', containerInstanceArn: instanceArn, version: '0.1.0' }),
    tasks: () => tasks,
  })
  t.teardown(() => introspection.close())
  const get = async (path: string): Promise<[number, Record<string, unknown>]> => {
    const response = await fetch(`http://127.0.0.1:${introspection.port}${path}`)
    return [response.status, (await response.json()) as Record<string, unknown>]
  }
  t.match(await get('/'), [200, { AvailableCommands: ['/v1/metadata', '/v1/tasks', '/license'] }])
  t.match(await get('/v1/metadata'), [200, { Cluster: 'lab', ContainerInstanceArn: instanceArn, Version: /0\.1\.0/ }])
  t.match(await get('/v1/tasks'), [
    200,
    { Tasks: [{ Arn: 'arn:one', Containers: [{ Name: 'app' }] }, { Arn: 'arn:two' }] },
  ])
  t.match(await get('/v1/tasks?taskarn=arn:two'), [200, { Arn: 'arn:two', Family: 'web', Version: '3' }])
  t.match(await get(`/v1/tasks?dockerid=${'a'.repeat(12)}2`), [200, { Arn: 'arn:two' }])
  t.equal((await get(`/v1/tasks?dockerid=${'a'.repeat(12)}`))[0], 400, 'ambiguous')
  t.equal((await get('/v1/tasks?taskarn=arn:none'))[0], 404)
  t.equal((await get('/v1/tasks?taskarn=a&dockerid=b'))[0], 400)
  t.equal((await get('/v2/nothing'))[0], 404)
  const license = await fetch(`http://127.0.0.1:${introspection.port}/license`)
  t.match(await license.text(), /Apache License/)
  t.equal((await get('//'))[0], 400, 'what is no URL does not end the agent')
  const second = startIntrospection({
    address: '127.0.0.1',
    port: introspection.port,
    metadata: () => ({ cluster: 'lab', containerInstanceArn: undefined, version: '0.1.0' }),
    tasks: () => [],
  })
  await t.rejects(second, /GANTRY_INTROSPECTION_PORT/)
})

/** A process that was killed, and whose parent lives on and does not ask how it ended. */
async function deadUnasked(t: Test): Promise<{ pid: number; startTime: string | undefined }> {
  const parent = spawn('sh', ['-c', 'sleep 60 & echo $!; exec sleep 60'], { stdio: ['ignore', 'pipe', 'ignore'] })
  t.teardown(() => parent.kill('SIGKILL'))
  const [line] = (await once(parent.stdout, 'data')) as [Buffer]
  const pid = Number(line.toString())
  const fields = (): readonly string[] => readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  const startTime = fields()[19]
  // A shell that has not become `sleep` yet would ask.
  while (!readFileSync(`/proc/${parent.pid}/cmdline`, 'utf8').startsWith('sleep')) await new Promise(setImmediate)
  process.kill(pid, 'SIGKILL')
  while (fields()[0] !== 'Z') await new Promise(setImmediate)
  return { pid, startTime }
}

type Facts = TurnTask['facts']['containers'][string]

function registering(directory: string, origin: string, cluster: string): Omit<RegisterOptions, 'log'> {
  const { config } = readConfig({ ECS_DATADIR: directory, ECS_CLUSTER: cluster }, '')
  let token = 0
  return {
    config,
    host: aHost,
    attributes: [],
    callApi: openApi({ origin, region: 'us-east-1', credentials: async () => keys, clock: { now: Date.now } }),
    timers: {
      after(_delayMs, callback) {
        setImmediate(callback)
        return () => undefined
      },
    },
    uuid: () => `token-${++token}`,
    random: () => 0,
  }
}

/** A controller of a few lines; `upgrade` answers the body of a refusal, or undefined where it took the socket. */
async function serving(
  t: Test,
  serve: (request: IncomingMessage, response: ServerResponse, body: string) => void,
  upgrade?: (request: IncomingMessage, server: WebSocketServer) => string | undefined,
): Promise<string> {
  const server = createServer((request, response) => {
    let body = ''
    request.on('data', (chunk: Buffer) => (body += chunk.toString()))
    request.on('end', () => serve(request, response, body))
  })
  const webSockets = new WebSocketServer({ noServer: true })
  server.on('upgrade', (request, socket) => {
    const refusal = upgrade?.(request, webSockets)
    if (refusal === undefined) return
    socket.end(`HTTP/1.1 400 Bad Request\r\ncontent-length: ${refusal.length}\r\nconnection: close\r\n\r\n${refusal}`)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.teardown(() => {
    for (const socket of webSockets.clients) socket.terminate()
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

function memoryLog(): { log: RegisterOptions['log']; text: () => string } {
  let written = ''
  const to = new Writable({
    write(chunk: Buffer, _encoding, done) {
      written += chunk.toString()
      done()
    },
  })
  return { log: openLog('debug', to), text: () => written }
}

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; tries < 500 && !holds(); tries++) await new Promise((resolve) => setTimeout(resolve, 20))
}
