/** How a host becomes a container instance, and how it finds the socket to talk on. */
import type { AgentConfig } from './config.ts'
import type { Attribute } from './attributes.ts'
import { complaintsTo } from './complaints.ts'
import { ApiCallError } from './ecs-api.ts'
import type { CallApi } from './ecs-api.ts'
import type { HostFacts } from './host-facts.ts'
import { revokedWaitMs } from './host-keyring.ts'
import { readIdentity, writeIdentity } from './identity.ts'
import type { Identity } from './identity.ts'
import type { Log } from './log.ts'
import type { Timers } from './timers.ts'

const retryMinMs = 1_000
const retryMaxMs = 30_000
/** A controller that does not answer at all is asked again soon: it is found within seconds of its return. */
const unansweredRetryMaxMs = 2_000
const callTimeoutMs = 5_000
/** Source: amazon-ecs-agent 1.105, DiscoverPollEndpoint cache. */
const endpointLifetimeMs = 12 * 3_600_000

export interface RegisterOptions {
  readonly config: AgentConfig
  readonly host: HostFacts
  readonly attributes: readonly Attribute[]
  /** The host's GPUs that tasks can be given. */
  readonly gpuIds?: readonly string[] | undefined
  readonly callApi: CallApi
  readonly timers: Timers
  readonly log: Log
  readonly uuid: () => string
  /** Epoch milliseconds; the clock of the machine unless given. */
  readonly now?: (() => number) | undefined
  readonly random: () => number
  /** The controller takes no keys of this host. */
  readonly isRevoked?: (() => boolean) | undefined
  /** Where the host keeps who it is: by default a file in the data directory. */
  readonly identity?: IdentityStore | undefined
}

export interface IdentityStore {
  readonly read: (directory: string) => Identity | undefined
  readonly write: (directory: string, identity: Identity) => void
}

const identityFile: IdentityStore = { read: readIdentity, write: writeIdentity }

/** This directory belongs to an instance of another cluster: nothing but a person can decide what to do. */
export class ClusterMismatch extends Error {}

/**
 * Registers this host, under the ARN that it had before where there is one, and answers the ARN. Tries until it
 * succeeds, and says each time what is in the way. Throws ClusterMismatch alone.
 */
export async function registerInstance(options: RegisterOptions): Promise<string> {
  const { config, log } = options
  const { write } = options.identity ?? identityFile
  let identity = knownIdentity(options)
  const complaints = complaintsTo(log, options.now ?? Date.now)
  for (let waitMs = retryMinMs; ; waitMs *= 2) {
    try {
      const containerInstanceArn = await register(options, identity)
      if (containerInstanceArn !== identity.containerInstanceArn) {
        identity = { ...identity, containerInstanceArn }
        write(config.dataDirectory, identity)
      }
      return containerInstanceArn
    } catch (error) {
      if (!(error instanceof ApiCallError)) throw error
      if (isGone(error) && identity.containerInstanceArn !== undefined) {
        log.warn(
          { containerInstanceArn: identity.containerInstanceArn },
          `The controller does not know this host's container instance any more: ${error.message} Registering anew.`,
        )
        identity = { cluster: config.cluster, clientToken: options.uuid() }
        write(config.dataDirectory, identity)
        continue
      }
      waitMs = Math.min(waitMs, error.code === undefined ? unansweredRetryMaxMs : retryMaxMs)
      if (options.isRevoked?.() === true) waitMs = revokedWaitMs
      const message = explained(error, config.cluster, identity.containerInstanceArn)
      complaints.error({ code: error.code, retryInMs: waitMs }, message)
    }
    await pause(options, waitMs)
  }
}

function knownIdentity(options: RegisterOptions): Identity {
  const { config } = options
  const { read, write } = options.identity ?? identityFile
  const known = read(config.dataDirectory)
  if (known !== undefined && known.cluster !== config.cluster && known.containerInstanceArn !== undefined) {
    throw new ClusterMismatch(
      `ECS_CLUSTER is ${config.cluster}, but ${config.dataDirectory} belongs to ${known.containerInstanceArn} of the ` +
        `cluster ${known.cluster}. Set ECS_CLUSTER back, or deregister that instance and remove identity.json there.`,
    )
  }
  if (known !== undefined && known.cluster === config.cluster) return known
  const fresh = { cluster: config.cluster, clientToken: options.uuid() }
  write(config.dataDirectory, fresh)
  return fresh
}

async function register(options: RegisterOptions, identity: Identity): Promise<string> {
  const { config, host } = options
  const reservedTcp = new Set([...config.reservedTcpPorts, config.introspectionPort].filter((port) => port > 0))
  const again = identity.containerInstanceArn
  const input = {
    cluster: config.cluster,
    ...(again === undefined ? {} : { containerInstanceArn: again }),
    instanceIdentityDocument: '',
    instanceIdentityDocumentSignature: '',
    totalResources: [
      { name: 'CPU', type: 'INTEGER', integerValue: host.cpus * 1024 },
      { name: 'MEMORY', type: 'INTEGER', integerValue: Math.max(0, host.memoryMiB - config.reservedMemoryMiB) },
      { name: 'PORTS', type: 'STRINGSET', stringSetValue: [...reservedTcp].map(String) },
      { name: 'PORTS_UDP', type: 'STRINGSET', stringSetValue: config.reservedUdpPorts.map(String) },
    ],
    attributes: options.attributes,
    platformDevices: (options.gpuIds ?? []).map((id) => ({ id, type: 'GPU' })),
    tags: config.containerInstanceTags.map(({ name, value }) => ({ key: name, value })),
    clientToken: identity.clientToken,
  }
  const answer = await options.callApi('RegisterContainerInstance', input, 2 * callTimeoutMs)
  const { containerInstanceArn } = (answer['containerInstance'] ?? {}) as { containerInstanceArn?: unknown }
  if (typeof containerInstanceArn !== 'string') {
    throw new ApiCallError(
      undefined,
      'RegisterContainerInstance was answered without an ARN. Is it a Gantry controller?',
    )
  }
  return containerInstanceArn
}

/** The ARN that was sent was deregistered, or forgotten since: it stays so, and the host comes back as a new instance. */
function isGone(error: ApiCallError): boolean {
  return /container instance .*(?:INACTIVE|not found)/i.test(error.message)
}

function explained(error: ApiCallError, cluster: string, containerInstanceArn: string | undefined): string {
  if (containerInstanceArn !== undefined && /belongs to (?:host|the user or role) /.test(error.message)) {
    const id = containerInstanceArn.slice(containerInstanceArn.lastIndexOf('/') + 1)
    return (
      `${error.message} This host was that instance before it joined with the keys that it has now. To stay it, and to keep ` +
      `its tasks: a line of \`npx gantry join-token --instance ${id}\`, here with --replace. To come as a new ` +
      'instance: remove identity.json from the directory of the agent; what runs there of the former one is stopped then.'
    )
  }
  if (error.code !== 'ClusterNotFoundException' && !error.message.includes('Cluster not found')) return error.message
  const name = cluster.slice(cluster.lastIndexOf('/') + 1)
  return (
    `The cluster ${cluster} that ECS_CLUSTER names does not exist, so this host has nothing to register with. ` +
    `Create it (aws ecs create-cluster --cluster-name ${name}) or correct ECS_CLUSTER; the agent keeps trying.`
  )
}

async function pause(options: RegisterOptions, ms: number): Promise<void> {
  // Hosts that come up together after a power cut do not all call at the same instant.
  const jittered = ms * (0.8 + 0.4 * options.random())
  await new Promise<void>((resolve) => options.timers.after(jittered, resolve))
}

/** Where a channel is, asked of the controller and remembered; an old answer serves where there is no new one. */
export function endpointDiscovery(options: {
  readonly callApi: CallApi
  readonly containerInstanceArn: string
  readonly cluster: string
  readonly now: () => number
  /** Where the controller answers: one that is called by TLS can't send the agent elsewhere without it. */
  readonly origin?: string | undefined
  /** `endpoint`, the control channel's, where it is absent. */
  readonly member?: 'endpoint' | 'telemetryEndpoint' | undefined
}): (again: boolean) => Promise<string> {
  const member = options.member ?? 'endpoint'
  let known: { readonly endpoint: string; readonly at: number } | undefined
  return async (again) => {
    if (known !== undefined && !again && options.now() - known.at < endpointLifetimeMs) return known.endpoint
    try {
      const input = { containerInstance: options.containerInstanceArn, cluster: options.cluster, zoneId: '' }
      const answer = await options.callApi('DiscoverPollEndpoint', input, callTimeoutMs)
      const endpoint = answer[member]
      if (typeof endpoint !== 'string') {
        throw new ApiCallError(undefined, `DiscoverPollEndpoint was answered without ${member}.`)
      }
      if (options.origin?.startsWith('https:') === true && !/^(?:https|wss):/.test(endpoint)) {
        throw new ApiCallError(
          undefined,
          `The controller at ${options.origin} names a channel without TLS, ${endpoint}, and this agent opens none. Set ` +
            "GANTRY_ADVERTISE in the controller's settings to an address that begins with https://, or remove it.",
        )
      }
      known = { endpoint, at: options.now() }
    } catch (error) {
      // Where nobody answers, nobody is to be dialled either.
      if (known === undefined || (error instanceof ApiCallError && error.isTimeout)) throw error
    }
    return known.endpoint
  }
}
