/** `/v1/environment-files`: what agents fetch for a task before it starts, signed with the keys of its execution role. */
import type { FastifyInstance } from 'fastify'
import { invalidParameter } from '../../proto/errors.ts'
import { environmentFilesProblem } from '../ecs/fetched-rules.ts'
import { errorResponses } from './rest-schema.ts'
import type { ServerServices } from './services.ts'

export function registerRestEnvironmentFiles(rest: FastifyInstance, { objectStore }: ServerServices): void {
  rest.get<{ Querystring: { readonly arn: string } }>(
    '/environment-files',
    {
      config: { action: 's3:GetObject' },
      schema: {
        summary: 'A file of environment variables, out of the S3 store that the controller is configured for',
        querystring: {
          type: 'object',
          required: ['arn'],
          properties: {
            arn: {
              type: 'string',
              maxLength: 1200,
              description: 'As in environmentFiles: arn:aws:s3:::bucket/key.env',
            },
          },
        },
        response: {
          200: {
            description: "The file's bytes",
            content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
          },
          ...errorResponses,
        },
      },
    },
    async (request, reply) => {
      const { arn } = request.query
      const problem = environmentFilesProblem([{ type: 's3', value: arn }])
      if (problem !== undefined) throw invalidParameter(`arn: ${problem}`)
      const content = await objectStore.fetch(arn)
      return reply
        .type('application/octet-stream')
        .header('cache-control', 'no-store')
        .send(Buffer.from(content.buffer, content.byteOffset, content.byteLength))
    },
  )
}
