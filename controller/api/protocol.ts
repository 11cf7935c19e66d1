/**
 * Which of AWS's protocols a request speaks, and how an error looks in it. Only awsJson 1.1 is answered today; a client
 * that comes with another one still meets an error that it can read.
 *
 * Source: AWS JSON 1.0 and 1.1, AWS Query and Smithy RPC v2 CBOR protocol specifications.
 */
import type { ApiError } from '../../proto/errors.ts'

export type Protocol = 'json-1.1' | 'json-1.0' | 'query' | 'cbor'

export interface RpcTarget {
  readonly protocol: Protocol
  /** `AmazonEC2ContainerServiceV20141113`, or undefined where the request names none. */
  readonly service: string | undefined
  readonly operation: string | undefined
}

export interface WrittenError {
  readonly contentType: string
  readonly body: string | Buffer
}

/** Reads the route in AWS's order: protocol header and path, then X-Amz-Target, then the form's Action and Version. */
export function readTarget(request: {
  readonly path: string
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly body: Buffer
}): RpcTarget {
  const contentType = headerText(request.headers['content-type'])
  if (headerText(request.headers['smithy-protocol']) === 'rpc-v2-cbor') {
    const match = /^\/service\/([^/]+)\/operation\/([^/?]+)/.exec(request.path)
    return { protocol: 'cbor', service: match?.[1], operation: match?.[2] }
  }
  const protocol = contentType.startsWith('application/x-amz-json-1.0') ? 'json-1.0' : 'json-1.1'
  const target = headerText(request.headers['x-amz-target'])
  if (target !== '') {
    const dot = target.lastIndexOf('.')
    return dot < 0
      ? { protocol, service: undefined, operation: target }
      : { protocol, service: target.slice(0, dot), operation: target.slice(dot + 1) }
  }
  if (contentType.startsWith('application/x-www-form-urlencoded')) {
    const form = new URLSearchParams(request.body.toString('utf8'))
    return { protocol: 'query', service: form.get('Version') ?? undefined, operation: form.get('Action') ?? undefined }
  }
  return { protocol, service: undefined, operation: undefined }
}

/** The error's body in the caller's protocol. */
export function writeError(protocol: Protocol, error: ApiError, requestId: string): WrittenError {
  if (protocol === 'query') return { contentType: 'text/xml', body: writeXmlError(error, requestId) }
  if (protocol === 'cbor') {
    return {
      contentType: 'application/cbor',
      body: writeCborMap([
        ['__type', error.code],
        ['message', error.message],
      ]),
    }
  }
  return {
    contentType: `application/x-amz-${protocol}`,
    body: JSON.stringify({ __type: error.code, message: error.message }),
  }
}

export function headerText(value: string | readonly string[] | undefined): string {
  return typeof value === 'string' ? value : (value?.[0] ?? '')
}

function writeXmlError(error: ApiError, requestId: string): string {
  // The Query protocol has its own names for what the JSON protocols share.
  const code = error.code === 'UnknownOperationException' ? 'InvalidAction' : error.code.replace(/Exception$/, '')
  const type = error.httpStatus >= 500 ? 'Receiver' : 'Sender'
  return (
    `<ErrorResponse><Error><Type>${type}</Type><Code>${escapeXml(code)}</Code>` +
    `<Message>${escapeXml(error.message)}</Message></Error><RequestId>${escapeXml(requestId)}</RequestId></ErrorResponse>`
  )
}

function escapeXml(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, '\ufffd')
}

/** A CBOR map of text to text (RFC 8949: major types 5 and 3), which is all that an error needs. */
function writeCborMap(pairs: readonly (readonly [string, string])[]): Buffer {
  const parts = [Buffer.from([0xa0 | pairs.length])]
  for (const text of pairs.flat()) {
    const bytes = Buffer.from(text, 'utf8')
    const head = Buffer.alloc(5)
    head.writeUInt8(0x7a)
    head.writeUInt32BE(bytes.length, 1)
    parts.push(head, bytes)
  }
  return Buffer.concat(parts)
}
