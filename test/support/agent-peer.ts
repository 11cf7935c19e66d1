/**
 * A scripted agent: speaks the wire of a container agent against a real controller, and runs nothing. By default it does
 * as it is told: reports RUNNING for what shall run and STOPPED for what shall stop.
 */
import { WebSocket } from 'ws'
import type { Frame, PayloadTask } from '../../proto/acs.ts'
import { parseFrame } from '../../proto/acs.ts'
import { signRequest } from '../../proto/sigv4.ts'
import { callEcs, eventually, type Key, type RawAnswer, region } from './controller.ts'

export interface PeerOptions {
  readonly endpoint: string
  readonly key: Key
  readonly cluster?: string | undefined
  readonly attributes?: readonly { readonly name: string; readonly value?: string }[] | undefined
  readonly cpu?: number | undefined
  readonly memory?: number | undefined
  /** False: a host of launch type EC2, as our own agent registers it. */
  readonly isExternal?: boolean | undefined
  /** True: speaks Gantry's extensions, as our own agent does. */
  readonly gantryProtocol?: boolean | undefined
  /** False: only records what it is sent. */
  readonly obeys?: boolean | undefined
  /** False: leaves heartbeats unanswered. */
  readonly answersHeartbeats?: boolean | undefined
}

export interface AgentPeer {
  readonly instanceArn: string
  readonly instanceId: string
  /** Frames of the open and of earlier channels, oldest first. */
  readonly frames: readonly Frame[]
  /** What the controller last told of each task, by ARN. */
  readonly tasks: ReadonlyMap<string, PayloadTask>
  send(type: string, message: object): void
  call(operation: string, input: object): Promise<RawAnswer>
  /** The first frame of that type from index `from` on. */
  frame(type: string, from?: number): Promise<Frame>
  connect(fullSync: boolean): Promise<void>
  /** Closes the channel, cleanly or by cutting the connection. */
  disconnect(how: 'close' | 'cut'): Promise<void>
  /** The code with which the newest channel was closed; undefined while it is open. */
  closeCode(): number | undefined
  /** Reports a change by Gantry's message or by SubmitTaskStateChange, as the agent would. */
  report(task: string, status: 'RUNNING' | 'STOPPED', containers: readonly object[]): Promise<void>
}

/** The attributes that every Linux agent has, and that task definitions ask for. */
const attributesOfAnyAgent = [
  { name: 'ecs.os-type', value: 'linux' },
  { name: 'ecs.cpu-architecture', value: 'x86_64' },
  { name: 'com.amazonaws.ecs.capability.docker-remote-api.1.17' },
  { name: 'com.amazonaws.ecs.capability.docker-remote-api.1.18' },
  { name: 'com.amazonaws.ecs.capability.docker-remote-api.1.19' },
  { name: 'com.amazonaws.ecs.capability.docker-remote-api.1.21' },
  { name: 'com.amazonaws.ecs.capability.docker-remote-api.1.22' },
  { name: 'com.amazonaws.ecs.capability.docker-remote-api.1.25' },
  { name: 'com.amazonaws.ecs.capability.logging-driver.json-file' },
  { name: 'ecs.capability.container-health-check' },
  { name: 'ecs.capability.container-ordering' },
]

/** Registers, asks for its endpoints and opens the control channel. */
export async function startAgentPeer(options: PeerOptions): Promise<AgentPeer> {
  const cluster = options.cluster ?? 'default'
  const registered = await callEcs(options.endpoint, options.key, 'RegisterContainerInstance', {
    cluster,
    attributes: [
      ...attributesOfAnyAgent,
      ...(options.isExternal === false ? [] : [{ name: 'ecs.capability.external' }]),
      ...(options.gantryProtocol === true ? [{ name: 'gantry.protocol', value: '1' }] : []),
      ...(options.attributes ?? []),
    ],
    totalResources: [
      { name: 'CPU', type: 'INTEGER', integerValue: options.cpu ?? 2048 },
      { name: 'MEMORY', type: 'INTEGER', integerValue: options.memory ?? 4096 },
      { name: 'PORTS', type: 'STRINGSET', stringSetValue: ['22', '2375', '2376', '51678', '51679'] },
      { name: 'PORTS_UDP', type: 'STRINGSET', stringSetValue: [] },
    ],
  })
  const instance = registered.json['containerInstance'] as { containerInstanceArn: string } | undefined
  if (instance === undefined) throw new Error(`registration failed: ${registered.text}`)
  const peer = new Peer(options, cluster, instance.containerInstanceArn)
  await peer.connect(true)
  return peer
}

class Peer implements AgentPeer {
  readonly instanceArn: string
  readonly frames: Frame[] = []
  readonly tasks = new Map<string, PayloadTask>()
  readonly #options: PeerOptions
  readonly #cluster: string
  readonly #stopped = new Set<string>()
  #socket: WebSocket | undefined
  #closeCode: number | undefined
  #messages = 0

  constructor(options: PeerOptions, cluster: string, instanceArn: string) {
    this.#options = options
    this.#cluster = cluster
    this.instanceArn = instanceArn
  }

  get instanceId(): string {
    return this.instanceArn.slice(this.instanceArn.lastIndexOf('/') + 1)
  }

  async connect(fullSync: boolean): Promise<void> {
    const discovered = await this.call('DiscoverPollEndpoint', {
      cluster: this.#cluster,
      containerInstance: this.instanceArn,
    })
    const query = new URLSearchParams({
      agentHash: 'a8b3e7d3',
      agentVersion: '1.105.1',
      clusterArn: this.#cluster,
      containerInstanceArn: this.instanceArn,
      dockerVersion: 'DockerVersion: 20.10.24',
      protocolVersion: '2',
      sendCredentials: String(fullSync),
      seqNum: '1',
    })
    const socket = await dial(
      `${String(discovered.json['endpoint'])}/ws?${query.toString()}`,
      this.#options.key,
      (heard, text) => {
        this.#socket = heard
        this.#hear(text)
      },
    )
    this.#socket = socket
    this.#closeCode = undefined
    socket.on('close', (code: number) => {
      if (this.#socket === socket) this.#closeCode = code
    })
  }

  async disconnect(how: 'close' | 'cut'): Promise<void> {
    if (how === 'close') this.#socket?.close(1000)
    else this.#socket?.terminate()
    await eventually('the channel to close', () => this.#closeCode)
  }

  closeCode(): number | undefined {
    return this.#closeCode
  }

  send(type: string, message: object): void {
    this.#socket?.send(JSON.stringify({ type, message }))
  }

  call(operation: string, input: object): Promise<RawAnswer> {
    return callEcs(this.#options.endpoint, this.#options.key, operation, input)
  }

  frame(type: string, from = 0): Promise<Frame> {
    return eventually(`a ${type}`, () => this.frames.slice(from).find((frame) => frame.type === type))
  }

  async report(task: string, status: 'RUNNING' | 'STOPPED', containers: readonly object[]): Promise<void> {
    if (this.#options.gantryProtocol !== true) {
      const answer = await this.call('SubmitTaskStateChange', { cluster: this.#cluster, task, status, containers })
      if (answer.status !== 200) throw new Error(answer.text)
      return
    }
    this.#messages += 1
    const messageId = `change-${this.#messages}`
    const socket = this.#socket
    this.send('GantryTaskStateChange', { messageId, task, status, containers })
    await eventually(`the ack of ${messageId}`, () => {
      // What was said on a connection that ended, as that to a controller that was killed, is not answered any more.
      if (socket?.readyState !== WebSocket.OPEN) return true
      return this.frames.some(
        ({ type, message }) => type === 'GantryTaskStateAck' && message['messageId'] === messageId,
      )
        ? true
        : undefined
    })
  }

  #hear(text: string): void {
    const frame = parseFrame(text)
    if (frame === undefined) throw new Error(`the controller sent what is no frame: ${text}`)
    this.frames.push(frame)
    const { messageId } = frame.message
    if (frame.type === 'HeartbeatMessage' && this.#options.answersHeartbeats !== false) {
      this.send('HeartbeatAckRequest', { messageId })
    }
    if (frame.type === 'PayloadMessage') {
      const tasks = frame.message['tasks'] as readonly PayloadTask[]
      for (const task of tasks) this.tasks.set(task.arn, task)
      if (this.#options.obeys === false) return
      this.send('AckRequest', { cluster: this.#cluster, containerInstance: this.instanceArn, messageId })
      for (const task of tasks) void this.#obey(task)
    }
  }

  async #obey(task: PayloadTask): Promise<void> {
    const isStop = task.desiredStatus === 'STOPPED'
    if (isStop && this.#stopped.has(task.arn)) return
    if (isStop) this.#stopped.add(task.arn)
    const containers = task.containers.map(({ name }) => ({
      containerName: name,
      runtimeId: 'f'.repeat(64),
      status: task.desiredStatus,
      ...(isStop ? { exitCode: 143 } : {}),
    }))
    await this.report(task.arn, task.desiredStatus, containers)
  }
}

/**
 * Opens a signed WebSocket; rejects with the status and the body of a refusal. `hear` is told of every frame from the very
 * first, which may come with the handshake's own answer.
 */
export function dial(url: string, key: Key, hear: (socket: WebSocket, text: string) => void): Promise<WebSocket> {
  const headers = signRequest({
    method: 'GET',
    url,
    headers: {},
    credentials: key,
    region,
    service: 'ecs',
    now: Date.now(),
  })
  const socket = new WebSocket(url.replace(/^http/, 'ws'), { headers, perMessageDeflate: false })
  socket.on('message', (data: Buffer) => hear(socket, data.toString('utf8')))
  return new Promise((done, fail) => {
    socket.on('open', () => done(socket))
    socket.on('error', fail)
    socket.on('unexpected-response', (_request, response) => {
      let body = ''
      response.on('data', (chunk: Buffer) => (body += chunk.toString('utf8')))
      response.on('end', () => fail(new Error(`${response.statusCode} ${body}`)))
    })
  })
}
