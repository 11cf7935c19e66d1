/**
 * AWS Query for one service: forms in, XML out. Instants are ISO 8601 on the wire and epoch milliseconds inside. Each
 * operation is compiled on its first use.
 *
 * Source of the rules: Smithy 2.0, "AWS query protocol". The models of the services that are built name no members
 * otherwise on this wire (xmlName, xmlFlattened): scripts/generate-model.ts refuses one that does.
 */
import type { OperationModel, ServiceModel } from '../model/model.ts'
import { createQueryReaders, treeOf } from './query-reader.ts'
import type { Form } from './query-reader.ts'
import { createXmlWriters, element, escapeXml } from './xml-writer.ts'

export interface QueryCodec {
  /**
   * A request's input; parameters that aren't modelled are ignored. Throws ApiError: SerializationException for a wrong
   * form, ValidationError for a required member that is missing or a value that is not one of its enum's.
   */
  readInput(operation: string, form: Form): unknown
  /** The body of an answer: modelled members alone. Throws a plain Error for a value of the wrong type: a bug of ours. */
  writeOutput(operation: string, output: unknown, requestId: string): string
}

/** Operations are those of the model: another name is a bug of the caller's, thrown as a plain Error. */
export function createQueryCodec(model: ServiceModel): QueryCodec {
  const readers = createQueryReaders(model)
  const writers = createXmlWriters(model)
  const { xmlNamespace, id } = model.service
  if (xmlNamespace === undefined) throw new Error(`${id} has no XML namespace: it isn't spoken to in AWS Query.`)
  const attribute = ` xmlns="${xmlNamespace}"`

  return {
    readInput: (operation, form) => readers(operationOf(model, operation).input)(treeOf(form), undefined),
    writeOutput: (operation, output, requestId) => {
      const { output: shape } = operationOf(model, operation)
      // An operation that answers nothing has no result, which is not the same as a result without members.
      const result = shape === 'Unit' ? '' : element(`${operation}Result`, writers(shape)(output, operation))
      const metadata = element('ResponseMetadata', element('RequestId', escapeXml(requestId)))
      return `<${operation}Response${attribute}>${result}${metadata}</${operation}Response>`
    },
  }
}

function operationOf(model: ServiceModel, operation: string): OperationModel {
  const known = Object.hasOwn(model.operations, operation) ? model.operations[operation] : undefined
  if (known === undefined) throw new Error(`Bug: the model of ${model.service.id} has no operation ${operation}.`)
  return known
}
