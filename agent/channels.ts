/**
 * The agent's channels to its controller: control, telemetry, and those for output. All that is told on them comes from
 * elsewhere; here they are opened together, and closed.
 */
import { randomUUID } from 'node:crypto'
import type { AgentConfig } from './config.ts'
import type { ContainerServices } from './container-services.ts'
import type { ControllerAccess } from './controller-access.ts'
import type { CallApi } from './ecs-api.ts'
import type { Engine, EngineInfo } from './engine.ts'
import type { EngineStreams } from './engine-streams.ts'
import type { HostFacts } from './host-facts.ts'
import { startHostPortsReporter } from './host-ports.ts'
import { startLink } from './link.ts'
import type { Link } from './link.ts'
import type { Log } from './log.ts'
import { startOutput } from './output.ts'
import { endpointDiscovery } from './register.ts'
import { startTelemetryChannel } from './telemetry-channel.ts'
import { realTimers } from './timers.ts'
import type { AgentTurn, TurnTask } from './turn.ts'
import type { Upkeep } from './upkeep.ts'

export interface ChannelsOptions {
  readonly config: AgentConfig
  readonly log: Log
  readonly version: string
  readonly now: () => number
  readonly engine: Engine & EngineStreams
  readonly engineInfo: EngineInfo
  readonly access: ControllerAccess
  readonly callApi: CallApi
  readonly upkeep: Upkeep
  readonly services: ContainerServices
  /** Told of the control channel as it comes, and of what the agent is at. */
  readonly channel: { link: Link | undefined; doing: string; readonly unshippedLogs: Set<string> }
  readonly host: Promise<HostFacts>
  readonly containerInstanceArn: string
  readonly turn: AgentTurn
  /** Settled once the controller has taken this process's registration. */
  readonly registering: Promise<unknown>
  /** The port of the introspection API, for the line that says that the agent is ready. */
  readonly introspection: number
  /** The controller does not know this instance any more; awaited before the next try. */
  readonly registerAgain: () => Promise<void>
}

/** Opens the channels and keeps them; answers how to close them. */
export function openChannels(options: ChannelsOptions): () => Promise<void> {
  const { config, log, callApi, channel, host, turn, containerInstanceArn, introspection, engine, now } = options
  const { registerAgain } = options
  const { cluster } = config
  const hostPorts = startHostPortsReporter({
    timers: realTimers,
    uuid: randomUUID,
    ownPorts: () => turn.ownPorts(),
    send: (type, message) => channel.link?.send(type, message) ?? false,
  })
  let isReady = false
  const ready = (): void => {
    if (isReady) return
    isReady = true
    // A registration that fails is told by who waits for it.
    Promise.all([host, options.registering]).then(
      ([{ cpus, memoryMiB }]) =>
        log.info(
          { containerInstanceArn, cluster, cpus, memoryMiB, introspection },
          'Gantry agent ready: registered, and connected to its controller.',
        ),
      () => undefined,
    )
  }
  const { credentials, trust, keyring } = options.access
  const origin = config.backendOrigin
  const discover = endpointDiscovery({ callApi, containerInstanceArn, cluster, now, origin })
  const ours = { cluster, containerInstanceArn, region: config.region, credentials, trust, keyring }
  const output = startOutput({
    ...ours,
    discover,
    engine,
    unshipped: channel.unshippedLogs,
    tasks: () => turn.tasks(),
    dataDirectory: config.dataDirectory,
    now,
    random: Math.random,
    timers: realTimers,
    log,
  })
  const told = { agentVersion: options.version, agentHash: 'gantry', dockerVersion: options.engineInfo.engineVersion }
  const common = { ...ours, ...told, now, random: Math.random, timers: realTimers, log }
  const tasks = (): readonly TurnTask[] => turn.tasks()
  const { stats } = options.services
  const telemetry = config.metricsDisabled
    ? undefined
    : startTelemetryChannel({ ...common, callApi, origin, engine, stats, tasks, registerAgain })
  channel.link = startLink({
    ...common,
    discover,
    registerAgain,
    onFrame: (frame) => void (output.onFrame(frame) || turn.onFrame(frame)),
    onConnected() {
      turn.linkUp()
      hostPorts.report()
      options.upkeep.linkUp()
      channel.doing = `connected to ${config.backendOrigin}`
      ready()
    },
    onDisconnected() {
      turn.linkDown()
      channel.doing = `not connected to ${config.backendOrigin}, and goes on alone`
    },
  })
  return async () => {
    hostPorts.close()
    telemetry?.close()
    channel.link?.close()
    await output.close()
  }
}
