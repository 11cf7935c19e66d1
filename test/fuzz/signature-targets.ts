/** Signatures: what was signed is verified, what was altered never is, and what is no signature is refused as one. */
import * as fc from 'fast-check'
import { createHash, createHmac } from 'node:crypto'
import { signRequest, verifyRequest, type RequestToVerify, type Signer } from '../../proto/sigv4.ts'
import { fuzzTarget } from './fuzz-target.ts'
import { hostileText, mutated } from './hostile.ts'
import { requireCleanPrototypes, takeOrRefuse } from './refusals.ts'

const now = Date.UTC(2026, 10, 21, 12)
const minuteMs = 60_000

interface Plan {
  readonly method: string
  readonly segments: readonly string[]
  readonly query: readonly (readonly [string, string])[]
  readonly target: string
  readonly body: string
  readonly token: string | undefined
  readonly region: string
  readonly service: string
  readonly secret: string
}

const accessKeyId = 'GANTRYKEY0FUZZ000000'

function plans(): fc.Arbitrary<Plan> {
  const text = hostileText().map((each) => each.slice(0, 200).toWellFormed())
  // What an HTTP client lets a header be.
  const headerValue = fc.string({ maxLength: 20 }).map((value) => `v${value}`.trim())
  const word = fc.stringMatching(/^[a-z][a-z0-9-]{0,12}$/)
  return fc.record({
    method: fc.constantFrom('GET', 'POST', 'PUT', 'DELETE'),
    segments: fc.array(text, { maxLength: 3 }),
    query: fc.array(fc.tuple(text, text), { maxLength: 4 }),
    target: headerValue,
    body: text,
    // Blanks in a header's value are one blank in what is signed; no token has any.
    token: fc.option(fc.stringMatching(/^[!-~]{1,20}$/), { nil: undefined }),
    region: word,
    service: word,
    secret: fc.string({ minLength: 1, maxLength: 40 }),
  })
}

const secretOf = (plan: Plan) => (id: string) => (id === accessKeyId ? plan.secret : undefined)

/** As RFC 3986 has it, and AWS with it. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`)
}

function pathOf({ segments, query }: Plan): string {
  const path = `/${segments
    .filter((segment) => !/^\.*$/.test(segment))
    .map(encode)
    .join('/')}`
  const search = query.map(([name, value]) => `${encode(name)}=${encode(value)}`).join('&')
  return search === '' ? path : `${path}?${search}`
}

function signed(plan: Plan): RequestToVerify {
  const path = pathOf(plan)
  const headers = signRequest({
    method: plan.method,
    url: `http://127.0.0.1:51700${path}`,
    headers: { 'x-amz-target': plan.target },
    body: plan.body,
    credentials: { accessKeyId, secretAccessKey: plan.secret, sessionToken: plan.token },
    region: plan.region,
    service: plan.service,
    now,
  })
  return { method: plan.method, path, headers: { ...headers, host: '127.0.0.1:51700' }, body: plan.body }
}

/** By AWS's own description and nothing of Gantry's code. */
function presigned(plan: Plan): RequestToVerify {
  const [path = '/', search = ''] = pathOf(plan).split('?')
  const date = '20261121T120000Z'
  const scope = `20261121/${plan.region}/${plan.service}/aws4_request`
  const own = [
    ['X-Amz-Algorithm', 'AWS4-HMAC-SHA256'],
    ['X-Amz-Credential', `${accessKeyId}/${scope}`],
    ['X-Amz-Date', date],
    ['X-Amz-Expires', '900'],
    ['X-Amz-SignedHeaders', 'host'],
    ...(plan.token === undefined ? [] : [['X-Amz-Security-Token', plan.token]]),
  ].map(([name = '', value = '']) => `${encode(name)}=${encode(value)}`)
  const given = search === '' ? [] : search.split('&')
  const sorted = [...given, ...own].map((pair) => pair.split('=')).toSorted(byNameThenValue)
  const query = sorted.map((pair) => pair.join('=')).join('&')
  const canonicalPath = path.split('/').map(encode).join('/')
  const canonical = [plan.method, canonicalPath, query, 'host:127.0.0.1:51700\n', 'host', sha256(plan.body)].join('\n')
  const toSign = ['AWS4-HMAC-SHA256', date, scope, sha256(canonical)].join('\n')
  const scopeParts = ['20261121', plan.region, plan.service, 'aws4_request']
  const key = scopeParts.reduce<Buffer>((from, part) => hmac(from, part), Buffer.from(`AWS4${plan.secret}`))
  const signature = hmac(key, toSign).toString('hex')
  const pairs = [...given, ...own, `X-Amz-Signature=${signature}`].join('&')
  return { method: plan.method, path: `${path}?${pairs}`, headers: { host: '127.0.0.1:51700' }, body: plan.body }
}

function byNameThenValue(one: readonly string[], other: readonly string[]): number {
  const [oneName = '', oneValue = ''] = one
  const [otherName = '', otherValue = ''] = other
  if (oneName !== otherName) return oneName < otherName ? -1 : 1
  if (oneValue === otherValue) return 0
  return oneValue < otherValue ? -1 : 1
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

function hmac(key: Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}

type Alteration = (request: RequestToVerify) => RequestToVerify

/** Each makes another request of it. */
const alterations: readonly Alteration[] = [
  (request) => ({ ...request, method: request.method === 'POST' ? 'PUT' : 'POST' }),
  (request) => ({ ...request, path: request.path.replace(/(?=\?|$)/, '/x') }),
  (request) => ({ ...request, path: `${request.path}${request.path.includes('?') ? '&' : '?'}zz=1` }),
  (request) => ({ ...request, body: `${String(request.body)} ` }),
  (request) => ({ ...request, headers: { ...request.headers, host: '127.0.0.1:51701' } }),
  (request) => ({ ...request, headers: { ...request.headers, 'x-amz-target': 'Another.Operation' } }),
  (request) => ({ ...request, headers: { ...request.headers, 'x-amz-security-token': 'another' } }),
  (request) => changedSignature(request),
  (request) => ({ ...request, ...replaced(request, accessKeyId, 'GANTRYKEY0OTHER00000') }),
]

function changedSignature(request: RequestToVerify): RequestToVerify {
  const [, last = ''] =
    /Signature=[0-9a-f]{63}([0-9a-f])/.exec(`${String(request.headers['authorization'])} ${request.path}`) ?? []
  const change = (text: string) => text.replace(/(Signature=[0-9a-f]{63})[0-9a-f]/, `$1${last === '0' ? '1' : '0'}`)
  return { ...request, ...withBoth(request, change) }
}

function replaced(request: RequestToVerify, from: string, to: string): Pick<RequestToVerify, 'path' | 'headers'> {
  return withBoth(request, (text) => text.replace(from, to))
}

function withBoth(
  { path, headers }: RequestToVerify,
  change: (text: string) => string,
): Pick<RequestToVerify, 'path' | 'headers'> {
  const authorization = headers['authorization']
  if (typeof authorization !== 'string') return { path: change(path), headers }
  return { path, headers: { ...headers, authorization: change(authorization) } }
}

function requireSigner(signer: Signer, plan: Plan): void {
  const { region, service, token } = plan
  const isRight = signer.accessKeyId === accessKeyId && signer.region === region && signer.service === service
  if (!isRight || signer.sessionToken !== token) throw new Error(`It is verified as ${JSON.stringify(signer)}.`)
}

function judge(plan: Plan, request: RequestToVerify, alteration: Alteration): boolean {
  requireSigner(verifyRequest(request, secretOf(plan), now + 14 * minuteMs), plan)
  const altered = alteration(request)
  if (takeOrRefuse(() => verifyRequest(altered, secretOf(plan), now)) !== undefined) {
    throw new Error(`It is verified although it was altered: ${fc.stringify(altered)}`)
  }
  for (const at of [now - 16 * minuteMs, now + 31 * minuteMs]) {
    if (takeOrRefuse(() => verifyRequest(request, secretOf(plan), at)) !== undefined) {
      throw new Error('It is verified long before or after its time.')
    }
  }
  return true
}

export const signatureHeaders = fuzzTarget<readonly [Plan, Alteration]>({
  name: 'sigv4-header',
  share: 8,
  values: () => fc.tuple(plans(), fc.constantFrom(...alterations)),
  judge: ([plan, alteration]) => judge(plan, signed(plan), alteration),
})

export const presignedUrls = fuzzTarget<readonly [Plan, Alteration]>({
  name: 'sigv4-presigned',
  share: 6,
  values: () => fc.tuple(plans(), fc.constantFrom(...alterations)),
  judge: ([plan, alteration]) => judge(plan, presigned(plan), alteration),
})

interface Broken {
  readonly plan: Plan
  readonly request: RequestToVerify
}

/** Signed requests with their texts mutated: one that is verified all the same says nothing else. */
export const brokenSignatures = fuzzTarget<Broken>({
  name: 'sigv4-broken',
  share: 6,
  values: () =>
    fc.tuple(plans(), fc.boolean()).chain(([plan, isPresigned]) => {
      const request = isPresigned ? presigned(plan) : signed(plan)
      const headers = Object.entries(request.headers).map(([name, value]) =>
        fc.tuple(
          fc.constant(name),
          mutated(fc.constant(String(value)), ['Credential=', 'Signature=', 'SignedHeaders=']),
        ),
      )
      const path = mutated(fc.constant(request.path), ['X-Amz-Signature=', '&X-Amz-Date=', '%2F'])
      return fc
        .tuple(path, fc.tuple(...headers))
        .map(([asked, all]) => ({ plan, request: { ...request, path: asked, headers: Object.fromEntries(all) } }))
    }),
  judge({ plan, request }) {
    const verified = takeOrRefuse(() => verifyRequest(request, secretOf(plan), now))
    requireCleanPrototypes()
    if (verified !== undefined) requireSigner(verified.value, plan)
    return verified !== undefined
  },
})
