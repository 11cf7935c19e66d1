/** The parts that the REST routes' schemas share. */
import type { PageLimits } from '../ecs/paging.ts'

export const text = { type: 'string' } as const
export const count = { type: 'integer' } as const

export const errorSchema = {
  type: 'object',
  required: ['code', 'message'],
  properties: {
    code: { type: 'string', description: "AWS's name of the error, such as ClusterNotFoundException" },
    message: { type: 'string' },
  },
} as const

/** What each route may answer besides 200. */
export const errorResponses = {
  '4xx': { description: 'The request is refused', ...errorSchema },
  '5xx': { description: 'The controller has trouble', ...errorSchema },
} as const

export const restPageLimits: PageLimits = { defaultSize: 100, maxSize: 1000 }

export interface PageQuery {
  readonly nextToken?: string
  readonly maxResults?: number
}

export const pageQuerySchema = {
  type: 'object',
  properties: {
    nextToken: { type: 'string', description: 'The nextToken of the page before' },
    maxResults: { type: 'integer', minimum: 1, maximum: 1000, default: 100 },
  },
} as const

export interface ClusterParams {
  readonly cluster: string
}

export function paramsOf(name: string, description: string): object {
  return { type: 'object', required: [name], properties: { [name]: { type: 'string', description } } }
}

export function listSchema(name: string, items: object): object {
  return {
    description: 'One page',
    type: 'object',
    required: [name],
    properties: {
      [name]: { type: 'array', items },
      nextToken: { type: 'string', description: 'Absent on the last page' },
    },
  }
}

/** Instants show as ISO 8601 in UTC. */
export function toInstant(epochMs: number | undefined): string | undefined {
  return epochMs === undefined ? undefined : new Date(epochMs).toISOString()
}
