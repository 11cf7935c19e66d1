/** Certificates over their life: made, renewed by a clock of the test's own, taken from an operator, refused. */
import { X509Certificate } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import tap from 'tap'
import { hostEvent } from './access/host-events.ts'
import { makeCertificate, type Pair } from './certificates.ts'
import { ClientConnections } from './client-connections.ts'
import { readConfig } from './config.ts'
import { HostNotes } from './host-notes.ts'
import { joinEndsOf } from './join-ends.ts'
import { createJoinLimits } from './join-limits.ts'
import type { Log } from './log.ts'
import { createMetrics } from './metrics.ts'
import { openTls, type TlsOptions } from './tls.ts'
import type { Turn, TurnInput } from './turn.ts'

const day = 86_400_000
const start = Date.UTC(2026, 10, 21, 12)

/** A log that keeps its sentences. */
function aLog(): { readonly log: Log; readonly said: string[] } {
  const said: string[] = []
  const hear = (_facts: unknown, message?: string): void => void said.push(message ?? String(_facts))
  return { log: { info: hear, warn: hear, error: hear } as unknown as Log, said }
}

function settings(directory: string, over: Partial<TlsOptions> = {}) {
  const { log, said } = aLog()
  const time = { now: start }
  const addresses: string[] = ['10.0.0.5']
  const options: TlsOptions = {
    directory,
    given: undefined,
    names: ['gantry.lab', '*.wild.lab', '10.9.9.9'],
    clock: { now: () => time.now },
    log,
    addresses: () => ({ lasting: addresses, passing: [] }),
    ...over,
  }
  return { options, time, said, addresses }
}

const leafOf = (cert: readonly string[], at = 0): X509Certificate => new X509Certificate(cert[at] ?? '')

await tap.test('an authority and two leaves are made once, kept as they must be, and found again', async (t) => {
  const directory = join(t.testdir(), 'tls')
  const { options } = settings(directory)
  const tls = await openTls(options)
  tls.close()
  const { cert, authorityPem, fingerprint } = tls.current
  const authority = new X509Certificate(authorityPem)
  t.same([authority.ca, authority.verify(authority.publicKey)], [true, true])
  t.equal(fingerprint, `sha256:${authority.fingerprint256.replaceAll(':', '').toLowerCase()}`)
  t.same(
    cert.map((_, at) => leafOf(cert, at).publicKey.asymmetricKeyType),
    ['rsa', 'ec'],
  )
  for (const [at, chain] of cert.entries()) {
    const leaf = leafOf(cert, at)
    t.ok(leaf.verify(authority.publicKey) && chain.trimEnd().endsWith(authority.toString().trimEnd()), 'and its chain')
    for (const name of ['localhost', 'gantry.lab', 'a.wild.lab']) t.ok(leaf.checkHost(name), name)
    for (const address of ['127.0.0.1', '::1', '10.0.0.5', '10.9.9.9']) t.ok(leaf.checkIP(address), address)
    t.notOk(leaf.checkIP('10.0.0.6'))
    t.ok(leaf.validToDate.getTime() - leaf.validFromDate.getTime() <= 91 * day)
  }
  const modes = ['ca.pem', 'ca.key', 'rsa.pem', 'ecdsa.pem'].map((name) => statSync(join(directory, name)).mode & 0o777)
  t.same(modes, [0o644, 0o600, 0o600, 0o600])
  const again = await openTls(options)
  again.close()
  t.same(again.current, tls.current, 'the next start shows the same')
})

await tap.test('leaves are renewed in time, for a new address, and when they are damaged', async (t) => {
  const directory = join(t.testdir(), 'tls')
  const { options, time, addresses, said } = settings(directory)
  const tls = await openTls(options)
  t.teardown(() => tls.close())
  const shown: number[] = []
  tls.onChange(({ endsAt }) => shown.push(endsAt))
  const serial = () => leafOf(tls.current.cert).serialNumber
  let known = serial()
  const changes = async (what: string, isChange: boolean): Promise<void> => {
    await tls.check()
    t.equal(serial() !== known, isChange, what)
    known = serial()
  }
  time.now = start + 58 * day
  await changes('nothing is due before two thirds', false)
  time.now = start + 60 * day
  await changes('two thirds are over', true)
  t.ok(tls.current.endsAt >= time.now + 89 * day)
  time.now += 10 * 60_000
  addresses.push('fd00::5', '10.0.0.6')
  await changes('the machine has another address', true)
  t.ok(leafOf(tls.current.cert).checkIP('fd00::5'))
  addresses.length = 1
  await changes('an address that is gone does no harm', false)
  writeFileSync(join(directory, 'rsa.pem'), 'damaged')
  await changes('what is damaged is made anew', true)
  t.equal(
    new X509Certificate(tls.current.authorityPem).fingerprint256,
    new X509Certificate(readFileSync(join(directory, 'ca.pem'))).fingerprint256,
  )
  t.equal(shown.length, 3, 'the listener is told each time')

  chmodSync(join(directory, 'ca.key'), 0o640)
  await changes('a failure keeps what is shown', false)
  t.match(said.at(-1), /could not be renewed: .*ca.key has mode 0640.*is shown on/)
  const sentences = said.length
  await tls.check()
  t.equal(said.length, sentences, 'and is told once')
  await t.rejects(openTls(options), { message: /chmod 600 .*ca.key/ }, 'a start is refused')
  chmodSync(join(directory, 'ca.key'), 0o600)

  time.now = start - 3 * day
  await tls.check()
  t.match(said.at(-1), /The clock of this machine says 2026-11-18.*valid from/)
  time.now = start + 4000 * day
  await tls.check()
  t.match(said.at(-1), /ended at .*have to join anew/)
  t.equal(said.length, sentences + 2)
  rmSync(join(directory, 'ca.key'))
  await t.rejects(openTls(options), { message: /ca.key is gone/ })
  const young = settings(join(t.testdir(), 'young'))
  young.time.now = Date.UTC(2000, 0, 1)
  await t.rejects(
    openTls(young.options),
    { message: /says 2000-01-01.*Set it/ },
    'a machine without a clock makes none',
  )
  t.notOk(existsSync(join(young.options.directory, 'ca.pem')))
})

await tap.test('a certificate that holds is shown where a new one can not be written, also at a start', async (t) => {
  const directory = join(t.testdir(), 'tls')
  const { options, time, said } = settings(directory)
  const made = await openTls(options)
  made.close()
  // As on a full disk, or one that is mounted for reading alone.
  for (const kind of ['rsa', 'ecdsa']) mkdirSync(join(directory, `${kind}.pem.new`))
  time.now = start + 70 * day
  const tls = await openTls(options)
  t.teardown(() => tls.close())
  t.same(tls.current, made.current)
  t.match(said.at(-1), /could not be renewed: .*EISDIR.*The one that ends at 2027-02-19T.* is shown on/)
  rmdirSync(join(directory, 'rsa.pem.new'))
  await tls.check()
  t.same(
    tls.current.cert.map((chain, at) => chain === made.current.cert[at]),
    [false, true],
    'each kind for itself',
  )
  time.now = start + 91 * day
  await t.rejects(openTls(options), { code: 'EISDIR' }, 'what has ended is nothing to start with')
})

async function aPair(authority: Pair, from: number, to: number): Promise<Pair> {
  const names = { names: ['own.lab'], addresses: [] }
  return makeCertificate({ make: 'leaf', kind: 'ecdsa', authority, ...names, notBefore: from, notAfter: to })
}

await tap.test("an operator's own certificate is checked, and taken up when its files change", async (t) => {
  const authority = await makeCertificate({
    make: 'authority',
    name: 'own',
    notBefore: start - day,
    notAfter: start + 999 * day,
  })
  const other = await makeCertificate({
    make: 'authority',
    name: 'own',
    notBefore: start - day,
    notAfter: start + 999 * day,
  })
  const good = await aPair(authority, start - day, start + 30 * day)
  const directory = t.testdir({
    'cert.pem': good.certificatePem,
    'key.pem': good.keyPem,
    'ca.pem': authority.certificatePem,
  })
  const at = (name: string): string => join(directory, name)
  chmodSync(at('key.pem'), 0o640)
  const given = { certificate: at('cert.pem'), key: at('key.pem'), authority: at('ca.pem') }
  const { options, time, said } = settings(join(directory, 'unused'), { given })
  const tls = await openTls(options)
  t.teardown(() => tls.close())
  t.match(tls, { authorityPath: at('ca.pem') })
  t.ok(leafOf(tls.current.cert).checkHost('own.lab'))

  time.now = start + 20 * day
  await tls.check()
  t.match(said.at(-1), /cert.pem ends at .*taken up within a minute/)
  const next = await aPair(authority, start, start + 90 * day)
  writeFileSync(at('cert.pem'), next.certificatePem)
  await tls.check()
  t.match(said.at(-1), /key of another certificate.*is shown on/, 'half of the pair is not taken')
  writeFileSync(at('key.pem'), next.keyPem)
  await tls.check()
  t.equal(tls.current.endsAt, new X509Certificate(next.certificatePem).validToDate.getTime())

  const refused = async (what: RegExp): Promise<unknown> =>
    t.rejects(openTls(options), { name: 'TlsError', message: what })
  chmodSync(at('key.pem'), 0o644)
  await refused(/key.pem has mode 0644/)
  chmodSync(at('key.pem'), 0o600)
  time.now = start + 100 * day
  await refused(/cert.pem ended at/)
  time.now = start - 5 * day
  await refused(/cert.pem is valid from/)
  time.now = start
  writeFileSync(at('ca.pem'), other.certificatePem)
  await refused(/was not signed by/)
  writeFileSync(at('ca.pem'), `${authority.certificatePem}\n${other.certificatePem}`)
  await refused(/ca.pem holds 2 certificates/)
  writeFileSync(at('ca.pem'), next.certificatePem)
  await refused(/is not a CA/)
  writeFileSync(at('cert.pem'), 'nothing')
  await refused(/cert.pem holds no certificate/)
  rmSync(at('cert.pem'))
  await refused(/cert.pem, which GANTRY_TLS_CERT_FILE names, does not exist/)
})

await tap.test('settings that would serve in the clear, or half a certificate, are refused', async (t) => {
  const refused: readonly [Readonly<Record<string, string>>, RegExp][] = [
    [{ GANTRY_LISTEN: '0.0.0.0:51700' }, /plain HTTP beyond this machine.*GANTRY_TLS_LISTEN/],
    [{ GANTRY_LISTEN: '[::]:51700' }, /GANTRY_LISTEN=\[::\]:51700/],
    [{ GANTRY_TLS_CERT_FILE: '/a' }, /needs all of/],
    [{ GANTRY_TLS_NAMES: 'a,b c' }, /at most 50 names/],
    [{ GANTRY_INSECURE_LISTEN: 'yes' }, /true or false/],
    [
      { GANTRY_TLS_LISTEN: 'off', GANTRY_TLS_CERT_FILE: '/a', GANTRY_TLS_KEY_FILE: '/b', GANTRY_TLS_CA_FILE: '/c' },
      /is of no use/,
    ],
  ]
  for (const [environment, message] of refused) t.throws(() => readConfig(environment), { message })
  t.match(readConfig({}).config, { tlsListen: { host: '0.0.0.0', port: 51_443 }, insecureListen: false })
  t.match(readConfig({ GANTRY_LISTEN: '0.0.0.0:1', GANTRY_INSECURE_LISTEN: 'true' }).config, { insecureListen: true })
  t.match(readConfig({ GANTRY_TLS_LISTEN: 'off' }).config, { tlsListen: undefined })
})

const of = (ip: string, internal = false) => ({ address: ip, family: ip.includes(':') ? 'IPv6' : 'IPv4', internal })

await tap.test('a host is sent to an address that works from elsewhere', async (t) => {
  const plain = { host: '127.0.0.1', port: 51_700 }
  const address = { host: '0.0.0.0', port: 51_443 }
  const interfaces = {
    lo: [of('127.0.0.1', true)],
    docker0: [of('172.17.0.1')],
    eth0: [of('fe80::1'), of('fd00::5'), of('10.0.0.5')],
  }
  const urlOf = (over: object) =>
    joinEndsOf({ plain, tls: { address, fingerprint: 'sha256:x' }, advertise: undefined, ...over }, interfaces)
      .controllerUrl
  t.equal(urlOf({}), 'https://10.0.0.5:51443')
  t.equal(urlOf({ advertise: 'https://gantry.lab:51443' }), 'https://gantry.lab:51443')
  t.equal(urlOf({ tls: { address: { host: '::1', port: 1 }, fingerprint: '' } }), 'https://[::1]:1')
  t.equal(urlOf({ tls: undefined }), 'http://127.0.0.1:51700')
})

await tap.test('one client keeps nobody but itself out of the TLS listener', async (t) => {
  const clients = new ClientConnections({ connectionsPerAddressMax: 4, handshakesPerAddressMax: 2 })
  const [first, second] = [clients.admit('10.0.0.1'), clients.admit('::ffff:10.0.0.1')]
  t.ok(first && second)
  t.notOk(clients.admit('10.0.0.1'), 'two have shown nothing yet')
  t.ok(clients.admit('10.0.0.2'), 'another one is not asked for that')
  first?.handshakeEnded()
  first?.handshakeEnded()
  const third = clients.admit('10.0.0.1')
  t.ok(third)
  t.notOk(clients.admit('10.0.0.1'), 'a handshake ends once')
  for (const each of [second, third]) each?.handshakeEnded()
  const fourth = clients.admit('10.0.0.1')
  fourth?.handshakeEnded()
  t.notOk(clients.admit('10.0.0.1'), 'four are open')
  for (const each of [first, first, second, third, fourth]) each?.closed()
  t.equal(clients.size, 1, 'of who has none nothing is kept')
  const wide = Array.from({ length: 10 }, (_, at) => clients.admit(`2001:db8:0:1::${at}`))
  t.equal(wide.filter(Boolean).length, 2, 'addresses of one /64 are one client')
  t.ok(clients.admit('2001:db8:0:2::1'))
  for (const near of ['127.0.0.1', '::1', '::ffff:127.0.0.1']) {
    t.equal(Array.from({ length: 10 }, () => clients.admit(near)).filter(Boolean).length, 10, near)
  }
})

await tap.test('tries to join that fail are few, for one address and for all', async (t) => {
  const limits = createJoinLimits()
  const tries = (address: string, count: number, now: number): number =>
    Array.from({ length: count }, () => limits.tryFrom(address, now)).filter(Boolean).length
  t.equal(tries('10.0.0.1', 50, start), 10)
  t.equal(tries('10.0.0.2', 50, start), 10, 'another address has its own')
  t.equal(tries('10.0.0.1', 50, start + 6000), 1, 'one is forgiven every six seconds')
  for (let host = 0; host < 50; host += 1) tries(`10.1.0.${host}`, 10, start)
  t.equal(tries('10.2.0.1', 10, start), 0, 'all together are bounded too')
  const later = start + 600_000
  const wide = Array.from({ length: 50 }, (_, at) => tries(`2001:db8:0:1::${at.toString(16)}`, 1, later))
  t.equal(wide.filter((taken) => taken === 1).length, 10, 'addresses of one /64 are one client')
  t.equal(tries('2001:db8:0:2::1', 50, later), 10, 'the next one has its own')
})

await tap.test('events of hosts that repeat are written once a minute, with their count', async (t) => {
  const submitted: TurnInput<unknown>[] = []
  const turn = { submit: async (input: TurnInput<unknown>) => void submitted.push(input) } as unknown as Turn
  const { log, said } = aLog()
  const metrics = createMetrics()
  const notes = new HostNotes({ turn, log, metrics })
  for (let at = 0; at < 500; at += 1) notes.note(hostEvent('JOIN_REFUSED', 'no', { sourceAddress: '10.0.0.1' }), start)
  t.equal(submitted.length, 1)
  notes.note(hostEvent('JOIN_REFUSED', 'no', { sourceAddress: '10.0.0.1' }), start + 60_000)
  t.equal(submitted.length, 2)
  t.match(metrics.write(), /gantry_host_events_total\{name="JOIN_REFUSED"\} 501/)
  for (const kind of ['expired', 'used', 'used'])
    notes.note(hostEvent('JOIN_REFUSED', 'no', { sourceAddress: '10.0.0.1' }), start + 60_000, kind)
  t.equal(submitted.length, 4, 'another kind of refusal is no repetition')
  for (let at = 0; at < 500; at += 1)
    notes.note(hostEvent('JOIN_REFUSED', 'no', { sourceAddress: `a${at}` }), start + 120_000)
  t.ok(submitted.length <= 64, 'many addresses fill nothing either')
  const before = submitted.length
  for (let at = 0; at < 500; at += 1)
    notes.note(hostEvent('JOIN_REFUSED', 'no', { sourceAddress: `2001:db8::${at}` }), start + 240_000)
  t.equal(submitted.length, before + 1, 'those of one IPv6 network are one')
  t.ok(said.length > 400, 'but the log has them')
})
