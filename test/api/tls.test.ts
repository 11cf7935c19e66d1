/** The TLS listener, with the clients that operators and agents have, and with those that nobody wants. */
import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:https'
import { connect, type Socket } from 'node:net'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { ECSClient, ListClustersCommand } from '@aws-sdk/client-ecs'
import t from 'tap'
import { makeCertificate } from '../../controller/certificates.ts'
import { awsCommand } from '../support/aws-command.ts'
import { eventually, runController, startController } from '../support/controller.ts'
import { closeOf } from '../support/raw-connection.ts'
import { ask, askEcs, shakeHands, tlsOf, withTls } from '../support/tls-client.ts'

t.setTimeout(400_000)
const controller = await startController({ env: withTls })
t.teardown(() => controller.stop())
const end = tlsOf(controller)

await t.test('the aws CLI needs AWS_CA_BUNDLE alone, and is told of nothing in the clear', async (test) => {
  const aws = awsCommand({ ...controller, endpoint: end.endpoint }, { AWS_CA_BUNDLE: end.authorityFile })
  test.match(await aws('ecs', 'list-clusters'), { clusterArns: [/cluster\/default$/] })
  test.match(await aws('ecs', 'discover-poll-endpoint'), {
    endpoint: `${end.endpoint}/acs`,
    telemetryEndpoint: `${end.endpoint}/tcs`,
  })
  const untrusting = awsCommand({ ...controller, endpoint: end.endpoint })
  await test.rejects(untrusting('ecs', 'list-clusters'), { message: /CERTIFICATE_VERIFY_FAILED/ })
})

await t.test('the SDK and its requests, by each name of this machine', async (test) => {
  for (const host of ['127.0.0.1', 'localhost', ...(/^[a-z0-9.-]+$/.test(hostname()) ? [hostname()] : [])]) {
    const client = new ECSClient({
      endpoint: `https://${host}:${end.port}`,
      region: 'us-east-1',
      credentials: controller.credentials,
      requestHandler: {
        // Whatever the name resolves to, the controller of this test listens on one address.
        httpsAgent: new Agent({
          ca: end.ca,
          lookup: (_name, options, done) =>
            done(null, options.all === true ? [{ address: '127.0.0.1', family: 4 }] : '127.0.0.1', 4),
        }),
      },
    })
    test.match(await client.send(new ListClustersCommand({})), { clusterArns: [/default$/] }, host)
    client.destroy()
  }
  test.match(await ask(end, 'GET', '/healthz'), { status: 200 })
  test.match(await ask(end, 'GET', '/v1/clusters'), {
    status: 403,
    json: { code: 'MissingAuthenticationTokenException' },
  })
})

await t.test(
  'RSA for clients that know nothing else, ECDSA for those that prefer it, from TLS 1.2 on',
  async (test) => {
    // What the official agent offers: RSA certificates alone. Source: its utils/cipher package.
    const ofOfficialAgent =
      'ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA:AES128-GCM-SHA256:AES256-GCM-SHA384'
    const kinds: readonly [string, object, string][] = [
      ['official agent', { ciphers: ofOfficialAgent, maxVersion: 'TLSv1.2' }, 'rsa'],
      ['RSA key exchange', { ciphers: 'AES128-GCM-SHA256', maxVersion: 'TLSv1.2' }, 'rsa'],
      ['ECDSA under 1.2', { ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256', maxVersion: 'TLSv1.2' }, 'ec'],
      ['ECDSA under 1.3', { sigalgs: 'ecdsa_secp256r1_sha256' }, 'ec'],
      // The authority's own signature is ECDSA, so that one is offered too.
      ['RSA under 1.3', { sigalgs: 'rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256' }, ''],
    ]
    for (const [name, options, kind] of kinds) {
      const socket = await shakeHands(end.port, { ca: end.ca, ...options })
      const { publicKey } = new X509Certificate(socket.getPeerCertificate().raw)
      if (kind !== '') test.equal(publicKey.asymmetricKeyType, kind, name)
      test.ok(socket.authorized, name)
      socket.destroy()
    }
    const socket = await shakeHands(end.port, { rejectUnauthorized: false })
    const { issuerCertificate } = socket.getPeerCertificate(true)
    const shown = `sha256:${issuerCertificate.fingerprint256.replaceAll(':', '').toLowerCase()}`
    test.equal(shown, end.fingerprint, 'the chain shows the authority, which a joining host knows by its fingerprint')
    socket.destroy()
    await test.rejects(
      shakeHands(end.port, { ca: end.ca, minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
      {
        message: /alert|version|protocol/i,
      },
    )
    await test.rejects(shakeHands(end.port, {}), { message: /self-signed|unable to/i })
  },
)

await t.test('garbage, silence and half a handshake end, and harm nobody', async (test) => {
  const speak = (bytes: Buffer): Promise<Socket> =>
    new Promise((resolve) => {
      const socket = connect(end.port, '127.0.0.1', () => {
        socket.write(bytes)
        resolve(socket)
      })
      socket.on('error', () => undefined)
    })
  const random = Buffer.from(Array.from({ length: 4096 }, (_, at) => (at * 7919) % 256))
  // A record that says it is a ClientHello, and never ends.
  const half = Buffer.concat([Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]), random.subarray(0, 40)])
  const sockets = await Promise.all([
    ...Array.from({ length: 20 }, () => speak(random)),
    ...Array.from({ length: 20 }, () => speak(Buffer.from('GET / HTTP/1.1\r\nHost: x\r\n\r\n'))),
    ...Array.from({ length: 20 }, () => speak(half)),
    ...Array.from({ length: 20 }, () => speak(Buffer.alloc(0))),
  ])
  const closed = Promise.all(sockets.map((socket) => closeOf(socket)))
  test.match(await askEcs(end, controller.credentials, 'ListClusters', {}), { status: 200 }, 'while they hang')
  await closed
  const inside = await shakeHands(end.port, { ca: end.ca })
  const answer = new Promise<string>((resolve) => inside.once('data', (data: Buffer) => resolve(data.toString('utf8'))))
  inside.write('no HTTP at all\r\n\r\n')
  test.match(await answer, /^HTTP\/1.1 400 /)
  const metrics = await ask(end, 'GET', '/metrics')
  test.match(metrics.text, /gantry_tls_failures_total\{reason="timeout"\} [1-9]/)
  test.match(metrics.text, /gantry_tls_failures_total\{reason="garbage"\} [1-9]/)
  test.notMatch(controller.output(), /"level":"(error|fatal)"/)
})

const serial = (socket: Awaited<ReturnType<typeof shakeHands>>) => socket.getPeerCertificate().serialNumber

await t.test('the certificate is renewed under open connections, without a restart', async (test) => {
  const open = await shakeHands(end.port, { ca: end.ca })
  test.teardown(() => open.destroy())
  const healthOn = (socket: typeof open): Promise<string> =>
    new Promise((resolve) => {
      socket.once('data', (data: Buffer) => resolve(data.toString('utf8')))
      socket.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n')
    })
  test.match(await healthOn(open), /^HTTP\/1.1 200 /)
  const before = serial(open)
  const dataDir = controller.dataDir
  for (const name of ['rsa.pem', 'ecdsa.pem']) rmSync(join(dataDir, 'tls', name))
  const renewed = await eventually(
    'another certificate',
    async () => {
      // An idle connection would be closed by and by.
      await healthOn(open)
      const socket = await shakeHands(end.port, { ca: end.ca })
      const found = serial(socket)
      socket.destroy()
      return found === before ? undefined : found
    },
    150_000,
  )
  test.not(renewed, before)
  test.match(await healthOn(open), /^HTTP\/1.1 200 /, 'what was open goes on')
})

await t.test("an operator's own certificate, and what is refused at the start", async (test) => {
  const directory = mkdtempSync(join(tmpdir(), 'gantry-own-'))
  test.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const at = (name: string): string => join(directory, name)
  const times = { notBefore: Date.now() - 1000, notAfter: Date.now() + 3_600_000 }
  const authority = await makeCertificate({ make: 'authority', name: 'own', ...times })
  const names = { names: ['localhost'], addresses: ['127.0.0.1'] }
  const leaf = await makeCertificate({ make: 'leaf', kind: 'rsa', authority, ...names, ...times })
  for (const [name, text] of Object.entries({
    ca: authority.certificatePem,
    cert: leaf.certificatePem,
    key: leaf.keyPem,
  })) {
    writeFileSync(at(name), text, { mode: 0o600 })
  }
  const env = {
    ...withTls,
    GANTRY_TLS_CERT_FILE: at('cert'),
    GANTRY_TLS_KEY_FILE: at('key'),
    GANTRY_TLS_CA_FILE: at('ca'),
  }
  const own = await startController({ env })
  const ownEnd = { ...tlsAddress(own.output()), ca: readFileSync(at('ca'), 'utf8') }
  test.match(await askEcs(ownEnd, own.credentials, 'ListClusters', {}), { status: 200 })
  const { dataDir } = own
  await own.terminate()
  chmodSync(at('key'), 0o644)
  const refused = await runController(dataDir, { env })
  test.match(refused, { code: 1, output: /key has mode 0644.*chmod 600/ })
  chmodSync(at('key'), 0o600)
  writeFileSync(at('key'), authority.keyPem)
  test.match(await runController(dataDir, { env }), { code: 1, output: /private key of another certificate/ })
  test.match(await runController(dataDir, { env: { GANTRY_LISTEN: '0.0.0.0:0' } }), {
    code: 1,
    output: /would serve plain HTTP beyond this machine/,
  })
  rmSync(dataDir, { recursive: true, force: true })
})

await t.test('openssl finds nothing wrong with the chain', async (test) => {
  const leaf = join(controller.dataDir, 'tls', 'rsa.pem')
  const said = execFileSync('openssl', [
    'verify',
    '-x509_strict',
    '-purpose',
    'sslserver',
    '-CAfile',
    end.authorityFile,
    leaf,
  ])
  test.match(said.toString(), /: OK/)
})

function tlsAddress(output: string): { readonly endpoint: string } {
  const endpoint = /"tls":\{"address":"([^"]+)"/.exec(output)?.[1]
  if (endpoint === undefined) throw new Error(`the controller serves no TLS:\n${output}`)
  return { endpoint }
}
