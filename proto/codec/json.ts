/**
 * awsJson 1.1 for ECS: bodies in, bodies out. Instants are epoch seconds on the wire and epoch milliseconds inside.
 * Each operation is compiled on its first use.
 *
 * Source of the rules: Smithy 2.0, "AWS JSON 1.1 protocol".
 */
import { ApiError } from '../errors.ts'
import { ecsModel, modelOf } from '../model/model.ts'
import type { Input, OperationName, Output } from '../model/types.ts'
import { createReaders, rootPlace } from './json-reader.ts'
import { createWriters } from './json-writer.ts'

const requestReaders = createReaders(ecsModel, { strict: true })
const answerReaders = createReaders(ecsModel, { strict: false })
const writers = createWriters(ecsModel)

/** Where ECS says ClientException of a request that is incomplete; the others say InvalidParameterException. */
const clientExceptionOperations: ReadonlySet<OperationName> = new Set([
  'RegisterTaskDefinition',
  'DeregisterTaskDefinition',
  'DescribeTaskDefinition',
])

/**
 * Reads a request that JSON.parse has parsed; undefined and null are an empty request. Throws ApiError with the path of
 * the member: SerializationException for a wrong type, and InvalidParameterException (ClientException for task
 * definitions) where a required member is missing or a value is not one of its enum's.
 */
export function readInput<Op extends OperationName>(operation: Op, value: unknown): Input<Op> {
  const code = clientExceptionOperations.has(operation) ? 'ClientException' : 'InvalidParameterException'
  return requestReaders(modelOf(operation).input)(value ?? {}, rootPlace(code), '') as Input<Op>
}

/** Reads a request's bytes. An empty body is an empty request; malformed JSON is a SerializationException. */
export function readBody<Op extends OperationName>(operation: Op, body: string | Uint8Array): Input<Op> {
  return readInput(operation, parseBody(body))
}

/** Reads what a peer answered, for the side that calls: values that are new to us pass, wrong types don't. */
export function readOutput<Op extends OperationName>(operation: Op, body: string | Uint8Array): Output<Op> {
  const value = parseBody(body) ?? {}
  return answerReaders(modelOf(operation).output)(value, rootPlace('SerializationException'), '') as Output<Op>
}

/** The body of an answer: modelled members alone. Throws a plain Error for a value of the wrong type: a bug of ours. */
export function writeOutput<Op extends OperationName>(operation: Op, output: Output<Op>): string {
  return writers(modelOf(operation).output)(output, operation)
}

/** The body of a request, for the side that calls. */
export function writeInput<Op extends OperationName>(operation: Op, input: Input<Op>): string {
  return writers(modelOf(operation).input)(input, operation)
}

/** The body of a refusal; its HTTP status is `error.httpStatus`. */
export function writeError(error: ApiError): string {
  return JSON.stringify({ __type: error.code, message: error.message })
}

function parseBody(body: string | Uint8Array): unknown {
  try {
    const text = typeof body === 'string' ? body : new TextDecoder('utf-8', { fatal: true }).decode(body)
    return text === '' ? undefined : JSON.parse(text)
  } catch (error) {
    const message = 'The request body is not JSON in UTF-8. Send one JSON object, or nothing at all.'
    throw new ApiError('SerializationException', message, { cause: error })
  }
}
