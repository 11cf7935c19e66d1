/** A host joins, and each way in which what answers is not its controller, or what it keeps is not whole. */
import { spawn } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createServer as createNetServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { connect } from 'node:tls'
import tap from 'tap'
import type { Test } from 'tap'
import { WebSocketServer } from 'ws'
import type { JoinPeer, JoinPeerOptions } from '../../test/support/join-peer.ts'
import { makeAuthority, startJoinPeer } from '../../test/support/join-peer.ts'
import { openControllerAccess } from '../controller-access.ts'
import { readConfig } from '../config.ts'
import { explainTlsError, trustIn } from '../controller-trust.ts'
import { ApiCallError, openApi, postRest } from '../ecs-api.ts'
import type { ApiOptions } from '../ecs-api.ts'
import { openHostKeyring } from '../host-keyring.ts'
import type { HostKeyring } from '../host-keyring.ts'
import { readIdentity, writeIdentity } from '../identity.ts'
import { type JoinedIdentity, joinedFile, lockJoined, readJoined, writeJoined } from '../joined-identity.ts'
import { changeKeys, hostKeysAnswer, startKeyRotation } from '../key-rotation.ts'
import { type LinkOptions, startLink } from '../link.ts'
import { openLog } from '../log.ts'
import { endpointDiscovery } from '../register.ts'
import { realTimers } from '../timers.ts'
import { readJoinWish } from './arguments.ts'
import { JoinError, fetchCa, sendJoin } from './controller-call.ts'
import type { JoinOutcome } from './join.ts'
import { joinController } from './join.ts'

// Processes are started and killed here, and the machine may be busy.
tap.setTimeout(400_000)
const authority = await makeAuthority('Lab CA')
const stranger = await makeAuthority('Another CA')
const clock = { now: () => Date.now() }
const hourMs = 3_600_000
const program = new URL('./main.ts', import.meta.url).pathname

async function peerOf(t: Test, options: Partial<JoinPeerOptions> = {}): Promise<JoinPeer> {
  const peer = await startJoinPeer({ authority, ...options })
  t.teardown(() => peer.close())
  return peer
}

async function joinBy(directory: string, words: readonly string[], token: string): Promise<JoinOutcome> {
  const wish = readJoinWish(words)
  if (wish === undefined) throw new Error('that is help')
  return joinController({ wish, directory, hostName: 'h1', readToken: async () => token, now: clock.now })
}

const words = (peer: JoinPeer, ...more: readonly string[]): readonly string[] => [
  peer.url,
  '--ca',
  authority.fingerprint,
  ...more,
]

await tap.test('a host joins: it has keys, the CA and the address, for its own eyes', async (t) => {
  const peer = await peerOf(t)
  const directory = join(t.testdir(), 'agent')
  const { state, joined, warnings } = await joinBy(directory, words(peer), peer.token())
  t.equal(state, 'joined')
  t.same(warnings, [])
  t.match(peer.joined, { name: 'h1' })
  t.match(joined, { controllerUrl: peer.url, name: 'h1', cluster: 'default', region: 'us-east-1' })
  t.same(readJoined(directory)?.keys, joined.keys)
  t.equal(readFileSync(join(directory, 'ca.pem'), 'utf8').trim(), authority.certificatePem.trim())
  t.same(readdirSync(directory).toSorted(), ['ca.pem', 'joined.json'], 'nothing half-written is left')
  for (const name of readdirSync(directory)) t.equal(statSync(join(directory, name)).mode & 0o777, 0o600, name)
  t.equal(statSync(directory).mode & 0o777, 0o700)

  const again = await joinBy(directory, words(peer), peer.token())
  t.equal(again.state, 'already', 'a second time nothing is done')
  t.equal(peer.tokens.size, 1, 'and the token is not used')
  await t.rejects(joinBy(directory, words(peer, '--cluster', 'other'), peer.token()), /has joined .* as h1 .*--replace/)

  const other = await peerOf(t)
  await t.rejects(joinBy(directory, words(other), other.token()), /Nothing was done/)
  const { joined: moved } = await joinBy(directory, words(other, '--replace', '--name', 'h2'), other.token())
  t.match(moved, { controllerUrl: other.url, name: 'h2' })
  t.equal(readJoined(directory)?.controllerUrl, other.url)
})

await tap.test('who is not the controller gets no token', async (t) => {
  const directory = t.testdir()
  const rejects = async (peer: JoinPeer, message: RegExp): Promise<void> => {
    await t.rejects(joinBy(directory, words(peer), peer.token()), message)
    t.same(peer.requests, [], 'no request was sent')
    t.equal(readJoined(directory), undefined)
  }
  const other = await peerOf(t, { authority: stranger })
  await rejects(other, new RegExp(`shown: +${stranger.fingerprint}\n +--ca: +${authority.fingerprint}`))
  // One that knows the right CA and hangs it behind a leaf of another's.
  const impostor = await peerOf(t, { authority: stranger, shown: authority })
  await rejects(impostor, /is not the one that --ca names/)
  // Should its chain be believed for once, the token's own connection still is not.
  const sent = sendJoin(impostor.url, authority.certificatePem, { token: impostor.token(), name: 'h1' }, clock.now)
  await t.rejects(sent, /no certificate of a CA that this host trusts/)
  t.same(impostor.requests, [])
  await rejects(await peerOf(t, { addresses: ['127.0.0.9'] }), /not for 127\.0\.0\.1 .*127\.0\.0\.9.*GANTRY_TLS_NAMES/)
  await rejects(await peerOf(t, { endsInDays: -0.5 }), /is over by this host's clock, which says \d{4}-.*timedatectl/)
  await rejects(await peerOf(t, { beginsInDays: 0.5 }), /not valid yet by this host's clock/)
})

await tap.test('a fingerprint of a leaf makes no CA of it', async (t) => {
  const peer = await peerOf(t)
  const leaf = await new Promise<string>((resolve) => {
    const socket = connect({ port: Number(new URL(peer.url).port), rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().fingerprint256)
      socket.destroy()
    })
  })
  const wish = readJoinWish([peer.url, '--ca', leaf])
  await t.rejects(fetchCa(peer.url, wish?.caFingerprint ?? ''), /it is no CA/)
})

await tap.test('what stands in the way is told in a sentence, before the token is used', async (t) => {
  const directory = t.testdir({ file: 'x' })
  const ca = ['--ca', authority.fingerprint]
  await t.rejects(joinBy(directory, ['https://127.0.0.1:1', ...ca], 'x'), /can't be reached: nothing listens there/)
  await t.rejects(joinBy(directory, ['https://no-such-host.invalid:1', ...ca], 'x'), /can't be reached: .*(name|DNS)/)

  const plain = createServer().listen(0, '127.0.0.1')
  t.teardown(() => plain.close())
  const { port } = await new Promise<AddressInfo>((resolve) =>
    plain.once('listening', () => resolve(plain.address() as AddressInfo)),
  )
  await t.rejects(joinBy(directory, [`https://127.0.0.1:${port}`, ...ca], 'x'), /TLS/)
  const mute = createNetServer((socket) => socket.destroy()).listen(0, '127.0.0.1')
  t.teardown(() => mute.close())
  await new Promise((resolve) => mute.once('listening', resolve))
  const muteUrl = `https://127.0.0.1:${(mute.address() as AddressInfo).port}`
  await t.rejects(joinBy(directory, [muteUrl, ...ca], 'x'), /can't be reached/)

  const peer = await peerOf(t)
  const token = peer.token()
  await t.rejects(joinBy(join(directory, 'file', 'x'), words(peer), token), /directory .* can't be used \(ENOTDIR\)/)
  t.ok(peer.tokens.has(token), 'a directory that can not be used costs no token')
  await t.rejects(
    joinBy(directory, words(peer), `${token}0`),
    /did not let this host join \(403\): The join token was used/,
  )

  peer.clockSkewMs = 20 * 60_000
  const { warnings } = await joinBy(directory, words(peer), token)
  t.match(warnings, [/clock is 20 minutes ahead of the controller's; calls are refused/])
})

await tap.test('a join that fails leaves the host what it was', async (t) => {
  const directory = t.testdir()
  const former = await peerOf(t)
  await joinBy(directory, words(former), former.token())
  writeIdentity(directory, { cluster: 'default', containerInstanceArn: 'arn:of-before', clientToken: 'c' })
  const files = (): readonly string[] =>
    readdirSync(directory)
      .toSorted()
      .map((name) => `${name}: ${readFileSync(join(directory, name), 'utf8')}`)
  const before = files()
  const other = await peerOf(t, { authority: stranger })
  const to = (peer: JoinPeer, ...more: readonly string[]) => [
    peer.url,
    '--ca',
    stranger.fingerprint,
    '--replace',
    ...more,
  ]
  const failed = async (given: readonly string[], token: string, message: RegExp): Promise<void> => {
    await t.rejects(joinBy(directory, given, token), message)
    t.same(files(), before, `${message.source}: nothing is touched`)
    const at = await accessOf(directory)
    t.match(await openApi(apiOf(at))('DiscoverPollEndpoint', {}), { endpoint: former.url }, 'and its keys are good')
  }
  await failed(to(other), 'gantry-join-used', /did not let this host join \(403\)/)
  await failed(words(other, '--replace'), other.token(), /is not the one that --ca names/)
  const misnamed = await peerOf(t, { authority: stranger, addresses: ['127.0.0.9'] })
  await failed(to(misnamed), misnamed.token(), /is not for 127\.0\.0\.1/)
  const late = await peerOf(t, { authority: stranger, endsInDays: -0.5 })
  await failed(to(late), late.token(), /is over by this host's clock/)
  await failed(['https://127.0.0.1:1', '--ca', stranger.fingerprint, '--replace'], 'x', /nothing listens there/)

  await t.test('nor does one that is killed while it waits for its keys', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    other.gate = promise
    const asked = other.requests.length
    const child = spawn(process.execPath, [program, ...to(other), '--directory', directory])
    child.stdin.end(other.token())
    while (other.requests.length === asked) await new Promise((done) => setTimeout(done, 10))
    child.kill('SIGKILL')
    await new Promise((done) => child.once('close', done))
    resolve()
    const left = await accessOf(directory)
    t.match(await openApi(apiOf(left))('DiscoverPollEndpoint', {}), { endpoint: former.url })
    t.same(
      files().filter((file) => !file.startsWith('joined.json.lock')),
      before,
      'an agent that starts clears away what it wrote',
    )
  })

  await joinBy(directory, to(other), other.token())
  t.equal(readJoined(directory)?.controllerUrl, other.url, 'the next one joins')
  t.equal(readFileSync(join(directory, 'ca.pem'), 'utf8').trim(), stranger.certificatePem.trim())
  writeFileSync(join(directory, 'ca.pem'), 'of before')
  await accessOf(directory)
  t.equal(
    readFileSync(join(directory, 'ca.pem'), 'utf8').trim(),
    stranger.certificatePem.trim(),
    'a kill before its last file leaves that to the agent',
  )
  writeFileSync(join(directory, 'identity.json'), '{"cl')
  const unused = other.token()
  await t.rejects(joinBy(directory, to(other), unused), { constructor: JoinError, message: /identity.json is damaged/ })
  t.ok(other.tokens.has(unused), 'what the agent could not read costs no token')
})

await tap.test('a disk that takes nothing more costs neither the token nor the identity', async (t) => {
  const directory = t.testdir()
  const peer = await peerOf(t)
  await joinBy(directory, words(peer), peer.token())
  const before = readFileSync(joinedFile(directory), 'utf8')
  const token = peer.token()
  // No file may grow beyond two blocks: as a full disk is, without one. By its options tap has each Node write a larger file
  // about itself as it ends.
  const limited = ['-c', 'unset NODE_OPTIONS; ulimit -f 2; exec "$0" "$@"', process.execPath, program]
  const child = spawn('sh', [...limited, ...words(peer, '--replace'), '--directory', directory])
  child.stdin.end(token)
  let err = ''
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  const code = await new Promise((done) => child.once('close', done))
  t.equal(code, 1, err)
  t.match(err, /^gantry: The agent's directory .* can't be used \(EFBIG\)/)
  t.ok(peer.tokens.has(token))
  t.equal(readFileSync(joinedFile(directory), 'utf8'), before)
  t.same(readdirSync(directory).toSorted(), ['ca.pem', 'joined.json'])
})

await tap.test('two joins at once, and one under an agent that changes its keys, are told of each other', async (t) => {
  const directory = t.testdir()
  const peer = await peerOf(t)
  const { promise, resolve } = Promise.withResolvers<void>()
  peer.gate = promise
  const first = joinBy(directory, words(peer), peer.token())
  while (peer.requests.length === 0) await new Promise((done) => setTimeout(done, 10))
  const unused = peer.token()
  for (const more of [[], ['--replace']]) {
    await t.rejects(joinBy(directory, words(peer, ...more), unused), {
      constructor: JoinError,
      message: /Process \d+ is changing .*joined\.json.*Nothing was done/,
    })
  }
  resolve()
  t.match(await first, { state: 'joined' })
  t.match(await joinBy(directory, words(peer), unused), { state: 'already' })
  t.ok(peer.tokens.has(unused))

  const at = await accessOf(directory)
  const keyring = at.access.keyring as HostKeyring
  const { keys, hostId } = keyring.joined()
  const lock = lockJoined(directory)
  const answer = { hostId, accessKeyId: 'GANTRYX', secretAccessKey: 'x', previousEndsAt: '' }
  t.throws(() => keyring.replace(answer, 0), /is changing .*joined\.json/, 'the agent waits for the join')
  t.same(readJoined(directory)?.keys, keys)
  lock.release()
})

await tap.test('a host that was registered by other keys joins for its own cluster', async (t) => {
  const peer = await peerOf(t)
  const directory = t.testdir()
  writeIdentity(directory, { cluster: 'lab', containerInstanceArn: 'arn:of-before', clientToken: 'c' })
  await joinBy(directory, words(peer), peer.token())
  t.match(peer.joined, { cluster: 'lab' }, 'so that a token for another cluster is refused rather than used')
  t.equal(readIdentity(directory)?.containerInstanceArn, 'arn:of-before')
})

await tap.test('words of the command', async (t) => {
  const ca = ['--ca', authority.fingerprint]
  const wrong: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /address of the controller is missing/],
    [['https://a:1'], /--ca is missing/],
    [['http://10.0.0.5:51700', ...ca], /no address to join/],
    [['https://a:1', '--ca', 'sha256:12'], /64 hex digits/],
    [['https://a:1', 'b', ...ca], /one too many/],
    [['https://a:1', ...ca, '--name', ''], /1 to 255/],
    [['https://a:1', ...ca, '--other'], /--other/],
    [['https://a:1', ...ca, `gantry-join-${'0'.repeat(12)}-${'0'.repeat(40)}`], /does not belong among the arguments/],
  ]
  for (const [given, message] of wrong) t.throws(() => readJoinWish(given), message)
  t.match(readJoinWish(['http://127.0.0.1:51700']), { caFingerprint: undefined })
})

async function command(args: readonly string[], input: string) {
  const child = spawn(process.execPath, [program, ...args], { env: { PATH: process.env['PATH'] } })
  child.stdin.end(input)
  let out = ''
  let err = ''
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, out, err }
}

await tap.test('the command tells what it did and what is next, and never the secret', async (t) => {
  const peer = await peerOf(t)
  const directory = join(t.testdir(), 'agent')
  const token = peer.token()
  const args = [...words(peer), '--directory', directory]
  const none = await command(args, '')
  t.match(none, { code: 1, err: /no token on standard input/ })
  t.match(await command(args, 'not a token\n'), { code: 1, err: /no join token/ })
  const made = await command(args, `${token}\n`)
  t.match(made, { code: 0, err: '' })
  t.match(made.out, /has joined https:.*\n.*joined\.json.*\n\nNext, start the agent/)
  const secret = readJoined(directory)?.keys.secretAccessKey ?? 'none'
  t.notOk(made.out.includes(secret) || made.out.includes(token))
  const again = await command([...args, '--json'], '')
  t.equal(again.code, 0)
  t.match(JSON.parse(again.out), { state: 'already', ca: authority.fingerprint, directory, cluster: 'default' })
  t.notOk(again.out.includes(secret))
  const refused = await command([...words(peer, '--replace', '--json'), '--directory', directory], token)
  t.match(refused, { code: 1, err: /did not let this host join/ })
  t.match(JSON.parse(refused.out), { state: 'failed', message: /join token was used/ })
  t.match(await command(['--what'], ''), { code: 2, err: /usage:/ })
  t.match(await command(['--help'], ''), { code: 0, out: /exit codes/ })
})

await tap.test('what a host was given is used only from a file that is its own and whole', async (t) => {
  const peer = await peerOf(t)
  const directory = t.testdir()
  await joinBy(directory, words(peer), peer.token())
  const path = joinedFile(directory)
  writeFileSync(join(directory, 'joined.json.999999999.new'), 'half of a key')
  await accessOf(directory)
  t.notOk(readdirSync(directory).includes('joined.json.999999999.new'), 'what a kill left half-written goes')
  for (const mode of [0o644, 0o640, 0o606, 0o400]) {
    chmodSync(path, mode)
    t.throws(() => readJoined(directory), /has the mode .* has to be 600. Run: chmod 600/, mode.toString(8))
  }
  chmodSync(path, 0o600)
  const text = readFileSync(path, 'utf8')
  const broken = ['', '{}', text.slice(0, -20), text.replace(/"caPem": .*,/, ''), text.replace('"createdAt"', '"made"')]
  for (const one of broken) {
    writeFileSync(path, one)
    t.throws(() => readJoined(directory), /is damaged.*--replace/)
  }
  await t.rejects(joinBy(directory, words(peer), peer.token()), /is damaged/)
  await joinBy(directory, words(peer, '--replace'), peer.token())
  t.ok(readJoined(directory), 'and a new join replaces it')
})

/** The agent's way to its controller, from a directory and an environment. */
async function accessOf(directory: string, environment: Readonly<Record<string, string>> = {}) {
  const variables = { ECS_DATADIR: directory, ...environment }
  const { config } = readConfig(variables, '')
  const waits: string[] = []
  const warnings: string[] = []
  const access = await openControllerAccess({
    config,
    withJoined: (joined) => readConfig(variables, '', joined).config,
    timers: realTimers,
    log: openLog('warn', { write: (line) => void warnings.push(line) }),
    onWait: () => waits.push('waits'),
  })
  return { access, waits, warnings }
}

/** Of a channel of the agent that has this access, to wherever `discover` says. */
function linkOptions({ access }: Awaited<ReturnType<typeof accessOf>>, log: LinkOptions['log']) {
  const { credentials, keyring, trust } = access
  return {
    cluster: 'lab',
    containerInstanceArn: 'arn',
    agentVersion: '1',
    agentHash: 'gantry',
    dockerVersion: '1',
    region: 'us-east-1',
    credentials,
    keyring,
    trust,
    now: clock.now,
    random: () => 0,
    timers: realTimers,
    log,
    onFrame: () => undefined,
    onConnected: () => undefined,
    onDisconnected: () => undefined,
    registerAgain: async () => undefined,
  }
}

function apiOf({ access }: Awaited<ReturnType<typeof accessOf>>): ApiOptions {
  const { config, credentials, trust, keyring } = access
  return { origin: config.backendOrigin, region: config.region, credentials, clock, trust, keyring }
}

await tap.test('the agent goes by what the host was given, and by settings before that', async (t) => {
  const peer = await peerOf(t)
  const directory = t.testdir()
  await joinBy(directory, words(peer, '--cluster', 'lab'), peer.token())
  const joined = await accessOf(directory)
  t.match(joined.access.config, { backendOrigin: peer.url, cluster: 'lab', region: 'us-east-1' })
  t.match(await openApi(apiOf(joined))('DiscoverPollEndpoint', {}), { endpoint: peer.url })

  const moved = await accessOf(directory, { ECS_BACKEND_HOST: 'https://controller.lab:51443', ECS_CLUSTER: '' })
  t.match(moved.access.config, { backendOrigin: 'https://controller.lab:51443', cluster: 'lab' })
  const given = await accessOf(directory, { AWS_ACCESS_KEY_ID: 'A', AWS_SECRET_ACCESS_KEY: 'B' })
  t.equal(given.access.keyring, undefined)
  t.match(await given.access.credentials(), { accessKeyId: 'A' })
  t.match(given.warnings, [/has joined, but its keys are not used.*AWS_SHARED_CREDENTIALS_FILE/])
  t.same(joined.warnings, [])
  const plain = { ECS_BACKEND_HOST: 'http://10.0.0.5:51700' }
  await t.rejects(accessOf(directory, plain), /plain HTTP to another host.*join-token.*GANTRY_INSECURE_BACKEND/)
  t.equal((await accessOf(directory, { ...plain, GANTRY_INSECURE_BACKEND: 'true' })).waits.length, 0)
  t.equal((await accessOf(directory, { ECS_BACKEND_HOST: 'http://127.0.0.1:51700' })).waits.length, 0)
  await t.rejects(
    accessOf(directory, { GANTRY_CA_FILE: join(directory, 'joined.json') }),
    /holds no certificate|can't be used/,
  )
  writeFileSync(join(directory, 'other.pem'), stranger.certificatePem)
  const other = await accessOf(directory, { GANTRY_CA_FILE: join(directory, 'other.pem') })
  await t.rejects(openApi(apiOf(other))('DiscoverPollEndpoint', {}), /this host trusts/)

  const waiting = join(directory, 'fresh')
  mkdirSync(waiting)
  const later = accessOf(waiting)
  await joinBy(waiting, words(peer), peer.token())
  t.match((await later).waits, ['waits'], 'an agent without keys waits until its host has joined')
})

await tap.test('a certificate may change, its CA may not, and nothing makes the agent do without', async (t) => {
  const directory = t.testdir()
  const peer = await peerOf(t)
  await joinBy(directory, words(peer), peer.token())
  const at = await accessOf(directory)
  const renewed = await peerOf(t)
  renewed.keys = peer.keys
  const call = (url: string) => openApi({ ...apiOf(at), origin: url })('DiscoverPollEndpoint', {})
  t.match(await call(renewed.url), { endpoint: renewed.url }, 'another leaf of the same CA')
  const other = await peerOf(t, { authority: stranger })
  const loud = new RegExp(
    `no certificate of a CA that this host trusts \\(${authority.fingerprint}\\).*Nothing was sent`,
  )
  await t.rejects(call(other.url), loud)
  // oxlint-disable-next-line typescript/no-dynamic-delete -- set to undefined, a variable becomes the text 'undefined'.
  t.teardown(() => delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'])
  process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0'
  await t.rejects(call(other.url), loud, 'whatever the environment says')
  t.same(other.requests, [])

  const sockets = new WebSocketServer({ noServer: true })
  t.teardown(() => sockets.close())
  const warned: string[] = []
  const error = (_facts: object, message: string): void => void warned.push(message)
  const log = Object.assign(openLog('crit'), { error })
  const { trust } = at.access
  const link = startLink({
    ...linkOptions(at, log),
    discover: async () => other.url,
    onConnected: () => t.fail('it connected to a stranger'),
  })
  while (warned.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  link.close()
  t.match(warned[0], loud, 'the channel says the same')
  t.same(other.requests, [])

  const discover = endpointDiscovery({
    callApi: async () => ({ endpoint: 'http://10.0.0.5:51700' }),
    containerInstanceArn: 'arn',
    cluster: 'lab',
    now: clock.now,
    origin: peer.url,
  })
  await t.rejects(discover(false), /names a channel without TLS.*GANTRY_ADVERTISE/)
  t.equal(explainTlsError(new Error('x'), { origin: peer.url, trust, now: 0 }), undefined)
  t.throws(() => trustIn(() => 'nothing').tls(), /no certificate/)
})

await tap.test('keys change while calls go on, and none of them is refused', async (t) => {
  const directory = t.testdir()
  const peer = await peerOf(t)
  await joinBy(directory, words(peer), peer.token())
  const at = await accessOf(directory)
  const api = apiOf(at)
  const keyring = at.access.keyring as HostKeyring
  const callApi = openApi(api)
  const until = { isOver: false }
  let calls = 0
  const caller = async (): Promise<void> => {
    while (!until.isOver) {
      await callApi('DiscoverPollEndpoint', {})
      calls += 1
    }
  }
  const callers = Array.from({ length: 8 }, caller)
  for (let round = 0; round < 20; round += 1) {
    const before = keyring.current().accessKeyId
    await changeKeys({
      keyring,
      askForKeys: async () => hostKeysAnswer(await postRest(api, '/v1/hosts/self/keys', {})),
      useKeys: async () => callApi('DiscoverPollEndpoint', {}),
      now: clock.now,
    })
    t.not(keyring.current().accessKeyId, before)
    t.equal(peer.keys?.accessKeyId, keyring.current().accessKeyId, 'both sides have the same pair')
  }
  until.isOver = true
  await Promise.all(callers)
  t.ok(calls > 20, `${calls} calls`)
})

await tap.test(
  'a channel that was dialled with the pair before is dialled anew at once, and nobody is alarmed',
  async (t) => {
    const directory = t.testdir()
    const peer = await peerOf(t)
    await joinBy(directory, words(peer), peer.token())
    const at = await accessOf(directory)
    const keyring = at.access.keyring as HostKeyring
    const before = keyring.current()
    const api = apiOf(at)
    await changeKeys({
      keyring,
      askForKeys: async () => hostKeysAnswer(await postRest(api, '/v1/hosts/self/keys', {})),
      useKeys: async () => openApi(api)('DiscoverPollEndpoint', {}),
      now: clock.now,
    })
    const refusals: object[] = []
    const log = Object.assign(openLog('crit'), { error: (facts: object) => void refusals.push(facts) })
    const pairs = [before]
    const dialled: string[] = []
    const link = startLink({
      ...linkOptions(at, log),
      discover: async () => peer.url,
      credentials: async () => {
        const pair = pairs.shift() ?? keyring.current()
        dialled.push(pair.accessKeyId)
        return pair
      },
    })
    while (refusals.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
    link.close()
    t.same(dialled, [before.accessKeyId, keyring.current().accessKeyId])
    t.match(refusals, [{ status: 200 }], 'the new pair was taken; this peer has no channels')
    t.notOk(keyring.isRefused())
  },
)

await tap.test('a kill between any two steps of a change leaves a pair that both sides know', async (t) => {
  const steps = ['nothing', 'asked', 'answered', 'written', 'used'] as const
  for (const last of steps) {
    const directory = join(t.testdir(), last)
    const peer = await peerOf(t)
    await joinBy(directory, words(peer), peer.token())
    const killedAt = (step: (typeof steps)[number]): void => {
      if (step === last) throw new Error(`killed once ${last}`)
    }
    const at = await accessOf(directory)
    const joined = readJoined(directory) as JoinedIdentity
    const keyring = openHostKeyring({
      directory,
      joined,
      log: openLog('crit'),
      write(where, what) {
        killedAt('answered')
        writeJoined(where, what)
        killedAt('written')
      },
    })
    const api = { ...apiOf(at), keyring, credentials: async () => keyring.current() }
    const change = changeKeys({
      keyring,
      async askForKeys() {
        killedAt('nothing')
        const answer = hostKeysAnswer(await postRest(api, '/v1/hosts/self/keys', {}))
        killedAt('asked')
        return answer
      },
      async useKeys() {
        await openApi(api)('DiscoverPollEndpoint', {})
        killedAt('used')
      },
      now: clock.now,
    })
    await t.rejects(change, new RegExp(`killed once ${last}`))
    // Another process, with what is on the disk.
    const next = apiOf(await accessOf(directory))
    t.match(await openApi(next)('DiscoverPollEndpoint', {}), { endpoint: peer.url }, `killed once ${last}`)
    t.match(hostKeysAnswer(await postRest(next, '/v1/hosts/self/keys', {})).accessKeyId, /GANTRY/, 'and keys change on')
  }
})

await tap.test('a process that changes keys all the time is killed at any instant', async (t) => {
  const directory = join(t.testdir(), 'agent')
  const peer = await peerOf(t)
  await joinBy(directory, words(peer), peer.token())
  const changer = new URL('../../test/support/key-changer.ts', import.meta.url).pathname
  for (let kill = 0; kill < 8; kill += 1) {
    const child = spawn(process.execPath, [changer, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
    await new Promise((resolve) => child.stdout.once('data', resolve))
    await new Promise((resolve) => setTimeout(resolve, kill * 4))
    child.kill('SIGKILL')
    await new Promise((resolve) => child.once('close', resolve))
    const at = await accessOf(directory)
    t.match(await openApi(apiOf(at))('DiscoverPollEndpoint', {}), { endpoint: peer.url }, `kill ${kill}`)
    // What was killed with the lock leaves it behind, and nobody minds.
    const left = readdirSync(directory).filter((name) => name !== 'joined.json.lock')
    t.same(left.toSorted(), ['ca.pem', 'joined.json'], 'and no half-written file with keys is left')
  }
  t.ok(Number(peer.keys?.accessKeyId.replace(/\D+/, '')) > 8, 'keys were changed meanwhile')
})

await tap.test(
  'a controller that was restored from a backup knows the pair before, and is asked for a new one',
  async (t) => {
    const directory = t.testdir()
    const peer = await peerOf(t)
    await joinBy(directory, words(peer), peer.token())
    const backup = peer.keys
    const at = await accessOf(directory)
    const api = apiOf(at)
    const keyring = at.access.keyring as HostKeyring
    const change = () =>
      changeKeys({
        keyring,
        askForKeys: async () => hostKeysAnswer(await postRest(api, '/v1/hosts/self/keys', {})),
        useKeys: async () => openApi(api)('DiscoverPollEndpoint', {}),
        now: clock.now,
      })
    await change()
    peer.keys = backup
    t.match(await openApi(api)('DiscoverPollEndpoint', {}), { endpoint: peer.url })
    await change()
    t.equal(readJoined(directory)?.formerKeys?.accessKeyId, backup?.accessKeyId)
    t.equal(peer.keys?.accessKeyId, readJoined(directory)?.keys.accessKeyId)
  },
)

await tap.test('a revoked host says so once, asks seldom, and leaves when it has joined anew', async (t) => {
  const directory = t.testdir()
  const peer = await peerOf(t)
  await joinBy(directory, words(peer), peer.token())
  const joined = readJoined(directory) as JoinedIdentity
  const said: string[] = []
  const say = (_facts: object, message: string): void => void said.push(message)
  const log = Object.assign(openLog('crit'), { info: say, warn: say, error: say })
  const keyring = openHostKeyring({ directory, joined, log })
  const api: ApiOptions = {
    origin: peer.url,
    region: 'us-east-1',
    credentials: async () => keyring.current(),
    clock,
    trust: trustIn(() => joined.caPem),
    keyring,
  }
  const due: { delayMs: number; callback: () => void }[] = []
  const timers = {
    after(delayMs: number, callback: () => void) {
      const one = { delayMs, callback }
      due.push(one)
      return () => void (due.includes(one) && due.splice(due.indexOf(one), 1))
    },
  }
  /** The timer that waits that long, in ms: run now, and what follows of it awaited. */
  const fire = async (fromMs: number, toMs: number, isDone: () => boolean = () => true): Promise<void> => {
    const one = due.find(({ delayMs }) => delayMs >= fromMs && delayMs <= toMs)
    if (one === undefined) throw new Error(`nothing waits so long: ${due.map(({ delayMs }) => delayMs).join()}`)
    due.splice(due.indexOf(one), 1)
    one.callback()
    do await new Promise((resolve) => setTimeout(resolve, 20))
    while (!isDone())
  }
  let hasLeft = false
  let isCutOff = false
  let now = clock.now()
  const close = startKeyRotation({
    keyring,
    intervalMs: 24 * hourMs,
    async askForKeys() {
      if (isCutOff) throw new ApiCallError(undefined, 'no answer')
      return hostKeysAnswer(await postRest(api, '/v1/hosts/self/keys', {}))
    },
    useKeys: async () => openApi(api)('DiscoverPollEndpoint', {}),
    timers,
    now: () => now,
    random: () => 0.5,
    log,
    onJoinedAnew: () => (hasLeft = true),
  })
  t.teardown(close)
  t.same(
    due.map(({ delayMs }) => Math.round(delayMs / hourMs)),
    [24, 0],
    'fresh keys are kept for a day, and the file is looked at soon',
  )
  const beforeAll = peer.requests.length
  await fire(0, 10_000)
  t.equal(peer.requests.length, beforeAll, 'while all is well a look asks nobody')

  peer.end()
  await t.rejects(openApi(api)('DiscoverPollEndpoint', {}), /UnrecognizedClientException/)
  t.ok(keyring.isRefused() && !keyring.isRevoked())
  // A change ends with the next one being waited for.
  const sleepsAgain = (): boolean => due.some(({ delayMs }) => delayMs > 10_000)
  isCutOff = true
  due.splice(0, due.length, ...due.filter(({ delayMs }) => delayMs <= 10_000))
  await fire(0, 10_000, sleepsAgain)
  t.notOk(keyring.isRevoked(), 'silence is no refusal')
  t.match(said, [/could not be changed: no answer/])
  await fire(0, 10_000)
  t.equal(said.length, 1, 'a look asks nobody again at once')
  isCutOff = false
  now += 60_000
  due.splice(0, due.length, ...due.filter(({ delayMs }) => delayMs <= 10_000))
  await fire(0, 10_000, sleepsAgain)
  t.notOk(keyring.isRefused(), 'keys whose time is over are good for asking for new ones')
  t.equal(peer.keys?.accessKeyId, keyring.current().accessKeyId)
  said.length = 0

  peer.isRevoked = true
  for (let tries = 0; tries < 3; tries += 1) {
    await t.rejects(openApi(api)('DiscoverPollEndpoint', {}), /UnrecognizedClientException/)
  }
  due.splice(0, due.length, ...due.filter(({ delayMs }) => delayMs <= 10_000))
  await fire(0, 10_000, sleepsAgain)
  t.ok(keyring.isRevoked())
  t.equal(said.length, 1)
  t.match(said[0], /revoked there.*Containers go on.*join-token.*--replace/)
  const asked = peer.requests.length
  await fire(0, 10_000)
  t.equal(peer.requests.length, asked, 'a look asks nobody')
  await fire(500_000, 700_000, sleepsAgain)
  t.ok(keyring.isRevoked() && peer.requests.length > asked, 'it asks again after ten minutes')
  t.equal(said.length, 1)
  peer.isRevoked = false
  await openApi(api)('DiscoverPollEndpoint', {})
  t.notOk(keyring.isRevoked())
  t.match(said[1], /takes the keys of this host again/)

  t.notOk(hasLeft)
  await joinBy(directory, words(peer, '--replace'), peer.token())
  await fire(0, 10_000)
  t.ok(hasLeft, 'the process ends, to start with what the host was given now')
  t.throws(() => keyring.replace({ ...joined.keys, hostId: joined.hostId, previousEndsAt: '' }, 0), /joined anew/)
  t.throws(
    () => keyring.replace({ ...joined.keys, hostId: 'another', previousEndsAt: '' }, 0),
    /keys of the host another/,
  )
})
