/** `/v1/tasks/{task}/usage`: what the containers of a task use, as their agent last published it. */
import type { FastifyInstance } from 'fastify'
import { idOf } from '../../proto/arn.ts'
import { ApiError } from '../../proto/errors.ts'
import { count, errorResponses, paramsOf, text, toInstant } from './rest-schema.ts'
import type { ServerServices } from './services.ts'

const number = { type: 'number' } as const

const usageSchema = {
  type: 'object',
  required: ['taskArn', 'containers'],
  properties: {
    taskArn: text,
    at: { type: 'string', format: 'date-time', description: 'Absent while the agent has published nothing yet' },
    ageMs: count,
    containers: {
      type: 'array',
      items: {
        type: 'object',
        required: ['name'],
        properties: {
          name: text,
          cpuPercent: { ...number, description: 'Of all CPUs of the host together' },
          memoryMiB: number,
          rxBytesPerSecond: number,
          txBytesPerSecond: number,
          readBytes: number,
          writeBytes: number,
        },
      },
    },
  },
} as const

const liveSecondsMax = 300

export function registerRestUsage(rest: FastifyInstance, { turn, clock, telemetry }: ServerServices): void {
  rest.get<{ Params: { readonly task: string }; Querystring: { readonly live?: number } }>(
    '/tasks/:task/usage',
    {
      config: { action: 'DescribeTasks' },
      schema: {
        summary: 'What the containers of a running task use',
        params: paramsOf('task', 'Id or ARN'),
        querystring: {
          type: 'object',
          properties: {
            live: {
              type: 'integer',
              minimum: 1,
              maximum: liveSecondsMax,
              description: 'Ask the agent to publish every second for so many seconds; else it does every 20 s',
            },
          },
        },
        response: { 200: { description: 'The usage', ...usageSchema }, ...errorResponses },
      },
    },
    (request) => {
      const taskId = idOf(request.params.task)
      const row = turn.reader.get('task', taskId)
      if (row === undefined || row.lastStatus === 'STOPPED') {
        throw new ApiError(
          'ResourceNotFoundException',
          `No live task ${JSON.stringify(taskId.slice(0, 100))} is known.`,
        )
      }
      const { live } = request.query
      if (live !== undefined) telemetry.quicken(row.instanceId, { everyMs: 1000, forMs: live * 1000 })
      const usage = telemetry.usageOf(taskId)
      return {
        taskArn: row.taskArn,
        at: toInstant(usage?.at),
        ageMs: usage === undefined ? undefined : Math.max(0, clock.now() - usage.at),
        containers: usage?.containers ?? [],
      }
    },
  )
}
