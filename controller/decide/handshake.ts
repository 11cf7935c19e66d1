/**
 * Reads the handshake of an agent's channel: which instance dials, and with what facts about itself. Both channels name
 * the same things by different parameters.
 */
import { clusterNameOf, idOf } from '../../proto/arn.ts'
import { ApiError } from '../../proto/errors.ts'
import { logChannelPath } from '../../proto/logs.ts'
import { streamChannelPath } from '../../proto/streams.ts'
import type { AgentFacts } from '../ecs/submit.ts'
import type { Reader } from '../state/transaction.ts'

export type Channel = 'acs' | 'tcs' | 'logs' | 'streams'

export interface Handshake {
  readonly channel: Channel
  readonly instanceId: string
  /** Of an on-demand channel: the id that the agent was given. */
  readonly streamId?: string | undefined
  readonly facts: AgentFacts
  /** True on the first connect of an agent process: it may know of no task. */
  readonly fullSync: boolean
}

const paths: Readonly<Record<string, Channel>> = {
  '/acs/ws': 'acs',
  '/tcs/ws': 'tcs',
  [logChannelPath]: 'logs',
  [streamChannelPath]: 'streams',
}

/** The channel of a path, or undefined for a path that is none. */
export function channelOf(pathname: string): Channel | undefined {
  return paths[pathname]
}

/** Who dials, by the parameters of that channel alone: rights are asked on the very instance that it then speaks for. */
export function dialledBy(
  channel: Channel,
  query: URLSearchParams,
): { readonly cluster: string | undefined; readonly containerInstance: string | undefined } {
  const isTelemetry = channel === 'tcs'
  return {
    cluster: query.get(isTelemetry ? 'cluster' : 'clusterArn') ?? undefined,
    containerInstance: query.get(isTelemetry ? 'containerInstance' : 'containerInstanceArn') ?? undefined,
  }
}

/**
 * Throws InvalidInstanceException, InvalidClusterException or InactiveInstanceException for an instance that may not
 * dial.
 */
export function readHandshake(channel: Channel, query: URLSearchParams, reader: Reader): Handshake {
  const { containerInstance: instanceArn = '', cluster = '' } = dialledBy(channel, query)
  const instanceId = idOf(instanceArn)
  const instance = reader.get('instance', instanceId)
  if (instance === undefined) {
    throw new ApiError(
      'InvalidInstanceException',
      `The container instance ${JSON.stringify(instanceArn.slice(0, 300))} is not registered here. Register it ` +
        '(RegisterContainerInstance), which a restarted agent does once its stored identity is removed.',
    )
  }
  if (clusterNameOf(cluster) !== instance.clusterName) {
    throw new ApiError(
      'InvalidClusterException',
      `The container instance ${instanceId} is registered in cluster ${instance.clusterName}, not in ` +
        `${JSON.stringify(clusterNameOf(cluster).slice(0, 255))}.`,
    )
  }
  if (instance.status === 'INACTIVE') {
    throw new ApiError(
      'InactiveInstanceException',
      `The container instance ${instanceId} is deregistered. Register it anew to use this host again.`,
    )
  }
  const facts = factsOf(query)
  const fullSync = query.get('sendCredentials') === 'true'
  return { channel, instanceId, facts, fullSync, streamId: query.get('stream') ?? undefined }
}

function factsOf(query: URLSearchParams): AgentFacts {
  const factOf = (name: string) => query.get(name)?.slice(0, 255) || undefined
  return {
    agentVersion: factOf('agentVersion'),
    agentHash: factOf('agentHash'),
    // On ACS the value itself starts with `DockerVersion: `; ECS shows it so.
    dockerVersion: factOf('dockerVersion'),
  }
}
