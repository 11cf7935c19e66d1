/** AWS Query on the wire: a form to an operation's input, and its output to XML. */
import { parseForm } from '../../proto/codec/query-reader.ts'
import type { QueryCodec } from '../../proto/codec/query.ts'
import { ApiError } from '../../proto/errors.ts'
import { formBytesOf } from './protocol.ts'
import type { Wire } from './wire-json.ts'

export function queryWire(codec: QueryCodec): Wire {
  return {
    readInput: (operation, request) => codec.readInput(operation, parseForm(textOf(formBytesOf(request)))),
    writeAnswer(operation, output, request) {
      return { contentType: 'text/xml', body: Buffer.from(codec.writeOutput(operation, output, request.requestId)) }
    },
  }
}

/** Throws SerializationException for what is not UTF-8. */
function textOf(bytes: Buffer | undefined): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch (error) {
    throw new ApiError('SerializationException', "The request can't be read: it is not UTF-8 text.", { cause: error })
  }
}
