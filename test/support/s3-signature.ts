/**
 * S3's own judgement of a signed request, for tests: which signature it reckons, and with which error it refuses. Written from
 * AWS's documentation and with nothing of Gantry's, so that what signs is not judged by itself.
 *
 * Source: Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header (AWS Signature Version 4)" with
 * its "Signature Calculations ... in a Single Chunk"; "Error Responses" for codes and messages.
 */
import { createHash, createHmac } from 'node:crypto'

export interface S3Request {
  readonly method: string
  /** Path and query as they stood in the request line. */
  readonly target: string
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: Uint8Array
}

export interface S3Judge {
  readonly region: string
  readonly secretOf: (accessKeyId: string) => string | undefined
  /** Epoch milliseconds, by the clock of the store. */
  readonly now: number
}

export interface S3Refusal {
  readonly status: number
  readonly code: string
  readonly message: string
  /** Further elements of the error. */
  readonly more: Readonly<Record<string, string>>
}

const algorithm = 'AWS4-HMAC-SHA256'
const skewMaxMs = 15 * 60_000

/** Undefined where the signature is right. A request without one is AccessDenied, as for a bucket that is not public. */
export function s3Refusal(request: S3Request, { region, secretOf, now }: S3Judge): S3Refusal | undefined {
  const { headers } = request
  const authorization = headers['authorization']
  if (authorization === undefined) return refusal(403, 'AccessDenied', 'Access Denied')
  const claim = readAuthorization(authorization)
  const date = headers['x-amz-date'] ?? ''
  if (claim === undefined || !date.startsWith(claim.date)) {
    return refusal(400, 'AuthorizationHeaderMalformed', 'The authorization header is malformed.')
  }
  if (claim.service !== 's3' || claim.terminator !== 'aws4_request' || claim.region !== region) {
    const wrong = claim.region === region ? 'the service is wrong' : `the region '${claim.region}' is wrong`
    const message = `The authorization header is malformed; ${wrong}; expecting '${region}'`
    return refusal(400, 'AuthorizationHeaderMalformed', message, { Region: region })
  }
  const secret = secretOf(claim.accessKeyId)
  if (secret === undefined) {
    const message = 'The AWS Access Key Id you provided does not exist in our records.'
    return refusal(403, 'InvalidAccessKeyId', message, { AWSAccessKeyId: claim.accessKeyId })
  }
  if (Math.abs(now - timeOf(date)) > skewMaxMs) {
    const message = 'The difference between the request time and the current time is too large.'
    const more = { RequestTime: date, ServerTime: new Date(now).toISOString() }
    return refusal(403, 'RequestTimeTooSkewed', message, { ...more, MaxAllowedSkewMilliseconds: String(skewMaxMs) })
  }
  const unsigned = ['host', ...Object.keys(headers).filter((name) => name.startsWith('x-amz-'))].filter(
    (name) => !claim.signedHeaders.includes(name),
  )
  if (unsigned.length > 0) {
    const message = 'There were headers present in the request which were not signed'
    return refusal(403, 'AccessDenied', message, { HeadersNotSigned: unsigned.join(', ') })
  }
  return hashRefusal(request) ?? signatureRefusal(request, claim, secret)
}

/** The signature that the claim's key makes of the request. */
function signatureOf({ method, target, headers }: S3Request, claim: Claim, secret: string): string {
  const [path = '', query = ''] = target.split(/\?(.*)/s)
  const canonicalRequest = [
    method,
    // Encoded once, and not normalised: what other services do to a path they do not do to an object's key.
    path.split('/').map(reencoded).join('/'),
    canonicalQuery(query),
    ...claim.signedHeaders.map((name) => `${name}:${(headers[name] ?? '').trim()}`),
    '',
    claim.signedHeaders.join(';'),
    headers['x-amz-content-sha256'] ?? '',
  ].join('\n')
  const scope = [claim.date, claim.region, claim.service, claim.terminator]
  const stringToSign = [algorithm, headers['x-amz-date'], scope.join('/'), sha256(canonicalRequest)].join('\n')
  let key: string | Buffer = `AWS4${secret}`
  for (const part of scope) key = createHmac('sha256', key).update(part).digest()
  return createHmac('sha256', key).update(stringToSign).digest('hex')
}

function signatureRefusal(request: S3Request, claim: Claim, secret: string): S3Refusal | undefined {
  if (signatureOf(request, claim, secret) === claim.signature) return undefined
  const message =
    'The request signature we calculated does not match the signature you provided. Check your key and signing method.'
  return refusal(403, 'SignatureDoesNotMatch', message, { AWSAccessKeyId: claim.accessKeyId })
}

function hashRefusal({ headers, body }: S3Request): S3Refusal | undefined {
  const said = headers['x-amz-content-sha256']
  if (said === undefined) {
    return refusal(400, 'InvalidRequest', 'Missing required header for this request: x-amz-content-sha256')
  }
  if (said === 'UNSIGNED-PAYLOAD' || said === sha256(body)) return undefined
  if (said.startsWith('STREAMING-')) return refusal(501, 'NotImplemented', 'Chunks are not taken here.')
  const message = "The provided 'x-amz-content-sha256' header does not match what was computed."
  return refusal(400, 'XAmzContentSHA256Mismatch', message)
}

interface Claim {
  readonly accessKeyId: string
  readonly date: string
  readonly region: string
  readonly service: string
  readonly terminator: string
  readonly signedHeaders: readonly string[]
  readonly signature: string
}

function readAuthorization(text: string): Claim | undefined {
  const form = /^AWS4-HMAC-SHA256 Credential=([^,]+),\s*SignedHeaders=([^,]+),\s*Signature=([0-9a-f]{64})$/
  const [, credential = '', signedHeaders = '', signature = ''] = form.exec(text) ?? []
  const [accessKeyId, date, region, service, terminator] = credential.split('/')
  if (accessKeyId === undefined || date === undefined || region === undefined) return undefined
  if (service === undefined || terminator === undefined) return undefined
  return { accessKeyId, date, region, service, terminator, signedHeaders: signedHeaders.split(';'), signature }
}

function canonicalQuery(query: string): string {
  if (query === '') return ''
  return query
    .split('&')
    .map((one) => one.split(/=(.*)/s))
    .map(([name = '', value = '']) => [reencoded(name), reencoded(value)] as const)
    .toSorted(([name, value], [other, its]) => (name === other ? order(value, its) : order(name, other)))
    .map(([name, value]) => `${name}=${value}`)
    .join('&')
}

function order(one: string, other: string): number {
  return one < other ? -1 : one > other ? 1 : 0
}

/** AWS's UriEncode of what is encoded somehow: all but letters, digits and `-._~` as `%XX`. */
function reencoded(text: string): string {
  const bytes = Buffer.from(decodeURIComponent(text))
  return Array.from(bytes, (byte) => {
    const character = String.fromCodePoint(byte)
    return /[A-Za-z0-9\-._~]/.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
  }).join('')
}

/** Of `20130524T000000Z`, in epoch milliseconds. */
function timeOf(date: string): number {
  return Date.parse(date.replace(/^(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})Z$/, '$1-$2-$3T$4:$5:$6Z'))
}

function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}

function refusal(
  status: number,
  code: string,
  message: string,
  more: Readonly<Record<string, string>> = {},
): S3Refusal {
  return { status, code, message, more }
}

/** The error as S3 writes it. */
export function s3ErrorBody({ code, message, more }: S3Refusal): string {
  const members = { Code: code, Message: message, ...more, RequestId: 'TESTS', HostId: 'tests' }
  const elements = Object.entries(members).map(([name, value]) => `<${name}>${inXml(value)}</${name}>`)
  return `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${elements.join('')}</Error>`
}

function inXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
