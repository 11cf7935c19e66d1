/**
 * The telemetry channels (TCS) of all agents: acknowledges what they publish, keeps the last picture of what tasks use,
 * and keeps the channels open by heartbeats.
 */
import { writeFrame } from '../proto/acs.ts'
import { parseTcsFrame } from '../proto/tcs.ts'
import type { ChannelServices } from './control-channels.ts'
import type { Handshake } from './decide/handshake.ts'
import { closeCodes } from './decide/session.ts'
import { answerTelemetry, telemetryHeartbeatMs, telemetrySilenceMaxMs } from './decide/telemetry.ts'
import { foreignTaskAmong, tasksNamedIn } from './foreign-tasks.ts'
import type { GantryTelemetryPace } from '../proto/tcs.ts'
import type { Peer } from './peer.ts'
import { UsageBoard } from './usage.ts'
import type { TaskUsage } from './usage.ts'

interface Channel {
  readonly peer: Peer
  heardAt: number
  heartbeatAt: number
}

export class TelemetryChannels {
  readonly #services: ChannelServices
  readonly #channels = new Map<string, Channel>()
  readonly #usage: UsageBoard

  constructor(services: ChannelServices) {
    this.#services = services
    const { reader } = services.turn
    this.#usage = new UsageBoard((taskId) => {
      const task = reader.get('task', taskId)
      return task === undefined || task.lastStatus === 'STOPPED' ? undefined : task.instanceId
    })
  }

  usageOf(taskId: string): TaskUsage | undefined {
    return this.#usage.of(taskId)
  }

  /** Asks an agent of ours to publish more often for a while; nothing where it has no channel. */
  quicken(instanceId: string, pace: GantryTelemetryPace): void {
    const instance = this.#services.turn.reader.get('instance', instanceId)
    if (instance?.gantryProtocol !== true) return
    this.#channels.get(instanceId)?.peer.send(writeFrame('GantryTelemetryPace', pace))
  }

  open({ instanceId }: Handshake, peer: Peer): void {
    const now = this.#services.clock.now()
    const older = this.#channels.get(instanceId)
    this.#channels.set(instanceId, { peer, heardAt: now, heartbeatAt: now })
    older?.peer.close(closeCodes.policy, 'Replaced by a newer channel of the same container instance')
    peer.send(writeFrame('HeartbeatMessage', { healthy: true }))
  }

  frame(instanceId: string, peer: Peer, text: string): void {
    const channel = this.#channels.get(instanceId)
    if (channel?.peer !== peer) return
    const { turn, log, clock } = this.#services
    channel.heardAt = clock.now()
    const parsed = parseTcsFrame(text)
    if (parsed === undefined) {
      log.warn({ instance: instanceId, bytes: text.length }, 'ignored a telemetry frame that cannot be read')
      return
    }
    const foreign = foreignTaskAmong(turn.reader, instanceId, tasksNamedIn(parsed.frame.message))
    if (foreign !== undefined) this.#services.hosts.refusedOnChannel(instanceId, 'telemetry', foreign)
    this.#usage.take(instanceId, parsed.frame, channel.heardAt)
    const { ack, input } = answerTelemetry(instanceId, parsed.frame)
    if (ack === undefined) log.debug({ instance: instanceId, type: parsed.frame.type }, 'ignored a telemetry message')
    else peer.send(writeFrame(ack.type, ack.message))
    if (input === undefined) return
    // The next publication, 20 seconds on, says the same again: a lost one needs no more than a line.
    turn.submit(input).catch((error: unknown) => {
      log.warn({ instance: instanceId, err: error }, 'a health report could not be committed')
    })
  }

  closed(instanceId: string, peer: Peer): void {
    if (this.#channels.get(instanceId)?.peer !== peer) return
    this.#channels.delete(instanceId)
    this.#usage.forget(instanceId)
  }

  /** To be called about once a second. */
  tick(): void {
    const now = this.#services.clock.now()
    for (const channel of this.#channels.values()) {
      if (now - channel.heardAt > telemetrySilenceMaxMs) {
        channel.peer.close(closeCodes.normal, 'Nothing was published for three minutes')
        continue
      }
      if (now - channel.heartbeatAt < telemetryHeartbeatMs) continue
      channel.heartbeatAt = now
      channel.peer.send(writeFrame('HeartbeatMessage', { healthy: true }))
    }
  }
}
