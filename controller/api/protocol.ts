/**
 * Which of AWS's protocols a request speaks, and how an error looks in it. A client that comes with one that isn't
 * answered here still meets an error that it can read.
 *
 * Source: AWS JSON 1.0 and 1.1, AWS Query and Smithy RPC v2 CBOR protocol specifications.
 */
import { element, escapeXml } from '../../proto/codec/xml-writer.ts'
import type { ApiError, ErrorCode } from '../../proto/errors.ts'

export type Protocol = 'json-1.1' | 'json-1.0' | 'query' | 'cbor'

export interface RpcTarget {
  readonly protocol: Protocol
  /** `AmazonEC2ContainerServiceV20141113`, a form's `2011-06-15`, or undefined where the request names none. */
  readonly service: string | undefined
  readonly operation: string | undefined
}

export interface WrittenError {
  readonly contentType: string
  readonly body: string | Buffer
}

interface RequestLine {
  readonly path: string
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  readonly body: Buffer
}

/** Reads the route in AWS's order: protocol header and path, then X-Amz-Target, then the form's Action and Version. */
export function readTarget(request: RequestLine): RpcTarget {
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
  const form = formBytesOf(request)?.toString('latin1')
  if (form === undefined) return { protocol, service: undefined, operation: undefined }
  return { protocol: 'query', service: parameterOf(form, 'Version'), operation: parameterOf(form, 'Action') }
}

/**
 * The form of a Query request as it came: the body, or for a presigned URL, which has none, what stands behind the
 * question mark. Undefined for a request of another protocol.
 */
export function formBytesOf({ path, headers, body }: RequestLine): Buffer | undefined {
  const isForm = headerText(headers['content-type']).startsWith('application/x-www-form-urlencoded')
  if (isForm && body.length > 0) return body
  const questionMark = path.indexOf('?')
  const query = questionMark === -1 ? '' : path.slice(questionMark + 1)
  return isForm || parameterOf(query, 'Action') !== undefined ? Buffer.from(query) : undefined
}

/** The error's body in the caller's protocol; `xmlNamespace` is the service's, where it is known and has one. */
export function writeError(
  protocol: Protocol,
  error: ApiError,
  requestId: string,
  xmlNamespace: string | undefined,
): WrittenError {
  if (protocol === 'query') return { contentType: 'text/xml', body: writeXmlError(error, requestId, xmlNamespace) }
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

/**
 * One parameter of a form, undefined where it isn't there or isn't a plain word: enough to find a route before anybody
 * is believed to be somebody. The form is taken apart, and judged, once its signature is verified.
 */
function parameterOf(form: string, name: 'Action' | 'Version'): string | undefined {
  return new RegExp(`(?:^|&)${name}=([A-Za-z0-9._-]{1,128})(?:&|$)`).exec(form)?.[1]
}

/** The Query protocol's own names for what the JSON protocols share. Source: IAM API reference, "Common Errors". */
const queryCodes: Partial<Record<ErrorCode, string>> = {
  InvalidParameterException: 'InvalidParameterValue',
  InvalidSignatureException: 'SignatureDoesNotMatch',
  SerializationException: 'MalformedInput',
  ServerException: 'InternalFailure',
  UnknownOperationException: 'InvalidAction',
  UnrecognizedClientException: 'InvalidClientTokenId',
}

/** What AWS says where no service is known. */
const faultNamespace = 'http://webservices.amazon.com/AWSFault/2005-15-09'

function writeXmlError(error: ApiError, requestId: string, namespace = faultNamespace): string {
  // Those of the signature layer are the same without their ending: AccessDenied, ExpiredToken, IncompleteSignature.
  const code = queryCodes[error.code] ?? error.code.replace(/Exception$/, '')
  const type = element('Type', error.httpStatus >= 500 ? 'Receiver' : 'Sender')
  const what = type + element('Code', code) + element('Message', escapeXml(error.message))
  const request = element('RequestId', escapeXml(requestId))
  return `<ErrorResponse xmlns="${namespace}">${element('Error', what)}${request}</ErrorResponse>`
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
