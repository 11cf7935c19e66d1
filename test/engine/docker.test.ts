/** The Engine interface: one contract for the real engine and the simulation's fake; and docker.ts on a bad day. */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import tap from 'tap'
import type { Test } from 'tap'
import { openDocker } from '../../agent/docker.ts'
import { defaultEngineLimits } from '../../agent/docker-limits.ts'
import { EngineError, labels } from '../../agent/engine.ts'
import type { Engine, EngineErrorKind, EngineEvent } from '../../agent/engine.ts'
import { tarOf } from '../../agent/tar.ts'
import { realTimers } from '../../agent/timers.ts'
import { fakeEngine } from '../support/fake-engine.ts'
import { fakeTime } from '../support/fake-time.ts'
import type { FakeTime } from '../support/fake-time.ts'
import { busyboxImage, engineHost, removeBusyboxImage, removeContainersWithLabel } from '../support/engine.ts'
import { eventually } from '../support/lab.ts'

const mark = `contract-${process.pid}`
tap.setTimeout(400_000)
tap.teardown(async () => removeBusyboxImage())
/** The fake on the clock on the wall. */
const realTime: FakeTime = { ...fakeTime(), ...realTimers, now: Date.now }
const pull = { timeoutMs: 30_000, inactivityMs: 30_000 }

await tap.test('the contract, on the real engine', async (suite) => {
  const image = await busyboxImage()
  suite.teardown(async () => removeContainersWithLabel(`${labels.taskArn}=${mark}`))
  await engineContract(suite, openDocker(engineHost()), {
    sleeper: running(image, ['sleep', '600']),
    brief: running(image, ['true']),
    refused: running(image, ['/no/such/program']),
    image,
  })
})

await tap.test('the contract, on the fake', async (suite) => {
  const engine = fakeEngine(realTime)
  engine.local.set('lab/sleeper:1', { ignoresTerm: true })
  engine.local.set('lab/brief:1', { exitsAfterMs: 1 })
  engine.local.set('lab/refused:1', { startError: 'exec: "/no/such/program": no such file or directory' })
  await engineContract(suite, engine, {
    sleeper: inFake('lab/sleeper:1'),
    brief: inFake('lab/brief:1'),
    refused: inFake('lab/refused:1'),
    image: 'lab/sleeper:1',
  })
})

await tap.test('what only a real engine shows', async (suite) => {
  const engine = openDocker(engineHost())
  const image = await busyboxImage()
  suite.teardown(async () => removeContainersWithLabel(`${labels.taskArn}=${mark}`))

  await suite.test('a port that is taken refuses the start and names the port', async (t) => {
    const first = await engine.createContainer(`${mark}-port-a`, publishing(image, ''))
    await engine.startContainer(first)
    const taken = (await engine.inspectContainer(first))?.ports.find(({ hostIp }) => hostIp === '0.0.0.0')
    t.ok(taken !== undefined && taken.containerPort === 80 && taken.hostPort > 1024, 'a dynamic port was given')
    const second = await engine.createContainer(`${mark}-port-b`, publishing(image, String(taken?.hostPort)))
    const refusal = await failure(engine.startContainer(second))
    t.equal(refusal.kind, 'refused')
    t.match(refusal.message, /^Error response from daemon: .*port is already allocated/)
    const after = await engine.inspectContainer(second)
    t.equal(after?.status, 'created')
    t.equal(after?.exitCode, undefined, 'what never ran has no exit code')
  })

  await suite.test('the last lines of both streams, with and without a terminal', async (t) => {
    const script = 'for i in $(seq 1 30); do echo "line $i"; done; sleep 0.3; echo "{\\"a\\":1}" >&2'
    const plain = await engine.createContainer(`${mark}-logs`, running(image, ['sh', '-c', script]))
    await engine.startContainer(plain)
    await until(async () => (await engine.inspectContainer(plain))?.status === 'exited')
    const lines = await engine.lastLogLines(plain, 20)
    t.equal(lines.length, 20)
    t.ok(lines.includes('line 30') && lines.includes('{"a":1}') && !lines.includes('line 5'))

    const tty = await engine.createContainer(`${mark}-tty`, { ...running(image, ['echo', '{"a":1}']), Tty: true })
    await engine.startContainer(tty)
    await until(async () => (await engine.inspectContainer(tty))?.status === 'exited')
    t.same(await engine.lastLogLines(tty, 20), ['{"a":1}'], 'output that looks like JSON stays text')

    const silent = { ...running(image, ['echo', 'gone']), HostConfig: { LogConfig: { Type: 'none' } } }
    const none = await engine.createContainer(`${mark}-none`, silent)
    await engine.startContainer(none)
    t.same(await engine.lastLogLines(none, 20), [], 'a log driver that keeps nothing gives nothing')
  })

  await suite.test('health is read with its output', async (t) => {
    const Healthcheck = { Test: ['CMD-SHELL', 'echo all is well'], Interval: 200_000_000, Retries: 1 }
    const id = await engine.createContainer(`${mark}-health`, { ...running(image, ['sleep', '60']), Healthcheck })
    await engine.startContainer(id)
    await until(async () => (await engine.inspectContainer(id))?.health?.status === 'HEALTHY')
    t.match((await engine.inspectContainer(id))?.health?.output, /all is well/)
  })

  await suite.test('a registry that nobody runs refuses a pull', async (t) => {
    const refusal = await failure(engine.pullImage('127.0.0.1:9/no/such:1', undefined, pull))
    t.equal(refusal.kind, 'refused')
    t.match(refusal.message, /^Error response from daemon: .*connection refused/)
    t.equal((await failure(engine.resolveDigest('127.0.0.1:9/no/such:1', undefined))).retryable, false)
  })
})

await tap.test('an engine that is not there, or that misbehaves', async (suite) => {
  await suite.test('no socket is unreachable, and an address that means nothing is explained', async (t) => {
    const refusal = await failure(openDocker('unix:///nowhere/docker.sock').ping())
    t.equal(refusal.kind, 'unreachable')
    t.match(refusal.message, /Cannot connect to the Docker daemon/)
    t.equal((await failure(openDocker('tcp://127.0.0.1:9').ping())).kind, 'unreachable')
    t.throws(() => openDocker('docker.sock'), /no address of a Docker Engine.*unix:\/\//)
  })

  await suite.test('an engine that hangs meets each deadline', async (t) => {
    const host = await scripted(t, (request, response) => {
      if (request.url === '/version') answer(response, { ApiVersion: '1.41', MinAPIVersion: '1.12' })
    })
    const engine = openDocker(host, { ...defaultEngineLimits, pingMs: 50, inspectMs: 50, stopMarginMs: 50 })
    t.equal((await failure(engine.ping())).kind, 'deadline')
    t.equal((await failure(engine.inspectContainer('any'))).kind, 'deadline')
    t.equal((await failure(engine.stopContainer('any', 0))).kind, 'deadline')
    const quiet = await failure(engine.pullImage('any:1', undefined, { timeoutMs: 10_000, inactivityMs: 50 }))
    t.equal(quiet.kind, 'inactive')
    t.equal(
      (await failure(engine.pullImage('any:1', undefined, { timeoutMs: 50, inactivityMs: 10_000 }))).kind,
      'deadline',
    )
  })

  await suite.test('a container that does not show itself costs the others nothing', async (t) => {
    const listed = ['well', 'hangs', 'broken', 'strange', 'gone'].map((Id) => ({ Id, Names: [`/${Id}`], Labels: {} }))
    const host = await scripted(t, (request, response) => {
      const url = request.url ?? ''
      if (url === '/version') return answer(response, { ApiVersion: '1.41', MinAPIVersion: '1.12' })
      if (url.includes('/containers/json')) return answer(response, listed)
      const Id = url.split('/').at(-2) ?? ''
      if (Id === 'hangs') return undefined
      if (Id === 'broken') response.statusCode = 500
      if (Id === 'gone') response.statusCode = 404
      const State = { Status: Id === 'strange' ? 'levitating' : 'running', ExitCode: 0, OOMKilled: false }
      return answer(response, { Id, Name: `/${Id}`, State, Config: { Image: 'any:1' }, HostConfig: {} })
    })
    const list = await openDocker(host, { ...defaultEngineLimits, listedInspectMs: 2_000 }).listContainers()
    t.same(
      list.shown.map(({ name }) => name),
      ['well'],
    )
    t.same(list.unshown.map(({ name }) => name).toSorted(), ['broken', 'hangs', 'strange'])
  })

  await suite.test('the API version is the newest that both speak', async (t) => {
    const asked: string[] = []
    const speaking = async (ApiVersion: string, MinAPIVersion: string): Promise<Engine> =>
      openDocker(
        await scripted(t, (request, response) => {
          asked.push(request.url ?? '')
          answer(response, { ApiVersion, MinAPIVersion })
        }),
      )
    await (await speaking('1.41', '1.12')).ping()
    await (await speaking('1.52', '1.44')).ping()
    t.same(
      asked.filter((url) => url !== '/version'),
      ['/v1.41/_ping', '/v1.44/_ping'],
    )
    t.match((await failure((await speaking('1.40', '1.12')).ping())).message, /needs 1.41.*Upgrade Docker/)
    t.match((await failure((await speaking('1.60', '1.50')).ping())).message, /knows 1.44 at most.*Upgrade Gantry/)
  })

  await suite.test('a pull that fails half-way says why', async (t) => {
    const lines = { text: '' }
    const host = await scripted(t, (request, response) => {
      if (request.url === '/version') answer(response, { ApiVersion: '1.41' })
      else response.end(lines.text)
    })
    const pulling = async (error: string): Promise<EngineErrorKind> => {
      lines.text = `{"status":"Pulling"}\n${JSON.stringify({ errorDetail: { message: error }, error })}\n`
      const refusal = await failure(openDocker(host).pullImage('any:1', undefined, pull))
      t.equal(refusal.message, error)
      return refusal.kind
    }
    t.equal(await pulling('manifest for any:1 not found: manifest unknown: manifest unknown'), 'notFound')
    t.equal(await pulling('unauthorized: authentication required'), 'denied')
    t.equal(await pulling('Get "https://any/v2/": net/http: TLS handshake timeout'), 'deadline')
    t.equal(await pulling('no space left on device'), 'refused')
  })

  await suite.test('a stream of events that breaks off ends, and does not throw', async (t) => {
    const host = await scripted(t, (request, response) => {
      if (request.url === '/version') return answer(response, { ApiVersion: '1.41' })
      response.write('{"Action":"die","Actor":{"ID":"abc"}}\n')
      setTimeout(() => response.socket?.destroy(), 20)
    })
    const seen: EngineEvent[] = []
    await openDocker(host).watch((event) => seen.push(event), new AbortController().signal)
    t.same(seen, [{ containerId: 'abc', action: 'die' }])
  })
})

type Subject = Readonly<Record<string, unknown>>

/** Bodies of containers that run on and ignore SIGTERM, that end at once, and that can't start; and the first's image. */
interface Subjects {
  readonly sleeper: Subject
  readonly brief: Subject
  readonly refused: Subject
  readonly image: string
}

/** What every engine must do; the fake of the simulation is held to the same. */
async function engineContract(suite: Test, engine: Engine, given: Subjects): Promise<void> {
  await suite.test('it answers and describes itself', async (t) => {
    await engine.ping()
    const info = await engine.info()
    t.match(info.apiVersion, /^1\.\d+$/)
    t.ok(info.loggingDrivers.includes('json-file'))
  })

  await suite.test('a container goes from created over running to exited and away', async (t) => {
    const id = await engine.createContainer(`${mark}-life`, given.sleeper)
    const created = await engine.inspectContainer(`${mark}-life`)
    t.match(created, { id, name: `${mark}-life`, status: 'created', image: given.image })
    t.equal(created?.startedAt, undefined)

    await engine.startContainer(id)
    await engine.startContainer(id)
    const started = (await engine.listContainers()).shown.find((one) => one.id === id)
    t.match(started, { status: 'running', labels: { [labels.taskArn]: mark } })
    t.type(started?.startedAt, 'number')
    t.equal(started?.exitCode, undefined)

    await engine.stopContainer(id, 0)
    await engine.stopContainer(id, 0)
    const ended = await engine.inspectContainer(id)
    t.match(ended, { status: 'exited', exitCode: 137 })
    t.type(ended?.finishedAt, 'number')

    await engine.removeContainer(id)
    await engine.removeContainer(id)
    t.equal(await engine.inspectContainer(id), undefined)
  })

  await suite.test('a network is made, joined, left and removed', async (t) => {
    const name = `${mark}-network`
    const label = `gantry-test.${mark}`
    const network = { name, driver: 'bridge', internal: false, cidr: '10.214.9.0/24', gateway: '10.214.9.1' } as const
    t.equal(await engine.inspectNetwork(name), undefined)
    await engine.createNetwork({
      ...network,
      options: { 'com.docker.network.driver.mtu': '1400' },
      labels: { [label]: '' },
    })
    const twice = await failure(engine.createNetwork({ ...network, options: {}, labels: {} }))
    t.equal(twice.kind, 'conflict')
    const made = await engine.inspectNetwork(name)
    t.match(made, { ...network, options: { 'com.docker.network.driver.mtu': '1400' }, containerIds: [] })
    t.same(
      (await engine.listNetworks(label)).map((one) => one.name),
      [name],
    )

    const id = await engine.createContainer(`${mark}-joins`, given.sleeper)
    await engine.connectNetwork(name, id)
    await engine.connectNetwork(name, id)
    await engine.startContainer(id)
    t.same((await engine.inspectNetwork(name))?.containerIds, [id])
    t.equal((await failure(engine.removeNetwork(name))).kind, 'refused')
    await engine.disconnectNetwork(name, id)
    await engine.disconnectNetwork(name, id)
    t.same((await engine.inspectNetwork(name))?.containerIds, [])
    t.equal((await failure(engine.connectNetwork('no-such-network', id))).kind, 'notFound')
    await engine.stopContainer(id, 0)
    await engine.removeNetwork(name)
    await engine.removeNetwork(name)
    t.equal(await engine.inspectNetwork(name), undefined)
  })

  await suite.test('each refusal has its kind', async (t) => {
    await engine.createContainer(`${mark}-twice`, given.sleeper)
    const twice = await failure(engine.createContainer(`${mark}-twice`, given.sleeper))
    t.equal(twice.kind, 'conflict')
    const missing = await failure(
      engine.createContainer(`${mark}-missing`, { ...given.sleeper, Image: 'gantry-test/none:1' }),
    )
    t.equal(missing.kind, 'notFound')
    t.equal((await failure(engine.startContainer('no-such-container'))).kind, 'notFound')
    const bad = await engine.createContainer(`${mark}-bad`, given.refused)
    const refusal = await failure(engine.startContainer(bad))
    t.equal(refusal.kind, 'refused')
    t.match(refusal.message, /no such file or directory/)
    t.equal(await engine.inspectImage('gantry-test/none:1'), undefined)
    t.match((await engine.inspectImage(given.image))?.id, /^sha256:/)
  })

  await suite.test('events name what changed, until the watch is ended', async (t) => {
    const seen: EngineEvent[] = []
    const abort = new AbortController()
    const watching = engine.watch((event) => seen.push(event), abort.signal)
    const id = await engine.createContainer(`${mark}-watched`, given.brief)
    await engine.startContainer(id)
    await until(async () => seen.some((event) => event.containerId === id && event.action === 'die'))
    abort.abort()
    await t.resolves(watching)
  })

  await suite.test('images are listed with their names, and none goes while a container is made from it', async (t) => {
    const known = await engine.inspectImage(given.image)
    const listed = (await engine.listImages()).find(({ id }) => id === known?.id)
    t.ok(listed?.tags.includes(given.image), 'it is listed under its name')
    t.ok((listed?.sizeBytes ?? 0) > 0)
    const container = await engine.createContainer(`${mark}-made-from`, given.sleeper)
    t.ok((await engine.imagesInUse()).has(known?.id ?? ''))
    t.equal((await failure(engine.removeImage(known?.id ?? ''))).kind, 'conflict')
    await engine.removeContainer(container)
    await engine.removeImage('gantry-test/none:1')
  })

  await suite.test('volumes come and go', async (t) => {
    await engine.createVolume(`${mark}-volume`, 'local', {}, { [labels.taskArn]: mark })
    t.match(await engine.inspectVolume(`${mark}-volume`), { name: `${mark}-volume`, driver: 'local' })
    await engine.removeVolume(`${mark}-volume`)
    await engine.removeVolume(`${mark}-volume`)
    t.equal(await engine.inspectVolume(`${mark}-volume`), undefined)
    t.same(await engine.listVolumes(`${labels.taskArn}=${mark}`), [])
  })

  await suite.test('what lies in a volume is seen and made by a container that never runs', async (t) => {
    const name = `${mark}-looked-at`
    await engine.createVolume(name, 'local', {}, { [labels.taskArn]: mark, [labels.probeOf]: mark })
    t.match(await engine.listVolumes(`${labels.probeOf}=${mark}`), [{ name, labels: { [labels.taskArn]: mark } }])
    const Mounts = [{ Type: 'volume', Source: name, Target: '/fs' }]
    const id = await engine.createContainer(`${mark}-look`, {
      ...given.sleeper,
      HostConfig: { NetworkMode: 'none', Mounts },
    })
    await engine.unpackInContainer(id, '/fs', tarOf([]))
    t.equal(await engine.pathInContainer(id, '/fs'), 'directory')
    t.equal(await engine.pathInContainer(id, '/fs/made'), undefined)
    await engine.unpackInContainer(id, '/fs', tarOf([{ path: 'made', mode: 0o700, uid: 5, gid: 3_000_000_000 }]))
    t.equal(await engine.pathInContainer(id, '/fs/made'), 'directory')
    t.equal((await engine.inspectContainer(id))?.status, 'created')
    t.equal((await failure(engine.pathInContainer('f'.repeat(64), '/fs'))).kind, 'notFound')
    await engine.removeContainer(id)
    await engine.removeVolume(name)
  })
}

function running(image: string, command: readonly string[]): Record<string, unknown> {
  return { Image: image, Cmd: command, Labels: { [labels.taskArn]: mark } }
}

function inFake(image: string): Subject {
  return { ...running(image, []), HostConfig: { NetworkMode: 'bridge' } }
}

function publishing(image: string, hostPort: string): Record<string, unknown> {
  const PortBindings = { '80/tcp': [{ HostPort: hostPort }] }
  return { ...running(image, ['sleep', '600']), ExposedPorts: { '80/tcp': {} }, HostConfig: { PortBindings } }
}

async function failure(call: Promise<unknown>): Promise<EngineError> {
  const error = await call.then(
    () => new Error('The call succeeded where it should have failed.'),
    (reason: unknown) => reason,
  )
  if (error instanceof EngineError) return error
  throw error
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  await eventually(async () => ((await holds()) ? true : undefined), holds.toString())
}

/** A server on a socket of its own that answers as the test says. */
async function scripted(t: Test, serve: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const path = join(mkdtempSync(join(tmpdir(), 'gantry-scripted-')), 'docker.sock')
  const server: Server = createServer(serve)
  await new Promise<void>((resolve) => server.listen(path, resolve))
  t.teardown(() => {
    server.closeAllConnections()
    server.close()
  })
  return `unix://${path}`
}

function answer(response: ServerResponse, body: object): void {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify(body))
}
