/**
 * awsJson on the wire: a request's bytes to an operation's input, and its output to bytes. Other protocols of AWS's have
 * the same two steps (`Wire`).
 */
import type { JsonCodec } from '../../proto/codec/json.ts'
import { ApiError } from '../../proto/errors.ts'
import { headerText } from './protocol.ts'
import type { RpcRequest } from './rpc-request.ts'

/** How a service's requests are read and its answers written. Operations are the model's. */
export interface Wire {
  /** Throws ApiError for what can't be read as the operation's input. */
  readInput(operation: string, request: RpcRequest): unknown
  writeAnswer(operation: string, output: unknown, request: RpcRequest): { contentType: string; body: Buffer }
}

/** The shapes of these services are at most a dozen levels deep; a body beyond this is an attack, not a request. */
const jsonDepthMax = 64

export function jsonWire(codec: JsonCodec): Wire {
  return {
    readInput(operation, request) {
      requireJson(request, operation)
      return codec.readInput(operation, parseJson(request.body))
    },
    writeAnswer(operation, output, request) {
      const version = /json-1\.0/i.test(headerText(request.headers['content-type'])) ? '1.0' : '1.1'
      const body = Buffer.from(codec.writeOutput(operation, output))
      return { contentType: `application/x-amz-json-${version}`, body }
    },
  }
}

/** Throws SerializationException for what is not UTF-8, not JSON, or nested beyond reason. An empty body is `{}`. */
export function parseJson(body: Buffer): unknown {
  if (body.length === 0) return {}
  if (nestingExceeds(body, jsonDepthMax)) {
    throw new ApiError('SerializationException', `The request body is nested more than ${jsonDepthMax} levels deep.`)
  }
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body))
  } catch (error) {
    const why = error instanceof SyntaxError ? 'it is not JSON' : 'it is not UTF-8 text'
    throw new ApiError('SerializationException', `The request body can't be read: ${why}.`, { cause: error })
  }
}

function requireJson(request: RpcRequest, operation: string): void {
  const contentType = headerText(request.headers['content-type'])
  if (/^application\/x-amz-json-1\.[01](\s*;.*)?$/i.test(contentType)) return
  throw new ApiError(
    'SerializationException',
    `${operation} takes Content-Type application/x-amz-json-1.1, not ${JSON.stringify(contentType)}.`,
  )
}

/** Counts brackets outside of strings, so that no parser ever recurses over a hostile body. */
function nestingExceeds(body: Buffer, max: number): boolean {
  let depth = 0
  let inString = false
  for (let at = 0; at < body.length; at += 1) {
    const byte = body[at]
    if (inString) {
      if (byte === 0x5c) at += 1
      else if (byte === 0x22) inString = false
    } else if (byte === 0x22) inString = true
    else if (byte === 0x7b || byte === 0x5b) {
      depth += 1
      if (depth > max) return true
    } else if (byte === 0x7d || byte === 0x5d) depth -= 1
  }
  return false
}
