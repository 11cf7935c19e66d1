/** The telemetry channel: the socket that is kept up, and what is published on it. */
import { randomUUID } from 'node:crypto'
import type { ControllerTrust } from './controller-trust.ts'
import type { CredentialsSource } from './credentials.ts'
import type { CallApi } from './ecs-api.ts'
import type { Engine } from './engine.ts'
import type { HostKeyring } from './host-keyring.ts'
import { startLink } from './link.ts'
import type { Link } from './link.ts'
import type { Log } from './log.ts'
import { endpointDiscovery } from './register.ts'
import type { Stats } from './stats.ts'
import { startTelemetry } from './telemetry.ts'
import type { Timers } from './timers.ts'
import type { TurnTask } from './turn-options.ts'

export interface TelemetryChannelOptions {
  readonly cluster: string
  readonly containerInstanceArn: string
  readonly region: string
  readonly credentials: CredentialsSource
  readonly trust?: ControllerTrust | undefined
  readonly keyring?: HostKeyring | undefined
  readonly origin?: string | undefined
  readonly callApi: CallApi
  readonly agentVersion: string
  readonly agentHash: string
  readonly dockerVersion: string
  readonly engine: Pick<Engine, 'ping'>
  readonly stats: Stats
  readonly tasks: () => readonly TurnTask[]
  /** As the control channel does where the controller does not know this instance. */
  readonly registerAgain: () => Promise<void>
  readonly now: () => number
  readonly random: () => number
  readonly timers: Timers
  readonly log: Log
}

export function startTelemetryChannel(options: TelemetryChannelOptions): { close(): void } {
  const { cluster, containerInstanceArn, engine, stats, tasks, now, timers } = options
  let link: Link | undefined
  const telemetry = startTelemetry({
    publisher: { cluster, containerInstance: containerInstanceArn, uuid: randomUUID },
    tasks,
    measuresSince: (since) => stats.setsSince(since),
    measureNow: async () => stats.sweep(),
    engineAnswers: async () => {
      const answered = await engine.ping().then(
        () => true,
        () => false,
      )
      return answered
    },
    send: (type, message) => link?.send(type, message) ?? false,
    now,
    timers,
  })
  link = startLink({
    ...options,
    channel: 'telemetry',
    discover: endpointDiscovery({ ...options, member: 'telemetryEndpoint' }),
    onFrame: (frame) => telemetry.onFrame(frame),
    onConnected: () => telemetry.linkUp(),
    onDisconnected: () => telemetry.linkDown(),
  })
  return {
    close() {
      telemetry.close()
      link?.close()
    },
  }
}
