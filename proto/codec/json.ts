/**
 * awsJson 1.0 and 1.1: bodies in, bodies out. Instants are epoch seconds on the wire and epoch milliseconds inside.
 * Each operation is compiled on its first use.
 *
 * Source of the rules: Smithy 2.0, "AWS JSON 1.1 protocol".
 */
import type { ErrorCode } from '../errors.ts'
import { ecsModel } from '../model/model.ts'
import type { ServiceModel } from '../model/model.ts'
import type { Input, OperationName, Output } from '../model/types.ts'
import { createReaders, rootPlace } from './json-reader.ts'
import { createWriters } from './json-writer.ts'

export interface JsonCodec {
  /**
   * Reads a request that JSON.parse has parsed; undefined and null are an empty request. Throws ApiError with the path
   * of the member: SerializationException for a wrong type, and the service's own code where a required member is
   * missing or a value is not one of its enum's.
   */
  readInput(operation: string, value: unknown): unknown
  /** The body of an answer: modelled members alone. Throws a plain Error for a value of the wrong type: a bug of ours. */
  writeOutput(operation: string, output: unknown): string
}

/** `codeOf` says what an incomplete request is called. The operations are the model's. */
export function createJsonCodec(model: ServiceModel, codeOf: (operation: string) => ErrorCode): JsonCodec {
  const readers = createReaders(model)
  const writers = createWriters(model)
  const shapesOf = (operation: string) => {
    const shapes = model.operations[operation]
    if (shapes === undefined) throw new Error(`Bug: the model of ${model.service.id} has no operation ${operation}.`)
    return shapes
  }
  return {
    readInput: (operation, value) => readers(shapesOf(operation).input)(value ?? {}, rootPlace(codeOf(operation)), ''),
    writeOutput: (operation, output) => writers(shapesOf(operation).output)(output, operation),
  }
}

/** Where ECS says ClientException of a request that is incomplete; the others say InvalidParameterException. */
const clientExceptionOperations: ReadonlySet<string> = new Set([
  'RegisterTaskDefinition',
  'DeregisterTaskDefinition',
  'DescribeTaskDefinition',
])

export const ecsCodec: JsonCodec = createJsonCodec(ecsModel, (operation) =>
  clientExceptionOperations.has(operation) ? 'ClientException' : 'InvalidParameterException',
)

/** As JsonCodec's, with ECS's own types. */
export function readInput<Op extends OperationName>(operation: Op, value: unknown): Input<Op> {
  return ecsCodec.readInput(operation, value) as Input<Op>
}

/** As JsonCodec's, with ECS's own types. */
export function writeOutput<Op extends OperationName>(operation: Op, output: Output<Op>): string {
  return ecsCodec.writeOutput(operation, output)
}
