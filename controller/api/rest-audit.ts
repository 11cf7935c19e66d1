/** `/v1/audit`: who called what, on which resources, from where, with which answer. */
import { setImmediate } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { invalidParameter } from '../../proto/errors.ts'
import type { AuditPage, AuditPlace, AuditQuery, FoundAuditRecord } from '../state/audit-record.ts'
import type { History } from '../state/transaction.ts'
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
    id: { ...count, description: 'Greater was written later' },
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
    next: { type: 'string', pattern: '^[0-9]{1,15}-[0-9]{1,15}$', description: 'The `next` of the answer before' },
    maxResults: { type: 'integer', minimum: 1, maximum: 1000, default: 100 },
  },
} as const

/** An answer ends after so many looks, even with nothing found: as many as go over a trail of the usual length. */
const looksMax = 250

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
              next: { ...text, description: 'Older records may follow, also where there are none here: pass it on' },
            },
          },
          ...errorResponses,
        },
      },
    },
    async ({ query }) => {
      // So that whoever asks what just happened finds it.
      await audit.flush()
      const { records, next } = await lookUp(turn.reader.history, {
        principalArn: query.principal,
        action: query.action,
        code: query.code,
        since: readInstant('since', query.since),
        until: readInstant('until', query.until),
        before: query.next === undefined ? undefined : readPlace(query.next),
        limit: query.maxResults ?? 100,
      })
      for (const { id, damage } of records)
        if (damage !== undefined) log.error({ id, damage }, 'a damaged audit record')
      return { records: records.map(shown), ...(next !== undefined && { next: `${next.at}-${next.id}` }) }
    },
  )
}

/** Look by look, with whatever else waits served in between. */
async function lookUp(history: History, query: AuditQuery): Promise<AuditPage> {
  const records: FoundAuditRecord[] = []
  let before = query.before
  for (let look = 1; ; look += 1) {
    const page = history.audited({ ...query, before, limit: query.limit - records.length })
    records.push(...page.records)
    before = page.next
    if (before === undefined || records.length >= query.limit || look === looksMax) return { records, next: before }
    await setImmediate()
  }
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

function readPlace(next: string): AuditPlace {
  const [at, id] = next.split('-').map(Number)
  return { at: at ?? 0, id: id ?? 0 }
}
