/**
 * What operators set on a cluster: its patience with silent container instances and its default subnet, and the end of a
 * pause of replacement.
 */
import type { FastifyInstance } from 'fastify'
import { lostAfterMsDefault, lostAfterMsMax, lostAfterMsMin } from '../decide/instance-loss.ts'
import { resumeReplacement, setLostAfter } from '../ecs/cluster-losses.ts'
import { requireCluster } from '../ecs/clusters.ts'
import { refuseUnknownMembers } from '../ecs/known-members.ts'
import { setDefaultSubnet } from '../ecs/subnets.ts'
import type { ClusterRow } from '../state/tables.ts'
import type { Transaction } from '../state/transaction.ts'
import { clusterSchema, showCluster } from './rest-clusters.ts'
import { type ClusterParams, errorResponses, paramsOf } from './rest-schema.ts'
import type { ServerServices } from './services.ts'

interface ClusterPatch {
  readonly lostAfterMs?: number | null
  readonly defaultSubnetId?: string | null
}

const response = { 200: { description: 'The cluster as it is now', ...clusterSchema }, ...errorResponses }

export function registerRestClusterLosses(rest: FastifyInstance, { turn, clock }: ServerServices): void {
  rest.patch<{ Params: ClusterParams; Body: ClusterPatch }>(
    '/clusters/:cluster',
    {
      config: { action: 'UpdateCluster' },
      schema: {
        summary:
          'Sets how long a container instance of the cluster may be silent before its tasks are replaced, or the subnet ' +
          'of awsvpc tasks that name none',
        params: paramsOf('cluster', 'Name or ARN'),
        body: {
          type: 'object',
          minProperties: 1,
          properties: {
            lostAfterMs: {
              type: ['integer', 'null'],
              description:
                `${lostAfterMsMin} to ${lostAfterMsMax} ms; null takes the default of ${lostAfterMsDefault} ms back. ` +
                'Above it, replacement comes that much later; running containers are not touched by it.',
            },
            defaultSubnetId: {
              type: ['string', 'null'],
              description: 'For tasks and services with network mode awsvpc and without a networkConfiguration',
            },
          },
        },
        response,
      },
    },
    async ({ params, body }) => {
      const run = turn.submit({
        name: 'updateCluster',
        run: (tx) => updateCluster(tx, params.cluster, body),
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

/** All that is given, or nothing of it. */
function updateCluster(tx: Transaction, cluster: string, patch: ClusterPatch): ClusterRow {
  refuseUnknownMembers('A change of a cluster', patch, ['lostAfterMs', 'defaultSubnetId'])
  const { lostAfterMs, defaultSubnetId } = patch
  if (lostAfterMs !== undefined) setLostAfter(tx, cluster, lostAfterMs)
  if (defaultSubnetId !== undefined) setDefaultSubnet(tx, cluster, defaultSubnetId)
  return requireCluster(tx, cluster)
}
