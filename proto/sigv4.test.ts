/** Signatures: AWS's own examples, the SDK's signer as a judge, and every way in which a request can be wrong. */
import { SignatureV4 } from '@smithy/signature-v4'
import * as fc from 'fast-check'
import { createHash, createHmac } from 'node:crypto'
import { test } from 'tap'
import { isApiError } from './errors.ts'
import { constantTimeEqual, stableHash } from './hash.ts'
import { signRequest, verifyRequest } from './sigv4.ts'
import type { RequestToVerify } from './sigv4.ts'

const now = Date.UTC(2026, 10, 21, 12, 0, 0)
const minuteMs = 60_000
const secretAccessKey = 'a-secret'
const credentials = { accessKeyId: 'GANTRYKEY', secretAccessKey }
const withToken = { ...credentials, sessionToken: 'token/+=' }

function secretOf(accessKeyId: string): string | undefined {
  return accessKeyId === credentials.accessKeyId ? secretAccessKey : undefined
}

function refusalOf(request: RequestToVerify, at = now): { code: string; message: string } {
  try {
    verifyRequest(request, secretOf, at)
  } catch (error) {
    if (isApiError(error)) return { code: error.code, message: error.message }
    throw error
  }
  throw new Error('It was verified, and should have been refused.')
}

interface Sent extends RequestToVerify {
  readonly headers: Record<string, string>
}

/** A request as it arrives: signed, with the Host header that the client's HTTP library adds. */
function aSignedRequest(over: { path?: string; body?: string; token?: boolean; signedAt?: number } = {}): Sent {
  const path = over.path ?? '/'
  const body = over.body ?? '{"cluster":"default"}'
  const headers = signRequest({
    method: 'POST',
    url: `http://127.0.0.1:51700${path}`,
    headers: { 'Content-Type': 'application/x-amz-json-1.1', 'X-Amz-Target': 'Service.ListTasks' },
    body,
    credentials: over.token === true ? withToken : credentials,
    region: 'us-east-1',
    service: 'ecs',
    now: over.signedAt ?? now,
  })
  return { method: 'POST', path, headers: { ...headers, host: '127.0.0.1:51700' }, body }
}

/** A presigned request with a signature that is wrong, unless it is refused for something else before. */
function aPresignedRequest(over: Record<string, string | undefined>): Sent {
  const parameters = {
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': 'GANTRYKEY/20261121/us-east-1/ecs/aws4_request',
    'X-Amz-Date': '20261121T120000Z',
    'X-Amz-Expires': '60',
    'X-Amz-SignedHeaders': 'host',
    'X-Amz-Signature': '0'.repeat(64),
    ...over,
  }
  const entries = Object.entries(parameters).filter((entry): entry is [string, string] => entry[1] !== undefined)
  return { method: 'GET', path: `/?${new URLSearchParams(entries).toString()}`, headers: { host: 'h' } }
}

/** The hash that the SDK's signer wants to be given. */
class Sha256 {
  readonly #hash: ReturnType<typeof createHash> | ReturnType<typeof createHmac>
  constructor(secret?: string | ArrayBuffer | ArrayBufferView) {
    const key = ArrayBuffer.isView(secret)
      ? new Uint8Array(secret.buffer, secret.byteOffset, secret.byteLength)
      : secret
    this.#hash = key === undefined ? createHash('sha256') : createHmac('sha256', key)
  }
  update(data: Uint8Array | string): void {
    this.#hash.update(data)
  }
  async digest(): Promise<Uint8Array> {
    return new Uint8Array(this.#hash.digest())
  }
  reset(): void {}
}

function sdkSigner(token: boolean): SignatureV4 {
  const identity = token ? withToken : credentials
  return new SignatureV4({ service: 'ecs', region: 'us-east-1', sha256: Sha256, credentials: identity })
}

await test("AWS's own examples", async (t) => {
  const example = ['wJalrXUtnFEMI/K7MDENG', 'bPxRfiCYEXAMPLEKEY'].join('+')
  const shared = {
    method: 'GET',
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: example },
    region: 'us-east-1',
    now: Date.UTC(2015, 7, 30, 12, 36),
  }
  const vanilla = signRequest({ ...shared, url: 'https://example.amazonaws.com/', headers: {}, service: 'service' })
  t.equal(
    vanilla['authorization'],
    'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, ' +
      'Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31',
  )
  const listUsers = signRequest({
    ...shared,
    url: 'https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08',
    headers: { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' },
    service: 'iam',
  })
  t.match(listUsers['authorization'], /Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7$/)
})

await test('what we sign we verify, whatever its path, query, headers and body', async (t) => {
  const text = fc.string({ unit: 'grapheme', maxLength: 10 })
  const query = fc.array(fc.tuple(text, text), { maxLength: 4 })
  const headerValue = fc.stringMatching(/^[ -~]{0,12}$/)
  const property = fc.property(
    fc.array(text, { maxLength: 4 }),
    query,
    headerValue,
    text,
    (path, pairs, value, body) => {
      const url = new URL('http://controller:51700/')
      url.pathname = path.map(encodeURIComponent).join('/')
      url.search = new URLSearchParams(pairs).toString()
      const headers = signRequest({
        method: 'PUT',
        url: url.href,
        headers: { 'X-Custom': value },
        body,
        credentials: withToken,
        region: 'eu-west-1',
        service: 'ecs',
        now,
      })
      const arrived = { ...headers, host: url.host, 'user-agent': 'added on the way' }
      const received = { method: 'PUT', path: url.pathname + url.search, headers: arrived, body }
      const signer = verifyRequest(received, secretOf, now)
      return signer.sessionToken === 'token/+=' && signer.region === 'eu-west-1' && signer.accessKeyId === 'GANTRYKEY'
    },
  )
  fc.assert(property, { numRuns: 300 })
  t.pass('verified')
})

await test("the SDK's signer is understood: header and presigned, with and without a session token", async (t) => {
  const asked = {
    method: 'POST',
    protocol: 'http:',
    hostname: '127.0.0.1',
    port: 51700,
    path: "/v1/tasks/arn%3Aaws%3Aecs/it's (1)*/",
    query: { b: 'x y+z&=%', a: ['2', '1'], empty: '' },
    headers: { host: '127.0.0.1:51700', 'x-amz-target': 'S.Op', spaced: '  a   b  ' },
    body: '{"a":"ü"}',
  }
  for (const token of [false, true]) {
    const signed = await sdkSigner(token).sign(asked, { signingDate: new Date(now) })
    const path = `${asked.path}?a=2&a=1&b=x%20y%2Bz%26%3D%25&empty=`
    const signer = verifyRequest({ method: 'POST', path, headers: signed.headers, body: asked.body }, secretOf, now)
    t.same(signer, {
      accessKeyId: 'GANTRYKEY',
      region: 'us-east-1',
      service: 'ecs',
      sessionToken: token ? 'token/+=' : undefined,
    })

    const get = { ...asked, method: 'GET', headers: { host: asked.headers.host }, body: undefined }
    const presigned = await sdkSigner(token).presign(get, { signingDate: new Date(now), expiresIn: 300 })
    const query = new URLSearchParams(
      Object.entries(presigned.query ?? {}).flatMap(([name, value]) =>
        [value ?? ''].flat().map((item): [string, string] => [name, item]),
      ),
    )
    const received = { method: 'GET', path: `${asked.path}?${query.toString()}`, headers: { host: '127.0.0.1:51700' } }
    t.equal(verifyRequest(received, secretOf, now + 299_000).sessionToken, token ? 'token/+=' : undefined)
    const late = refusalOf(received, now + 420_000)
    t.equal(late.code, 'InvalidSignatureException')
    t.match(late.message, /^Signature expired: 20261121T120500Z is now earlier than 20261121T120700Z/)
    t.match(late.message, /signed 7 minutes ago for 5 minutes/)
    t.match(refusalOf({ ...received, path: received.path.replace('b=x', 'b=y') }).message, /does not match/)
    t.match(refusalOf({ ...received, body: 'smuggled' }).message, /does not match/)
  }
})

await test('a change of any signed part is refused', async (t) => {
  const request = aSignedRequest({ path: '/v1/a?x=1', token: true })
  t.ok(verifyRequest(request, secretOf, now))
  const { headers } = request
  const authorization = headers['authorization'] ?? ''
  const changed: readonly RequestToVerify[] = [
    { ...request, method: 'GET' },
    { ...request, path: '/v1/b?x=1' },
    { ...request, path: '/v1/a?x=2' },
    { ...request, path: '/v1/a?x=1&y=1' },
    { ...request, path: '/v1/a' },
    { ...request, body: '{"cluster":"other"}' },
    { ...request, body: undefined },
    { ...request, headers: { ...headers, host: 'elsewhere' } },
    { ...request, headers: { ...headers, 'x-amz-target': 'Service.StopTask' } },
    { ...request, headers: { ...headers, 'x-amz-security-token': 'another' } },
    { ...request, headers: { ...headers, 'x-amz-date': '20261121T120001Z' } },
    { ...request, headers: { ...headers, authorization: authorization.replace('/us-east-1/', '/eu-west-1/') } },
    { ...request, headers: { ...headers, authorization: authorization.replace('/ecs/', '/iam/') } },
    { ...request, headers: { ...headers, authorization: `${authorization}0` } },
    { ...request, headers: { ...headers, authorization: authorization.replace(/.{64}$/, '0'.repeat(64)) } },
    { ...request, headers: { ...headers, 'content-type': ['application/x-amz-json-1.1', 'text/plain'] } },
  ]
  for (const [index, one] of changed.entries()) {
    const { code, message } = refusalOf(one)
    t.equal(code, 'InvalidSignatureException', `change ${index}`)
    t.match(message, /^The request signature we calculated does not match the signature you provided\. Check your AWS/)
  }
})

await test('what may differ on the way, and what must not', async (t) => {
  const request = aSignedRequest()
  const { headers } = request
  t.ok(
    verifyRequest({ ...request, headers: { ...headers, 'x-forwarded-for': '10.0.0.1', accept: '*/*' } }, secretOf, now),
  )
  const spaced = { ...headers, 'content-type': '  application/x-amz-json-1.1 ' }
  t.ok(verifyRequest({ ...request, headers: spaced }, secretOf, now))

  // Repeated headers count joined by a comma, in the order of arrival.
  const joined = signRequest({
    method: 'GET',
    url: 'http://h/',
    headers: { 'x-many': 'one,two' },
    credentials,
    region: 'r',
    service: 's',
    now,
  })
  const repeated = { method: 'GET', path: '/', headers: { ...joined, host: 'h', 'x-many': ['one', ' two '] } }
  t.ok(verifyRequest(repeated, secretOf, now))
  const swapped = { ...repeated, headers: { ...repeated.headers, 'x-many': ['two', 'one'] } }
  t.equal(refusalOf(swapped).code, 'InvalidSignatureException')

  // A target or a session token that nobody signed could be anybody's.
  const bare = signRequest({
    method: 'GET',
    url: 'http://h/',
    headers: {},
    credentials,
    region: 'r',
    service: 's',
    now,
  })
  for (const name of ['x-amz-target', 'x-amz-security-token']) {
    const smuggled = { method: 'GET', path: '/', headers: { ...bare, host: 'h', [name]: 'x' } }
    t.match(refusalOf(smuggled).message, new RegExp(`^'${name}' must be a 'SignedHeader'`))
  }
  const hostless = { ...headers, authorization: (headers['authorization'] ?? '').replace('host;', '') }
  t.match(refusalOf({ ...request, headers: hostless }).message, /^'Host' must be a 'SignedHeader'/)
})

await test('the hash that a client names for its body must be the body’s', async (t) => {
  const sign = (hash: string) => {
    const named = { 'x-amz-content-sha256': hash }
    const url = 'http://h/'
    const headers = signRequest({
      method: 'POST',
      url,
      headers: named,
      body: 'b',
      credentials,
      region: 'r',
      service: 's',
      now,
    })
    return { method: 'POST', path: '/', headers: { ...headers, host: 'h' }, body: 'b' }
  }
  t.ok(verifyRequest(sign(createHash('sha256').update('b').digest('hex')), secretOf, now))
  for (const wrong of ['UNSIGNED-PAYLOAD', createHash('sha256').update('other').digest('hex')]) {
    const { code, message } = refusalOf(sign(wrong))
    t.equal(code, 'InvalidSignatureException')
    t.match(message, /is not the SHA-256 of the request's body/)
  }
})

await test('a WebSocket handshake of an agent is a request with an empty body', async (t) => {
  // Go's encoder writes a space as a plus, and its signer signs %20.
  const path = '/acs/ws?clusterArn=demo&dockerVersion=DockerVersion%3A+20.10.24%2Bdfsg1&seqNum=1'
  const signed = { method: 'GET', headers: {}, credentials, region: 'us-east-1', service: 'ecs', now }
  const headers = signRequest({ ...signed, url: `ws://127.0.0.1:51700${path}` })
  t.match(headers['authorization'], /SignedHeaders=host;x-amz-date,/)
  const canonical = signRequest({ ...signed, url: `ws://127.0.0.1:51700${path.replace('+', '%20')}` })
  t.equal(headers['authorization'], canonical['authorization'])
  const handshake = { method: 'GET', path, headers: { ...headers, host: '127.0.0.1:51700', upgrade: 'websocket' } }
  t.equal(verifyRequest(handshake, secretOf, now).accessKeyId, 'GANTRYKEY')
  t.equal(refusalOf({ ...handshake, path: path.replace('demo', 'prod') }).code, 'InvalidSignatureException')
})

await test('a clock that is wrong by more than 15 minutes is named with its amount', async (t) => {
  for (const minutes of [-15, -1, 0, 1, 15]) {
    t.ok(verifyRequest(aSignedRequest({ signedAt: now + minutes * minuteMs }), secretOf, now), `${minutes} minutes`)
  }
  const behind = refusalOf(aSignedRequest({ signedAt: now - 125 * minuteMs }))
  t.equal(behind.code, 'InvalidSignatureException')
  t.equal(
    behind.message,
    'Signature expired: 20261121T095500Z is now earlier than 20261121T114500Z (20261121T120000Z - 15 min.). ' +
      "The caller's clock is 2 hours 5 minutes behind the controller's. Set the clocks, then try again.",
  )
  const ahead = refusalOf(aSignedRequest({ signedAt: now + 15 * minuteMs + 1000 }))
  t.equal(
    ahead.message,
    'Signature not yet current: 20261121T121501Z is still later than 20261121T121500Z (20261121T120000Z + 15 min.). ' +
      "The caller's clock is 15 minutes 1 second ahead of the controller's. Set the clocks, then try again.",
  )
  t.match(refusalOf(aSignedRequest({ signedAt: now - 25 * 60 * minuteMs })).message, /is 1 day 1 hour behind/)
})

await test('who is not known, or signs half, is told so in the words of AWS', async (t) => {
  const request = aSignedRequest()
  const authorization = request.headers['authorization'] ?? ''
  const cases: readonly (readonly [Record<string, string | undefined>, string, RegExp])[] = [
    [{ authorization: undefined }, 'MissingAuthenticationTokenException', /^Missing Authentication Token/],
    [
      { authorization: authorization.replace('GANTRYKEY', 'NOBODY') },
      'UnrecognizedClientException',
      /^The security token included in the request is invalid\.$/,
    ],
    [
      { authorization: `${authorization}, Credential=another/20261121/us-east-1/ecs/aws4_request` },
      'IncompleteSignatureException',
      /^Authorization header parameter 'Credential' stands there twice/,
    ],
    [{ authorization: 'Basic dTpw' }, 'IncompleteSignatureException', /Unsupported AWS 'algorithm': 'Basic'/],
    [
      { authorization: 'AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request' },
      'IncompleteSignatureException',
      /requires 'Signature' parameter\. Authorization header requires 'SignedHeaders' parameter\.$/,
    ],
    [{ 'x-amz-date': undefined }, 'IncompleteSignatureException', /existence of either a 'X-Amz-Date' or a 'Date'/],
    [{ 'x-amz-date': '2026-11-21' }, 'IncompleteSignatureException', /^Date must be in ISO-8601 'basic format'/],
    [
      { authorization: authorization.replace('/us-east-1', '') },
      'IncompleteSignatureException',
      /^Credential must have exactly 5 slash-delimited elements/,
    ],
    [
      { authorization: authorization.replace('aws4_request', 'aws5_request') },
      'IncompleteSignatureException',
      /valid terminator: 'aws4_request'/,
    ],
    [
      { authorization: authorization.replace('/20261121/', '/20261120/') },
      'InvalidSignatureException',
      /^Date in Credential scope does not match YYYYMMDD .* '20261120' != '20261121'/,
    ],
  ]
  for (const [change, code, message] of cases) {
    const refusal = refusalOf({ ...request, headers: { ...request.headers, ...change } })
    t.equal(refusal.code, code)
    t.match(refusal.message, message)
    t.notMatch(refusal.message, /[0-9a-f]{64}/, 'no signature is told back')
  }
})

await test('a presigned URL must be whole, and within its bounds', async (t) => {
  t.match(refusalOf(aPresignedRequest({})).message, /does not match/)
  for (const expires of ['0', '-1', '604801', '1e3', 'soon', '']) {
    const { code, message } = refusalOf(aPresignedRequest({ 'X-Amz-Expires': expires }))
    t.same(
      [code, message],
      ['IncompleteSignatureException', 'X-Amz-Expires must be a number of seconds between 1 and 604800.'],
    )
  }
  t.match(
    refusalOf(aPresignedRequest({ 'X-Amz-Expires': undefined }), now + 16 * minuteMs).message,
    /16 minutes behind/,
  )
  t.match(refusalOf(aPresignedRequest({ 'X-Amz-Expires': '604800' }), now - 16 * minuteMs).message, /16 minutes ahead/)
  t.match(refusalOf(aPresignedRequest({ 'X-Amz-Signature': undefined })).message, /must include 'X-Amz-Signature'/)
  t.match(refusalOf(aPresignedRequest({ 'X-Amz-SignedHeaders': 'x-a' })).message, /'Host' must be a 'SignedHeader'/)
  t.match(
    refusalOf(aPresignedRequest({ 'X-Amz-Algorithm': 'AWS4-ECDSA-P256-SHA256' })).message,
    /Unsupported AWS 'algorithm'/,
  )
  const twice = aPresignedRequest({})
  t.match(refusalOf({ ...twice, path: `${twice.path}&X-Amz-Date=20261121T120000Z` }).message, /stands there twice/)
})

await test('hashes: comparison and independence of order', async (t) => {
  t.ok(constantTimeEqual('abc', 'abc'))
  t.notOk(constantTimeEqual('abc', 'abd'))
  t.notOk(constantTimeEqual('abc', 'abcd'))
  t.equal(stableHash({ a: 1, b: { c: [1, 2], d: undefined } }), stableHash({ b: { c: [1, 2] }, a: 1 }))
  t.not(stableHash({ a: [1, 2] }), stableHash({ a: [2, 1] }))
  t.not(stableHash({ a: '1' }), stableHash({ a: 1 }))
  t.match(stableHash(undefined), /^[0-9a-f]{64}$/)
})
