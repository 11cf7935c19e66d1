/** Lost container instances, as operators steer them: a cluster's patience, and the end of a pause of replacement. */
import type { FastifyInstance } from 'fastify'
import { lostAfterMsDefault, lostAfterMsMax, lostAfterMsMin } from '../decide/instance-loss.ts'
import { resumeReplacement, setLostAfter } from '../ecs/cluster-losses.ts'
import { clusterSchema, showCluster } from './rest-clusters.ts'
import { type ClusterParams, errorResponses, paramsOf } from './rest-schema.ts'
import type { ServerServices } from './services.ts'

interface ClusterPatch {
  readonly lostAfterMs: number | null
}

const response = { 200: { description: 'The cluster as it is now', ...clusterSchema }, ...errorResponses }

export function registerRestClusterLosses(rest: FastifyInstance, { turn, clock }: ServerServices): void {
  rest.patch<{ Params: ClusterParams; Body: ClusterPatch }>(
    '/clusters/:cluster',
    {
      config: { action: 'UpdateCluster' },
      schema: {
        summary: 'Sets how long a container instance of the cluster may be silent before its tasks are replaced',
        params: paramsOf('cluster', 'Name or ARN'),
        body: {
          type: 'object',
          required: ['lostAfterMs'],
          properties: {
            lostAfterMs: {
              type: ['integer', 'null'],
              description:
                `${lostAfterMsMin} to ${lostAfterMsMax} ms; null takes the default of ${lostAfterMsDefault} ms back. ` +
                'Above it, replacement comes that much later; running containers are not touched by it.',
            },
          },
        },
        response,
      },
    },
    async ({ params, body }) => {
      const run = turn.submit({
        name: 'setLostAfter',
        run: (tx) => setLostAfter(tx, params.cluster, body.lostAfterMs),
      })
      return showCluster(turn.reader, await run, clock.now())
    },
  )
  rest.post<{ Params: ClusterParams }>(
    '/clusters/:cluster/resume-replacement',
    {
      config: { action: 'UpdateCluster' },
      schema: {
        summary:
          'Says that the container instances which are silent now are gone: their tasks are replaced, however many ' +
          'they are. Takes no body.',
        params: paramsOf('cluster', 'Name or ARN'),
        response,
      },
    },
    async ({ params }) => {
      const run = turn.submit({
        name: 'resumeReplacement',
        run: (tx, now) => resumeReplacement(tx, params.cluster, now),
      })
      return showCluster(turn.reader, await run, clock.now())
    },
  )
}
