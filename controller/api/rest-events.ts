/** `/v1/events`: what happened lately, as ECS tells EventBridge, with a cursor to go on from. */
import type { FastifyInstance } from 'fastify'
import type { FeedCursor } from '../change-feed.ts'
import { type DetailType, detailTypes } from '../decide/event-shapes.ts'
import { count, errorResponses, text } from './rest-schema.ts'
import type { ServerServices } from './services.ts'

interface EventsQuery {
  readonly cluster?: string
  readonly service?: string
  readonly detailType?: DetailType
  readonly after?: string
  readonly maxResults?: number
}

const eventSchema = {
  type: 'object',
  required: ['revision', 'cursor', 'event'],
  properties: {
    revision: { ...count, description: 'The turn that did it' },
    cursor: { ...text, description: 'What `after` takes to go on behind this event' },
    event: {
      type: 'object',
      description: "EventBridge's envelope with ECS's detail",
      required: ['version', 'id', 'detail-type', 'source', 'account', 'time', 'region', 'resources', 'detail'],
      properties: {
        version: text,
        id: text,
        'detail-type': { type: 'string', enum: detailTypes },
        source: text,
        account: text,
        time: { type: 'string', format: 'date-time' },
        region: text,
        resources: { type: 'array', items: text },
        detail: { type: 'object', additionalProperties: true },
      },
    },
  },
} as const

const querySchema = {
  type: 'object',
  properties: {
    cluster: { ...text, description: "A cluster's name" },
    service: { ...text, description: "A service's name: its actions, its deployments, its tasks" },
    detailType: { type: 'string', enum: detailTypes },
    after: {
      type: 'string',
      pattern: '^[0-9]{1,15}(:[0-9]{1,9})?$',
      description: 'A revision, or the `next` or a `cursor` of an earlier answer. Without it: the newest events',
    },
    maxResults: { type: 'integer', minimum: 1, maximum: 1000, default: 100 },
  },
} as const

export function registerRestEvents(rest: FastifyInstance, { feed }: ServerServices): void {
  rest.get<{ Querystring: EventsQuery }>(
    '/events',
    {
      config: { action: 'DescribeServices' },
      schema: {
        summary: 'What happened lately, oldest first: tasks, container instances, services and their deployments',
        querystring: querySchema,
        response: {
          200: {
            description: 'The events that are at hand, and where to go on',
            type: 'object',
            required: ['events', 'next', 'isMissing'],
            properties: {
              events: { type: 'array', items: eventSchema },
              next: { ...text, description: 'For `after`: nothing is told twice, nothing is skipped' },
              isMissing: {
                type: 'boolean',
                description:
                  'True where events behind `after` are no longer at hand (only the newest are kept, and a restart of ' +
                  'the controller forgets them): look at the state itself, then go on from `next`',
              },
            },
          },
          ...errorResponses,
        },
      },
    },
    ({ query }) => {
      const filter = { clusterName: query.cluster, serviceName: query.service, detailType: query.detailType }
      const page = feed.read(filter, readCursor(query.after), query.maxResults ?? 100)
      return {
        events: page.events.map(({ revision, index, event }) => ({
          revision,
          cursor: cursorText({ revision, index }),
          event,
        })),
        next: cursorText(page.next),
        isMissing: page.isMissing,
      }
    },
  )
}

function readCursor(after: string | undefined): FeedCursor | undefined {
  if (after === undefined) return undefined
  const [revision, index] = after.split(':')
  return { revision: Number(revision), ...(index !== undefined && { index: Number(index) }) }
}

function cursorText({ revision, index }: FeedCursor): string {
  return index === undefined ? String(revision) : `${revision}:${index}`
}
