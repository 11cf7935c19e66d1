/**
 * A scripted agent for a controller under fire: it does at once what it is told, reports until it is heard, and remembers
 * what it was told, for a controller must not tell an agent of what it could forget.
 */
import type { WebSocket } from 'ws'
import { type PayloadTask, parseFrame } from '../../proto/acs.ts'
import { callEcs, type Key } from '../support/controller.ts'
import { dial } from '../support/agent-peer.ts'

const attributes = [
  'ecs.capability.external',
  'com.amazonaws.ecs.capability.docker-remote-api.1.18',
  'com.amazonaws.ecs.capability.docker-remote-api.1.25',
  'com.amazonaws.ecs.capability.logging-driver.json-file',
  'ecs.capability.container-ordering',
]

export class FireAgent {
  readonly instanceArn: string
  /** What it was last told that each task shall be, by ARN. */
  readonly told = new Map<string, string>()
  readonly #key: Key
  #socket: WebSocket | undefined
  /** State changes that no controller has acknowledged, oldest first: each may have died with the one that heard it. */
  readonly #outbox = new Map<string, object>()
  #messages = 0
  #hasConnected = false

  private constructor(instanceArn: string, key: Key) {
    this.instanceArn = instanceArn
    this.#key = key
  }

  static async register(endpoint: string, key: Key): Promise<FireAgent> {
    const answer = await callEcs(endpoint, key, 'RegisterContainerInstance', {
      cluster: 'default',
      attributes: [
        { name: 'ecs.os-type', value: 'linux' },
        { name: 'ecs.cpu-architecture', value: 'x86_64' },
        { name: 'gantry.protocol', value: '1' },
        ...attributes.map((name) => ({ name })),
      ],
      totalResources: [
        { name: 'CPU', type: 'INTEGER', integerValue: 1_000_000 },
        { name: 'MEMORY', type: 'INTEGER', integerValue: 1_000_000 },
        { name: 'PORTS', type: 'STRINGSET', stringSetValue: ['22'] },
        { name: 'PORTS_UDP', type: 'STRINGSET', stringSetValue: [] },
      ],
    })
    const instance = answer.json['containerInstance'] as { containerInstanceArn: string } | undefined
    if (instance === undefined) throw new Error(`RegisterContainerInstance failed: ${answer.text}`)
    return new FireAgent(instance.containerInstanceArn, key)
  }

  /** Opens its channel at the controller that answers there now. */
  async connect(endpoint: string): Promise<void> {
    const query = new URLSearchParams({
      agentHash: 'fire',
      agentVersion: '1.105.1',
      clusterArn: 'default',
      containerInstanceArn: this.instanceArn,
      dockerVersion: 'DockerVersion: 20.10.24',
      protocolVersion: '2',
      sendCredentials: String(!this.#hasConnected),
      seqNum: '1',
    })
    this.#socket = await dial(`${endpoint}/acs/ws?${query.toString()}`, this.#key, (socket, text) => {
      this.#socket = socket
      this.#hear(text)
    })
    this.#hasConnected = true
    for (const change of this.#outbox.values()) this.#send('GantryTaskStateChange', change)
  }

  close(): void {
    this.#socket?.terminate()
  }

  #send(type: string, message: object): void {
    // A controller that was killed takes the channel with it; what it missed, it asks for again.
    this.#socket?.send(JSON.stringify({ type, message }), () => undefined)
  }

  #hear(text: string): void {
    const frame = parseFrame(text)
    if (frame === undefined) throw new Error(`The controller sent what is no frame: ${text}`)
    const { messageId } = frame.message
    if (frame.type === 'HeartbeatMessage') this.#send('HeartbeatAckRequest', { messageId })
    if (frame.type === 'GantryTaskStateAck' || frame.type === 'GantryTaskStateRefusal') {
      this.#outbox.delete(String(messageId))
    }
    if (frame.type !== 'PayloadMessage') return
    this.#send('AckRequest', { cluster: 'default', containerInstance: this.instanceArn, messageId })
    for (const task of frame.message['tasks'] as readonly PayloadTask[]) this.#obey(task)
  }

  #obey(task: PayloadTask): void {
    const status = task.desiredStatus
    this.told.set(task.arn, status)
    this.#messages += 1
    const change = {
      messageId: `change-${this.#messages}`,
      task: task.arn,
      status,
      containers: task.containers.map(({ name }) => ({
        containerName: name,
        runtimeId: 'f'.repeat(64),
        status,
        ...(status === 'STOPPED' ? { exitCode: 143 } : {}),
      })),
    }
    this.#outbox.set(change.messageId, change)
    this.#send('GantryTaskStateChange', change)
  }
}
