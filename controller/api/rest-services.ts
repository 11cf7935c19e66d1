/** `/v1/services/{cluster}/{service}/why`: what a service waits for, and what to do next. */
import type { FastifyInstance } from 'fastify'
import { explainService } from '../decide/why-service.ts'
import { requireCluster } from '../ecs/clusters.ts'
import { requireService } from '../ecs/service-lookup.ts'
import { errorResponses, text } from './rest-schema.ts'
import { whyServiceSchema } from './rest-why-schema.ts'
import type { ServerServices } from './services.ts'

interface ServiceParams {
  readonly cluster: string
  readonly service: string
}

export function registerRestServices(rest: FastifyInstance, { turn, clock, world }: ServerServices): void {
  rest.get<{ Params: ServiceParams }>(
    '/services/:cluster/:service/why',
    {
      config: { action: 'DescribeServices' },
      schema: {
        summary: 'What the service waits for, and what to do next',
        params: {
          type: 'object',
          required: ['cluster', 'service'],
          properties: {
            cluster: { ...text, description: 'Name or ARN' },
            service: { ...text, description: 'Name or ARN' },
          },
        },
        response: { 200: { description: 'The explanation', ...whyServiceSchema }, ...errorResponses },
      },
    },
    ({ params }) => {
      const cluster = requireCluster(turn.reader, params.cluster)
      return explainService(turn.reader, requireService(turn.reader, cluster, params.service), clock.now(), world)
    },
  )
}
