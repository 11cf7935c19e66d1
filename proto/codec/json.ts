/**
 * awsJson 1.1 for ECS: bodies in, bodies out. Instants are epoch seconds on the wire and epoch milliseconds inside.
 * Each operation is compiled on its first use.
 *
 * Source of the rules: Smithy 2.0, "AWS JSON 1.1 protocol".
 */
import { ecsModel, modelOf } from '../model/model.ts'
import type { Input, OperationName, Output } from '../model/types.ts'
import { createReaders, rootPlace } from './json-reader.ts'
import { createWriters } from './json-writer.ts'

const readers = createReaders(ecsModel)
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
  return readers(modelOf(operation).input)(value ?? {}, rootPlace(code), '') as Input<Op>
}

/** The body of an answer: modelled members alone. Throws a plain Error for a value of the wrong type: a bug of ours. */
export function writeOutput<Op extends OperationName>(operation: Op, output: Output<Op>): string {
  return writers(modelOf(operation).output)(output, operation)
}
