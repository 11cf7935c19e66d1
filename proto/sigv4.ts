/**
 * AWS Signature Version 4, both sides: an agent signs its calls and handshakes, the controller verifies every request.
 * Verification takes the Authorization header and presigned URLs. No body may stay unsigned, because the wire may be
 * plain HTTP.
 *
 * Source: AWS documentation, "Create a signed AWS API request"; messages are the AWS signature layer's own, with what
 * a caller can do about it added behind them.
 */
import { ApiError } from './errors.ts'
import { constantTimeEqual, hmacSha256, sha256Hex } from './hash.ts'
import { canonicalHeader, canonicalPath, canonicalQuery, parseQuery } from './sigv4-canonical.ts'
import type { Headers, Parameter } from './sigv4-canonical.ts'
import { checkFreshness, formatAmzDate, parseRequestDate } from './sigv4-date.ts'

const algorithm = 'AWS4-HMAC-SHA256'
const terminator = 'aws4_request'

/** The longest that a presigned URL may live: seven days, in seconds. */
const expiresMaxSeconds = 604_800

/** Headers that change what a request means: whoever sends one must have signed it. */
const headersBound = ['x-amz-target', 'x-amz-security-token']

export interface Credentials {
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly sessionToken?: string | undefined
}

export interface RequestToSign {
  readonly method: string
  /** Absolute: `http`, `https`, `ws` or `wss`. */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | undefined
  readonly credentials: Credentials
  readonly region: string
  readonly service: string
  /** Epoch milliseconds. */
  readonly now: number
}

export interface RequestToVerify {
  readonly method: string
  /** Path and query exactly as they stood in the request line. */
  readonly path: string
  /** Lower-case names, as received (`headersDistinct` of node:http keeps repeated headers apart; `headers` will do). */
  readonly headers: Headers
  readonly body?: string | Uint8Array | undefined
}

/** What a signing key is derived for: it signs nothing else. */
export interface SigningScope {
  /** `20261121`. */
  readonly scopeDate: string
  readonly region: string
  readonly service: string
}

/** Who signed a request, and for what. The session token is carried, not judged: that is the caller's to do. */
export interface Signer {
  readonly accessKeyId: string
  readonly region: string
  readonly service: string
  readonly sessionToken: string | undefined
}

/** The header or the query parameters of a signature, taken apart. */
interface Claim {
  readonly accessKeyId: string
  readonly scopeDate: string
  readonly region: string
  readonly service: string
  readonly signedHeaders: readonly string[]
  readonly signature: string
  readonly date: string
  readonly sessionToken: string | undefined
  /** Of a presigned URL. */
  readonly expiresSeconds: number | undefined
  readonly query: readonly Parameter[]
}

/** The headers to send: those given, in lower case, with `x-amz-date`, `authorization` and a session token's. */
export function signRequest(request: RequestToSign): Record<string, string> {
  const { credentials, region, service } = request
  const url = new URL(request.url)
  const date = formatAmzDate(request.now)
  const headers: Record<string, string> = {}
  for (const [name, value] of Object.entries(request.headers)) headers[name.toLowerCase()] = value
  headers['x-amz-date'] = date
  if (credentials.sessionToken !== undefined) headers['x-amz-security-token'] = credentials.sessionToken

  const signable: Record<string, string> = { host: url.host, ...headers }
  for (const name of headersNotSigned) delete signable[name]
  const signedHeaders = Object.keys(signable).toSorted()
  const claim = { date, scopeDate: date.slice(0, 8), region, service, signedHeaders, query: parseQuery(url.search) }
  const canonical = canonicalRequest(request.method, url.pathname, signable, claim, sha256Hex(request.body ?? ''))
  const signature = signatureOf(canonical, claim, deriveSigningKey(credentials.secretAccessKey, claim))
  const credential = [credentials.accessKeyId, scopeOf(claim)].join('/')
  headers['authorization'] =
    `${algorithm} Credential=${credential}, SignedHeaders=${signedHeaders.join(';')}, Signature=${signature}`
  return headers
}

/** What a proxy or the HTTP client itself may set or change on the way. */
const headersNotSigned = ['authorization', 'connection', 'content-length', 'expect', 'transfer-encoding', 'user-agent']

/**
 * Verifies a request's signature and its age, and answers whose it is. A WebSocket's handshake is a request with an
 * empty body. `secretOf` answers undefined for a key that doesn't exist; `now` is in epoch milliseconds.
 *
 * Throws MissingAuthenticationTokenException, IncompleteSignatureException, UnrecognizedClientException or
 * InvalidSignatureException.
 */
export function verifyRequest(
  request: RequestToVerify,
  secretOf: (accessKeyId: string) => string | undefined,
  now: number,
): Signer {
  const keyOf = (signer: Signer & SigningScope): Uint8Array | undefined => {
    const secret = secretOf(signer.accessKeyId)
    return secret === undefined ? undefined : deriveSigningKey(secret, signer)
  }
  return verifySigner(request, keyOf, now)
}

/**
 * As `verifyRequest`, for callers that look at the session token too and keep signing keys: deriving one costs more than
 * all the rest. `keyOf` answers undefined for a key that may not sign.
 */
export function verifySigner(
  request: RequestToVerify,
  keyOf: (signer: Signer & SigningScope) => Uint8Array | undefined,
  now: number,
): Signer {
  const questionMark = request.path.indexOf('?')
  const path = questionMark === -1 ? request.path : request.path.slice(0, questionMark)
  const query = questionMark === -1 ? [] : parseQuery(request.path.slice(questionMark))
  const claim = readClaim(request.headers, query)
  checkClaim(claim, request.headers)
  checkFreshness(claim, now)
  const { accessKeyId, region, service, sessionToken, scopeDate } = claim
  const signer = { accessKeyId, region, service, sessionToken }
  const key = keyOf({ ...signer, scopeDate })
  if (key === undefined) {
    throw new ApiError('UnrecognizedClientException', 'The security token included in the request is invalid.')
  }
  const bodyHash = sha256Hex(request.body ?? '')
  const canonical = canonicalRequest(request.method, path, request.headers, claim, bodyHash)
  if (!constantTimeEqual(signatureOf(canonical, claim, key), claim.signature)) {
    throw invalidSignature(
      'The request signature we calculated does not match the signature you provided. Check your AWS Secret Access ' +
        'Key and signing method. Consult the service documentation for details.',
    )
  }
  checkBodyHash(claim, request.headers, bodyHash)
  return signer
}

/**
 * The id of the key that a request says it is signed with, read as its verification reads it, and judged no further;
 * undefined where nothing could verify it. Whoever passes requests on by their key must read what the verifier will.
 */
export function claimedKeyId({ path, headers }: Pick<RequestToVerify, 'path' | 'headers'>): string | undefined {
  const questionMark = path.indexOf('?')
  try {
    return readClaim(headers, questionMark === -1 ? [] : parseQuery(path.slice(questionMark))).accessKeyId
  } catch (error) {
    if (error instanceof ApiError) return undefined
    throw error
  }
}

function readClaim(headers: Headers, query: readonly Parameter[]): Claim {
  const authorization = canonicalHeader(headers, 'authorization')
  if (authorization !== '') return readAuthorizationHeader(authorization, headers, query)
  if (query.some(({ name }) => name === 'X-Amz-Algorithm' || name === 'X-Amz-Signature')) return readPresigned(query)
  throw new ApiError(
    'MissingAuthenticationTokenException',
    'Missing Authentication Token: the request is not signed. Sign it with Signature Version 4, as the AWS CLI and ' +
      'SDKs do once they have credentials.',
  )
}

function readAuthorizationHeader(authorization: string, headers: Headers, query: readonly Parameter[]): Claim {
  const space = authorization.indexOf(' ')
  const scheme = space === -1 ? authorization : authorization.slice(0, space)
  if (scheme !== algorithm) {
    throw incompleteSignature(`Unsupported AWS 'algorithm': '${scheme.slice(0, 40)}', expected '${algorithm}'.`)
  }
  const parts = new Map<string, string>()
  for (const part of authorization.slice(space + 1).split(',')) {
    const equals = part.indexOf('=')
    if (equals === -1) continue
    const name = part.slice(0, equals).trim()
    // Of two, each program on the way would believe its own.
    if (parts.has(name))
      throw incompleteSignature(`Authorization header parameter '${name.slice(0, 40)}' stands there twice.`)
    parts.set(name, part.slice(equals + 1).trim())
  }
  const problems = ['Credential', 'Signature', 'SignedHeaders']
    .filter((name) => (parts.get(name) ?? '') === '')
    .map((name) => `Authorization header requires '${name}' parameter.`)
  const date = canonicalHeader(headers, 'x-amz-date') || canonicalHeader(headers, 'date')
  if (date === '') {
    problems.push("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
  }
  if (problems.length > 0) throw incompleteSignature(problems.join(' '))
  return {
    ...readCredential(parts.get('Credential') ?? ''),
    signedHeaders: (parts.get('SignedHeaders') ?? '').split(';'),
    signature: parts.get('Signature') ?? '',
    date: parseRequestDate(date),
    sessionToken: canonicalHeader(headers, 'x-amz-security-token') || undefined,
    expiresSeconds: undefined,
    query,
  }
}

function readPresigned(query: readonly Parameter[]): Claim {
  const parts = new Map<string, string>()
  for (const { name, value } of query) {
    if (!name.startsWith('X-Amz-')) continue
    if (parts.has(name)) throw incompleteSignature(`AWS query-string parameter '${name}' stands there twice.`)
    parts.set(name, value)
  }
  const problems = ['X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Date', 'X-Amz-Signature', 'X-Amz-SignedHeaders']
    .filter((name) => (parts.get(name) ?? '') === '')
    .map((name) => `AWS query-string parameters must include '${name}'.`)
  if (problems.length > 0) throw incompleteSignature(problems.join(' '))
  const scheme = parts.get('X-Amz-Algorithm') ?? ''
  if (scheme !== algorithm) {
    throw incompleteSignature(`Unsupported AWS 'algorithm': '${scheme.slice(0, 40)}', expected '${algorithm}'.`)
  }
  return {
    ...readCredential(parts.get('X-Amz-Credential') ?? ''),
    signedHeaders: (parts.get('X-Amz-SignedHeaders') ?? '').split(';'),
    signature: parts.get('X-Amz-Signature') ?? '',
    date: parseRequestDate(parts.get('X-Amz-Date') ?? ''),
    sessionToken: parts.get('X-Amz-Security-Token'),
    expiresSeconds: readExpires(parts.get('X-Amz-Expires')),
    query: query.filter(({ name }) => name !== 'X-Amz-Signature'),
  }
}

function readExpires(text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const seconds = /^[0-9]{1,7}$/.test(text) ? Number(text) : 0
  if (seconds < 1 || seconds > expiresMaxSeconds) {
    throw incompleteSignature(`X-Amz-Expires must be a number of seconds between 1 and ${expiresMaxSeconds}.`)
  }
  return seconds
}

function readCredential(credential: string): Pick<Claim, 'accessKeyId' | 'scopeDate' | 'region' | 'service'> {
  const elements = credential.split('/')
  const [accessKeyId, scopeDate, region, service, term] = elements
  if (
    elements.length !== 5 ||
    accessKeyId === undefined ||
    scopeDate === undefined ||
    region === undefined ||
    service === undefined ||
    elements.includes('')
  ) {
    throw incompleteSignature(
      `Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got ${elements.length}.`,
    )
  }
  if (term !== terminator) {
    throw incompleteSignature(`Credential should be scoped with a valid terminator: '${terminator}'.`)
  }
  return { accessKeyId, scopeDate, region, service }
}

function checkClaim(claim: Claim, headers: Headers): void {
  const dateDay = claim.date.slice(0, 8)
  if (claim.scopeDate !== dateDay) {
    throw invalidSignature(
      'Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: ' +
        `'${claim.scopeDate.slice(0, 16)}' != '${dateDay}', from '${claim.date}'.`,
    )
  }
  if (!claim.signedHeaders.includes('host')) {
    throw invalidSignature("'Host' must be a 'SignedHeader' in the AWS Authorization.")
  }
  for (const name of headersBound) {
    if (headers[name] !== undefined && !claim.signedHeaders.includes(name)) {
      throw invalidSignature(`'${name}' must be a 'SignedHeader' in the AWS Authorization, because the request has it.`)
    }
  }
}

/** The signature already covers the body's true hash; a client that names another one is told so. */
function checkBodyHash(claim: Claim, headers: Headers, bodyHash: string): void {
  const inQuery = claim.query.find(({ name }) => name === 'X-Amz-Content-Sha256')?.value
  const named = canonicalHeader(headers, 'x-amz-content-sha256') || inQuery
  if (named === undefined || named === bodyHash) return
  throw invalidSignature(
    "The value passed in 'x-amz-content-sha256' is not the SHA-256 of the request's body. Send the body's own hash: " +
      'unsigned and chunked payloads are not accepted.',
  )
}

function scopeOf({ scopeDate, region, service }: SigningScope): string {
  return [scopeDate, region, service, terminator].join('/')
}

function canonicalRequest(
  method: string,
  path: string,
  headers: Headers,
  { signedHeaders, query }: Pick<Claim, 'signedHeaders' | 'query'>,
  bodyHash: string,
): string {
  return [
    method.toUpperCase(),
    canonicalPath(path),
    canonicalQuery(query),
    ...signedHeaders.map((name) => `${name}:${canonicalHeader(headers, name)}`),
    '',
    signedHeaders.join(';'),
    bodyHash,
  ].join('\n')
}

/** Four hashes, one after the other: the same for a whole day of calls to one service. */
export function deriveSigningKey(secret: string, { scopeDate, region, service }: SigningScope): Uint8Array {
  const dayKey = hmacSha256(`AWS4${secret}`, scopeDate)
  return hmacSha256(hmacSha256(hmacSha256(dayKey, region), service), terminator)
}

function signatureOf(canonical: string, claim: SigningScope & { readonly date: string }, key: Uint8Array): string {
  const stringToSign = [algorithm, claim.date, scopeOf(claim), sha256Hex(canonical)].join('\n')
  return Array.from(hmacSha256(key, stringToSign), (byte) => byte.toString(16).padStart(2, '0')).join('')
}

function incompleteSignature(message: string): ApiError {
  return new ApiError('IncompleteSignatureException', message)
}

function invalidSignature(message: string): ApiError {
  return new ApiError('InvalidSignatureException', message)
}
