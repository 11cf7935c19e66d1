/** Which names and addresses are in the controller's own certificate, and for which of them it is made anew, and when. */
import { X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import tap from 'tap'
import { makeCertificate } from './certificates.ts'
import type { Log } from './log.ts'
import { renewalReason } from './tls-certificate.ts'
import { machineAddresses, wantedNames } from './tls-names.ts'
import { openTls } from './tls.ts'

const minute = 60_000
const day = 24 * 60 * minute
const start = Date.UTC(2026, 10, 21, 12)
const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined } as unknown as Log

await tap.test('what comes and goes within the machine is told from what others reach', (t) => {
  const found = machineAddresses({
    lo: [{ address: '127.0.0.1' }],
    eth0: [{ address: '10.0.0.5' }, { address: 'fe80::1' }],
    docker0: [{ address: '172.17.0.1' }],
    'br-0123456789ab': [{ address: '172.18.0.1' }, { address: '10.0.0.5' }],
    'br-lan': [{ address: '192.168.1.1' }],
    vethab12: [{ address: '169.254.3.4' }],
    'gbr-0b12': [{ address: '10.9.0.1' }],
    virbr0: [{ address: '192.168.122.1' }],
    tun0: [{ address: '10.8.0.2' }],
  })
  t.same(found, {
    lasting: ['127.0.0.1', '10.0.0.5', '172.17.0.1', '192.168.1.1', '192.168.122.1', '10.8.0.2'],
    passing: ['172.18.0.1', '169.254.3.4', '10.9.0.1'],
  })
  t.end()
})

await tap.test('a certificate is made anew for an address at once, after a while, or after a day', async (t) => {
  const times = { notBefore: start - day, notAfter: start + 90 * day }
  const authority = await makeCertificate({ make: 'authority', name: 'own', ...times })
  const names = { names: ['localhost'], addresses: ['127.0.0.1', '::1', '10.0.0.5'] }
  const pair = await makeCertificate({ make: 'leaf', kind: 'ecdsa', authority, ...names, ...times })
  const [leaf, signer] = [new X509Certificate(pair.certificatePem), new X509Certificate(authority.certificatePem)]
  const reason = (after: number, sinceRenewal: number, lasting: string[], passing: string[], given: string[] = []) => {
    const wanted = wantedNames(['localhost', ...given], { lasting: ['10.0.0.5', ...lasting], passing }, sinceRenewal)
    return renewalReason(leaf, signer, wanted, start + after)
  }
  const never = Number.POSITIVE_INFINITY
  t.equal(reason(0, never, [], []), undefined)
  t.equal(reason(minute, never, ['10.0.0.6'], []), 'it lacks 10.0.0.6', 'what others call by is not waited for')
  t.equal(reason(minute, minute, ['10.0.0.6'], []), undefined, 'unless it was made anew a minute ago')
  t.equal(reason(11 * minute, 10 * minute, ['10.0.0.6'], []), 'it lacks 10.0.0.6')
  const bridges = Array.from({ length: 300 }, (_, n) => `172.21.${n >> 8}.${n % 256}`)
  t.equal(reason(23 * 60 * minute, never, [], bridges), undefined, 'networks of containers renew nothing')
  t.match(reason(day, never, [], bridges), /^it lacks 172/, 'but once a day')
  t.equal(
    reason(0, 0, [], ['172.21.0.1'], ['172.21.0.1']),
    'it lacks 172.21.0.1',
    'what the operator names is always in',
  )
  t.equal(reason(0, 0, ['10.3.3.3'], [], ['new.lab', '10.3.3.3']), 'it lacks new.lab, 10.3.3.3')
  const { addresses } = wantedNames([], { lasting: ['10.0.0.5'], passing: bridges }, never)
  t.same([addresses.length, addresses.includes('10.0.0.5')], [200, true], 'they take no place from what others call')
})

await tap.test('the controller renews once where addresses come one after the other', async (t) => {
  const time = { now: start }
  const lasting = ['10.0.0.5']
  const passing: string[] = []
  const tls = await openTls({
    directory: join(t.testdir(), 'tls'),
    given: undefined,
    names: [],
    clock: { now: () => time.now },
    log: quiet,
    addresses: () => ({ lasting, passing }),
  })
  t.teardown(() => tls.close())
  let renewals = 0
  tls.onChange(() => (renewals += 1))
  const after = async (ms: number): Promise<number> => {
    time.now += ms
    await tls.check()
    return renewals
  }
  const has = (address: string): boolean =>
    new X509Certificate(tls.current.cert[0] ?? '').checkIP(address) !== undefined
  lasting.push('172.17.0.1')
  t.equal(await after(minute), 1, 'what comes late at a boot is there within a minute')
  lasting.push('10.0.1.1')
  t.equal(await after(minute), 1, 'the next one waits')
  lasting.push('10.0.1.2')
  passing.push('172.18.0.1')
  t.equal(await after(8 * minute), 1)
  t.equal(await after(minute), 2, 'and they come together')
  for (const address of ['172.17.0.1', '10.0.1.1', '10.0.1.2', '172.18.0.1']) t.ok(has(address), address)
  for (let n = 0; n < 20; n += 1) {
    passing[n % 5] = `172.19.${n}.1`
    await after(minute)
  }
  t.equal(renewals, 2, 'networks of containers are no reason')
})
