/** `/v1/secret-keys`: which keys seal what. Ids and counts; the keys themselves stand in the key file alone. */
import type { FastifyInstance } from 'fastify'
import { reseal, type ResealResult, type SealingKeys } from '../decide/reseal.ts'
import { sealedTables } from '../state/sealed-members.ts'
import type { Reader } from '../state/transaction.ts'
import { sealingKeyOf } from '../state/vault.ts'
import { count, errorResponses, text } from './rest-schema.ts'
import type { ServerServices } from './services.ts'

const keySchema = {
  type: 'object',
  required: ['keyId', 'isSealing', 'isInFile', 'rows', 'total'],
  properties: {
    keyId: { ...text, description: 'Made from the key, and says nothing about it' },
    isSealing: { type: 'boolean', description: 'True for the first key of the file, which seals from now on' },
    isInFile: { type: 'boolean', description: 'False: what it sealed can not be opened until it is put back' },
    total: { ...count, description: 'Sealed texts that need this key. 0: it may leave the key file' },
    rows: {
      type: 'array',
      items: { type: 'object', required: ['what', 'count'], properties: { what: text, count } },
    },
  },
} as const

const keysSchema = {
  type: 'object',
  required: ['keys'],
  properties: {
    keys: {
      type: 'array',
      items: keySchema,
      description: 'In the order of the key file, then those that are missing there',
    },
  },
} as const

export function registerRestSecretKeys(rest: FastifyInstance, { turn, vault }: ServerServices): void {
  rest.get(
    '/secret-keys',
    {
      config: { action: 'gantry:ListSecretKeys' },
      schema: {
        summary: 'The keys that seal secrets, and how much each of them has sealed',
        response: { 200: { description: 'Keys', ...keysSchema }, ...errorResponses },
      },
    },
    () => ({ keys: shownKeys(turn.reader, vault) }),
  )
  rest.post(
    '/secret-keys/reseal',
    {
      config: { action: 'gantry:ResealSecrets' },
      schema: {
        summary: 'Seals everything under the first key of the key file. Housekeeping does so by itself within a minute',
        response: {
          200: {
            description: 'What was sealed anew',
            type: 'object',
            required: ['resealed', 'broken', 'keys'],
            properties: {
              resealed: count,
              broken: { ...count, description: 'Texts that no key opens: they were changed or moved in the database' },
              ...keysSchema.properties,
            },
          },
          ...errorResponses,
        },
      },
    },
    async () => {
      let resealed = 0
      let result: ResealResult
      do {
        result = await turn.submit({ name: 'reseal', run: (tx) => reseal(tx, vault) })
        resealed += result.resealed
      } while (result.hasMore)
      return { resealed, broken: result.broken, keys: shownKeys(turn.reader, vault) }
    },
  )
}

function shownKeys(reader: Reader, { keyId, keyIds }: SealingKeys): object[] {
  const used = new Set(sealedTables.flatMap((table) => [...table.texts(reader)].map(sealingKeyOf)))
  return [...new Set([...keyIds, ...used])].map((each) => {
    const rows = sealedTables.map((table) => ({ what: table.what, count: table.count(reader, each) }))
    const total = rows.reduce((sum, row) => sum + row.count, 0)
    return { keyId: each, isSealing: each === keyId, isInFile: keyIds.includes(each), rows, total }
  })
}
