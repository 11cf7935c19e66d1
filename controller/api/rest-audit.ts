/** `/v1/audit`: who called what, on which resources, from where, with which answer. */
import type { FastifyInstance } from 'fastify'
import { invalidParameter } from '../../proto/errors.ts'
import type { FoundAuditRecord } from '../state/audit-record.ts'
import { count, errorResponses, text } from './rest-schema.ts'
import type { ServerServices } from './services.ts'

interface AuditQuerystring {
  readonly principal?: string
  readonly action?: string
  readonly code?: string
  readonly since?: string
  readonly until?: string
  readonly next?: string
  readonly maxResults?: number
}

const recordSchema = {
  type: 'object',
  required: ['id', 'at', 'requestId', 'action', 'resources', 'sourceAddress', 'isSecure', 'code'],
  properties: {
    id: { ...count, description: 'Greater is later' },
    at: { type: 'string', format: 'date-time' },
    requestId: text,
    principalArn: { ...text, description: 'Absent where nobody could be made out' },
    accessKeyId: { ...text, description: 'As the signature names it, also where no such key exists' },
    action: { ...text, description: 'Such as ecs:RunTask' },
    resources: { type: 'array', items: text },
    sourceAddress: text,
    isSecure: { type: 'boolean', description: 'By TLS' },
    code: { ...text, description: "OK, or the error's code" },
    userAgent: text,
    more: { ...count, description: 'How many more of the kind there were at once, that are not kept one by one' },
    damage: { ...text, description: 'The record was changed on disk: nothing else that it says may be believed' },
  },
} as const

const querySchema = {
  type: 'object',
  properties: {
    principal: { ...text, description: 'An ARN, whole' },
    action: { ...text, description: 'Such as ecs:RunTask, or ecs:* for all of a service' },
    code: { ...text, description: 'Such as OK or AccessDeniedException' },
    since: { ...text, description: 'An instant (ISO 8601), inclusive' },
    until: { ...text, description: 'An instant (ISO 8601), inclusive' },
    next: { type: 'string', pattern: '^[0-9]{1,15}$', description: 'The `next` of the answer before' },
    maxResults: { type: 'integer', minimum: 1, maximum: 1000, default: 100 },
  },
} as const

export function registerRestAudit(rest: FastifyInstance, { turn, audit, log }: ServerServices): void {
  rest.get<{ Querystring: AuditQuerystring }>(
    '/audit',
    {
      config: { action: 'gantry:LookupAudit' },
      schema: {
        summary: 'The audit trail, newest first',
        querystring: querySchema,
        response: {
          200: {
            description: 'Records, and where to go on',
            type: 'object',
            required: ['records'],
            properties: {
              records: { type: 'array', items: recordSchema },
              next: { ...text, description: 'Older records may follow: pass it on' },
            },
          },
          ...errorResponses,
        },
      },
    },
    async ({ query }) => {
      // So that whoever asks what just happened finds it.
      await audit.flush()
      const limit = query.maxResults ?? 100
      const records = turn.reader.history.audited({
        principalArn: query.principal,
        action: query.action,
        code: query.code,
        since: readInstant('since', query.since),
        until: readInstant('until', query.until),
        before: query.next === undefined ? undefined : Number(query.next),
        limit,
      })
      for (const { id, damage } of records)
        if (damage !== undefined) log.error({ id, damage }, 'a damaged audit record')
      const last = records.at(-1)
      return {
        records: records.map(shown),
        ...(last !== undefined && records.length === limit && { next: String(last.id) }),
      }
    },
  )
}

function shown(record: FoundAuditRecord): object {
  return { ...record, at: new Date(record.at).toISOString() }
}

function readInstant(name: string, given: string | undefined): number | undefined {
  if (given === undefined) return undefined
  const at = /^\d{4}-\d{2}-\d{2}/.test(given) ? Date.parse(given) : Number.NaN
  if (Number.isNaN(at)) throw invalidParameter(`${name} must be an instant such as 2026-11-21T22:00:00Z.`)
  return at
}
